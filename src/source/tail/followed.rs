//! One file that is followed: opened when there is news, given a name, read on from where it was left.
//!
//! `plain.rs` and `packed.rs` read the lines; here is what both have in common, and what happens around them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::format::{Defaults, Format, Parser};
use super::super::gathering::{Original, event_of, malformed, too_long};
use super::super::identity::{self, HEAD};
use super::super::{Malformed, format::reason, pcap};
use super::content::{self, Storage};
use super::finding::{Sight, shown};
use super::identities::{Identities, Identity, Name, Nameless, Trace};
use super::packed::Packed;
use super::plain::Plain;
use super::terms::{Flow, Terms};
use crate::error::Error;
use crate::event::Event;
use crate::timestamp::Timestamp;

/// Most bytes of a file from which its format is told.
const LOOK: usize = 64 << 10;
/// How long a file must have had no news until what it has is taken for all of it.
const QUIET: Duration = Duration::from_secs(10);

pub(super) struct Followed {
    /// Inode and birth: the beginning of its names in the ledger.
    pub(super) prefix: String,
    pub(super) path: PathBuf,
    pub(super) sight: Sight,
    /// Since when it has been as it was seen last.
    pub(super) since: Instant,
    /// Since when no pattern matches it: it was renamed or deleted.
    pub(super) unlisted: Option<Instant>,
    /// Whether there may be something to read.
    pub(super) has_news: bool,
    /// What stands in the way of reading it, for people.
    pub(super) trouble: Option<String>,
    /// Turn in which it was read last: those that were not for the longest time are closed first.
    pub(super) turn: u64,
    /// Where it ended when the source began at the ends of files.
    passed_over: Option<u64>,
    is_emptied: bool,
    file: Option<File>,
    reading: Option<Reading>,
}

/// What is known once the file has a name.
struct Reading {
    name: String,
    lines: Lines,
    body: Body,
}

enum Body {
    Plain(Plain),
    Packed(Box<Packed>),
}

/// How its lines become rows.
pub(super) struct Lines {
    parser: Parser,
    log_name: String,
    /// Up to here everything is a row or belongs to one. A row reaches from the end of the row before it to its own last
    /// character, as in `source::file`: so the ledger knows a file that was brought in either way.
    pub(super) covered: u64,
    /// What is before this was passed over, and counts with the first row.
    passed_over: u64,
}

/// What a turn at a file has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is more to read at once.
    More,
    /// Everything was read, or what is left has to wait.
    Done,
    /// The file is shorter than it was, or has other bytes where it was read: it begins anew.
    Emptied,
    /// The source was told to stop.
    Stops,
}

/// A step within a turn.
pub(super) enum Step {
    Next,
    /// What follows is done up to here.
    Skip(u64),
    Stops,
}

impl Followed {
    pub(super) fn new(prefix: String, path: PathBuf, sight: Sight, passed_over: Option<u64>) -> Self {
        Self {
            prefix,
            path,
            sight,
            since: Instant::now(),
            unlisted: None,
            has_news: true,
            trouble: None,
            turn: 0,
            passed_over,
            is_emptied: false,
            file: None,
            reading: None,
        }
    }

    /// Takes note of what was seen of it.
    pub(super) fn seen(&mut self, sight: Sight) {
        if sight.length < self.sight.length && self.reading.is_some() {
            self.begin_anew();
        }
        if self.sight != sight {
            self.sight = sight;
            self.since = Instant::now();
            self.has_news = true;
        }
    }

