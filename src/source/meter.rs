//! What a running source tells of itself: counters that it moves, read by the status page and the metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::telemetry::SourceFigures;
use crate::timestamp::Timestamp;

/// Stands for a figure that the source does not have.
const NONE: u64 = u64::MAX;

/// The counters of one source; clones are the same counters. Moving one is an atomic addition.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    kind: &'static str,
    rows: AtomicU64,
    malformed: AtomicU64,
    skipped: AtomicU64,
    lag_bytes: AtomicU64,
    /// Time of the latest row, in nanoseconds; `i64::MIN` for none.
    latest: AtomicI64,
    peers: AtomicU64,
    kernel_drops: AtomicU64,
    state: Mutex<(SourceState, SystemTime)>,
}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceState {
    /// Not begun yet.
    Starting,
    /// Reads, or waits for more.
    Running,
    /// Cannot go on at the moment, and tries again.
    Waiting {
        /// Why, for people.
        why: String,
    },
    /// Cannot go on any more.
    Failed {
        /// Why, for people.
        why: String,
    },
    /// Ended, as it was told to.
    Ended,
}

impl SourceState {
    /// Returns one word: `starting`, `running`, `waiting`, `failed` or `ended`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Waiting { .. } => "waiting",
            Self::Failed { .. } => "failed",
            Self::Ended => "ended",
        }
    }
}

/// A source at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceStatus {
    /// The name that its operator gave it; never anything from outside.
    pub name: String,
    /// What it is: `tail`, `socket`, `syslog`, `live` ...
    pub kind: &'static str,
    /// How it is.
    pub state: SourceState,
    /// Since when it is so.
    pub since: SystemTime,
    /// Rows handed to the pipeline.
    pub rows: u64,
    /// Records that could not be read, and were set aside.
    pub malformed: u64,
    /// Records that were committed before it began.
    pub skipped: u64,
    /// Bytes that are there and not read yet, of a source that knows.
    pub lag_bytes: Option<u64>,
    /// Time of the latest row, by the row's own clock.
    pub latest: Option<Timestamp>,
    /// Peers that are connected, of a source that has some.
    pub peers: Option<u64>,
    /// Packets that the kernel dropped since the source began, of a source that asks it.
    pub kernel_drops: Option<u64>,
}

impl From<SourceStatus> for SourceFigures {
    fn from(status: SourceStatus) -> Self {
        let state = status.state.word();
        let why = match status.state {
            SourceState::Waiting { why } | SourceState::Failed { why } => Some(why),
            _ => None,
        };
        Self {
            name: status.name,
            kind: status.kind,
            state,
            why,
            since: status.since,
            rows: status.rows,
            malformed: status.malformed,
            skipped: status.skipped,
            lag_bytes: status.lag_bytes,
            latest: status.latest.map(Timestamp::as_nanos),
            peers: status.peers,
            kernel_drops: status.kernel_drops,
        }
    }
}

impl Meter {
    /// Makes the counters of a source with the name that its operator gave it.
    pub fn new(name: impl Into<String>, kind: &'static str) -> Self {
        Self(Arc::new(Shared {
            name: name.into(),
            kind,
            rows: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            lag_bytes: AtomicU64::new(NONE),
            latest: AtomicI64::new(i64::MIN),
            peers: AtomicU64::new(NONE),
            kernel_drops: AtomicU64::new(NONE),
            state: Mutex::new((SourceState::Starting, SystemTime::now())),
        }))
    }

    /// Returns the name that its operator gave it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Counts rows handed to the pipeline.
    pub fn rows(&self, rows: u64) {
        self.0.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts records that could not be read, and were set aside.
    pub fn malformed(&self, records: u64) {
        self.0.malformed.fetch_add(records, Ordering::Relaxed);
    }

    /// Counts records that were committed before it began.
    pub fn skipped(&self, records: u64) {
        self.0.skipped.fetch_add(records, Ordering::Relaxed);
    }

    /// Sets how many bytes are there and not read yet.
    pub fn lag_bytes(&self, bytes: u64) {
        self.0.lag_bytes.store(bytes.min(NONE - 1), Ordering::Relaxed);
    }

    /// Notes the time of a row; the latest counts.
    pub fn seen(&self, ts: Timestamp) {
        self.0.latest.fetch_max(ts.as_nanos(), Ordering::Relaxed);
    }

    /// Sets how many peers are connected.
    pub fn peers(&self, peers: u64) {
        self.0.peers.store(peers.min(NONE - 1), Ordering::Relaxed);
    }

    /// Sets how many packets the kernel has dropped since the source began.
    pub fn kernel_drops(&self, packets: u64) {
        self.0.kernel_drops.store(packets.min(NONE - 1), Ordering::Relaxed);
    }

    /// Sets how the source is.
    pub fn state(&self, state: SourceState) {
        let mut current = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != state {
            *current = (state, SystemTime::now());
        }
    }

    /// Returns all figures.
    pub fn status(&self) -> SourceStatus {
        let shared = &*self.0;
        let some = |figure: &AtomicU64| Some(figure.load(Ordering::Relaxed)).filter(|value| *value != NONE);
        let (state, since) = shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let latest = shared.latest.load(Ordering::Relaxed);
        SourceStatus {
            name: shared.name.clone(),
            kind: shared.kind,
            state,
            since,
            rows: shared.rows.load(Ordering::Relaxed),
            malformed: shared.malformed.load(Ordering::Relaxed),
            skipped: shared.skipped.load(Ordering::Relaxed),
            lag_bytes: some(&shared.lag_bytes),
            latest: (latest != i64::MIN).then(|| Timestamp::from_nanos(latest)),
            peers: some(&shared.peers),
            kernel_drops: some(&shared.kernel_drops),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_was_never_set_is_none() {
        let meter = Meter::new("a", "tail");
        let status = meter.status();
        assert_eq!((status.rows, status.lag_bytes, status.latest, status.peers), (0, None, None, None));
        meter.clone().rows(3);
        meter.lag_bytes(0);
        meter.seen(Timestamp::from_nanos(5));
        meter.seen(Timestamp::from_nanos(4));
        meter.state(SourceState::Running);
        let status = meter.status();
        assert_eq!((status.rows, status.lag_bytes, status.state.word()), (3, Some(0), "running"));
        assert_eq!(status.latest, Some(Timestamp::from_nanos(5)));
    }
}
