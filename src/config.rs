//! Every setting of a pipeline, as plain data: defaults, units, bounds. Reads no file and no environment.
//!
//! The program fills this from TOML, environment and flags (`bin/forebay/settings.rs`); a host fills it in code.
//! [`Config::validate`] is called by `PipelineBuilder::open`, so a wrong value never reaches a running pipeline.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind};

/// A number of bytes. Text forms: `512`, `64 KiB`, `8MiB`, `1 GiB` (powers of 1024), `10 MB` (powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 7] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("b", 1),
];

impl Bytes {
    /// Returns `n` times 1024 times 1024 bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    pub(crate) fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let unit = UNITS.iter().find(|(unit, _)| lower.ends_with(unit));
        let (digits, factor) =
            unit.map_or((&*lower, 1), |(unit, factor)| (&lower[..lower.len() - unit.len()], *factor));
        let number = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        number.map(Self).ok_or_else(|| format!("`{text}` is no size; write one like `64 MiB`, `512 KiB` or `1000000`"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS[..3].iter().rev().find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size));
        match unit {
            Some((unit, size)) => write!(f, "{} {}iB", self.0 / size, unit[..1].to_uppercase()),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(bytes) => Ok(Self(bytes)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// Durations as text: `50ms`, `30s`, `2m`, `1h`.
pub(crate) mod duration {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::duration_text(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

/// The same, where none is a value.
mod optional_duration {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::duration::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse_duration(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

/// Writes a duration in the largest unit that holds all of it, so that it is read again as it was.
pub(crate) fn duration_text(value: Duration) -> String {
    match value.subsec_nanos() {
        0 => format!("{}s", value.as_secs()),
        nanos if nanos % 1_000_000 == 0 => format!("{}ms", value.as_millis()),
        nanos if nanos % 1_000 == 0 => format!("{}us", value.as_micros()),
        _ => format!("{}ns", value.as_nanos()),
    }
}

/// Reads a duration as settings write it: `50ms`, `30s`, `2m`, `1h 30m`, `90d`.
///
/// # Errors
/// A sentence that shows the forms, for anything else and for negative durations.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let days = text.trim().strip_suffix('d').and_then(|days| days.trim().parse::<u32>().ok());
    if let Some(days) = days {
        return Ok(DAY * days);
    }
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
    parsed.ok_or_else(|| format!("`{text}` is no duration; write one like `50ms`, `30s` or `2m`"))
}

/// All settings of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// When a batch is complete.
    pub batch: BatchConfig,
    /// What may be held in memory.
    pub buffer: BufferConfig,
    /// How a failed write is tried again.
    pub retry: RetryConfig,
    /// Settings of the SQLite backend.
    pub sqlite: SqliteConfig,
    /// What is kept for how long.
    pub retention: RetentionConfig,
    /// Settings of the MySQL and MariaDB backend.
    pub mysql: MysqlConfig,
}

/// When a batch is complete: at the first of these limits, none of which is ever passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BatchConfig {
    /// Most rows of a batch. Default 8192; 1 to 1,000,000.
    pub max_rows: usize,
    /// Most bytes of a batch, and so of one row. Default 8 MiB; 1 KiB to 1 GiB.
    pub max_bytes: Bytes,
    /// Longest that a row waits for company. Default 50 ms; up to 1 h.
    #[serde(with = "duration")]
    pub max_wait: Duration,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_rows: 8192, max_bytes: Bytes::mib(8), max_wait: Duration::from_millis(50) }
    }
}

/// What a pipeline may hold in memory: queued, batched and being written, together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BufferConfig {
    /// Most bytes, of both kinds of rows together. Default 64 MiB; at least one batch, up to 4 GiB.
    pub max_bytes: Bytes,
    /// The queue of events.
    pub events: QueueConfig,
    /// The queue of captures.
    pub captures: QueueConfig,
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self { max_bytes: Bytes::mib(64), events: QueueConfig::default(), captures: QueueConfig::default() }
    }
}

