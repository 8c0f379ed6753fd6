//! What is known of one lane (a backend with its writer): counts and health. Shared by writer, producers and status.
//!
//! Holds no backend, so a producer that outlives its pipeline does not keep a database open.
//!
//! Four monotonic counters a kind; queue and flight are their differences. Read in the order settled, dispatched,
//! accepted, each at least as large as the one before, they satisfy promise 1 at any moment:
//! `accepted = committed + rejected + failed + queued + in_flight`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_utils::CachePadded;

use super::status::{Counts, LaneState, LaneStatus};
use crate::batch::Batch;
use crate::chunk::RowKind;
use crate::commits::Commits;
use crate::telemetry::{BufferGauges, LaneGauge, LaneMetrics};

#[derive(Debug, Default)]
struct Tally {
    accepted: CachePadded<AtomicU64>,
    dispatched: CachePadded<AtomicU64>,
    committed: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

/// A slot that has a batch: since when, and what its last attempt failed of.
#[derive(Clone, Debug)]
struct Writing {
    since: Instant,
    attempts: u32,
    error: Option<Arc<str>>,
}

#[derive(Default)]
struct Health {
    writing: BTreeMap<usize, Writing>,
    failure: Option<Arc<str>>,
    closed: bool,
    last_commit: Option<SystemTime>,
    /// When the oldest row that is not settled was accepted, as far as the writer has seen.
    oldest: Option<Instant>,
    writer_seen: Option<Instant>,
    rejects: BTreeMap<(usize, &'static str), u64>,
}

pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) metrics: LaneMetrics,
    slots: usize,
    opened: Instant,
    tallies: [Tally; 2],
    derived: AtomicU64,
    commits: Commits,
    health: Mutex<Health>,
}

impl Lane {
    /// Counts for a backend that takes `slots` writes at once, from a buffer of `max_rows` rows of each kind.
    pub(crate) fn new(name: &'static str, slots: usize, max_rows: [usize; 2], now: Instant, commits: Commits) -> Self {
        let (metrics, tallies, health) = (LaneMetrics::new(name), Default::default(), Mutex::default());
        metrics.bounds(slots, max_rows);
        metrics.state(LaneGauge::Running);
        Self { name, metrics, slots, opened: now, tallies, derived: AtomicU64::new(0), commits, health }
    }

