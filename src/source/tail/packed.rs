//! Reads the lines of a gzipped file, from its beginning: a place in it cannot be found otherwise.

use std::fs::File;
use std::io::{self, BufReader};

use super::super::gathering::Original;
use super::super::lines::LineReader;
use super::content::{self, Gunzip, Storage};
use super::finding::Sight;
use super::followed::Turn;
use super::identities::Identity;
use super::lines::{Lines, Step};
use super::terms::Terms;
use crate::error::Error;

/// Bytes of lines that are read in one turn; then it is the others' turn.
const TURN: u64 = 4 << 20;
/// Compressed bytes that are compared: beyond the header, which holds hardly more than a time.
const HEAD: usize = 64;

#[derive(Default)]
pub(super) struct Packed {
    /// Where reading stands, and what the file was when it began.
    pass: Option<(LineReader<BufReader<Gunzip>>, Sight)>,
    /// As what it was read to its end, or to where its bytes end in the middle.
    read: Option<Sight>,
    /// Its first compressed bytes: with these a file that was written anew is noticed.
    head: Vec<u8>,
}

impl Packed {
    /// Of a file that is left out as it is.
    pub(super) fn passed_over(sight: Sight) -> Self {
        Self { read: Some(sight), ..Self::default() }
    }

    pub(super) fn is_read(&self, sight: Sight) -> bool {
        self.read == Some(sight)
    }

    /// Gives up where it stands; the next turn begins at the beginning, and skips what is done.
    pub(super) fn close(&mut self) {
        self.pass = None;
    }

    /// Reads on.
    ///
    /// # Errors
    /// The outer one when the pipeline takes no more rows; the inner one when the file cannot be read, or ends in the
    /// middle: then there will be another pass when it has changed.
    pub(super) fn read(
        &mut self,
        file: &File,
        lines: &mut Lines,
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<io::Result<Turn>, Error> {
        match self.try_read(file, lines, identity, terms)? {
            Err(error) => {
                self.read = self.pass.take().map(|(_, sight)| sight);
                Ok(Err(match error.kind() {
                    io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the gzip data ends in the middle"),
                    _ => error,
                }))
            }
            turn => Ok(turn),
        }
    }

    fn try_read(
        &mut self,
        file: &File,
        lines: &mut Lines,
        identity: &mut Identity,
        terms: &Terms<'_>,
    ) -> Result<io::Result<Turn>, Error> {
        if self.pass.is_none() {
            let sight = match file.metadata() {
                Ok(metadata) => Sight::of(&metadata),
                Err(error) => return Ok(Err(error)),
            };
            if self.is_read(sight) {
                return Ok(Ok(Turn::Done));
            }
            let begun = content::bytes_at(file, Storage::Plain, 0, HEAD).and_then(|head| {
                let stream = content::gunzip(file)?;
                Ok((head, stream))
            });
            let (head, stream) = match begun {
                Ok(begun) => begun,
                Err(error) => return Ok(Err(error)),
            };
            if !head.starts_with(&self.head) {
                return Ok(Ok(Turn::Emptied));
            }
            self.head = head;
            lines.covered = 0;
            // The line end counts here.
            self.pass = Some((LineReader::new(BufReader::new(stream), terms.max_line() + 2), sight));
        }
        let Some((reader, sight)) = &mut self.pass else { return Ok(Ok(Turn::Done)) };
        let mut read = 0;
        while read < TURN {
            if terms.stop.is_stopped() {
                return Ok(Ok(Turn::Stops));
            }
            let line = match reader.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.read = Some(*sight);
                    self.pass = None;
                    return Ok(Ok(Turn::Done));
                }
                Err(error) => return Ok(Err(error)),
            };
            read += line.end - line.start;
            let step = if line.is_cut {
                let bytes = line.end - line.start - u64::from(line.is_ended);
                lines.cut(line.start, line.end, Original { start: line.bytes, bytes }, identity, terms)?
            } else if line.is_ended {
                lines.whole(line.start, line.end, line.bytes, identity, terms)?
            } else {
                lines.unended(line.start, line.bytes, identity, terms)?
            };
            if matches!(step, Step::Stops) {
                return Ok(Ok(Turn::Stops));
            }
        }
        Ok(Ok(Turn::More))
    }
}
