//! Every metric: its name, unit, help and labels. The only user of the `metrics` macros.
//!
//! `describe` has the help texts, `pipeline` what a pipeline counts, `sqlite` and `mysql` what those backends do, `query`
//! what is asked of a repository, `source` what comes in. Names follow Prometheus' rules and, where it has a word, Vector's vocabulary with our prefix.
//!
//! Uses the facade alone: with no recorder installed each call costs a branch. Handles are made when a pipeline opens,
//! so install the recorder first; they are used once per batch, not per row. Gauges of what passes with time (ages, sizes
//! of queues) are set once a second by the writer's own thread, so that they are right while nothing commits. Labels are
//! lane names, row kinds and reasons from fixed sets in our own source, and the names that an operator gave the sources;
//! never anything that came over a network. Lanes of the same backend share their labels.
//!
//! # Spans
//!
//! Of the crate `tracing`, all of level `DEBUG`. None is made for a row: `send` is one a chunk, the others one a batch or
//! a call. No field holds anything of a row, an address, a path or a password. Numbers are signed: OpenTelemetry knows no others, and
//! unsigned ones reach it as text.
//!
//! | span | around | fields |
//! |---|---|---|
//! | `send` | handing a chunk to the lanes, in the producer's own context; not the wait for room before it | `kind` (`events`, `captures`), `rows` |
//! | `batch` | everything that a slot does with a batch, waits between attempts too | `lane`, `id` (counted by the lane), `rows` |
//! | `write` | one attempt at a batch, or at a piece of one that had refused rows; in its `batch` | `lane`, `batch` (the id), `rows`, `attempt` (from 0) |
//! | `checkpoint` | moving SQLite's log into the file once | `lane` |
//! | `query` | one call of a repository, in the caller's context | `op`, `backend`, and `table` where rows are read |
//!
//! A batch has rows of many senders, so a `batch` is no child of a `send`, and has no link to one. What joins a row to its
//! producer's trace is the row itself: [`EventBuilder::trace`](crate::EventBuilder::trace) fills its columns `trace_id` and `span_id`.

mod describe;
#[cfg(feature = "mysql")]
mod mysql;
mod pipeline;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
mod query;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use describe::describe;
#[cfg(feature = "mysql")]
pub(crate) use mysql::{PoolFigures, PoolMetrics, PoolWait};
pub(crate) use pipeline::{BufferGauges, IntakeMetrics, LaneGauge, LaneMetrics};
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use query::query;
pub use source::{SourceFigures, sources};
#[cfg(feature = "sqlite")]
pub(crate) use sqlite::{WalMetrics, file, retired, segment_step, segments};

/// Buckets for every histogram of seconds, for `PrometheusBuilder::set_buckets_for_metric` with the suffix `_seconds`.
pub const SECONDS_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0, 1800.0];
/// Buckets for the histogram of rows a batch (suffix `_batch_rows`).
pub const ROWS_BUCKETS: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 8192.0, 65536.0];
/// Buckets for the histogram of bytes a batch (suffix `_batch_bytes`).
pub const BYTES_BUCKETS: [f64; 9] =
    [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 8388608.0];

/// The ends of the names of all histograms, and their buckets. Without buckets the exporter makes summaries of them,
/// which cannot be added up over lanes or instances.
pub const BUCKETS: [(&str, &[f64]); 3] =
    [("_seconds", &SECONDS_BUCKETS), ("_batch_rows", &ROWS_BUCKETS), ("_batch_bytes", &BYTES_BUCKETS)];
