//! SQLite: one file, one writing connection, one batch at a time.
//!
//! `open.rs` finds out what stands in the way of opening, `lock.rs` keeps every second writer out, `file.rs` holds the
//! writing connection, `insert.rs` makes statements of a batch, `segments/` keeps the file as fast as it began,
//! `housekeeper.rs` works on them in quiet moments, `checkpoint.rs` and `wal.rs` keep the write-ahead log short,
//! `error.rs` says what each error means; `prune.rs`, `inspect.rs` and `reset.rs` work by hand; `reader/` answers a repository's questions
//! about rows, `store.rs` keeps state, deployments and users. A batch is one transaction: BEGIN IMMEDIATE, the ledger
//! entries, the rows, COMMIT.
//!
//! Readers are never blocked (WAL). Another program that holds the write lock is waited for, 30 s an attempt. In-memory
//! producers' ledger rows matter only while the outcome of a batch is unknown; here there is one batch at a time, so
//! they are deleted soon after its commit.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::QueryResult;

use super::sql::ledger::{LedgerSpan, Merged, by_source, merge, orphaned_before};
use super::sql::schema::ingest_ledger;
use super::{Backend, WriteError};
use crate::batch::{Batch, EPHEMERAL};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::ranges::Ranges;
use crate::timestamp::Timestamp;

mod checkpoint;
mod compat;
mod error;
mod file;
mod housekeeper;
mod insert;
mod inspect;
mod lock;
mod open;
mod prune;
mod reader;
mod reset;
mod segments;
mod store;
mod wal;

use checkpoint::Checkpointer;
pub(crate) use compat::{add_decnet_views, drop_decnet_views};
use file::{File, Open, Writer};
use housekeeper::Housekeeper;
pub(crate) use inspect::{check, status};
use lock::WriterLock;
use open::{Access, connect, identity, unusable};
pub(crate) use prune::{plan_prune, prune};
pub(crate) use reader::Reader;
pub(crate) use reset::{init, reset};
pub(crate) use store::SqliteStore;
use wal::Log;

/// Ledger entries after which the ledger is tidied up.
const TIDY_AFTER: usize = 1024;

/// A SQLite file, open for writing. At most one exists for each file, in all processes.
pub struct Sqlite {
    // Declared in the order in which they must go: threads, then connections, then the lock.
    _housekeeper: Housekeeper,
    _checkpointer: Checkpointer,
    file: Arc<File>,
    untidy: Mutex<Untidy>,
    _lock: WriterLock,
}

/// Ledger entries and their lasting sources since the ledger was last tidied up.
#[derive(Default)]
struct Untidy {
    entries: usize,
    sources: BTreeSet<String>,
}

impl Sqlite {
    /// Opens the file at `path`, creating it (with mode 0600) and its tables as needed.
    ///
    /// # Errors
    /// One kind for each thing that can stand in the way: see [`ErrorKind`].
    pub fn open(path: &Path, config: &Config) -> Result<Self, Error> {
        let (path, lock, mut connection) = open::open(path, &config.sqlite)?;
        let system = |what: &str| Error::new(ErrorKind::System, format!("{what} {}", path.display()));
        let identity = identity(&path).ok_or_else(|| system("look at"))?;
        let log = Log::new(&path, &config.sqlite, &mut connection).map_err(|error| unusable(&path, error))?;
        let log = Arc::new(log);
        let checkpointer = Checkpointer::start(path.clone(), identity, Arc::clone(&log));
        let checkpointer = checkpointer.map_err(|error| system("start a thread for").because(error))?;
        let file =
            File::new((path.clone(), identity), log, connection, config).map_err(|error| unusable(&path, error))?;
        let file = Arc::new(file);
        let housekeeper =
            Housekeeper::start(Arc::clone(&file)).map_err(|error| system("start a thread for").because(error))?;
        Ok(Self { _housekeeper: housekeeper, _checkpointer: checkpointer, file, untidy: Mutex::default(), _lock: lock })
    }
}

