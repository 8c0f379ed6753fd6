//! What the MySQL backend tells of its pool of connections.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// A pool at one moment; what is counted is counted since it was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolFigures {
    pub(crate) connections: u32,
    pub(crate) idle: u32,
    pub(crate) direct: u64,
    pub(crate) waited: u64,
    pub(crate) timed_out: u64,
    pub(crate) opened: u64,
    /// Closed because they were broken, invalid, too old, and idle for too long.
    pub(crate) closed: [u64; 4],
}

const CLOSED: [&str; 4] = ["broken", "invalid", "max_lifetime", "idle_timeout"];

/// Metrics of a pool. Several pools of one process add up, so they keep what they have shown before.
pub(crate) struct PoolMetrics {
    connections: Gauge,
    idle: Gauge,
    gets: [Counter; 3],
    opened: Counter,
    closed: [Counter; 4],
    shown: PoolFigures,
}

impl PoolMetrics {
    pub(crate) fn new(max_connections: usize) -> Self {
        gauge!("forebay_mysql_pool_max_connections").set(max_connections as f64);
        let gets = ["direct", "waited", "timed_out"];
        Self {
            connections: gauge!("forebay_mysql_pool_connections"),
            idle: gauge!("forebay_mysql_pool_idle_connections"),
            gets: gets.map(|outcome| counter!("forebay_mysql_pool_gets_total", "outcome" => outcome)),
            opened: counter!("forebay_mysql_connections_opened_total"),
            closed: CLOSED.map(|reason| counter!("forebay_mysql_connections_closed_total", "reason" => reason)),
            shown: PoolFigures::default(),
        }
    }

    pub(crate) fn show(&mut self, now: PoolFigures) {
        let before = std::mem::replace(&mut self.shown, now);
        self.connections.set(f64::from(now.connections));
        self.idle.set(f64::from(now.idle));
        let gets = |figures: &PoolFigures| [figures.direct, figures.waited, figures.timed_out];
        for ((counter, now), before) in self.gets.iter().zip(gets(&now)).zip(gets(&before)) {
            counter.increment(now.saturating_sub(before));
        }
        self.opened.increment(now.opened.saturating_sub(before.opened));
        for ((counter, now), before) in self.closed.iter().zip(now.closed).zip(before.closed) {
            counter.increment(now.saturating_sub(before));
        }
    }
}

/// Metric of how long batches wait for a connection.
#[derive(Clone)]
pub(crate) struct PoolWait(Histogram);

impl PoolWait {
    pub(crate) fn new() -> Self {
        Self(histogram!("forebay_mysql_pool_wait_seconds"))
    }

    pub(crate) fn waited(&self, wait: Duration) {
        self.0.record(wait);
    }
}
