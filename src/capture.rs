//! Something caught: a packet, a credential, a payload, a fingerprint. A row of the `captures` table.
//!
//! The text lives in one allocation and the bytes in another (see `packed`). Made with [`Capture::builder`].

use std::fmt;
use std::net::IpAddr;

use crate::event::InvalidRow;
use crate::packed::{Packed, fields_fault};
use crate::timestamp::Timestamp;

/// Text columns, in the order in which they are packed.
const SENSOR: usize = 0;
const KIND: usize = 1;
const SESSION: usize = 2;
const SRC_IP: usize = 3;
const DST_IP: usize = 4;
const PROTO: usize = 5;
const FIELDS: usize = 6;

/// One row of `captures`.
#[derive(Clone, PartialEq, Eq)]
pub struct Capture {
    ts: Timestamp,
    src_port: Option<u16>,
    dst_port: Option<u16>,
    link_type: Option<u16>,
    length: u64,
    columns: Packed<7>,
    data: Box<[u8]>,
}

impl Capture {
    /// Starts a capture: which sensor caught it, and what it is (`packet`, `credential`, `payload`, `fingerprint` ...).
    ///
    /// ```
    /// use forebay::Capture;
    /// let packet = Capture::builder("tap-0", "packet").link_type(1).length(1514).data(vec![0; 64]).build()?;
    /// assert_eq!((packet.length(), packet.data().len()), (1514, 64));
    /// # Ok::<(), forebay::InvalidRow>(())
    /// ```
    pub fn builder<'a>(sensor: &'a str, kind: &'a str) -> CaptureBuilder<'a> {
        CaptureBuilder {
            ts: None,
            sensor,
            kind,
            session: None,
            src: (None, None),
            dst: (None, None),
            proto: None,
            link_type: None,
            length: None,
            data: Box::default(),
            fields: None,
        }
    }

    /// Makes the row again from its columns, as a database returns them: the numbers as a row has them, source and
    /// destination port, and the texts in the order of the table. Nothing is checked: it was when the row was built.
    /// Returns `None` for 4 GiB of text.
    #[doc(hidden)]
    pub fn restore(
        ts: Timestamp,
        [src_port, dst_port]: [Option<u16>; 2],
        link_type: Option<u16>,
        length: u64,
        texts: [Option<&str>; 7],
        data: Vec<u8>,
    ) -> Option<Self> {
        let columns = Packed::restore(texts)?;
        Some(Self { ts, src_port, dst_port, link_type, length, columns, data: data.into() })
    }

