//! What every backend must do, alone, without a pipeline: one suite, run by each.
//!
//! To add a backend: implement [`Subject`] for it and add a line at the end. Batches of any shape come from
//! `harness::batches_of`; so an entry that is known can stand beside one that is not.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay::backend::memory::Memory;
use forebay::backend::{Backend, WriteError};
use forebay::pipeline::ReplayRows;
use forebay::{Batch, Event, Pipeline, Ranges, Reject, Row, RowKind};

use crate::harness::{Fault, Flaky, batches_of, capture, config, event};

/// A backend under test.
trait Subject: Send + Sync + 'static {
    /// Opens an empty one; `dir` is its own.
    fn open(dir: &Path) -> Self;
    fn backend(&self) -> &dyn Backend;
    /// Rows in `events`, `captures` and `ingest_rejects`.
    fn stored(&self) -> [u64; 3];
    /// Lets go of it and opens it again.
    fn reopen(self, dir: &Path) -> Self;
}

/// A backend whose database may refuse a row.
#[cfg(feature = "sqlite")]
trait Refusing: Subject {
    /// Makes it refuse captures whose data is `bad`.
    fn refuse(&self);
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

#[cfg(feature = "sqlite")]
impl Refusing for Sqlite {
    fn refuse(&self) {
        let trigger = "CREATE TRIGGER theirs BEFORE INSERT ON captures_0 WHEN CAST(NEW.data AS TEXT) = 'bad'
             BEGIN SELECT RAISE(ABORT, 'not this one'); END";
        rusqlite::Connection::open(&self.1).unwrap().execute_batch(trigger).unwrap();
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

#[cfg(all(feature = "mysql", feature = "sqlite"))]
impl Refusing for Mysql {
    fn refuse(&self) {
        let name = &self.1.0;
        let trigger = format!(
            "CREATE TRIGGER `{name}`.theirs BEFORE INSERT ON `{name}`.captures FOR EACH ROW \
             IF NEW.data = 'bad' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF"
        );
        crate::mysql::server::SHARED.admin().run(&trigger);
    }
}

/// An event from which a capture is derived that holds the same text.
fn with_derived(text: &str) -> Event {
    Event::builder("s", "ssh", "test").msg(text).derive(capture(text)).build().unwrap()
}

/// A subject as the backend of a pipeline.
struct Of<S>(S);

impl<S: Subject> Backend for Of<S> {
    fn name(&self) -> &'static str {
        self.0.backend().name()
    }
    fn max_in_flight(&self) -> NonZeroUsize {
        self.0.backend().max_in_flight()
    }
    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        self.0.backend().write(batch)
    }
    fn ping(&self) -> Result<(), WriteError> {
        self.0.backend().ping()
    }
    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        self.0.backend().ledger(prefix)
    }
    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        self.0.backend().close(ephemeral)
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

fn an_event_and_the_capture_derived_from_it_land_together_and_once<S: Subject>(dir: &Path) {
    let subject = S::open(dir);
    let mixed = (0..250).map(|n| Row::Keep(if n % 3 == 0 { with_derived(&n.to_string()) } else { event("plain") }));
    let batch = Batch::detached("s", 0, mixed.collect());
    assert_eq!((batch.row_count(RowKind::Event), batch.row_count(RowKind::Capture)), (250, 0));
    assert_eq!(batch.derived_count(), 84);
    for _ in 0..3 {
        subject.backend().write(&batch).unwrap();
    }
    assert_eq!(subject.stored(), [250, 84, 0]);
    let subject = subject.reopen(dir);
    subject.backend().write(&batch).unwrap();
    subject.backend().write(&Batch::detached("s", 250, vec![Row::Keep(with_derived("next"))])).unwrap();
    assert_eq!(subject.stored(), [251, 85, 0]);
}

fn a_batch_whose_answer_was_lost_stores_derived_rows_once<S: Subject>(dir: &Path) {
    let backend = Flaky::new(Of(S::open(dir)));
    backend.script([Fault::Transient, Fault::CommitThenTransient, Fault::Transient]);
    let mut config = config(100);
    (config.retry.initial, config.retry.max) = (Duration::from_millis(1), Duration::from_millis(1));
    let pipeline = Pipeline::builder().config(config).shared_backend(backend.clone()).open().unwrap();
    let sent = (0..100).map(|n| with_derived(&n.to_string())).collect();
    assert_eq!(pipeline.events().send_many_blocking(sent).unwrap().wait(), Ok(()));
    let lane = &pipeline.status().lanes[0];
    assert_eq!((lane.events.committed, lane.captures.accepted, lane.derived), (100, 0, 100));
    assert_eq!(backend.inner.0.stored(), [100, 100, 0]);
}

#[cfg(feature = "sqlite")]
fn of_a_refused_derived_row_nothing_lands_and_the_event_is_named<S: Refusing>(dir: &Path) {
    let subject = S::open(dir);
    subject.refuse();
    let rows = ["good", "bad", "fine"].map(|text| Row::Keep(with_derived(text)));
    let refused = subject.backend().write(&Batch::detached("s", 0, rows.into()));
    let Err(WriteError::Rejected { rows, detail }) = refused else { panic!("{refused:?}") };
    assert!(rows.contains(&1), "{rows:?}");
    assert!(detail.contains("not this one"), "{detail}");
    assert_eq!(subject.stored(), [0, 0, 0]);
}

#[cfg(feature = "sqlite")]
fn an_event_whose_derived_row_is_refused_is_set_aside_with_it<S: Refusing>(dir: &Path) {
    let subject = Arc::new(Of(S::open(dir)));
    subject.0.refuse();
    let pipeline = Pipeline::builder().config(config(100)).shared_backend(subject.clone()).open().unwrap();
    let texts = (0..100).map(|n| if n % 30 == 7 { "bad".to_owned() } else { n.to_string() });
    let receipt = pipeline.events().send_many_blocking(texts.map(|text| with_derived(&text)).collect()).unwrap();
    assert!(matches!(receipt.wait(), Err(forebay::ReceiptError::Rejected { rows: 4, .. })));
    let lane = &pipeline.status().lanes[0];
    assert_eq!((lane.events.committed, lane.events.rejected, lane.derived), (96, 4, 96));
    assert_eq!(crate::harness::counts(&pipeline).accepted, 100);
    assert_eq!(subject.0.stored(), [96, 96, 4]);
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
            an_event_and_the_capture_derived_from_it_land_together_and_once
            a_batch_whose_answer_was_lost_stores_derived_rows_once
        }
    };
}

#[cfg(feature = "sqlite")]
macro_rules! claims_about_refusal {
    ($module:ident, $subject:ty) => {
        conformance! { $module, $subject:
            of_a_refused_derived_row_nothing_lands_and_the_event_is_named
            an_event_whose_derived_row_is_refused_is_set_aside_with_it
        }
    };
}

every_claim!(memory, forebay::backend::memory::Memory);
#[cfg(feature = "sqlite")]
every_claim!(sqlite, super::Sqlite);
#[cfg(feature = "sqlite")]
claims_about_refusal!(sqlite_refuses, super::Sqlite);
#[cfg(feature = "sqlite")]
every_claim!(small_segments, super::SmallSegments);
#[cfg(all(feature = "mysql", feature = "sqlite"))]
every_claim!(mysql, super::Mysql);
#[cfg(all(feature = "mysql", feature = "sqlite"))]
claims_about_refusal!(mysql_refuses, super::Mysql);
