//! What a database must be able to do to stand behind a pipeline.
//!
//! A backend is blocking: the pipeline calls [`Backend::write`] from `max_in_flight` threads of its own. So no write is
//! ever dropped half-way (a thread cannot be cancelled as a future can), SQLite needs no async detour, and an async
//! driver runs on a runtime that its backend owns and blocks on. Turned down: an `async fn` here, which would have cost
//! SQLite a hop per batch and every backend the question what a dropped future leaves behind.
//!
//! To add one: call the conformance tests, write the folder, add one variant to `DatabaseUrl` and one arm to
//! `pipeline/open.rs`.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroUsize;

use crate::batch::Batch;
use crate::ranges::Ranges;

pub mod memory;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// A database that takes batches.
pub trait Backend: Send + Sync + 'static {
    /// Returns the name of the kind of database: a metric label.
    fn name(&self) -> &'static str;

    /// Returns how many writes may run at once. One means serialized.
    fn max_in_flight(&self) -> NonZeroUsize;

    /// Commits the whole batch, or none of it, in one transaction: each row into the table that it is for, an event's
    /// derived capture with it, and one ledger row for each entry.
    ///
    /// An entry whose `(source, first)` is in the ledger already has been committed earlier: its rows are skipped, and
    /// the rest is written. So a batch whose fate is unknown is simply written again.
    ///
    /// # Errors
    /// See [`WriteError`]; in every case nothing of the batch is committed, or it is not known ([`WriteError::Transient`]).
    fn write(&self, batch: &Batch) -> Result<(), WriteError>;

    /// Returns once the database has answered.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn ping(&self) -> Result<(), WriteError>;

    /// Returns what the ledger has of every source whose name begins with `prefix`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError>;

    /// Is called once, when nothing is in flight any more and no batch will come. Forgets ledger rows whose source
    /// begins with `ephemeral`: their producers are gone.
    ///
    /// # Errors
    /// As [`write`](Self::write); the pipeline logs it and goes on closing.
    fn close(&self, ephemeral: &str) -> Result<(), WriteError>;
}

/// Why a write failed, by what the writer does next.
#[derive(Debug)]
pub enum WriteError {
    /// A passing state, or an unknown outcome: the same batch is written again after a wait.
    Transient {
        /// One word of a fixed set, for metrics: `locked`, `disk_full`, `io`, `connection` ...
        reason: &'static str,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The database refuses some row; nothing is committed, for certain. The writer cuts the batch until the bad rows
    /// stand alone, and sets them aside.
    Rejected {
        /// Rows of the batch, counted in its order, ascending and not empty, of which at least one is refused, itself or
        /// the capture derived from it; none of an entry that was in the ledger already. The fewer the better.
        rows: Vec<usize>,
        /// Why, for people.
        detail: String,
    },
    /// Writing cannot succeed again without somebody's help: the lane fails.
    Fatal {
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// The reason of a passing failure that whoever runs the database must mend: a password, a grant, a version.
pub const REFUSED: &str = "refused";

impl WriteError {
    /// Returns whether waiting alone may mend it.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Transient { reason, .. } if *reason != REFUSED)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient { source, .. } | Self::Fatal { source } => write!(f, "{source}"),
            Self::Rejected { detail, .. } => write!(f, "row refused: {detail}"),
        }
    }
}

impl StdError for WriteError {}