    /// Looks at the open file, which may have no path any more.
    pub(super) fn look(&mut self) {
        if let Some(metadata) = self.file.as_ref().and_then(|file| file.metadata().ok()) {
            self.seen(Sight::of(&metadata));
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.reading.as_ref().map(|reading| &*reading.name)
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn close(&mut self) {
        self.file = None;
        if let Some(Reading { body: Body::Packed(packed), .. }) = &mut self.reading {
            packed.close();
        }
    }

    /// Returns how many bytes are there and not read.
    pub(super) fn lag(&self) -> u64 {
        let length = self.sight.length;
        match &self.reading {
            Some(Reading { body: Body::Plain(plain), .. }) => length.saturating_sub(plain.reached()),
            Some(Reading { body: Body::Packed(packed), .. }) if packed.is_read(self.sight) => 0,
            _ => length,
        }
    }

    /// Returns whether to try again, although nothing has changed.
    pub(super) fn waits(&self) -> bool {
        match &self.reading {
            Some(Reading { body: Body::Packed(_), .. }) => false,
            Some(_) => self.trouble.is_some(),
            None => self.sight.length > 0,
        }
    }

    /// Reads some of what is new, and sends it.
    ///
    /// # Errors
    /// When the pipeline or its ledger cannot go on. What is wrong with the file is in `trouble`.
    pub(super) fn turn(
        &mut self,
        identities: &mut Identities,
        there: &BTreeMap<String, u64>,
        buffer: &mut [u8],
        terms: &Terms<'_>,
    ) -> Result<Turn, Error> {
        self.has_news = false;
        let file = match self.file.take().map_or_else(|| self.open(), |file| Ok(Some(file))) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Turn::Done),
            Err(error) => return Ok(self.in_trouble(&error)),
        };
        self.trouble = None;
        let turn = match self.ready(&file, identities, there, terms)? {
            Ok(Flow::Stops) => Ok(Turn::Stops),
            Ok(Flow::GoesOn) => self.read(&file, identities, buffer, terms)?,
            Err(error) => Err(error),
        };
        self.file = Some(file);
        if let Some(Reading { body: Body::Packed(packed), .. }) = &self.reading
            && packed.is_read(self.sight)
        {
            self.close();
        }
        let turn = turn.unwrap_or_else(|error| self.in_trouble(&error));
        match turn {
            Turn::More => self.has_news = true,
            Turn::Emptied => {
                // Else the next look would take it for emptied once more.
                self.look();
                self.begin_anew();
            }
            Turn::Done | Turn::Stops => {}
        }
        Ok(turn)
    }

