//! A full disk, and a file that must not grow further: both real, each in a child process of its own.
//!
//! The disk is a small tmpfs in a mount namespace of the child (of a user namespace, when the tests do not run as
//! root); the limit is `RLIMIT_FSIZE` with its signal ignored.

use std::fs;
use std::path::Path;

use forebay::pipeline::LaneState;
use forebay::{Config, Pipeline, TrySendError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::segments::{settled, tiny};
use super::{Database, LONG, catalogue, impatient};
use crate::child::{self, Running};
use crate::harness::{adds_up, capture, counts, eventually, state};

const ROW: usize = 16 << 10;

/// Runs a child to its end, which must be a good one.
#[track_caller]
fn succeed(command: std::process::Command) {
    let mut child = Running::start(command);
    let said = child.next();
    let status = child.process.wait().unwrap();
    assert!(status.success() && said.as_deref() == Some("done"), "{status}: the child's output says why");
}

#[test]
fn on_a_full_disk_rows_wait_and_when_there_is_room_again_they_are_stored() {
    on_a_small_disk("full_disk");
}

#[test]
fn on_a_full_disk_segments_wait_too_and_when_there_is_room_again_they_are_finished() {
    on_a_small_disk("full_disk_amid_steps");
}

fn on_a_small_disk(role: &str) {
    let database = Database::new();
    let script =
        format!("mount -t tmpfs -o size=6m forebay-test {} && exec \"$0\" \"$@\"", database.directory().display());
    let shell: &[&str] = match rustix::process::getuid().is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--user", "--map-root-user", "--mount"],
    };
    succeed(child::command_in_shell(shell, &script, role, database.path()));
}

#[test]
fn at_a_limit_of_the_files_size_rows_wait_and_when_it_is_raised_they_are_stored() {
    let database = Database::new();
    let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
    succeed(child::command_in_shell(&["env"], script, "file_limit", database.path()));
}

/// The child in whose file system there are 6 MB.
pub fn on_a_full_disk(path: &Path) {
    let ballast = path.with_file_name("ballast");
    fs::write(&ballast, vec![0; 3 << 20]).unwrap();
    wait_and_go_on(path, impatient(), &["full", "I/O"], || fs::remove_file(&ballast).unwrap());
}

/// The same with segments of ten rows: the disk is full amid closing, indexing and merging.
pub fn on_a_full_disk_amid_steps(path: &Path) {
    let ballast = path.with_file_name("ballast");
    fs::write(&ballast, vec![0; 4 << 20]).unwrap();
    let mut config = tiny();
    config.sqlite.segment_rows = 10;
    wait_and_go_on(path, config, &["full", "I/O"], || fs::remove_file(&ballast).unwrap());
}

/// The child whose files may not grow beyond 2 MB.
pub fn at_a_file_limit(path: &Path) {
    let set = |current| setrlimit(Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    assert_eq!(getrlimit(Resource::Fsize).maximum, None, "the hard limit must be open for this test");
    set(Some(2 << 20));
    wait_and_go_on(path, impatient(), &["I/O", "full"], || set(None));
}

/// Sends until there is no room, neither on the disk nor in memory; gives room, and everything must land.
fn wait_and_go_on(path: &Path, mut config: Config, words: &[&str], give_room: impl FnOnce()) {
    config.batch.max_rows = 10;
    config.buffer.captures.max_rows = 20;
    let builder = Pipeline::builder().config(config).database(format!("sqlite:{}", path.display()));
    let pipeline = builder.open().unwrap();
    let sender = pipeline.captures();
    let row = |number: usize| {
        let mut text = format!("{number}:");
        text.extend(std::iter::repeat_n('x', ROW));
        capture(&text)
    };
    let mut receipts = Vec::new();
    eventually("the disk is full and memory too", || {
        while receipts.len() < 1000 {
            match sender.try_send(row(receipts.len())) {
                Ok(receipt) => receipts.push(receipt),
                Err(TrySendError::Full(_)) => break,
                Err(other) => panic!("{other}"),
            }
        }
        matches!(state(&pipeline), LaneState::Retrying { attempts: 3.., .. })
            && matches!(sender.try_send(row(0)), Err(TrySendError::Full(_)))
    });
    let LaneState::Retrying { error, .. } = state(&pipeline) else { panic!("it goes on without room") };
    assert!(words.iter().any(|word| error.contains(word)), "{error}");
    assert!(adds_up(&counts(&pipeline)));
    assert_eq!((counts(&pipeline).failed, counts(&pipeline).rejected), (0, 0));
    let sent = receipts.len() as i64;
    give_room();
    receipts.into_iter().for_each(|receipt| receipt.wait().unwrap());
    // Without another row.
    settled(|sql| rusqlite::Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap());
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let reader = rusqlite::Connection::open(path).unwrap();
    let number = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let numbers = "CAST(substr(data, 1, instr(data, ':') - 1) AS INTEGER)";
    assert_eq!(number("SELECT count(*) FROM captures"), sent);
    assert_eq!(number(&format!("SELECT count(DISTINCT {numbers}) FROM captures")), sent);
    let sound = reader.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(sound, "ok");
    catalogue::check(&reader);
    child::say("done");
}
