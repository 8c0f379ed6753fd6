//! Syslog lines: RFC 5424 (`rfc5424.rs`), RFC 3164 (`rfc3164.rs`), those of DECNET's decoys, and such as a relay has wrapped.
//!
//! | column | comes from |
//! |---|---|
//! | `ts` | the line's time, else the time of reading |
//! | `sensor` | HOSTNAME, else the host |
//! | `service` | APP-NAME or tag, else `syslog` |
//! | `event_type` | MSGID, else `log` |
//! | `src_ip`, `src_port`, `dst_ip`, `dst_port`, `proto`, `session` | DECNET's element, as in [`decnet`](super::decnet); else NULL |
//! | `msg` | the message, unless it is empty |
//! | `fields` | `facility` and `severity` (the priority divided by 8, and the rest), `process` (PROCID), the parameters of DECNET's element, and `structured_data`: every other element, an object of its parameters; `hostname` if the user forces a sensor |
//! | `trace_id`, `span_id` | of DECNET's element: 32 and 16 hex digits, both or neither |
//!
//! A line must have a priority or a time, and a time of RFC 5424 must be one; nothing else is needed. `raw` is the line as it came, with everything around it.
//!
//! **DECNET's shape**: an element whose id begins with `relay@` or `decnet`, with parameters for fields, in a line whose
//! host is the decoy, its application the service, and its message id the event type. Their shells log
//! `CMD uid=0 user=root src=192.0.2.7 pwd=/ cmd=...` with the message id `command`, and no element: those words count as
//! parameters, `cmd` as `command`.
//!
//! **Wrapped lines**: a relay that does not know what it carries makes a whole line the message of its own. If a line has
//! neither message id nor structured data and its message begins with a whole header of RFC 5424, that one counts, and what
//! the relay said of itself stays in `fields` as `relay`. Only once: what is in there is not taken apart further. Docker
//! takes the priority off; then the header must be complete up to its structured data. Whoever can choose how a message
//! begins could so choose a host and a service; `relay` tells.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::draft::Draft;
use super::object::Object;
use super::rfc5424::{self, Element, Header, unescaped};
use super::{Columns, Defaults, MAX_QUOTE, Malformed, decnet, malformed, ndjson, reason, rfc3164};
use crate::event::Event;

/// A line taken apart.
struct Line<'a> {
    priority: Option<u8>,
    header: Header<'a>,
    message: &'a str,
    relay: Option<Header<'a>>,
}

impl<'a> Line<'a> {
    fn read(text: &'a str, defaults: &Defaults<'_>) -> Result<Self, Malformed> {
        let line = match rfc5424::priority(text) {
            Some((priority, rest)) => {
                let modern = rest.strip_prefix("1 ").and_then(rfc5424::read).transpose()?;
                // A line of nothing but a message gets the rest from its receiver (RFC 3164, 4.3.3).
                let old = || rfc3164::read(rest, defaults.now).unwrap_or_else(|| (Header::default(), rest));
                let (header, message) = modern.unwrap_or_else(old);
                Self { priority: Some(priority), header, message, relay: None }
            }
            None => {
                let (header, message) = rfc3164::read(text, defaults.now).ok_or_else(|| {
                    let start: String = text.chars().take(MAX_QUOTE).collect();
                    malformed(reason::BAD_SYSLOG, format!("neither a priority nor a time: {start:?}"))
                })?;
                Self { priority: None, header, message, relay: None }
            }
        };
        Ok(line.unwrapped())
    }

    /// Returns the line that this one carries as its message, if it does.
    fn unwrapped(self) -> Self {
        if self.header.message_id.is_some() || !self.header.elements.is_empty() {
            return self;
        }
        let message = self.message.trim_start_matches(' ');
        let with_priority = rfc5424::priority(message)
            .and_then(|(priority, rest)| Some((priority, rfc5424::read(rest.strip_prefix("1 ")?)?.ok()?)));
        let (priority, (header, message)) = match with_priority {
            Some((priority, inner)) => (Some(priority), inner),
            None => match bare(message) {
                Some(inner) => (self.priority, inner),
                None => return self,
            },
        };
        Self { priority, header, message, relay: Some(self.header) }
    }

