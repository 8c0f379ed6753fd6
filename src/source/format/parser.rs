//! Reads the lines of one log, one after the other: the way in. Keeps what earlier lines say about later ones.
//!
//! One for each log: header lines belong to the log in which they stand. Pure: no file, no clock.

use super::mapping::{Mapping, Pointers};
use super::object::Object;
use super::{Defaults, Format, MAX_LINE, Malformed, malformed, reason, split, without_line_end};
use super::{cowrie, decnet, eve, ndjson, syslog, zeek, zeek_tsv};
use crate::error::Error;
use crate::event::Event;

/// The reader of one log's lines.
#[derive(Clone, Debug)]
pub struct Parser {
    format: Format,
    pointers: Pointers,
    header: zeek_tsv::Header,
}

impl Parser {
    /// Reads lines of `format`.
    pub fn new(format: Format) -> Self {
        Self { format, pointers: Pointers::default(), header: zeek_tsv::Header::default() }
    }

    /// Reads lines of [`Format::Ndjson`] with columns from where `mapping` says.
    ///
    /// # Errors
    /// As [`Mapping::validate`].
    pub fn with_mapping(mapping: &Mapping) -> Result<Self, Error> {
        Ok(Self { pointers: Pointers::of(mapping)?, ..Self::new(Format::Ndjson) })
    }

    /// Returns which format it reads.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Reads the next line, with or without its line end; `None` for a header line, which says something about later
    /// lines only (see [`Format::is_header`]).
    ///
    /// A line of nothing but tiny members takes some twenty times its length while it is read, so the caller should
    /// bound the length of a line; here the bound is 1 GiB.
    ///
    /// # Errors
    /// [`Malformed`] with one of the words in [`reason`]. The next line can be read all the same.
    ///
    /// ```
    /// use forebay::Timestamp;
    /// use forebay::source::format::{Defaults, Format, Parser};
    /// let line = br#"{"ts":1521911721.255387,"uid":"C1","id.orig_h":"192.0.2.7","id.orig_p":40112,"proto":"tcp"}"#;
    /// let defaults = Defaults { sensor: None, host: "tap-1", log_name: "conn", now: Timestamp::now() };
    /// let event = Parser::new(Format::ZeekJson).parse(line, &defaults)?.expect("a record");
    /// assert_eq!((event.sensor(), event.event_type(), event.src_port()), ("tap-1", "conn", Some(40112)));
    /// # Ok::<(), forebay::source::Malformed>(())
    /// ```
    pub fn parse(&mut self, line: &[u8], defaults: &Defaults<'_>) -> Result<Option<Event>, Malformed> {
        let line = without_line_end(line);
        if line.len() > MAX_LINE {
            return Err(malformed(reason::TOO_LARGE, format!("the line has {} bytes", line.len())));
        }
        let raw = str::from_utf8(line).map_err(|fault| {
            malformed(reason::INVALID_UTF8, format!("byte {} is not UTF-8", fault.valid_up_to() + 1))
        })?;
        if self.format.is_header(line) {
            self.header.read(raw)?;
            return Ok(None);
        }
        self.record(raw, defaults).map(Some)
    }

    fn record(&self, raw: &str, defaults: &Defaults<'_>) -> Result<Event, Malformed> {
        let mut object = Object::default();
        let columns = match self.format {
            Format::ZeekTsv => return self.header.event(raw, defaults),
            Format::Syslog => return syslog::event(raw, defaults),
            Format::Eve => eve::columns(json(raw, &mut object)?, defaults)?,
            Format::ZeekJson => zeek::columns(json(raw, &mut object)?, defaults)?,
            Format::Cowrie => cowrie::columns(json(raw, &mut object)?, defaults)?,
            Format::Decnet => decnet::columns(json(raw, &mut object)?, defaults)?,
            Format::Ndjson => ndjson::columns(json(raw, &mut object)?, &self.pointers, defaults),
        };
        columns.build(raw, object.rest().as_deref())
    }
}

fn json<'a, 'o>(line: &'a str, object: &'o mut Object<'a>) -> Result<&'o mut Object<'a>, Malformed> {
    *object = split(line)?;
    Ok(object)
}
