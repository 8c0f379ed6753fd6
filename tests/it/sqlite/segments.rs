//! Segments under a pipeline: readers, other writers, a lock in the way, and a file that rests in the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::Config;
use rusqlite::Connection;

use super::{Database, LONG, catalogue, impatient};
use crate::harness::{capture, event, events, eventually};

/// Segments of twenty rows: hundreds of steps in a second.
pub fn tiny() -> Config {
    let mut config = impatient();
    config.batch.max_rows = 50;
    config.sqlite.segment_rows = 20;
    config.sqlite.merged_rows = 400;
    config.sqlite.max_segments = 16;
    config
}

/// Waits until there is nothing left to be closed, indexed, merged or dropped.
///
/// `number` runs a query that gives one.
pub fn settled(number: impl Fn(&str) -> i64) {
    let unfinished = "SELECT count(*) FROM segments WHERE state IN ('merging', 'dropping') OR target IS NOT NULL \
                      OR (state = 'closed' AND indexes < iif(kind = 'events', 3, 2))";
    eventually("the segments come to rest", || number(unfinished) == 0);
}

#[test]
fn a_reader_sees_one_snapshot_while_segments_are_closed_merged_and_dropped() {
    for keep in [None, Some(3000)] {
        let database = Database::new();
        let mut config = tiny();
        config.retention.max_rows = keep;
        let pipeline = database.open_with(config).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| read(&database.connect(), &done));
            }
            let sender = pipeline.events();
            for _ in 0..150 {
                drop(sender.send_many_blocking(events((0..50).map(|row| row.to_string()))).unwrap());
            }
            pipeline.flush().wait().unwrap();
            settled(|sql| database.number(sql));
            done.store(true, Ordering::Relaxed);
        });
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
        catalogue::check(&database.connect());
        let (rows, last): (i64, i64) =
            (database.number("SELECT count(*) FROM events"), database.number("SELECT max(id) FROM events"));
        assert_eq!(last, 7500);
        match keep {
            None => assert_eq!(rows, 7500),
            Some(keep) => assert!(rows >= keep as i64 && rows < 7500, "{rows}"),
        }
    }
}

/// Prepares once and reads again and again, alone and in transactions: ids without a gap, the same each time.
fn read(reader: &Connection, done: &AtomicBool) {
    reader.busy_timeout(Duration::ZERO).unwrap();
    let mut query = reader.prepare("SELECT count(*), coalesce(min(id), 1), coalesce(max(id), 0) FROM events").unwrap();
    let mut list = reader.prepare("SELECT id FROM events ORDER BY id").unwrap();
    let mut last = 0;
    while !done.load(Ordering::Relaxed) {
        let mut extent = || query.query_row([], |row| <(i64, i64, i64)>::try_from(row)).unwrap();
        let (rows, first, now_last) = extent();
        assert_eq!(rows, now_last - first + 1, "no gap");
        assert!(now_last >= last && now_last % 50 == 0, "{now_last} after {last}");
        last = now_last;
        reader.execute_batch("BEGIN").unwrap();
        let (rows, first, last) = extent();
        let ids: Vec<i64> = list.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(ids.iter().copied().eq(first..=last), "{rows} rows from {first} to {last}");
        assert_eq!(extent(), (rows, first, last), "one snapshot");
        reader.execute_batch("COMMIT").unwrap();
    }
}

/// Ids are counted by the writer. Somebody inserted a row into the open segment, which took the next id: every row that
/// came after it was refused as not unique and set aside, for ever.
#[test]
fn a_row_that_somebody_else_wrote_takes_its_place_and_ours_go_on_behind_it() {
    let database = Database::new();
    let pipeline = database.open();
    pipeline.events().send_blocking(event("a")).unwrap().wait().unwrap();
    database.execute(
        "INSERT INTO events_0 (ts, sensor, service, event_type, msg) VALUES (0, 's', 'v', 't', 'theirs');
         INSERT INTO captures_0 (ts, sensor, kind, length, data) VALUES (0, 's', 'k', 6, 'theirs')",
    );
    assert_eq!(pipeline.events().send_many_blocking(events(["b", "c"])).unwrap().wait(), Ok(()));
    assert_eq!(pipeline.captures().send_blocking(capture("d")).unwrap().wait(), Ok(()));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.texts("SELECT msg FROM events ORDER BY id"), ["a", "theirs", "b", "c"]);
    assert_eq!(database.texts("SELECT CAST(data AS TEXT) FROM captures ORDER BY id"), ["theirs", "d"]);
}

/// A step waited for another program's lock as long as a batch does, 30 s, and had the writer meanwhile: shutdown, which
/// has nothing to wait for, waited with it. And after the step had failed, work went on with the next batch only.
#[test]
fn a_lock_in_the_way_of_a_step_holds_up_nothing_else_and_the_step_is_done_afterwards() {
    let database = Database::new();
    let mut config = tiny();
    config.sqlite.busy_timeout = Duration::from_secs(3600);
    config.sqlite.segment_age = Duration::from_secs(1);
    let closed = || database.number("SELECT count(*) FROM segments WHERE state = 'closed' AND rows = 1");
    for ends in ["by shutdown", "by itself"] {
        let pipeline = database.open_with(config.clone()).unwrap();
        pipeline.events().send_blocking(event(ends)).unwrap().wait().unwrap();
        let other = database.connect();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let before = closed();
        let held = Instant::now();
        eventually("the segment is old enough to be closed", || held.elapsed() > Duration::from_millis(1500));
        if ends == "by itself" {
            other.execute_batch("ROLLBACK").unwrap();
            // Nothing is sent.
            eventually("the segment is closed", || closed() > before);
            settled(|sql| database.number(sql));
        }
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
    }
    catalogue::check(&database.connect());
}
