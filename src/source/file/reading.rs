//! Reads the records of one file and sends what the ledger lacks, in chunks without a gap.

use std::io::{BufRead, Read};

use super::super::Malformed;
use super::super::format::{Defaults, Format, reason};
use super::super::lines::{Line, LineReader};
use super::super::pcap::{PcapError, PcapReader, Rest};
use super::{FileEnd, FileError, FileOptions, FileReport, Observer, OnMalformed, Place};
use crate::capture::Capture;
use crate::chunk::{Row, RowType};
use crate::event::Event;
use crate::pipeline::{Replay, ReplayRows};
use crate::reject::Reject;
use crate::timestamp::Timestamp;

/// Rows and bytes at which a chunk is sent.
const CHUNK_ROWS: usize = 512;
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a line that is too long, kept with its reject.
const CUT_LINE: usize = 64 << 10;

/// One file being read.
pub(super) struct Reading<'a> {
    pub(super) options: &'a FileOptions,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) report: FileReport,
}

impl Reading<'_> {
    pub(super) fn packets(&mut self, stream: impl Read, replay: Replay<Capture>) -> Result<(), FileError> {
        let mut reader = PcapReader::open(stream).map_err(|error| FileError::WrongKind(error.to_string()))?;
        let sensor = self.options.sensor.as_deref().unwrap_or(&self.options.host);
        let mut chunk = Gathering::new(replay);
        loop {
            if self.observer.is_stopped() {
                self.report.end = FileEnd::Stopped;
                break;
            }
            let (packet, row) = match reader.next_record() {
                Ok(None) => break,
                Ok(Some(record)) if chunk.replay.committed().contains(record.packet) => {
                    self.report.known += 1;
                    chunk.send()?;
                    continue;
                }
                Ok(Some(record)) => {
                    let (packet, offset) = (record.packet, record.offset);
                    match record.into_capture(sensor) {
                        Ok(capture) if capture.weight() <= self.options.max_row_bytes => (packet, Ok(capture)),
                        Ok(capture) => (packet, Err((offset, too_large(capture.weight()), Vec::new()))),
                        Err(invalid) => {
                            (packet, Err((offset, malformed("invalid_row", invalid.to_string()), Vec::new())))
                        }
                    }
                }
                Err(PcapError::Malformed { packet, .. }) if chunk.replay.committed().contains(packet) => {
                    self.report.known += 1;
                    chunk.send()?;
                    continue;
                }
                Err(PcapError::Malformed { offset, packet, reason, rest }) => {
                    if rest == Rest::Lost {
                        self.report.end =
                            FileEnd::Broken { reason: format!("nothing after byte {offset} can be read: {reason}") };
                    }
                    (
                        packet,
                        Err((offset, malformed("malformed_packet", format!("at byte {offset}: {reason}")), Vec::new())),
                    )
                }
                Err(PcapError::Truncated { offset, .. }) => {
                    self.report.end = FileEnd::Incomplete { place: Place::Offset(offset) };
                    break;
                }
                Err(error) => {
                    self.report.end = FileEnd::Broken { reason: error.to_string() };
                    break;
                }
            };
            let row = match row {
                Ok(capture) => {
                    self.observer.capture(&capture);
                    Ok(capture)
                }
                Err((offset, malformed, raw)) => Err((Place::Offset(offset), malformed, raw)),
            };
            if !self.gather(&mut chunk, packet, packet + 1, row)? {
                break;
            }
        }
        chunk.send()
    }

    pub(super) fn lines(
        &mut self,
        stream: impl BufRead,
        format: Format,
        log_name: &str,
        replay: Replay<Event>,
    ) -> Result<(), FileError> {
        // A row has its line twice, in `raw` and mostly in `fields`; so a longer line has no chance.
        let mut lines = LineReader::new(stream, self.options.max_row_bytes / 2);
        let (sensor, host) = (self.options.sensor.as_deref(), &*self.options.host);
        let mut chunk = Gathering::new(replay);
        // Up to here everything is a row or belongs to one. A row reaches from the end of the row before it to its own last
        // character: line ends and blank lines count with the row after them, so that a last line without an end is the
        // same row when its end has come.
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
                    self.report.end = FileEnd::Broken { reason: error.to_string() };
                    break;
                }
            };
            if line.bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if chunk.replay.committed().contains(line.start) {
                self.report.known += 1;
                covered = chunk.replay.committed().first_missing(line.start).min(line.end);
                chunk.send()?;
                continue;
            }
            let end = if line.is_cut { line.end } else { line.start + line.bytes.trim_ascii_end().len() as u64 };
            let defaults = Defaults { sensor, host, log_name, now: Timestamp::now() };
            let row = self.parse(&line, format, &defaults);
            if row.is_err() && !line.is_ended && !line.is_cut {
                self.report.end = FileEnd::Incomplete { place: Place::Line(line.number) };
                break;
            }
            if let Ok(event) = &row {
                self.observer.event(event);
            }
            let row = row.map_err(|malformed| {
                let kept = if line.is_cut || malformed.reason == reason::TOO_LARGE { CUT_LINE } else { usize::MAX };
                (Place::Line(line.number), malformed, line.bytes[..line.bytes.len().min(kept)].to_vec())
            });
            if !self.gather(&mut chunk, covered, end, row)? {
                break;
            }
            covered = end;
        }
        chunk.send()
    }

    fn parse(&self, line: &Line<'_>, format: Format, defaults: &Defaults<'_>) -> Result<Event, Malformed> {
        if line.is_cut {
            return Err(too_large(usize::try_from(line.end - line.start).unwrap_or(usize::MAX)));
        }
        let event = format.parse(line.bytes, defaults)?;
        if event.weight() <= self.options.max_row_bytes { Ok(event) } else { Err(too_large(event.weight())) }
    }

    /// Adds a record that reaches from `first` up to `end` to the chunk; returns whether to go on.
    fn gather<T: RowType>(
        &mut self,
        chunk: &mut Gathering<T>,
        first: u64,
        end: u64,
        row: Result<T, (Place, Malformed, Vec<u8>)>,
    ) -> Result<bool, FileError> {
        let row = match row {
            Ok(row) => {
                self.report.rows += 1;
                Row::Keep(row)
            }
            Err((place, malformed, raw)) => {
                self.observer.malformed(place, &malformed);
                if self.options.on_malformed == OnMalformed::Stop {
                    self.report.end = FileEnd::Stopped;
                    return Ok(false);
                }
                self.report.malformed += 1;
                Row::Reject(Box::new(Reject::new(malformed.reason, malformed.detail, raw)))
            }
        };
        chunk.push(first, end, row)?;
        Ok(true)
    }
}

fn malformed(reason: &'static str, detail: String) -> Malformed {
    Malformed { reason, detail }
}

fn too_large(bytes: usize) -> Malformed {
    malformed(reason::TOO_LARGE, format!("the record comes to {bytes} bytes, more than batch.max_bytes"))
}

/// Rows that are gathered into a chunk; those of a chunk follow each other without a gap.
struct Gathering<T: RowType> {
    replay: Replay<T>,
    first: u64,
    ends: Vec<u64>,
    rows: Vec<Row<T>>,
    bytes: usize,
}

impl<T: RowType> Gathering<T> {
    fn new(replay: Replay<T>) -> Self {
        Self { replay, first: 0, ends: Vec::new(), rows: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, first: u64, end: u64, row: Row<T>) -> Result<(), FileError> {
        if self.rows.is_empty() {
            self.first = first;
        }
        self.bytes += row.weight();
        self.ends.push(end);
        self.rows.push(row);
        if self.rows.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), FileError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let rows = ReplayRows::spanning(self.first, std::mem::take(&mut self.ends), std::mem::take(&mut self.rows));
        // No one waits for single answers: the caller flushes, and the ledger knows.
        self.replay.send_blocking(rows).map(drop).map_err(|_| FileError::Closed)
    }
}
