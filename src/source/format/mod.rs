//! Turns one line of a log into one [`Event`]. Pure: no file, no clock.
//!
//! [`Format::detect`] names the format of a file from its first bytes; a [`Parser`] reads its lines. Each format
//! has its own file with a table of where each column comes from. The rules for all of them:
//!
//! * `raw` is the line as it stood, without its line end.
//! * `fields` is one JSON object of everything that is not in a column, each value byte for byte as it stood, in its
//!   order. A member leaves `fields` only when a column holds all of it: an address that is none, a port of 70000, an
//!   empty string, a string that cannot be decoded (lone surrogate) stay there, and the column is as if they were
//!   missing. Where nothing is left, `fields` is NULL.
//! * A key counts as written (no escapes, same case). Of duplicate keys the first is the column, the others stay.
//! * Addresses are read, so `"-"`, `""` and `"Unknown"` are NULL. Ports may be numbers or strings.
//! * A sensor that the user forces wins; the record's own then stays in `fields`.
//! * A name and a secret that somebody tried to log in with make a derived row beside the event: see `credential.rs`.
//! * Lines that are no JSON (Zeek's TSV, syslog) are first written as the JSON that they could have been.
//!
//! Lines are untrusted: neither their size, nor nesting, nor bytes can panic or exhaust the stack.

mod column;
mod cowrie;
mod credential;
mod decnet;
mod detect;
mod draft;
mod epoch;
mod eve;
mod mapping;
mod ndjson;
mod object;
mod parser;
pub mod reason;
mod rfc3164;
mod rfc5424;
mod syslog;
mod zeek;
mod zeek_tsv;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use self::credential::Credential;
pub use self::mapping::{Mapping, TimeUnit};
use self::object::Object;
pub use self::parser::Parser;
use super::Malformed;
use crate::event::Event;
use crate::timestamp::Timestamp;

/// Longest line that is read. A row holds a line at most three times (`raw`, `fields`, `msg`) and stays below 4 GiB.
const MAX_LINE: usize = 1 << 30;

/// Longest quotation of a record in [`Malformed::detail`], in characters.
const MAX_QUOTE: usize = 64;

/// A kind of log, one record a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Suricata's EVE output.
    Eve,
    /// Zeek's logs with `LogAscii::use_json`.
    ZeekJson,
    /// Zeek's logs as its ASCII writer makes them, with header lines.
    ZeekTsv,
    /// Cowrie's `jsonlog` output.
    Cowrie,
    /// DECNET's JSON records.
    Decnet,
    /// Syslog: RFC 5424 and RFC 3164, also of DECNET's decoys.
    Syslog,
    /// Any other JSON lines; columns are guessed by common key names.
    Ndjson,
}

/// What a line does not say about itself.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// The sensor on which the user insists; wins over the record's own. Default: none.
    pub sensor: Option<&'a str>,
    /// The sensor's name when neither the user nor the record names one: usually this host's.
    pub host: &'a str,
    /// The log's name, usually the file's without its extension: Zeek's path where records carry no `_path`.
    pub log_name: &'a str,
    /// The time of reading: of events that carry none, which only [`Format::Ndjson`] and [`Format::Syslog`] allow, and to
    /// find the year of old syslog times.
    pub now: Timestamp,
}

