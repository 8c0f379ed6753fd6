//! One JSON object, split into its top-level members without looking into them.
//!
//! The formats take out the members that have a column; `rest` splices the others together again, byte for byte
//! and in their order, as the `fields` column. So a number never passes through a float, and nothing is dropped
//! for being strange: duplicate keys, lone surrogates and unknown escapes stay as they stood.
//!
//! Why not `serde_json::Value`: it rounds numbers, drops duplicates, refuses lone surrogates and costs several
//! times as much. Values are skipped without recursion, so nesting cannot exhaust the stack.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::column;

/// The members of one JSON object, borrowed from its text.
#[derive(Default)]
pub(super) struct Object<'a> {
    members: SmallVec<[Member<'a>; 24]>,
}

struct Member<'a> {
    /// As written, without the quotes. A key written with escapes therefore names no column and stays in the rest.
    key: &'a str,
    /// As written: valid JSON without white space around it.
    value: &'a str,
    taken: bool,
}

impl<'a> Object<'a> {
    /// Splits `text`, which must be one JSON object.
    pub(super) fn parse(text: &'a str) -> serde_json::Result<Self> {
        let mut object = Self::default();
        object.read(text)?;
        Ok(object)
    }

    /// Splits `text`, which may end anywhere inside the object: returns what could be seen of it.
    pub(super) fn parse_prefix(text: &'a str) -> serde_json::Result<Self> {
        let mut object = Self::default();
        match object.read(text) {
            Err(fault) if !fault.is_eof() => Err(fault),
            _ => Ok(object),
        }
    }

    fn read(&mut self, text: &'a str) -> serde_json::Result<()> {
        let mut reader = serde_json::Deserializer::from_str(text);
        reader.deserialize_map(self)?;
        reader.end()
    }

    /// Returns the value of the first member called `key` that nobody has taken.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.members.iter().find(|member| !member.taken && member.key == key).map(|member| member.value)
    }

    /// Takes the first member called `key` out of the rest, if `fit` can hold its value in a column.
    pub(super) fn take<T>(&mut self, key: &str, fit: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let member = self.members.iter_mut().find(|member| !member.taken && member.key == key)?;
        let value = fit(member.value)?;
        member.taken = true;
        Some(value)
    }

    /// Takes the first of `keys` whose value fits; the others stay.
    pub(super) fn take_first<T>(&mut self, keys: &[&str], fit: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        keys.iter().find_map(|key| self.take(key, &fit))
    }

    /// Puts the members of the first member called `key` in its place at the end, if it is an object.
    pub(super) fn spread(&mut self, key: &str) {
        if let Some(inner) = self.take(key, |json| Object::parse(json).ok()) {
            self.members.extend(inner.members);
        }
    }

    /// Returns the texts and numbers of `keys` with a space between them, and takes none of them.
    pub(super) fn joined(&self, keys: &[&str]) -> Option<Cow<'a, str>> {
        let mut found = keys.iter().filter_map(|key| self.get(key).and_then(column::scalar));
        let first = found.next()?;
        Some(found.fold(first, |line, word| Cow::Owned(format!("{line} {word}"))))
    }

    /// Returns everything that was not taken as one JSON object, or `None` when nothing is left.
    pub(super) fn rest(&self) -> Option<String> {
        let left = || self.members.iter().filter(|member| !member.taken);
        let bytes: usize = left().map(|member| member.key.len() + member.value.len() + r#""":,"#.len()).sum();
        if bytes == 0 {
            return None;
        }
        let mut text = String::with_capacity(bytes + 1);
        for member in left() {
            text.push_str(if text.is_empty() { "{\"" } else { ",\"" });
            text.push_str(member.key);
            text.push_str("\":");
            text.push_str(member.value);
        }
        text.push('}');
        Some(text)
    }
}

impl<'a> Visitor<'a> for &mut Object<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<&'a RawValue>()? {
            let key = key.get();
            let value = map.next_value::<&'a RawValue>()?.get();
            self.members.push(Member { key: &key[1..key.len() - 1], value, taken: false });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_stays_byte_for_byte_and_in_order() {
        let text = r#" { "z" : 1.50e+02, "a":[1, 2 ,{"b":"\ud800"}], "z":12345678901234567890123, "\u0061":"\/","\udc00":1 } "#;
        let mut object = Object::parse(text).unwrap();
        assert_eq!(object.take("a", Some), Some(r#"[1, 2 ,{"b":"\ud800"}]"#));
        assert_eq!(object.get("a"), None);
        assert_eq!(object.rest().unwrap(), r#"{"z":1.50e+02,"z":12345678901234567890123,"\u0061":"\/","\udc00":1}"#);
        assert_eq!(Object::parse("{}").unwrap().rest(), None);
    }

    #[test]
    fn of_duplicate_keys_the_first_is_taken_first() {
        let mut object = Object::parse(r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(object.take("a", Some), Some("1"));
        assert_eq!(object.rest().unwrap(), r#"{"a":2}"#);
        assert_eq!(object.take("a", Some), Some("2"));
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_taken() {
        let mut object = Object::parse(r#"{"a":1,"b":2}"#).unwrap();
        assert_eq!(object.take_first(&["a", "b"], |value| (value == "2").then_some(())), Some(()));
        assert_eq!(object.rest().unwrap(), r#"{"a":1}"#);
    }

    #[test]
    fn only_whole_objects_are_split() {
        for bad in ["", "1", "[]", "{", "{}x", r#"{"a"}"#, r#"{"a":1,}"#, r#"{a:1}"#, "{\"a\":\"\n\"}", r#"{"a":01}"#] {
            assert!(Object::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_shows_the_members_before_its_end() {
        for cut in [r#"{"a":1,"b":"x"#, r#"{"a":1,"b"#, r#"{"a":1,"#, r#"{"a":1,"b":[[tr"#] {
            assert_eq!(Object::parse_prefix(cut).unwrap().get("a"), Some("1"), "{cut}");
        }
        assert!(Object::parse_prefix("{1").is_err());
    }

    #[test]
    fn an_objects_members_are_spread_behind_the_others() {
        let mut object = Object::parse(r#"{"a":{"b":1,"c":{}},"b":2,"d":[]}"#).unwrap();
        object.spread("a");
        object.spread("d");
        assert_eq!(object.rest().unwrap(), r#"{"b":2,"d":[],"b":1,"c":{}}"#);
        assert_eq!(object.get("b"), Some("2"));
    }

    #[test]
    fn joined_words_stay_in_the_rest() {
        let object = Object::parse(r#"{"status":200,"url":"/\u00e4","body":{}}"#).unwrap();
        assert_eq!(object.joined(&["method", "url", "body", "status"]).unwrap(), "/ä 200");
        assert_eq!(object.rest().unwrap(), r#"{"status":200,"url":"/\u00e4","body":{}}"#);
        assert_eq!(object.joined(&["method"]), None);
    }
}
