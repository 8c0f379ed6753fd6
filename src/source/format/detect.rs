//! Decides which format a log has from its first bytes. The rules for one record are in `Format::of`.

use super::object::Object;
use super::{Format, column, rfc3164, rfc5424, without_line_end};
use crate::timestamp::Timestamp;

/// Most lines that are looked at.
const MAX_LINES: usize = 16;
/// Bytes in which a syslog line shows its priority and its time.
const LONGEST_TIME: usize = 64;
/// Any year will do.
const LATEST: Timestamp = Timestamp::from_nanos(i64::MAX);

/// See [`Format::detect`]. The first record of a particular format decides; records of none make it `Ndjson`, if at
/// least half of the lines are records.
pub(super) fn detect(first_lines: &[u8]) -> Option<Format> {
    let text = first_lines.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first_lines);
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let (mut records, mut others) = (0, 0);
    for line in lines.take(MAX_LINES) {
        if let Some(format) = by_its_beginning(line) {
            return Some(format);
        }
        match record(line).map(|object| Format::of(&object)) {
            Some(Format::Ndjson) => records += 1,
            Some(format) => return Some(format),
            None => others += 1,
        }
    }
    (records > 0 && records >= others).then_some(Format::Ndjson)
}

/// Tells the formats that are no JSON.
fn by_its_beginning(line: &[u8]) -> Option<Format> {
    if line.starts_with(b"#separator ") || line.starts_with(b"#fields") {
        return Some(Format::ZeekTsv);
    }
    let start = &line[..line.len().min(LONGEST_TIME)];
    let start =
        str::from_utf8(start).unwrap_or_else(|fault| str::from_utf8(&start[..fault.valid_up_to()]).unwrap_or(""));
    let has_time = |text| rfc3164::read(text, LATEST).is_some();
    let is_syslog = match rfc5424::priority(start) {
        Some((_, rest)) => rest.starts_with("1 ") || has_time(rest),
        None => has_time(start),
    };
    is_syslog.then_some(Format::Syslog)
}