/// The bound of one row kind, and what happens there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QueueConfig {
    /// Most rows. Default 65,536; at least one batch, up to 1,048,576. Each takes 32 bytes per lane.
    pub max_rows: usize,
    /// What `send` does when there is no room. Default [`Policy::Block`].
    pub policy: Policy,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { max_rows: 65_536, policy: Policy::Block }
    }
}

/// What `send` does when there is no room for its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Waits: back-pressure to the producer, no loss.
    Block,
    /// Discards the new rows at once and counts them: for a sniffer that must never wait.
    DropNewest,
}

/// How a write that failed for a passing reason is tried again. It is tried until it succeeds or the pipeline ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryConfig {
    /// Wait before the second attempt; doubles from attempt to attempt, less up to half of it by chance.
    /// Default 50 ms; 1 ms to 1 h.
    #[serde(with = "duration")]
    pub initial: Duration,
    /// Longest wait. Default 5 s; at least `initial`, up to 1 h.
    #[serde(with = "duration")]
    pub max: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { initial: Duration::from_millis(50), max: Duration::from_secs(5) }
    }
}

/// Settings of the SQLite backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// What a commit survives. Default [`Synchronous::Normal`].
    pub synchronous: Synchronous,
    /// Most memory of the page cache, beside `buffer.max_bytes`. Default 256 MiB; 1 MiB to 1 TiB.
    pub cache: Bytes,
    /// How long one attempt waits for another program's write lock. Default 30 s; up to 1 h.
    #[serde(with = "duration")]
    pub busy_timeout: Duration,
    /// Rows at which the open segment of a kind is closed and indexed: so many have to be scanned by a query for an
    /// address. Default 32,768; 1 to 1,000,000, and a batch of more rows is not cut for it.
    pub segment_rows: usize,
    /// Bytes at which it is closed. Default 32 MiB; 1 KiB to 1 GiB.
    pub segment_bytes: Bytes,
    /// Age at which it is closed, so that retention can take it. Default 1 day; 1 s to 366 days.
    #[serde(with = "duration")]
    pub segment_age: Duration,
    /// Most rows of the segments that neighbours are merged into. Default 262,144; twice `segment_rows` to 100,000,000.
    pub merged_rows: usize,
    /// Most bytes of those. Default 256 MiB; twice `segment_bytes` to 1 TiB.
    pub merged_bytes: Bytes,
    /// Segments of one kind above which they are merged even under full load. Default 640, which 20 million rows without a pause come to; 16 to 100,000.
    pub max_segments: usize,
    /// Length of the write-ahead log at which writing waits because a reader's open transaction holds it. Passed by one
    /// batch at most. Default 16 GiB; 1 MiB to 1 TiB.
    pub max_wal: Bytes,
    /// Most questions about rows that one [`Repository`](crate::Repository) asks at once; who comes then waits. Each takes a
    /// connection, which is kept with up to 32 MiB of page cache of its own. Default 4; 1 to 64.
    pub readers: usize,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Normal,
            cache: Bytes::mib(256),
            busy_timeout: Duration::from_secs(30),
            segment_rows: 32_768,
            segment_bytes: Bytes::mib(32),
            segment_age: DAY,
            merged_rows: 262_144,
            merged_bytes: Bytes::mib(256),
            max_segments: 640,
            max_wal: Bytes::mib(16 << 10),
            readers: 4,
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// What is kept for how long, in the SQLite backend. Whole segments go, the oldest first, so that rows stay somewhat
/// longer than asked for; no row goes earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetentionConfig {
    /// How long after their commit rows are kept, by our clock: what a sensor says about time does not count. Default
    /// for ever; 1 s to 100 years.
    #[serde(with = "optional_duration")]
    pub max_age: Option<Duration>,
    /// How large the file may be, free pages not counted: the kind that takes more loses rows first. Default without
    /// bound; at least 1 MiB.
    pub max_bytes: Option<Bytes>,
    /// How many rows of each kind are kept. Default without bound; at least 1.
    pub max_rows: Option<u64>,
}

