//! Every metric: its name, unit, help and labels. The only user of the `metrics` macros.
//!
//! Uses the facade alone: with no recorder installed each call costs a branch. Handles are made when a pipeline opens,
//! so install the recorder first; they are used once per batch, not per row. Labels are lane names, row kinds and
//! reasons from fixed sets in our own source, never anything that came over a network.

// What only a backend's own metrics use is unused in a build without that backend.
#![cfg_attr(not(feature = "sqlite"), allow(dead_code))]

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::batch::Batch;
use crate::chunk::RowKind;

/// Buckets for every histogram of seconds, for `PrometheusBuilder::set_buckets_for_metric` with the suffix `_seconds`.
pub const SECONDS_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Buckets for the histogram of rows a batch (suffix `_rows`).
pub const ROWS_BUCKETS: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 8192.0, 65536.0];
/// Buckets for the histogram of bytes a batch (suffix `_bytes`).
pub const BYTES_BUCKETS: [f64; 9] =
    [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 8388608.0];

/// Registers the help texts with the installed recorder; a second call does no harm.
pub fn describe() {
    describe_counter!("forebay_received_rows_total", "Rows that the writer took from its queues");
    describe_counter!("forebay_committed_rows_total", "Rows committed to their table");
    describe_counter!("forebay_derived_rows_total", "Captures derived from committed events and committed with them");
    describe_counter!("forebay_rejected_rows_total", "Rows set aside in ingest_rejects, by reason");
    describe_counter!("forebay_failed_rows_total", "Rows whose receipt resolved as failed");
    describe_counter!("forebay_discarded_rows_total", "Rows not taken because a queue was full, by reason");
    describe_counter!("forebay_retries_total", "Attempts to write a batch that were tried again, by reason");
    describe_counter!("forebay_errors_total", "Errors of a lane by kind: transient, rejected, fatal");
    describe_gauge!("forebay_buffer_size_rows", "Rows accepted and not yet settled");
    describe_gauge!("forebay_buffer_max_size_rows", "Bound of forebay_buffer_size_rows");
    describe_gauge!("forebay_buffer_size_bytes", Unit::Bytes, "Bytes of rows held in memory by the pipeline");
    describe_gauge!("forebay_buffer_max_size_bytes", Unit::Bytes, "Bound of forebay_buffer_size_bytes");
    describe_gauge!("forebay_in_flight_batches", "Batches being written");
    describe_gauge!("forebay_lane_state", "0 running, 1 retrying, 2 failed");
    describe_gauge!("forebay_last_commit_timestamp_seconds", Unit::Seconds, "When the lane last committed (Unix time)");
    describe_gauge!("forebay_sqlite_wal_bytes", Unit::Bytes, "Write-ahead log since it last began anew");
    describe_gauge!("forebay_sqlite_wal_held_bytes", Unit::Bytes, "Part of it that a reader's open transaction holds");
    describe_histogram!(
        "forebay_sqlite_checkpoint_seconds",
        Unit::Seconds,
        "Time of moving the log into the file once"
    );
    describe_histogram!("forebay_batch_rows", "Rows of a committed batch");
    describe_histogram!("forebay_batch_bytes", Unit::Bytes, "Bytes of a committed batch");
    describe_histogram!("forebay_write_seconds", Unit::Seconds, "Time of one successful attempt to write a batch");
    describe_histogram!("forebay_latency_seconds", Unit::Seconds, "Acceptance of a batch's oldest row to its commit");
    describe_gauge!("forebay_sqlite_segments", "Segments of the SQLite file that queries see");
    describe_gauge!("forebay_sqlite_file_bytes", Unit::Bytes, "Size of the SQLite file");
    describe_gauge!("forebay_sqlite_free_bytes", Unit::Bytes, "Pages of the SQLite file that hold nothing");
    describe_histogram!("forebay_sqlite_step_seconds", Unit::Seconds, "Time of one step of work on segments, by step");
    describe_counter!("forebay_retention_rows_total", "Rows dropped by retention, by the limit that was passed");
    describe_counter!(
        "forebay_retention_segments_total",
        "Segments dropped by retention, by the limit that was passed"
    );
    describe_histogram!("forebay_send_wait_seconds", Unit::Seconds, "Time that a send waited for room");
}

/// Metrics of the way into a pipeline.
#[derive(Clone)]
pub(crate) struct IntakeMetrics {
    discarded: [Counter; 2],
    send_wait: [Histogram; 2],
    buffer_bytes: Gauge,
    buffer_rows: [Gauge; 2],
}

