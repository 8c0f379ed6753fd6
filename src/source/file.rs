//! Brings one file into a pipeline: a capture or a log, plain or gzipped, exactly once.
//!
//! The file's name in the ledger (`identity`) and its positions (packet numbers, or byte offsets of the decompressed
//! lines) travel with the rows, so the file can be read again after any crash and only what is missing is sent. It is
//! read from the start each time: packets and compressed bytes cannot be found otherwise, and a line keeps its number
//! for error messages; reading on without storing is some twenty times faster than storing.
//!
//! What cannot be read is set aside with its position, in the same way and transaction as a row. The last line of a file
//! that has no line end and is no complete record is left alone: whoever writes the file may still be at it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::format::{Defaults, Format};
use super::lines::{Line, LineReader};
use super::pcap::{self, PcapError, PcapReader, Rest};
use super::{Malformed, identity};
use crate::capture::Capture;
use crate::chunk::{Row, RowType};
use crate::event::Event;
use crate::pipeline::{Pipeline, Replay, ReplayRows};
use crate::ranges::Ranges;
use crate::reject::Reject;
use crate::timestamp::Timestamp;

/// Rows and bytes at which a chunk is sent.
const CHUNK_ROWS: usize = 512;
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes at the start of a stream from which its kind is told.
const HEAD: usize = 64 << 10;
/// Bytes of a line that is too long, kept with its reject.
const CUT_LINE: usize = 64 << 10;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Packets: pcap or pcapng.
    Capture,
    /// Lines of JSON.
    Lines(Format),
}

impl FileKind {
    /// Returns its name: `pcap`, or the format's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Capture => "pcap",
            Self::Lines(format) => format.name(),
        }
    }
}

impl std::str::FromStr for FileKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "pcap" | "pcapng" => Ok(Self::Capture),
            _ => name.parse().map(Self::Lines).map_err(|_| {
                let known: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
                format!("unknown format `{}`; one of: pcap, {}", name.escape_default(), known.join(", "))
            }),
        }
    }
}

/// How to read files.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// What the file holds. Default: told from its content.
    pub kind: Option<FileKind>,
    /// Sensor of every row, whatever the record says.
    pub sensor: Option<String>,
    /// Sensor of rows whose record names none.
    pub host: String,
    /// What to do with a record that cannot be read.
    pub on_malformed: OnMalformed,
    /// Whether to send what the ledger has already.
    pub repeat: Repeat,
    /// Most bytes of a row: `batch.max_bytes` of the pipeline.
    pub max_row_bytes: usize,
}

/// What to do with a record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMalformed {
    /// Set it aside and go on.
    SetAside,
    /// Stop before it.
    Stop,
}

/// Whether a file that has landed may land again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// A file lands once.
    Never,
    /// The whole file is sent as if it had never been seen.
    Again,
}

/// Where in a file a record stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, counted from 1.
    Line(u64),
    /// A byte offset.
    Offset(u64),
}

/// Watches a file being read.
pub trait Observer {
    /// Is told of each event that is about to be sent.
    fn event(&mut self, _event: &Event) {}
    /// Is told of each capture that is about to be sent.
    fn capture(&mut self, _capture: &Capture) {}
    /// Is told of each record that cannot be read.
    fn malformed(&mut self, _place: Place, _malformed: &Malformed) {}
    /// Is asked before each record; true ends the reading.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// What came of reading a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// What it holds; `None` for an empty file.
    pub kind: Option<FileKind>,
    /// Records sent as rows.
    pub rows: u64,
    /// Records that the database had already.
    pub known: u64,
    /// Records set aside because they could not be read.
    pub malformed: u64,
    /// How the reading ended.
    pub end: FileEnd,
}

/// How the reading of a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileEnd {
    /// At its end.
    Complete,
    /// At an incomplete record at its end, which is left for the next time.
    Incomplete {
        /// Where the incomplete record begins.
        place: Place,
    },
    /// In the middle: the file cannot be read on from here.
    Broken {
        /// Why.
        reason: String,
    },
    /// Because the observer or [`OnMalformed::Stop`] said so.
    Stopped,
}

/// Why a file was not read at all, or not to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened or read.
    Read(io::Error),
    /// Its content is of no known kind.
    UnknownKind,
    /// It is no file of the kind that it was said to be.
    WrongKind(String),
    /// The pipeline takes no more rows: its status tells why.
    Closed,
    /// The ledger cannot be read.
    Ledger(crate::error::Error),
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::UnknownKind => f.write_str("is neither a capture nor lines of JSON; if it is, name it with --format"),
            Self::WrongKind(why) => f.write_str(why),
            Self::Closed => f.write_str("the pipeline takes no more rows"),
            Self::Ledger(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Ledger(error) => Some(error),
            _ => None,
        }
    }
}

/// A stream that is about to be read.
pub struct SourceFile {
    stream: Box<dyn Read>,
    /// Its name in the ledger, to look up; `None` for a stream that cannot be read again.
    file: Option<File>,
    log_name: String,
    position: Arc<AtomicU64>,
}

