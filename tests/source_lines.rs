//! Zeek's TSV, syslog and DECNET through the public API: samples, the same rows by two ways, hostile lines.
//!
//! The samples in `tests/data` are our own. The folder of `FOREBAY_SHARED_DATA`, by default `../shared/data`, may hold logs
//! of public projects; where it is missing the test says so and passes.
#![cfg(feature = "source")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use forebay::source::format::{Defaults, Format, Mapping, Parser, reason};
use forebay::{Event, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// A time after all samples.
fn now() -> Timestamp {
    Timestamp::parse("2026-04-01T00:00:00Z").unwrap()
}

fn defaults(log_name: &str) -> Defaults<'_> {
    Defaults { sensor: None, host: "this-host", log_name, now: now() }
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// Detects and reads a log; returns its events and the reasons of malformed lines.
fn read(log: &[u8], log_name: &str, expected: Format) -> (Vec<Event>, Vec<&'static str>) {
    assert_eq!(Format::detect(&log[..log.len().min(65536)]), Some(expected), "{log_name}");
    let mut parser = Parser::new(expected);
    let (mut events, mut reasons) = (Vec::new(), Vec::new());
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        match parser.parse(line, &defaults(log_name)) {
            Ok(event) => events.extend(event),
            Err(fault) => reasons.push(fault.reason),
        }
    }
    (events, reasons)
}

/// All columns but `raw`, to compare; of the fields those that are not in `without`.
fn columns(event: &Event, without: &[&str]) -> String {
    let fields = event.fields().unwrap_or("{}");
    let mut fields: Map<String, Value> = serde_json::from_str(fields).unwrap();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    without.iter().for_each(|key| drop(fields.remove(*key)));
    format!(
        "{} {} {} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
        event.ts(),
        event.sensor(),
        event.service(),
        event.event_type(),
        (event.src_ip(), event.src_port()),
        (event.dst_ip(), event.dst_port()),
        event.proto(),
        event.session(),
        event.msg(),
        (event.trace_id(), event.span_id()),
        event.derived().map(|capture| (capture.data(), json(capture.fields().unwrap()))),
        Value::Object(fields),
    )
}

fn sorted(events: &[Event], without: &[&str]) -> Vec<String> {
    let mut rows: Vec<_> = events.iter().map(|event| columns(event, without)).collect();
    rows.sort();
    rows
}

#[test]
fn the_same_log_as_tsv_and_as_json_is_the_same_rows() {
    let (tsv, malformed) = read(&sample("zeek.log"), "zeek", Format::ZeekTsv);
    assert_eq!((tsv.len(), malformed.len()), (86 + 26, 0));
    let mut json = read(&sample("conn.zeek.json"), "conn", Format::ZeekJson).0;
    json.extend(read(&sample("ssh.zeek.json"), "ssh", Format::ZeekJson).0);
    assert_eq!(sorted(&tsv, &[]), sorted(&json, &["_write_ts"]));
    assert!(tsv.iter().all(|event| !event.raw().unwrap().starts_with('#')));
}

#[test]
fn public_logs_are_the_same_rows_as_tsv_and_as_json() {
    let shared = env::var_os("FOREBAY_SHARED_DATA").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
    if !shared.is_dir() {
        eprintln!("no logs of public projects in {}; set FOREBAY_SHARED_DATA to read some", shared.display());
        return;
    }
    for (name, lines) in [("weird", 24202), ("ssh", 22), ("rdp", 4122)] {
        let log = |ending| fs::read(shared.join(format!("zeek/{name}.{ending}"))).unwrap();
        let (tsv, malformed) = read(&log("log"), name, Format::ZeekTsv);
        assert_eq!((tsv.len(), malformed.len()), (lines, 0), "{name}");
        let json = read(&log("json"), name, Format::ZeekJson).0;
        let (tsv, json) = (sorted(&tsv, &[]), sorted(&json, &["_write_ts"]));
        let differs = tsv.iter().zip(&json).find(|(tsv, json)| tsv != json);
        assert_eq!(differs, None, "{name}");
    }
    let (events, _) = read(&fs::read(shared.join("cowrie/cowrie.json")).unwrap(), "cowrie", Format::Cowrie);
    let logins = events.iter().filter(|event| event.event_type().starts_with("cowrie.login.")).count();
    assert!(logins > 0);
    assert_eq!(events.iter().filter(|event| event.derived().is_some()).count(), logins);
}

