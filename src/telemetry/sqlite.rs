//! What the SQLite backend tells of its file.

use std::time::Duration;

use metrics::{Gauge, Histogram, counter, gauge, histogram};

use crate::chunk::RowKind;

/// A wait for `BEGIN` that is shorter was for nobody's lock.
const WAITED: Duration = Duration::from_millis(1);

/// Counts the segments that are in sight; of `segments` each is a kind and whether it is.
pub(crate) fn segments(segments: impl Iterator<Item = (RowKind, bool)>) {
    let mut visible = [0_u32; 2];
    segments.filter(|(_, is_visible)| *is_visible).for_each(|(kind, _)| visible[kind.index()] += 1);
    for kind in RowKind::ALL {
        gauge!("forebay_sqlite_segments", "kind" => kind.table()).set(f64::from(visible[kind.index()]));
    }
}

/// Notes a step of work on segments. Steps are rare: some seven for 32,768 rows.
pub(crate) fn segment_step(step: &'static str, elapsed: Duration) {
    histogram!("forebay_sqlite_step_seconds", "step" => step).record(elapsed);
}

/// Notes what retention dropped.
pub(crate) fn retired(kind: RowKind, reason: &'static str, rows: i64) {
    let rows = u64::try_from(rows).unwrap_or(0);
    counter!("forebay_retention_rows_total", "kind" => kind.table(), "reason" => reason).increment(rows);
    counter!("forebay_retention_segments_total", "kind" => kind.table(), "reason" => reason).increment(1);
}

/// Notes the size of a SQLite file, and of its free pages, in bytes.
pub(crate) fn file(bytes: f64, free: f64) {
    gauge!("forebay_sqlite_file_bytes").set(bytes);
    gauge!("forebay_sqlite_free_bytes").set(free);
}

/// Metrics of SQLite's write-ahead log, of the lock on the file, and of the disk under both.
pub(crate) struct WalMetrics {
    length: Gauge,
    held: Gauge,
    checkpoint: Histogram,
    busy_wait: Histogram,
    disk_free: Gauge,
    disk_size: Gauge,
}

impl WalMetrics {
    pub(crate) fn new(lane: &'static str) -> Self {
        Self {
            length: gauge!("forebay_sqlite_wal_bytes", "lane" => lane),
            held: gauge!("forebay_sqlite_wal_held_bytes", "lane" => lane),
            checkpoint: histogram!("forebay_sqlite_checkpoint_seconds", "lane" => lane),
            busy_wait: histogram!("forebay_sqlite_busy_wait_seconds", "lane" => lane),
            disk_free: gauge!("forebay_sqlite_disk_free_bytes", "lane" => lane),
            disk_size: gauge!("forebay_sqlite_disk_size_bytes", "lane" => lane),
        }
    }

    pub(crate) fn checkpointed(&self, took: Duration) {
        self.checkpoint.record(took);
    }

    pub(crate) fn log(&self, bytes: u64, held: u64) {
        self.length.set(bytes as f64);
        self.held.set(held as f64);
    }

    /// Notes how long a batch waited for the lock on the file, if it did.
    pub(crate) fn locked_after(&self, waited: Duration) {
        if waited >= WAITED {
            self.busy_wait.record(waited);
        }
    }

    pub(crate) fn disk(&self, free: u64, size: u64) {
        self.disk_free.set(free as f64);
        self.disk_size.set(size as f64);
    }
}
