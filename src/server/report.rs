//! What `/api/status` says, as plain data. Times are Unix seconds, lengths seconds, rates rows a second.
//!
//! `null` is what is not known: a percentile without a sample within the last minute, the age of nothing.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::exposition::Sample;
use crate::event::Event;
use crate::pipeline::{Counts, LaneState, LaneStatus};
use crate::repository::Stored;
use crate::telemetry::SourceFigures;

/// Most characters of an event's text that are shown.
const SHOWN: usize = 200;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) at: f64,
    pub(super) started_at: f64,
    pub(super) healthy: bool,
    pub(super) ready: bool,
    /// What is wrong, for people.
    pub(super) problems: Vec<String>,
    pub(super) buffer: Buffer,
    pub(super) lanes: Vec<LaneReport>,
    pub(super) sources: Vec<SourceReport>,
    /// Gauges and counters of backends, as they stand in `/metrics`.
    pub(super) backends: Vec<Sample>,
    /// The newest events, newest first; empty when nobody has looked for a while.
    pub(super) events: Vec<EventReport>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Buffer {
    pub(super) bytes: usize,
    pub(super) max_bytes: usize,
    pub(super) events: Queue,
    pub(super) captures: Queue,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Queue {
    pub(super) rows: usize,
    pub(super) max_rows: usize,
    pub(super) discarded: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LaneReport {
    pub(super) lane: &'static str,
    /// `running`, `retrying`, `failed` or `closed`.
    pub(super) state: &'static str,
    /// Why it is not running.
    pub(super) error: Option<String>,
    pub(super) attempts: u32,
    pub(super) events: KindReport,
    pub(super) captures: KindReport,
    /// Rows of both kinds committed in each of the last seconds, oldest first.
    pub(super) history: Vec<f64>,
    pub(super) in_flight_batches: usize,
    pub(super) slots: usize,
    pub(super) writing_seconds: Option<f64>,
    pub(super) oldest_seconds: Option<f64>,
    pub(super) last_commit: Option<f64>,
    pub(super) latency: Percentiles,
    pub(super) write: Percentiles,
    pub(super) rejects: Vec<RejectReport>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct KindReport {
    pub(super) per_second: f64,
    pub(super) accepted: u64,
    pub(super) committed: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
    pub(super) queued: u64,
    pub(super) in_flight: u64,
}

/// Of the last minute, from the buckets of a histogram.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: Option<f64>,
    pub(super) p90: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RejectReport {
    pub(super) kind: &'static str,
    pub(super) reason: &'static str,
    pub(super) rows: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SourceReport {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
    pub(super) why: Option<String>,
    pub(super) since: f64,
    pub(super) rows: u64,
    pub(super) malformed: u64,
    pub(super) skipped: u64,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) latest: Option<f64>,
    pub(super) peers: Option<u64>,
    pub(super) kernel_drops: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct EventReport {
    pub(super) id: i64,
    pub(super) at: f64,
    pub(super) sensor: String,
    pub(super) service: String,
    pub(super) event_type: String,
    pub(super) src: Option<String>,
    pub(super) dst: Option<String>,
    pub(super) msg: Option<String>,
}

/// What has been reckoned about a lane from one look to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    pub(super) per_second: [f64; 2],
    pub(super) history: Vec<f64>,
    pub(super) latency: Percentiles,
    pub(super) write: Percentiles,
}

impl LaneReport {
    pub(super) fn new(lane: LaneStatus, course: Course) -> Self {
        let (state, error, attempts) = match lane.state {
            LaneState::Running => ("running", None, 0),
            LaneState::Retrying { error, attempts, .. } => ("retrying", Some(error), attempts),
            LaneState::Failed { reason } => ("failed", Some(reason), 0),
            LaneState::Closed => ("closed", None, 0),
        };
        let rejects = lane.rejects.into_iter();
        let rejects = rejects.map(|(kind, reason, rows)| RejectReport { kind: kind.table(), reason, rows });
        Self {
            lane: lane.backend,
            state,
            error,
            attempts,
            events: KindReport::new(lane.events, course.per_second[0]),
            captures: KindReport::new(lane.captures, course.per_second[1]),
            history: course.history,
            in_flight_batches: lane.in_flight_batches,
            slots: lane.slots,
            writing_seconds: lane.writing_for.map(|time| time.as_secs_f64()),
            oldest_seconds: lane.oldest.map(|time| time.as_secs_f64()),
            last_commit: lane.last_commit.map(unix_seconds),
            latency: course.latency,
            write: course.write,
            rejects: rejects.collect(),
        }
    }
}

impl KindReport {
    fn new(counts: Counts, per_second: f64) -> Self {
        let Counts { accepted, committed, rejected, failed, queued, in_flight } = counts;
        Self { per_second, accepted, committed, rejected, failed, queued, in_flight }
    }
}

impl SourceReport {
    pub(super) fn new(source: SourceFigures, now: SystemTime) -> Self {
        let (lag_seconds, latest) = (source.lag_seconds(now), source.latest_seconds());
        let SourceFigures { name, kind, state, why, since, rows, malformed, skipped, .. } = source;
        let SourceFigures { lag_bytes, peers, kernel_drops, .. } = source;
        Self {
            name,
            kind,
            state,
            why,
            since: unix_seconds(since),
            rows,
            malformed,
            skipped,
            lag_bytes,
            lag_seconds,
            latest,
            peers,
            kernel_drops,
        }
    }
}

impl From<Stored<Event>> for EventReport {
    fn from(Stored { id, row }: Stored<Event>) -> Self {
        let end = |ip: Option<&str>, port: Option<u16>| {
            Some(match (ip?, port) {
                (ip, None) => ip.to_owned(),
                (ip, Some(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
                (ip, Some(port)) => format!("{ip}:{port}"),
            })
        };
        Self {
            id,
            at: row.ts().as_nanos() as f64 / 1e9,
            sensor: shown(row.sensor()),
            service: shown(row.service()),
            event_type: shown(row.event_type()),
            src: end(row.src_ip(), row.src_port()),
            dst: end(row.dst_ip(), row.dst_port()),
            msg: row.msg().map(shown),
        }
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