impl Backend for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn max_in_flight(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        let mut writer = self.file.write(batch)?;
        let mut untidy = self.untidy.lock().unwrap_or_else(PoisonError::into_inner);
        untidy.entries += batch.entries().len();
        for entry in batch.entries().iter().filter(|entry| !entry.is_ephemeral()) {
            if !untidy.sources.contains(entry.source()) {
                untidy.sources.insert(entry.source().to_owned());
            }
        }
        if untidy.entries >= TIDY_AFTER {
            self.tidy(&mut writer, &mut untidy, EPHEMERAL);
        }
        Ok(())
    }

    fn ping(&self) -> Result<(), WriteError> {
        self.file.with_connection(&mut self.file.writer(), |Open { connection, .. }| {
            connection.batch_execute("SELECT 1 FROM ingest_ledger LIMIT 1").map_err(error::of_transaction)
        })
    }

    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        use ingest_ledger::dsl;
        self.file.check_present()?;
        let mut reader = connect(&self.file.path, Access::Read).map_err(error::of_transaction)?;
        let query = dsl::ingest_ledger.filter(dsl::source.ge(prefix)).order((dsl::source, dsl::first));
        let spans = query.select((dsl::source, dsl::first, dsl::last)).load_iter::<LedgerSpan, _>(&mut reader);
        let spans = spans.map_err(error::of_transaction)?;
        let wanted = spans.take_while(|span| span.as_ref().map_or(true, |(source, ..)| source.starts_with(prefix)));
        wanted.collect::<QueryResult<Vec<_>>>().map(by_source).map_err(error::of_transaction)
    }

    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        let mut writer = self.file.writer();
        self.file.rest(&mut writer);
        // Tidying is no reason to keep a shutdown waiting for somebody else's lock.
        self.file.with_connection(&mut writer, |Open { connection, .. }| {
            connection.batch_execute("PRAGMA busy_timeout=100").map_err(error::of_transaction)
        })?;
        self.tidy(&mut writer, &mut self.untidy.lock().unwrap_or_else(PoisonError::into_inner), ephemeral);
        self.file.with_connection(&mut writer, |Open { connection, .. }| {
            // Leaves one file behind. Fails without harm while somebody reads or writes; for them, too, shutdown does not
            // wait, and the connection may be a new one by now.
            connection
                .batch_execute("PRAGMA busy_timeout=100; PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)")
                .map_err(error::of_transaction)
        })
    }
}

impl Sqlite {
    /// Deletes ledger rows of in-memory producers and merges touching ranges. Only right after a commit, when no batch
    /// could have to be tried again. A failure is no harm: the next time does it.
    fn tidy(&self, writer: &mut Writer, untidy: &mut Untidy, ephemeral: &str) {
        let Untidy { sources, .. } = std::mem::take(untidy);
        let tidied = self.file.with_connection(writer, |Open { connection, .. }| {
            connection
                .immediate_transaction(|connection| {
                    let after = format!("{}0", ephemeral.trim_end_matches('/'));
                    use ingest_ledger::dsl;
                    let gone = dsl::ingest_ledger.filter(dsl::source.ge(ephemeral)).filter(dsl::source.lt(after));
                    diesel::delete(gone).execute(connection)?;
                    // What processes that were killed before they got here have left.
                    let orphans =
                        dsl::ingest_ledger.filter(dsl::source.ge(EPHEMERAL)).filter(dsl::source.lt("memory0"));
                    let orphans = orphans.filter(dsl::at.lt(orphaned_before(Timestamp::now())));
                    diesel::delete(orphans).execute(connection)?;
                    sources.iter().try_for_each(|source| merge_ranges(connection, source))
                })
                .map_err(error::of_transaction)
        });
        if let Err(error) = tidied {
            tracing::debug!(%error, "tidy up the ledger");
            untidy.sources.extend(sources);
        }
    }
}

fn merge_ranges(connection: &mut SqliteConnection, name: &str) -> QueryResult<()> {
    use super::sql::schema::ingest_ledger::dsl::{at, first, ingest_ledger, last, rows, source};
    let of_source = ingest_ledger.filter(source.eq(name));
    let spans: Vec<Merged> = of_source.select((first, last, rows)).order(first).load(connection)?;
    let Some(merged) = merge(&spans) else { return Ok(()) };
    diesel::delete(of_source).execute(connection)?;
    let now = Timestamp::now().as_nanos();
    for (low, high, count) in merged {
        let row = (source.eq(name), first.eq(low), last.eq(high), rows.eq(count), at.eq(now));
        diesel::insert_into(ingest_ledger).values(row).execute(connection)?;
    }
    Ok(())
}
