//! What a pipeline tells of itself: [`Status`] at any moment, [`Summary`] at its end. Plain data.

use std::time::{Duration, SystemTime};

use crate::chunk::RowKind;

/// Rows of one kind in one lane.
///
/// At any moment `accepted = committed + rejected + failed + queued + in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken from producers.
    pub accepted: u64,
    /// Committed to their table.
    pub committed: u64,
    /// Set aside in `ingest_rejects`.
    pub rejected: u64,
    /// Given up, their receipts say so.
    pub failed: u64,
    /// In a queue or in the batch that grows.
    pub queued: u64,
    /// In a batch that is being written.
    pub in_flight: u64,
}

impl Counts {
    /// Adds two lanes or two kinds up.
    pub fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            committed: self.committed + other.committed,
            rejected: self.rejected + other.rejected,
            failed: self.failed + other.failed,
            queued: self.queued + other.queued,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}

/// How a lane is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaneState {
    /// Writes, or waits for rows.
    Running,
    /// Cannot write at the moment and tries again; producers feel back-pressure, no row is lost.
    Retrying {
        /// How long the oldest batch has been waiting.
        since: Duration,
        /// How often it was tried.
        attempts: u32,
        /// Why the last attempt failed.
        error: String,
    },
    /// Cannot write any more: the pipeline takes no rows.
    Failed {
        /// Why.
        reason: String,
    },
    /// Shut down.
    Closed,
}

/// One lane at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaneStatus {
    /// Name of its backend.
    pub backend: &'static str,
    /// How it is.
    pub state: LaneState,
    /// Its events.
    pub events: Counts,
    /// Its captures, as producers sent them.
    pub captures: Counts,
    /// Captures derived from its committed events and committed with them; counted here only.
    pub derived: u64,
    /// How long the oldest batch has been in the backend's hands, if one is: large while a lock is held elsewhere.
    pub writing_for: Option<Duration>,
    /// Batches that are being written, and how many may be at once.
    pub in_flight_batches: usize,
    /// Bound of `in_flight_batches`.
    pub slots: usize,
    /// Age of the oldest row that is accepted and not settled, if one is known: it may be a millisecond younger.
    pub oldest: Option<Duration>,
    /// When it last committed.
    pub last_commit: Option<SystemTime>,
    /// Rows set aside since the pipeline opened, by their kind and the reason, which is one word of a fixed set.
    pub rejects: Vec<(RowKind, &'static str, u64)>,
    /// How long ago the lane's writer was last seen at work. It shows itself once a second: much more means that it hangs.
    pub writer_seen: Duration,
}

/// A pipeline at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Its lanes, in the order in which they were given.
    pub lanes: Vec<LaneStatus>,
    /// Rows in memory, which some lane has not settled yet: events, captures.
    pub buffered_rows: [usize; 2],
    /// Bounds of `buffered_rows`.
    pub max_rows: [usize; 2],
    /// Bytes of rows in memory.
    pub buffered_bytes: usize,
    /// Bound of `buffered_bytes`.
    pub max_bytes: usize,
    /// Rows discarded because a queue with policy `drop_newest` was full: events, captures.
    pub discarded: [u64; 2],
}

/// A pipeline at its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Its lanes. `in_flight` rows are in a write that did not return before the deadline: their fate is not known yet.
    pub lanes: Vec<LaneStatus>,
    /// Rows discarded because a queue was full: events, captures.
    pub discarded: [u64; 2],
    /// How long the shutdown took.
    pub took: Duration,
}

impl Summary {
    /// Returns whether every accepted row of every lane is committed or set aside.
    pub fn is_complete(&self) -> bool {
        let settled = |counts: &Counts| counts.accepted == counts.committed + counts.rejected;
        self.lanes.iter().all(|lane| settled(&lane.events) && settled(&lane.captures))
    }
}
