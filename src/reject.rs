//! A record that cannot be stored as a row: why, and every byte of it, for the table `ingest_rejects`.
//!
//! Two ways lead here: a source could not read a record ([`Reject`], which travels in a chunk beside good rows, so that
//! it lands exactly once like them), or the database refused a row (then the writer sets the row itself aside).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::capture::Capture;
use crate::chunk::RowKind;
use crate::event::Event;

/// The reason in `ingest_rejects` of a row that the database refused.
pub(crate) const REFUSED: &str = "refused_by_database";

/// A record that its source could not turn into a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
    pub(crate) raw: Box<[u8]>,
}

impl Reject {
    /// Makes a reject of the record's bytes.
    ///
    /// `reason` is one word of a small fixed set: it becomes a metric label, so never text from the record itself.
    /// `detail` says more, for people.
    pub fn new(reason: &'static str, detail: impl Into<String>, raw: impl Into<Box<[u8]>>) -> Self {
        Self { reason, detail: detail.into(), raw: raw.into() }
    }

    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.detail.len() + self.raw.len()
    }
}

/// One row of `ingest_rejects`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow<'a> {
    /// The table that the row was meant for.
    pub table: RowKind,
    /// Ledger source of the row.
    pub source: &'a str,
    /// Position of the row in its source.
    pub position: u64,
    /// One word of a fixed set; `refused_by_database` for a row that the database refused.
    pub reason: &'a str,
    /// What exactly is wrong.
    pub detail: &'a str,
    /// The row as JSON, complete: bytes that are not UTF-8 as base64.
    pub row: String,
}

pub(crate) fn raw_json(raw: &[u8]) -> String {
    let value = match str::from_utf8(raw) {
        Ok(text) => json!({ "raw": text }),
        Err(_) => json!({ "raw_base64": STANDARD.encode(raw) }),
    };
    value.to_string()
}

/// Its derived row is set aside in it: neither is stored without the other.
pub(crate) fn event_json(event: &Event) -> String {
    let columns = object([
        ("ts", json!(event.ts().as_nanos())),
        ("sensor", json!(event.sensor())),
        ("service", json!(event.service())),
        ("event_type", json!(event.event_type())),
        ("src_ip", json!(event.src_ip())),
        ("src_port", json!(event.src_port())),
        ("dst_ip", json!(event.dst_ip())),
        ("dst_port", json!(event.dst_port())),
        ("proto", json!(event.proto())),
        ("session", json!(event.session())),
        ("msg", json!(event.msg())),
        ("fields", json!(event.fields())),
        ("raw", json!(event.raw())),
        ("trace_id", json!(event.trace_id())),
        ("span_id", json!(event.span_id())),
        ("derived", json!(event.derived().map(capture_columns))),
    ]);
    columns.to_string()
}

pub(crate) fn capture_json(capture: &Capture) -> String {
    capture_columns(capture).to_string()
}

fn capture_columns(capture: &Capture) -> Value {
    object([
        ("ts", json!(capture.ts().as_nanos())),
        ("sensor", json!(capture.sensor())),
        ("kind", json!(capture.kind())),
        ("session", json!(capture.session())),
        ("src_ip", json!(capture.src_ip())),
        ("src_port", json!(capture.src_port())),
        ("dst_ip", json!(capture.dst_ip())),
        ("dst_port", json!(capture.dst_port())),
        ("proto", json!(capture.proto())),
        ("link_type", json!(capture.link_type())),
        ("length", json!(capture.length())),
        ("fields", json!(capture.fields())),
        ("data_base64", json!(STANDARD.encode(capture.data()))),
    ])
}

fn object<const N: usize>(columns: [(&str, Value); N]) -> Value {
    let known = columns.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(known.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_of_a_rejected_record_is_lost() {
        assert_eq!(raw_json(b"a\"\0"), r#"{"raw":"a\"\u0000"}"#);
        assert_eq!(raw_json(b"\xff\x00"), r#"{"raw_base64":"/wA="}"#);
        let capture = Capture::builder("s", "k").data(vec![255]).build().unwrap();
        let json: Value = serde_json::from_str(&capture_json(&capture)).unwrap();
        assert_eq!((&json["data_base64"], &json["sensor"]), (&json!("/w=="), &json!("s")));
        let event = Event::builder("s", "v", "t").msg("\u{1b}[31m").derive(capture).build().unwrap();
        let json: Value = serde_json::from_str(&event_json(&event)).unwrap();
        assert_eq!((&json["msg"], &json["derived"]["data_base64"]), (&json!("\u{1b}[31m"), &json!("/w==")));
    }
}
