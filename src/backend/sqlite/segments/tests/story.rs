//! A file that is written and worked on by hand: the clock, the limits and every step are the test's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

use super::super::*;
use super::catalogue_check;
use crate::backend::sqlite::lock::WriterLock;
use crate::backend::sqlite::{insert, open};
use crate::batch::Batch;
use crate::capture::Capture;
use crate::chunk::Row;
use crate::config::{Bytes, Config};
use crate::event::Event;
use crate::timestamp::Timestamp;

pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const EVENT: RowKind = RowKind::Event;
pub(super) const CAPTURE: RowKind = RowKind::Capture;

/// When a step or a write is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    BeforeCommit,
    AfterCommit,
}

/// A row as the oracle has it: id, time, text.
pub(super) type Known = (i64, i64, String);

pub(super) struct Story {
    dir: Arc<TempDir>,
    path: PathBuf,
    copies: usize,
    // Declared in the order in which they must go.
    connection: Option<SqliteConnection>,
    _lock: Option<WriterLock>,
    pub(super) segments: Segments,
    pub(super) limits: Limits,
    pub(super) now: i64,
    written: u64,
    /// What the views must show, of each kind.
    pub(super) known: [Vec<Known>; 2],
}

/// Segments of four rows, of twenty when merged.
pub(super) fn tiny() -> Limits {
    let mut config = Config::default();
    config.sqlite.segment_rows = 4;
    config.sqlite.merged_rows = 20;
    config.sqlite.max_segments = 16;
    Limits::of(&config)
}

/// A page cache of ten pages: then what is not committed yet is in the log already.
fn config() -> Config {
    let mut config = Config::default();
    config.sqlite.cache = Bytes(40 << 10);
    config
}

