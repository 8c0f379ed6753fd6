//! One observation of a sensor: a login attempt, an alert, a request. A row of the `events` table.
//!
//! All text of an event lives in one allocation (see `packed`), so that sending a row between threads stays cheap.
//! Made with [`Event::builder`], which borrows everything and copies once, in [`EventBuilder::build`].
//!
//! An event may carry one capture that was made from it, such as the credential of a login: its derived row, which is
//! committed with it or not at all. It hangs on a pointer, so that the many events without one pay eight bytes.

use std::fmt;
use std::net::IpAddr;

use crate::capture::Capture;
use crate::packed::{Packed, depth_fault, fields_fault};
use crate::timestamp::Timestamp;

/// Text columns, in the order in which they are packed.
const SENSOR: usize = 0;
const SERVICE: usize = 1;
const EVENT_TYPE: usize = 2;
const SRC_IP: usize = 3;
const DST_IP: usize = 4;
const PROTO: usize = 5;
const SESSION: usize = 6;
const MSG: usize = 7;
const FIELDS: usize = 8;
const RAW: usize = 9;
const TRACE_ID: usize = 10;
const SPAN_ID: usize = 11;

/// One row of `events`.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    ts: Timestamp,
    src_port: Option<u16>,
    dst_port: Option<u16>,
    columns: Packed<12>,
    derived: Option<Box<Capture>>,
}

/// Why a row cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRow(pub(crate) &'static str);

impl fmt::Display for InvalidRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidRow {}

impl Event {
    /// Starts an event: which sensor saw it, on which service, and what kind of event it is.
    ///
    /// ```
    /// use forebay::{Event, Timestamp};
    /// let event = Event::builder("web-1", "ssh", "login.failed")
    ///     .ts(Timestamp::from_nanos(1_700_000_000_000_000_000))
    ///     .src("203.0.113.9".parse().ok(), Some(51022))
    ///     .fields(r#"{"username":"root"}"#)
    ///     .build()?;
    /// assert_eq!(event.src_ip(), Some("203.0.113.9"));
    /// # Ok::<(), forebay::InvalidRow>(())
    /// ```
    pub fn builder<'a>(sensor: &'a str, service: &'a str, event_type: &'a str) -> EventBuilder<'a> {
        EventBuilder {
            ts: None,
            sensor,
            service,
            event_type,
            src: (None, None),
            dst: (None, None),
            proto: None,
            session: None,
            msg: None,
            fields: None,
            fault: fields_fault,
            raw: None,
            trace_id: None,
            span_id: None,
            derived: None,
        }
    }

    /// Makes the row again from its columns, as a database returns them: source and destination port, and the texts in
    /// the order of the table. Nothing is checked: it was when the row was built. Returns `None` for 4 GiB of text. A
    /// derived row is a row of its own by then.
    #[doc(hidden)]
    pub fn restore(ts: Timestamp, [src_port, dst_port]: [Option<u16>; 2], texts: [Option<&str>; 12]) -> Option<Self> {
        Some(Self { ts, src_port, dst_port, columns: Packed::restore(texts)?, derived: None })
    }

    /// When it happened.
    pub fn ts(&self) -> Timestamp {
        self.ts
    }
    /// Which sensor saw it.
    pub fn sensor(&self) -> &str {
        self.columns.get(SENSOR).unwrap_or_default()
    }
    /// Which service it happened on: `ssh`, `http` ...
    pub fn service(&self) -> &str {
        self.columns.get(SERVICE).unwrap_or_default()
    }
    /// What kind of event it is: `login.failed`, `alert` ...
    pub fn event_type(&self) -> &str {
        self.columns.get(EVENT_TYPE).unwrap_or_default()
    }
    /// Source address as canonical text (RFC 5952).
    pub fn src_ip(&self) -> Option<&str> {
        self.columns.get(SRC_IP)
    }
    /// Source port.
    pub fn src_port(&self) -> Option<u16> {
        self.src_port
    }
    /// Destination address as canonical text (RFC 5952).
    pub fn dst_ip(&self) -> Option<&str> {
        self.columns.get(DST_IP)
    }
    /// Destination port.
    pub fn dst_port(&self) -> Option<u16> {
        self.dst_port
    }
    /// Transport protocol in lower case: `tcp`, `udp` ...
    pub fn proto(&self) -> Option<&str> {
        self.columns.get(PROTO)
    }
    /// The sensor's name of the session or flow.
    pub fn session(&self) -> Option<&str> {
        self.columns.get(SESSION)
    }
    /// Text for people.
    pub fn msg(&self) -> Option<&str> {
        self.columns.get(MSG)
    }
    /// Everything that has no column: one JSON object.
    pub fn fields(&self) -> Option<&str> {
        self.columns.get(FIELDS)
    }
    /// The original line.
    pub fn raw(&self) -> Option<&str> {
        self.columns.get(RAW)
    }
    /// Trace id of the producer's trace (W3C: 32 hex digits).
    pub fn trace_id(&self) -> Option<&str> {
        self.columns.get(TRACE_ID)
    }
    /// Span id in the producer's trace (W3C: 16 hex digits).
    pub fn span_id(&self) -> Option<&str> {
        self.columns.get(SPAN_ID)
    }

    /// The capture that was derived from it, for the table `captures`; `None` once both are stored and read back.
    pub fn derived(&self) -> Option<&Capture> {
        self.derived.as_deref()
    }

    /// Returns the bytes that this row counts for in every byte limit: its own size, its text and its derived row.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.columns.len() + self.derived().map_or(0, Capture::weight)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("ts", &self.ts)
            .field("sensor", &self.sensor())
            .field("service", &self.service())
            .field("event_type", &self.event_type())
            .field("src_ip", &self.src_ip())
            .field("bytes", &self.columns.len())
            .finish_non_exhaustive()
    }
}

