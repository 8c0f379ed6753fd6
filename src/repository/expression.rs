//! Filters as people write them: `sensor:web-1 src_ip:10.0.0.0/8 -fields.username:root "free text"`. Pure, and fuzzed.
//!
//! ```text
//! expression = { term }                        all of them must hold
//! term       = [ "-" ] ( name ":" value | text )
//! name       = a column | "ip" | "port" | "id" | "time" | "since" | "until" | "fields." key { "." key }
//! value      = "*" (there is something) | word | quoted
//! text       = word | quoted                   stands somewhere in the row's prose
//! key        = word | quoted, without escapes
//! quoted     = '"' { character | \" | \\ | \n | \r | \t | \u{hex} } '"'
//! ```
//!
//! A word ends at white space. An address may be a block (`10.0.0.0/8`), a number a range (`port:1..1023`), a time a day or
//! ISO 8601. There is no OR and there are no brackets: the dashboards that we know have none, and what a host needs beyond
//! this it asks for in code. What is not understood is an error that says where and what could stand there; nothing is
//! guessed, since a filter that quietly means something else hides rows. [`Filter`]'s `Display` writes what is read here.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::columns::{Column, ColumnKind};
use super::field::FieldPath;
use super::filter::{Condition, Filter, Test, range};
use crate::timestamp::Timestamp;

/// Most terms of an expression.
pub const MOST_TERMS: usize = 64;
/// Most bytes of an expression.
pub const MOST_BYTES: usize = 64 << 10;
/// Names that deployments know from before.
const ALIASES: [(&str, &str); 3] = [("decky", "sensor"), ("attacker", "src_ip"), ("attacker_ip", "src_ip")];
const NAMES: [&str; 7] = ["ip", "port", "id", "time", "since", "until", "fields.KEY"];

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// The byte of the text at which it cannot be understood.
    pub offset: usize,
    what: String,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for ExpressionError {}

impl<C: Column> FromStr for Filter<C> {
    type Err = ExpressionError;