    /// Reads what has no line end and will not get one: nobody will find the file again.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub(super) fn finish(
        &mut self,
        identities: &mut Identities,
        buffer: &mut [u8],
        terms: &Terms<'_>,
    ) -> Result<Flow, Error> {
        let (Some(file), Some(reading)) = (&self.file, &mut self.reading) else { return Ok(Flow::GoesOn) };
        let (Body::Plain(plain), Some(identity)) = (&mut reading.body, identities.get(&reading.name)) else {
            return Ok(Flow::GoesOn);
        };
        match plain.last_line(file, buffer, terms) {
            Ok(Some((start, line))) => match reading.lines.unended(start, line, identity, terms)? {
                Step::Stops => Ok(Flow::Stops),
                Step::Next | Step::Skip(_) => terms.flush(identity),
            },
            // Let go: there is nobody left to be told.
            Ok(None) | Err(_) => Ok(Flow::GoesOn),
        }
    }

    fn in_trouble(&mut self, error: &io::Error) -> Turn {
        self.trouble = Some(format!("{}: {error}", shown(&self.path)));
        Turn::Done
    }

    fn begin_anew(&mut self) {
        self.reading = None;
        self.passed_over = None;
        self.is_emptied = true;
        self.has_news = true;
    }

    /// Opens it; `None` when its path is another file's by now, or nobody's: the next look at all files finds it.
    fn open(&self) -> io::Result<Option<File>> {
        if self.unlisted.is_some() {
            return Ok(None);
        }
        // Somebody may have put a pipe there: do not wait for its writer.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        match OpenOptions::new().read(true).custom_flags(flags).open(&self.path) {
            Ok(file) => Ok((identity::prefix_of(&file.metadata()?) == self.prefix).then_some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finds out, once, under which name and as what it is read.
    fn ready(
        &mut self,
        file: &File,
        identities: &mut Identities,
        there: &BTreeMap<String, u64>,
        terms: &Terms<'_>,
    ) -> Result<io::Result<Flow>, Error> {
        if self.reading.is_some() {
            return Ok(Ok(Flow::GoesOn));
        }
        let begun = file.metadata().and_then(|metadata| {
            let beginning = beginning(file, terms.settings.format)?;
            Ok(beginning.map(|beginning| (metadata.len(), beginning)))
        });
        let (length, (storage, head, format)) = match begun {
            Ok(Some(begun)) => begun,
            Ok(None) => return Ok(Ok(Flow::GoesOn)),
            Err(error) => return Ok(Err(error)),
        };
        let nameless = Nameless {
            file,
            prefix: &self.prefix,
            path: &self.path,
            storage,
            length,
            head: &head,
            is_emptied: self.is_emptied,
            is_quiet: self.since.elapsed() >= QUIET,
        };
        let name = match identities.name(&nameless, there, terms)? {
            Ok(Name::Is(name)) => name,
            Ok(Name::Later) => return Ok(Ok(Flow::GoesOn)),
            Ok(Name::Stopped) => return Ok(Ok(Flow::Stops)),
            Err(error) => return Ok(Err(error)),
        };
        if !identities.open(&name, Trace::new(&self.path, head), terms)? {
            return Ok(Ok(Flow::Stops));
        }
        let Some(identity) = identities.get(&name) else { return Ok(Ok(Flow::GoesOn)) };
        let passed_over = self.passed_over.filter(|_| identity.done.is_empty());
        let mut lines = Lines::new(terms.settings.parser(format)?, &self.path);
        let body = match (storage, passed_over) {
            (Storage::Plain, passed_over) => {
                if let Some(end) = passed_over {
                    lines.passed_over = match Plain::line_before(file, end) {
                        Ok(start) => start,
                        Err(error) => return Ok(Err(error)),
                    };
                    if lines.passed_over > 0 {
                        identity.done.insert(0, lines.passed_over - 1);
                    }
                }
                Body::Plain(Plain::default())
            }
            (Storage::Gzip, None) => Body::Packed(Box::default()),
            (Storage::Gzip, Some(_)) => Body::Packed(Box::new(Packed::passed_over(self.sight))),
        };
        self.is_emptied = false;
        self.reading = Some(Reading { name, lines, body });
        Ok(Ok(Flow::GoesOn))
    }

    fn read(
        &mut self,
        file: &File,
        identities: &mut Identities,
        buffer: &mut [u8],
        terms: &Terms<'_>,
    ) -> Result<io::Result<Turn>, Error> {
        let Some(reading) = &mut self.reading else { return Ok(Ok(Turn::Done)) };
        let Some(identity) = identities.get(&reading.name) else { return Ok(Ok(Turn::Done)) };
        let turn = match &mut reading.body {
            Body::Plain(plain) => plain.read(file, buffer, &mut reading.lines, identity, terms)?,
            Body::Packed(packed) => packed.read(file, &mut reading.lines, identity, terms)?,
        };
        Ok(match terms.flush(identity)? {
            Flow::GoesOn => turn,
            Flow::Stops => Ok(Turn::Stops),
        })
    }
}

/// Tells how a file is stored, its first bytes and its format; `None` while it has too little of them.
fn beginning(file: &File, wanted: Option<Format>) -> io::Result<Option<(Storage, Vec<u8>, Format)>> {
    let Some(storage) = content::storage(file)? else { return Ok(None) };
    let head = content::head(file, storage)?;
    if !head.contains(&b'\n') && head.len() < HEAD as usize {
        return Ok(None);
    }
    if pcap::is_capture(&head) {
        return Err(io::Error::other("is a capture, not a log: bring it in with `forebay ingest`"));
    }
    if let Some(format) = wanted.or_else(|| Format::detect(&head)) {
        return Ok(Some((storage, head, format)));
    }
    let more = match content::bytes_at(file, storage, 0, LOOK) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        more => more?,
    };
    match Format::detect(&more) {
        Some(format) => Ok(Some((storage, head, format))),
        None if more.iter().all(u8::is_ascii_whitespace) => Ok(None),
        None => Err(io::Error::other("its first lines are of no known format: name it in `format`")),
    }
}

impl Lines {
    fn new(parser: Parser, path: &Path) -> Self {
        let log_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { parser, log_name, covered: 0, passed_over: 0 }
    }

    /// Returns whether a part that is done may be left unread: not if lines in it say how later ones are to be read.
    pub(super) fn may_skip(&self) -> bool {
        !self.parser.format().has_headers()
    }

    /// Takes note that everything up to `to` is done.
    pub(super) fn cover(&mut self, to: u64) {
        if to > self.passed_over {
            self.covered = to;
        }
    }