impl SourceFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is not there, may not be read, or is a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory; name the files in it"));
        }
        let log_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut source = Self::stream(file.try_clone()?, log_name);
        source.file = metadata.is_file().then_some(file);
        Ok(source)
    }

    /// Takes a stream that cannot be read again, such as standard input: what is sent twice lands twice.
    pub fn stream(stream: impl Read + 'static, log_name: impl Into<String>) -> Self {
        let position = Arc::new(AtomicU64::new(0));
        let counted = Counted { stream, position: Arc::clone(&position) };
        Self { stream: Box::new(counted), file: None, log_name: log_name.into(), position }
    }

    /// Returns the bytes read so far (of a gzipped file: compressed bytes), which others may watch.
    pub fn position(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.position)
    }

    /// Reads the file to its end into the pipeline.
    ///
    /// Blocks while the pipeline has no room. When it returns the rows are sent, not yet committed: `Pipeline::flush`.
    ///
    /// # Errors
    /// See [`FileError`]; what was read before the error has been sent.
    pub fn ingest(
        self,
        pipeline: &Pipeline,
        options: &FileOptions,
        observer: &mut dyn Observer,
    ) -> Result<FileReport, FileError> {
        let name = ledger_name(self.file.as_ref(), pipeline, options.repeat)?;
        let mut stream = decompressed(self.stream).map_err(FileError::Read)?;
        let head = read_head(&mut stream).map_err(FileError::Read)?;
        let mut reading = Reading { options, observer, report: FileReport::new(None) };
        if head.is_empty() {
            return Ok(reading.report);
        }
        let told =
            if pcap::is_capture(&head) { Some(FileKind::Capture) } else { Format::detect(&head).map(FileKind::Lines) };
        let kind = options.kind.or(told).ok_or(FileError::UnknownKind)?;
        reading.report.kind = Some(kind);
        let stream = Cursor::new(head).chain(stream);
        match kind {
            FileKind::Capture => reading.packets(stream, pipeline.replay(&name).map_err(FileError::Ledger)?),
            FileKind::Lines(format) => {
                let lines = BufReader::with_capacity(HEAD, stream);
                reading.lines(lines, format, &self.log_name, pipeline.replay(&name).map_err(FileError::Ledger)?)
            }
        }?;
        Ok(reading.report)
    }
}

fn ledger_name(file: Option<&File>, pipeline: &Pipeline, repeat: Repeat) -> Result<String, FileError> {
    let unique = || format!("{}-{:016x}", Timestamp::now().as_nanos(), fastrand::u64(..));
    let Some(file) = file else { return Ok(format!("stream/{}", unique())) };
    let prefix = identity::ledger_prefix(file).map_err(FileError::Read)?;
    if repeat == Repeat::Again {
        return Ok(format!("again/{}{}", prefix.trim_start_matches("file/"), unique()));
    }
    let known: BTreeMap<String, Ranges> = pipeline.committed(&prefix).map_err(FileError::Ledger)?;
    identity::ledger_name(file, &prefix, &known).map_err(FileError::Read)
}

/// Looks at the first two bytes and decompresses gzip (RFC 1952), also of several members.
fn decompressed(mut stream: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::with_capacity(2);
    (&mut stream).take(2).read_to_end(&mut magic)?;
    let whole = Cursor::new(magic.clone()).chain(stream);
    Ok(if magic == [0x1f, 0x8b] {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(HEAD, whole)))
    } else {
        Box::new(whole)
    })
}

/// Reads the start of a stream: up to 64 KiB, less if a whole line is there already (a pipe may be slow).
fn read_head(stream: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let mut length = 0;
    while length < HEAD && !(length >= 12 && head[..length].contains(&b'\n')) {
        match stream.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What can be told from what is there is told; the reading will meet the error again.
            Err(_) if length > 0 => break,
            Err(error) => return Err(error),
        }
    }
    head.truncate(length);
    Ok(head)
}

impl FileReport {
    fn new(kind: Option<FileKind>) -> Self {
        Self { kind, rows: 0, known: 0, malformed: 0, end: FileEnd::Complete }
    }
}

/// One file being read.
struct Reading<'a> {
    options: &'a FileOptions,
    observer: &'a mut dyn Observer,
    report: FileReport,
}

impl Reading<'_> {
    fn packets(&mut self, stream: impl Read, replay: Replay<Capture>) -> Result<(), FileError> {
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

    fn lines(
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
        // Up to here everything is a row or belongs to one: blank lines count with the row after them.
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
            if chunk.replay.committed().first_missing(line.start) >= line.end {
                self.report.known += 1;
                covered = line.end;
                chunk.send()?;
                continue;
            }
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
                let kept = if line.is_cut || malformed.reason == super::format::reason::TOO_LARGE {
                    CUT_LINE
                } else {
                    usize::MAX
                };
                (Place::Line(line.number), malformed, line.bytes[..line.bytes.len().min(kept)].to_vec())
            });
            let end = line.end;
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
    malformed(super::format::reason::TOO_LARGE, format!("the record comes to {bytes} bytes, more than batch.max_bytes"))
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

/// Counts what is read.
struct Counted<R> {
    stream: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.position.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