impl IntakeMetrics {
    pub(crate) fn new(max_bytes: usize, max_rows: [usize; 2]) -> Self {
        gauge!("forebay_buffer_max_size_bytes").set(max_bytes as f64);
        for kind in RowKind::ALL {
            gauge!("forebay_buffer_max_size_rows", "kind" => kind.table()).set(max_rows[kind.index()] as f64);
        }
        let per_kind = RowKind::ALL.map(RowKind::table);
        Self {
            discarded: per_kind
                .map(|kind| counter!("forebay_discarded_rows_total", "kind" => kind, "reason" => "queue_full")),
            send_wait: per_kind.map(|kind| histogram!("forebay_send_wait_seconds", "kind" => kind)),
            buffer_bytes: gauge!("forebay_buffer_size_bytes"),
            buffer_rows: per_kind.map(|kind| gauge!("forebay_buffer_size_rows", "kind" => kind)),
        }
    }

    pub(crate) fn discarded(&self, kind: RowKind, rows: usize) {
        self.discarded[kind.index()].increment(rows as u64);
    }

    pub(crate) fn send_waited(&self, kind: RowKind, wait: Duration) {
        self.send_wait[kind.index()].record(wait);
    }

    pub(crate) fn buffered(&self, bytes: usize, rows: [usize; 2]) {
        self.buffer_bytes.set(bytes as f64);
        for (gauge, rows) in self.buffer_rows.iter().zip(rows) {
            gauge.set(rows as f64);
        }
    }
}

/// What a lane's state gauge shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneGauge {
    Running = 0,
    Retrying = 1,
    Failed = 2,
}

/// Metrics of one lane.
pub(crate) struct LaneMetrics {
    lane: &'static str,
    received: [Counter; 2],
    committed: [Counter; 2],
    failed: [Counter; 2],
    derived: Counter,
    batch_rows: Histogram,
    batch_bytes: Histogram,
    write_time: Histogram,
    latency: Histogram,
    in_flight: Gauge,
    state: Gauge,
    last_commit: Gauge,
}

impl LaneMetrics {
    pub(crate) fn new(lane: &'static str) -> Self {
        let per_kind =
            |name: &'static str| RowKind::ALL.map(|kind| counter!(name, "lane" => lane, "kind" => kind.table()));
        Self {
            lane,
            received: per_kind("forebay_received_rows_total"),
            committed: per_kind("forebay_committed_rows_total"),
            failed: per_kind("forebay_failed_rows_total"),
            derived: counter!("forebay_derived_rows_total", "lane" => lane),
            batch_rows: histogram!("forebay_batch_rows", "lane" => lane),
            batch_bytes: histogram!("forebay_batch_bytes", "lane" => lane),
            write_time: histogram!("forebay_write_seconds", "lane" => lane),
            latency: histogram!("forebay_latency_seconds", "lane" => lane),
            in_flight: gauge!("forebay_in_flight_batches", "lane" => lane),
            state: gauge!("forebay_lane_state", "lane" => lane),
            last_commit: gauge!("forebay_last_commit_timestamp_seconds", "lane" => lane),
        }
    }

    pub(crate) fn received(&self, batch: &Batch) {
        for kind in RowKind::ALL {
            self.received[kind.index()].increment(batch.row_count(kind) as u64);
        }
    }

    pub(crate) fn committed(&self, batch: &Batch, write_time: Duration, latency: Duration, unix_seconds: f64) {
        for kind in RowKind::ALL {
            let kept = batch.row_count(kind) - batch.reject_count(kind);
            self.committed[kind.index()].increment(kept as u64);
        }
        self.derived.increment(batch.derived_count() as u64);
        for (reason, kind, rows) in batch.rejects_by_reason() {
            counter!("forebay_rejected_rows_total", "lane" => self.lane, "kind" => kind.table(), "reason" => reason)
                .increment(rows);
        }
        self.batch_rows.record(batch.len() as f64);
        self.batch_bytes.record(batch.bytes() as f64);
        self.write_time.record(write_time);
        self.latency.record(latency);
        self.last_commit.set(unix_seconds);
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

    pub(crate) fn error(&self, kind: &'static str) {
        counter!("forebay_errors_total", "lane" => self.lane, "kind" => kind).increment(1);
    }
}

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

/// Metrics of SQLite's write-ahead log.
pub(crate) struct WalMetrics {
    length: Gauge,
    held: Gauge,
    checkpoint: Histogram,
}

impl WalMetrics {
    pub(crate) fn new(lane: &'static str) -> Self {
        Self {
            length: gauge!("forebay_sqlite_wal_bytes", "lane" => lane),
            held: gauge!("forebay_sqlite_wal_held_bytes", "lane" => lane),
            checkpoint: histogram!("forebay_sqlite_checkpoint_seconds", "lane" => lane),
        }
    }

    pub(crate) fn checkpointed(&self, took: Duration) {
        self.checkpoint.record(took);
    }

    pub(crate) fn log(&self, bytes: u64, held: u64) {
        self.length.set(bytes as f64);
        self.held.set(held as f64);
    }
}
