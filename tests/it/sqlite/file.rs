//! What the file is like while rows pour in: the ledger stays small, and so does the log.

use std::fs;

use forebay::pipeline::ReplayRows;
use forebay::{Capture, Row};

use super::{Database, LONG, impatient};
use crate::harness::{event, events};

#[test]
fn the_ledger_stays_small_and_in_memory_producers_leave_nothing_in_it() {
    let database = Database::new();
    let mut config = impatient();
    config.batch.max_rows = 100;
    let pipeline = database.open_with(config).unwrap();
    let replay = pipeline.replay("file:1").unwrap();
    let mut most = 0;
    for round in 0..60u64 {
        for _ in 0..50 {
            drop(pipeline.events().send_blocking(event("x")).unwrap());
        }
        // Every second row, so that nothing touches; then those between.
        let position = if round < 30 { round * 2 } else { (round - 30) * 2 + 1 };
        let rows = ReplayRows::numbered(position, vec![Row::Keep(event("r"))]);
        drop(replay.send_blocking(rows).unwrap());
        pipeline.flush().wait().unwrap();
        most = most.max(database.number("SELECT count(*) FROM ingest_ledger"));
    }
    assert!(most < 1024 + 200, "{most} entries");
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let left = database.texts("SELECT printf('%s %d %d %d', source, first, last, rows) FROM ingest_ledger");
    assert_eq!(left, ["file:1 0 59 60"]);
    assert_eq!(database.number("SELECT count(*) FROM events"), 60 * 51);
}

#[test]
fn what_is_committed_of_a_source_is_known_after_it_was_merged_and_the_file_opened_again() {
    let database = Database::new();
    for run in 1..=3u64 {
        let pipeline = database.open();
        let replay = pipeline.replay("file:1").unwrap();
        for first in (0..run * 100).step_by(10) {
            let rows = (first..first + 10).map(|row| Row::Keep(event(&row.to_string())));
            drop(replay.send_blocking(ReplayRows::numbered(first, rows.collect())).unwrap());
        }
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
        assert_eq!(database.number("SELECT count(*) FROM events"), run as i64 * 100);
        assert_eq!(database.number("SELECT count(*) FROM ingest_ledger"), 1);
    }
}

/// At full speed the log passes the writer's own limit of 64 MiB, for as long as the checkpoint beside it takes; what
/// counts is that it begins anew then.
#[test]
fn the_log_does_not_grow_with_what_is_written() {
    let database = Database::new();
    let pipeline = database.open();
    let (sender, mut most) = (pipeline.captures(), 0);
    for _ in 0..640 {
        let row = Capture::builder("s", "payload").data(vec![7; 1 << 20]).build().unwrap();
        drop(sender.send_blocking(row).unwrap());
        most = most.max(fs::metadata(database.beside("-wal")).unwrap().len());
    }
    pipeline.flush().wait().unwrap();
    most = most.max(fs::metadata(database.beside("-wal")).unwrap().len());
    assert!(most < 320 << 20, "{} MiB", most >> 20);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.number("SELECT sum(length) FROM captures"), 640 << 20);
}

#[test]
fn after_shutdown_there_is_one_file_and_it_has_everything() {
    let database = Database::new();
    let pipeline = database.open();
    drop(pipeline.events().send_many_blocking(events((0..500).map(|row| row.to_string()))).unwrap());
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let files: Vec<_> = fs::read_dir(database.directory()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["a.db"]);
    let copy = Database::new();
    fs::copy(database.path(), copy.path()).unwrap();
    assert_eq!(copy.number("SELECT count(*) FROM events"), 500);
}
