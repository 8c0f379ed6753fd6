//! Lines of JSON logs through the public API: whole sample files, hostile lines and generated ones. Formats that are no flat
//! JSON are in `source_lines.rs`.
//!
//! Every column is checked against a second, naive reading with `serde_json::Value`. The samples in `tests/data` are
//! our own (see README.md there). The folder of `FOREBAY_SHARED_DATA`, by default `../shared/data`, may hold logs of
//! public projects; where it is missing the test says so and passes.
#![cfg(feature = "source")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use forebay::source::Malformed;
use forebay::source::format::{Defaults, Format, Parser, reason};
use forebay::{Event, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value};

const NOW: Timestamp = Timestamp::from_nanos(7);

fn defaults(log_name: &str) -> Defaults<'_> {
    Defaults { sensor: None, host: "this-host", log_name, now: NOW }
}

/// The formats of flat JSON lines.
const FLAT: [Format; 4] = [Format::Eve, Format::ZeekJson, Format::Cowrie, Format::Ndjson];

/// Keys that a format may move out of `fields`, each with the column where it must be found again.
fn column_keys(format: Format) -> impl Iterator<Item = (&'static str, &'static str)> {
    let pairs = match format {
        Format::Eve => {
            "host=sensor app_proto=service event_type=event_type src_ip=src_ip src_port=src_port dest_ip=dst_ip \
             dest_port=dst_port proto=proto flow_id=session"
        }
        Format::ZeekJson => {
            "_system_name=sensor service=service _path=event_type id.orig_h=src_ip id.orig_p=src_port id.resp_h=dst_ip \
             id.resp_p=dst_port proto=proto uid=session name=msg msg=msg note=msg"
        }
        Format::Cowrie => {
            "sensor=sensor protocol=service eventid=event_type src_ip=src_ip src_port=src_port dst_ip=dst_ip \
             dst_port=dst_port session=session message=msg"
        }
        Format::Ndjson => {
            "sensor=sensor decky=sensor hostname=sensor host=sensor service=service app=service event_type=event_type \
             event=event_type eventid=event_type type=event_type src_ip=src_ip client_ip=src_ip attacker_ip=src_ip \
             src_port=src_port client_port=src_port dst_ip=dst_ip dest_ip=dst_ip dst_port=dst_port dest_port=dst_port \
             proto=proto protocol=proto session=session session_id=session flow_id=session msg=msg message=msg \
             trace_id=trace_id span_id=span_id"
        }
        other => panic!("{other} is no flat JSON"),
    };
    pairs.split_whitespace().filter_map(|pair| pair.split_once('='))
}

fn column(event: &Event, name: &str) -> Option<String> {
    match name {
        "src_port" => return event.src_port().map(|port| port.to_string()),
        "dst_port" => return event.dst_port().map(|port| port.to_string()),
        "sensor" => Some(event.sensor()),
        "service" => Some(event.service()),
        "event_type" => Some(event.event_type()),
        "src_ip" => event.src_ip(),
        "dst_ip" => event.dst_ip(),
        "proto" => event.proto(),
        "session" => event.session(),
        "msg" => event.msg(),
        "trace_id" => event.trace_id(),
        "span_id" => event.span_id(),
        other => panic!("{other} is no column"),
    }
    .map(str::to_owned)
}

fn time_keys(format: Format) -> &'static [&'static str] {
    match format {
        Format::Eve | Format::Cowrie => &["timestamp"],
        Format::ZeekJson => &["ts"],
        Format::Ndjson => &["ts", "timestamp", "time"],
        other => panic!("{other} is no flat JSON"),
    }
}

/// Returns a scalar as the column called `name` shows it, or `None` if it cannot.
fn shown(value: &Value, name: &str) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match name {
        "src_ip" | "dst_ip" => text.parse::<IpAddr>().ok().map(|address| address.to_string()),
        "proto" => Some(text.to_ascii_lowercase()),
        _ => Some(text),
    }
}

/// Tells whether a time of the line is `ts`: as ISO text, or as a number in one of the four units.
fn is_same_time(value: &Value, ts: Timestamp) -> bool {
    let Value::Number(number) = value else {
        return value.as_str().and_then(Timestamp::parse) == Some(ts);
    };
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let nanos: i128 = format!("{whole}{fraction:0<9}").parse().unwrap();
    [1, 1_000, 1_000_000, 1_000_000_000].iter().any(|unit| nanos == i128::from(ts.as_nanos()) * unit)
}