#[test]
fn a_record_of_decnet_and_the_line_it_was_made_of_are_the_same_row() {
    let (records, malformed) = read(&sample("decnet.json"), "decnet", Format::Decnet);
    assert_eq!((records.len(), malformed.len()), (30, 0));
    assert_eq!(records.iter().filter(|event| event.derived().is_some()).count(), 12);
    assert!(records.iter().any(|event| event.src_ip().is_none()), "the sample has an unknown attacker");
    let mut parser = Parser::new(Format::Syslog);
    for record in &records {
        let line = record.raw().unwrap();
        let event = parser.parse(line.as_bytes(), &defaults("x")).unwrap().unwrap();
        // The record's time has whole seconds.
        let second = |event: &Event| event.ts().as_nanos() / 1_000_000_000;
        assert_eq!(second(&event), second(record));
        let but_time = |event: &Event| columns(event, &["facility", "severity"]).split_once(' ').unwrap().1.to_owned();
        assert_eq!(but_time(&event), but_time(record), "{line}");
    }
}

#[test]
fn every_syslog_line_but_one_becomes_an_event() {
    let log = sample("syslog.log");
    let (events, malformed) = read(&log, "syslog", Format::Syslog);
    assert_eq!((events.len(), malformed), (46, vec![reason::BAD_SYSLOG]));
    let count = |is_meant: fn(&Event) -> bool| events.iter().filter(|event| is_meant(event)).count();
    assert_eq!(count(|event| event.derived().is_some()), 12, "as many as DECNET's records");
    assert_eq!(count(|event| event.fields().is_some_and(|fields| fields.contains("\"relay\":{"))), 13);
    assert_eq!(count(|event| event.sensor().starts_with("relay-")), 0, "all that was wrapped is unwrapped");
    assert_eq!(count(|event| event.event_type() == "command" && event.src_ip().is_some()), 3);
    assert_eq!(count(|event| event.service() == "sshd" && event.ts().to_string().starts_with("2026-03-04")), 6);
    let lines = String::from_utf8(log).unwrap();
    assert!(events.iter().map(|event| event.raw().unwrap()).eq(lines.lines().take(46)));
}

fn sample_lines(name: &str) -> Vec<Vec<u8>> {
    sample(name).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Some consecutive lines of a sample, with its header before them.
fn run_of_lines() -> impl Strategy<Value = (Format, Vec<Vec<u8>>)> {
    let samples = [(Format::ZeekTsv, "zeek.log"), (Format::Decnet, "decnet.json"), (Format::Syslog, "syslog.log")];
    let samples = samples.map(|(format, name)| (format, sample_lines(name)));
    (prop::sample::select(samples.to_vec()), any::<prop::sample::Index>(), 1..8usize).prop_map(
        |((format, lines), at, count)| {
            let header = if format == Format::ZeekTsv { 8 } else { 0 };
            let from = header + at.index(lines.len() - header);
            let run = lines[from..].iter().take(count);
            (format, lines[..header].iter().chain(run).cloned().collect())
        },
    )
}

type Edit = (prop::sample::Index, prop::sample::Index, u8, u8);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..5u8), 0..8)
}

