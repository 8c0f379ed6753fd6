//! Any other JSON lines: columns by the pointers of a [`Mapping`](super::Mapping), or by common key names.
//!
//! Of each row's keys the first that is there and fits is the column; all others stay in `fields`.
//!
//! | column | keys, in this order |
//! |---|---|
//! | `ts` | `ts` `timestamp` `@timestamp` `datetime` `time`, else the time of reading |
//! | `sensor` | `sensor` `decky` `hostname` `host`, else the host |
//! | `service` | `service` `app` `program`, else `ndjson` |
//! | `event_type` | `event_type` `event` `eventid` `type` (text or a number), else `log` |
//! | `src_ip` | `src_ip` and the other names in [`SRC_IP`] |
//! | `src_port` | `src_port` and the other names in [`SRC_PORT`] |
//! | `dst_ip` | `dst_ip` and the other names in [`DST_IP`] |
//! | `dst_port` | `dst_port` and the other names in [`DST_PORT`] |
//! | `proto` | `proto` `protocol` `transport`, in lower case, if it names a transport protocol |
//! | `session` | `session` `session_id` `flow_id` (text or a number) |
//! | `msg` | `msg` `message` |
//! | `trace_id`, `span_id` | the same: 32 and 16 hex digits, both or neither |
//!
//! A time is ISO 8601 text, or a number since the epoch in seconds, milliseconds, microseconds or nanoseconds:
//! whichever lies between 1973 and 2262, read exactly. Unlike in the other formats a line without a readable time is
//! not malformed: many logs have none, and a `time` that cannot be read is as often a duration.
//!
//! `host` comes last of the sensors because web servers write the client's Host header there.

use std::borrow::Cow;

use super::mapping::{Pointer, Pointers};
use super::object::Object;
use super::{Columns, Defaults, column};

const TIME: &[&str] = &["ts", "timestamp", "@timestamp", "datetime", "time"];
const SENSOR: &[&str] = &["sensor", "decky", "hostname", "host"];
const SERVICE: &[&str] = &["service", "app", "program"];
const EVENT_TYPE: &[&str] = &["event_type", "event", "eventid", "type"];
const SRC_IP: &[&str] = &[
    "src_ip",
    "source_ip",
    "client_ip",
    "remote_ip",
    "remote_addr",
    "attacker_ip",
    "peer_ip",
    "source.ip",
    "srcip",
    "src",
];
const SRC_PORT: &[&str] = &[
    "src_port",
    "source_port",
    "client_port",
    "remote_port",
    "attacker_port",
    "peer_port",
    "source.port",
    "srcport",
    "sport",
];
const DST_IP: &[&str] =
    &["dst_ip", "dest_ip", "destination_ip", "server_ip", "local_ip", "destination.ip", "dstip", "dst"];
const DST_PORT: &[&str] =
    &["dst_port", "dest_port", "destination_port", "server_port", "local_port", "destination.port", "dstport", "dport"];
const PROTO: &[&str] = &["proto", "protocol", "transport"];
const SESSION: &[&str] = &["session", "session_id", "flow_id"];
const MSG: &[&str] = &["msg", "message"];

/// What counts as a transport protocol; `protocol` is as often `ssh` or `HTTP/1.1`.
const TRANSPORTS: [&str; 12] =
    ["tcp", "udp", "icmp", "icmp6", "icmpv6", "ipv6-icmp", "igmp", "sctp", "dccp", "gre", "esp", "quic"];

pub(super) fn columns<'a>(object: &mut Object<'a>, from: &Pointers, defaults: &Defaults<'a>) -> Columns<'a> {
    Columns {
        ts: one(object, &from.ts, TIME, |json| from.moment(json)).unwrap_or(defaults.now),
        sensor: match defaults.sensor {
            Some(forced) => Cow::Borrowed(forced),
            None => one(object, &from.sensor, SENSOR, column::text).unwrap_or(Cow::Borrowed(defaults.host)),
        },
        service: one(object, &from.service, SERVICE, column::text).unwrap_or(Cow::Borrowed("ndjson")),
        event_type: one(object, &from.event_type, EVENT_TYPE, column::scalar).unwrap_or(Cow::Borrowed("log")),
        src: (one(object, &from.src_ip, SRC_IP, column::address), one(object, &from.src_port, SRC_PORT, column::port)),
        dst: (one(object, &from.dst_ip, DST_IP, column::address), one(object, &from.dst_port, DST_PORT, column::port)),
        // What the mapping names is a protocol; what is found by its name may be something else.
        proto: match &from.proto {
            Some(pointer) => pointer.take(object, column::lower_case),
            None => object.take_first(PROTO, transport),
        },
        session: one(object, &from.session, SESSION, column::scalar),
        msg: one(object, &from.msg, MSG, column::text),
        trace: trace(object, from),
        ..Columns::default()
    }
}

