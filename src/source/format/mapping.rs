//! Which member of a JSON line goes into which column, as a host's settings say it: JSON pointers (RFC 6901).
//!
//! [`Mapping`] is what is written, [`Pointers`] what is read from it; `ndjson.rs` asks for one column after the other.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::column;
use super::epoch::{self, Unit};
use super::object::Object;
use crate::error::{Error, ErrorKind};
use crate::timestamp::Timestamp;

/// Most steps of a pointer.
const MAX_STEPS: usize = 32;

/// Where the columns of JSON lines come from: for each a JSON pointer (RFC 6901), like `/client/ip` or `/tags/0`.
///
/// A column that is not named is found by the names that [`Format::Ndjson`](super::Format::Ndjson) knows; to leave it
/// empty, point where nothing ever is. A value that does not fit its column (see there) counts as missing. A member of
/// the line itself that is in a column leaves `fields`; one further down stays there too, in the value that it is part
/// of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// When it happened: ISO 8601 text, or a number since the epoch. Without it, the time of reading.
    pub ts: Option<String>,
    /// What a number in `ts` counts. Default: told from its size, for times between 1973 and 2262.
    pub ts_unit: Option<TimeUnit>,
    /// Which sensor saw it: text. A sensor that the user forces goes before it.
    pub sensor: Option<String>,
    /// On which service: text.
    pub service: Option<String>,
    /// What kind of event: text or a number.
    pub event_type: Option<String>,
    /// Source address: text.
    pub src_ip: Option<String>,
    /// Source port: a number, or digits as text.
    pub src_port: Option<String>,
    /// Destination address: text.
    pub dst_ip: Option<String>,
    /// Destination port: a number, or digits as text.
    pub dst_port: Option<String>,
    /// Transport protocol: text, stored in lower case.
    pub proto: Option<String>,
    /// The sensor's name of the session or flow: text or a number.
    pub session: Option<String>,
    /// Text for people.
    pub msg: Option<String>,
    /// Trace id: 32 hex digits. Stored only together with `span_id`.
    pub trace_id: Option<String>,
    /// Span id: 16 hex digits.
    pub span_id: Option<String>,
}

/// What a number counts that is a time since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds, also with decimals.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl Mapping {
    /// Finds out whether every pointer is one.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], with the column, for one that is empty, does not begin with `/`, has a `~` before
    /// anything but `0` or `1`, or more than 32 steps.
    pub fn validate(&self) -> Result<(), Error> {
        Pointers::of(self).map(drop)
    }
}

/// A pointer's steps, decoded.
#[derive(Clone, Debug)]
pub(super) struct Pointer(Box<[String]>);

/// The pointers of a mapping, one for each column that it names.
#[derive(Clone, Debug, Default)]
pub(super) struct Pointers {
    pub(super) ts: Option<Pointer>,
    unit: Option<Unit>,
    pub(super) sensor: Option<Pointer>,
    pub(super) service: Option<Pointer>,
    pub(super) event_type: Option<Pointer>,
    pub(super) src_ip: Option<Pointer>,
    pub(super) src_port: Option<Pointer>,
    pub(super) dst_ip: Option<Pointer>,
    pub(super) dst_port: Option<Pointer>,
    pub(super) proto: Option<Pointer>,
    pub(super) session: Option<Pointer>,
    pub(super) msg: Option<Pointer>,
    pub(super) trace_id: Option<Pointer>,
    pub(super) span_id: Option<Pointer>,
}

