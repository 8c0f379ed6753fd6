//! A place in a row's `fields`, and whether it has a text. Pure.
//!
//! Read here with a scanner of our own, not with serde_json or a database's functions. Log lines have escapes of half a
//! surrogate pair (`"\udcff"`, as Python writes a byte that is no UTF-8): they refuse the whole object then, and whoever
//! sends such a byte would hide a row from every search. Here half a pair reads as U+FFFD. SQLite calls this
//! for each row; MySQL for the few whose JSON the server refuses (see `backend/mysql/reader`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Most keys of a path.
const MOST_KEYS: usize = 16;
/// Most bytes of a key.
const MOST_BYTES: usize = 255;

/// The keys that lead from the object in `fields` to a value. Text form: keys with dots between them, one with a dot or
/// a space in itself in quotation marks: `user.name`, `"id.orig_h"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// Makes a path of keys.
    ///
    /// # Errors
    /// A sentence, for none or more than 16 keys, and for a key that is empty, has more than 255 bytes, a quotation mark,
    /// a backslash or a control character.
    pub fn new<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Result<Self, String> {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        if keys.is_empty() || keys.len() > MOST_KEYS {
            return Err(format!("a path has 1 to {MOST_KEYS} keys"));
        }
        for key in &keys {
            if key.is_empty() || key.len() > MOST_BYTES {
                return Err(format!("a key has 1 to {MOST_BYTES} bytes"));
            }
            if key.contains(|c: char| c == '"' || c == '\\' || c.is_control()) {
                return Err("a key has no quotation mark, backslash or control character".into());
            }
        }
        Ok(Self(keys))
    }

    /// Returns the keys, outermost first.
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// Returns whether the JSON object `fields` has the text at this place: see [`Test::Field`](super::Test::Field).
    pub fn finds(&self, fields: &str, text: &str) -> bool {
        let keys: Vec<&str> = self.0.iter().map(String::as_str).collect();
        Self::finds_at(&keys, fields, text)
    }

    /// As [`finds`](Self::finds), of borrowed keys.
    pub(crate) fn finds_at(keys: &[&str], fields: &str, text: &str) -> bool {
        let mut scanner = Scanner { bytes: fields.as_bytes(), at: 0 };
        scanner.find(keys).is_some_and(|value| value_is(value, text))
    }

    /// Returns the value at this place of the JSON object `fields`, as JSON, as it is written there; `None`, if there is none.
    pub fn value<'a>(&self, fields: &'a str) -> Option<&'a str> {
        let keys: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let value = Scanner { bytes: fields.as_bytes(), at: 0 }.find(&keys)?;
        std::str::from_utf8(value).ok()
    }

    /// Returns what a value as it is written reads as: a string without its quotation marks and escapes, anything else as it
    /// is. Half a surrogate pair is U+FFFD.
    pub fn unquoted(value: &str) -> Cow<'_, str> {
        let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.into() };
        if !inner.contains('\\') {
            return inner.into();
        }
        let mut text = String::with_capacity(inner.len());
        let mut rest = inner;
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            let (read, length) = escape(&rest.as_bytes()[at..]);
            text.extend(read);
            // An escape that cuts a character in two stands only in what nobody has checked.
            rest = rest.get(at + length..).unwrap_or_default();
        }
        text.push_str(rest);
        text.into()
    }
}

impl FromStr for FieldPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        let mut rest = text;
        loop {
            let key = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let (key, after) = quoted.split_once('"').ok_or("a key's quotation mark is not closed")?;
                    rest = after;
                    key
                }
                None => {
                    let end = rest.find('.').unwrap_or(rest.len());
                    let (key, after) = rest.split_at(end);
                    rest = after;
                    key
                }
            };
            keys.push(key);
            if rest.is_empty() {
                return Self::new(keys);
            }
            rest = rest.strip_prefix('.').ok_or("a dot stands between keys")?;
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, key) in self.0.iter().enumerate() {
            let dot = if place == 0 { "" } else { "." };
            let is_plain = key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
            if is_plain { write!(f, "{dot}{key}")? } else { write!(f, "{dot}\"{key}\"")? }
        }
        Ok(())
    }
}

/// Returns whether a value as it is written has the text.
fn value_is(value: &[u8], text: &str) -> bool {
    match value.first() {
        Some(b'"') => string_is(value, text),
        Some(b'{' | b'[') | None => false,
        Some(_) => value == text.as_bytes(),
    }
}

/// Reads JSON that was checked when its row was built; of anything else it finds something or nothing, and ends.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Enters the object that begins here and returns the first value at the end of the keys, as it is written.
    fn find(&mut self, keys: &[&str]) -> Option<&'a [u8]> {
        let (key, rest) = keys.split_first()?;
        self.take(b'{')?;
        loop {
            if self.peek() == Some(b',') {
                self.at += 1;
            }
            if self.peek()? == b'}' {
                self.at += 1;
                return None;
            }
            let is_it = {
                let name = self.string()?;
                string_is(name, key)
            };
            self.take(b':')?;
            if is_it && rest.is_empty() {
                return self.value();
            }
            let value = self.value()?;
            if is_it && value.first() == Some(&b'{') {
                // As deep as there are keys, of which there are few.
                let found = Scanner { bytes: value, at: 0 }.find(rest);
                if found.is_some() {
                    return found;
                }
            }
        }
    }

    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Takes a string, with its quotation marks.
    fn string(&mut self) -> Option<&'a [u8]> {
        let from = {
            self.peek();
            self.at
        };
        self.take(b'"')?;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return self.bytes.get(from..self.at);
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }

    /// Takes a value of any kind, without recursion.
    fn value(&mut self) -> Option<&'a [u8]> {
        let (mut depth, from) = (0_usize, {
            self.peek();
            self.at
        });
        loop {
            match self.peek()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => (depth, self.at) = (depth + 1, self.at + 1),
                b'}' | b']' => (depth, self.at) = (depth.checked_sub(1)?, self.at + 1),
                b',' | b':' if depth > 0 => self.at += 1,
                b',' | b':' => return None,
                _ => {
                    let ends =
                        |byte: &u8| matches!(byte, b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b'"');
                    let rest = self.bytes.get(self.at..)?;
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return self.bytes.get(from..self.at);
            }
        }
    }
}

