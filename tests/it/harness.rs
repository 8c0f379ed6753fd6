//! Faults through the public trait, a clock that moves when told to, and waiting for a condition.
//!
//! [`Recorder`] is a backend that keeps every row and ledger key; [`Flaky`] wraps any backend and fails as told;
//! [`PausedClock`] holds the pipeline's time still. Nothing here sleeps: [`eventually`] looks again until a condition
//! holds, with a generous deadline after which the test fails.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never};
use forebay::backend::{Backend, WriteError};
use forebay::config::Bytes;
use forebay::pipeline::{Clock, Counts, LaneState};
use forebay::{Batch, Capture, Config, Event, Pipeline, Ranges, RowRef, Timestamp};

/// After this a condition is taken never to hold.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, condition);
}

/// As [`eventually`], for what takes its time by nature.
#[track_caller]
pub fn eventually_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < patience, "never came true: {what}");
        pause();
    }
}

/// Moves the clock on, a little at a time, until `condition` holds.
#[track_caller]
pub fn advance_until(clock: &PausedClock, what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || {
        clock.advance(Duration::from_millis(20));
        condition()
    });
}

/// Gives other threads a turn.
pub fn pause() {
    // A channel that nobody sends to: a wait that ends by its time-out only.
    let _ = never::<()>().recv_timeout(Duration::from_millis(1));
}

/// Time that stands still until [`advance`](Self::advance) is called.
#[derive(Clone)]
pub struct PausedClock(Arc<Mutex<Time>>);

struct Time {
    now: Instant,
    waiting: Vec<(Instant, Sender<Instant>)>,
}

impl PausedClock {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Time { now: Instant::now(), waiting: Vec::new() })))
    }

    pub fn advance(&self, by: Duration) {
        let mut time = self.0.lock().unwrap();
        time.now += by;
        let now = time.now;
        time.waiting.retain(|(moment, sender)| {
            let due = *moment <= now;
            if due {
                // Whoever asked may have stopped waiting.
                let _ = sender.try_send(now);
            }
            !due
        });
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Instant {
        self.0.lock().unwrap().now
    }

    fn at(&self, moment: Instant) -> Receiver<Instant> {
        let (sender, receiver) = bounded(1);
        let mut time = self.0.lock().unwrap();
        if moment <= time.now {
            sender.try_send(time.now).unwrap();
        } else {
            time.waiting.push((moment, sender));
        }
        receiver
    }
}

/// Keeps everything that is written to it, and the ledger's promises.
pub struct Recorder {
    max_in_flight: NonZeroUsize,
    kept: Mutex<Kept>,
}

#[derive(Clone, Default)]
pub struct Kept {
    /// `msg` of events and `data` of captures, in the order in which they came.
    pub rows: Vec<String>,
    /// Of the rows set aside: source, position, reason, row as JSON.
    pub rejects: Vec<(String, u64, String, String)>,
    pub ledger: BTreeSet<(String, u64, u64)>,
    /// Every batch that was offered, committed or not.
    pub offered: Vec<Batch>,
    /// What `close` was called with.
    pub closed: Vec<String>,
}

impl Recorder {
    pub fn new(max_in_flight: usize) -> Self {
        Self { max_in_flight: NonZeroUsize::new(max_in_flight).unwrap(), kept: Mutex::default() }
    }

    pub fn kept(&self) -> Kept {
        self.kept.lock().unwrap().clone()
    }

    pub fn row_count(&self) -> usize {
        self.kept.lock().unwrap().rows.len()
    }
}