/// Splits a line; the last one of the given bytes as far as it can be seen.
fn record(line: &[u8]) -> Option<Object<'_>> {
    let is_whole = line.ends_with(b"\n");
    let line = without_line_end(line);
    let text = match str::from_utf8(line) {
        Ok(text) => text,
        // The bytes end in the middle of a character.
        Err(fault) if !is_whole && fault.error_len().is_none() => str::from_utf8(&line[..fault.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if is_whole { Object::parse(text).ok() } else { Object::parse_prefix(text).ok() }
}

impl Format {
    fn of(object: &Object<'_>) -> Format {
        let text = |key| object.get(key).and_then(column::text);
        let has_any = |keys: &[&str]| keys.iter().any(|key| object.get(key).is_some());

        if text("eventid").is_some_and(|id| id.starts_with("cowrie.")) {
            return Format::Cowrie;
        }
        if let (Some(event_type), Some(_)) = (text("event_type"), text("timestamp")) {
            // Suricata puts the particulars under the event type's own name: `"stats":{...}` has nothing else.
            let has_particulars = object.get(&event_type).is_some_and(|value| value.starts_with('{'));
            if has_particulars || has_any(&["flow_id", "src_ip", "dest_ip", "in_iface", "pcap_cnt"]) {
                return Format::Eve;
            }
        }
        if has_any(&["decky"]) && has_any(&["attacker_ip", "raw_line"]) && text("timestamp").is_some() {
            return Format::Decnet;
        }
        if text("_path").is_some() || (has_any(&["ts"]) && has_any(&["uid", "id.orig_h"])) {
            return Format::ZeekJson;
        }
        Format::Ndjson
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVE: &str =
        r#"{"timestamp":"2019-01-02T03:50:11.315110","flow_id":1,"event_type":"alert","alert":{"gid":1}}"#;
    const STATS: &str = r#"{"timestamp":"2019-01-02T03:50:11.315110+0000","event_type":"stats","stats":{"uptime":8}}"#;
    const ZEEK: &str = r#"{"ts":1521911721.255387,"uid":"C1","id.orig_h":"192.0.2.1","conn_state":"S0"}"#;
    const STREAM: &str = r#"{"_path":"stats","_write_ts":"2018-03-24T17:15:20.6Z","ts":"2018-03-24T17:15:20.6Z"}"#;
    const COWRIE: &str =
        r#"{"eventid":"cowrie.session.connect","src_ip":"192.0.2.1","timestamp":"2026-02-01T14:17:31Z"}"#;
    const OTHER: &str = r#"{"timestamp":"2026-02-01T14:17:31Z","event_type":"probe","attacker_ip":"192.0.2.1"}"#;

    const DECNET: &str = r#"{"timestamp":"2026-02-01 14:17:31","decky":"omega","service":"ssh","event_type":"connection","attacker_ip":"Unknown","fields":{},"msg":"","raw_line":""}"#;

    fn detect(text: impl AsRef<[u8]>) -> Option<Format> {
        Format::detect(text.as_ref())
    }

    #[test]
    fn each_format_is_known_by_its_records() {
        assert_eq!(detect(EVE), Some(Format::Eve));
        assert_eq!(detect(STATS), Some(Format::Eve));
        assert_eq!(detect(ZEEK), Some(Format::ZeekJson));
        assert_eq!(detect(STREAM), Some(Format::ZeekJson));
        assert_eq!(detect(COWRIE), Some(Format::Cowrie));
        assert_eq!(detect(OTHER), Some(Format::Ndjson));
        assert_eq!(detect(DECNET), Some(Format::Decnet));
        assert_eq!(detect("{}"), Some(Format::Ndjson));
    }

    #[test]
    fn formats_that_are_no_json_are_known_by_how_a_line_begins() {
        assert_eq!(detect("#separator \\x09\n#path\tconn\n"), Some(Format::ZeekTsv));
        for line in [
            "<134>1 2026-04-14T12:00:00Z decky-01 ssh - login [relay@55555 src_ip=\"192.0.2.1\"] x",
            "<14>1 - - - - - -",
            "<34>Oct 11 22:14:15 mymachine su: x",
            "Nov 20 08:15:00 host sshd[1]: é",
            "2026-11-20T08:15:00.123456+01:00 host sshd[1]: x",
        ] {
            assert_eq!(detect(line), Some(Format::Syslog), "{line}");
        }
    }

    #[test]
    fn what_is_of_no_known_kind_has_no_format() {
        for text in ["", "\n\n", "[1]\n", "<html>\n", "<134>x\n", "May the force be with you\n", "{1}\n", "{\n"] {
            assert_eq!(detect(text), None, "{text}");
        }
        assert_eq!(detect(b"\xd4\xc3\xb2\xa1\x02\0\x04\0"), None);
    }

    #[test]
    fn a_byte_order_mark_and_blank_lines_are_passed_over() {
        assert_eq!(detect(format!("\u{feff}\r\n \n\n{EVE}\n")), Some(Format::Eve));
    }

    #[test]
    fn a_broken_first_line_is_passed_over() {
        assert_eq!(detect(format!("\"x\",\"y\":1}}\n{COWRIE}\n")), Some(Format::Cowrie));
        assert_eq!(detect(format!("\"x\",\"y\":1}}\n{OTHER}\n")), Some(Format::Ndjson));
    }

    #[test]
    fn a_line_longer_than_the_given_bytes_is_judged_by_what_can_be_seen() {
        assert_eq!(detect(&EVE[..EVE.len() - 3]), Some(Format::Eve));
        assert_eq!(detect(&COWRIE[..40]), Some(Format::Cowrie));
        assert_eq!(detect(&ZEEK[..10]), Some(Format::Ndjson));
        let cut = [&COWRIE.as_bytes()[..COWRIE.len() - 1], b",\"input\":\"\xe2\x82"].concat();
        assert_eq!(detect(cut), Some(Format::Cowrie));
    }
}
