//! Under which name in the ledger a file is read, and what is sent of it already.
//!
//! A file has the name that `identity` gives it: the same for `forebay ingest` and for a followed file. Names have one
//! handle each, for as long as rows of it may be on their way: what is committed is asked once, and what was sent since is
//! remembered here.
//!
//! **Copies.** Rotation copies: `copytruncate` makes `x.log.1` of `x.log` and empties that; compression makes `x.log.1.gz`
//! of `x.log.1` and deletes that. A copy has the same lines at the same places, so it is read *under the name of its
//! original*: what the original has sent is skipped, and what was written to it last, and nobody could read any more, comes
//! from the copy. What makes a file a copy must not be wrong, or its lines would be lost; when in doubt a file is none, and
//! its lines may land a second time:
//!
//! * only a file of which the ledger knows nothing, whose name says that it was rotated;
//! * of an original that this process has followed: both belong to one log (`rotation`), and have the same first bytes (up
//!   to 4096) and the same bytes before the place up to which the original was read. A copy that is still being written is
//!   waited for;
//! * of an original that an earlier process has followed, only what the name in the ledger holds can be compared: the
//!   first bytes that were there when it was first seen. So they must be those of one file only in the whole ledger (a log
//!   that always begins with the same line is told by it from nothing), a line must end where the committed part ends, and
//!   no file that is there now may be the original.
//!
//! Turned down: a hash of everything that was read, kept in the database: it would be a second ledger, written at each
//! commit, for the sake of files that were rotated while nobody was running.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::super::gathering::Gathering;
use super::super::identity::{self, Former, HEAD};
use super::content::{self, Storage};
use super::rotation;
use super::terms::Terms;
use crate::error::Error;
use crate::event::Event;
use crate::pipeline::Pipeline;
use crate::ranges::Ranges;
use crate::receipt::Receipt;

/// Bytes before the place of reading that are remembered: with these a file that was emptied and refilled is noticed.
pub(super) const BEFORE: usize = 64;
/// How long after its last file has gone a name is remembered: a copy may come.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A name in the ledger, and what is done under it.
pub(super) struct Identity {
    pub(super) chunk: Gathering<Event>,
    /// What was committed when the handle was made, and what was sent since.
    pub(super) done: Ranges,
    pub(super) trace: Trace,
    /// Since when no file has it.
    unused: Option<Instant>,
}

/// What a copy must have in common with its original.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    directory: PathBuf,
    log: String,
    /// The first bytes, at most [`HEAD`].
    head: Vec<u8>,
    /// The bytes before `at`.
    before: Vec<u8>,
    at: u64,
}

impl Trace {
    pub(super) fn new(path: &Path, head: Vec<u8>) -> Self {
        let (directory, log) = place(path);
        Self { directory, log, head, before: Vec::new(), at: 0 }
    }

    /// Returns whether a plain file still begins with these bytes: with as many of them as are before `end`. A copy may have
    /// fewer than its original.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn begins(&self, file: &File, end: u64) -> io::Result<bool> {
        let bytes = content::bytes_at(file, Storage::Plain, 0, self.head.len())?;
        Ok(self.head.starts_with(&bytes) && bytes.len() as u64 >= end.min(self.head.len() as u64))
    }

    /// Takes note of bytes that were read from `at` on.
    pub(super) fn read(&mut self, at: u64, bytes: &[u8]) {
        let known = self.head.len();
        if known < HEAD as usize && at <= known as u64 && at + bytes.len() as u64 > known as u64 {
            let new = &bytes[known - at as usize..];
            self.head.extend_from_slice(&new[..new.len().min(HEAD as usize - known)]);
        }
    }

    /// Takes note of the bytes before the place of reading.
    pub(super) fn reached(&mut self, at: u64, before: &[u8]) {
        if at > self.at {
            self.at = at;
            self.before.clear();
            self.before.extend_from_slice(before);
        }
    }
}

fn place(path: &Path) -> (PathBuf, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (path.parent().unwrap_or(Path::new("")).to_owned(), rotation::log_of(&name))
}