/// Takes what a column's pointer points to, or without one the first of `keys` that fits.
fn one<'a, T>(
    object: &mut Object<'a>,
    pointer: &Option<Pointer>,
    keys: &[&str],
    fit: impl Fn(&'a str) -> Option<T>,
) -> Option<T> {
    match pointer {
        Some(pointer) => pointer.take(object, fit),
        None => object.take_first(keys, fit),
    }
}

pub(super) fn transport(json: &str) -> Option<Cow<'_, str>> {
    column::lower_case(json).filter(|name| TRANSPORTS.contains(&name.as_ref()))
}

pub(super) fn trace<'a>(object: &mut Object<'a>, from: &Pointers) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
    let hex = |digits: usize| {
        move |json: &'a str| {
            column::text(json).filter(|id| id.len() == digits && id.bytes().all(|b| b.is_ascii_hexdigit()))
        }
    };
    let span_id = from.span_id.as_ref().map_or_else(|| object.get("span_id"), |pointer| pointer.get(object));
    span_id.and_then(hex(16))?;
    let trace_id = one(object, &from.trace_id, &["trace_id"], hex(32))?;
    Some((trace_id, one(object, &from.span_id, &["span_id"], hex(16))?))
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;
    use crate::event::Event;
    use crate::timestamp::Timestamp;

    const NOW: Timestamp = Timestamp::from_nanos(77);
    const DEFAULTS: Defaults<'_> = Defaults { sensor: None, host: "here", log_name: "app", now: NOW };

    fn parse(line: &str) -> Event {
        Format::Ndjson.parse(line.as_bytes(), &DEFAULTS).unwrap()
    }

    #[test]
    fn common_names_fill_the_columns() {
        let event = parse(concat!(
            r#"{"time":1767325811315,"decky":"web-1","service":"http","event":"login","attacker_ip":"203.0.113.7","#,
            r#""attacker_port":"4444","dest_ip":"192.0.2.22","dport":80,"protocol":"TCP","session_id":9,"#,
            r#""message":"m","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","n":1e400}"#
        ));
        assert_eq!(event.ts().as_nanos(), 1_767_325_811_315_000_000);
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("web-1", "http", "login"));
        assert_eq!((event.src_ip(), event.src_port()), (Some("203.0.113.7"), Some(4444)));
        assert_eq!((event.dst_ip(), event.dst_port()), (Some("192.0.2.22"), Some(80)));
        assert_eq!((event.proto(), event.session(), event.msg()), (Some("tcp"), Some("9"), Some("m")));
        assert_eq!(event.trace_id(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(event.span_id(), Some("b7ad6b7169203331"));
        assert_eq!(event.fields(), Some(r#"{"n":1e400}"#));
    }

    #[test]
    fn an_empty_object_is_an_event_of_now() {
        let event = parse("{}");
        assert_eq!((event.ts(), event.sensor(), event.service(), event.event_type()), (NOW, "here", "ndjson", "log"));
        assert_eq!((event.fields(), event.raw()), (None, Some("{}")));
    }

    #[test]
    fn of_two_names_the_first_that_fits_is_the_column() {
        let event = parse(concat!(
            r#"{"host":{"name":"x"},"remote_addr":"203.0.113.7","src_ip":"-","type":4625,"ts":"soon","#,
            r#""time":"2026-01-02T03:50:11Z"}"#
        ));
        assert_eq!((event.src_ip(), event.sensor(), event.event_type()), (Some("203.0.113.7"), "here", "4625"));
        assert_eq!(event.ts().as_nanos(), 1_767_325_811_000_000_000);
        assert_eq!(event.fields(), Some(r#"{"host":{"name":"x"},"src_ip":"-","ts":"soon"}"#));
    }

    #[test]
    fn what_does_not_fit_stays_in_fields() {
        let line = concat!(
            r#"{"ts":0.25,"protocol":"HTTP/1.1","src_port":70000,"msg":"\ud800","sensor":"","#,
            r#""trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"7"}"#
        );
        let event = parse(line);
        assert_eq!((event.ts(), event.proto(), event.src_port(), event.msg()), (NOW, None, None, None));
        assert_eq!((event.trace_id(), event.fields()), (None, Some(line)));
    }
}
