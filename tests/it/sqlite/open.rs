//! What stands in the way of opening, and in which words it is told.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use forebay::{Error, ErrorKind, Pipeline};

use super::{Database, LONG};
use crate::child::{self, Running};
use crate::harness::{capture, event, eventually};

fn refused(database: &Database) -> Error {
    Pipeline::open(&database.url()).map(drop).expect_err("it must not open")
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}: {error:?}");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert!(!text.contains('\n'));
}

#[test]
fn a_second_writer_in_the_same_process_is_told_who_holds_the_file() {
    let database = Database::new();
    let pipeline = database.open();
    assert_says(&refused(&database), ErrorKind::InUse, &["a.db", &format!("process {}", std::process::id())]);
    pipeline.shutdown_blocking(LONG);
    database.open().shutdown_blocking(LONG);
}

#[test]
fn a_second_writer_in_another_process_is_told_who_holds_the_file_until_that_one_is_killed() {
    let database = Database::new();
    let mut holder = Running::start(child::command("hold", database.path()));
    assert_eq!(holder.next().as_deref(), Some("ready"));
    let pid = holder.process.id();
    assert_says(&refused(&database), ErrorKind::InUse, &["a.db", &format!("process {pid}")]);
    holder.kill();
    holder.process.wait().unwrap();
    assert!(database.beside("-forebay-lock").exists(), "the lock file is left behind");
    let pipeline = database.open();
    assert_eq!(database.number("SELECT count(*) FROM events WHERE msg = 'held'"), 1);
    pipeline.shutdown_blocking(LONG);
}

#[test]
fn a_symbolic_link_leads_to_the_same_lock() {
    let database = Database::new();
    let pipeline = database.open();
    let link = database.directory().join("link.db");
    symlink(database.path(), &link).unwrap();
    let error = Pipeline::open(&format!("sqlite:{}", link.display())).map(drop).unwrap_err();
    assert_says(&error, ErrorKind::InUse, &["a.db is being written"]);
    pipeline.shutdown_blocking(LONG);
    Pipeline::open(&format!("sqlite:{}", link.display())).unwrap().shutdown_blocking(LONG);
}

#[test]
fn a_relative_path_and_strange_names_open_the_file_that_they_name() {
    let database = Database::new();
    let name = "a b?c#d%41&'\"é\n.db";
    let encoded = name.replace('%', "%25").replace('?', "%3F");
    let url = format!("sqlite:{}/./{encoded}", database.directory().display());
    let pipeline = Pipeline::open(&url).unwrap();
    pipeline.events().send_blocking(event("x")).unwrap().wait().unwrap();
    pipeline.shutdown_blocking(LONG);
    let files: Vec<_> = fs::read_dir(database.directory()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, [name], "one file, and nothing beside it after the end");
}