    /// When it was caught.
    pub fn ts(&self) -> Timestamp {
        self.ts
    }
    /// Which sensor caught it.
    pub fn sensor(&self) -> &str {
        self.columns.get(SENSOR).unwrap_or_default()
    }
    /// What it is: `packet`, `credential`, `payload`, `fingerprint` ...
    pub fn kind(&self) -> &str {
        self.columns.get(KIND).unwrap_or_default()
    }
    /// The sensor's name of the session or flow.
    pub fn session(&self) -> Option<&str> {
        self.columns.get(SESSION)
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
    /// Protocol in lower case: `tcp`, `udp`, `arp` ...
    pub fn proto(&self) -> Option<&str> {
        self.columns.get(PROTO)
    }
    /// Link type of a packet, as in the tcpdump group's registry (1 is Ethernet).
    pub fn link_type(&self) -> Option<u16> {
        self.link_type
    }
    /// Bytes on the wire; `data` may hold fewer.
    pub fn length(&self) -> u64 {
        self.length
    }
    /// The bytes caught, up to the snap length.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
    /// Everything that has no column: one JSON object.
    pub fn fields(&self) -> Option<&str> {
        self.columns.get(FIELDS)
    }

    /// Returns the bytes that this row counts for in every byte limit: its own size, its text and its data.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.columns.len() + self.data.len()
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("ts", &self.ts)
            .field("sensor", &self.sensor())
            .field("kind", &self.kind())
            .field("src_ip", &self.src_ip())
            .field("length", &self.length)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// Builds a [`Capture`]; every column that is not set is NULL, and `data` empty.
#[derive(Clone, Debug)]
#[must_use]
pub struct CaptureBuilder<'a> {
    ts: Option<Timestamp>,
    sensor: &'a str,
    kind: &'a str,
    session: Option<&'a str>,
    src: (Option<IpAddr>, Option<u16>),
    dst: (Option<IpAddr>, Option<u16>),
    proto: Option<&'a str>,
    link_type: Option<u16>,
    length: Option<u64>,
    data: Box<[u8]>,
    fields: Option<&'a str>,
}

impl<'a> CaptureBuilder<'a> {
    /// Sets when it was caught. Default: the time of `build`.
    pub fn ts(mut self, ts: Timestamp) -> Self {
        self.ts = Some(ts);
        self
    }
    /// Sets the sensor's name of the session or flow.
    pub fn session(mut self, session: &'a str) -> Self {
        self.session = Some(session);
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
    /// Sets the protocol.
    pub fn proto(mut self, proto: &'a str) -> Self {
        self.proto = Some(proto);
        self
    }
    /// Sets the link type of a packet.
    pub fn link_type(mut self, link_type: u16) -> Self {
        self.link_type = Some(link_type);
        self
    }
    /// Sets the bytes on the wire. Default: the length of `data`. At most `i64::MAX`, the range of the column.
    pub fn length(mut self, bytes_on_the_wire: u64) -> Self {
        self.length = Some(bytes_on_the_wire);
        self
    }
    /// Sets the bytes caught.
    pub fn data(mut self, data: impl Into<Box<[u8]>>) -> Self {
        self.data = data.into();
        self
    }
    /// Sets everything that has no column, as the text of one JSON object; `build` checks it.
    pub fn fields(mut self, json_object: &'a str) -> Self {
        self.fields = Some(json_object);
        self
    }

    /// Copies all text into one allocation; `data` is moved.
    ///
    /// # Errors
    /// When `fields` is not one JSON object of at most 128 levels, the text has 4 GiB or more, or `length` is out of
    /// range.
    pub fn build(self) -> Result<Capture, InvalidRow> {
        if let Some(fault) = self.fields.and_then(fields_fault) {
            return Err(InvalidRow(fault));
        }
        let length = self.length.unwrap_or(self.data.len() as u64);
        if i64::try_from(length).is_err() {
            return Err(InvalidRow("length is above the largest signed 64-bit number"));
        }
        let texts = [Some(self.sensor), Some(self.kind), self.session, self.proto, self.fields];
        Ok(Capture {
            ts: self.ts.unwrap_or_else(Timestamp::now),
            src_port: self.src.1,
            dst_port: self.dst.1,
            link_type: self.link_type,
            length,
            columns: Packed::pack(&texts, [self.src.0, self.dst.0])
                .ok_or(InvalidRow("the row's text has 4 GiB or more"))?,
            data: self.data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_comes_back_as_it_was_set() {
        let capture = Capture::builder("s", "packet")
            .ts(Timestamp::from_nanos(5))
            .session("x")
            .src("::ffff:10.0.0.1".parse().ok(), Some(1))
            .dst("10.0.0.1".parse().ok(), Some(2))
            .proto("udp")
            .link_type(1)
            .length(99)
            .data(vec![0, 255])
            .fields(r#"{"a":1}"#)
            .build()
            .unwrap();
        assert_eq!((capture.sensor(), capture.kind(), capture.session()), ("s", "packet", Some("x")));
        assert_eq!((capture.src_ip(), capture.src_port()), (Some("::ffff:10.0.0.1"), Some(1)));
        assert_eq!((capture.dst_ip(), capture.dst_port()), (Some("10.0.0.1"), Some(2)));
        assert_eq!((capture.proto(), capture.link_type(), capture.length()), (Some("udp"), Some(1), 99));
        assert_eq!((capture.data(), capture.fields()), (&[0u8, 255][..], Some(r#"{"a":1}"#)));
        let texts = ["s", "packet", "x", "::ffff:10.0.0.1", "10.0.0.1", "udp", r#"{"a":1}"#].map(Some);
        let ports = [capture.src_port(), capture.dst_port()];
        assert_eq!(Capture::restore(capture.ts(), ports, Some(1), 99, texts, vec![0, 255]), Some(capture));
        assert!(Capture::builder("s", "k").length(u64::MAX).build().is_err());
    }
}