impl Pointers {
    pub(super) fn of(mapping: &Mapping) -> Result<Self, Error> {
        let read = |column: &str, text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            Pointer::read(text).map(Some).map_err(|why| {
                Error::new(ErrorKind::Configuration, format!("mapping.{column} is `{}`: {why}", text.escape_debug()))
            })
        };
        let unit = mapping.ts_unit.map(|unit| match unit {
            TimeUnit::S => Unit::Seconds,
            TimeUnit::Ms => Unit::Millis,
            TimeUnit::Us => Unit::Micros,
            TimeUnit::Ns => Unit::Nanos,
        });
        Ok(Self {
            ts: read("ts", &mapping.ts)?,
            unit,
            sensor: read("sensor", &mapping.sensor)?,
            service: read("service", &mapping.service)?,
            event_type: read("event_type", &mapping.event_type)?,
            src_ip: read("src_ip", &mapping.src_ip)?,
            src_port: read("src_port", &mapping.src_port)?,
            dst_ip: read("dst_ip", &mapping.dst_ip)?,
            dst_port: read("dst_port", &mapping.dst_port)?,
            proto: read("proto", &mapping.proto)?,
            session: read("session", &mapping.session)?,
            msg: read("msg", &mapping.msg)?,
            trace_id: read("trace_id", &mapping.trace_id)?,
            span_id: read("span_id", &mapping.span_id)?,
        })
    }

    /// Reads a time, its number in the unit of the mapping.
    pub(super) fn moment(&self, json: &str) -> Option<Timestamp> {
        match self.unit {
            Some(unit) => epoch::in_unit(json, unit),
            None => epoch::any_unit(json),
        }
        .or_else(|| column::iso_time(json))
    }
}

impl Pointer {
    fn read(text: &str) -> Result<Self, &'static str> {
        let Some(steps) = text.strip_prefix('/') else {
            return Err("a JSON pointer begins with `/`, like `/client/ip`");
        };
        let steps: Vec<_> = steps.split('/').map(decoded).collect::<Option<_>>().ok_or("after `~` comes 0 or 1")?;
        if steps.len() > MAX_STEPS {
            return Err("it has more than 32 steps");
        }
        Ok(Self(steps.into()))
    }

    /// Returns the value to which it points, if `fit` can hold it in a column; then a member of the object itself is
    /// taken out of it.
    pub(super) fn take<'a, T>(&self, object: &mut Object<'a>, fit: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let (first, below) = self.0.split_first()?;
        if below.is_empty() {
            return object.take(first, fit);
        }
        let value = below.iter().try_fold(object.get(first)?, |value, step| member(value, step))?;
        fit(value)
    }

    /// Returns the text of the value to which it points, and takes nothing.
    pub(super) fn get<'a>(&self, object: &Object<'a>) -> Option<&'a str> {
        let (first, below) = self.0.split_first()?;
        below.iter().try_fold(object.get(first)?, |value, step| member(value, step))
    }
}

/// Returns the member of an object, or the element of an array.
fn member<'a>(json: &'a str, step: &str) -> Option<&'a str> {
    if json.starts_with('{') {
        return Object::parse(json).ok()?.get(step);
    }
    let is_index = step == "0" || (step.starts_with(|first: char| first != '0') && step.len() < 10);
    let index: usize = step.parse().ok().filter(|_| is_index && !step.starts_with('+'))?;
    let elements: Vec<&'a RawValue> = serde_json::from_str(json).ok()?;
    elements.get(index).map(|element| element.get())
}

