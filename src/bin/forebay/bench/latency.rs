//! Latencies of one kind: of the whole run, and of the interval since they were last looked at.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;

/// Microseconds; one hour is the most that is told apart. Three digits are exact.
const MAX: u64 = 3_600_000_000;

pub struct Latencies {
    run: Histogram<u64>,
    interval: Histogram<u64>,
}

/// Some points of a distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
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
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MAX);
        self.interval.saturating_record(micros.max(1));
    }

    /// Adds another one's figures and empties it.
    pub fn take_from(&mut self, other: &mut Self) {
        for (to, from) in [(&mut self.run, &mut other.run), (&mut self.interval, &mut other.interval)] {
            // Equal bounds: adding cannot fail.
            let _ = to.add(&*from);
            from.reset();
        }
    }

    /// Returns the figures since the last call.
    pub fn interval(&mut self) -> Percentiles {
        let figures = Percentiles::of(&self.interval);
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
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 / 1000.0 }
    }

    pub fn json(self) -> serde_json::Value {
        json!({ "p50_ms": self.p50, "p99_ms": self.p99, "p999_ms": self.p999, "max_ms": self.max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_keeps_what_the_intervals_have_shown() {
        let (mut all, mut one) = (Latencies::default(), Latencies::default());
        for ms in 1..=1000 {
            one.record(Duration::from_millis(ms));
        }
        all.take_from(&mut one);
        assert!((all.interval().p50 - 500.0).abs() < 2.0);
        assert_eq!(all.interval().max, 0.0);
        let whole = all.whole();
        assert!((whole.p99 - 990.0).abs() < 2.0 && (whole.max - 1000.0).abs() < 2.0, "{whole:?}");
    }
}