/// Builds an [`Event`]; every column that is not set is NULL.
#[derive(Clone, Debug)]
#[must_use]
pub struct EventBuilder<'a> {
    ts: Option<Timestamp>,
    sensor: &'a str,
    service: &'a str,
    event_type: &'a str,
    src: (Option<IpAddr>, Option<u16>),
    dst: (Option<IpAddr>, Option<u16>),
    proto: Option<&'a str>,
    session: Option<&'a str>,
    msg: Option<&'a str>,
    fields: Option<&'a str>,
    /// Says what is wrong with `fields`.
    fault: fn(&str) -> Option<&'static str>,
    raw: Option<&'a str>,
    trace_id: Option<&'a str>,
    span_id: Option<&'a str>,
    derived: Option<Capture>,
}

impl<'a> EventBuilder<'a> {
    /// Sets when it happened. Default: the time of `build`.
    pub fn ts(mut self, ts: Timestamp) -> Self {
        self.ts = Some(ts);
        self
    }
    /// Sets the source address and port.
    pub fn src(mut self, ip: Option<IpAddr>, port: Option<u16>) -> Self {
        self.src = (ip, port);
        self
    }
    /// Sets the destination address and port.
    pub fn dst(mut self, ip: Option<IpAddr>, port: Option<u16>) -> Self {
        self.dst = (ip, port);
        self
    }
    /// Sets the transport protocol.
    pub fn proto(mut self, proto: &'a str) -> Self {
        self.proto = Some(proto);
        self
    }
    /// Sets the sensor's name of the session or flow.
    pub fn session(mut self, session: &'a str) -> Self {
        self.session = Some(session);
        self
    }
    /// Sets the text for people.
    pub fn msg(mut self, msg: &'a str) -> Self {
        self.msg = Some(msg);
        self
    }
    /// Sets everything that has no column, as the text of one JSON object; `build` checks it.
    pub fn fields(mut self, json_object: &'a str) -> Self {
        (self.fields, self.fault) = (Some(json_object), fields_fault);
        self
    }
    /// As [`fields`](Self::fields), for our own parsers: of an object made of members that they have just read as JSON.
    /// Reading them again would cost as much as the first time, so `build` only looks how deep they are.
    #[cfg_attr(not(feature = "source"), allow(dead_code))]
    pub(crate) fn members(mut self, json_object: &'a str) -> Self {
        (self.fields, self.fault) = (Some(json_object), depth_fault);
        self
    }
    /// Sets the original line.
    pub fn raw(mut self, raw: &'a str) -> Self {
        self.raw = Some(raw);
        self
    }
    /// Sets trace and span id of the producer's trace: 32 and 16 hex digits, as in a `traceparent` header (W3C Trace Context).
    /// They are stored with the row, so that a trace is found from an event and its events from a trace. Nothing is taken
    /// from the current span by itself: a host with `tracing-opentelemetry` passes the ids of the `SpanContext` of
    /// `Span::current().context().span()`, whose `Display` is this form.
    pub fn trace(mut self, trace_id: &'a str, span_id: &'a str) -> Self {
        (self.trace_id, self.span_id) = (Some(trace_id), Some(span_id));
        self
    }

