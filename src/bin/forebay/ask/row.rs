//! Rows as the program shows them: columns by name, and what stands in one. Pure.
//!
//! One trait over the two row kinds, so that every command and every format is written once.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay::repository::{CaptureColumn, EventColumn, FieldPath, Filter, Record, Repository, Stored, Table, Tail};
use forebay::{Capture, Error, Event, Timestamp};

use crate::terminal::{Harmless, is_printable};

/// What stands in one column of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    Nothing,
    Text(&'a str),
    Number(i64),
    Time(Timestamp),
    /// JSON as it is written in the row.
    Json(&'a str),
    Bytes(&'a [u8]),
}

/// A kind of rows with columns to show.
pub trait Shown: Record {
    /// Every column, in the order of the database's table.
    const COLUMNS: &'static [&'static str];
    /// Those of a table for people.
    const CHOSEN: &'static [&'static str];

    fn table(repository: &Repository) -> &dyn Table<Self>;
    fn tail(repository: &Repository, filter: Filter<Self::Column>) -> Result<Tail<Self>, Error>;
    /// Returns what the row has in a column of [`COLUMNS`](Self::COLUMNS), but for `id`.
    fn cell(&self, column: &str) -> Cell<'_>;
    /// Returns how many bytes of memory the row takes.
    fn bytes(&self) -> usize;
}

fn text(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Nothing, Cell::Text)
}

fn number(number: Option<u16>) -> Cell<'static> {
    number.map_or(Cell::Nothing, |number| Cell::Number(number.into()))
}

fn json(json: Option<&str>) -> Cell<'_> {
    json.map_or(Cell::Nothing, Cell::Json)
}

impl Shown for Event {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "ts",
        "sensor",
        "service",
        "event_type",
        "src_ip",
        "src_port",
        "dst_ip",
        "dst_port",
        "proto",
        "session",
        "msg",
        "fields",
        "raw",
        "trace_id",
        "span_id",
    ];
    const CHOSEN: &'static [&'static str] = &["ts", "sensor", "service", "event_type", "src_ip", "msg"];

    fn table(repository: &Repository) -> &dyn Table<Self> {
        repository.events()
    }

    fn tail(repository: &Repository, filter: Filter<EventColumn>) -> Result<Tail<Self>, Error> {
        repository.tail_events(filter, None)
    }

    fn cell(&self, column: &str) -> Cell<'_> {
        match column {
            "ts" => Cell::Time(self.ts()),
            "sensor" => Cell::Text(self.sensor()),
            "service" => Cell::Text(self.service()),
            "event_type" => Cell::Text(self.event_type()),
            "src_ip" => text(self.src_ip()),
            "src_port" => number(self.src_port()),
            "dst_ip" => text(self.dst_ip()),
            "dst_port" => number(self.dst_port()),
            "proto" => text(self.proto()),
            "session" => text(self.session()),
            "msg" => text(self.msg()),
            "fields" => json(self.fields()),
            "raw" => text(self.raw()),
            "trace_id" => text(self.trace_id()),
            "span_id" => text(self.span_id()),
            _ => Cell::Nothing,
        }
    }

    fn bytes(&self) -> usize {
        self.weight()
    }
}

impl Shown for Capture {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "ts",
        "sensor",
        "kind",
        "session",
        "src_ip",
        "src_port",
        "dst_ip",
        "dst_port",
        "proto",
        "link_type",
        "length",
        "data",
        "fields",
    ];
    const CHOSEN: &'static [&'static str] = &["ts", "sensor", "kind", "src_ip", "dst_ip", "proto", "length", "data"];

    fn table(repository: &Repository) -> &dyn Table<Self> {
        repository.captures()
    }

    fn tail(repository: &Repository, filter: Filter<CaptureColumn>) -> Result<Tail<Self>, Error> {
        repository.tail_captures(filter, None)
    }

    fn cell(&self, column: &str) -> Cell<'_> {
        match column {
            "ts" => Cell::Time(self.ts()),
            "sensor" => Cell::Text(self.sensor()),
            "kind" => Cell::Text(self.kind()),
            "session" => text(self.session()),
            "src_ip" => text(self.src_ip()),
            "src_port" => number(self.src_port()),
            "dst_ip" => text(self.dst_ip()),
            "dst_port" => number(self.dst_port()),
            "proto" => text(self.proto()),
            "link_type" => number(self.link_type()),
            "length" => Cell::Number(i64::try_from(self.length()).unwrap_or(i64::MAX)),
            "data" => Cell::Bytes(self.data()),
            "fields" => json(self.fields()),
            _ => Cell::Nothing,
        }
    }

    fn bytes(&self) -> usize {
        self.weight()
    }
}