    /// Returns the words of a decoy's shell as parameters; values end at a space, but for the command.
    fn shell(&self) -> Option<(impl Iterator<Item = (&'a str, &'a str)> + use<'a>, &'a str)> {
        let words = self.message.strip_prefix("CMD ").filter(|_| self.header.message_id == Some("command"))?;
        let (head, command) = words.split_once("cmd=")?;
        Some((head.split(' ').filter_map(|word| word.split_once('=')), command))
    }
}

/// Reads a header without a priority, if it is complete up to its structured data.
fn bare(message: &str) -> Option<(Header<'_>, &str)> {
    let mut rest = message;
    for _ in 0..5 {
        rest = rfc5424::word(rest)?.1;
    }
    rfc5424::structured_data(rest)?;
    let (header, message) = rfc5424::read(message)?.ok()?;
    header.ts.is_some().then_some((header, message))
}

fn is_decnet(element: &Element<'_>) -> bool {
    element.id.starts_with("relay@") || element.id.starts_with("decnet")
}

/// Reads a line.
pub(super) fn event(raw: &str, defaults: &Defaults<'_>) -> Result<Event, Malformed> {
    // Some senders end a line with a NUL; a byte order mark begins a message in UTF-8 (RFC 5424, 6.4).
    let line = Line::read(raw.trim_end_matches('\0'), defaults)?;
    let message = line.message.strip_prefix('\u{feff}').unwrap_or(line.message);
    let text = |text: Option<&str>, or: &'static str| Cow::Owned(text.unwrap_or(or).to_owned());
    let mut columns = Columns {
        ts: line.header.ts.unwrap_or(defaults.now),
        sensor: Cow::Borrowed(defaults.sensor.or(line.header.host).unwrap_or(defaults.host)),
        service: text(line.header.app, "syslog"),
        event_type: text(line.header.message_id, "log"),
        msg: Some(Cow::Borrowed(message)).filter(|message| !message.is_empty()),
        ..Columns::default()
    };
    let json = fields(&line, defaults);
    let mut object = Object::parse(&json).map_err(|fault| malformed(reason::BAD_JSON, fault.to_string()))?;
    if line.shell().is_some() || line.header.elements.iter().any(is_decnet) {
        decnet::fill(&mut columns, &mut object);
        columns.trace = ndjson::trace(&mut object, &Default::default());
    }
    columns.build(raw, object.rest().as_deref())
}

