//! What one peer, and all of them, may take of us; and how settings write what has a text form.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Bytes, duration};
use crate::error::{Error, ErrorKind};

/// What peers may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most connections at once. Default 256; 1 to 65,536. At the bound a further one waits; one that has not sent a
    /// record yet yields to it after `handshake`.
    pub connections: usize,
    /// Most bytes of a record. Default 256 KiB; 1 KiB to 64 MiB. Of a longer one the first 64 KiB are set aside.
    pub record: Bytes,
    /// Longest time without a complete record, or an empty line, after which a connection is closed; it does not count
    /// while answers are due. Default 5 min; 1 s to 30 days.
    #[serde(with = "duration")]
    pub idle: Duration,
    /// Longest time for a TLS handshake. Default 10 s; 100 ms to 10 min.
    #[serde(with = "duration")]
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            record: Bytes(256 << 10),
            idle: Duration::from_secs(300),
            handshake: Duration::from_secs(10),
        }
    }
}

impl Limits {
    pub(super) fn validate(&self) -> Result<(), &'static str> {
        let month = Duration::from_secs(30 * 24 * 3600);
        if !(1..=65_536).contains(&self.connections) {
            return Err("limits.connections must be from 1 to 65536");
        }
        if !(Bytes(1 << 10)..=Bytes::mib(64)).contains(&self.record) {
            return Err("limits.record must be from 1 KiB to 64 MiB");
        }
        if !(Duration::from_secs(1)..=month).contains(&self.idle) {
            return Err("limits.idle must be from 1 s to 30 days");
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(600)).contains(&self.handshake) {
            return Err("limits.handshake must be from 100 ms to 10 min");
        }
        Ok(())
    }
}

/// Refuses a name of a source that could not stand in the ledger or in a label.
pub(in crate::source) fn check_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let rules = "a source's name has 1 to 64 letters, digits, `.`, `_` or `-`";
    Err(Error::new(ErrorKind::Configuration, rules))
}

/// Settings that are written as text.
pub(in crate::source) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::source) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::source) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