/// A column that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    Named(&'static str),
    /// A place in `fields`.
    Field(FieldPath),
}

impl Column {
    /// Reads a list like `ts,src_ip,fields.username`. A key with a comma or a dot stands in quotation marks.
    ///
    /// # Errors
    /// A sentence that names what there is.
    pub fn list<R: Shown>(text: &str) -> Result<Vec<Self>, String> {
        let mut columns = Vec::new();
        let mut is_quoted = false;
        for name in text.split(|c: char| {
            is_quoted ^= c == '"';
            c == ',' && !is_quoted
        }) {
            let column = match name.trim().strip_prefix("fields.") {
                Some(path) => Self::Field(path.parse().map_err(|why| format!("{name}: {why}"))?),
                None => Self::Named(R::COLUMNS.iter().find(|known| **known == name.trim()).ok_or_else(|| {
                    let known = R::COLUMNS.join(", ");
                    format!("there is no column `{name}`; there are {known}, fields.KEY")
                })?),
            };
            if columns.contains(&column) {
                return Err(format!("the column `{name}` stands twice"));
            }
            columns.push(column);
        }
        Ok(columns)
    }

    pub fn named(names: &'static [&'static str]) -> Vec<Self> {
        names.iter().copied().map(Self::Named).collect()
    }

    pub fn title(&self) -> String {
        match self {
            Self::Named(name) => (*name).to_owned(),
            Self::Field(path) => format!("fields.{path}"),
        }
    }

    pub fn of<'a, R: Shown>(&self, stored: &'a Stored<R>) -> Cell<'a> {
        match self {
            Self::Named("id") => Cell::Number(stored.id),
            Self::Named(name) => stored.row.cell(name),
            Self::Field(path) => match stored.row.cell("fields") {
                Cell::Json(fields) => json(path.value(fields)),
                _ => Cell::Nothing,
            },
        }
    }
}

impl<'a> Cell<'a> {
    /// Returns the cell as text, exact but for bytes, which are base64. A string of `fields` has lost its quotation marks.
    pub fn text(&self) -> Cow<'a, str> {
        match self {
            Self::Nothing => "".into(),
            Self::Text(text) => (*text).into(),
            Self::Number(number) => number.to_string().into(),
            Self::Time(time) => time.to_string().into(),
            Self::Json(json) => FieldPath::unquoted(json),
            Self::Bytes(bytes) => STANDARD.encode(bytes).into(),
        }
    }

    /// Returns the cell for a table: harmless, at most `most` characters and a mark where it was cut.
    pub fn shown(&self, most: usize) -> String {
        match self {
            Self::Bytes(bytes) => preview(bytes, most),
            Self::Time(time) => moment(*time),
            other => Harmless(&other.text(), most).to_string(),
        }
    }

    /// Appends the cell as JSON. What is no JSON in a row that somebody else has written becomes a string.
    pub fn write_json(&self, to: &mut String) {
        let is_json = |json: &str| serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok();
        match self {
            Self::Nothing => to.push_str("null"),
            Self::Number(number) => to.push_str(&number.to_string()),
            Self::Json(json) if is_json(json) => plain(json, to),
            Self::Text(text) | Self::Json(text) => plain(&serde_json::Value::from(*text).to_string(), to),
            Self::Time(_) | Self::Bytes(_) => {
                to.push('"');
                to.push_str(&self.text());
                to.push('"');
            }
        }
    }
}

