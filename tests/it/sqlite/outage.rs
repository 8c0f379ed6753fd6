//! Other programs hold the lock, or do something to the file, while it is being written.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use forebay::pipeline::LaneState;
use forebay::{Pipeline, ReceiptError, TrySendError};

use super::{Database, LONG, impatient};
use crate::harness::{adds_up, capture, counts, event, events, eventually, state};

/// Waits until the lane has tried several times, and returns what it says.
fn retrying(pipeline: &Pipeline) -> String {
    let mut said = String::new();
    eventually("it tries again and again", || match state(pipeline) {
        LaneState::Retrying { attempts, error, .. } => {
            said = error;
            attempts >= 3
        }
        _ => false,
    });
    said
}

#[test]
fn while_another_program_holds_the_write_lock_rows_wait_and_then_everything_goes_on_by_itself() {
    let database = Database::new();
    let mut config = impatient();
    config.batch.max_rows = 10;
    config.buffer.events.max_rows = 20;
    let pipeline = database.open_with(config).unwrap();
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sender = pipeline.events();
    let receipts: Vec<_> = (0..20).map(|row| sender.send_blocking(event(&format!("{row:02}"))).unwrap()).collect();
    assert!(retrying(&pipeline).contains("locked"));
    assert!(matches!(sender.try_send(event("20")), Err(TrySendError::Full(_))));
    let waiting = std::thread::spawn(move || sender.send_blocking(event("20")).unwrap().wait());
    assert!(adds_up(&counts(&pipeline)));
    assert_eq!(counts(&pipeline).committed, 0);
    assert!(!waiting.is_finished());
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(()));
    assert!(receipts.into_iter().all(|receipt| receipt.wait() == Ok(())));
    eventually("it runs again", || state(&pipeline) == LaneState::Running);
    let rows = database.texts("SELECT msg FROM events ORDER BY id");
    assert_eq!(rows, (0..=20).map(|row| format!("{row:02}")).collect::<Vec<_>>());
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}

#[test]
fn a_write_that_waits_for_a_lock_is_seen_in_the_status() {
    let database = Database::new();
    let mut config = impatient();
    config.sqlite.busy_timeout = LONG;
    let pipeline = database.open_with(config).unwrap();
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    eventually("its age grows", || pipeline.status().lanes[0].writing_for > Some(Duration::from_millis(100)));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(receipt.wait(), Ok(()));
    pipeline.shutdown_blocking(LONG);
}

#[test]
fn shutdown_is_bounded_while_another_program_holds_the_lock_and_its_receipts_say_what_is_not_stored() {
    let database = Database::new();
    let pipeline = database.open();
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    retrying(&pipeline);
    let summary = pipeline.shutdown_blocking(Duration::from_millis(50));
    assert!(summary.took < Duration::from_secs(2), "{:?}", summary.took);
    assert_eq!((summary.lanes[0].events.failed, summary.lanes[0].events.accepted), (1, 1));
    assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { rows: 1, .. })));
}

#[test]
fn a_file_that_was_moved_is_not_written_and_when_it_is_put_back_its_rows_are() {
    let database = Database::new();
    let pipeline = database.open();
    pipeline.events().send_blocking(event("before")).unwrap().wait().unwrap();
    let elsewhere = database.directory().join("moved.db");
    fs::rename(database.path(), &elsewhere).unwrap();
    let receipt = pipeline.events().send_blocking(event("meanwhile")).unwrap();
    let said = retrying(&pipeline);
    assert!(said.contains("a.db was moved or deleted; put it back"), "{said}");
    assert!(!database.path().exists(), "no new file is begun in silence");
    fs::rename(&elsewhere, database.path()).unwrap();
    assert_eq!(receipt.wait(), Ok(()));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.texts("SELECT msg FROM events ORDER BY id"), ["before", "meanwhile"]);
}