impl Story {
    pub(super) fn new(limits: Limits) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let path = dir.path().join("0.db");
        Self::open(dir, path, 0, limits)
    }

    fn open(dir: Arc<TempDir>, path: PathBuf, copies: usize, limits: Limits) -> Self {
        let (path, lock, mut connection) = open::open(&path, &config().sqlite).unwrap();
        let segments = Segments::read(&mut connection).unwrap();
        let (connection, lock) = (Some(connection), Some(lock));
        let known = [Vec::new(), Vec::new()];
        Self { dir, path, copies, connection, _lock: lock, segments, limits, now: SECOND, written: 0, known }
    }

    fn connection(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("it is open")
    }

    /// What a killed process would leave, opened again: the rest of this story is another one's.
    pub(super) fn as_killed_now(&mut self) -> Self {
        self.copies += 1;
        let copy = self.dir.path().join(format!("{}-{}.db", self.path.file_stem().unwrap().display(), self.copies));
        let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
        // Beside the lock file and the shared memory, which do not survive a process, this is all that there is.
        std::fs::copy(&self.path, &copy).unwrap();
        std::fs::copy(log(&self.path), log(&copy)).unwrap();
        let mut story = Self::open(Arc::clone(&self.dir), copy, 0, self.limits.clone());
        (story.now, story.written, story.known) = (self.now, self.written, self.known.clone());
        story
    }

    /// Closes the file and opens it again.
    pub(super) fn reopened(mut self) -> Self {
        (self.connection, self._lock) = (None, None);
        let mut story = Self::open(Arc::clone(&self.dir), self.path.clone(), self.copies, self.limits.clone());
        (story.now, story.written, story.known) = (self.now, self.written, std::mem::take(&mut self.known));
        story
    }

    /// Writes rows at such times as one batch, as `file.rs` does; what is full is closed first.
    pub(super) fn write(&mut self, kind: RowKind, times: &[i64]) {
        let bytes = 300 * times.len() as i64;
        let limits = self.limits.clone();
        if self.segments.is_full(kind, times.len() as i64, bytes, &limits) {
            self.carry_out(&Step::Close(kind));
        }
        let (known, added) = self.insert(kind, times);
        self.connection().batch_execute("COMMIT").unwrap();
        self.segments.committed(kind, added, bytes);
        self.known[kind.index()].extend(known);
    }

    /// Leaves a batch uncommitted.
    pub(super) fn write_without_commit(&mut self, kind: RowKind, times: &[i64]) {
        self.insert(kind, times);
    }

    fn insert(&mut self, kind: RowKind, times: &[i64]) -> (Vec<Known>, Added) {
        let first = self.written;
        self.written += times.len() as u64;
        let texts: Vec<String> = (first..).take(times.len()).map(|row| format!("row {row}")).collect();
        let places = RowKind::ALL.map(|kind| self.segments.place(kind));
        let batch = match kind {
            EVENT => Batch::detached("s", first, rows(times, &texts, event)),
            CAPTURE => Batch::detached("s", first, rows(times, &texts, capture)),
        };
        let connection = self.connection();
        connection.batch_execute("BEGIN IMMEDIATE").unwrap();
        let added = insert::insert(connection, &batch, &places).unwrap();
        let mut stored = [0; 2];
        stored[kind.index()] = times.len() as i64;
        assert_eq!(added.map(|added| added.rows), stored);
        let ids = places[kind.index()].first_id..;
        let known = ids.zip(times).zip(texts).map(|((id, ts), text)| (id, *ts, text)).collect();
        (known, added[kind.index()])
    }

    pub(super) fn next(&self, urgency: Urgency) -> Option<Step> {
        self.segments.next(&self.limits, self.now, urgency)
    }

    pub(super) fn carry_out(&mut self, step: &Step) {
        self.expect(step);
        let (now, connection) = (self.now, self.connection.as_mut().expect("it is open"));
        self.segments.carry_out(connection, step, now).unwrap();
    }

    /// Takes from the oracle what a step takes from sight.
    pub(super) fn expect(&mut self, step: &Step) {
        let rows = self.segments.rows(step) as usize;
        if let Step::Retire(kind, number, _) = *step {
            let closed = |segment: &&Segment| segment.state == State::Closed;
            let oldest = self.segments.catalogue[kind.index()].iter().find(closed).unwrap();
            assert_eq!(oldest.number, number, "the oldest goes first");
            self.known[kind.index()].drain(..rows);
        }
    }

    /// Does everything of a step but its commit.
    pub(super) fn apply_without_commit(&mut self, step: &Step) {
        let (now, connection) = (self.now, self.connection.as_mut().expect("it is open"));
        connection.batch_execute("BEGIN IMMEDIATE").unwrap();
        match step {
            Step::Vacuum => connection.batch_execute("PRAGMA incremental_vacuum(1)").unwrap(),
            _ => steps::apply(connection, &self.segments.catalogue, step, now).unwrap(),
        }
    }

    /// Does at most `most` steps; returns how many there were.
    pub(super) fn work(&mut self, urgency: Urgency, most: usize) -> usize {
        (0..most).take_while(|_| self.next(urgency).map(|step| self.carry_out(&step)).is_some()).count()
    }

    /// Does all that there is to do: without input that must come to an end.
    pub(super) fn settle(&mut self) {
        let most = 12 * self.segments.all().count() + 64;
        assert!(self.work(Urgency::Idle, most) < most, "it goes on for ever");
    }

    pub(super) fn visible(&self, kind: RowKind) -> usize {
        self.segments.catalogue[kind.index()].iter().filter(|segment| segment.is_visible()).count()
    }

    /// Runs a statement on the writing connection, as nobody else could.
    pub(super) fn execute(&mut self, sql: &str) {
        self.connection().batch_execute(sql).unwrap();
    }

    pub(super) fn try_next(&mut self, urgency: Urgency) -> QueryResult<()> {
        let step = self.next(urgency).expect("there is something to do");
        let (now, connection) = (self.now, self.connection.as_mut().expect("it is open"));
        self.segments.carry_out(connection, &step, now)
    }

    /// What must hold at every moment.
    #[track_caller]
    pub(super) fn check(&self) {
        let reader = rusqlite::Connection::open(&self.path).unwrap();
        for (kind, text) in [(EVENT, "msg"), (CAPTURE, "CAST(data AS TEXT)")] {
            let mut rows = reader.prepare(&format!("SELECT id, ts, {text} FROM {} ORDER BY id", kind.table())).unwrap();
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
            let rows: Vec<Known> = rows.map(Result::unwrap).collect();
            assert_eq!(rows, self.known[kind.index()], "{}", kind.table());
            let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        }
        catalogue_check::check(&reader);
        for open in self.segments.all().filter(|segment| segment.state == State::Open) {
            let sql = format!("SELECT count(*) FROM {}", open.table());
            assert_eq!(reader.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap(), open.rows);
        }
    }

    /// The place of a view in the schema: another one, when it has been made anew.
    pub(super) fn place_of_view(&self, name: &str) -> i64 {
        let reader = rusqlite::Connection::open(&self.path).unwrap();
        reader.query_row("SELECT rowid FROM sqlite_schema WHERE name = ?", [name], |row| row.get(0)).unwrap()
    }

    /// What must hold in the end.
    #[track_caller]
    pub(super) fn check_sound(&self) {
        self.check();
        let reader = rusqlite::Connection::open(&self.path).unwrap();
        let said: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(said, "ok");
    }
}

fn rows<R>(times: &[i64], texts: &[String], row: impl Fn(Timestamp, &str) -> R) -> Vec<Row<R>> {
    times.iter().zip(texts).map(|(ts, text)| Row::Keep(row(Timestamp::from_nanos(*ts), text))).collect()
}

fn event(ts: Timestamp, text: &str) -> Event {
    Event::builder("sensor", "ssh", "test").ts(ts).msg(text).build().unwrap()
}

fn capture(ts: Timestamp, text: &str) -> Capture {
    Capture::builder("sensor", "payload").ts(ts).data(text.as_bytes()).session("s").build().unwrap()
}
