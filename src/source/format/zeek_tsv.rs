//! Zeek's logs as its ASCII writer makes them: values with a separator between them, usually a tab.
//!
//! Each record is written as the JSON line that Zeek would have made of it (`LogAscii::use_json`), and its columns come
//! from there: see the table in `zeek.rs`. Only `_path` comes from the header line `#path`, and `raw` is the line as it
//! stood.
//!
//! | header line | what it says |
//! |---|---|
//! | `#separator \x09` | what stands between values; the only line with a space behind its name |
//! | `#set_separator` | what stands between the elements of a set or a vector |
//! | `#empty_field` | an empty string, set or vector: `(empty)` |
//! | `#unset_field` | no value: `-`; such a member is left out, and is `null` within a vector |
//! | `#path` | the log's name |
//! | `#fields`, `#types` | names and types of the values, from here on: they may change within a file |
//! | any other | passed over: `#open`, `#close` |
//!
//! | type | JSON |
//! |---|---|
//! | `bool` | `true` for `T`, `false` for `F` |
//! | `count`, `int`, `port`, `double`, `interval`, `time` | a number in the digits that stood there: an interval is seconds |
//! | `set[...]`, `vector[...]`, `table[...]` | an array |
//! | any other, and a value that is not as its type says | a string |
//!
//! `\x09` within a value is the byte of that number, and `\\` a backslash; bytes that are not UTF-8 stay written so, as in
//! Zeek's JSON. A record that has more or fewer values than its header is malformed: nobody knows which is missing.
//!
//! The format: the Zeek manual, "Log Files", and Zeek's `logging/writers/ascii`.

use super::draft::{Draft, is_number, quote};
use super::object::Object;
use super::{Defaults, MAX_QUOTE, Malformed, malformed, reason, zeek};
use crate::event::Event;

/// Longest header line: its names are repeated in every row.
const MAX_HEADER: usize = 64 << 10;
/// Most values of a record.
const MAX_FIELDS: usize = 1024;

/// What the header lines before a record say about it.
#[derive(Clone, Debug)]
pub(super) struct Header {
    separator: String,
    set_separator: String,
    empty: String,
    unset: String,
    path: Option<String>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    kind: Kind,
    is_list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
}

impl Default for Header {
    /// What Zeek writes unless it is told otherwise.
    fn default() -> Self {
        Self {
            separator: "\t".into(),
            set_separator: ",".into(),
            empty: "(empty)".into(),
            unset: "-".into(),
            path: None,
            fields: Vec::new(),
        }
    }
}

