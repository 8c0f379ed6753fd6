//! Suricata's EVE output (`eve-log`, one JSON object a line).
//!
//! | column | comes from |
//! |---|---|
//! | `ts` | `timestamp`, with or without a zone (`+0000`, `+02:00`, none is UTC) |
//! | `sensor` | `host` (Suricata's `sensor-name`), else the host |
//! | `service` | `app_proto` unless `failed` or `unknown`, else `event_type` if it names a protocol, else `suricata` |
//! | `event_type` | `event_type`, else `unknown` |
//! | `src_ip`, `src_port` | the same |
//! | `dst_ip`, `dst_port` | `dest_ip`, `dest_port` |
//! | `proto` | `proto`, in lower case |
//! | `session` | `flow_id`, its digits |
//! | `msg` | what [`SUMMARIES`] names; the members stay in `fields` too |
//! | `trace_id`, `span_id` | NULL |
//!
//! The format: Suricata User Guide, "Eve JSON Format".

use std::borrow::Cow;

use super::object::Object;
use super::{Columns, Defaults, Malformed, column, take_time};

/// Event types that are named after an application protocol.
const PROTOCOLS: [&str; 30] = [
    "bittorrent_dht",
    "dcerpc",
    "dhcp",
    "dnp3",
    "dns",
    "enip",
    "ftp",
    "ftp_data",
    "http",
    "ike",
    "ikev2",
    "krb5",
    "ldap",
    "mdns",
    "modbus",
    "mqtt",
    "nfs",
    "pgsql",
    "pop3",
    "quic",
    "rdp",
    "rfb",
    "sip",
    "smb",
    "smtp",
    "snmp",
    "ssh",
    "telnet",
    "tftp",
    "tls",
];

/// What makes a line for people: of an event of this type, these members of the object of this name.
const SUMMARIES: [(&str, &str, &[&str]); 7] = [
    ("alert", "alert", &["signature"]),
    ("drop", "alert", &["signature"]),
    ("http", "http", &["http_method", "hostname", "url", "status"]),
    ("dns", "dns", &["type", "rrname", "rrtype", "rcode"]),
    ("tls", "tls", &["sni", "version", "subject"]),
    ("fileinfo", "fileinfo", &["filename", "size"]),
    ("anomaly", "anomaly", &["event"]),
];

pub(super) fn columns<'a>(object: &mut Object<'a>, defaults: &Defaults<'a>) -> Result<Columns<'a>, Malformed> {
    let ts = take_time(object, "timestamp", column::iso_time)?;
    let event_type = object.take("event_type", column::text).unwrap_or(Cow::Borrowed("unknown"));
    let known = |json| column::text(json).filter(|name| !matches!(name.as_ref(), "failed" | "unknown"));
    let service = match object.take("app_proto", known) {
        Some(app_proto) => app_proto,
        None if PROTOCOLS.contains(&event_type.as_ref()) => event_type.clone(),
        None => Cow::Borrowed("suricata"),
    };
    Ok(Columns {
        ts,
        sensor: defaults.sensor_or(object, &["host"]),
        service,
        src: (object.take("src_ip", column::address), object.take("src_port", column::port)),
        dst: (object.take("dest_ip", column::address), object.take("dest_port", column::port)),
        proto: object.take("proto", column::lower_case),
        session: object.take("flow_id", column::scalar),
        msg: summary(object, &event_type),
        event_type,
        ..Columns::default()
    })
}