    /// Reads an expression; an empty one asks for every row.
    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let mut reader = Reader { text, at: 0 };
        if text.len() > MOST_BYTES {
            return Err(reader.wrong(MOST_BYTES, format!("an expression has at most {MOST_BYTES} bytes")));
        }
        let mut filter = Self::new();
        for terms in 0.. {
            reader.skip_white();
            if reader.rest().is_empty() {
                break;
            }
            if terms == MOST_TERMS {
                return Err(reader.wrong(reader.at, format!("an expression has at most {MOST_TERMS} terms")));
            }
            let is_negated = reader.take('-');
            let test = reader.term()?;
            filter = if is_negated { filter.and_not(test) } else { filter.and(test) };
        }
        Ok(filter)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// A value, and whether it stood in quotation marks.
struct Value<'a> {
    text: std::borrow::Cow<'a, str>,
    is_quoted: bool,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, offset: usize, what: impl Into<String>) -> ExpressionError {
        ExpressionError { offset, what: what.into() }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_white(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_there = self.rest().starts_with(wanted);
        if is_there {
            self.at += wanted.len_utf8();
        }
        is_there
    }

    /// Takes what comes before white space and before each of `ends`.
    fn word(&mut self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c: char| c.is_whitespace() || ends.contains(&c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn term<C: Column>(&mut self) -> Result<Test<C>, ExpressionError> {
        let from = self.at;
        if self.rest().starts_with("fields.") {
            return self.field();
        }
        if self.rest().starts_with('"') {
            return Ok(Test::Contains(self.value()?.text.into_owned()));
        }
        let word = self.word(&[':', '"']);
        if self.take(':') {
            return self.named(from, word);
        }
        if self.rest().starts_with('"') {
            let advice = "a quotation mark stands at the beginning of a text, or behind `name:`";
            return Err(self.wrong(self.at, advice));
        }
        match word {
            "" => Err(self.wrong(from, "behind `-` stands what is not to be")),
            "AND" | "OR" | "NOT" => {
                let why = format!(
                    "`{word}` is no operator here: all terms must hold, and `-` negates one; for the word write \"{word}\""
                );
                Err(self.wrong(from, why))
            }
            word => Ok(Test::Contains(word.to_owned())),
        }
    }

    fn field<C: Column>(&mut self) -> Result<Test<C>, ExpressionError> {
        self.at += "fields.".len();
        let from = self.at;
        let mut is_quoted = false;
        let end = self.rest().find(|c: char| {
            is_quoted ^= c == '"';
            !is_quoted && (c == ':' || c.is_whitespace())
        });
        let length = end.unwrap_or(self.rest().len());
        let path = &self.rest()[..length];
        self.at += length;
        let path: FieldPath = path.parse().map_err(|why| self.wrong(from, why))?;
        if !self.take(':') {
            return Err(self.wrong(self.at, format!("`fields.{path}` needs a value: `fields.{path}:TEXT`")));
        }
        Ok(Test::Field(path, self.value()?.text.into_owned()))
    }

    fn value(&mut self) -> Result<Value<'a>, ExpressionError> {
        let at = self.at;
        if !self.take('"') {
            let text = self.word(&['"']);
            if self.rest().starts_with('"') {
                return Err(
                    self.wrong(self.at, "a quotation mark stands at the beginning of a value; within one write \\\"")
                );
            }
            if text.is_empty() {
                return Err(self.wrong(at, "a value is missing; for an empty text write \"\""));
            }
            return Ok(Value { text: text.into(), is_quoted: false, at });
        }
        let mut text = String::new();
        loop {
            let part = self.rest();
            let Some(end) = part.find(['"', '\\']) else {
                return Err(self.wrong(at, "this quotation mark is not closed"));
            };
            text.push_str(&part[..end]);
            self.at += end;
            if self.take('"') {
                break;
            }
            text.push(self.escape()?);
        }
        if self.rest().chars().next().is_some_and(|c| !c.is_whitespace()) {
            return Err(self.wrong(self.at, "behind a closing quotation mark stands white space"));
        }
        Ok(Value { text: text.into(), is_quoted: true, at })
    }

    fn escape(&mut self) -> Result<char, ExpressionError> {
        let rest = &self.rest()[1..];
        let known = [('"', '"'), ('\\', '\\'), ('n', '\n'), ('r', '\r'), ('t', '\t')];
        if let Some((letter, read)) = known.iter().find(|(letter, _)| rest.starts_with(*letter)) {
            self.at += 1 + letter.len_utf8();
            return Ok(*read);
        }
        let hex = rest.strip_prefix("u{").and_then(|rest| rest.split_once('}')).map(|(hex, _)| hex);
        let is_hex = |hex: &&str| (1..=6).contains(&hex.len()) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let read = hex.filter(is_hex).and_then(|hex| Some((hex, char::from_u32(u32::from_str_radix(hex, 16).ok()?)?)));
        let Some((hex, read)) = read else {
            return Err(self.wrong(self.at, r#"behind a backslash stands `"`, `\`, `n`, `r`, `t` or `u{HEX}`"#));
        };
        self.at += "\\u{}".len() + hex.len();
        Ok(read)
    }

    /// Reads the value of a term whose name began at `from`.
    fn named<C: Column>(&mut self, from: usize, name: &str) -> Result<Test<C>, ExpressionError> {
        let known = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
        let column = C::ALL.iter().copied().find(|column| column.name() == known);
        if column.is_none() && !NAMES.contains(&name) {
            let columns: Vec<&str> = C::ALL.iter().map(|column| column.name()).collect();
            let names = format!("{}, {}", columns.join(", "), NAMES.join(", "));
            let why = format!("no column has this name; there are {names}; a text with a colon needs quotation marks");
            return Err(self.wrong(from, why));
        }
        let value = self.value()?;
        let wrong = |what: &str| self.wrong(value.at, what);
        let text = value.text.as_ref();
        if let Some(column) = column {
            if text == "*" && !value.is_quoted {
                return Ok(Test::Present(column));
            }
            let test = Test::of(column, text.to_owned());
            return match (column.kind(), &test) {
                (ColumnKind::Address, Test::Is(_, text)) if text.parse::<std::net::IpAddr>().is_err() => {
                    Err(wrong(ADDRESS))
                }
                (ColumnKind::Number, Test::Is(..)) => {
                    Err(wrong("this is no number; write one, or a range like `1..1023`"))
                }
                _ => Ok(test),
            };
        }
        match name {
            "ip" => block(text).map(Test::Peer).ok_or_else(|| wrong(ADDRESS)),
            "port" => {
                let port = |number| u16::try_from(number).ok();
                let ports = range(text).and_then(|(first, last)| Some(Test::Port(port(first)?, port(last)?)));
                ports.ok_or_else(|| wrong("this is no port; write one from 0 to 65535, or a range like `1..1023`"))
            }
            "id" => {
                let number = |text: &str| text.parse::<i64>().ok();
                let ids = sides(text, number);
                ids.map(|(first, last)| Test::Ids(first, last))
                    .ok_or_else(|| wrong("this is no id; write one, or a range: `5..9`, `5..`"))
            }
            "time" => {
                let times = sides(text, |text| moment(text).map(Timestamp::as_nanos));
                times.map(|(first, last)| Test::Times(first, last)).ok_or_else(|| wrong(TIME))
            }
            _ => {
                let nanos = moment(text).ok_or_else(|| wrong(TIME))?.as_nanos();
                Ok(match (name, nanos.checked_sub(1)) {
                    ("since", _) => Test::Times(nanos, i64::MAX),
                    (_, Some(last)) => Test::Times(i64::MIN, last),
                    (_, None) => Test::Times(i64::MAX, i64::MIN),
                })
            }
        }
    }
}

const ADDRESS: &str = "this is no address; write one like `192.0.2.1` or `2001:db8::1`, or a block like `10.0.0.0/8`";
const TIME: &str = "this is no time; write `2026-11-20` or `2026-11-20T08:15:00Z`";

fn block(text: &str) -> Option<IpNet> {
    let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse::<IpNet>().map(|block| block.trunc())).ok()
}

fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| {
        text.parse::<jiff::civil::Date>().ok()?;
        Timestamp::parse(&format!("{text}T00:00:00Z"))
    })
}

