//! Two files with the same rows: ours, grown through our own writer until its work on segments is done, and one with an
//! ordinary table and the schema's three indexes, as anybody would make it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::backend::Backend;
use forebay::backend::sqlite::Sqlite;
use forebay::{Batch, Config, Event, Row};
use rusqlite::Connection;

use crate::sample;

/// Rows of a transaction: the default of `batch.max_rows`.
pub const BATCH: usize = 8192;
/// The first row's time, in nanoseconds since the Unix epoch.
const BEGIN: i64 = 1_760_000_000_000_000_000;
/// After so long without a change the work on segments counts as done: it goes on every 100 ms.
const QUIET: Duration = Duration::from_secs(5);

/// The two files.
pub struct Grown {
    pub ours: PathBuf,
    pub plain: PathBuf,
    pub rows: usize,
    pub days: f64,
}

impl Grown {
    pub fn new(dir: &Path, rows: usize, days: f64) -> Self {
        Self { ours: dir.join("ours.db"), plain: dir.join("plain.db"), rows, days }
    }

    /// The time after the last row.
    pub fn end(&self) -> i64 {
        BEGIN + self.rows as i64 * self.step()
    }

    /// Nanoseconds from one row to the next.
    fn step(&self) -> i64 {
        (self.days * 86_400e9 / self.rows as f64) as i64
    }

    /// Makes what is not there yet.
    pub fn make(&self) {
        let began = Instant::now();
        let is_there = self.ours.exists();
        let backend = Sqlite::open(&self.ours, &Config::default()).expect("a database");
        if !is_there {
            self.write(&backend);
            eprintln!("{} rows written after {:.0?}", self.rows, began.elapsed());
        }
        // An earlier run may have been stopped.
        settle(&self.ours);
        backend.close("memory/").expect("the file is ours");
        drop(backend);
        eprintln!("segments done after {:.0?}", began.elapsed());
        if !self.plain.exists() {
            self.copy();
        }
    }

    fn write(&self, backend: &Sqlite) {
        let mut rows = Rows::new(0, self.step());
        for (number, batch) in batches(self.rows).enumerate() {
            backend.write(&rows.batch(number, batch)).expect("a write");
        }
    }

    /// Copies the rows in the order of their ids and builds the indexes when all are there: then they are denser than
    /// those of a table that has grown with them, to the ordinary table's advantage.
    fn copy(&self) {
        let began = Instant::now();
        let making = self.plain.with_extension("making");
        // Of an earlier run that was stopped.
        drop(std::fs::remove_file(&making));
        let connection = Connection::open(&making).expect("a new file");
        let ours = self.ours.display();
        let page: i64 = Connection::open(&self.ours)
            .and_then(|ours| ours.query_row("PRAGMA page_size", [], |row| row.get(0)))
            .expect("our file");
        let sql = format!(
            "PRAGMA page_size={page}; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-262144; \
             ATTACH 'file:{ours}?mode=ro' AS ours;
             CREATE TABLE events (id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, sensor TEXT NOT NULL, \
               service TEXT NOT NULL, event_type TEXT NOT NULL, src_ip TEXT, src_port INTEGER, dst_ip TEXT, \
               dst_port INTEGER, proto TEXT, session TEXT, msg TEXT, fields TEXT, raw TEXT, trace_id TEXT, \
               span_id TEXT);
             INSERT INTO main.events SELECT * FROM ours.events ORDER BY id;
             CREATE INDEX events_ts ON events (ts);
             CREATE INDEX events_src_ip_ts ON events (src_ip, ts);
             CREATE INDEX events_sensor_ts ON events (sensor, ts);
             DETACH ours;
             PRAGMA journal_mode=WAL;"
        );
        connection.execute_batch(&sql).expect("a copy");
        drop(connection);
        std::fs::rename(making, &self.plain).expect("the copy's name");
        eprintln!("one ordinary table made in {:.0?}", began.elapsed());
    }
}

/// Rows with ascending times, as batches.
pub struct Rows {
    lines: Box<dyn Iterator<Item = sample::Line> + Send>,
    ts: i64,
    step: i64,
}

impl Rows {
    /// Begins `number` rows after the first.
    pub fn new(number: usize, step: i64) -> Self {
        Self { lines: Box::new(sample::stream()), ts: BEGIN + number as i64 * step, step }
    }

    pub fn batch(&mut self, number: usize, rows: usize) -> Batch {
        let rows = self.events(rows).into_iter().map(Row::Keep);
        Batch::detached("memory/bench/0", (number * BATCH) as u64, rows.collect())
    }

    pub fn events(&mut self, rows: usize) -> Vec<Event> {
        let event = |_| {
            let mut line = self.lines.next().expect("there is no end");
            // Somewhat out of order, as rows of several sensors are.
            let jitter = line.ts % (8 * self.step);
            line.ts = self.ts + jitter;
            self.ts += self.step;
            line.event()
        };
        (0..rows).map(event).collect()
    }
}

/// Writes rows, made before, as fast as it goes; returns how many, and how many per second.
///
/// `source` must be new to the file: what the ledger has of it already would be taken for committed, and not be written.
pub fn load(backend: &Sqlite, source: &str, done: &AtomicBool) -> (usize, f64) {
    let mut rows = Rows::new(10_000_000, 10_000_000);
    let made: Vec<_> = (0..20).map(|_| rows.events(BATCH)).collect();
    let (began, mut written) = (Instant::now(), 0);
    for events in made.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let rows = events.iter().cloned().map(Row::Keep).collect();
        backend.write(&Batch::detached(source, written as u64, rows)).expect("a write");
        written += BATCH;
    }
    (written, written as f64 / began.elapsed().as_secs_f64())
}

fn batches(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).step_by(BATCH).map(move |from| BATCH.min(rows - from))
}

/// Waits until the catalogue does not change any more.
pub fn settle(path: &Path) {
    let connection = Connection::open(path).expect("our file");
    let look = || -> String {
        let all = "SELECT group_concat(kind || number || state || indexes || rows) FROM segments";
        connection.query_row(all, [], |row| row.get(0)).expect("the catalogue")
    };
    let (mut seen, mut since) = (look(), Instant::now());
    while since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(100));
        let now = look();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}