/// The writer refused to write to the other file, but the checkpointer, which opens its connection when there is first
/// something to do, opened it, and applied the old file's log to it.
#[test]
fn a_file_that_was_replaced_by_another_is_not_written() {
    let (database, other) = (Database::new(), Database::new());
    other.create();
    let pipeline = database.open();
    fs::remove_file(database.path()).unwrap();
    fs::copy(other.path(), database.path()).unwrap();
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    assert!(retrying(&pipeline).contains("moved or deleted"));
    let long_enough = Some(Duration::from_millis(400));
    eventually("checkpoints were due", || pipeline.status().lanes[0].writing_for > long_enough);
    assert!(pipeline.replay::<forebay::Event>("file").is_err(), "nor is its ledger asked");
    let summary = pipeline.shutdown_blocking(Duration::from_millis(50));
    assert_eq!(summary.lanes[0].events.failed, 1);
    assert!(receipt.wait().is_err());
    assert_eq!(fs::read(database.path()).unwrap(), fs::read(other.path()).unwrap());
}

#[test]
fn damage_that_is_found_while_writing_fails_the_lane_and_every_receipt() {
    let database = Database::new();
    {
        let pipeline = database.open();
        let rows = (0..3000).map(|row| format!("{row} {}", "x".repeat(100)));
        pipeline.events().send_many_blocking(events(rows)).unwrap().wait().unwrap();
        pipeline.shutdown_blocking(LONG);
    }
    // The open segment is read when the file is opened, the ledger with the first batch only.
    let page = database.number("SELECT rootpage FROM sqlite_schema WHERE name = 'ingest_ledger'") as u64;
    let mut file = fs::OpenOptions::new().write(true).open(database.path()).unwrap();
    file.seek(SeekFrom::Start((page - 1) * 8192)).unwrap();
    file.write_all(&[0x5a; 8192]).unwrap();
    drop(file);
    let pipeline = database.open();
    let sender = pipeline.events();
    let receipt = sender.send_blocking(event("a")).unwrap();
    let Err(ReceiptError::Failed { reason, .. }) = receipt.wait() else { panic!("it cannot be stored") };
    assert!(reason.contains("malformed"), "{reason}");
    assert!(matches!(state(&pipeline), LaneState::Failed { .. }));
    eventually("sends are refused", || sender.try_send(event("b")).is_err());
    let summary = pipeline.shutdown_blocking(LONG);
    assert!(summary.took < Duration::from_secs(10));
    assert_eq!(summary.lanes[0].events.committed, 0);
}

#[test]
fn a_table_that_somebody_dropped_fails_the_lane_instead_of_setting_every_row_aside() {
    for sql in [
        "DROP TABLE captures_0",
        "DROP VIEW captures_view; DROP VIEW captures; ALTER TABLE captures_0 DROP COLUMN proto",
    ] {
        let database = Database::new();
        let pipeline = database.open();
        pipeline.captures().send_blocking(capture("a")).unwrap().wait().unwrap();
        database.execute(sql);
        let receipt = pipeline.captures().send_blocking(capture("b")).unwrap();
        assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { .. })), "{sql}");
        assert!(matches!(state(&pipeline), LaneState::Failed { .. }));
        pipeline.shutdown_blocking(LONG);
        assert_eq!(database.number("SELECT count(*) FROM ingest_rejects"), 0);
    }
}

#[test]
fn a_column_that_somebody_added_or_a_vacuum_in_between_does_no_harm() {
    let database = Database::new();
    let pipeline = database.open();
    for (row, sql) in
        ["ALTER TABLE events_0 ADD COLUMN theirs", "VACUUM", "CREATE INDEX theirs ON events_0 (msg)", "ANALYZE"]
            .iter()
            .enumerate()
    {
        database.execute(sql);
        assert_eq!(pipeline.events().send_blocking(event(&row.to_string())).unwrap().wait(), Ok(()), "{sql}");
    }
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.number("SELECT count(*) FROM events"), 4);
}
