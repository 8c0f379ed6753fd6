//! What every backend must do, alone, without a pipeline: one suite, run by each.
//!
//! To add a backend: implement [`Subject`] for it and add a line at the end. Batches of any shape come from
//! `harness::batches_of`; so an entry that is known can stand beside one that is not.

use std::path::Path;
use std::sync::Arc;

use forebay::backend::Backend;
use forebay::backend::memory::Memory;
use forebay::pipeline::ReplayRows;
use forebay::{Batch, Event, Reject, Row, RowKind};

use crate::harness::{batches_of, capture, config, event};

/// A backend under test.
trait Subject {
    /// Opens an empty one; `dir` is its own.
    fn open(dir: &Path) -> Self;
    fn backend(&self) -> &dyn Backend;
    /// Rows in `events`, `captures` and `ingest_rejects`.
    fn stored(&self) -> [u64; 3];
    /// Lets go of it and opens it again.
    fn reopen(self, dir: &Path) -> Self;
}

impl Subject for Memory {
    fn open(_: &Path) -> Self {
        Self::default()
    }
    fn backend(&self) -> &dyn Backend {
        self
    }
    fn stored(&self) -> [u64; 3] {
        [self.row_count(RowKind::Event), self.row_count(RowKind::Capture), self.reject_count()]
    }
    fn reopen(self, _: &Path) -> Self {
        self
    }
}

#[cfg(feature = "sqlite")]
struct Sqlite(forebay::backend::sqlite::Sqlite, std::path::PathBuf);

#[cfg(feature = "sqlite")]
impl Subject for Sqlite {
    fn open(dir: &Path) -> Self {
        let path = dir.join("a.db");
        Self(forebay::backend::sqlite::Sqlite::open(&path, &forebay::Config::default()).unwrap(), path)
    }
    fn backend(&self) -> &dyn Backend {
        &self.0
    }
    fn stored(&self) -> [u64; 3] {
        let reader = rusqlite::Connection::open(&self.1).unwrap();
        ["events", "captures", "ingest_rejects"].map(|table| {
            reader.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap() as u64
        })
    }
    fn reopen(self, dir: &Path) -> Self {
        drop(self);
        Self::open(dir)
    }
}

/// The same with segments of three rows, so that everything happens while they are closed and merged.
#[cfg(feature = "sqlite")]
struct SmallSegments(Sqlite);

#[cfg(feature = "sqlite")]
impl Subject for SmallSegments {
    fn open(dir: &Path) -> Self {
        let path = dir.join("a.db");
        let mut config = forebay::Config::default();
        config.sqlite.segment_rows = 3;
        config.sqlite.merged_rows = 30;
        config.sqlite.max_segments = 16;
        Self(Sqlite(forebay::backend::sqlite::Sqlite::open(&path, &config).unwrap(), path))
    }
    fn backend(&self) -> &dyn Backend {
        self.0.backend()
    }
    fn stored(&self) -> [u64; 3] {
        crate::sqlite::catalogue::check(&rusqlite::Connection::open(&self.0.1).unwrap());
        self.0.stored()
    }
    fn reopen(self, dir: &Path) -> Self {
        drop(self);
        Self::open(dir)
    }
}

#[cfg(all(feature = "mysql", feature = "sqlite"))]
struct Mysql(forebay::backend::mysql::Mysql, (String, String));

#[cfg(all(feature = "mysql", feature = "sqlite"))]
impl Subject for Mysql {
    fn open(_: &Path) -> Self {
        let database = crate::mysql::server::SHARED.new_database();
        Self(crate::mysql::open(&database.1), database)
    }
    fn backend(&self) -> &dyn Backend {
        &self.0
    }
    fn stored(&self) -> [u64; 3] {
        let mut admin = crate::mysql::server::SHARED.admin();
        let name = &self.1.0;
        ["events", "captures", "ingest_rejects"]
            .map(|table| admin.number(&format!("SELECT count(*) FROM `{name}`.{table}")) as u64)
    }
    fn reopen(self, _: &Path) -> Self {
        let Self(backend, database) = self;
        drop(backend);
        Self(crate::mysql::open(&database.1), database)
    }
}

