//! Drops what retention does not keep any more, now.
//!
//! A running pipeline does the same by itself with the same rules; this is for a file that nobody writes to.

use std::ops::ControlFlow;

use crate::chunk::RowKind;
use crate::config::Config;
use crate::database_url::DatabaseUrl;
use crate::error::{Error, ErrorKind};
use crate::timestamp::Timestamp;

/// A segment that was dropped, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Which rows it held.
    pub kind: RowKind,
    /// How many.
    pub rows: u64,
    /// About how many bytes of the file, its indexes included.
    pub bytes: u64,
    /// Its earliest row, by the row's own time.
    pub first: Option<Timestamp>,
    /// Its latest row, by the row's own time.
    pub last: Option<Timestamp>,
    /// The limit that was passed: `max_age`, `max_bytes`, `max_rows`.
    pub reason: &'static str,
}

/// What pruning did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// In the order in which they went.
    pub dropped: Vec<Dropped>,
    /// Rows that are left: events, captures.
    pub kept: [u64; 2],
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file after; about, of a plan.
    pub after: u64,
    /// Whether it was stopped before its end.
    pub is_stopped: bool,
}

/// How far pruning is; given between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Segments dropped.
    pub dropped: u64,
    /// Bytes that are to be given back yet.
    pub free: u64,
}

/// Drops whole oldest segments as `config.retention` says, and gives their space back to the file system in small steps.
///
/// `go_on` is asked between two steps: breaking off leaves a sound file, and the next run continues.
///
/// # Errors
/// [`ErrorKind::InUse`] while a pipeline writes to the database, [`ErrorKind::Unsupported`] for one without segments, and
/// what opening the database may say.
pub fn prune(
    url: &DatabaseUrl,
    config: &Config,
    go_on: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Pruned, Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::prune(path, config, go_on),
        _ => {
            let _ = go_on;
            Err(no_segments())
        }
    }
}

/// Returns what [`prune`] would drop; changes nothing, and may run beside a writer.
///
/// # Errors
/// As [`prune`], but for [`ErrorKind::InUse`].
pub fn plan_prune(url: &DatabaseUrl, config: &Config) -> Result<Pruned, Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::plan_prune(path, config),
        _ => Err(no_segments()),
    }
}

fn no_segments() -> Error {
    Error::new(ErrorKind::Unsupported, "only a SQLite database can be pruned; name one like `sqlite:forebay.db`")
}