/// What a SQLite commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// A crash or kill -9 of the process; a power failure may undo the last commits, but never damages the file.
    Normal,
    /// A power failure too: every commit waits for the disk.
    Full,
}

/// Settings of the MySQL and MariaDB backend. What takes longer than a time limit here counts as failed, its connection is
/// closed, and the batch is written again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MysqlConfig {
    /// Batches that are written at once, each over a connection of its own. Default 4; 1 to 64.
    pub pool_size: usize,
    /// Connections beside those, for reading the ledger while all of them write. Default 1; up to 64.
    pub max_overflow: usize,
    /// Age at which a connection is replaced. Default 30 min; 1 s to 24 h.
    #[serde(with = "duration")]
    pub recycle: Duration,
    /// Whether a connection is tried, by a ping, before it is used. Default true. Without it the first batch after the
    /// server has closed a connection needs a second attempt.
    pub pre_ping: bool,
    /// Longest wait for one server to take a connection, with TLS and login, and as long again for our session's settings.
    /// Default 10 s; 1 ms to 1 h.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Longest wait for the answer to a ping. Default 5 s; 1 ms to 1 h.
    #[serde(with = "duration")]
    pub ping_timeout: Duration,
    /// Longest wait for the answer to any other statement. Default 30 s; 1 ms to 1 h.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// Longest time from the first row that somebody inserts until it is committed. Default 3 min; up to 1 h. A repository
    /// keeps counts of rows from then on, when those that were being written as it was first asked are there.
    #[serde(with = "duration")]
    pub longest_transaction: Duration,
    /// Whether a user without a password is accepted. Default false: it is nearly always a variable that was not set.
    pub allow_empty_password: bool,
}

impl Default for MysqlConfig {
    fn default() -> Self {
        Self {
            pool_size: 4,
            max_overflow: 1,
            recycle: Duration::from_secs(1800),
            pre_ping: true,
            connect_timeout: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            longest_transaction: Duration::from_secs(180),
            allow_empty_password: false,
        }
    }
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], naming the key path, the value and the bounds.
    pub fn validate(&self) -> Result<(), Error> {
        let rows = |key: &str, value: usize, low: usize, high: usize| bounded(key, value, low, high, usize::to_string);
        let bytes = |key: &str, value: Bytes, low: u64, high: u64| {
            bounded(key, value, Bytes(low), Bytes(high), Bytes::to_string)
        };
        let wait = |key: &str, value: Duration, low: Duration| {
            bounded(key, value, low, Duration::from_secs(3600), |d| duration_text(*d))
        };
        let ms = Duration::from_millis(1);
        rows("batch.max_rows", self.batch.max_rows, 1, 1_000_000)?;
        bytes("batch.max_bytes", self.batch.max_bytes, 1 << 10, 1 << 30)?;
        wait("batch.max_wait", self.batch.max_wait, Duration::ZERO)?;
        bytes("buffer.max_bytes", self.buffer.max_bytes, self.batch.max_bytes.0, 4 << 30)?;
        rows("buffer.events.max_rows", self.buffer.events.max_rows, self.batch.max_rows, 1 << 20)?;
        rows("buffer.captures.max_rows", self.buffer.captures.max_rows, self.batch.max_rows, 1 << 20)?;
        wait("retry.initial", self.retry.initial, ms)?;
        wait("retry.max", self.retry.max, self.retry.initial)?;
        bytes("sqlite.cache", self.sqlite.cache, 1 << 20, 1 << 40)?;
        bytes("sqlite.max_wal", self.sqlite.max_wal, 1 << 20, 1 << 40)?;
        wait("sqlite.busy_timeout", self.sqlite.busy_timeout, Duration::ZERO)?;
        let (sqlite, retention) = (&self.sqlite, &self.retention);
        let long = |key: &str, value: Duration, days: u32| {
            bounded(key, value, Duration::from_secs(1), DAY * days, |d| duration_text(*d))
        };
        rows("sqlite.segment_rows", sqlite.segment_rows, 1, 1_000_000)?;
        bytes("sqlite.segment_bytes", sqlite.segment_bytes, 1 << 10, 1 << 30)?;
        long("sqlite.segment_age", sqlite.segment_age, 366)?;
        rows("sqlite.merged_rows", sqlite.merged_rows, 2 * sqlite.segment_rows, 100_000_000)?;
        bytes("sqlite.merged_bytes", sqlite.merged_bytes, 2 * sqlite.segment_bytes.0, 1 << 40)?;
        rows("sqlite.max_segments", sqlite.max_segments, 16, 100_000)?;
        retention.max_age.map_or(Ok(()), |age| long("retention.max_age", age, 36_525))?;
        retention.max_bytes.map_or(Ok(()), |most| bytes("retention.max_bytes", most, 1 << 20, u64::MAX >> 1))?;
        let count = |most| bounded("retention.max_rows", most, 1, u64::MAX >> 1, u64::to_string);
        retention.max_rows.map_or(Ok(()), count)?;
        rows("sqlite.readers", sqlite.readers, 1, 64)?;
        rows("mysql.pool_size", self.mysql.pool_size, 1, 64)?;
        rows("mysql.max_overflow", self.mysql.max_overflow, 0, 64)?;
        long("mysql.recycle", self.mysql.recycle, 1)?;
        wait("mysql.connect_timeout", self.mysql.connect_timeout, ms)?;
        wait("mysql.ping_timeout", self.mysql.ping_timeout, ms)?;
        wait("mysql.statement_timeout", self.mysql.statement_timeout, ms)?;
        wait("mysql.longest_transaction", self.mysql.longest_transaction, Duration::ZERO)
    }
}