/// A file that has no name yet.
pub(super) struct Nameless<'a> {
    pub(super) file: &'a File,
    pub(super) prefix: &'a str,
    pub(super) path: &'a Path,
    pub(super) storage: Storage,
    /// What it was before the first bytes were read.
    pub(super) length: u64,
    /// Its first bytes, at most [`HEAD`].
    pub(super) head: &'a [u8],
    /// Whether it was seen to be emptied.
    pub(super) is_emptied: bool,
    /// Whether nothing has been added to it for some time.
    pub(super) is_quiet: bool,
}

/// The answer to: what is its name?
pub(super) enum Name {
    Is(String),
    /// It may be a copy that is being written.
    Later,
    /// The source was told to stop meanwhile.
    Stopped,
}

/// Whether a file is a copy.
enum Copy {
    Of(String),
    No,
    Later,
}

/// All names that are in use, or were a short time ago.
#[derive(Default)]
pub(super) struct Identities {
    by_name: BTreeMap<String, Identity>,
    /// Names that nobody uses, and the receipt for all that was sent under them.
    leaving: Option<(Vec<String>, Receipt)>,
}

impl Identities {
    pub(super) fn get(&mut self, name: &str) -> Option<&mut Identity> {
        self.by_name.get_mut(name)
    }

    /// Makes the handle of a name, unless it is there; returns false when the source was told to stop.
    ///
    /// # Errors
    /// When the ledger cannot be read, and waiting will not mend that.
    pub(super) fn open(&mut self, name: &str, trace: Trace, terms: &Terms<'_>) -> Result<bool, Error> {
        if let Some(known) = self.by_name.get_mut(name) {
            known.unused = None;
            return Ok(true);
        }
        let Some(replay) = terms.ask(|| terms.pipeline.replay(name))? else { return Ok(false) };
        let done = replay.committed().clone();
        self.by_name.insert(name.to_owned(), Identity { chunk: Gathering::new(replay), done, trace, unused: None });
        Ok(true)
    }

