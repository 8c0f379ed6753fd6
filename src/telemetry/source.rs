//! What comes in, by source: plain figures, set once a second by whoever runs sources.
//!
//! `source` lies above this module, so that it hands its figures down as data. The label `source` is the name that the
//! operator gave it, cut and cleaned: a metrics store must not be filled or broken by a typing error.

use std::time::SystemTime;

use metrics::{counter, gauge};

/// Most characters of a name that become a label.
const MAX_NAME: usize = 64;

/// A source at one moment, as metrics and the status page show it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceFigures {
    /// The name that its operator gave it; never anything from outside.
    pub name: String,
    /// What it is: one of our own words.
    pub kind: &'static str,
    /// `starting`, `running`, `waiting`, `failed` or `ended`.
    pub state: &'static str,
    /// Why it waits or has failed, for people. May quote what came from outside.
    pub why: Option<String>,
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
    /// Nanoseconds since the Unix epoch of the latest row, by the row's own clock.
    pub latest: Option<i64>,
    /// Peers that are connected, of a source that has some.
    pub peers: Option<u64>,
    /// Packets that the kernel dropped since the source began, of a source that asks it.
    pub kernel_drops: Option<u64>,
}

impl SourceFigures {
    /// Returns how many seconds the source is behind: from the latest row's time until `now` while there is something that
    /// it has not read, and else 0, however long nothing has come. `None` for a source that cannot know what it has not
    /// read. 0 for a row whose clock is ahead of ours.
    pub fn lag_seconds(&self, now: SystemTime) -> Option<f64> {
        if self.lag_bytes? == 0 {
            return Some(0.0);
        }
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.latest_seconds().map(|latest| (now - latest).max(0.0))
    }

    /// Returns the time of the latest row in seconds since the Unix epoch.
    pub fn latest_seconds(&self) -> Option<f64> {
        self.latest.map(|latest| latest as f64 / 1e9)
    }
}

/// Sets the metrics of sources. To be called once a second or so, by whoever runs them; the server does.
///
/// Of names, letters, digits and `-_.:/@ ` stay, 64 characters at most; two sources whose labels are equal then share
/// their metrics.
pub fn sources(sources: &[SourceFigures]) {
    for source in sources {
        let labels = [("source", label(&source.name)), ("kind", source.kind.to_owned())];
        let state = match source.state {
            "starting" => 0.0,
            "running" => 1.0,
            "waiting" => 2.0,
            "failed" => 3.0,
            _ => 4.0,
        };
        gauge!("forebay_source_state", &labels).set(state);
        counter!("forebay_source_rows_total", &labels).absolute(source.rows);
        counter!("forebay_source_malformed_records_total", &labels).absolute(source.malformed);
        counter!("forebay_source_skipped_records_total", &labels).absolute(source.skipped);
        if let Some(bytes) = source.lag_bytes {
            gauge!("forebay_source_lag_bytes", &labels).set(bytes as f64);
        }
        if let Some(lag) = source.lag_seconds(SystemTime::now()) {
            gauge!("forebay_source_lag_seconds", &labels).set(lag);
        }
        if let Some(latest) = source.latest_seconds() {
            gauge!("forebay_source_latest_row_timestamp_seconds", &labels).set(latest);
        }
        if let Some(peers) = source.peers {
            gauge!("forebay_source_peers", &labels).set(peers as f64);
        }
        if let Some(drops) = source.kernel_drops {
            counter!("forebay_source_kernel_drops_total", &labels).absolute(drops);
        }
    }
}

fn label(name: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "-_.:/@ ".contains(c) { c } else { '_' };
    name.chars().take(MAX_NAME).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that nobody wrote to over night was shown as hours behind.
    #[test]
    fn a_source_that_has_read_everything_is_not_behind_however_old_its_latest_row_is() {
        let mut source = SourceFigures {
            name: "log".into(),
            kind: "tail",
            state: "running",
            why: None,
            since: SystemTime::UNIX_EPOCH,
            rows: 1,
            malformed: 0,
            skipped: 0,
            lag_bytes: Some(0),
            latest: Some(100_000_000_000),
            peers: None,
            kernel_drops: None,
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(160);
        assert_eq!((source.lag_seconds(now), source.latest_seconds()), (Some(0.0), Some(100.0)));
        source.lag_bytes = Some(1);
        assert_eq!(source.lag_seconds(now), Some(60.0));
        assert_eq!(source.lag_seconds(SystemTime::UNIX_EPOCH), Some(0.0), "its clock is ahead");
        source.lag_bytes = None;
        assert_eq!(source.lag_seconds(now), None, "it does not know what it has not read");
    }

    #[test]
    fn a_name_becomes_a_short_and_harmless_label() {
        assert_eq!(label("tail:/var/log/eve.json"), "tail:/var/log/eve.json");
        assert_eq!(label("a\"}\n\u{1b}é"), "a_____");
        assert_eq!(label(&"x".repeat(1000)).len(), 64);
    }
}