/// Asserts that every member of the line is in `fields` or in its column, and that `fields` has nothing else.
fn assert_nothing_is_lost(format: Format, line: &Map<String, Value>, event: &Event) {
    let fields: Map<String, Value> = event.fields().map_or_else(Map::new, |text| serde_json::from_str(text).unwrap());
    for (key, value) in line {
        if fields.get(key) == Some(value) {
            continue;
        }
        assert!(!fields.contains_key(key), "{key} is changed in fields");
        if time_keys(format).contains(&key.as_str()) {
            assert!(is_same_time(value, event.ts()), "{key}: {value} is not {}", event.ts());
            continue;
        }
        let Some((_, name)) = column_keys(format).find(|(name, _)| name == key) else { panic!("{key} is lost") };
        assert_eq!(column(event, name), shown(value, name), "{key}");
    }
    assert!(fields.keys().all(|key| line.contains_key(key)));
}

/// Asserts what must be in the columns of a sample line whatever else the format does.
fn assert_ends(format: Format, line: &Map<String, Value>, event: &Event) {
    let names = match format {
        Format::Eve => ["src_ip", "src_port", "dest_ip", "dest_port", "flow_id"],
        Format::ZeekJson => ["id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "uid"],
        Format::Cowrie => ["src_ip", "src_port", "dst_ip", "dst_port", "session"],
        Format::Ndjson => ["client_ip", "client_port", "dst_ip", "dst_port", "session_id"],
        other => panic!("{other} is no flat JSON"),
    };
    let columns = ["src_ip", "src_port", "dst_ip", "dst_port", "session"];
    let naive: Vec<_> = names.iter().zip(columns).map(|(name, column)| shown(line.get(*name)?, column)).collect();
    let found = columns.map(|name| column(event, name));
    assert_eq!(found.as_slice(), naive);
}

/// Reads a line that is no header line.
fn parse(format: Format, line: &[u8], log_name: &str) -> Result<Event, Malformed> {
    Parser::new(format).parse(line, &defaults(log_name)).map(|event| event.expect("a record"))
}

/// Detects and parses a whole file; returns the events and the reasons of the malformed lines.
fn read_log(path: &Path, expected: Format) -> (Vec<Event>, Vec<&'static str>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(Format::detect(&bytes[..bytes.len().min(65536)]), Some(expected), "{}", path.display());
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let (mut events, mut reasons) = (Vec::new(), Vec::new());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let event = match parse(expected, line, stem) {
            Ok(event) => event,
            Err(fault) => {
                reasons.push(fault.reason);
                continue;
            }
        };
        assert_eq!(event.raw().unwrap().as_bytes(), line.trim_ascii_end());
        let naive: Map<String, Value> = serde_json::from_slice(line).unwrap();
        assert_nothing_is_lost(expected, &naive, &event);
        assert_ends(expected, &naive, &event);
        events.push(event);
    }
    (events, reasons)
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn count(events: &[Event], is_meant: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| is_meant(event)).count()
}

#[test]
fn every_line_of_the_samples_becomes_an_event() {
    for (name, format, lines) in [
        ("eve.json", Format::Eve, 84),
        ("conn.zeek.json", Format::ZeekJson, 86),
        ("ssh.zeek.json", Format::ZeekJson, 26),
        ("cowrie.json", Format::Cowrie, 100),
    ] {
        let (events, reasons) = read_log(&sample(name), format);
        assert_eq!((events.len(), reasons.len()), (lines, 0), "{name}");
    }
}

#[test]
fn the_three_broken_lines_of_a_log_are_set_aside_with_their_reasons() {
    let (events, reasons) = read_log(&sample("app.ndjson"), Format::Ndjson);
    assert_eq!((events.len(), reasons), (81, vec![reason::BAD_JSON, reason::BAD_JSON, reason::NOT_AN_OBJECT]));
    assert!(count(&events, |event| event.ts() == NOW) > 0, "the sample has lines without a time");
}

