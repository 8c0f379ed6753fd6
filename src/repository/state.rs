//! Small things that a host keeps beside rows: a JSON value for each key. Pure: the trait, its values and the rules for
//! keys and values, which are the same in every database.
//!
//! Versions are for [`State::compare_and_set`]: whoever has read a value and writes a new one learns whether somebody else
//! wrote meanwhile. A key that was deleted and made again has a greater version than it ever had (versions begin at the
//! microsecond of the key's creation), so what was read before does not fit again; unless the clock was set back.

use crate::error::{Error, ErrorKind};
use crate::packed::json_fault;
use crate::timestamp::Timestamp;

/// Most bytes of a key.
pub const MAX_KEY: usize = 255;
/// Most bytes of a value, as JSON text.
pub const MAX_VALUE: usize = 16 << 20;

/// A value that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// JSON, byte for byte as it was given.
    pub value: String,
    /// Grows with every change; below 2^53, so that every JSON reader takes it as it is.
    pub version: i64,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// A key that is stored, without its value, which may be large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub key: String,
    /// Version of its value.
    pub version: i64,
    /// When it was last changed.
    pub updated: Timestamp,
    /// Bytes of its value.
    pub bytes: u64,
}

/// What became of a change that was to happen only if nothing had changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Swap {
    /// The value is stored, with this version.
    Done(i64),
    /// Nothing was changed: the key has this version, or is not there.
    Changed(Option<i64>),
}

/// JSON values by key.
///
/// A key has 1 to [`MAX_KEY`] bytes and no control characters; keys are compared byte by byte. A value is one JSON text of
/// at most [`MAX_VALUE`] bytes and 128 levels. A MySQL server takes a value only if it is below its `max_allowed_packet`.
///
/// # Errors
/// Every method returns [`Configuration`](ErrorKind::Configuration) for a key or value that cannot be,
/// [`Unavailable`](ErrorKind::Unavailable) if trying again later may help, and [`Database`](ErrorKind::Database) when the
/// database refuses. Of a change whose connection is lost it may not be known whether it happened.
pub trait State: Send + Sync {
    /// Returns the value of a key; `None` when there is none.
    fn get(&self, key: &str) -> Result<Option<Entry>, Error>;

    /// Stores a value, whatever was there; returns its version.
    fn set(&self, key: &str, value: &str) -> Result<i64, Error>;

    /// Stores a value if the key still has the version `expected`, or, for `None`, is not there.
    fn compare_and_set(&self, key: &str, expected: Option<i64>, value: &str) -> Result<Swap, Error>;

    /// Deletes a key; returns whether it was there.
    fn delete(&self, key: &str) -> Result<bool, Error>;

    /// Returns the keys that begin with `prefix`, in the order of their bytes, behind the key `after`: at most `limit` of
    /// them, and at most [`MAX_LIMIT`](super::MAX_LIMIT).
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Key>, Error>;
}

/// Checks a key.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    check_name("a key", key)
}

/// Checks a value.
pub(crate) fn check_value(value: &str) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::new(ErrorKind::Configuration, why));
    if value.len() > MAX_VALUE {
        return wrong(format!("the value has {} bytes; it may have {MAX_VALUE}", value.len()));
    }
    json_fault(value).map_or(Ok(()), |fault| wrong(format!("the value {fault}")))
}

/// Checks a name of anything: 1 to 255 bytes, nothing that a terminal or a log would take for more than text.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_KEY || name.chars().any(char::is_control) {
        let why = format!("{what} has 1 to {MAX_KEY} bytes and no control characters");
        return Err(Error::new(ErrorKind::Configuration, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_their_bounds() {
        for key in ["a", "ü b'\"%_\\", &"x".repeat(255)] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", "a\0", "a\n", "\u{9b}", &"x".repeat(256), &"ü".repeat(128)] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
        let largest = format!("\"{}\"", "x".repeat(MAX_VALUE - 2));
        for value in ["null", "1", "[]", r#"{"a":"\u0000"}"#, &largest] {
            assert!(check_value(value).is_ok());
        }
        let deep = "[".repeat(129) + &"]".repeat(129);
        for value in ["", "{", "{}x", "'a'", "\"\0\"", &deep, &format!("{largest} ")] {
            assert!(check_value(value).is_err());
        }
    }
}