/// Checks one value against its bounds.
pub(crate) fn bounded<T: PartialOrd>(
    key: &str,
    value: T,
    low: T,
    high: T,
    text: fn(&T) -> String,
) -> Result<(), Error> {
    if value >= low && value <= high {
        return Ok(());
    }
    let [value, low, high] = [value, low, high].map(|bound| text(&bound));
    Err(Error::new(ErrorKind::Configuration, format!("{key} is {value}; it must be between {low} and {high}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wait of 1500 us was written as `1ms`, and one of 100 us as `0ms`: `config example` and whatever else writes
    /// settings would have changed them.
    #[test]
    fn a_duration_is_written_so_that_it_is_read_again() {
        for nanos in [0, 1, 1_000, 1_500_000, 50_000_000, 1_000_000_000, 1_000_000_001, u64::MAX / 4] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn a_value_out_of_bounds_is_named_with_its_path_and_its_bounds() {
        let mut config = Config::default();
        config.buffer.events.max_rows = 10;
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "buffer.events.max_rows is 10; it must be between 8192 and 1048576");
        let mut config = Config::default();
        config.buffer.max_bytes = Bytes::mib(1);
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "buffer.max_bytes is 1 MiB; it must be between 8 MiB and 4 GiB");
    }

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        let bytes = |text: &str| text.parse::<Bytes>().map(|b| b.0).ok();
        assert_eq!(["1", "2 KiB", "8MiB", "10 mb", "3B", " 1 gib "].map(bytes), {
            [Some(1), Some(2048), Some(8 << 20), Some(10_000_000), Some(3), Some(1 << 30)]
        });
        assert_eq!(["", "MiB", "-1", "1.5 GiB", "99999999999 GiB", "1 XB"].map(bytes), [None; 6]);
        assert_eq!(parse_duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_duration("-1s").is_err() && parse_duration("5").is_err());
        assert_eq!(["8 MiB", "1000 B"].map(|t| t.parse::<Bytes>().unwrap().to_string()), ["8 MiB", "1000 B"]);
    }
}
