//! Cowrie's `jsonlog` output: an SSH and Telnet honeypot.
//!
//! | column | comes from |
//! |---|---|
//! | `ts` | `timestamp` |
//! | `sensor` | `sensor`, else the host |
//! | `service` | `protocol` (`ssh`, `telnet`), else `cowrie` |
//! | `event_type` | `eventid`, else `unknown` |
//! | `src_ip`, `src_port`, `dst_ip`, `dst_port`, `session` | the same |
//! | `proto` | always `tcp` |
//! | `msg` | `message`; a list of strings (old versions) is joined with spaces and stays in `fields` too |
//! | `trace_id`, `span_id` | NULL |
//!
//! `cowrie.login.success` and `cowrie.login.failed` with a `password` also make a [credential](super::credential).
//!
//! The format: the Cowrie documentation, "Output Event Code Reference".

use std::borrow::Cow;

use super::credential::Credential;
use super::object::Object;
use super::{Columns, Defaults, Malformed, column, take_time};

pub(super) fn columns<'a>(object: &mut Object<'a>, defaults: &Defaults<'a>) -> Result<Columns<'a>, Malformed> {
    let ts = take_time(object, "timestamp", column::iso_time)?;
    let event_type = object.take("eventid", column::text).unwrap_or(Cow::Borrowed("unknown"));
    Ok(Columns {
        ts,
        sensor: defaults.sensor_or(object, &["sensor"]),
        service: object.take("protocol", column::text).unwrap_or(Cow::Borrowed("cowrie")),
        src: (object.take("src_ip", column::address), object.take("src_port", column::port)),
        dst: (object.take("dst_ip", column::address), object.take("dst_port", column::port)),
        proto: Some(Cow::Borrowed("tcp")),
        session: object.take("session", column::text),
        msg: object.take("message", column::text).or_else(|| joined_list(object.get("message")?)),
        credential: match event_type.as_ref() {
            "cowrie.login.success" | "cowrie.login.failed" => Credential::find(object, &["username"], &["password"]),
            _ => None,
        },
        event_type,
        ..Columns::default()
    })
}

fn joined_list<'a>(json: &str) -> Option<Cow<'a, str>> {
    let parts: Vec<String> = serde_json::from_str(json).ok()?;
    (!parts.is_empty()).then(|| Cow::Owned(parts.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::super::{Format, reason};
    use super::*;
    use crate::event::Event;
    use crate::timestamp::Timestamp;

    const DEFAULTS: Defaults<'_> =
        Defaults { sensor: None, host: "tap", log_name: "cowrie", now: Timestamp::from_nanos(0) };

    fn parse(line: &str) -> Event {
        Format::Cowrie.parse(line.as_bytes(), &DEFAULTS).unwrap()
    }

    #[test]
    fn a_login_fills_the_columns_and_leaves_the_rest() {
        let event = parse(concat!(
            r#"{"eventid": "cowrie.login.failed", "src_ip": "203.0.113.7", "src_port": 30296, "#,
            r#""dst_ip": "192.0.2.22", "dst_port": 2223, "session": "4c0f5b6349ec", "protocol": "telnet", "#,
            r#""sensor": "db-1", "timestamp": "2026-01-02T03:50:11.315110Z", "username": "a\u001b[2J", "password": "' OR 1=1;--", "#,
            r#""message": "login attempt [a\u001b[2J/' OR 1=1;--] failed"}"#
        ));
        assert_eq!(event.ts().as_nanos(), 1_767_325_811_315_110_000);
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("db-1", "telnet", "cowrie.login.failed"));
        assert_eq!((event.src_ip(), event.src_port()), (Some("203.0.113.7"), Some(30296)));
        assert_eq!((event.dst_ip(), event.dst_port()), (Some("192.0.2.22"), Some(2223)));
        assert_eq!((event.proto(), event.session()), (Some("tcp"), Some("4c0f5b6349ec")));
        assert_eq!(event.msg(), Some("login attempt [a\u{1b}[2J/' OR 1=1;--] failed"));
        assert_eq!(event.fields(), Some(r#"{"username":"a\u001b[2J","password":"' OR 1=1;--"}"#));
        let credential = event.derived().unwrap();
        assert_eq!((credential.kind(), credential.data()), ("credential", &b"' OR 1=1;--"[..]));
        assert_eq!((credential.sensor(), credential.session()), ("db-1", Some("4c0f5b6349ec")));
        assert_eq!((credential.src_ip(), credential.dst_port()), (Some("203.0.113.7"), Some(2223)));
        let fields = r#"{"service":"telnet","event_type":"cowrie.login.failed","username":"a\u001b[2J","password":"' OR 1=1;--"}"#;
        assert_eq!(credential.fields(), Some(fields));
    }

    #[test]
    fn only_logins_with_a_password_make_credentials() {
        let derived = |members: &str| {
            let event = parse(&format!(r#"{{"timestamp":"2026-01-02T03:50:11Z",{members}}}"#));
            event.derived().map(|credential| credential.data().to_vec())
        };
        assert_eq!(derived(r#""eventid":"cowrie.login.success","username":"root","password":"""#), Some(vec![]));
        assert_eq!(derived(r#""eventid":"cowrie.login.success","username":"root""#), None);
        assert_eq!(derived(r#""eventid":"cowrie.command.input","username":"root","password":"x""#), None);
    }

    #[test]
    fn an_old_list_of_messages_is_joined_and_kept() {
        let of = |message: &str| {
            let event = parse(&format!(r#"{{"timestamp":"2026-01-02T03:50:11Z","message":{message}}}"#));
            (event.msg().map(str::to_owned), event.fields().map(str::to_owned))
        };
        assert_eq!(of(r#"["CMD:", "ls"]"#), (Some("CMD: ls".into()), Some(r#"{"message":["CMD:", "ls"]}"#.into())));
        assert_eq!(of("[]"), (None, Some(r#"{"message":[]}"#.into())));
        assert_eq!(of("[1]"), (None, Some(r#"{"message":[1]}"#.into())));
    }

    #[test]
    fn what_is_missing_is_filled_or_null() {
        let event = parse(r#"{"timestamp":"2026-01-02T03:50:11Z","dst_ip":"mail.test","dst_port":70000}"#);
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("tap", "cowrie", "unknown"));
        assert_eq!((event.src_ip(), event.dst_ip(), event.dst_port(), event.msg()), (None, None, None, None));
        assert_eq!(event.fields(), Some(r#"{"dst_ip":"mail.test","dst_port":70000}"#));
        let fault = Format::Cowrie.parse(br#"{"eventid":"cowrie.log.closed"}"#, &DEFAULTS).unwrap_err();
        assert_eq!(fault.reason, reason::NO_TIMESTAMP);
    }
}