/// A name that is no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl Format {
    /// Every format, the most particular first.
    pub const ALL: [Format; 7] = [
        Format::Eve,
        Format::ZeekJson,
        Format::ZeekTsv,
        Format::Cowrie,
        Format::Decnet,
        Format::Syslog,
        Format::Ndjson,
    ];

    /// Returns the name that `FromStr` reads: `eve`, `zeek`, `zeek-tsv`, `cowrie`, `decnet`, `syslog` or `ndjson`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Eve => "eve",
            Format::ZeekJson => "zeek",
            Format::ZeekTsv => "zeek-tsv",
            Format::Cowrie => "cowrie",
            Format::Decnet => "decnet",
            Format::Syslog => "syslog",
            Format::Ndjson => "ndjson",
        }
    }

    /// Names the format of a log from its first bytes, or returns `None` when they are of none.
    ///
    /// `first_lines` may end anywhere, also within the first line: then what can be seen of it decides. A byte order
    /// mark, blank lines and single broken lines (a log rotated in the middle of a line) are passed over.
    pub fn detect(first_lines: &[u8]) -> Option<Self> {
        detect::detect(first_lines)
    }

    /// Returns whether a log of this format has lines that say how later ones are to be read.
    ///
    /// Whoever begins to read such a log in the middle must first give its parser the header lines before that place.
    pub fn has_headers(self) -> bool {
        self == Format::ZeekTsv
    }

    /// Returns whether this line is a header line, so that [`Parser::parse`] returns `None` for it, or an error.
    pub fn is_header(self, line: &[u8]) -> bool {
        self.has_headers() && line.starts_with(b"#")
    }

    /// Returns whether a record of this format shows where it ends. Of others, a last line without a line end may be the
    /// beginning of a longer one.
    pub fn shows_its_end(self) -> bool {
        !matches!(self, Format::ZeekTsv | Format::Syslog)
    }

    /// Reads one line that is no header line.
    #[cfg(test)]
    fn parse(self, line: &[u8], defaults: &Defaults<'_>) -> Result<Event, Malformed> {
        Parser::new(self).parse(line, defaults).map(|event| event.expect("a record"))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
        write!(f, "unknown log format {:?}: choose one of {}", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownFormat {}

/// What a format has found for the columns of one line.
struct Columns<'a> {
    ts: Timestamp,
    sensor: Cow<'a, str>,
    service: Cow<'a, str>,
    event_type: Cow<'a, str>,
    src: (Option<IpAddr>, Option<u16>),
    dst: (Option<IpAddr>, Option<u16>),
    proto: Option<Cow<'a, str>>,
    session: Option<Cow<'a, str>>,
    msg: Option<Cow<'a, str>>,
    trace: Option<(Cow<'a, str>, Cow<'a, str>)>,
    /// What the record itself calls its original line, in place of the line.
    raw: Option<Cow<'a, str>>,
    credential: Option<Credential<'a>>,
}

impl Default for Columns<'_> {
    fn default() -> Self {
        Self {
            ts: Timestamp::from_nanos(0),
            sensor: Cow::Borrowed(""),
            service: Cow::Borrowed(""),
            event_type: Cow::Borrowed(""),
            src: (None, None),
            dst: (None, None),
            proto: None,
            session: None,
            msg: None,
            trace: None,
            raw: None,
            credential: None,
        }
    }
}

impl Columns<'_> {
    fn build(&self, raw: &str, fields: Option<&str>) -> Result<Event, Malformed> {
        let mut row = Event::builder(&self.sensor, &self.service, &self.event_type)
            .ts(self.ts)
            .src(self.src.0, self.src.1)
            .dst(self.dst.0, self.dst.1)
            .raw(self.raw.as_deref().unwrap_or(raw));
        if let Some(proto) = &self.proto {
            row = row.proto(proto);
        }
        if let Some(session) = &self.session {
            row = row.session(session);
        }
        if let Some(msg) = &self.msg {
            row = row.msg(msg);
        }
        if let Some((trace_id, span_id)) = &self.trace {
            row = row.trace(trace_id, span_id);
        }
        if let Some(fields) = fields {
            row = row.members(fields);
        }
        if let Some(credential) = &self.credential {
            row = row.derive(credential.capture(self)?);
        }
        // `fields` is the rest of an `Object` and the size was checked, so depth is all that can be wrong.
        row.build().map_err(|fault| malformed(reason::TOO_DEEP, fault.to_string()))
    }
}