/// Appends JSON on one line with every character that a terminal would act on as the escape that means the same.
pub fn plain(json: &str, to: &mut String) {
    for character in json.chars() {
        match character {
            // Between values only: JSON has none of them in a string.
            '\n' | '\r' | '\t' => to.push(' '),
            character if is_printable(character) => to.push(character),
            character => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    to.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}

/// Returns a time to the millisecond, as tables have it.
pub fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    // 2026-11-20T08:15:00.000000001Z; what is beyond the calendar has another form.
    text.get(..23).filter(|_| text.len() == 30).map_or_else(|| text.clone(), |text| format!("{text}Z"))
}

/// Returns captured bytes for people: text as text, anything else as some bytes in hex and what of them is ASCII.
pub fn preview(bytes: &[u8], most: usize) -> String {
    const BYTES: usize = 16;
    let is_text = |text: &&str| text.chars().all(|c| is_printable(c) || matches!(c, '\n' | '\r' | '\t'));
    // As much as is shown, for a start; a character may be cut at its end.
    let begin = &bytes[..bytes.len().min(most.saturating_mul(4).saturating_add(4))];
    let begin = match std::str::from_utf8(begin) {
        Ok(text) => Ok(text),
        Err(error) if error.error_len().is_none() && begin.len() < bytes.len() => {
            std::str::from_utf8(&begin[..error.valid_up_to()])
        }
        Err(error) => Err(error),
    };
    if let Some(text) = begin.ok().filter(is_text) {
        return Harmless(text, most).to_string();
    }
    let first = &bytes[..bytes.len().min(BYTES)];
    let hex: Vec<String> = first.iter().map(|byte| format!("{byte:02x}")).collect();
    let ascii: String =
        first.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' }).collect();
    let more = if bytes.len() > BYTES { "…" } else { "" };
    format!("{}{more} |{ascii}|", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(cell: &Cell<'_>) -> String {
        let mut text = String::new();
        cell.write_json(&mut text);
        text
    }

    #[test]
    fn json_is_one_line_means_the_same_and_drives_no_terminal() {
        let evil = "a\u{1b}[2J\u{9b}31m\0\r\n\u{202e}\u{e0041}\"\\é";
        let shown = json(&Cell::Text(evil));
        assert!(shown.chars().all(is_printable), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), evil);
        assert_eq!(json(&Cell::Json("{\"a\":\n\t[\"\u{9b}\", \"\\ud800\"]}")), "{\"a\":  [\"\\u009b\", \"\\ud800\"]}");
        assert_eq!(json(&Cell::Json("{no json\n")), "\"{no json\\n\"");
        assert_eq!(json(&Cell::Bytes(b"\xff\0")), "\"/wA=\"");
    }

    #[test]
    fn captured_bytes_are_text_if_they_are_and_else_hex() {
        assert_eq!(preview(b"root\r\n", 100), "root\\u{d}\\u{a}");
        assert_eq!(preview("éé".as_bytes(), 1), "é…");
        assert_eq!(preview(b"\x1b[2J", 100), "1b 5b 32 4a |.[2J|");
        assert!(preview(&[0xff; 17], 100).contains("ff… |"));
        assert_eq!(preview(b"", 100), "");
    }

    #[test]
    fn columns_are_read_from_a_list() {
        let list = |text| Column::list::<Event>(text);
        let titles = |text| list(text).map(|list| list.iter().map(Column::title).collect::<Vec<_>>());
        assert_eq!(titles("ts, fields.a.\"b,c\",id").unwrap(), ["ts", "fields.a.\"b,c\"", "id"]);
        assert!(list("data").unwrap_err().contains("there are id, ts"));
        for wrong in ["", "ts,,id", "ts,ts", "fields", "fields.", "fields.\"a"] {
            assert_eq!(list(wrong).is_ok(), wrong == "fields", "{wrong}");
        }
    }
}