    /// Sets a capture that was derived from this event, such as a credential. Both are committed in one transaction, or
    /// set aside together; it counts with the event in every limit of bytes, and in none of rows.
    pub fn derive(mut self, capture: Capture) -> Self {
        self.derived = Some(capture);
        self
    }

    /// Copies everything into one allocation; a derived capture is moved.
    ///
    /// # Errors
    /// When `fields` is not one JSON object of at most 128 levels, or the text has 4 GiB or more.
    pub fn build(self) -> Result<Event, InvalidRow> {
        if let Some(fault) = self.fields.and_then(self.fault) {
            return Err(InvalidRow(fault));
        }
        let texts = [
            Some(self.sensor),
            Some(self.service),
            Some(self.event_type),
            self.proto,
            self.session,
            self.msg,
            self.fields,
            self.raw,
            self.trace_id,
            self.span_id,
        ];
        Ok(Event {
            ts: self.ts.unwrap_or_else(Timestamp::now),
            src_port: self.src.1,
            dst_port: self.dst.1,
            columns: Packed::pack(&texts, [self.src.0, self.dst.0])
                .ok_or(InvalidRow("the row's text has 4 GiB or more"))?,
            derived: self.derived.map(Box::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_comes_back_as_it_was_set() {
        let event = Event::builder("s", "ssh", "t")
            .ts(Timestamp::from_nanos(5))
            .src("2001:DB8:0:0::1".parse().ok(), Some(1))
            .dst("10.0.0.1".parse().ok(), None)
            .proto("tcp")
            .session("x")
            .msg("m\0m")
            .fields("{}")
            .raw("")
            .trace("aa", "bb")
            .build()
            .unwrap();
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("s", "ssh", "t"));
        assert_eq!((event.src_ip(), event.src_port()), (Some("2001:db8::1"), Some(1)));
        assert_eq!((event.dst_ip(), event.dst_port()), (Some("10.0.0.1"), None));
        assert_eq!((event.proto(), event.session(), event.msg()), (Some("tcp"), Some("x"), Some("m\0m")));
        assert_eq!((event.fields(), event.raw()), (Some("{}"), Some("")));
        assert_eq!((event.trace_id(), event.span_id()), (Some("aa"), Some("bb")));
        let texts = ["s", "ssh", "t", "2001:db8::1", "10.0.0.1", "tcp", "x", "m\0m", "{}", "", "aa", "bb"].map(Some);
        assert_eq!(Event::restore(event.ts(), [Some(1), None], texts), Some(event));
        let bare = Event::builder("s", "ssh", "t").build().unwrap();
        assert_eq!((bare.src_ip(), bare.msg(), bare.fields(), bare.raw()), (None, None, None, None));
    }

    #[test]
    fn a_derived_capture_weighs_with_its_event() {
        let capture = Capture::builder("s", "credential").data(&b"secret"[..]).build().unwrap();
        let (bare, weight) = (Event::builder("s", "ssh", "t").build().unwrap(), capture.weight());
        let event = Event::builder("s", "ssh", "t").derive(capture.clone()).build().unwrap();
        assert_eq!((event.derived(), event.weight()), (Some(&capture), bare.weight() + weight));
        assert_eq!(bare.derived(), None);
    }

    #[test]
    fn fields_that_would_break_queries_are_refused() {
        assert!(Event::builder("s", "ssh", "t").fields("[1]").build().is_err());
    }
}
