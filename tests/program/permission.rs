//! What an ordinary user may not read: named with what to do, beside sources that go on, and read once it may be.

use std::fs::{Permissions, set_permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use crate::place::{Place, Running, wait_for};
use crate::run::{line, settings, tail, wait_for_messages};

/// Starts `forebay run` as an ordinary user: as `nobody`, or as who we are if that is one.
fn start_as_anybody(place: &Place) -> Running {
    for (path, mode) in [("", 0o777), ("forebay.toml", 0o644)] {
        set_permissions(place.path(path), Permissions::from_mode(mode)).unwrap();
    }
    // The program's file is opened before: `nobody` may not be let in to where it lies.
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all";
    let user = if rustix::process::geteuid().is_root() { user } else { "" };
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {user} /proc/self/fd/9 run --config forebay.toml --json 9<\"$0\"")]);
    command.arg(env!("CARGO_BIN_EXE_forebay"));
    place.start_command(command)
}

/// A file or directory that nobody may use, until it is opened; opened at the end in any case, to be deleted.
struct Closed(PathBuf);

impl Closed {
    fn new(path: PathBuf) -> Self {
        set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        Self(path)
    }

    fn open(&self) {
        set_permissions(&self.0, Permissions::from_mode(0o777)).unwrap();
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        // The test may have failed for the very reason that it is gone.
        let _ = set_permissions(&self.0, Permissions::from_mode(0o777));
    }
}

/// What is in a directory that may not be entered was told to be `not there yet`.
#[test]
fn a_log_that_may_not_be_read_is_named_with_what_to_do_and_read_once_it_may() {
    let place = Place::new();
    std::fs::create_dir(place.path("closed")).unwrap();
    for (number, file) in (0..).zip(["a.json", "b.json", "closed/c.json"]) {
        let path = place.write(file, line(number));
        set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    }
    let file = Closed::new(place.path("b.json"));
    let directory = Closed::new(place.path("closed"));
    settings(&place, &(tail("a", "a.json") + &tail("b", "b.json") + &tail("c", "closed/c.json")));
    let mut run = start_as_anybody(&place);
    for path in ["b.json", "closed/c.json"] {
        run.wait_for_err(&format!(
            "{path}: Permission denied (os error 13); let the user of this program read it, and enter the directories"
        ));
    }
    place.append("a.json", line(3));
    wait_for_messages(&place, "forebay.db", 2);
    file.open();
    wait_for_messages(&place, "forebay.db", 3);
    directory.open();
    wait_for_messages(&place, "forebay.db", 4);
    for (number, file) in (4..).zip(["a.json", "b.json", "closed/c.json"]) {
        place.append(file, line(number));
    }
    wait_for_messages(&place, "forebay.db", 7);
    run.signal("TERM");
    let outcome = run.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn a_socket_where_none_may_be_made_is_named_with_what_to_do_and_listens_once_it_may() {
    let place = Place::new();
    place.write("a.json", line(0));
    set_permissions(place.path("a.json"), Permissions::from_mode(0o666)).unwrap();
    std::fs::create_dir(place.path("closed")).unwrap();
    let directory = Closed::new(place.path("closed"));
    let socket = place.path("closed/in.sock");
    let sources =
        tail("a", "a.json") + &format!("[sources.in]\ntype = \"socket\"\nlisten = \"unix:{}\"\n", socket.display());
    let told =
        format!("listen on unix:{}; let the user of this program read and write the directory", socket.display());
    // At the start nothing is begun that could not go on.
    settings(&place, &sources);
    let outcome = start_as_anybody(&place).finish();
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.err.contains("source `in`: ") && outcome.err.contains(&told), "{outcome:?}");
    assert!(outcome.err.contains("Permission denied"), "{outcome:?}");
    // Later the others go on.
    settings(&place, &tail("a", "a.json"));
    let mut run = start_as_anybody(&place);
    wait_for_messages(&place, "forebay.db", 1);
    settings(&place, &sources);
    run.signal("HUP");
    run.wait_for_err("a source failed; it is tried again");
    assert!(run.err().contains(&told), "{}", run.err());
    place.append("a.json", line(1));
    wait_for_messages(&place, "forebay.db", 2);
    directory.open();
    let mut peer = wait_for("the socket", || UnixStream::connect(&socket).ok());
    peer.write_all(line(2).as_bytes()).unwrap();
    drop(peer);
    wait_for_messages(&place, "forebay.db", 3);
    run.signal("TERM");
    let outcome = run.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// Root who looked into the database as it was opened made the log's files, and gave them to its owner a moment later: in
/// between it could not be opened, and the program ended.
#[test]
fn a_log_beside_the_database_that_is_anothers_for_a_moment_is_waited_for_and_named_if_it_stays() {
    let place = Place::new();
    place.write("a.json", line(0));
    set_permissions(place.path("a.json"), Permissions::from_mode(0o666)).unwrap();
    settings(&place, &tail("a", "a.json"));
    let begin = |is_opened: bool| {
        place.write("forebay.db-wal", "");
        place.write("forebay.db-shm", "");
        let log = ["forebay.db-wal", "forebay.db-shm"].map(|file| Closed::new(place.path(file)));
        let mut run = start_as_anybody(&place);
        run.wait_for_err("it is tried again");
        if is_opened {
            log.iter().for_each(Closed::open);
        }
        (run, log)
    };
    let (run, log) = begin(false);
    let outcome = run.finish();
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.err.contains("forebay.db cannot be opened; see that its -wal and -shm files are"), "{outcome:?}");
    drop(log);

    let (run, _log) = begin(true);
    wait_for_messages(&place, "forebay.db", 1);
    run.signal("TERM");
    let outcome = run.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
