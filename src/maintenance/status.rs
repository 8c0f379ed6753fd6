//! What a database tells of itself, and what is found wrong with it. Plain data.

use crate::timestamp::Timestamp;

/// A database at one moment, beside or without a running pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseStatus {
    /// Name of its backend.
    pub backend: &'static str,
    /// Its version, as it says it.
    pub server: String,
    /// Version of its tables; `None` when it has none of ours.
    pub schema: Option<i64>,
    /// Version that this forebay makes.
    pub known_schema: i64,
    /// Its tables that are ours.
    pub tables: Vec<TableStatus>,
    /// What the ledger holds.
    pub ledger: LedgerStatus,
    /// Rows that were set aside.
    pub rejects: u64,
    /// The latest event and capture, by their own time.
    pub newest: [Option<Timestamp>; 2],
    /// Bytes in the log that are to be moved into the file (SQLite).
    pub log_bytes: Option<u64>,
    /// How far it is behind the server that it copies, in seconds; `None` when it copies none, or does not say.
    pub replica_seconds: Option<u64>,
    /// Who holds locks; `None` when we may not see that.
    pub locks: Option<Vec<String>>,
    /// What whoever runs it should know, with what to do.
    pub warnings: Vec<String>,
}

/// One table, or all segments of a kind of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Whether the rows were counted; else they are the server's estimate.
    pub is_counted: bool,
    /// About how many bytes it takes, its indexes included.
    pub bytes: u64,
}

/// What the ledger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerStatus {
    /// Sources that can be read again.
    pub sources: u64,
    /// Its rows for them: one for each range of positions.
    pub ranges: u64,
    /// Its rows for in-memory producers, which go by themselves.
    pub ephemeral: u64,
}

/// Something that is wrong with a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table, or what else it is about.
    pub place: String,
    /// What is wrong.
    pub detail: String,
}

impl Finding {
    /// Takes both parts.
    pub fn new(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: place.into(), detail: detail.into() }
    }
}