    fn parse(&mut self, line: &[u8], terms: &Terms<'_>) -> Result<Option<Event>, Malformed> {
        let sensor = terms.settings.sensor.as_deref();
        let defaults = Defaults { sensor, host: terms.host, log_name: &self.log_name, now: Timestamp::now() };
        event_of(&mut self.parser, line, &defaults, terms.max_row_bytes)
    }

    /// Takes a line without its end, which reaches from `start` up to `end` with it.
    ///
    /// # Errors
    /// When the pipeline takes no more rows.
    pub(super) fn whole(
        &mut self,
        start: u64,
        end: u64,
        line: &[u8],
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<Step, Error> {
        if line.len() > terms.max_line() {
            let bytes = end - start - 1;
            return self.cut(start, end, Original { start: line, bytes }, identity, terms);
        }
        let (start, line) = without_nul(start, line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Step::Next);
        }
        // Read whether it is done or not: what follows is read by it.
        if self.parser.format().is_header(line) && matches!(self.parse(line, terms), Ok(None)) {
            return Ok(Step::Next);
        }
        if let Some(step) = self.done(start, end, identity, terms)? {
            return Ok(step);
        }
        let row = match self.parse(line, terms) {
            Ok(None) => return Ok(Step::Next),
            Ok(Some(event)) => Ok(event),
            Err(malformed) => Err((malformed, Original::whole(line))),
        };
        let end = start + line.trim_ascii_end().len() as u64;
        self.add(end, row, identity, terms)
    }

    /// Takes a line that is longer than may be, by its first bytes.
    ///
    /// # Errors
    /// When the pipeline takes no more rows.
    pub(super) fn cut(
        &mut self,
        start: u64,
        end: u64,
        original: Original<'_>,
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<Step, Error> {
        if let Some(step) = self.done(start, end, identity, terms)? {
            return Ok(step);
        }
        let detail = format!("a line of {} bytes, more than max_line", original.bytes);
        // Above `batch.max_bytes` it would be too long in any case.
        let fault = match original.bytes > terms.max_row_bytes as u64 {
            true => too_long(original.bytes),
            false => malformed(reason::TOO_LARGE, detail),
        };
        self.add(end, Err((fault, original)), identity, terms)
    }

    /// Takes the last line of a file that ends without a line end, if it is a record: else its other half may come.
    ///
    /// # Errors
    /// When the pipeline takes no more rows.
    pub(super) fn unended(
        &mut self,
        start: u64,
        line: &[u8],
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<Step, Error> {
        let (start, line) = without_nul(start, line);
        let end = start + line.trim_ascii_end().len() as u64;
        let is_too_long = line.len() > terms.max_line();
        if end == start || is_too_long || identity.done.contains(start) || !self.parser.format().shows_its_end() {
            return Ok(Step::Next);
        }
        match self.parse(line, terms) {
            Ok(Some(event)) => self.add(end, Ok(event), identity, terms),
            _ => Ok(Step::Next),
        }
    }

    /// Returns what to do if the line is done already.
    fn done(
        &mut self,
        start: u64,
        end: u64,
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<Option<Step>, Error> {
        if !identity.done.contains(start) {
            return Ok(None);
        }
        if terms.flush(identity)? == Flow::Stops {
            return Ok(Some(Step::Stops));
        }
        terms.meter.skipped(1);
        let missing = identity.done.first_missing(start);
        self.cover(missing.min(end));
        Ok(Some(if missing > end && self.may_skip() { Step::Skip(missing) } else { Step::Next }))
    }

    fn add(
        &mut self,
        end: u64,
        row: Result<Event, (Malformed, Original<'_>)>,
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<Step, Error> {
        let first = std::mem::replace(&mut self.covered, end);
        Ok(match terms.gather(identity, first, end, row)? {
            Flow::GoesOn => Step::Next,
            Flow::Stops => Step::Stops,
        })
    }
}

/// Leaves out what a writer that did not start at the beginning again has made of a file that was emptied under it.
fn without_nul(start: u64, line: &[u8]) -> (u64, &[u8]) {
    let nul = line.iter().take_while(|byte| **byte == 0).count();
    (start + nul as u64, &line[nul..])
}
