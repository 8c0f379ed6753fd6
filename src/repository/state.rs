//! Small things that a host keeps beside rows: a JSON value for each key. Pure: the trait and its values.
//!
//! Versions are for [`State::compare_and_set`]: whoever has read a value and writes a new one learns whether somebody else
//! wrote meanwhile. A key that was deleted and made again has a greater version than it ever had (versions begin at the
//! microsecond of the key's creation), so what was read before does not fit again; unless the clock was set back.

use crate::error::Error;
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
/// Every method returns [`Configuration`](crate::ErrorKind::Configuration) for a key or value that cannot be,
/// [`Unavailable`](crate::ErrorKind::Unavailable) if trying again later may help, and [`Database`](crate::ErrorKind::Database) when the
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