    /// Finds the name of a file; `there` has the lengths of all files that are there, by the beginnings of their names.
    ///
    /// # Errors
    /// The outer one when the ledger cannot be read, and waiting will not mend that; the inner one when the file cannot.
    pub(super) fn name(
        &self,
        file: &Nameless<'_>,
        there: &BTreeMap<String, u64>,
        terms: &Terms<'_>,
    ) -> Result<io::Result<Name>, Error> {
        let Some(mut known) = terms.ask(|| terms.pipeline.committed(file.prefix))? else {
            return Ok(Ok(Name::Stopped));
        };
        for (name, identity) in self.by_name.iter().filter(|(name, _)| name.starts_with(file.prefix)) {
            let ranges = known.entry(name.clone()).or_default();
            identity.done.iter().for_each(|range| ranges.insert(*range.start(), *range.end()));
        }
        let file_name = file.path.file_name().unwrap_or_default().to_string_lossy();
        if known.is_empty() && rotation::is_rotated(&file_name) {
            let copy = match self.copy_of_followed(file) {
                Ok(Copy::No) => {
                    let Some(all) = terms.ask(|| terms.pipeline.committed("file/"))? else {
                        return Ok(Ok(Name::Stopped));
                    };
                    self.copy_of_former(file, &all, there)
                }
                copy => copy,
            };
            match copy {
                Ok(Copy::Of(name)) => return Ok(Ok(Name::Is(name))),
                Ok(Copy::Later) if !file.is_quiet => return Ok(Ok(Name::Later)),
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        let former = if file.is_emptied { Former::IsOver } else { Former::MayGoOn };
        // Of the very bytes that were read: the file may be emptied at any moment.
        let name = |head: &[u8]| identity::name_of(head, file.length, file.prefix, &known, former);
        Ok(match file.storage {
            Storage::Plain => Ok(Name::Is(name(file.head))),
            Storage::Gzip => content::head(file.file, Storage::Plain).map(|head| Name::Is(name(&head))),
        })
    }

    fn copy_of_followed(&self, file: &Nameless<'_>) -> io::Result<Copy> {
        let (directory, log) = place(file.path);
        let of_log = |identity: &Identity| identity.trace.directory == directory && identity.trace.log == log;
        let mut originals: Vec<_> = self.by_name.iter().filter(|(_, identity)| of_log(identity)).collect();
        // Those with which it has most in common first.
        originals.sort_by_key(|(_, original)| std::cmp::Reverse((original.trace.head.len(), original.trace.at)));
        let mut may_come = false;
        for (name, Identity { trace, .. }) in originals {
            if trace.head.starts_with(file.head) && file.head.len() < trace.head.len() {
                may_come = true;
            }
            if trace.head.is_empty() || !file.head.starts_with(&trace.head) {
                continue;
            }
            let from = trace.at - trace.before.len() as u64;
            match content::bytes_at(file.file, file.storage, from, trace.before.len()) {
                Ok(bytes) if bytes == trace.before => return Ok(Copy::Of(name.clone())),
                Ok(bytes) if bytes.len() < trace.before.len() => may_come = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => may_come = true,
                Err(error) => return Err(error),
            }
        }
        Ok(if may_come { Copy::Later } else { Copy::No })
    }

    fn copy_of_former(
        &self,
        file: &Nameless<'_>,
        all: &BTreeMap<String, Ranges>,
        there: &BTreeMap<String, u64>,
    ) -> io::Result<Copy> {
        let mut alike = all.iter().filter(|(name, _)| identity::begins_alike(name, file.head));
        let (Some((name, committed)), None) = (alike.next(), alike.next()) else { return Ok(Copy::No) };
        let Some(last) = committed.last() else { return Ok(Copy::No) };
        if self.by_name.contains_key(name) {
            return Ok(Copy::No);
        }
        let prefix = identity::prefix_in(name);
        // The file may have been emptied since: then it is shorter, or has another name, once it has one.
        let is_renamed = self.by_name.keys().any(|other| identity::prefix_in(other) == prefix);
        if !is_renamed && there.get(prefix).is_some_and(|length| *length > last) {
            return Ok(Copy::Later);
        }
        let end = match content::bytes_at(file.file, file.storage, last, 2) {
            Ok(end) => end,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Copy::Later),
            Err(error) => return Err(error),
        };
        Ok(match *end.as_slice() {
            [] => Copy::Later,
            // A line that was cut is covered up to its line end.
            [b'\n', _] => Copy::Of(name.clone()),
            [last] if !last.is_ascii_whitespace() || last == b'\n' => Copy::Of(name.clone()),
            [last, next] if !last.is_ascii_whitespace() && next.is_ascii_whitespace() => Copy::Of(name.clone()),
            _ => Copy::No,
        })
    }

    /// Forgets the names that no file has had for some time, once all that was sent under them is settled: until then the
    /// ledger does not know it.
    pub(super) fn forget(&mut self, in_use: &BTreeSet<&str>, pipeline: &Pipeline) {
        let now = Instant::now();
        for (name, identity) in &mut self.by_name {
            identity.unused = if in_use.contains(name.as_str()) { None } else { identity.unused.or(Some(now)) };
        }
        let is_old = |identity: &Identity| identity.unused.is_some_and(|since| now - since >= REMEMBERED);
        match &mut self.leaving {
            Some((names, receipt)) => {
                let settled = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *receipt).poll(context)));
                // A lane that has failed settles nothing more; the source ends with it.
                if pollster::block_on(settled).is_ready() {
                    for name in std::mem::take(names) {
                        if self.by_name.get(&name).is_some_and(is_old) {
                            self.by_name.remove(&name);
                        }
                    }
                    self.leaving = None;
                }
            }
            None => {
                let old: Vec<_> = self.by_name.iter().filter(|(_, identity)| is_old(identity)).collect();
                if !old.is_empty() {
                    let names = old.into_iter().map(|(name, _)| name.clone()).collect();
                    self.leaving = Some((names, pipeline.flush()));
                }
            }
        }
    }
}
