//! Brings one file into a pipeline: a capture or a log, plain or gzipped, exactly once.
//!
//! The file's name in the ledger (`identity`) and its positions (packet numbers, or byte offsets of the decompressed
//! lines) travel with the rows, so the file can be read again after any crash and only what is missing is sent. It is
//! read from the start each time: packets and compressed bytes cannot be found otherwise, and a line keeps its number
//! for error messages; reading on without storing is some twenty times faster than storing.
//!
//! What cannot be read is set aside with its position, in the same way and transaction as a row. The last line of a file
//! that has no line end and is no complete record (of Zeek's TSV and syslog nobody can tell) is left alone: whoever writes
//! the file may still be at it. Of a pipe it is read as it is, since nobody could read it again.
//!
//! Here is what a host says and is told; `beginning.rs` finds out what a stream holds, `reading.rs` reads it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::Format;
use super::{Malformed, identity};
use crate::capture::Capture;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::pipeline::Pipeline;
use crate::ranges::Ranges;
use crate::timestamp::Timestamp;

mod beginning;
mod reading;

use beginning::{BUFFER, Content, decompressed, look};
use reading::{Growth, Reading};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Packets: pcap or pcapng.
    Capture,
    /// Lines of a log.
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
    /// Is told why the database cannot be asked what it has, when waiting may mend that. It waits here, and returns whether
    /// to ask again; false gives the file up.
    fn outage(&mut self, _error: &Error) -> bool {
        false
    }
    /// Is asked before each record; true ends the reading.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// What came of reading a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// What it holds; `None` for an empty file, and when it was stopped before that could be told.
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
    /// Because the pipeline takes no more rows: its status tells why. The rows counted may not all have been taken.
    Closed,
}

/// Why a file was not read at all.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened or read.
    Read(io::Error),
    /// Its content is of no known kind.
    UnknownKind,
    /// It is no file of the kind that it was said to be.
    WrongKind(String),
    /// It is a capture, and was said to be lines: read so, its packets' numbers would be mistaken for bytes.
    IsCapture,
    /// The ledger cannot be read.
    Ledger(Error),
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::UnknownKind => f.write_str("is neither a capture nor a known log; if it is, name it with --format"),
            Self::WrongKind(why) => f.write_str(why),
            Self::IsCapture => f.write_str("is a capture; read it as `pcap`, or leave the format to be told"),
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
    /// See [`FileError`]; what is met later is in the report.
    pub fn ingest(
        self,
        pipeline: &Pipeline,
        options: &FileOptions,
        observer: &mut dyn Observer,
    ) -> Result<FileReport, FileError> {
        let growth = if self.file.is_some() { Growth::Possible } else { Growth::Over };
        let name = ledger_name(self.file.as_ref(), pipeline, options.repeat, observer)?;
        let mut reading = Reading { options, observer, report: FileReport::new(), growth };
        let beginning = match decompressed(self.stream).and_then(look) {
            Ok(beginning) => beginning,
            Err(_) if reading.observer.is_stopped() => {
                reading.report.end = FileEnd::Stopped;
                return Ok(reading.report);
            }
            Err(error) => return Err(FileError::Read(error)),
        };
        let kind = match (beginning.content, options.kind) {
            (None, _) => return Ok(reading.report),
            (Some(Content::Known(FileKind::Capture)), Some(FileKind::Lines(_))) => return Err(FileError::IsCapture),
            (_, Some(kind)) | (Some(Content::Known(kind)), None) => kind,
            (Some(Content::Unknown), None) => return Err(FileError::UnknownKind),
        };
        reading.report.kind = Some(kind);
        match kind {
            FileKind::Capture => {
                let replay = ask(reading.observer, || pipeline.replay(&name))?;
                reading.packets(beginning.stream, replay)?;
            }
            FileKind::Lines(format) => {
                let lines = BufReader::with_capacity(BUFFER, beginning.stream);
                let replay = ask(reading.observer, || pipeline.replay(&name))?;
                reading.lines(lines, format, &self.log_name, replay);
            }
        }
        Ok(reading.report)
    }
}

/// Asks until the ledger answers, or the observer has waited long enough.
fn ask<T>(observer: &mut dyn Observer, question: impl Fn() -> Result<T, Error>) -> Result<T, FileError> {
    loop {
        match question() {
            Err(error) if error.kind() == ErrorKind::Unavailable && observer.outage(&error) => {}
            answer => return answer.map_err(FileError::Ledger),
        }
    }
}

fn ledger_name(
    file: Option<&File>,
    pipeline: &Pipeline,
    repeat: Repeat,
    observer: &mut dyn Observer,
) -> Result<String, FileError> {
    let unique = || format!("{}-{:016x}", Timestamp::now().as_nanos(), fastrand::u64(..));
    let Some(file) = file else { return Ok(format!("stream/{}", unique())) };
    let prefix = identity::ledger_prefix(file).map_err(FileError::Read)?;
    if repeat == Repeat::Again {
        return Ok(format!("again/{}{}", prefix.trim_start_matches("file/"), unique()));
    }
    let known: BTreeMap<String, Ranges> = ask(observer, || pipeline.committed(&prefix))?;
    identity::ledger_name(file, &prefix, &known).map_err(FileError::Read)
}

impl FileReport {
    fn new() -> Self {
        Self { kind: None, rows: 0, known: 0, malformed: 0, end: FileEnd::Complete }
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
