//! Reads the lines of a plain file on from where it was left.
//!
//! Each read begins a few bytes before the place that was reached, and these must be the bytes that were there: a file that
//! was emptied and has outgrown its former self in the meantime is noticed by them. A file may also be emptied and filled
//! anew while it is read: the kernel copies page by page, and who reads may be held up between two calls. So after each read,
//! and before a byte of it is used, the file must still have its first bytes, and those before the place. A line that has no
//! end yet is read again when there is more of it, so files hold no memory while they wait; of one that is longer than may
//! be only its end is looked for.

use std::fs::File;
use std::io;

use super::super::gathering::Original;
use super::super::identity;
use super::content::{self, Storage};
use super::followed::Turn;
use super::identities::{BEFORE, Identity, Trace};
use super::lines::{Lines, Step};
use super::terms::{Flow, Terms};
use crate::error::Error;

/// Buffers that are read in one turn; then it is the others' turn.
const TURN: usize = 4;
/// Bytes that are kept of a line that is too long.
const KEPT: usize = 64 << 10;
/// Least room in the buffer beside one line.
const ROOM: usize = 256 << 10;

/// A place in a file.
#[derive(Default)]
pub(super) struct Plain {
    /// Where reading goes on.
    at: u64,
    /// Where the line begins in which that is; `at`, unless the line is too long already.
    line: u64,
    /// Whether the line at `at` was begun, and is done.
    is_amid: bool,
    /// The bytes before `at`.
    before: Vec<u8>,
}

impl Plain {
    /// Makes the buffer that all files share: it has room for every line that is not too long.
    pub(super) fn buffer(max_line: usize) -> Vec<u8> {
        vec![0; BEFORE + max_line + ROOM]
    }

    /// Up to here it has read everything.
    pub(super) fn reached(&self) -> u64 {
        self.line
    }