impl Backend for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }
    fn max_in_flight(&self) -> NonZeroUsize {
        self.max_in_flight
    }
    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        let mut kept = self.kept.lock().unwrap();
        kept.offered.push(batch.clone());
        for entry in batch.entries() {
            let known =
                kept.ledger.iter().any(|(source, first, _)| source == entry.source() && *first == entry.first());
            if known {
                continue;
            }
            kept.ledger.insert((entry.source().into(), entry.first(), entry.last()));
            for row in entry.rows() {
                match &row {
                    RowRef::Rejected(r) => {
                        kept.rejects.push((r.source.into(), r.position, r.reason.into(), r.row.clone()));
                    }
                    kept_row => {
                        kept.rows.push(text_of(kept_row).unwrap());
                        if let RowRef::Event(event) = kept_row
                            && let Some(derived) = event.derived()
                        {
                            kept.rows.push(text_of(&RowRef::Capture(derived)).unwrap());
                        }
                    }
                }
            }
        }
        Ok(())
    }
    fn ping(&self) -> Result<(), WriteError> {
        Ok(())
    }
    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        let mut sources = BTreeMap::<String, Ranges>::new();
        for (source, first, last) in self.kept.lock().unwrap().ledger.iter().filter(|(s, ..)| s.starts_with(prefix)) {
            sources.entry(source.clone()).or_default().insert(*first, *last);
        }
        Ok(sources)
    }
    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        self.kept.lock().unwrap().closed.push(ephemeral.into());
        Ok(())
    }
}

/// What tells a row from every other in these tests.
pub fn text_of(row: &RowRef<'_>) -> Option<String> {
    match row {
        RowRef::Event(event) => event.msg().map(str::to_owned),
        RowRef::Capture(capture) => Some(String::from_utf8_lossy(capture.data()).into_owned()),
        RowRef::Rejected(_) => None,
    }
}

/// What one call of `write` does instead of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails for a passing reason; nothing is written.
    Transient,
    /// Writes, and then reports a lost connection.
    CommitThenTransient,
    /// Fails for good; nothing is written.
    Fatal,
    Panic,
    /// Writes as if nothing were wrong: a place in a script.
    Nothing,
}

/// How refused rows are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The first bad row.
    Exact,
    /// The statement of this many rows in which the first bad row is.
    Statement(usize),
    /// No row at all.
    Unnamed,
}

/// A row whose text begins with this is refused by [`Flaky`].
pub const BAD: &str = "bad";

/// Wraps a backend and fails as told.
pub struct Flaky<B> {
    pub inner: B,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    script: VecDeque<Fault>,
    outage: bool,
    stalled: bool,
    /// How many writes go on although the backend is stalled.
    passes: usize,
    naming: Option<Naming>,
    /// Rows for `ingest_rejects` are refused too.
    refuses_rejects: bool,
    /// Calls of `write`, and how many are in it now, and how many were at most.
    writes: usize,
    inside: usize,
    most_inside: usize,
}

impl<B: Backend> Flaky<B> {
    pub fn new(inner: B) -> Arc<Self> {
        let state = State { naming: Some(Naming::Exact), ..State::default() };
        Arc::new(Self { inner, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Plays these faults on the next calls of `write`, one each.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().script.extend(faults);
    }

    /// Fails every write for a passing reason, until [`recover`](Self::recover).
    pub fn fail(&self) {
        self.state().outage = true;
    }

    pub fn recover(&self) {
        self.state().outage = false;
    }

    /// Holds every write at its beginning, until [`release`](Self::release).
    pub fn stall(&self) {
        self.state().stalled = true;
    }

    pub fn release(&self) {
        self.state().stalled = false;
        self.changed.notify_all();
    }

    /// Lets one write that is stalled go on, with this fault.
    pub fn release_one_with(&self, fault: Fault) {
        let mut state = self.state();
        state.script.push_front(fault);
        state.passes += 1;
        drop(state);
        self.changed.notify_one();
    }

    pub fn name_refused_rows(&self, naming: Naming) {
        self.state().naming = Some(naming);
    }

    pub fn refuse_rejects_too(&self) {
        self.state().refuses_rejects = true;
    }

    pub fn writes(&self) -> usize {
        self.state().writes
    }

    pub fn inside(&self) -> usize {
        self.state().inside
    }

    pub fn most_inside(&self) -> usize {
        self.state().most_inside
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn faulty_write(&self, batch: &Batch) -> Result<(), WriteError> {
        let (fault, naming, refuses_rejects) = {
            let stalled = |state: &mut State| state.stalled && state.passes == 0;
            let mut state = self.changed.wait_while(self.state(), stalled).unwrap();
            state.passes = state.passes.saturating_sub(1);
            let outage = state.outage.then_some(Fault::Transient);
            let fault = outage.or_else(|| state.script.pop_front()).unwrap_or(Fault::Nothing);
            (fault, state.naming, state.refuses_rejects)
        };
        let transient = || WriteError::Transient { reason: "connection", source: "connection lost".into() };
        match fault {
            Fault::Nothing | Fault::CommitThenTransient => {}
            Fault::Transient => return Err(transient()),
            Fault::Fatal => return Err(WriteError::Fatal { source: "beyond repair".into() }),
            Fault::Panic => panic!("as the test has told it to"),
        }
        if let Some((bad, rows)) = first_bad(batch, refuses_rejects)
            && let Some(naming) = naming
        {
            let rows: Range<usize> = match naming {
                Naming::Exact => bad..bad + 1,
                Naming::Statement(size) => bad / size * size..(bad / size * size + size).min(rows),
                Naming::Unnamed => 0..0,
            };
            return Err(WriteError::Rejected { rows: rows.collect(), detail: "it is bad".into() });
        }
        self.inner.write(batch)?;
        if fault == Fault::CommitThenTransient { Err(transient()) } else { Ok(()) }
    }
}

/// Returns the number of the first row that is to be refused, and how many rows there are.
fn first_bad(batch: &Batch, refuses_rejects: bool) -> Option<(usize, usize)> {
    let mut rows = batch.entries().iter().flat_map(forebay::Entry::rows);
    let bad = rows.position(|row| text_of(&row).map_or(refuses_rejects, |text| text.starts_with(BAD)));
    bad.map(|bad| (bad, batch.len()))
}

/// Counts a write as inside until it is dropped, by a panic too.
struct Inside<'a, B>(&'a Flaky<B>);

impl<B> Drop for Inside<'_, B> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().inside -= 1;
    }
}

