//! What is claimed of each parser for every input. One function a target: it panics where a claim does not hold.
//!
//! A claim is more than that nothing panics: the same bytes in other pieces give the same rows, a row holds what a
//! database can take, a bound holds, what is written is read again as it was.

mod logs;
mod packets;
mod texts;

use std::net::IpAddr;

use forebay::{Capture, Event};
use serde::de::IgnoredAny;

/// A target's function.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const ALL: &[(&str, Target)] = &[
    ("beginning", crate::source::file::beginning),
    ("pcap", packets::pcap),
    ("pcap_write", packets::pcap_write),
    ("link", packets::link),
    ("filter", packets::filter),
    ("lines", logs::lines),
    ("detect", logs::detect),
    ("eve", logs::eve),
    ("zeek_json", logs::zeek_json),
    ("zeek_tsv", logs::zeek_tsv),
    ("cowrie", logs::cowrie),
    ("decnet", logs::decnet),
    ("syslog", logs::syslog),
    ("ndjson", logs::ndjson),
    ("frames_lines", |input| crate::source::listen::frames("lines", input)),
    ("frames_length", |input| crate::source::listen::frames("length", input)),
    ("frames_syslog", |input| crate::source::listen::frames("syslog", input)),
    ("message", crate::source::listen::message),
    ("expression", texts::expression),
    ("field_path", texts::field_path),
    ("database_url", texts::database_url),
    ("settings", texts::settings),
    ("words", texts::words),
    ("timestamp", texts::timestamp),
];

/// Runs a target by its name.
pub fn run(name: &str, input: &[u8]) {
    let target = ALL.iter().find(|(known, _)| *known == name);
    target.unwrap_or_else(|| panic!("no target is called {name}")).1(input);
}

/// What is true of every event that a parser makes.
pub fn check_event(event: &Event) {
    check_addresses([event.src_ip(), event.dst_ip()]);
    check_fields(event.fields());
    for text in [event.sensor(), event.service(), event.event_type()] {
        assert!(!text.is_empty(), "an empty name");
    }
    assert!(event.proto().is_none_or(|proto| !proto.chars().any(|c| c.is_ascii_uppercase())));
    assert_eq!(event.trace_id().is_some(), event.span_id().is_some());
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(event.trace_id().is_none_or(|id| id.len() == 32 && is_hex(id)));
    assert!(event.span_id().is_none_or(|id| id.len() == 16 && is_hex(id)));
    if let Some(capture) = event.derived() {
        check_capture(capture);
        assert_eq!((capture.kind(), capture.ts(), capture.sensor()), ("credential", event.ts(), event.sensor()));
        assert_eq!((capture.src_ip(), capture.session()), (event.src_ip(), event.session()));
        assert!(event.weight() > capture.weight());
    }
}

/// What is true of every capture that a parser makes.
pub fn check_capture(capture: &Capture) {
    check_addresses([capture.src_ip(), capture.dst_ip()]);
    check_fields(capture.fields());
    assert!(i64::try_from(capture.length()).is_ok());
    assert!(capture.weight() >= capture.data().len());
}

fn check_addresses(addresses: [Option<&str>; 2]) {
    for text in addresses.into_iter().flatten() {
        let read = text.parse::<IpAddr>().expect("an address");
        assert_eq!(read.to_string(), text, "addresses are canonical");
    }
}

fn check_fields(fields: Option<&str>) {
    let Some(text) = fields else { return };
    assert!(text.trim_start().starts_with('{'), "{text}");
    let read = serde_json::from_str::<IgnoredAny>(text);
    assert!(read.is_ok(), "{read:?}: {text}");
}
