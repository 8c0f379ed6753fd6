//! What a pipeline counts: the way in, and each lane.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::batch::Batch;
use crate::chunk::RowKind;
use crate::reject::REFUSED;

/// Metrics of the way into a pipeline.
#[derive(Clone)]
pub(crate) struct IntakeMetrics {
    discarded: [Counter; 2],
    send_wait: [Histogram; 2],
    buffer_bytes: Gauge,
}

impl IntakeMetrics {
    pub(crate) fn new(max_bytes: usize) -> Self {
        gauge!("forebay_buffer_max_size_bytes").set(max_bytes as f64);
        let per_kind = RowKind::ALL.map(RowKind::table);
        Self {
            discarded: per_kind
                .map(|kind| counter!("forebay_discarded_rows_total", "kind" => kind, "reason" => "queue_full")),
            send_wait: per_kind.map(|kind| histogram!("forebay_send_wait_seconds", "kind" => kind)),
            buffer_bytes: gauge!("forebay_buffer_size_bytes"),
        }
    }

    pub(crate) fn discarded(&self, kind: RowKind, rows: usize) {
        self.discarded[kind.index()].increment(rows as u64);
    }

    pub(crate) fn send_waited(&self, kind: RowKind, wait: Duration) {
        self.send_wait[kind.index()].record(wait);
    }

    pub(crate) fn buffered(&self, bytes: usize) {
        self.buffer_bytes.set(bytes as f64);
    }
}

/// What a lane's state gauge shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneGauge {
    Running = 0,
    Retrying = 1,
    Failed = 2,
    Closed = 3,
}

/// What waits in a lane at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferGauges {
    pub(crate) rows: [u64; 2],
    pub(crate) oldest: Duration,
}

/// Metrics of one lane.
pub(crate) struct LaneMetrics {
    lane: &'static str,
    received: [Counter; 2],
    committed: [Counter; 2],
    failed: [Counter; 2],
    derived: Counter,
    buffer_rows: [Gauge; 2],
    buffer_max_rows: [Gauge; 2],
    oldest: Gauge,
    batch_rows: Histogram,
    batch_bytes: Histogram,
    queue_wait: Histogram,
    write_time: Histogram,
    latency: Histogram,
    in_flight: Gauge,
    slots: Gauge,
    state: Gauge,
    last_commit: Gauge,
}

impl LaneMetrics {
    pub(crate) fn new(lane: &'static str) -> Self {
        let per_kind =
            |name: &'static str| RowKind::ALL.map(|kind| counter!(name, "lane" => lane, "kind" => kind.table()));
        let gauges = |name: &'static str| RowKind::ALL.map(|kind| gauge!(name, "lane" => lane, "kind" => kind.table()));
        let metrics = Self {
            lane,
            received: per_kind("forebay_received_rows_total"),
            committed: per_kind("forebay_committed_rows_total"),
            failed: per_kind("forebay_failed_rows_total"),
            derived: counter!("forebay_derived_rows_total", "lane" => lane),
            buffer_rows: gauges("forebay_buffer_size_rows"),
            buffer_max_rows: gauges("forebay_buffer_max_size_rows"),
            oldest: gauge!("forebay_oldest_row_seconds", "lane" => lane),
            batch_rows: histogram!("forebay_batch_rows", "lane" => lane),
            batch_bytes: histogram!("forebay_batch_bytes", "lane" => lane),
            queue_wait: histogram!("forebay_queue_wait_seconds", "lane" => lane),
            write_time: histogram!("forebay_write_seconds", "lane" => lane),
            latency: histogram!("forebay_latency_seconds", "lane" => lane),
            in_flight: gauge!("forebay_in_flight_batches", "lane" => lane),
            slots: gauge!("forebay_slots", "lane" => lane),
            state: gauge!("forebay_lane_state", "lane" => lane),
            last_commit: gauge!("forebay_last_commit_timestamp_seconds", "lane" => lane),
        };
        // A counter that begins to be when it first moves hides that move from `increase()`.
        for kind in RowKind::ALL {
            metrics.rejected(REFUSED, kind, 0);
        }
        for (kind, stage) in [("transient", "write"), ("rejected", "write"), ("fatal", "write"), ("fatal", "batch")] {
            counter!("forebay_errors_total", "lane" => lane, "kind" => kind, "stage" => stage).increment(0);
        }
        metrics
    }

    /// Sets the bounds of the lane.
    pub(crate) fn bounds(&self, slots: usize, max_rows: [usize; 2]) {
        self.slots.set(slots as f64);
        for (gauge, rows) in self.buffer_max_rows.iter().zip(max_rows) {
            gauge.set(rows as f64);
        }
    }

    pub(crate) fn received(&self, batch: &Batch) {
        for kind in RowKind::ALL {
            self.received[kind.index()].increment(batch.row_count(kind) as u64);
        }
    }

    /// Shows what waits.
    pub(crate) fn buffered(&self, gauges: BufferGauges) {
        for (gauge, rows) in self.buffer_rows.iter().zip(gauges.rows) {
            gauge.set(rows as f64);
        }
        self.oldest.set(gauges.oldest.as_secs_f64());
    }

    /// Notes that the writing of a batch begins.
    pub(crate) fn began(&self, waited: Duration) {
        self.queue_wait.record(waited);
    }

    pub(crate) fn committed(&self, batch: &Batch, write_time: Duration, latency: Duration, unix_seconds: f64) {
        for kind in RowKind::ALL {
            let kept = batch.row_count(kind) - batch.reject_count(kind);
            self.committed[kind.index()].increment(kept as u64);
        }
        self.derived.increment(batch.derived_count() as u64);
        self.batch_rows.record(batch.len() as f64);
        self.batch_bytes.record(batch.bytes() as f64);
        self.write_time.record(write_time);
        self.latency.record(latency);
        self.last_commit.set(unix_seconds);
    }

    pub(crate) fn rejected(&self, reason: &'static str, kind: RowKind, rows: u64) {
        counter!("forebay_rejected_rows_total", "lane" => self.lane, "kind" => kind.table(), "reason" => reason)
            .increment(rows);
    }

    pub(crate) fn failed(&self, batch: &Batch) {
        for kind in RowKind::ALL {
            self.failed[kind.index()].increment(batch.row_count(kind) as u64);
        }
    }

    pub(crate) fn in_flight(&self, batches: usize) {
        self.in_flight.set(batches as f64);
    }

    pub(crate) fn state(&self, state: LaneGauge) {
        self.state.set(f64::from(state as u8));
    }

    pub(crate) fn retried(&self, reason: &'static str) {
        counter!("forebay_retries_total", "lane" => self.lane, "reason" => reason).increment(1);
    }

    /// Counts an error: `kind` is `transient`, `rejected` or `fatal`, `stage` is `write`, `batch` or `close`.
    pub(crate) fn error(&self, kind: &'static str, stage: &'static str) {
        counter!("forebay_errors_total", "lane" => self.lane, "kind" => kind, "stage" => stage).increment(1);
    }
}
