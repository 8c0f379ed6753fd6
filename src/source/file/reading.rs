//! Reads the records of one file and sends what the ledger lacks, in chunks without a gap.

use std::io::{self, BufReader, Read};

use super::super::Malformed;
use super::super::format::{Defaults, Format, Parser, reason};
use super::super::gathering::{Gathering, Original, malformed, too_large};
use super::super::lines::{Line, LineReader};
use super::super::pcap::{PcapError, PcapReader, Rest};
use super::{FileEnd, FileError, FileOptions, FileReport, Observer, OnMalformed, Place};
use crate::capture::Capture;
use crate::chunk::{Row, RowType};
use crate::event::Event;
use crate::pipeline::Replay;
use crate::timestamp::Timestamp;

/// Whether a last line without an end may get one some day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// A file: its writer may still be at it, so what is no complete record is left for the next time.
    Possible,
    /// A pipe that has ended: there is no next time.
    Over,
}

/// One file being read.
pub(super) struct Reading<'a> {
    pub(super) options: &'a FileOptions,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) report: FileReport,
    pub(super) growth: Growth,
}

impl Reading<'_> {
    pub(super) fn packets(&mut self, stream: impl Read, replay: Replay<Capture>) -> Result<(), FileError> {
        let mut reader = match PcapReader::open(stream) {
            Ok(reader) => reader,
            Err(PcapError::Truncated { offset, .. }) => {
                self.report.end = FileEnd::Incomplete { place: Place::Offset(offset) };
                return Ok(());
            }
            Err(PcapError::Read { source, .. }) => {
                self.report.end = self.failed(&source);
                return Ok(());
            }
            Err(error) => return Err(FileError::WrongKind(error.to_string())),
        };
        let sensor = self.options.sensor.as_deref().unwrap_or(&self.options.host);
        let mut chunk = Gathering::new(replay);
        loop {
            if self.observer.is_stopped() {
                self.report.end = FileEnd::Stopped;
                break;
            }
            let (packet, place, fault, original) = match reader.next_record() {
                Ok(None) => break,
                Ok(Some(record)) if chunk.replay.committed().contains(record.packet) => {
                    self.report.known += 1;
                    if self.send(&mut chunk) { continue } else { break }
                }
                Ok(Some(record)) => {
                    let (packet, place, data) = (record.packet, Place::Offset(record.offset), record.data);
                    let fault = match record.into_capture(sensor) {
                        Ok(capture) if capture.weight() <= self.options.max_row_bytes => {
                            self.observer.capture(&capture);
                            if self.gather(&mut chunk, packet, packet + 1, Ok(capture)) { continue } else { break }
                        }
                        Ok(capture) => too_large(capture.weight()),
                        Err(invalid) => malformed("invalid_row", invalid.to_string()),
                    };
                    (packet, place, fault, Original::whole(data))
                }
                Err(PcapError::Malformed { offset, packet, reason, rest }) => {
                    if rest == Rest::Lost {
                        self.report.end =
                            FileEnd::Broken { reason: format!("nothing after byte {offset} can be read: {reason}") };
                    }
                    if chunk.replay.committed().contains(packet) {
                        self.report.known += 1;
                        if self.send(&mut chunk) { continue } else { break }
                    }
                    let fault = malformed("malformed_packet", format!("at byte {offset}: {reason}"));
                    (packet, Place::Offset(offset), fault, Original::whole(&[]))
                }
                Err(PcapError::Truncated { offset, .. }) => {
                    self.report.end = FileEnd::Incomplete { place: Place::Offset(offset) };
                    break;
                }
                Err(PcapError::Read { source, .. }) => {
                    self.report.end = self.failed(&source);
                    break;
                }
                Err(error) => {
                    self.report.end = FileEnd::Broken { reason: error.to_string() };
                    break;
                }
            };
            if !self.gather(&mut chunk, packet, packet + 1, Err((place, fault, original))) {
                break;
            }
        }
        self.send(&mut chunk);
        Ok(())
    }

    pub(super) fn lines(
        &mut self,
        stream: BufReader<impl Read>,
        format: Format,
        log_name: &str,
        replay: Replay<Event>,
    ) {
        let mut lines = LineReader::new(stream, self.options.max_row_bytes);
        let mut parser = Parser::new(format);
        let (sensor, host) = (self.options.sensor.as_deref(), &*self.options.host);
        let mut chunk = Gathering::new(replay);
        // Up to here everything is a row or belongs to one. A row reaches from the end of the row before it to its own last
        // character: line ends, blank lines and header lines count with the row after them, so that a last line without an
        // end is the same row when its end has come.
        let mut covered = 0;
        loop {
            if self.observer.is_stopped() {
                self.report.end = FileEnd::Stopped;
                break;
            }
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    self.report.end = self.failed(&error);
                    break;
                }
            };
            if line.bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            // A header line is read whether what follows is committed or not.
            let defaults = Defaults { sensor, host, log_name, now: Timestamp::now() };
            let header = format.is_header(line.bytes).then(|| self.parse(&line, &mut parser, &defaults));
            if let Some(Ok(None)) = header {
                continue;
            }
            if chunk.replay.committed().contains(line.start) {
                self.report.known += 1;
                covered = chunk.replay.committed().first_missing(line.start).min(line.end);
                if self.send(&mut chunk) { continue } else { break }
            }
            let end = if line.is_cut { line.end } else { line.start + line.bytes.trim_ascii_end().len() as u64 };
            let row = header.unwrap_or_else(|| self.parse(&line, &mut parser, &defaults)).transpose();
            let Some(row) = row else { continue };
            let is_whole = line.is_ended || (row.is_ok() && format.shows_its_end());
            if !is_whole && self.growth == Growth::Possible {
                self.report.end = FileEnd::Incomplete { place: Place::Line(line.number) };
                break;
            }
            if let Ok(event) = &row {
                self.observer.event(event);
            }
            let bytes = if line.is_cut { line.end - line.start } else { line.bytes.len() as u64 };
            let original = Original { start: line.bytes, bytes };
            let row = row.map_err(|malformed| (Place::Line(line.number), malformed, original));
            if !self.gather(&mut chunk, covered, end, row) {
                break;
            }
            covered = end;
            // A pipe may be silent for long: what has come so far should not wait for it.
            if self.growth == Growth::Over && lines.is_drained() && !self.send(&mut chunk) {
                break;
            }
        }
        self.send(&mut chunk);
    }

    /// How the reading ends when the stream fails: a host may make it fail to end a wait for more.
    fn failed(&self, error: &io::Error) -> FileEnd {
        if self.observer.is_stopped() { FileEnd::Stopped } else { FileEnd::Broken { reason: error.to_string() } }
    }

    fn parse(&self, line: &Line<'_>, parser: &mut Parser, defaults: &Defaults<'_>) -> Result<Option<Event>, Malformed> {
        // A row has its line twice, in `raw` and in its columns: a longer one has no chance, so it is not even parsed.
        if line.is_cut || line.bytes.len() > self.options.max_row_bytes / 2 {
            return Err(malformed(
                reason::TOO_LARGE,
                format!("a line of {} bytes makes a row above batch.max_bytes", line.end - line.start),
            ));
        }
        match parser.parse(line.bytes, defaults)? {
            Some(event) if event.weight() > self.options.max_row_bytes => Err(too_large(event.weight())),
            event => Ok(event),
        }
    }

    /// Adds a record that reaches from `first` up to `end` to the chunk; returns whether to go on.
    fn gather<T: RowType>(
        &mut self,
        chunk: &mut Gathering<T>,
        first: u64,
        end: u64,
        row: Result<T, (Place, Malformed, Original<'_>)>,
    ) -> bool {
        let row = match row {
            Ok(row) => {
                self.report.rows += 1;
                Row::Keep(row)
            }
            Err((place, malformed, original)) => {
                self.observer.malformed(place, &malformed);
                if self.options.on_malformed == OnMalformed::Stop {
                    self.report.end = FileEnd::Stopped;
                    return false;
                }
                self.report.malformed += 1;
                Row::Reject(Box::new(original.reject::<T>(malformed, self.options.max_row_bytes)))
            }
        };
        chunk.push(first, end, row);
        !chunk.is_full() || self.send(chunk)
    }

    /// Sends what is gathered; returns whether to go on.
    fn send<T: RowType>(&mut self, chunk: &mut Gathering<T>) -> bool {
        // No one waits for single answers: the caller flushes, and the ledger knows.
        let is_sent = chunk.send().is_some();
        if !is_sent {
            self.report.end = FileEnd::Closed;
        }
        is_sent
    }
}