/// Reads `A..B`, either of which may be missing, or one thing.
fn sides(text: &str, read: impl Fn(&str) -> Option<i64>) -> Option<(i64, i64)> {
    match text.split_once("..") {
        None => read(text).map(|one| (one, one)),
        Some(("", "")) => None,
        Some(("", last)) => Some((i64::MIN, read(last)?)),
        Some((first, "")) => Some((read(first)?, i64::MAX)),
        Some((first, last)) => Some((read(first)?, read(last)?)),
    }
}

/// Writes the filter so that it is read again as it is. Control characters are escaped.
impl<C: Column> fmt::Display for Filter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        let (first, last) = self.times();
        if first != i64::MIN {
            write!(f, "since:{}", Timestamp::from_nanos(first))?;
            gap = " ";
        }
        if let Some(end) = last.checked_add(1) {
            write!(f, "{gap}until:{}", Timestamp::from_nanos(end))?;
            gap = " ";
        }
        if self.ids() != (i64::MIN, i64::MAX) {
            write!(f, "{gap}")?;
            write_sides(f, "id", self.ids(), |id| id.to_string())?;
            gap = " ";
        }
        for condition in self.conditions() {
            write!(f, "{gap}{condition}")?;
            gap = " ";
        }
        Ok(())
    }
}

impl<C: Column> fmt::Display for Condition<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_negated {
            f.write_str("-")?;
        }
        match &self.test {
            Test::Is(column, text) => write!(f, "{}:{}", column.name(), Word(text)),
            Test::Present(column) => write!(f, "{}:*", column.name()),
            Test::Within(column, block) => write!(f, "{}:{block}", column.name()),
            Test::Between(column, first, last) if first == last => write!(f, "{}:{first}", column.name()),
            Test::Between(column, first, last) => write!(f, "{}:{first}..{last}", column.name()),
            Test::Peer(block) => write!(f, "ip:{block}"),
            Test::Port(first, last) if first == last => write!(f, "port:{first}"),
            Test::Port(first, last) => write!(f, "port:{first}..{last}"),
            Test::Times(first, last) => {
                write_sides(f, "time", (*first, *last), |nanos| Timestamp::from_nanos(nanos).to_string())
            }
            Test::Ids(first, last) => write_sides(f, "id", (*first, *last), |id| id.to_string()),
            Test::Contains(text) => write!(f, "{}", Quoted(text)),
            Test::Field(path, text) => write!(f, "fields.{path}:{}", Word(text)),
        }
    }
}

fn write_sides(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    (first, last): (i64, i64),
    text: impl Fn(i64) -> String,
) -> fmt::Result {
    match (first, last) {
        (i64::MIN, i64::MAX) => write!(f, "{name}:..{}", text(last)),
        (i64::MIN, last) => write!(f, "{name}:..{}", text(last)),
        (first, i64::MAX) => write!(f, "{name}:{}..", text(first)),
        (first, last) => write!(f, "{name}:{}..{}", text(first), text(last)),
    }
}

/// A value, in quotation marks if it needs them.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_special = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\');
        if self.0.is_empty() || self.0 == "*" || self.0.contains(is_special) {
            return Quoted(self.0).fmt(f);
        }
        f.write_str(self.0)
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests;