    /// The writer is at work, and of the rows it has seen the oldest unsettled one was accepted at `oldest`.
    pub(crate) fn writer_seen(&self, oldest: Option<Instant>, now: Instant) {
        {
            let mut health = self.health();
            health.oldest = oldest;
            health.writer_seen = Some(now);
        }
        let rows = RowKind::ALL.map(|kind| {
            let counts = self.counts(kind);
            counts.queued + counts.in_flight
        });
        let oldest = oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest));
        self.metrics.buffered(BufferGauges { rows, oldest });
    }

    pub(crate) fn accepted(&self, kind: RowKind, rows: usize) {
        self.tallies[kind.index()].accepted.fetch_add(rows as u64, Ordering::Release);
    }

    pub(crate) fn dispatched(&self, batch: &Batch) {
        self.metrics.received(batch);
        for kind in RowKind::ALL {
            self.tallies[kind.index()].dispatched.fetch_add(batch.row_count(kind) as u64, Ordering::Release);
        }
    }

    pub(crate) fn slot_began(&self, slot: usize, batch: &Batch, now: Instant) {
        self.metrics.began(now.saturating_duration_since(batch.oldest()));
        let mut health = self.health();
        health.writing.insert(slot, Writing { since: now, attempts: 0, error: None });
        self.metrics.in_flight(health.writing.len());
    }

    pub(crate) fn slot_ended(&self, slot: usize) {
        let mut health = self.health();
        health.writing.remove(&slot);
        self.metrics.in_flight(health.writing.len());
        self.show_state(&health);
    }

    pub(crate) fn attempt_failed(&self, slot: usize, reason: &'static str, error: Arc<str>) {
        self.metrics.retried(reason);
        self.metrics.error("transient", "write");
        let mut health = self.health();
        if let Some(writing) = health.writing.get_mut(&slot) {
            writing.attempts += 1;
            writing.error = Some(error);
        }
        self.show_state(&health);
    }

    pub(crate) fn committed(&self, slot: usize, batch: &Batch, write_time: Duration, now: Instant) {
        for kind in RowKind::ALL {
            let (rows, rejects) = (batch.row_count(kind) as u64, batch.reject_count(kind) as u64);
            let tally = &self.tallies[kind.index()];
            tally.committed.fetch_add(rows - rejects, Ordering::Release);
            tally.rejected.fetch_add(rejects, Ordering::Release);
        }
        self.derived.fetch_add(batch.derived_count() as u64, Ordering::Relaxed);
        let wall = SystemTime::now();
        let unix = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.commits.note();
        self.metrics.committed(batch, write_time, now.saturating_duration_since(batch.oldest()), unix);
        let rejects = batch.rejects_by_reason();
        for (reason, kind, rows) in &rejects {
            self.metrics.rejected(reason, *kind, *rows);
        }
        let mut health = self.health();
        for (reason, kind, rows) in rejects {
            *health.rejects.entry((kind.index(), reason)).or_default() += rows;
        }
        health.last_commit = Some(wall);
        if let Some(writing) = health.writing.get_mut(&slot) {
            *writing = Writing { since: now, attempts: 0, error: None };
        }
    }

    pub(crate) fn rows_failed(&self, batch: &Batch) {
        self.metrics.failed(batch);
        for kind in RowKind::ALL {
            self.tallies[kind.index()].failed.fetch_add(batch.row_count(kind) as u64, Ordering::Release);
        }
    }

    /// Counts rows that were accepted but reached no writer.
    pub(crate) fn lost(&self, kind: RowKind, rows: usize) {
        self.tallies[kind.index()].dispatched.fetch_add(rows as u64, Ordering::Release);
        self.tallies[kind.index()].failed.fetch_add(rows as u64, Ordering::Release);
    }

    /// Counts as failed whatever is not settled: for a writer that ended in a panic and lost its rows.
    pub(crate) fn rest_failed(&self) {
        for tally in &self.tallies {
            let accepted = tally.accepted.load(Ordering::Acquire);
            let settled = tally.committed.load(Ordering::Acquire) + tally.rejected.load(Ordering::Acquire);
            tally.dispatched.store(accepted, Ordering::Release);
            tally.failed.store(accepted.saturating_sub(settled), Ordering::Release);
        }
    }

    pub(crate) fn fail(&self, reason: &Arc<str>, stage: &'static str) {
        self.metrics.error("fatal", stage);
        let mut health = self.health();
        health.failure.get_or_insert_with(|| Arc::clone(reason));
        self.show_state(&health);
    }

    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.health().failure.clone()
    }

    pub(crate) fn closed(&self) {
        let mut health = self.health();
        health.closed = true;
        health.oldest = None;
        self.show_state(&health);
    }

    pub(crate) fn status(&self, now: Instant) -> LaneStatus {
        let health = self.health();
        let oldest = health.writing.values().min_by_key(|writing| writing.since);
        let retrying = health.writing.values().filter(|writing| writing.error.is_some()).min_by_key(|w| w.since);
        let state = match (&health.failure, retrying) {
            (Some(reason), _) => LaneState::Failed { reason: reason.to_string() },
            (None, _) if health.closed => LaneState::Closed,
            (None, Some(writing)) => LaneState::Retrying {
                since: now.saturating_duration_since(writing.since),
                attempts: writing.attempts,
                error: writing.error.as_deref().unwrap_or_default().to_owned(),
            },
            (None, None) => LaneState::Running,
        };
        LaneStatus {
            backend: self.name,
            state,
            events: self.counts(RowKind::Event),
            captures: self.counts(RowKind::Capture),
            derived: self.derived.load(Ordering::Relaxed),
            writing_for: oldest.map(|writing| now.saturating_duration_since(writing.since)),
            in_flight_batches: health.writing.len(),
            slots: self.slots,
            oldest: health.oldest.map(|oldest| now.saturating_duration_since(oldest)),
            last_commit: health.last_commit,
            rejects: health
                .rejects
                .iter()
                .map(|((kind, reason), rows)| (RowKind::ALL[*kind], *reason, *rows))
                .collect(),
            writer_seen: now.saturating_duration_since(health.writer_seen.unwrap_or(self.opened)),
        }
    }

    pub(crate) fn counts(&self, kind: RowKind) -> Counts {
        let tally = &self.tallies[kind.index()];
        let committed = tally.committed.load(Ordering::Acquire);
        let rejected = tally.rejected.load(Ordering::Acquire);
        let failed = tally.failed.load(Ordering::Acquire);
        let dispatched = tally.dispatched.load(Ordering::Acquire);
        let accepted = tally.accepted.load(Ordering::Acquire);
        // Saturating only for a lane whose writer panicked: see `rest_failed`.
        let in_flight = dispatched.saturating_sub(committed + rejected + failed);
        Counts { accepted, committed, rejected, failed, queued: accepted - dispatched, in_flight }
    }

    fn show_state(&self, health: &Health) {
        let retrying = health.writing.values().any(|writing| writing.error.is_some());
        self.metrics.state(match (&health.failure, retrying) {
            (Some(_), _) => LaneGauge::Failed,
            (None, _) if health.closed => LaneGauge::Closed,
            (None, true) => LaneGauge::Retrying,
            (None, false) => LaneGauge::Running,
        });
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
