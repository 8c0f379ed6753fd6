//! The answer of `/api/status`: what of it is shown, as plain data.
//!
//! What is missing counts as nothing and what is unknown is passed over, so that this program reads the answers of older
//! and newer ones. Times are Unix seconds, lengths seconds.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub version: String,
    pub at: f64,
    pub started_at: f64,
    pub healthy: bool,
    pub ready: bool,
    pub problems: Vec<String>,
    pub buffer: Buffer,
    pub lanes: Vec<Lane>,
    pub sources: Vec<Source>,
    pub backends: Vec<Figure>,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Buffer {
    pub bytes: u64,
    pub max_bytes: u64,
    pub events: Queue,
    pub captures: Queue,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Queue {
    pub rows: u64,
    pub max_rows: u64,
    pub discarded: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Lane {
    pub lane: String,
    pub state: String,
    pub error: Option<String>,
    pub attempts: u64,
    pub events: Kind,
    pub captures: Kind,
    pub history: Vec<f64>,
    pub in_flight_batches: u64,
    pub slots: u64,
    pub oldest_seconds: Option<f64>,
    pub last_commit: Option<f64>,
    pub latency: Percentiles,
    pub rejects: Vec<Reject>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Kind {
    pub per_second: f64,
    pub committed: u64,
    pub rejected: u64,
    pub failed: u64,
    pub queued: u64,
    pub in_flight: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Percentiles {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reject {
    pub kind: String,
    pub reason: String,
    pub rows: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Source {
    pub name: String,
    pub kind: String,
    pub state: String,
    pub why: Option<String>,
    pub rows: u64,
    pub malformed: u64,
    pub lag_bytes: Option<u64>,
    pub latest: Option<f64>,
    pub peers: Option<u64>,
    pub kernel_drops: Option<u64>,
}

/// A gauge or counter of a backend, as it stands in `/metrics`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Figure {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    pub at: f64,
    pub sensor: String,
    pub service: String,
    pub event_type: String,
    pub src: Option<String>,
    pub msg: Option<String>,
}

impl Status {
    /// Reads an answer.
    ///
    /// # Errors
    /// In words, for what is no status: every pipeline has a lane.
    pub fn parse(text: &str) -> Result<Self, String> {
        let status: Self = serde_json::from_str(text)
            .map_err(|error| format!("the answer is no status ({error}); is it a forebay?"))?;
        if status.lanes.is_empty() {
            return Err("the answer tells of no lane; is it a forebay?".into());
        }
        Ok(status)
    }
}

/// Whether this is what a server says before it has looked for the first time.
pub fn is_empty(text: &str) -> bool {
    text.trim() == "{}"
}
