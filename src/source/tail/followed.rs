//! One file that is followed: opened when there is news, given a name, read on from where it was left.
//!
//! `plain.rs` and `packed.rs` read the lines; here is what both have in common, and what happens around them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::format::Format;
use super::super::identity::{self, HEAD};
use super::super::pcap;
use super::content::{self, Storage};
use super::finding::{self, Sight};
use super::identities::{Identities, Name, Nameless, Trace};
use super::lines::{Lines, Step};
use super::packed::Packed;
use super::plain::Plain;
use super::terms::{Flow, Terms};
use crate::error::Error;

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
        self.trouble = Some(finding::trouble(&self.path, error));
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
        let trace = Trace::new(&self.path, head);
        // It may have been emptied and filled anew while its first bytes were read: then they were never together. What
        // is seen between two looks at them is of the same file.
        let seen = file.metadata().and_then(|metadata| {
            let is_same = storage == Storage::Gzip || trace.begins(file, u64::MAX)?;
            Ok(is_same.then_some(Sight::of(&metadata)))
        });
        match seen {
            // What was seen before may have been longer: then the next look would take it for emptied once more.
            Ok(Some(sight)) => self.seen(sight),
            Ok(None) => {
                self.is_emptied = true;
                return Ok(Ok(Flow::GoesOn));
            }
            Err(error) => return Ok(Err(error)),
        }
        if !identities.open(&name, trace, terms)? {
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