fn rows(texts: &[&str]) -> Vec<Row<Event>> {
    texts.iter().map(|text| Row::Keep(event(text))).collect()
}

fn numbered(texts: usize) -> Vec<Row<Event>> {
    (0..texts).map(|number| Row::Keep(event(&number.to_string()))).collect()
}

fn ranges(backend: &dyn Backend, prefix: &str) -> Vec<(String, Vec<(u64, u64)>)> {
    let ledger = backend.ledger(prefix).unwrap();
    ledger
        .into_iter()
        .map(|(source, ranges)| (source, ranges.iter().map(|range| (*range.start(), *range.end())).collect()))
        .collect()
}

fn a_batch_of_both_kinds_and_of_records_nobody_could_read_lands_whole<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    let batches = batches_of(config(100), |pipeline| {
        let replay = pipeline.replay("file").unwrap();
        let reject = Row::Reject(Box::new(Reject::new("unparsable", "no JSON", &b"\xff\0"[..])));
        let mixed = vec![Row::Keep(event("a")), reject, Row::Keep(event("b"))];
        drop(replay.send_blocking(ReplayRows::numbered(0, mixed)).unwrap());
        drop(pipeline.captures().send_many_blocking(vec![capture("c"), capture("")]).unwrap());
    });
    assert_eq!(batches.len(), 1);
    subject.backend().write(&batches[0]).unwrap();
    assert_eq!(subject.stored(), [2, 2, 1]);
    assert_eq!(ranges(subject.backend(), "file"), [("file".into(), vec![(0, 2)])]);
}

fn the_same_batch_twice_lands_once<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    let batch = Batch::detached("s", 0, numbered(250));
    for _ in 0..3 {
        subject.backend().write(&batch).unwrap();
    }
    assert_eq!(subject.stored(), [250, 0, 0]);
}

fn the_same_batch_lands_once_even_if_the_backend_was_reopened_in_between<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    let batch = Batch::detached("s", 7, numbered(3));
    subject.backend().write(&batch).unwrap();
    subject.backend().close("memory/x/").unwrap();
    let subject = subject.reopen(dir);
    assert_eq!(ranges(subject.backend(), "s"), [("s".into(), vec![(7, 9)])]);
    subject.backend().write(&batch).unwrap();
    assert_eq!(subject.stored(), [3, 0, 0]);
}

fn beside_an_entry_that_is_known_a_new_one_lands<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    subject.backend().write(&Batch::detached("known", 0, rows(&["a", "b"]))).unwrap();
    let batches = batches_of(config(100), |pipeline| {
        for (source, texts) in [("new-1", &["c"][..]), ("known", &["a", "b"]), ("new-2", &["d", "e"])] {
            let replay = pipeline.replay(source).unwrap();
            drop(replay.send_blocking(ReplayRows::numbered(0, rows(texts))).unwrap());
        }
    });
    assert_eq!(batches[0].entries().len(), 3);
    subject.backend().write(&batches[0]).unwrap();
    assert_eq!(subject.stored(), [5, 0, 0]);
    assert_eq!(ranges(subject.backend(), "new").len(), 2);
}

fn the_ledger_gives_ranges_that_touch_as_one_and_keeps_gaps<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    for first in [10, 0, 5] {
        subject.backend().write(&Batch::detached("s", first, numbered(if first == 5 { 4 } else { 5 }))).unwrap();
    }
    assert_eq!(ranges(subject.backend(), "s"), [("s".into(), vec![(0, 8), (10, 14)])]);
}

fn a_prefix_of_the_ledger_is_text_and_no_pattern<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    for source in ["a%b", "a%", "a_b", "axb", "a", "b", "A%b", "a%é", "\u{10ffff}"] {
        subject.backend().write(&Batch::detached(source, 0, rows(&["x"]))).unwrap();
    }
    let sources = |prefix| subject.backend().ledger(prefix).unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(sources("a%"), ["a%", "a%b", "a%é"]);
    assert_eq!(sources("a_"), ["a_b"]);
    assert_eq!(sources("%"), [""; 0]);
    assert_eq!(sources("a").len(), 6);
    assert_eq!(sources("").len(), 9);
}