#[test]
fn every_line_of_public_logs_becomes_an_event() {
    let shared = env::var_os("FOREBAY_SHARED_DATA").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
    if !shared.is_dir() {
        eprintln!("no logs of public projects in {}; set FOREBAY_SHARED_DATA to read some", shared.display());
        return;
    }
    for (name, format, lines) in [
        ("eve/honeypot-2018.eve.json", Format::Eve, 44),
        ("zeek/weird.json", Format::ZeekJson, 24202),
        ("zeek/ssh.json", Format::ZeekJson, 22),
        ("zeek/rdp.json", Format::ZeekJson, 4122),
        ("cowrie/cowrie.json", Format::Cowrie, 945),
    ] {
        let (events, reasons) = read_log(&shared.join(name), format);
        assert_eq!((events.len(), reasons.len()), (lines, 0), "{name}");
        let has_msg = count(&events, |event| event.msg().is_some());
        match format {
            Format::Eve => assert_eq!(has_msg, lines, "every alert has a signature"),
            Format::Cowrie => assert_eq!(count(&events, |event| ["ssh", "telnet"].contains(&event.service())), lines),
            _ if name.ends_with("weird.json") => assert_eq!(has_msg, lines, "every weird has a name"),
            _ => assert_eq!(count(&events, |event| event.service() == event.event_type()), lines),
        }
    }
}

/// Any line of the samples.
fn sample_line() -> impl Strategy<Value = Vec<u8>> {
    let names = ["eve.json", "conn.zeek.json", "ssh.zeek.json", "cowrie.json", "app.ndjson"];
    let lines = names.into_iter().flat_map(|name| {
        fs::read(sample(name)).unwrap().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()
    });
    prop::sample::select(lines.collect::<Vec<_>>())
}

fn json_value() -> impl Strategy<Value = Value> {
    let plausible = prop::sample::select(vec![
        "",
        "-",
        "Unknown",
        "192.0.2.1",
        "2001:DB8::0:1",
        "ssh",
        "TCP",
        "cowrie.x",
        "weird",
        "notice",
        "alert",
        "http",
        "22",
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331",
        "2026-01-02T03:50:11.315110+0000",
        "a\"\\\u{1b}\0\u{1F600}",
    ]);
    let leaf = prop_oneof![
        4 => plausible.prop_map(Value::from),
        2 => (0u32..80_000).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => ".{0,12}".prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(".{0,6}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object of column keys of any format, keys of particulars, and others.
fn json_object() -> impl Strategy<Value = Map<String, Value>> {
    let mut known: Vec<String> = vec!["alert".into(), "http".into(), "ts".into(), "timestamp".into(), "time".into()];
    known.extend(FLAT.iter().flat_map(|format| column_keys(*format)).map(|(key, _)| key.to_owned()));
    let key = prop_oneof![5 => prop::sample::select(known), 1 => "x.{0,5}"];
    prop::collection::hash_map(key, json_value(), 0..24).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _detected: Option<Format> = Format::detect(&bytes);
        for format in FLAT {
            let _outcome: Result<Event, Malformed> = parse(format, &bytes, "x");
        }
    }

    #[test]
    fn mutated_lines_never_panic_and_keep_their_bytes(
        line in sample_line(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut line = line;
        for (at, byte, kind) in edits {
            let at = at.index(line.len() + 1);
            match kind {
                0 => line.insert(at, byte),
                1 if at < line.len() => line[at] = byte,
                _ => line.truncate(at.max(cut.index(line.len() + 1))),
            }
        }
        let _detected: Option<Format> = Format::detect(&line);
        for format in FLAT {
            if let Ok(event) = parse(format, &line, "x") {
                prop_assert!(line.starts_with(event.raw().unwrap().as_bytes()));
            }
        }
    }

    #[test]
    fn fields_and_columns_together_lose_no_key(object in json_object()) {
        let line = serde_json::to_vec(&object).unwrap();
        for format in FLAT {
            match parse(format, &line, "x") {
                Ok(event) => assert_nothing_is_lost(format, &object, &event),
                Err(fault) => prop_assert!([reason::NO_TIMESTAMP, reason::BAD_TIMESTAMP].contains(&fault.reason)),
            }
        }
    }
}
