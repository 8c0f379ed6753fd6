//! The write-ahead log stays short while rows pour in, and says so when a reader does not let it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use forebay::backend::sqlite::Sqlite;
use forebay::backend::{Backend, WriteError};
use forebay::config::Bytes;
use forebay::pipeline::LaneState;
use forebay::repository::{Direction, Filter, Paging, Repository, Sort};
use forebay::{Batch, Config, Row, TrySendError};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder};

use super::{Database, LONG, impatient, segments};
use crate::harness::{adds_up, capture, counts, events, eventually, eventually_within, state};

/// Bytes of one row here.
const ROW: usize = 64 << 10;

fn length(database: &Database) -> u64 {
    std::fs::metadata(database.beside("-wal")).map_or(0, |log| log.len())
}

fn row(number: usize) -> forebay::Capture {
    let mut text = format!("{number}:");
    text.extend(std::iter::repeat_n('x', ROW));
    capture(&text)
}

/// Keeps the gauges that are made while it is the recorder.
#[derive(Default)]
struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Gauges {
    fn value(&self, name: &str) -> f64 {
        f64::from_bits(self.0.lock().unwrap()[name].load(Ordering::Relaxed))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.0.lock().unwrap().entry(key.name().to_owned()).or_default().clone())
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The checkpoints beside the writer never caught up with it: whenever one ended, another batch was in the log, so the
/// log never began anew. It grew until a commit moved all of it, and that one took as long as three.
#[test]
fn the_log_stays_short_while_rows_pour_in() {
    let database = Database::new();
    let backend = Sqlite::open(database.path(), &Config::default()).unwrap();
    let rows: Vec<_> = (0..64).map(row).collect();
    let batches: Vec<_> =
        (0..128).map(|batch| Batch::detached("s", batch * 64, rows.iter().cloned().map(Row::Keep).collect())).collect();
    let mut longest = 0;
    // Without a pause: the log is never all moved when a pass beside the writer ends.
    for batch in &batches {
        backend.write(batch).unwrap();
        longest = longest.max(length(&database));
    }
    assert!(longest < 200 << 20, "{longest} bytes of log for {} of rows", batches.len() * 64 * ROW);
    assert_eq!(database.number("SELECT count(*) FROM captures"), 128 * 64);
}

/// A dashboard left a transaction open over a weekend. The log grew until the disk was full, and the first sign was that
/// nothing could be written any more.
#[test]
fn a_reader_that_holds_the_log_makes_rows_wait_at_the_limit_and_when_it_ends_they_are_stored() {
    let database = Database::new();
    let mut config = impatient();
    config.batch.max_rows = 10;
    config.buffer.captures.max_rows = 20;
    config.sqlite.max_wal = Bytes::mib(4);
    let gauges = Gauges::default();
    let pipeline = with_local_recorder(&gauges, || database.open_with(config)).unwrap();
    let sender = pipeline.captures();
    sender.send_blocking(row(0)).unwrap().wait().unwrap();
    let reader = database.connect();
    reader.execute_batch("BEGIN; SELECT count(*) FROM captures").unwrap();
    let mut receipts = Vec::new();
    eventually("the log is full and memory too", || {
        while receipts.len() < 1000 {
            match sender.try_send(row(receipts.len() + 1)) {
                Ok(receipt) => receipts.push(receipt),
                Err(TrySendError::Full(_)) => break,
                Err(other) => panic!("{other}"),
            }
        }
        matches!(state(&pipeline), LaneState::Retrying { attempts: 3.., .. })
            && matches!(sender.try_send(row(0)), Err(TrySendError::Full(_)))
    });
    let LaneState::Retrying { error, .. } = state(&pipeline) else { panic!("it goes on without room") };
    assert!(error.contains("a.db-wal is 4.") && error.contains("sqlite.max_wal is 4 MiB"), "{error}");
    assert!(error.contains("end that transaction"), "{error}");
    let full = length(&database);
    assert!(full > 4 << 20 && full < 6 << 20, "beyond the limit by one batch at most: {full}");
    assert!(adds_up(&counts(&pipeline)));
    eventually("the metrics show it", || {
        gauges.value("forebay_sqlite_wal_bytes") > f64::from(4 << 20)
            && gauges.value("forebay_sqlite_wal_held_bytes") > f64::from(3 << 20)
    });
    assert_eq!(length(&database), full, "nothing is written meanwhile");
    drop(reader);
    let sent = receipts.len() as i64;
    receipts.into_iter().for_each(|receipt| receipt.wait().unwrap());
    eventually("it runs again", || state(&pipeline) == LaneState::Running);
    eventually("the metrics show that too", || gauges.value("forebay_sqlite_wal_held_bytes") == 0.0);
    assert!(length(&database) < full, "space is given back");
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.number("SELECT count(*) FROM captures"), sent + 1);
}