impl<'a> Defaults<'a> {
    /// Returns the forced sensor, else the first of `keys` that names one, else the host.
    fn sensor_or(&self, object: &mut Object<'a>, keys: &[&str]) -> Cow<'a, str> {
        if let Some(forced) = self.sensor {
            return Cow::Borrowed(forced);
        }
        object.take_first(keys, column::text).unwrap_or(Cow::Borrowed(self.host))
    }
}

/// Takes the time of a format whose records always have one.
fn take_time(object: &mut Object<'_>, key: &str, fit: fn(&str) -> Option<Timestamp>) -> Result<Timestamp, Malformed> {
    let Some(value) = object.get(key) else {
        return Err(malformed(reason::NO_TIMESTAMP, format!("the record has no {key}")));
    };
    object.take(key, fit).ok_or_else(|| {
        let quote: String = value.chars().take(MAX_QUOTE).collect();
        let quote = quote.escape_debug().to_string().replace("\\\"", "\"");
        malformed(reason::BAD_TIMESTAMP, format!("{key} is {quote}"))
    })
}

/// Splits a line, or says why it is no JSON object.
fn split(line: &str) -> Result<Object<'_>, Malformed> {
    let text = line.strip_prefix('\u{feff}').unwrap_or(line);
    Object::parse(text).map_err(|fault| {
        // Anything but an object fails at its first byte: read it again to tell other JSON from no JSON.
        let fault = match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => return malformed(reason::NOT_AN_OBJECT, "the line is JSON, but not an object".to_owned()),
            Err(other) if fault.is_data() => other,
            Err(_) => fault,
        };
        let detail = fault.to_string();
        let what = detail.split(" at line ").next().unwrap_or_default();
        malformed(reason::BAD_JSON, format!("{what} at byte {}", fault.column() + line.len() - text.len()))
    })
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn malformed(reason: &'static str, detail: String) -> Malformed {
    Malformed { reason, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults<'_> =
        Defaults { sensor: None, host: "here", log_name: "app", now: Timestamp::from_nanos(0) };

    #[test]
    fn a_malformed_line_says_where_it_broke() {
        let fault = |line: &[u8]| Format::Ndjson.parse(line, &DEFAULTS).unwrap_err();
        for (line, reason, detail) in [
            (&b""[..], reason::BAD_JSON, "EOF while parsing a value at byte 0"),
            (b"{\"a\" 1}", reason::BAD_JSON, "expected `:` at byte 6"),
            (b"{\"a\":1} x", reason::BAD_JSON, "trailing characters at byte 9"),
            (b"hello", reason::BAD_JSON, "expected value at byte 1"),
            (b"{\"a\":\"\xff\"}", reason::INVALID_UTF8, "byte 7 is not UTF-8"),
            (b"[1]", reason::NOT_AN_OBJECT, "the line is JSON, but not an object"),
            (b"\"\\ud800\"", reason::NOT_AN_OBJECT, "the line is JSON, but not an object"),
        ] {
            let fault = fault(line);
            assert_eq!((fault.reason, fault.detail.as_str()), (reason, detail), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn nesting_is_refused_without_recursion() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let reason = |line: String| Format::Ndjson.parse(line.as_bytes(), &DEFAULTS).map_err(|fault| fault.reason);
        assert!(reason(nested(127)).is_ok());
        assert_eq!(reason(nested(128)).unwrap_err(), reason::TOO_DEEP);
        assert_eq!(reason(nested(100_000)).unwrap_err(), reason::TOO_DEEP);
        assert_eq!(reason("[".repeat(100_000)).unwrap_err(), reason::BAD_JSON);
        assert_eq!(reason("{\"msg\":".repeat(100_000)).unwrap_err(), reason::BAD_JSON);
        assert_eq!(Format::detect("[".repeat(100_000).as_bytes()), None);
    }

    #[test]
    fn a_line_of_a_megabyte_keeps_every_byte() {
        let line = format!(r#"{{"msg":"{}","n":[{}0]}}"#, "\\u0000x".repeat(80_000), "1.0,".repeat(120_000));
        let event = Format::Ndjson.parse(format!("\u{feff}{line}\r\n").as_bytes(), &DEFAULTS).unwrap();
        assert_eq!(event.msg().unwrap().len(), 160_000);
        assert_eq!(event.fields().unwrap().len(), r#"{"n":[0]}"#.len() + 480_000);
        assert_eq!(event.raw().unwrap(), format!("\u{feff}{line}"));
    }

    #[test]
    fn a_name_of_a_format_reads_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let fault = "Eve".parse::<Format>().unwrap_err();
        assert_eq!(
            fault.to_string(),
            r#"unknown log format "Eve": choose one of eve, zeek, zeek-tsv, cowrie, decnet, syslog, ndjson"#
        );
    }
}
