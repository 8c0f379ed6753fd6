//! Zeek's logs as JSON lines (`LogAscii::use_json`, or the JSON streaming package).
//!
//! | column | comes from |
//! |---|---|
//! | `ts` | `ts`: seconds as a decimal number, read exactly, or ISO 8601 text (`LogAscii::json_timestamps`) |
//! | `sensor` | `_system_name`, else the host |
//! | `service` | `service`, else the log if it is a protocol's (`smb_files` is `smb`), else `zeek` |
//! | `event_type` | `_path`, else the log's name up to its first dot |
//! | `src_ip`, `src_port` | `id.orig_h`, `id.orig_p` |
//! | `dst_ip`, `dst_port` | `id.resp_h`, `id.resp_p` |
//! | `proto` | `proto`, in lower case |
//! | `session` | `uid` |
//! | `msg` | weird: `name`; notice: `msg`, else `note`; what [`SUMMARIES`] names, which stays in `fields` too |
//! | `trace_id`, `span_id` | NULL |
//!
//! The format: the Zeek manual, "Zeek Log Formats" and "Log Files".

use std::borrow::Cow;

use super::object::Object;
use super::{Columns, Defaults, Malformed, column, epoch, take_time};
use crate::timestamp::Timestamp;

/// Logs that are named after an application protocol.
const PROTOCOL_LOGS: [&str; 26] = [
    "dce_rpc",
    "dhcp",
    "dnp3",
    "dns",
    "ftp",
    "http",
    "irc",
    "kerberos",
    "ldap",
    "modbus",
    "mqtt_connect",
    "mysql",
    "ntlm",
    "ntp",
    "postgresql",
    "quic",
    "radius",
    "rdp",
    "redis",
    "rfb",
    "sip",
    "smtp",
    "snmp",
    "socks",
    "ssh",
    "ssl",
];

/// What makes a line for people: of a record of this log, these members.
const SUMMARIES: [(&str, &[&str]); 4] = [
    ("http", &["method", "host", "uri", "status_code"]),
    ("dns", &["query", "qtype_name", "rcode_name"]),
    ("ssl", &["server_name", "version"]),
    ("ssh", &["client"]),
];

pub(super) fn columns<'a>(object: &mut Object<'a>, defaults: &Defaults<'a>) -> Result<Columns<'a>, Malformed> {
    let ts = take_time(object, "ts", moment)?;
    let path = object.take("_path", column::text).unwrap_or(Cow::Borrowed(log_of(defaults.log_name)));
    Ok(Columns {
        ts,
        sensor: defaults.sensor_or(object, &["_system_name"]),
        service: object.take("service", column::text).unwrap_or_else(|| service_of(&path)),
        src: (object.take("id.orig_h", column::address), object.take("id.orig_p", column::port)),
        dst: (object.take("id.resp_h", column::address), object.take("id.resp_p", column::port)),
        proto: object.take("proto", column::lower_case),
        session: object.take("uid", column::text),
        msg: match path.as_ref() {
            "weird" => object.take("name", column::text),
            "notice" => object.take_first(&["msg", "note"], column::text),
            path => SUMMARIES.iter().find(|(log, _)| *log == path).and_then(|(_, words)| object.joined(words)),
        },
        event_type: path,
        ..Columns::default()
    })
}

fn moment(json: &str) -> Option<Timestamp> {
    epoch::seconds(json).or_else(|| column::iso_time(json))
}

/// Returns the log of a file name: `conn` of `conn.2026-01-02-03-00-00`.
fn log_of(name: &str) -> &str {
    match name.split('.').next() {
        None | Some("") => "unknown",
        Some(log) => log,
    }
}

