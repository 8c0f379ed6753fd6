//! Rows as they come out of a table.

use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};

use super::Snapshot;
use super::statement::Sql;
use crate::backend::sql::rows::Columns;
use crate::capture::Capture;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::repository::{Record, Stored};
use crate::timestamp::Timestamp;

/// A row type that can be read.
pub(crate) trait Fetch: Record + Columns {
    /// The columns that have an index which goes on with the time, in every database.
    const TIMED: &'static [&'static str];

    /// When the row happened, in nanoseconds since the Unix epoch.
    fn nanos(&self) -> i64;

    /// Runs a statement that returns the id and all columns of the kind's table, in their order.
    fn fetch(snapshot: &mut impl Snapshot, sql: Sql) -> Result<Vec<Stored<Self>>, Error>;
}

type Words = Nullable<Text>;
type Port = Nullable<Integer>;
pub(crate) type EventSql =
    (BigInt, BigInt, Text, Text, Text, Words, Port, Words, Port, Words, Words, Words, Words, Words, Words, Words);
type OneWord = Option<String>;
type OnePort = Option<i32>;
pub(crate) type EventRow = (
    i64,
    i64,
    String,
    String,
    String,
    OneWord,
    OnePort,
    OneWord,
    OnePort,
    OneWord,
    OneWord,
    OneWord,
    OneWord,
    OneWord,
    OneWord,
    OneWord,
);

impl Fetch for Event {
    const TIMED: &'static [&'static str] = &["src_ip", "sensor"];

    fn nanos(&self) -> i64 {
        self.ts().as_nanos()
    }

    fn fetch(snapshot: &mut impl Snapshot, sql: Sql) -> Result<Vec<Stored<Self>>, Error> {
        let restored = |row: EventRow| {
            let (id, ts, sensor, service, event_type, src_ip, src_port, dst_ip, dst_port, ..) = &row;
            let (.., proto, session, msg, fields, raw, trace_id, span_id) = &row;
            let texts = [Some(sensor), Some(service), Some(event_type)].map(|text| text.map(String::as_str));
            let [sensor, service, event_type] = texts;
            let rest = [src_ip, dst_ip, proto, session, msg, fields, raw, trace_id, span_id].map(Option::as_deref);
            let [src_ip, dst_ip, proto, session, msg, fields, raw, trace_id, span_id] = rest;
            let texts =
                [sensor, service, event_type, src_ip, dst_ip, proto, session, msg, fields, raw, trace_id, span_id];
            let event = Event::restore(Timestamp::from_nanos(*ts), [port(*src_port), port(*dst_port)], texts);
            Ok(Stored { id: *id, row: event.ok_or_else(too_large)? })
        };
        snapshot.events(sql)?.into_iter().map(restored).collect()
    }
}

pub(crate) type CaptureSql =
    (BigInt, BigInt, Text, Text, Words, Words, Port, Words, Port, Words, Port, BigInt, Words, Binary);
pub(crate) type CaptureRow =
    (i64, i64, String, String, OneWord, OneWord, OnePort, OneWord, OnePort, OneWord, OnePort, i64, OneWord, Vec<u8>);

impl Fetch for Capture {
    const TIMED: &'static [&'static str] = &[];

    fn nanos(&self) -> i64 {
        self.ts().as_nanos()
    }

    fn fetch(snapshot: &mut impl Snapshot, sql: Sql) -> Result<Vec<Stored<Self>>, Error> {
        let restored = |row: CaptureRow| {
            let (id, ts, sensor, kind, session, src_ip, src_port, dst_ip, dst_port, proto, link, length, fields, data) =
                row;
            let [session, src_ip, dst_ip, proto, fields] =
                [&session, &src_ip, &dst_ip, &proto, &fields].map(Option::as_deref);
            let texts = [Some(sensor.as_str()), Some(kind.as_str()), session, src_ip, dst_ip, proto, fields];
            let (ts, ports) = (Timestamp::from_nanos(ts), [port(src_port), port(dst_port)]);
            // The column has what `CaptureBuilder::build` let through: 0 to i64::MAX.
            let length = u64::try_from(length).unwrap_or(0);
            let capture = Capture::restore(ts, ports, port(link), length, texts, data);
            Ok(Stored { id, row: capture.ok_or_else(too_large)? })
        };
        snapshot.captures(sql)?.into_iter().map(restored).collect()
    }
}

/// A number that does not fit was written by somebody else.
fn port(number: Option<i32>) -> Option<u16> {
    number.and_then(|number| u16::try_from(number).ok())
}

fn too_large() -> Error {
    Error::new(ErrorKind::Database, "read a row whose text has 4 GiB or more")
}
