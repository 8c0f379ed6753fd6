//! DECNET's JSON records: one for each line that its collector has read from a decoy.
//!
//! | column | comes from |
//! |---|---|
//! | `ts` | `timestamp` |
//! | `sensor` | `decky`, else the host |
//! | `service` | `service`, else `decnet` |
//! | `event_type` | `event_type` unless it is `-`, else `log` |
//! | `src_ip` | `attacker_ip` unless it is `Unknown`, else of `fields`: the first of [`SRC_IP`] that is an address; a `src_ip` that says the same is left out |
//! | `src_port`, `dst_ip`, `dst_port` | of `fields`: `src_port`, `attacker_port`, `client_port` or `remote_port`; `dst_ip` or `dest_ip`; `dst_port` or `dest_port` |
//! | `proto` | of `fields`: `proto`, if it names a transport protocol |
//! | `session` | of `fields`: `session`, `session_id` |
//! | `msg` | `msg` |
//! | `fields` | the members of `fields`, after what else the record has |
//! | `raw` | `raw_line`, else the line |
//! | `trace_id`, `span_id` | the same: 32 and 16 hex digits, both or neither |
//!
//! The members of `fields` are members of the column of that name, not of an object in it: so a question for a user's name
//! is the same for every source. An event with a secret (`secret_b64`, `secret_printable` or `password`) also makes a
//! [credential](super::credential); its user is `principal`, `username` or `user`.
//!
//! The format: what DECNET's collector writes (`decnet/collector/worker.py` and the decoys' `syslog_bridge.py`, 2026). Its
//! lines before that are syslog: see [`syslog`](super::syslog), which shares [`fill`].

use std::borrow::Cow;

use super::credential::Credential;
use super::object::Object;
use super::{Columns, Defaults, Malformed, column, ndjson, take_time};

/// What the decoys call their peer, in DECNET's order.
const SRC_IP: &[&str] = &["src_ip", "src", "client_ip", "remote_ip", "remote_addr", "ip"];
const SRC_PORT: &[&str] = &["src_port", "attacker_port", "client_port", "remote_port"];