    /// Returns where the last line before `end` begins, if it has no end yet; else `end`, also when that is far away.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn line_before(file: &File, end: u64) -> io::Result<u64> {
        let from = end.saturating_sub(KEPT as u64);
        let bytes = content::bytes_at(file, Storage::Plain, from, (end - from) as usize)?;
        let last = bytes.iter().rposition(|byte| *byte == b'\n');
        Ok(last.map_or(if from == 0 { 0 } else { end }, |at| from + at as u64 + 1))
    }

    /// Reads on.
    ///
    /// # Errors
    /// The outer one when the pipeline takes no more rows; the inner one when the file cannot be read.
    pub(super) fn read(
        &mut self,
        file: &File,
        buffer: &mut [u8],
        lines: &mut Lines,
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<io::Result<Turn>, Error> {
        for _ in 0..TURN {
            if terms.stop.is_stopped() {
                return Ok(Ok(Turn::Stops));
            }
            // At the beginning, and when a part was found to be done: it need not be read.
            let missing = identity.done.first_missing(self.line);
            let is_far = missing > self.at + buffer.len() as u64 || self.at == 0 && missing > 0;
            if is_far && lines.may_skip() {
                if terms.flush(identity)? == Flow::Stops {
                    return Ok(Ok(Turn::Stops));
                }
                match self.skip_to(file, missing) {
                    Ok(true) => lines.cover(missing),
                    Ok(false) => return Ok(Ok(Turn::Done)),
                    Err(error) => return Ok(Err(error)),
                }
            }
            let overlap = self.before.len();
            let read = match identity::read_fully_at(file, buffer, self.at - overlap as u64) {
                Ok(read) => read,
                Err(error) => return Ok(Err(error)),
            };
            if buffer[..read.min(overlap)] != self.before {
                return Ok(Ok(Turn::Emptied));
            }
            let from = self.at;
            match self.is_still_there(file, from + (read - overlap) as u64, &identity.trace) {
                Ok(true) => {}
                Ok(false) => return Ok(Ok(Turn::Emptied)),
                Err(error) => return Ok(Err(error)),
            }
            identity.trace.reached(from, &self.before);
            identity.trace.read(from, &buffer[overlap..read]);
            let step = self.take(file, &buffer[overlap..read], lines, identity, terms)?;
            let used = overlap + (self.at - from) as usize;
            if used > overlap {
                self.before.clear();
                self.before.extend_from_slice(&buffer[used.saturating_sub(BEFORE)..used]);
                identity.trace.reached(self.at, &self.before);
            }
            match step {
                Err(error) => return Ok(Err(error)),
                Ok(Step::Stops) => return Ok(Ok(Turn::Stops)),
                Ok(Step::Skip(to)) => match self.skip_to(file, to) {
                    Ok(true) => lines.cover(to),
                    Ok(false) => return Ok(Ok(Turn::Done)),
                    Err(error) => return Ok(Err(error)),
                },
                Ok(Step::Next) if read < buffer.len() => return Ok(Ok(Turn::Done)),
                Ok(Step::Next) => {}
            }
        }
        Ok(Ok(Turn::More))
    }

    /// Returns whether the file, of which everything up to `end` was read just now, has not been emptied meanwhile: what it
    /// was filled with since would stand at these places by now, too.
    ///
    /// # Errors
    /// When it cannot be read.
    fn is_still_there(&self, file: &File, end: u64, trace: &Trace) -> io::Result<bool> {
        let length = self.before.len();
        let before = content::bytes_at(file, Storage::Plain, self.at - length as u64, length)?;
        Ok(before == self.before && trace.begins(file, end)?)
    }

    /// Takes all lines that end in `bytes`, which stand at `at`, and moves on.
    fn take(
        &mut self,
        file: &File,
        bytes: &[u8],
        lines: &mut Lines,
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<io::Result<Step>, Error> {
        let base = self.at;
        let end_of = |from: usize| bytes[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at);
        let mut from = 0;
        if self.is_amid || self.line < self.at {
            let Some(end) = end_of(0) else {
                self.at += bytes.len() as u64;
                if self.is_amid {
                    self.line = self.at;
                }
                return Ok(Ok(Step::Next));
            };
            from = end + 1;
            let (start, end) = (self.line, base + from as u64);
            (self.at, self.line) = (end, end);
            if !std::mem::take(&mut self.is_amid) {
                let first = match content::bytes_at(file, Storage::Plain, start, KEPT) {
                    Ok(first) => first,
                    Err(error) => return Ok(Err(error)),
                };
                let original = Original { start: &first, bytes: end - 1 - start };
                match lines.cut(start, end, original, identity, terms)? {
                    Step::Next => {}
                    step => return Ok(Ok(step)),
                }
            }
        }
        while let Some(end) = end_of(from) {
            let (start, line) = (base + from as u64, &bytes[from..end]);
            from = end + 1;
            self.at = base + from as u64;
            self.line = self.at;
            match lines.whole(start, self.at, line.strip_suffix(b"\r").unwrap_or(line), identity, terms)? {
                Step::Next => {}
                Step::Skip(to) if to <= base + bytes.len() as u64 => {}
                step => return Ok(Ok(step)),
            }
        }
        let rest = &bytes[from..];
        if rest.len() > terms.max_line() {
            self.at = base + bytes.len() as u64;
            if rest.iter().all(|byte| *byte == 0) {
                self.line = self.at;
            }
        }
        Ok(Ok(Step::Next))
    }

    /// Goes on at `to`, up to where everything is done: the rest of the line there is, too. Returns false, and stays, when
    /// the file ends before that: a copy may be shorter than its original.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn skip_to(&mut self, file: &File, to: u64) -> io::Result<bool> {
        let from = to.saturating_sub(BEFORE as u64);
        let before = content::bytes_at(file, Storage::Plain, from, (to - from) as usize)?;
        if (before.len() as u64) < to - from {
            return Ok(false);
        }
        self.is_amid = before.last().is_some_and(|byte| *byte != b'\n');
        self.before = before;
        (self.at, self.line) = (to, to);
        Ok(true)
    }

    /// Returns the last line, if it has no end and is not too long, and where it begins.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn last_line<'a>(
        &self,
        file: &File,
        buffer: &'a mut [u8],
        terms: &Terms<'_>,
    ) -> io::Result<Option<(u64, &'a [u8])>> {
        let read = identity::read_fully_at(file, buffer, self.at)?;
        let is_line =
            !self.is_amid && self.line == self.at && read <= terms.max_line() && !buffer[..read].contains(&b'\n');
        Ok(is_line.then_some((self.at, &buffer[..read])))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// As the kernel may give them: the beginning of the former file, and what has been added to its successor since.
    #[test]
    fn what_was_read_of_two_files_is_of_none_and_a_copy_may_end_before_its_original() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let (former, at) = (vec![b'a'; 200], 100);
        fs::write(&path, &former).unwrap();
        let file = File::open(&path).unwrap();
        let plain = Plain { at, line: at, is_amid: false, before: former[100 - BEFORE..100].to_vec() };
        let trace = Trace::new(Path::new("x.log"), former.clone());
        let is_there = |end| plain.is_still_there(&file, end, &trace).unwrap();
        assert!(is_there(200));

        fs::write(&path, [&[b'b'; 120][..], &[b'a'; 80]].concat()).unwrap();
        assert!(!is_there(200), "filled anew");
        fs::write(&path, [&[b'b'; 20][..], &[b'a'; 180]].concat()).unwrap();
        assert!(!is_there(200), "it has the same bytes before the place, and others at its beginning");
        fs::write(&path, &former[..150]).unwrap();
        assert!(!is_there(200), "a part of what was read is not there");
        assert!(is_there(150), "a copy of which this is all");
        fs::write(&path, "").unwrap();
        assert!(!is_there(150));
    }
}