fn positions_reach_from_zero_to_the_largest_signed_number<S: Subject>(dir: &Path) {
    const LAST: u64 = i64::MAX as u64;
    let subject = S::open(dir);
    for first in [0, LAST - 2, LAST] {
        let count = if first == LAST - 2 { 2 } else { 1 };
        subject.backend().write(&Batch::detached("s", first, numbered(count))).unwrap();
        subject.backend().write(&Batch::detached("s", first, numbered(count))).unwrap();
    }
    assert_eq!(subject.stored(), [4, 0, 0]);
    assert_eq!(ranges(subject.backend(), "s"), [("s".into(), vec![(0, 0), (LAST - 2, LAST)])]);
}

fn closing_forgets_the_producers_of_that_pipeline_and_nothing_else<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    for source in ["memory/7/0", "memory/7/1", "memory/70/0", "memory/6/9", "memory0", "memory", "file/memory/7/"] {
        subject.backend().write(&Batch::detached(source, 0, rows(&["x"]))).unwrap();
    }
    subject.backend().close("memory/7/").unwrap();
    let left: Vec<_> = subject.backend().ledger("").unwrap().into_keys().collect();
    assert_eq!(left, ["file/memory/7/", "memory", "memory/6/9", "memory/70/0", "memory0"]);
    assert_eq!(subject.stored(), [7, 0, 0], "rows stay");
}

fn the_largest_row_that_a_pipeline_takes_by_default_lands<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    let room = 8 << 20;
    let text = "x".repeat(room - event("").weight());
    let row = event(&text);
    assert_eq!(row.weight(), room);
    let batches = batches_of(forebay::Config::default(), |pipeline| {
        assert!(pipeline.events().try_send(event(&format!("{text}x"))).is_err());
        drop(pipeline.events().send_blocking(row).unwrap());
    });
    subject.backend().write(&batches[0]).unwrap();
    assert_eq!(subject.stored(), [1, 0, 0]);
}

fn a_ping_is_answered<S: Subject>(dir: &Path) {
    S::open(dir).backend().ping().unwrap();
}

fn several_threads_may_write_up_to_the_limit_at_once<S: Subject>(dir: &Path) {
    let subject = Arc::new(S::open(dir));
    let writes = subject.backend().max_in_flight().get().max(2);
    std::thread::scope(|scope| {
        for writer in 0..writes {
            let backend: &dyn Backend = subject.backend();
            scope.spawn(move || {
                for batch in 0..20 {
                    backend.write(&Batch::detached(&format!("w{writer}"), batch * 10, numbered(10))).unwrap();
                }
            });
        }
    });
    assert_eq!(subject.stored(), [writes as u64 * 200, 0, 0]);
}

macro_rules! conformance {
    ($module:ident, $subject:ty: $($claim:ident)*) => {
        mod $module {
            $(#[test]
            fn $claim() {
                super::$claim::<$subject>(tempfile::tempdir().unwrap().path());
            })*
        }
    };
}

macro_rules! every_claim {
    ($module:ident, $subject:ty) => {
        conformance! { $module, $subject:
            a_batch_of_both_kinds_and_of_records_nobody_could_read_lands_whole
            the_same_batch_twice_lands_once
            the_same_batch_lands_once_even_if_the_backend_was_reopened_in_between
            beside_an_entry_that_is_known_a_new_one_lands
            the_ledger_gives_ranges_that_touch_as_one_and_keeps_gaps
            a_prefix_of_the_ledger_is_text_and_no_pattern
            positions_reach_from_zero_to_the_largest_signed_number
            closing_forgets_the_producers_of_that_pipeline_and_nothing_else
            the_largest_row_that_a_pipeline_takes_by_default_lands
            a_ping_is_answered
            several_threads_may_write_up_to_the_limit_at_once
        }
    };
}

every_claim!(memory, forebay::backend::memory::Memory);
#[cfg(feature = "sqlite")]
every_claim!(sqlite, super::Sqlite);
#[cfg(feature = "sqlite")]
every_claim!(small_segments, super::SmallSegments);
#[cfg(all(feature = "mysql", feature = "sqlite"))]
every_claim!(mysql, super::Mysql);
