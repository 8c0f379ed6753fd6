//! Latencies of one kind: of the whole run, and of the interval since they were last looked at. Memory stays the same,
//! however long the run.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

/// Nanoseconds; one hour is the most that is told apart. Three digits are exact.
const MAX: u64 = 3_600_000_000_000;

pub struct Latencies {
    run: Histogram<u64>,
    interval: Histogram<u64>,
}

/// Some points of a distribution, in milliseconds; zero when there was nothing to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, MAX, 3).expect("bounds that hdrhistogram takes");
        Self { run: histogram(), interval: histogram() }
    }
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(MAX);
        self.interval.saturating_record(nanos.max(1));
    }

    /// Returns the figures since the last call.
    pub fn interval(&mut self) -> Percentiles {
        let figures = Percentiles::of(&self.interval);
        // Equal bounds: adding cannot fail.
        let _ = self.run.add(&self.interval);
        self.interval.reset();
        figures
    }

    /// Returns the figures of the whole run.
    pub fn whole(&mut self) -> Percentiles {
        self.interval();
        Percentiles::of(&self.run)
    }
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 / 1e6 }
    }

    /// Returns the larger of each: exact for the maximum, never too good for the others.
    pub fn worse(self, other: Self) -> Self {
        Self {
            p50: self.p50.max(other.p50),
            p99: self.p99.max(other.p99),
            p999: self.p999.max(other.p999),
            max: self.max.max(other.max),
        }
    }

    pub fn json(self) -> serde_json::Value {
        json!({ "p50_ms": self.p50, "p99_ms": self.p99, "p999_ms": self.p999, "max_ms": self.max })
    }
}

/// One thread's latencies, handed over in lots, so that threads do not meet at the lock at every send.
pub struct Lot<'a> {
    to: &'a Mutex<Latencies>,
    waiting: Vec<Duration>,
    since: Instant,
}

impl<'a> Lot<'a> {
    const MOST: usize = 256;
    const LONGEST: Duration = Duration::from_millis(200);

    pub fn new(to: &'a Mutex<Latencies>) -> Self {
        Self { to, waiting: Vec::with_capacity(Self::MOST), since: Instant::now() }
    }

    /// Records how long it is since `due`.
    pub fn record_since(&mut self, due: Instant) {
        let now = Instant::now();
        self.waiting.push(now.saturating_duration_since(due));
        if self.waiting.len() >= Self::MOST || now.saturating_duration_since(self.since) >= Self::LONGEST {
            self.hand_over();
            self.since = now;
        }
    }

    fn hand_over(&mut self) {
        let mut to = lock(self.to);
        self.waiting.drain(..).for_each(|latency| to.record(latency));
    }
}

impl Drop for Lot<'_> {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Locks figures; a thread that panicked while it held them has left nothing half done that matters here.
pub fn lock(latencies: &Mutex<Latencies>) -> MutexGuard<'_, Latencies> {
    latencies.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_keeps_what_the_intervals_have_shown() {
        let mut all = Latencies::default();
        for ms in 1..=1000 {
            all.record(Duration::from_millis(ms));
        }
        assert!((all.interval().p50 - 500.0).abs() < 2.0);
        assert_eq!(all.interval(), Percentiles::default());
        let whole = all.whole();
        assert!((whole.p99 - 990.0).abs() < 2.0 && (whole.max - 1000.0).abs() < 2.0, "{whole:?}");
    }

    #[test]
    fn what_a_thread_has_not_handed_over_yet_comes_at_its_end() {
        let all = Mutex::new(Latencies::default());
        let mut lot = Lot::new(&all);
        lot.record_since(Instant::now() - Duration::from_millis(7));
        drop(lot);
        assert!(lock(&all).whole().max >= 7.0);
    }
}