fn mutate(lines: &mut [Vec<u8>], edits: Vec<Edit>) {
    const SHARP: &[u8] = b"\t\\\"[]<>#-= ,:\n1";
    for (line, at, byte, kind) in edits {
        let line = line.get_mut(lines);
        let at = at.index(line.len() + 1);
        match kind {
            0 => line.insert(at, byte),
            1 => line.insert(at, SHARP[usize::from(byte) % SHARP.len()]),
            2 if at < line.len() => line[at] = byte,
            3 if at < line.len() => drop(line.remove(at)),
            _ => line.truncate(at),
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-z_][a-zA-Z0-9_@.-]{0,10}"
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6)) {
        for format in Format::ALL {
            let mut parser = Parser::new(format);
            for line in &lines {
                let _detected = Format::detect(line);
                let _outcome = parser.parse(line, &defaults("x"));
            }
        }
    }

    #[test]
    fn mutated_lines_never_panic_and_keep_their_bytes((format, lines) in run_of_lines(), edits in edits()) {
        let mut lines = lines;
        mutate(&mut lines, edits);
        let mut parser = Parser::new(format);
        for line in &lines {
            if let Ok(Some(event)) = parser.parse(line, &defaults("x")) {
                let raw = event.raw().unwrap().as_bytes();
                prop_assert!(format == Format::Decnet || line.starts_with(raw));
                let weight = event.derived().map_or(0, |capture| capture.weight());
                prop_assert!(event.weight() >= weight);
            }
        }
    }

    #[test]
    fn a_header_made_up_never_panics(
        header in prop::collection::vec("#(separator |set_separator|empty_field|unset_field|path|fields|types)[\t,|]?[a-z\\\\x0-9,|\t-]{0,20}", 0..10),
        records in prop::collection::vec("[a-zTF0-9,|\t.\\\\x-]{0,20}", 1..4),
    ) {
        let mut parser = Parser::new(Format::ZeekTsv);
        for line in header.iter().chain(&records) {
            let _outcome = parser.parse(line.as_bytes(), &defaults("x"));
        }
    }

    #[test]
    fn what_a_sender_wrote_by_the_rfc_is_read_back(
        priority in 0..=191u8,
        names in prop::collection::vec("[!-~&&[^<\\[]]{1,12}", 4),
        params in prop::collection::vec((name(), any::<String>()), 0..5),
        message in "[^\u{feff}\\s\\p{Cc}].{0,40}[a-z]",
        is_wrapped in any::<bool>(),
    ) {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        let [host, app, process, id] = &names[..] else { unreachable!() };
        let words: String = params.iter().map(|(name, value)| format!(" p{name}=\"{}\"", escaped(value))).collect();
        let mut line = format!("<{priority}>1 2026-01-02T03:50:11.5Z {host} {app} {process} {id} [x@1{words}] {message}");
        if is_wrapped {
            line = format!("<13>1 - relay - - - - {line}");
        }
        let event = Parser::new(Format::Syslog).parse(line.as_bytes(), &defaults("x")).unwrap().unwrap();
        let or = |word: &String, or: &str| if word == "-" { or.to_owned() } else { word.clone() };
        prop_assert_eq!(event.ts().as_nanos(), 1_767_325_811_500_000_000);
        prop_assert_eq!(event.sensor(), or(host, "this-host"));
        prop_assert_eq!(event.service(), or(app, "syslog"));
        prop_assert_eq!(event.event_type(), or(id, "log"));
        prop_assert_eq!(event.msg(), Some(message.as_str()));
        let fields: Value = serde_json::from_str(event.fields().unwrap()).unwrap();
        prop_assert_eq!(fields["facility"].as_u64(), Some(u64::from(priority / 8)));
        for (name, value) in &params {
            let is_one = params.iter().filter(|(other, _)| other == name).count() == 1;
            let read = &fields["structured_data"]["x@1"][format!("p{name}")];
            prop_assert!(!is_one || read == value, "{} {}", name, read);
        }
    }

    #[test]
    fn any_pointer_finds_something_or_nothing(pointer in "(/[a-c0-2~]{0,2}){0,4}", line in "[{\\[]([\\[\\]{}\",:a-c0-2]{0,30})") {
        let mapping = Mapping { msg: Some(pointer.clone()), ts: Some(pointer.clone()), src_ip: Some(pointer), ..Mapping::default() };
        prop_assert_eq!(mapping.validate().is_ok(), Parser::with_mapping(&mapping).is_ok());
        if let Ok(mut parser) = Parser::with_mapping(&mapping) {
            let _outcome = parser.parse(line.as_bytes(), &defaults("x"));
        }
    }
}
