//! Makes rows of what a peer sent, and keeps them until they are sent on.

use super::frames::Frame;
use super::message::{self, BAD_MESSAGE, Hello, Message};
use crate::capture::Capture;
use crate::chunk::Row;
use crate::event::Event;
use crate::source::format::{Defaults, Parser, reason};
use crate::source::gathering::{Original, event_of, too_large};
use crate::source::{Malformed, Meter};
use crate::timestamp::Timestamp;

/// Reason in `ingest_rejects` of what a connection ended in the middle of; a metric label.
const CUT_OFF: &str = "cut_off";
/// Rows and bytes at which what was gathered is sent.
const CHUNK_ROWS: usize = 512;
const CHUNK_BYTES: usize = 256 << 10;

/// Whether peers may talk to us, or only send records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Speech {
    /// Records, captures and hellos.
    Messages,
    /// Records of the format alone.
    Records,
}

/// What a frame comes to.
pub(super) enum Record {
    /// Nothing: an empty line.
    Empty,
    /// A line that says something about later ones only.
    Header,
    Hello(Hello),
    Event(Row<Event>),
    Capture(Row<Capture>),
}

/// Reads the frames of one peer.
pub(super) struct RecordReader {
    parser: Parser,
    speech: Speech,
    /// Whether a hello has its place here: as the first record of a stream.
    awaits_hello: bool,
    sensor: Option<String>,
    host: String,
    log_name: String,
    max_row_bytes: usize,
    meter: Meter,
}

impl RecordReader {
    pub(super) fn new(
        parser: Parser,
        speech: Speech,
        sensor: Option<String>,
        host: String,
        log_name: String,
        max_row_bytes: usize,
        meter: Meter,
    ) -> Self {
        Self { parser, speech, awaits_hello: true, sensor, host, log_name, max_row_bytes, meter }
    }

    /// Names the sensor of records that name none.
    pub(super) fn call_host(&mut self, host: String) {
        self.host = host;
    }

    /// Reads datagrams: who sent one cannot be answered.
    pub(super) fn without_hello(mut self) -> Self {
        self.awaits_hello = false;
        self
    }

    pub(super) fn read(&mut self, frame: Frame<'_>) -> Record {
        if let Frame::Whole(bytes) = frame
            && bytes.trim_ascii().is_empty()
        {
            return Record::Empty;
        }
        let record = self.record(frame);
        self.awaits_hello = false;
        record
    }

    fn record(&mut self, frame: Frame<'_>) -> Record {
        match frame {
            Frame::Whole(bytes) if self.speech == Speech::Messages && message::is_message(bytes) => self.message(bytes),
            Frame::Whole(bytes) => self.event(bytes),
            Frame::TooLong { start, bytes } => {
                let detail = format!("the record has {bytes} bytes, more than limits.record");
                self.set_aside(&Original { start, bytes }, Malformed { reason: reason::TOO_LARGE, detail })
            }
            Frame::CutOff(bytes) => {
                let detail = "the connection ended within the record".to_owned();
                self.set_aside(&Original::whole(bytes), Malformed { reason: CUT_OFF, detail })
            }
        }
    }

    fn message(&mut self, bytes: &[u8]) -> Record {
        match message::read(bytes, self.sensor.as_deref(), &self.host) {
            Ok(Message::Hello(hello)) if self.awaits_hello => Record::Hello(hello),
            Ok(Message::Hello(_)) => {
                let detail = "hello must be the first record of a stream".to_owned();
                self.set_aside(&Original::whole(bytes), Malformed { reason: BAD_MESSAGE, detail })
            }
            Ok(Message::Capture(capture)) if capture.weight() > self.max_row_bytes => {
                self.set_aside(&Original::whole(bytes), too_large(capture.weight()))
            }
            Ok(Message::Capture(capture)) => {
                self.meter.seen(capture.ts());
                Record::Capture(Row::Keep(*capture))
            }
            Err(malformed) => self.set_aside(&Original::whole(bytes), malformed),
        }
    }

    fn event(&mut self, bytes: &[u8]) -> Record {
        let defaults = Defaults {
            sensor: self.sensor.as_deref(),
            host: &self.host,
            log_name: &self.log_name,
            now: Timestamp::now(),
        };
        match event_of(&mut self.parser, bytes, &defaults, self.max_row_bytes) {
            Ok(None) => Record::Header,
            Ok(Some(event)) => {
                self.meter.seen(event.ts());
                Record::Event(Row::Keep(event))
            }
            Err(malformed) => self.set_aside(&Original::whole(bytes), malformed),
        }
    }

    fn set_aside(&self, original: &Original<'_>, malformed: Malformed) -> Record {
        self.meter.malformed(1);
        Record::Event(Row::Reject(Box::new(original.reject::<Event>(malformed, self.max_row_bytes))))
    }
}

/// Rows on their way.
pub(super) struct Gathered {
    pub(super) events: Vec<Row<Event>>,
    pub(super) captures: Vec<Row<Capture>>,
    bytes: usize,
}

impl Gathered {
    pub(super) fn new() -> Self {
        Self { events: Vec::new(), captures: Vec::new(), bytes: 0 }
    }

    fn event(&mut self, row: Row<Event>) {
        self.bytes += row.weight();
        self.events.push(row);
    }

    fn capture(&mut self, row: Row<Capture>) {
        self.bytes += row.weight();
        self.captures.push(row);
    }

    /// Adds a record if it is a row.
    pub(super) fn add(&mut self, record: Record) {
        match record {
            Record::Event(row) => self.event(row),
            Record::Capture(row) => self.capture(row),
            Record::Empty | Record::Header | Record::Hello(_) => {}
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len() + self.captures.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }
}
