//! Lines of logs.

use std::io::BufReader;

use forebay::Timestamp;
use forebay::source::format::{Defaults, Format, Mapping, Parser, reason};
use forebay::source::lines::LineReader;

use crate::pieces::Pieces;

const REASONS: [&str; 11] = [
    reason::INVALID_UTF8,
    reason::BAD_JSON,
    reason::NOT_AN_OBJECT,
    reason::TOO_DEEP,
    reason::TOO_LARGE,
    reason::NO_TIMESTAMP,
    reason::BAD_TIMESTAMP,
    reason::BAD_HEADER,
    reason::NO_HEADER,
    reason::WRONG_FIELDS,
    reason::BAD_SYSLOG,
];
/// In 2026.
const NOW: Timestamp = Timestamp::from_nanos(1_790_000_000_000_000_000);
const DEFAULTS: Defaults<'_> = Defaults { sensor: None, host: "here", log_name: "log", now: NOW };
const FORCED: Defaults<'_> = Defaults { sensor: Some("forced"), ..DEFAULTS };
/// Longest line of the targets, lines of one input.
const LONGEST: usize = 1 << 20;
const MOST: usize = 64;

/// A line as it is compared: where it begins and ends, its bytes, whether it is cut, whether it is ended.
type Cut = (u64, u64, Vec<u8>, bool, bool);

fn cut(stream: BufReader<Pieces>, max: usize) -> Vec<Cut> {
    let mut reader = LineReader::new(stream, max);
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().expect("memory does not fail") {
        assert_eq!(line.number as usize, lines.len() + 1);
        lines.push((line.start, line.end, line.bytes.to_vec(), line.is_cut, line.is_ended));
    }
    lines
}

/// The first byte chooses the limit. Lines cover every byte once, and are the same in whatever pieces the bytes come.
pub fn lines(input: &[u8]) {
    let Some((max, text)) = input.split_first() else { return };
    let max = 1 + usize::from(*max);
    let found = cut(BufReader::with_capacity(7, Pieces::owned(text)), max);
    assert_eq!(cut(BufReader::with_capacity(4096, Pieces::owned(text)), max), found);
    let naive: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(found.len(), naive.len());
    let mut place = 0;
    for ((start, end, bytes, is_cut, is_ended), whole) in found.iter().zip(naive) {
        assert_eq!((*start, *end), (place, place + whole.len() as u64));
        assert_eq!((*is_cut, *is_ended), (whole.len() > max, whole.ends_with(b"\n")));
        assert!(bytes.len() <= max && whole.starts_with(bytes));
        assert!(*is_cut || whole.len() - bytes.len() <= 2);
        place = *end;
    }
}

/// What stands in front of the first line and means nothing changes nothing.
pub fn detect(input: &[u8]) {
    let found = Format::detect(input);
    if !input.starts_with(b"\xef\xbb\xbf") {
        assert_eq!(Format::detect(&[b"\xef\xbb\xbf", input].concat()), found);
        assert_eq!(Format::detect(&[b"\r\n \n", input].concat()), found);
    }
    if input.iter().all(u8::is_ascii_whitespace) {
        assert_eq!(found, None);
    }
    // A file's kind is told from its first bytes: the rest of them has no say once there are lines enough.
    if input.iter().filter(|byte| **byte == b'\n').count() > 16 && input.ends_with(b"\n") {
        let many = [input, b"{\"a\":1}\n"].concat();
        let blank = input.split(|byte| *byte == b'\n').filter(|line| line.trim_ascii().is_empty()).count();
        assert!(blank > 1 || Format::detect(&many) == found);
    }
}

pub fn eve(input: &[u8]) {
    log(&Parser::new(Format::Eve), input);
}

pub fn zeek_json(input: &[u8]) {
    log(&Parser::new(Format::ZeekJson), input);
}

pub fn zeek_tsv(input: &[u8]) {
    log(&Parser::new(Format::ZeekTsv), input);
}

pub fn cowrie(input: &[u8]) {
    log(&Parser::new(Format::Cowrie), input);
}

pub fn decnet(input: &[u8]) {
    log(&Parser::new(Format::Decnet), input);
}

pub fn syslog(input: &[u8]) {
    log(&Parser::new(Format::Syslog), input);
}

/// The first line may be a mapping.
pub fn ndjson(input: &[u8]) {
    let first = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(mapping) = serde_json::from_slice::<Mapping>(first) else {
        return log(&Parser::new(Format::Ndjson), input);
    };
    let parser = Parser::with_mapping(&mapping);
    assert_eq!(parser.is_ok(), mapping.validate().is_ok());
    if let Ok(parser) = parser {
        log(&parser, &input[first.len()..]);
    }
}

/// Reads a log line by line: rows hold together, keep their line, and do not depend on how the line ends, on who reads
/// it, or on the line before, unless that was a header.
fn log(parser: &Parser, input: &[u8]) {
    let format = parser.format();
    let [mut first, mut second, mut forced] = [parser.clone(), parser.clone(), parser.clone()];
    for line in input.split(|byte| *byte == b'\n').take(MOST).filter(|line| line.len() <= LONGEST) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.ends_with(b"\r") {
            continue;
        }
        let row = first.parse(line, &DEFAULTS);
        assert_eq!(second.parse(&[line, b"\r\n"].concat(), &DEFAULTS), row);
        let named = forced.parse(line, &FORCED);
        match &row {
            Ok(None) => assert!(format.is_header(line) && named == Ok(None)),
            Ok(Some(event)) => {
                assert!(!format.is_header(line));
                super::check_event(event);
                let raw = event.raw().unwrap_or_default().as_bytes();
                assert!(raw == line || format == Format::Decnet, "{}", raw.escape_ascii());
                let named = named.expect("whoever the sensor is").expect("a row");
                super::check_event(&named);
                assert_eq!((named.sensor(), named.ts(), named.msg()), ("forced", event.ts(), event.msg()));
                assert_eq!((named.src_ip(), named.event_type()), (event.src_ip(), event.event_type()));
            }
            Err(fault) => {
                assert!(REASONS.contains(&fault.reason), "{}", fault.reason);
                assert!(fault.detail.len() < 1000 && !fault.detail.contains('\n'), "{}", fault.detail);
                assert_eq!(named.as_ref().map_err(|fault| fault.reason), Err(fault.reason));
            }
        }
    }
}
