//! What peers say to forebay itself, beside records of their format: JSON objects that begin with `"forebay"`. Pure.
//!
//! [`socket`](crate::source::socket) documents the forms. Our own forms are read strictly: an unknown key or a value that
//! does not fit its column is an error, since here nobody's existing format has to be understood.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::capture::Capture;
use crate::source::Malformed;
use crate::timestamp::Timestamp;

/// Reason in `ingest_rejects` of a message that cannot be read; a metric label.
pub(super) const BAD_MESSAGE: &str = "bad_message";
/// Longest name of a peer: with the listener's it goes into the ledger.
const MAX_PEER: usize = 128;
/// Highest number that a peer may begin with; leaves as many for what follows.
const MAX_FIRST: u64 = 1 << 62;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Hello(Hello),
    Capture(Box<Capture>),
}

/// A peer wants to be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) peer: String,
    /// Number of its next record, if it says so.
    pub(super) first: Option<u64>,
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow)]
    forebay: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HelloForm<'a> {
    #[serde(rename = "forebay")]
    _tag: IgnoredAny,
    #[serde(borrow)]
    peer: Cow<'a, str>,
    first: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureForm<'a> {
    #[serde(rename = "forebay")]
    _tag: IgnoredAny,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    sensor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session: Option<Cow<'a, str>>,
    src_ip: Option<IpAddr>,
    src_port: Option<u16>,
    dst_ip: Option<IpAddr>,
    dst_port: Option<u16>,
    #[serde(borrow)]
    proto: Option<Cow<'a, str>>,
    link_type: Option<u16>,
    length: Option<u64>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
}

/// Returns whether a record is for us: an object whose first key is `forebay`.
pub(super) fn is_message(record: &[u8]) -> bool {
    let Some(inside) = record.trim_ascii_start().strip_prefix(b"{") else { return false };
    inside.trim_ascii_start().starts_with(b"\"forebay\"")
}

/// Reads a message; `forced` is the sensor on which the operator insists, `host` the one if neither names any.
pub(super) fn read(record: &[u8], forced: Option<&str>, host: &str) -> Result<Message, Malformed> {
    let text = str::from_utf8(record).map_err(|_| bad("the message is not UTF-8"))?;
    let tag: Tag<'_> = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
    match &*tag.forebay {
        "hello" => hello(text).map(Message::Hello),
        "capture" => capture(text, forced, host).map(|capture| Message::Capture(Box::new(capture))),
        _ => Err(bad("`forebay` must be `hello` or `capture`")),
    }
}

fn hello(text: &str) -> Result<Hello, Malformed> {
    let form: HelloForm<'_> = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if !(1..=MAX_PEER).contains(&form.peer.len()) || !form.peer.bytes().all(plain) {
        return Err(bad("`peer` must have 1 to 128 letters, digits, `.`, `_`, `:` or `-`"));
    }
    if form.first.is_some_and(|first| !(1..=MAX_FIRST).contains(&first)) {
        return Err(bad("`first` must be from 1 to 2^62"));
    }
    Ok(Hello { peer: form.peer.into_owned(), first: form.first })
}

fn capture(text: &str, forced: Option<&str>, host: &str) -> Result<Capture, Malformed> {
    let form: CaptureForm<'_> = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
    let data =
        BASE64.decode(form.data.as_deref().unwrap_or_default()).map_err(|error| bad(&format!("data: {error}")))?;
    // What a forced sensor replaces stays in `fields`, as it does for events.
    let replaced = form.sensor.as_deref().filter(|sensor| forced.is_some_and(|forced| forced != *sensor));
    let fields = match (form.fields.map(RawValue::get), replaced) {
        (fields, None) => fields.map(Cow::Borrowed),
        (fields, Some(sensor)) => Some(Cow::Owned(with_sensor(fields.unwrap_or("{}"), sensor)?)),
    };
    let sensor = forced.or(form.sensor.as_deref()).unwrap_or(host);
    let mut row = Capture::builder(sensor, &form.kind)
        .ts(form.ts.map_or_else(|| Ok(Timestamp::now()), moment)?)
        .src(form.src_ip, form.src_port)
        .dst(form.dst_ip, form.dst_port)
        .length(form.length.unwrap_or(data.len() as u64))
        .data(data);
    if let Some(session) = form.session.as_deref() {
        row = row.session(session);
    }
    if let Some(proto) = form.proto.as_deref() {
        row = row.proto(proto);
    }
    if let Some(link_type) = form.link_type {
        row = row.link_type(link_type);
    }
    if let Some(fields) = fields.as_deref() {
        row = row.fields(fields);
    }
    row.build().map_err(|fault| bad(&fault.to_string()))
}

fn with_sensor(fields: &str, sensor: &str) -> Result<String, Malformed> {
    let rest = fields.trim_start().strip_prefix('{').ok_or_else(|| bad("`fields` must be an object"))?;
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    Ok(format!("{{\"sensor\":{}{comma}{rest}", serde_json::Value::from(sensor)))
}