#[test]
fn a_file_with_hard_links_is_refused() {
    let database = Database::new();
    database.create();
    fs::hard_link(database.path(), database.directory().join("b.db")).unwrap();
    assert_says(&refused(&database), ErrorKind::UnsafeFileSystem, &["hard links", "remove the others"]);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let database = Database::new();
    database.create();
    database.execute("PRAGMA user_version = 99");
    let before = fs::read(database.path()).unwrap();
    assert_says(&refused(&database), ErrorKind::NewerSchema, &["version 99", "newer"]);
    assert_eq!(fs::read(database.path()).unwrap(), before);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    for (theirs, word) in
        [("PRAGMA application_id = 7; CREATE TABLE theirs (x)", "0x7"), ("CREATE TABLE events (x)", "not ours")]
    {
        let database = Database::new();
        database.execute(theirs);
        let before = fs::read(database.path()).unwrap();
        assert_says(&refused(&database), ErrorKind::NotADatabase, &["another program", word]);
        assert_eq!(fs::read(database.path()).unwrap(), before);
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let database = Database::new();
    let text = "not a database at all\n".repeat(500);
    fs::write(database.path(), &text).unwrap();
    assert_says(&refused(&database), ErrorKind::NotADatabase, &["no SQLite database", "name another"]);
    assert_eq!(fs::read_to_string(database.path()).unwrap(), text);
    assert!(!database.beside("-forebay-lock").exists(), "no lock is left behind");
}

#[test]
fn an_empty_file_becomes_a_database() {
    let database = Database::new();
    fs::write(database.path(), "").unwrap();
    database.create();
    assert_eq!(database.number("PRAGMA user_version"), 4);
}

#[test]
fn a_truncated_database_is_refused_as_damaged() {
    let database = Database::new();
    database.create();
    fs::OpenOptions::new().write(true).open(database.path()).unwrap().set_len(6000).unwrap();
    assert_says(&refused(&database), ErrorKind::NotADatabase, &["damaged", "recover"]);
}

#[test]
fn a_missing_directory_is_named() {
    let database = Database::new();
    let url = format!("sqlite:{}/missing/a.db", database.directory().display());
    let error = Pipeline::open(&url).map(drop).unwrap_err();
    assert_says(&error, ErrorKind::NotWritable, &["/missing is not there", "create it"]);
}

#[test]
fn a_directory_in_the_files_place_is_refused() {
    let database = Database::new();
    fs::create_dir(database.path()).unwrap();
    assert_says(&refused(&database), ErrorKind::NotADatabase, &["no regular file"]);
}

/// Does work as a user who owns nothing: this thread alone gives its rights up. A user without privileges has none to
/// give up, and owns the files; the modes that the tests set bind the owner too.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let unprivileged = || {
        if rustix::process::getuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(unprivileged).join().unwrap())
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let database = Database::new();
    chmod(database.directory(), 0o555);
    let error = as_nobody(|| refused(&database));
    chmod(database.directory(), 0o755);
    let directory = database.directory().display().to_string();
    assert_says(&error, ErrorKind::NotWritable, &[&directory, "make the directory writable"]);
    assert!(!database.path().exists());
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let database = Database::new();
    database.create();
    chmod(database.path(), 0o444);
    chmod(database.directory(), 0o777);
    let error = as_nobody(|| refused(&database));
    chmod(database.directory(), 0o755);
    assert_says(&error, ErrorKind::NotWritable, &["a.db cannot be written", "permissions"]);
}

#[test]
fn every_file_is_for_its_owner_alone() {
    let database = Database::new();
    let pipeline = database.open();
    pipeline.captures().send_blocking(capture("secret")).unwrap().wait().unwrap();
    for suffix in ["", "-wal", "-shm", "-forebay-lock"] {
        let mode = fs::metadata(database.beside(suffix)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "a.db{suffix} has mode {mode:o}");
    }
    pipeline.shutdown_blocking(LONG);
}

#[test]
fn a_producer_that_lives_on_does_not_keep_the_file() {
    let database = Database::new();
    let pipeline = database.open();
    let (events, captures) = (pipeline.events(), pipeline.captures());
    let replay = pipeline.replay::<forebay::Event>("file").unwrap();
    pipeline.shutdown_blocking(LONG);
    database.open().shutdown_blocking(LONG);
    assert!(events.try_send(event("late")).is_err());
    drop((events, captures, replay));
}

#[test]
fn a_pipeline_that_is_dropped_lets_go_of_the_file_by_itself() {
    let database = Database::new();
    drop(database.open());
    eventually("it opens again", || Pipeline::open(&database.url()).is_ok());
}

#[test]
fn a_new_file_is_set_up_once_and_for_space_to_be_given_back_later() {
    let database = Database::new();
    database.create();
    assert_eq!(database.number("PRAGMA auto_vacuum"), 2, "incremental");
    assert_eq!(database.number("PRAGMA application_id"), 0x4652_4259);
    assert_eq!(database.number("PRAGMA user_version"), 4);
    assert_eq!(database.text("PRAGMA journal_mode"), "wal");
    let schema = database.texts("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name");
    database.create();
    assert_eq!(database.texts("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name"), schema);
}