fn summary<'a>(object: &Object<'a>, event_type: &str) -> Option<Cow<'a, str>> {
    if event_type == "ssh" {
        let client = Object::parse(Object::parse(object.get("ssh")?).ok()?.get("client")?).ok()?;
        return client.joined(&["software_version"]);
    }
    let (_, particulars, words) = SUMMARIES.iter().find(|(of_type, ..)| *of_type == event_type)?;
    Object::parse(object.get(particulars)?).ok()?.joined(words)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, reason};
    use super::*;
    use crate::event::Event;
    use crate::timestamp::Timestamp;

    const DEFAULTS: Defaults<'_> =
        Defaults { sensor: None, host: "tap", log_name: "eve", now: Timestamp::from_nanos(0) };

    fn parse(line: &str) -> Event {
        Format::Eve.parse(line.as_bytes(), &DEFAULTS).unwrap()
    }

    #[test]
    fn an_alert_fills_the_columns_and_leaves_the_rest() {
        let line = concat!(
            r#"{"timestamp":"2026-01-02T03:50:11.315110+0000","flow_id":1834479340126271,"in_iface":"eth0","#,
            r#""event_type":"alert","src_ip":"203.0.113.7","src_port":49678,"dest_ip":"2001:DB8::16","dest_port":22,"#,
            r#""proto":"TCP","app_proto":"ssh","alert":{"gid":1,"signature":"SCAN \"ssh\""},"#,
            r#""score":1.50,"host":"tap-3"}"#
        );
        let event = parse(line);
        assert_eq!(event.ts().as_nanos(), 1_767_325_811_315_110_000);
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("tap-3", "ssh", "alert"));
        assert_eq!((event.src_ip(), event.src_port()), (Some("203.0.113.7"), Some(49678)));
        assert_eq!((event.dst_ip(), event.dst_port()), (Some("2001:db8::16"), Some(22)));
        assert_eq!((event.proto(), event.session()), (Some("tcp"), Some("1834479340126271")));
        assert_eq!(event.msg(), Some(r#"SCAN "ssh""#));
        let rest = r#"{"in_iface":"eth0","alert":{"gid":1,"signature":"SCAN \"ssh\""},"score":1.50}"#;
        assert_eq!((event.fields(), event.raw()), (Some(rest), Some(line)));
        assert_eq!((event.trace_id(), event.span_id()), (None, None));
    }

    #[test]
    fn the_service_is_the_protocol_as_far_as_it_is_known() {
        let service = |members: &str| {
            let event = parse(&format!(r#"{{"timestamp":"2026-01-02T03:50:11",{members}}}"#));
            (event.service().to_owned(), event.fields().map(str::to_owned))
        };
        assert_eq!(service(r#""event_type":"flow","app_proto":"tls""#), ("tls".into(), None));
        assert_eq!(service(r#""event_type":"dns""#), ("dns".into(), None));
        assert_eq!(service(r#""event_type":"flow""#), ("suricata".into(), None));
        let failed = Some(r#"{"app_proto":"failed"}"#.into());
        assert_eq!(service(r#""event_type":"flow","app_proto":"failed""#), ("suricata".into(), failed));
    }

    #[test]
    fn protocol_events_have_a_line_for_people() {
        let msg = |members: &str| {
            parse(&format!(r#"{{"timestamp":"2026-01-02T03:50:11",{members}}}"#)).msg().map(str::to_owned)
        };
        let http = r#""event_type":"http","http":{"url":"/x","status":404,"hostname":"a.test","http_method":"GET"}"#;
        assert_eq!(msg(http).unwrap(), "GET a.test /x 404");
        assert_eq!(
            msg(r#""event_type":"dns","dns":{"type":"query","rrname":"a.test","rrtype":"A"}"#).unwrap(),
            "query a.test A"
        );
        assert_eq!(msg(r#""event_type":"tls","tls":{"sni":"a.test","version":"TLS 1.3"}"#).unwrap(), "a.test TLS 1.3");
        assert_eq!(
            msg(r#""event_type":"ssh","ssh":{"client":{"software_version":"libssh2_1.4"}}"#).unwrap(),
            "libssh2_1.4"
        );
        assert_eq!(msg(r#""event_type":"ssh","ssh":{"client":{}}"#), None);
        assert_eq!(msg(r#""event_type":"http","http":"odd""#), None);
        assert_eq!(msg(r#""event_type":"flow","flow":{}"#), None);
    }

    #[test]
    fn a_forced_sensor_leaves_the_records_own_in_fields() {
        let forced = Defaults { sensor: Some("mine"), ..DEFAULTS };
        let line = br#"{"timestamp":"2026-01-02T03:50:11","event_type":"flow","host":"tap-3"}"#;
        let event = Format::Eve.parse(line, &forced).unwrap();
        assert_eq!((event.sensor(), event.fields()), ("mine", Some(r#"{"host":"tap-3"}"#)));
        assert_eq!(parse(r#"{"timestamp":"2026-01-02T03:50:11"}"#).sensor(), "tap");
    }

    #[test]
    fn a_line_without_a_readable_time_is_malformed() {
        let fault = |line: &str| Format::Eve.parse(line.as_bytes(), &DEFAULTS).unwrap_err();
        assert_eq!(fault(r#"{"event_type":"flow"}"#).reason, reason::NO_TIMESTAMP);
        for bad in ["1767325811", "null", r#""soon""#, r#""2026-02-30T00:00:00Z""#] {
            let fault = fault(&format!(r#"{{"timestamp":{bad},"event_type":"flow"}}"#));
            assert_eq!((fault.reason, fault.detail), (reason::BAD_TIMESTAMP, format!("timestamp is {bad}")));
        }
    }
}