pub(super) fn columns<'a>(object: &mut Object<'a>, defaults: &Defaults<'a>) -> Result<Columns<'a>, Malformed> {
    let known = |json| column::text(json).filter(|name| name != "-");
    let mut columns = Columns {
        ts: take_time(object, "timestamp", column::iso_time)?,
        sensor: defaults.sensor_or(object, &["decky"]),
        service: object.take("service", known).unwrap_or(Cow::Borrowed("decnet")),
        event_type: object.take("event_type", known).unwrap_or(Cow::Borrowed("log")),
        src: (object.take("attacker_ip", column::address), None),
        msg: object.take("msg", column::text),
        raw: object.take("raw_line", column::text),
        trace: ndjson::trace(object, &Default::default()),
        ..Columns::default()
    };
    // What the collector writes where it knows nothing: NULL says the same.
    for (key, nothing) in [("attacker_ip", r#""Unknown""#), ("msg", r#""""#), ("raw_line", r#""""#)] {
        object.take(key, |json| (json == nothing).then_some(()));
    }
    object.spread("fields");
    // Most decoys say it themselves as well.
    object.take("src_ip", |json| column::address(json).filter(|ip| columns.src.0 == Some(*ip)));
    fill(&mut columns, object);
    Ok(columns)
}

/// Fills the columns that come from what a decoy says in its own words.
pub(super) fn fill<'a>(columns: &mut Columns<'a>, fields: &mut Object<'a>) {
    if columns.src.0.is_none() {
        columns.src.0 = fields.take_first(SRC_IP, column::address);
    }
    columns.src.1 = fields.take_first(SRC_PORT, column::port);
    columns.dst = (
        fields.take_first(&["dst_ip", "dest_ip"], column::address),
        fields.take_first(&["dst_port", "dest_port"], column::port),
    );
    columns.proto = fields.take("proto", ndjson::transport);
    columns.session = fields.take_first(&["session", "session_id"], column::scalar);
    let (users, secrets) = (["principal", "username", "user"], ["password", "secret_printable", "secret_b64"]);
    columns.credential = Credential::find(fields, &users, &secrets).map(|credential| {
        credential.with_secret(fields.get("secret_b64").and_then(column::text), fields.get("secret_kind"))
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Format, reason};
    use super::*;
    use crate::event::Event;
    use crate::timestamp::Timestamp;

    const DEFAULTS: Defaults<'_> =
        Defaults { sensor: None, host: "tap", log_name: "decnet", now: Timestamp::from_nanos(0) };

    fn parse(line: &str) -> Event {
        Format::Decnet.parse(line.as_bytes(), &DEFAULTS).unwrap()
    }

    #[test]
    fn a_login_fills_the_columns_and_makes_a_credential() {
        let event = parse(concat!(
            r#"{"timestamp": "2026-05-02 06:22:48", "decky": "omega", "service": "ssh", "event_type": "auth_attempt", "#,
            r#""attacker_ip": "203.0.113.7", "fields": {"src_ip": "203.0.113.7", "src_port": "4444", "username": "root", "#,
            r#""password": "to\u0000or", "tries": 2}, "msg": "m", "raw_line": "<134>1 x", "node": "n-1"}"#
        ));
        assert_eq!(event.ts().to_string(), "2026-05-02T06:22:48.000000000Z");
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("omega", "ssh", "auth_attempt"));
        assert_eq!((event.src_ip(), event.src_port()), (Some("203.0.113.7"), Some(4444)));
        assert_eq!((event.msg(), event.raw()), (Some("m"), Some("<134>1 x")));
        let rest = r#"{"node":"n-1","username":"root","password":"to\u0000or","tries":2}"#;
        assert_eq!(event.fields(), Some(rest));
        let credential = event.derived().unwrap();
        assert_eq!((credential.kind(), credential.sensor(), credential.ts()), ("credential", "omega", event.ts()));
        assert_eq!((credential.src_ip(), credential.src_port()), (Some("203.0.113.7"), Some(4444)));
        assert_eq!((credential.data(), credential.length()), (&b"to\0or"[..], 5));
        let fields = r#"{"service":"ssh","event_type":"auth_attempt","username":"root","password":"to\u0000or"}"#;
        assert_eq!(credential.fields(), Some(fields));
    }

    #[test]
    fn an_unknown_attacker_is_null_and_found_in_the_fields_if_they_know() {
        let of = |members: &str| {
            let event = parse(&format!(r#"{{"timestamp":"2026-05-02T06:22:48Z",{members}}}"#));
            (event.src_ip().map(str::to_owned), event.fields().map(str::to_owned))
        };
        assert_eq!(of(r#""attacker_ip":"Unknown","fields":{},"msg":"","raw_line":"""#), (None, None));
        assert_eq!(of(r#""attacker_ip":"Unknown","fields":{"src":"x","ip":"192.0.2.1"}"#).0.unwrap(), "192.0.2.1");
        let odd = Some(r#"{"attacker_ip":"relay.test"}"#.to_owned());
        assert_eq!(of(r#""attacker_ip":"relay.test""#), (None, odd));
        let text = Some(r#"{"fields":"none"}"#.to_owned());
        assert_eq!(of(r#""attacker_ip":"192.0.2.9","fields":"none""#), (Some("192.0.2.9".into()), text));
    }

    #[test]
    fn a_secret_in_base64_goes_before_what_could_be_printed_of_it() {
        let line = r#"{"timestamp":"2026-05-02T06:22:48Z","fields":{"principal":"sa","secret_printable":"?a","secret_b64":"/2E=","secret_kind":"plaintext"}}"#;
        let event = parse(line);
        let credential = event.derived().unwrap();
        assert_eq!(credential.data(), b"\xffa");
        let fields =
            r#"{"service":"decnet","event_type":"log","username":"sa","password":"?a","secret_kind":"plaintext"}"#;
        assert_eq!(credential.fields(), Some(fields));
        let broken = parse(r#"{"timestamp":"2026-05-02T06:22:48Z","fields":{"secret_b64":"%%%"}}"#);
        assert_eq!(broken.derived().unwrap().data(), b"%%%");
        assert!(parse(r#"{"timestamp":"2026-05-02T06:22:48Z","fields":{"username":"root"}}"#).derived().is_none());
    }

    #[test]
    fn what_is_missing_is_filled_or_null_but_for_the_time() {
        let event = parse(r#"{"timestamp":"2026-05-02T06:22:48Z","event_type":"-"}"#);
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("tap", "decnet", "log"));
        assert_eq!(event.raw(), Some(r#"{"timestamp":"2026-05-02T06:22:48Z","event_type":"-"}"#));
        let fault = Format::Decnet.parse(br#"{"decky":"omega"}"#, &DEFAULTS).unwrap_err();
        assert_eq!(fault.reason, reason::NO_TIMESTAMP);
    }
}
