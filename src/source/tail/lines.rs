//! How the lines of one followed file become rows, and which of them are done already.
//!
//! `plain.rs` and `packed.rs` find the lines; each comes here once, in order.

use std::path::Path;

use super::super::Malformed;
use super::super::format::{Defaults, Parser, reason};
use super::super::gathering::{Original, event_of, malformed, too_long};
use super::identities::Identity;
use super::terms::{Flow, Terms};
use crate::error::Error;
use crate::event::Event;
use crate::timestamp::Timestamp;

/// The lines of one file, on their way.
pub(super) struct Lines {
    parser: Parser,
    log_name: String,
    /// Up to here everything is a row or belongs to one. A row reaches from the end of the row before it to its own last
    /// character, as in `source::file`: so the ledger knows a file that was brought in either way.
    pub(super) covered: u64,
    /// What is before this was passed over, and counts with the first row.
    pub(super) passed_over: u64,
}

/// A step within a turn.
pub(super) enum Step {
    Next,
    /// What follows is done up to here.
    Skip(u64),
    Stops,
}

impl Lines {
    pub(super) fn new(parser: Parser, path: &Path) -> Self {
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