/// Returns whether a JSON string, in its quotation marks, reads as `text`.
fn string_is(quoted: &[u8], text: &str) -> bool {
    let Some(inner) = quoted.get(1..quoted.len().saturating_sub(1)) else { return false };
    if !inner.contains(&b'\\') {
        return inner == text.as_bytes();
    }
    let (mut rest, mut wanted) = (inner, text.as_bytes());
    while let Some(byte) = rest.first() {
        let (read, length) = if *byte == b'\\' { escape(rest) } else { (None, 1) };
        let mut room = [0; 4];
        let read: &[u8] = match read {
            Some(read) => read.encode_utf8(&mut room).as_bytes(),
            None => std::slice::from_ref(byte),
        };
        let Some(left) = wanted.strip_prefix(read) else { return false };
        (wanted, rest) = (left, rest.get(length..).unwrap_or_default());
    }
    wanted.is_empty()
}

/// Reads the escape that `bytes` begin with; returns it and its length.
fn escape(bytes: &[u8]) -> (Option<char>, usize) {
    let unit = |from: usize| {
        let digits = std::str::from_utf8(bytes.get(from..from + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let read = match bytes.get(1) {
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => {
            let Some(high) = unit(2) else { return (Some(char::REPLACEMENT_CHARACTER), 2) };
            let low = if bytes.get(6..8) == Some(b"\\u") { unit(8) } else { None };
            if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (high, low) {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return (char::from_u32(code), 12);
            }
            return (Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)), 6);
        }
        Some(other) => char::from(*other),
        None => return (None, 1),
    };
    (Some(read), 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> FieldPath {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_found_is_the_text_of_a_value() {
        let fields = r#" {"a":1.0 ,"a":2,"s":"r\u0000\ud83d\ude00\n\/x", "n" : null,"t":true,"e":1e2,
            "o":{"x.y":"v","é":"q","deep":{"k":"1"}},"\u0061b":"esc","l":"\ud800x","arr":[{"k":1}],"":5,"d":1,"d":{"e":2}}"#;
        for (at, text) in [
            ("a", "1.0"),
            ("s", "r\0😀\n/x"),
            ("n", "null"),
            ("t", "true"),
            ("e", "1e2"),
            ("o.\"x.y\"", "v"),
            ("o.é", "q"),
            ("o.deep.k", "1"),
            ("ab", "esc"),
            ("l", "\u{fffd}x"),
            ("d.e", "2"),
        ] {
            assert!(path(at).finds(fields, text), "{at}");
            assert!(!path(at).finds(fields, &format!("{text} ")), "{at}");
            assert_eq!(path(at).value(fields).map(FieldPath::unquoted).as_deref(), Some(text), "{at}");
        }
        for (at, text) in [("a", "2"), ("a", "1"), ("o", "{}"), ("arr.k", "1"), ("x", ""), ("o.deep", ""), ("A", "1.0")]
        {
            assert!(!path(at).finds(fields, text), "{at}");
        }
    }

    #[test]
    fn a_value_is_returned_as_it_is_written() {
        let fields = r#"{"o":{"k": [1, "x"]},"s":"a\nb"}"#;
        let value = |at| path(at).value(fields);
        assert_eq!(
            [value("o"), value("o.k"), value("s")],
            [r#"{"k": [1, "x"]}"#, r#"[1, "x"]"#, r#""a\nb""#].map(Some)
        );
        assert_eq!((value("o.x"), FieldPath::unquoted(r#"[1, "x"]"#).as_ref()), (None, r#"[1, "x"]"#));
    }

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for text in ["a", "a.b.c", "\"id.orig_h\"", "a.\"b c\".d", "é-_1"] {
            assert_eq!(path(text).to_string(), text);
        }
        for bad in
            ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "\"\"", "a\\b", "a\nb", &"a.".repeat(17), &"k".repeat(256)]
        {
            assert!(bad.parse::<FieldPath>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_go_on_for_ever(fields in "[\\\\\"{}\\[\\]:,u0-9adk \\n]{0,40}", text in ".{0,3}") {
            path("a").finds(&fields, &text);
            path("a.d").finds(&fields, &text);
            path("a").value(&fields).map(FieldPath::unquoted);
            FieldPath::unquoted(&fields);
        }

        #[test]
        fn it_reads_json_as_serde_does(keys in prop::collection::vec("[ab\"\\\\é\0]{1,2}", 1..5), texts in prop::collection::vec(any::<String>(), 5)) {
            let object: serde_json::Map<_, _> = keys.iter().cloned().zip(texts.iter().map(|text| text.as_str().into())).collect();
            let fields = serde_json::to_string(&object).unwrap();
            for (key, value) in &object {
                prop_assert!(FieldPath::finds_at(&[key], &fields, value.as_str().unwrap()));
                let longer = format!("{}x", value.as_str().unwrap());
                prop_assert!(!FieldPath::finds_at(&[key], &fields, &longer));
            }
        }
    }
}
