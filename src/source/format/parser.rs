//! Reads the lines of one log, one after the other, and keeps what earlier lines say about later ones.

use super::{Defaults, Format, Malformed};
use crate::event::Event;

/// The reader of one log's lines.
#[derive(Clone, Debug)]
pub struct Parser {
    format: Format,
}

impl Parser {
    /// Reads lines of `format`.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Returns which format it reads.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Reads the next line, with or without its line end; `None` for one that says something about others only.
    ///
    /// # Errors
    /// As [`Format::parse`].
    pub fn parse(&mut self, line: &[u8], defaults: &Defaults<'_>) -> Result<Option<Event>, Malformed> {
        self.format.parse(line, defaults).map(Some)
    }
}
