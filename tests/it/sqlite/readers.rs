//! What other programs see of the file while it is written, and in which words.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay::{Capture, Event, Timestamp};

use super::{Database, LONG, impatient};
use crate::harness::events;

#[test]
fn readers_never_wait_and_see_whole_sends_only() {
    let database = Database::new();
    let mut config = impatient();
    config.batch.max_rows = 500;
    let pipeline = database.open_with(config).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let reader = database.connect();
                    reader.busy_timeout(Duration::ZERO).unwrap();
                    let (mut queries, mut last) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        let rows: i64 = reader.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
                        assert!(rows % 50 == 0 && rows >= last, "{rows} after {last}");
                        (queries, last) = (queries + 1, rows);
                    }
                    queries
                })
            })
            .collect();
        let sender = pipeline.events();
        for _ in 0..200 {
            drop(sender.send_many_blocking(events((0..50).map(|row| row.to_string()))).unwrap());
        }
        pipeline.flush().wait().unwrap();
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}

#[test]
fn a_reader_that_keeps_its_snapshot_stops_no_writer() {
    let database = Database::new();
    let pipeline = database.open();
    let reader = database.connect();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    for _ in 0..20 {
        let receipt = pipeline.events().send_many_blocking(events((0..100).map(|row| row.to_string()))).unwrap();
        assert_eq!(receipt.wait(), Ok(()));
    }
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let seen: i64 = reader.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, 0, "its snapshot");
    drop(reader);
    assert_eq!(database.number("SELECT count(*) FROM events"), 2000);
}

#[test]
fn the_views_show_times_that_people_read_before_1970_too() {
    let moments = [
        i64::MIN,
        i64::MIN + 999_999_999,
        -62_135_596_800,
        -1_000_000_001,
        -1_000_000_000,
        -999_999_999,
        -1,
        0,
        1,
        999_999_999,
        1_700_000_000_123_456_789,
        i64::MAX - 1,
        i64::MAX,
    ];
    let database = Database::new();
    let pipeline = database.open();
    for nanos in moments {
        let ts = Timestamp::from_nanos(nanos);
        drop(pipeline.events().send_blocking(Event::builder("s", "v", "t").ts(ts).build().unwrap()).unwrap());
        drop(pipeline.captures().send_blocking(Capture::builder("s", "k").ts(ts).build().unwrap()).unwrap());
    }
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let expected: Vec<_> = moments.iter().map(|nanos| Timestamp::from_nanos(*nanos).to_string()).collect();
    for table in ["events", "captures"] {
        assert_eq!(database.texts(&format!("SELECT time FROM {table}_view ORDER BY ts")), expected);
        let stored: Vec<i64> = {
            let reader = database.connect();
            let mut statement = reader.prepare(&format!("SELECT ts FROM {table}_view ORDER BY ts")).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(stored, moments);
    }
}