/// Writes what has no column of its own, as one JSON object.
fn fields(line: &Line<'_>, defaults: &Defaults<'_>) -> String {
    let mut draft = Draft::new();
    if let Some(priority) = line.priority {
        // Writing to a String cannot fail.
        let _ = write!(draft.key("facility"), "{}", priority / 8);
        let _ = write!(draft.key("severity"), "{}", priority % 8);
    }
    if let (Some(host), Some(_)) = (line.header.host, defaults.sensor) {
        draft.text("hostname", host);
    }
    if let Some(process) = line.header.process {
        draft.text("process", process);
    }
    for (name, value) in line.header.elements.iter().filter(|element| is_decnet(element)).flat_map(|e| &e.params) {
        draft.text(name, &unescaped(value));
    }
    if let Some((words, command)) = line.shell() {
        words.for_each(|(name, value)| draft.text(name, value));
        draft.text("command", command);
    }
    let others = || line.header.elements.iter().filter(|element| !is_decnet(element));
    if others().next().is_some() {
        let mut elements = Draft::new();
        for element in others() {
            let mut params = Draft::new();
            element.params.iter().for_each(|(name, value)| params.text(name, &unescaped(value)));
            elements.json(element.id, &params.end());
        }
        draft.json("structured_data", &elements.end());
    }
    if let Some(relay) = &line.relay {
        let mut own = Draft::new();
        let ts = relay.ts.map(|ts| ts.to_string());
        let words = [("ts", ts.as_deref()), ("hostname", relay.host), ("app", relay.app), ("process", relay.process)];
        for (name, value) in words {
            if let Some(value) = value {
                own.text(name, value);
            }
        }
        draft.json("relay", &own.end());
    }
    draft.end()
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;
    use crate::timestamp::Timestamp;

    fn defaults() -> Defaults<'static> {
        let now = Timestamp::parse("2026-06-01T00:00:00Z").unwrap();
        Defaults { sensor: None, host: "here", log_name: "syslog", now }
    }

    fn parse(line: &str) -> Event {
        Format::Syslog.parse(line.as_bytes(), &defaults()).unwrap()
    }

    #[test]
    fn a_decoys_line_fills_the_columns_and_makes_a_credential() {
        let line = concat!(
            r#"<134>1 2026-04-14T12:00:00.5+00:00 decky-01 ssh - login_attempt [relay@55555 src_ip="203.0.113.7" "#,
            r#"src_port="4444" username="ro\"ot" password="a\]b\\" note="C:\new"] Failed login"#
        );
        let event = parse(line);
        assert_eq!(event.ts().to_string(), "2026-04-14T12:00:00.500000000Z");
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("decky-01", "ssh", "login_attempt"));
        assert_eq!((event.src_ip(), event.src_port()), (Some("203.0.113.7"), Some(4444)));
        assert_eq!((event.msg(), event.raw()), (Some("Failed login"), Some(line)));
        let fields = concat!(r#"{"facility":16,"severity":6,"username":"ro\"ot","password":"a]b\\","note":"C:\\new"}"#);
        assert_eq!(event.fields(), Some(fields));
        assert_eq!(event.derived().unwrap().data(), br"a]b\");
    }

    #[test]
    fn a_line_of_rfc_5424_keeps_its_structured_data() {
        let event = parse(concat!(
            r#"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 7 ID47 "#,
            r#"[exampleSDID@32473 iut="3" eventSource="Application"][examplePriority@32473 class="high"] "#,
            "\u{feff}An application event"
        ));
        assert_eq!(event.ts().to_string(), "2003-10-11T22:14:15.003000000Z");
        assert_eq!((event.sensor(), event.service()), ("mymachine.example.com", "evntslog"));
        assert_eq!((event.event_type(), event.msg()), ("ID47", Some("An application event")));
        let fields = concat!(
            r#"{"facility":20,"severity":5,"process":"7","structured_data":{"exampleSDID@32473":"#,
            r#"{"iut":"3","eventSource":"Application"},"examplePriority@32473":{"class":"high"}}}"#
        );
        assert_eq!((event.fields(), event.src_ip(), event.derived()), (Some(fields), None, None));
    }

    #[test]
    fn nil_values_are_filled_from_the_defaults() {
        let event = parse("<14>1 - - - - - -");
        assert_eq!((event.ts(), event.sensor()), (defaults().now, "here"));
        assert_eq!((event.service(), event.event_type(), event.msg()), ("syslog", "log", None));
        let event = parse("<13>hello world\0");
        assert_eq!(
            (event.ts(), event.msg(), event.raw()),
            (defaults().now, Some("hello world"), Some("<13>hello world\0"))
        );
        assert_eq!(event.fields(), Some(r#"{"facility":1,"severity":5}"#));
    }

    #[test]
    fn an_old_line_is_read_with_and_without_its_priority() {
        for line in
            ["<38>May  3 10:00:00 db-1 sshd[42]: Failed password", "May  3 10:00:00 db-1 sshd[42]: Failed password"]
        {
            let event = parse(line);
            assert_eq!(event.ts().to_string(), "2026-05-03T10:00:00.000000000Z");
            assert_eq!((event.sensor(), event.service(), event.event_type()), ("db-1", "sshd", "log"));
            assert_eq!(event.msg(), Some("Failed password"));
        }
    }

    #[test]
    fn a_forced_sensor_leaves_the_lines_own_in_fields() {
        let forced = Defaults { sensor: Some("mine"), ..defaults() };
        let event = Format::Syslog.parse(b"May  3 10:00:00 db-1 su: x", &forced).unwrap();
        assert_eq!((event.sensor(), event.fields()), ("mine", Some(r#"{"hostname":"db-1"}"#)));
    }

    #[test]
    fn what_a_relay_has_wrapped_is_unwrapped_once() {
        let inner = r#"<134>1 2026-04-14T12:00:00Z omega smtp - disconnect [relay@55555 src_ip="192.0.2.5"] bye"#;
        for outer in ["<14>1 2026-04-14T12:00:01Z relay-1 fluentd 9 - - ", "<14>Apr 14 12:00:01 relay-1 fluentd[9]: "] {
            let line = format!("{outer}{inner}");
            let event = parse(&line);
            assert_eq!((event.sensor(), event.service(), event.event_type()), ("omega", "smtp", "disconnect"));
            assert_eq!(
                (event.src_ip(), event.msg(), event.raw()),
                (Some("192.0.2.5"), Some("bye"), Some(line.as_str()))
            );
            let fields = concat!(
                r#"{"facility":16,"severity":6,"relay":{"ts":"2026-04-14T12:00:01.000000000Z","#,
                r#""hostname":"relay-1","app":"fluentd","process":"9"}}"#
            );
            assert_eq!(event.fields(), Some(fields));
            let twice = parse(&format!("{outer}{line}"));
            assert_eq!((twice.sensor(), twice.event_type()), ("relay-1", "log"));
            assert!(twice.msg().unwrap().ends_with(inner));
        }
    }

    #[test]
    fn a_header_without_its_priority_is_unwrapped_if_it_is_whole() {
        let outer = "<14>1 2026-05-02T06:22:48.089309+00:00 omega 1 - - -  ";
        let event = parse(&format!(
            "{outer}2026-05-02T06:22:48.089286+00:00 SRV-7 bash - command [timeQuality tzKnown=\"1\"] CMD uid=0 user=root \
             src=192.0.2.5 pwd=/root cmd=ls -l /var"
        ));
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("SRV-7", "bash", "command"));
        assert_eq!(event.src_ip(), Some("192.0.2.5"));
        let fields = concat!(
            r#"{"facility":1,"severity":6,"uid":"0","user":"root","pwd":"/root","command":"ls -l /var","#,
            r#""structured_data":{"timeQuality":{"tzKnown":"1"}},"#,
            r#""relay":{"ts":"2026-05-02T06:22:48.089309000Z","hostname":"omega","app":"1"}}"#
        );
        assert_eq!(event.fields(), Some(fields));
        for message in ["2026-05-02T06:22:48Z it is late for an answer", "Failed password for root from 192.0.2.5"] {
            let event = parse(&format!("{outer}{message}"));
            assert_eq!((event.sensor(), event.msg().map(str::trim_start)), ("omega", Some(message)));
        }
    }

    #[test]
    fn a_line_that_says_what_it_is_itself_is_not_unwrapped() {
        let inner = "<134>1 2026-04-14T12:00:00Z evil sshd - accepted -";
        for outer in ["<14>1 2026-04-14T12:00:01Z h app - ID1 - ", r#"<14>1 2026-04-14T12:00:01Z h app - - [x y="1"] "#]
        {
            let event = parse(&format!("{outer}{inner}"));
            assert_eq!((event.sensor(), event.msg()), ("h", Some(inner)));
        }
    }

    #[test]
    fn what_is_no_syslog_is_malformed() {
        let reason = |line: &str| Format::Syslog.parse(line.as_bytes(), &defaults()).unwrap_err().reason;
        for bad in ["", "hello", "<999>x", "{}", "134>1 - - - - - -", "\u{feff}"] {
            assert_eq!(reason(bad), reason::BAD_SYSLOG, "{bad}");
        }
        assert_eq!(reason("<14>1 yesterday h a p m - x"), reason::BAD_TIMESTAMP);
    }
}