fn service_of<'a>(path: &Cow<'a, str>) -> Cow<'a, str> {
    match path.as_ref() {
        "smb_files" | "smb_mapping" | "smb_cmd" => Cow::Borrowed("smb"),
        log if PROTOCOL_LOGS.contains(&log) => path.clone(),
        _ => Cow::Borrowed("zeek"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, reason};
    use super::*;
    use crate::event::Event;

    const DEFAULTS: Defaults<'_> =
        Defaults { sensor: None, host: "tap", log_name: "conn.zeek", now: Timestamp::from_nanos(0) };

    fn parse(line: &str) -> Event {
        Format::ZeekJson.parse(line.as_bytes(), &DEFAULTS).unwrap()
    }

    #[test]
    fn a_connection_fills_the_columns_and_leaves_the_rest() {
        let event = parse(concat!(
            r#"{"ts":1767325811.31511,"uid":"CMdzit1AMNsmfAIiQc","id.orig_h":"203.0.113.7","id.orig_p":49678,"#,
            r#""id.resp_h":"192.0.2.22","id.resp_p":22,"proto":"tcp","service":"ssh","duration":0.10,"#,
            r#""conn_state":"SF","missed_bytes":0}"#
        ));
        assert_eq!(event.ts().as_nanos(), 1_767_325_811_315_110_000);
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("tap", "ssh", "conn"));
        assert_eq!((event.src_ip(), event.src_port()), (Some("203.0.113.7"), Some(49678)));
        assert_eq!((event.dst_ip(), event.dst_port()), (Some("192.0.2.22"), Some(22)));
        assert_eq!((event.proto(), event.session()), (Some("tcp"), Some("CMdzit1AMNsmfAIiQc")));
        assert_eq!(event.fields(), Some(r#"{"duration":0.10,"conn_state":"SF","missed_bytes":0}"#));
        assert_eq!(event.msg(), None);
    }

    #[test]
    fn the_path_names_type_and_service() {
        let of = |line: &str| {
            let event = parse(line);
            (event.event_type().to_owned(), event.service().to_owned())
        };
        assert_eq!(of(r#"{"ts":1.5219e9,"_path":"rdp"}"#), ("rdp".into(), "rdp".into()));
        assert_eq!(of(r#"{"ts":"2026-01-02T03:50:11.3Z","_path":"smb_files"}"#), ("smb_files".into(), "smb".into()));
        assert_eq!(of(r#"{"ts":1,"_path":"files","service":""}"#), ("files".into(), "zeek".into()));
        assert_eq!(of(r#"{"ts":1}"#), ("conn".into(), "zeek".into()));
        assert_eq!((log_of(""), log_of("ssh"), log_of("dns.log")), ("unknown", "ssh", "dns"));
    }

    #[test]
    fn weird_and_notice_have_their_own_words_for_people() {
        let weird = parse(r#"{"ts":1,"_path":"weird","name":"bad_TCP_checksum","peer":"zeek"}"#);
        assert_eq!((weird.msg(), weird.fields()), (Some("bad_TCP_checksum"), Some(r#"{"peer":"zeek"}"#)));
        let notice = parse(r#"{"ts":1,"_path":"notice","note":"Scan::Port_Scan","msg":"scanned 15 ports"}"#);
        assert_eq!((notice.msg(), notice.fields()), (Some("scanned 15 ports"), Some(r#"{"note":"Scan::Port_Scan"}"#)));
        assert_eq!(parse(r#"{"ts":1,"_path":"notice","note":"Scan::Port_Scan"}"#).msg(), Some("Scan::Port_Scan"));
        let http = parse(r#"{"ts":1,"_path":"http","method":"GET","host":"a.test","uri":"/","status_code":200}"#);
        assert_eq!(http.msg(), Some("GET a.test / 200"));
    }

    #[test]
    fn a_time_that_is_neither_seconds_nor_iso_is_malformed() {
        for ts in [r#""1767325811""#, "1e30", "true", "null", "[1]"] {
            let line = format!(r#"{{"ts":{ts},"uid":"C1"}}"#);
            let fault = Format::ZeekJson.parse(line.as_bytes(), &DEFAULTS).unwrap_err();
            assert_eq!(fault.reason, reason::BAD_TIMESTAMP, "{ts}");
        }
        let fault = Format::ZeekJson.parse(br#"{"uid":"C1"}"#, &DEFAULTS).unwrap_err();
        assert_eq!(fault.reason, reason::NO_TIMESTAMP);
    }
}