/// Decodes a step: `~1` is `/`, `~0` is `~`.
fn decoded(step: &str) -> Option<String> {
    let mut rest = step;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('~') {
        text.push_str(before);
        text.push(match after.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        rest = &after[1..];
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::{Defaults, Parser};
    use super::*;
    use crate::event::Event;

    const NOW: Timestamp = Timestamp::from_nanos(77);
    const DEFAULTS: Defaults<'_> = Defaults { sensor: None, host: "here", log_name: "app", now: NOW };

    fn parse(mapping: &str, line: &str) -> Event {
        let mapping: Mapping = serde_json::from_str(mapping).unwrap();
        Parser::with_mapping(&mapping).unwrap().parse(line.as_bytes(), &DEFAULTS).unwrap().unwrap()
    }

    #[test]
    fn pointers_reach_into_objects_and_arrays() {
        let mapping = r#"{"src_ip":"/peer/addr/0","src_port":"/peer/addr/1","service":"/a~1b","event_type":"/m~0n/","msg":"/x/y"}"#;
        let line =
            r#"{"peer":{"addr":["203.0.113.7",4444]},"a/b":"ftp","m~n":{"":7},"x":1,"msg":"guessed","user":"u"}"#;
        let event = parse(mapping, line);
        assert_eq!((event.src_ip(), event.src_port()), (Some("203.0.113.7"), Some(4444)));
        assert_eq!((event.service(), event.event_type(), event.msg()), ("ftp", "7", None));
        let rest = r#"{"peer":{"addr":["203.0.113.7",4444]},"m~n":{"":7},"x":1,"msg":"guessed","user":"u"}"#;
        assert_eq!((event.fields(), event.raw()), (Some(rest), Some(line)));
    }

    #[test]
    fn what_is_not_named_is_found_by_common_names() {
        let event = parse(r#"{"sensor":"/pot"}"#, r#"{"pot":"p-1","src_ip":"192.0.2.1","sensor":"other"}"#);
        assert_eq!((event.sensor(), event.src_ip()), ("p-1", Some("192.0.2.1")));
        assert_eq!(event.fields(), Some(r#"{"sensor":"other"}"#));
    }

    #[test]
    fn a_number_counts_what_the_mapping_says() {
        let at = |unit: &str, ts: &str| {
            parse(&format!(r#"{{"ts":"/at"{unit}}}"#), &format!(r#"{{"at":{ts}}}"#)).ts().as_nanos()
        };
        assert_eq!(at(r#","ts_unit":"s""#, "1.5"), 1_500_000_000);
        assert_eq!(at(r#","ts_unit":"ms""#, "1"), 1_000_000);
        assert_eq!(at(r#","ts_unit":"us""#, "1521911721255387"), 1_521_911_721_255_387_000);
        assert_eq!(at(r#","ts_unit":"ns""#, "-5"), -5);
        assert_eq!(at(r#","ts_unit":"ns""#, r#""1970-01-01T00:00:01Z""#), 1_000_000_000);
        assert_eq!(at("", "1521911721"), 1_521_911_721_000_000_000);
        assert_eq!(at("", "1"), 77, "no time of our days: the time of reading");
    }

    #[test]
    fn an_index_is_digits_without_a_leading_zero() {
        let msg = |pointer: &str| {
            parse(&format!(r#"{{"msg":"{pointer}"}}"#), r#"{"a":["x","y"],"b":"s"}"#).msg().map(str::to_owned)
        };
        assert_eq!((msg("/a/0").unwrap(), msg("/a/1").unwrap()), ("x".into(), "y".into()));
        for nowhere in ["/a/2", "/a/01", "/a/-", "/a/+1", "/a/", "/a/99999999999", "/b/0", "/c", "/a"] {
            assert_eq!(msg(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_refused_with_its_column() {
        for bad in ["", "peer", "/a~", "/a~2", "~1a", &"/x".repeat(33)] {
            let mapping = Mapping { dst_ip: Some(bad.into()), ..Mapping::default() };
            let fault = mapping.validate().unwrap_err();
            assert_eq!(fault.kind(), ErrorKind::Configuration);
            assert!(fault.to_string().starts_with(&format!("mapping.dst_ip is `{bad}`: ")), "{fault}");
            assert!(Parser::with_mapping(&mapping).is_err());
        }
        assert!(Mapping { msg: Some("/x".repeat(32)), ..Mapping::default() }.validate().is_ok());
        assert!(serde_json::from_str::<Mapping>(r#"{"source_ip":"/a"}"#).is_err());
        assert!(serde_json::from_str::<Mapping>(r#"{"ts_unit":"days"}"#).is_err());
    }
}