/// A reader that stays for minutes meets hundreds of commits, closes, merges and drops; so does this one, in a few seconds.
#[test]
fn readers_that_stay_do_no_harm_and_of_ours_none_holds_the_log() {
    let database = Database::new();
    let mut config = segments::tiny();
    config.retention.max_rows = Some(2000);
    let gauges = Gauges::default();
    let pipeline = with_local_recorder(&gauges, || database.open_with(config)).unwrap();
    let sender = pipeline.events();
    let send = |turns: usize| {
        for _ in 0..turns {
            drop(sender.send_many_blocking(events((0..50).map(|row| row.to_string()))).unwrap());
        }
        assert_eq!(pipeline.flush().wait(), Ok(()));
    };
    send(10);
    // A foreign one: a transaction, and a cursor on its first row.
    let reader = database.connect();
    let extent = "SELECT count(*), min(id), max(id) FROM events";
    let seen = || reader.query_row(extent, [], |row| <(i64, i64, i64)>::try_from(row)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let before = seen();
    assert_eq!(before, (500, 1, 500));
    let mut list = reader.prepare("SELECT id FROM events ORDER BY id").unwrap();
    let mut cursor = list.query([]).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().get::<_, i64>(0).unwrap(), 1);
    // Ours: a page that is to be gone on from, and a stream that nobody reads on.
    let repository = Repository::open(&database.url()).unwrap();
    let oldest = Paging::newest(100).ordered(Sort::Id, Direction::OldestFirst);
    let page = repository.events().page(&Filter::new(), &oldest).unwrap();
    let mut stream = repository.tail_events(Filter::new(), Some(0)).unwrap().into_stream().unwrap();
    send(300);
    let now = database.connect().query_row(extent, [], |row| <(i64, i64, i64)>::try_from(row)).unwrap();
    assert!(now.1 > 500 && now.2 == 15_500, "all that it sees is dropped for others: {now:?}");
    let steps = database.number("SELECT max(number) FROM segments");
    assert!(steps > 100, "{steps} segments were made");
    assert_eq!(state(&pipeline), LaneState::Running);
    let full = length(&database);
    eventually("what it holds is told", || gauges.value("forebay_sqlite_wal_held_bytes") > 0.0);
    assert_eq!(seen(), before, "its snapshot");
    let rest = std::iter::from_fn(|| cursor.next().unwrap().map(|row| row.get::<_, i64>(0).unwrap()));
    assert!(rest.eq(2..=500), "its cursor too");
    drop(cursor);
    reader.execute_batch("COMMIT").unwrap();
    // Page and stream are as they were.
    eventually_within(LONG * 3, "the log is moved into the file", || {
        send(1);
        gauges.value("forebay_sqlite_wal_held_bytes") == 0.0
            && gauges.value("forebay_sqlite_wal_bytes") < full as f64 / 4.0
    });
    let next = repository.events().page(&Filter::new(), &oldest.after(page.next.unwrap())).unwrap();
    assert!(next.rows.len() == 100 && next.rows[0].id > 500, "the page goes on with what is kept");
    let last = database.number("SELECT max(id) FROM events");
    let mut told = 0;
    while told < last {
        for stored in pollster::block_on(stream.next()).unwrap().unwrap() {
            assert!(stored.id > told, "{} after {told}", stored.id);
            told = stored.id;
        }
    }
    drop(list);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    super::catalogue::check(&database.connect());
}

#[test]
fn a_full_log_is_a_passing_state_with_a_name_and_another_snapshot_does_not_help() {
    let database = Database::new();
    let mut config = impatient();
    config.sqlite.max_wal = Bytes::mib(1);
    let backend = Sqlite::open(database.path(), &config).unwrap();
    let mut position = 0;
    let mut write = || {
        position += 1;
        backend.write(&Batch::detached("s", position, vec![Row::Keep(row(0))]))
    };
    let (older, newer) = (database.connect(), database.connect());
    older.execute_batch("BEGIN; SELECT count(*) FROM captures").unwrap();
    let mut written = 0;
    let error = loop {
        match write() {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "it grows without bound");
    };
    assert!(matches!(error, WriteError::Transient { reason: "wal_full", .. }), "{error}");
    newer.execute_batch("BEGIN; SELECT count(*) FROM captures").unwrap();
    older.execute_batch("COMMIT").unwrap();
    assert!(matches!(write(), Err(WriteError::Transient { reason: "wal_full", .. })), "another reader is in the log");
    newer.execute_batch("COMMIT").unwrap();
    eventually("there is room", || write().is_ok());
    assert!(length(&database) < 1 << 20);
    assert_eq!(database.number("SELECT count(*) FROM captures"), written + 1);
}

#[test]
fn without_readers_a_small_limit_stops_nobody() {
    let database = Database::new();
    let mut config = impatient();
    config.sqlite.max_wal = Bytes::mib(1);
    let pipeline = database.open_with(config).unwrap();
    for number in 0..200 {
        drop(pipeline.captures().send_blocking(row(number)).unwrap());
    }
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.number("SELECT count(*) FROM captures"), 200);
}