impl Header {
    /// Takes a header line in.
    ///
    /// # Errors
    /// When it is none; then records cannot be read until the next `#fields`.
    pub(super) fn read(&mut self, line: &str) -> Result<(), Malformed> {
        self.take(line).map_err(|detail| {
            self.fields.clear();
            malformed(reason::BAD_HEADER, detail)
        })
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        if line.len() > MAX_HEADER {
            return Err(format!("a header line has {} bytes, more than {MAX_HEADER}", line.len()));
        }
        if let Some(separator) = line.strip_prefix("#separator ") {
            // A new header begins, perhaps of another Zeek's log that was appended.
            *self = Self { separator: non_empty(separator)?, ..Self::default() };
            return Ok(());
        }
        let (name, value) = line.split_once(&self.separator).unwrap_or((line, ""));
        match name {
            "#set_separator" => self.set_separator = non_empty(value)?,
            "#empty_field" => self.empty = value.to_owned(),
            "#unset_field" => self.unset = value.to_owned(),
            "#path" => self.path = Some(decoded(value).into_owned()).filter(|path| !path.is_empty()),
            "#fields" => {
                let names = value.split(&self.separator);
                let field = |name| Field { name: decoded(name).into_owned(), kind: Kind::Text, is_list: false };
                self.fields = names.take(MAX_FIELDS + 1).map(field).collect();
                if self.fields.len() > MAX_FIELDS {
                    return Err(format!("#fields has more than {MAX_FIELDS} names"));
                }
            }
            "#types" => {
                let types: Vec<_> = value.split(&self.separator).collect();
                if types.len() != self.fields.len() {
                    return Err(format!("#types has {} types, #fields {} names", types.len(), self.fields.len()));
                }
                for (field, name) in self.fields.iter_mut().zip(types) {
                    let element = ["set[", "vector[", "table["].iter().find_map(|list| name.strip_prefix(list));
                    field.is_list = element.is_some();
                    field.kind = match element.map_or(name, |element| element.trim_end_matches(']')) {
                        "bool" => Kind::Truth,
                        "count" | "int" | "port" | "double" | "interval" | "time" => Kind::Number,
                        _ => Kind::Text,
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads a record.
    pub(super) fn event(&self, line: &str, defaults: &Defaults<'_>) -> Result<Event, Malformed> {
        if self.fields.is_empty() {
            let detail = "no #fields line before it says what its values are".to_owned();
            return Err(malformed(reason::NO_HEADER, detail));
        }
        let mut draft = Draft::new();
        if let Some(path) = &self.path {
            draft.text("_path", path);
        }
        let mut values = line.split(&self.separator);
        let mut read = 0;
        for (field, value) in self.fields.iter().zip(&mut values) {
            read += 1;
            if value != self.unset {
                self.value(field, value, draft.key(&field.name));
            }
        }
        let more = values.count();
        if read + more != self.fields.len() {
            let start: String = line.chars().take(MAX_QUOTE).collect();
            let detail = format!("{} values, the header names {}: {start:?}", read + more, self.fields.len());
            return Err(malformed(reason::WRONG_FIELDS, detail));
        }
        let json = draft.end();
        let mut object = Object::parse(&json).map_err(|fault| malformed(reason::BAD_JSON, fault.to_string()))?;
        let columns = zeek::columns(&mut object, defaults)?;
        columns.build(line, object.rest().as_deref())
    }

    fn value(&self, field: &Field, value: &str, out: &mut String) {
        if !field.is_list {
            let value = if value == self.empty { "" } else { value };
            return scalar(field.kind, value, out);
        }
        out.push('[');
        if value != self.empty {
            for (index, element) in value.split(&self.set_separator).enumerate() {
                if index > 0 {
                    out.push(',');
                }
                match element {
                    _ if element == self.unset => out.push_str("null"),
                    _ if element == self.empty => out.push_str("\"\""),
                    _ => scalar(field.kind, element, out),
                }
            }
        }
        out.push(']');
    }
}

fn scalar(kind: Kind, value: &str, out: &mut String) {
    match (kind, value) {
        (Kind::Truth, "T") => out.push_str("true"),
        (Kind::Truth, "F") => out.push_str("false"),
        (Kind::Number, number) if is_number(number) => out.push_str(number),
        _ => quote(out, &decoded(value)),
    }
}

/// Decodes what stands between other things, and therefore must not be empty.
fn non_empty(value: &str) -> Result<String, String> {
    let text = decoded(value).into_owned();
    if text.is_empty() { Err("a separator is empty".to_owned()) } else { Ok(text) }
}

/// Decodes `\x09` and `\\`. A byte that would not be UTF-8 stays as it is written.
fn decoded(value: &str) -> std::borrow::Cow<'_, str> {
    if !value.contains('\\') {
        return value.into();
    }
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let run = escaped_run(rest);
        if run.is_empty() {
            // An escaped backslash, or a backslash that escapes nothing.
            text.push('\\');
            rest = rest.strip_prefix("\\\\").unwrap_or(&rest[1..]);
            continue;
        }
        for chunk in run.utf8_chunks() {
            text.push_str(chunk.valid());
            let (_, from) = rest.split_at(4 * chunk.valid().len());
            let (as_written, after) = from.split_at(4 * chunk.invalid().len());
            text.push_str(as_written);
            rest = after;
        }
    }
    text.push_str(rest);
    text.into()
}

/// Returns the bytes of the `\xHH` that follow each other at the start of a text.
fn escaped_run(text: &str) -> Vec<u8> {
    let digits = |four: &[u8; 4]| {
        let [b'\\', b'x', high, low] = *four else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(high)? * 16 + digit(low)?).ok()
    };
    text.as_bytes().as_chunks::<4>().0.iter().map_while(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Parser};
    use super::*;
    use crate::timestamp::Timestamp;

    const DEFAULTS: Defaults<'_> =
        Defaults { sensor: None, host: "tap", log_name: "conn.log", now: Timestamp::from_nanos(0) };

    /// Reads a log with these headers; returns its parser.
    fn after(headers: &str) -> Parser {
        let mut parser = Parser::new(Format::ZeekTsv);
        for line in headers.lines() {
            assert_eq!(parser.parse(line.as_bytes(), &DEFAULTS), Ok(None), "{line}");
        }
        parser
    }

    fn event(parser: &mut Parser, line: &str) -> Event {
        parser.parse(line.as_bytes(), &DEFAULTS).unwrap().unwrap()
    }

    fn reason(parser: &mut Parser, line: &str) -> &'static str {
        parser.parse(line.as_bytes(), &DEFAULTS).unwrap_err().reason
    }

    const SSH: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tssh\n\
        #open\t2024-04-12-19-29-44\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tauth_success\tclient\thosts\tports\ttook\n\
        #types\ttime\tstring\taddr\tport\taddr\tport\tbool\tstring\tset[string]\tvector[count]\tinterval";

    #[test]
    fn a_record_becomes_what_the_json_line_would_have_become() {
        let line =
            "1521911799.739898\tC1\t10.0.0.227\t59849\t2001:DB8::1\t22\tT\tSSH-2.0-x\ta,b\\x2cc\t1,-,3\t0.000050";
        let event = event(&mut after(SSH), line);
        assert_eq!(event.ts().as_nanos(), 1_521_911_799_739_898_000);
        assert_eq!((event.sensor(), event.service(), event.event_type()), ("tap", "ssh", "ssh"));
        assert_eq!((event.src_ip(), event.src_port()), (Some("10.0.0.227"), Some(59849)));
        assert_eq!((event.dst_ip(), event.dst_port()), (Some("2001:db8::1"), Some(22)));
        assert_eq!((event.session(), event.msg(), event.raw()), (Some("C1"), Some("SSH-2.0-x"), Some(line)));
        let fields =
            r#"{"auth_success":true,"client":"SSH-2.0-x","hosts":["a","b,c"],"ports":[1,null,3],"took":0.000050}"#;
        assert_eq!(event.fields(), Some(fields));
    }

    #[test]
    fn unset_is_left_out_and_empty_is_empty() {
        let mut parser = after(SSH);
        let mut fields = |line| event(&mut parser, line).fields().map(str::to_owned);
        assert_eq!(fields("1\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-"), None);
        let empty = r#"{"uid":"","client":"","hosts":[],"ports":[]}"#;
        assert_eq!(fields("1\t(empty)\t-\t-\t-\t-\t-\t(empty)\t(empty)\t(empty)\t-").unwrap(), empty);
        let escaped = r#"{"client":"-","hosts":["(empty)","",null]}"#;
        assert_eq!(fields("1\t-\t-\t-\t-\t-\t-\t\\x2d\t\\x28empty),(empty),-\t-\t-").unwrap(), escaped);
    }

    #[test]
    fn what_is_not_as_its_type_says_stays_a_text() {
        let fields = event(&mut after(SSH), "1\tx\t-\t99999\t-\t-\tyes\t-\t-\t1,x\tnan").fields().unwrap().to_owned();
        assert_eq!(fields, r#"{"id.orig_p":99999,"auth_success":"yes","ports":[1,"x"],"took":"nan"}"#);
    }

    #[test]
    fn separators_and_words_are_what_the_header_says() {
        let mut parser = after(
            "#separator |\n#set_separator|;\n#empty_field|EMPTY\n#unset_field|NULL\n#path|x\n#fields|ts|a|b|c\n\
             #types|time|set[count]|string|string",
        );
        assert_eq!(event(&mut parser, "1|1;2|EMPTY|NULL").fields(), Some(r#"{"a":[1,2],"b":""}"#));
        assert_eq!(event(&mut parser, "1|EMPTY|-|(empty)").fields(), Some(r#"{"a":[],"b":"-","c":"(empty)"}"#));
    }

    #[test]
    fn the_schema_may_change_within_a_file() {
        let mut parser = after("#fields\tts\ta\n#types\ttime\tcount");
        let first = event(&mut parser, "1\t2");
        assert_eq!((first.event_type(), first.fields()), ("conn", Some(r#"{"a":2}"#)));
        for line in ["#close\t2024", "#separator \\x2c", "#path,dns", "#fields,ts,a,b", "#types,time,string,bool"] {
            assert_eq!(parser.parse(line.as_bytes(), &DEFAULTS), Ok(None));
        }
        let second = event(&mut parser, "1,2,F");
        assert_eq!((second.event_type(), second.fields()), ("dns", Some(r#"{"a":"2","b":false}"#)));
    }

    #[test]
    fn escapes_are_decoded_as_far_as_they_are_utf_8() {
        for (written, meant) in [
            (r"a\x09b", "a\tb"),
            (r"a\\b\", r"a\b\"),
            (r"\xc3\xa9\xff\x41", "é\\xffA"),
            (r"\xe2\x82", r"\xe2\x82"),
            (r"\xC3\xA9é\x5c", "éé\\"),
            (r"\x4", r"\x4"),
            (r"\xzz", r"\xzz"),
        ] {
            assert_eq!(decoded(written), meant, "{written}");
        }
    }

    #[test]
    fn a_record_without_its_header_or_with_other_values_is_malformed() {
        assert_eq!(reason(&mut Parser::new(Format::ZeekTsv), "1\t2"), reason::NO_HEADER);
        let mut parser = after("#fields\tts\ta\n#types\ttime\tcount");
        for line in ["1", "1\t2\t3", "", "1\t2\t"] {
            assert_eq!(reason(&mut parser, line), reason::WRONG_FIELDS, "{line}");
        }
        assert_eq!(reason(&mut parser, "-\t2"), reason::NO_TIMESTAMP);
        assert_eq!(reason(&mut parser, "soon\t2"), reason::BAD_TIMESTAMP);
        assert_eq!(reason(&mut parser, "#types\ttime"), reason::BAD_HEADER);
        assert_eq!(reason(&mut parser, "1\t2"), reason::NO_HEADER, "nobody knows what a record is now");
        let long = format!("#fields\t{}", "x".repeat(MAX_HEADER));
        let many = format!("#fields{}", "\tx".repeat(MAX_FIELDS + 1));
        for bad in ["#separator ", "#set_separator\t", &long, &many] {
            assert_eq!(reason(&mut parser, bad), reason::BAD_HEADER, "{}", &bad[..10]);
        }
    }
}