/// Reads nanoseconds since the epoch, or ISO 8601 text.
fn moment(value: &RawValue) -> Result<Timestamp, Malformed> {
    let read = match serde_json::from_str(value.get()) {
        Ok(text) => Timestamp::parse(text),
        Err(_) => value.get().parse().ok().map(Timestamp::from_nanos),
    };
    read.ok_or_else(|| bad("`ts` must be nanoseconds since 1970, or text like `2026-11-20T08:15:00.5Z`"))
}

fn bad(detail: &str) -> Malformed {
    Malformed { reason: BAD_MESSAGE, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_capture(text: &str, forced: Option<&str>) -> Result<Capture, String> {
        match read(text.as_bytes(), forced, "here") {
            Ok(Message::Capture(capture)) => Ok(*capture),
            Ok(other) => panic!("{other:?}"),
            Err(malformed) => Err(malformed.detail),
        }
    }

    #[test]
    fn an_object_is_for_us_if_its_first_key_says_so() {
        assert!(is_message(b"{\"forebay\":\"hello\"}") && is_message(b" {\t\"forebay\" : 1"));
        assert!(!is_message(b"{\"a\":1,\"forebay\":\"hello\"}") && !is_message(b"forebay") && !is_message(b""));
    }

    #[test]
    fn a_capture_has_every_column() {
        let text = r#"{"forebay":"capture","kind":"payload","ts":1700000000000000001,"sensor":"s","session":"x",
            "src_ip":"2001:DB8::1","src_port":1,"dst_ip":"192.0.2.1","dst_port":2,"proto":"tcp","link_type":1,
            "length":1500,"data":"AP8=","fields":{"a": 1}}"#;
        let row = read_capture(text, None).unwrap();
        assert_eq!((row.ts().as_nanos(), row.sensor(), row.kind()), (1_700_000_000_000_000_001, "s", "payload"));
        assert_eq!((row.src_ip(), row.src_port(), row.dst_ip()), (Some("2001:db8::1"), Some(1), Some("192.0.2.1")));
        assert_eq!((row.dst_port(), row.proto(), row.session()), (Some(2), Some("tcp"), Some("x")));
        assert_eq!(
            (row.link_type(), row.length(), row.data(), row.fields()),
            (Some(1), 1500, &[0, 255][..], Some(r#"{"a": 1}"#))
        );
        let least =
            read_capture(r#"{"forebay":"capture","kind":"k","ts":"1970-01-01T00:00:01Z","data":"AP8"}"#, None).unwrap();
        assert_eq!((least.sensor(), least.length(), least.fields()), ("here", 2, None));
        assert_eq!(least.ts().as_nanos(), 1_000_000_000);
    }

    #[test]
    fn a_sensor_that_is_replaced_stays_in_fields() {
        let text = |fields: &str| format!(r#"{{"forebay":"capture","kind":"k","sensor":"own"{fields}}}"#);
        for (fields, kept) in [("", r#"{"sensor":"own"}"#), (r#","fields":{"a":1}"#, r#"{"sensor":"own","a":1}"#)] {
            let row = read_capture(&text(fields), Some("forced")).unwrap();
            assert_eq!((row.sensor(), row.fields()), ("forced", Some(kept)));
        }
        assert_eq!(read_capture(&text(""), Some("own")).unwrap().fields(), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (rest, why) in [
            (r#""kind":"k","colour":1"#, "unknown field `colour`"),
            (r#""ts":1"#, "missing field `kind`"),
            (r#""kind":"k","data":"%""#, "data:"),
            (r#""kind":"k","src_ip":"Unknown""#, "invalid IP address"),
            (r#""kind":"k","src_port":70000"#, "70000"),
            (r#""kind":"k","ts":1.5"#, "`ts` must be"),
            (r#""kind":"k","fields":[1]"#, "object"),
        ] {
            let fault = read_capture(&format!("{{\"forebay\":\"capture\",{rest}}}"), None).unwrap_err();
            assert!(fault.contains(why), "{rest}: {fault}");
        }
        for peer in ["", "a/b", "a b", "é", &"x".repeat(129)] {
            assert!(read(format!(r#"{{"forebay":"hello","peer":"{peer}"}}"#).as_bytes(), None, "h").is_err(), "{peer}");
        }
        for text in [r#"{"forebay":"hello","peer":"a","first":0}"#, r#"{"forebay":"quit"}"#, r#"{"forebay":1}"#] {
            assert_eq!(read(text.as_bytes(), None, "h").unwrap_err().reason, BAD_MESSAGE, "{text}");
        }
        let hello = read(br#"{"forebay":"hello","peer":"sensor-7","first":8}"#, None, "h");
        assert_eq!(hello, Ok(Message::Hello(Hello { peer: "sensor-7".into(), first: Some(8) })));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much_for_it(
            rest in prop::collection::vec(prop::sample::select(br#"{}[]":,\0a19-.eu"#.to_vec()), 0..60),
            tag in prop::sample::select(vec!["hello", "capture", "x"]),
        ) {
            let record = [format!(r#"{{"forebay":"{tag}","kind":"k""#).as_bytes(), &rest].concat();
            prop_assert!(is_message(&record));
            let _ = read(&record, Some("forced"), "here");
        }
    }
}