impl<B: Backend> Backend for Flaky<B> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn max_in_flight(&self) -> NonZeroUsize {
        self.inner.max_in_flight()
    }
    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        {
            let mut state = self.state();
            state.writes += 1;
            state.inside += 1;
            state.most_inside = state.most_inside.max(state.inside);
        }
        let _inside = Inside(self);
        self.faulty_write(batch)
    }
    fn ping(&self) -> Result<(), WriteError> {
        self.inner.ping()
    }
    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        self.inner.ledger(prefix)
    }
    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        self.inner.close(ephemeral)
    }
}

pub fn event(text: &str) -> Event {
    Event::builder("s", "ssh", "test").ts(Timestamp::from_nanos(0)).msg(text).build().unwrap()
}

pub fn capture(text: &str) -> Capture {
    Capture::builder("s", "payload").ts(Timestamp::from_nanos(0)).data(text.as_bytes()).build().unwrap()
}

pub fn events(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Event> {
    texts.into_iter().map(|text| event(text.as_ref())).collect()
}

/// Small limits: batches of `rows` rows, twice as many of each kind in memory, and no waiting for company.
pub fn config(rows: usize) -> Config {
    let mut config = Config::default();
    config.batch.max_rows = rows;
    config.batch.max_wait = Duration::ZERO;
    config.buffer.events.max_rows = rows * 2;
    config.buffer.captures.max_rows = rows * 2;
    config.buffer.max_bytes = Bytes::mib(16);
    config
}

/// Returns both kinds of rows of the first lane, added up.
pub fn counts(pipeline: &Pipeline) -> Counts {
    let lane = &pipeline.status().lanes[0];
    lane.events.plus(lane.captures)
}

pub fn state(pipeline: &Pipeline) -> LaneState {
    pipeline.status().lanes[0].state.clone()
}

/// Whether promise 1 holds.
pub fn adds_up(counts: &Counts) -> bool {
    let Counts { accepted, committed, rejected, failed, queued, in_flight } = *counts;
    accepted == committed + rejected + failed + queued + in_flight
}

/// Returns the batches into which a pipeline puts what `send` sends, for trying a backend with batches of any shape.
pub fn batches_of(config: Config, send: impl FnOnce(&Pipeline)) -> Vec<Batch> {
    let recorder = Arc::new(Recorder::new(1));
    let mut config = config;
    config.batch.max_wait = Duration::from_secs(3600);
    let pipeline = Pipeline::builder().config(config).shared_backend(recorder.clone()).open().unwrap();
    send(&pipeline);
    assert!(pipeline.shutdown_blocking(Duration::from_secs(20)).is_complete());
    recorder.kept().offered
}
