//! SQLite: one file, one writing connection, one batch at a time.
//!
//! `open.rs` finds out what stands in the way of opening, `lock.rs` keeps every second writer out, `checkpoint.rs` keeps
//! the write-ahead log short, `error.rs` says what each error means. Here a batch becomes one transaction: BEGIN
//! IMMEDIATE, the ledger entries, the rows in statements of a few fixed sizes, COMMIT.
//!
//! Readers are never blocked (WAL). Another program that holds the write lock is waited for, 30 s an attempt. In-memory
//! producers' ledger rows matter only while the outcome of a batch is unknown; here there is one batch at a time, so
//! they are deleted soon after its commit.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::result::{Error as DieselError, QueryResult};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::Sqlite as SqliteDialect;

use super::sql::ledger::{LedgerRow, LedgerSpan, Merged, by_source, merge};
use super::sql::rows::{Cell, Columns, Dialect, Insert};
use super::sql::schema::ingest_ledger;
use super::{Backend, WriteError};
use crate::batch::{Batch, EPHEMERAL, RowRef};
use crate::capture::Capture;
use crate::config::SqliteConfig;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::ranges::Ranges;
use crate::reject::RejectedRow;
use crate::timestamp::Timestamp;

mod checkpoint;
mod error;
mod lock;
mod open;

use checkpoint::Checkpointer;
use lock::WriterLock;
use open::{Access, Identity, connect, identity};

/// Ledger entries after which the ledger is tidied up.
const TIDY_AFTER: usize = 1024;

/// A SQLite file, open for writing. At most one exists for each file, in all processes.
pub struct Sqlite {
    // Declared in the order in which they must go: connections before the lock.
    writer: Mutex<Writer>,
    _checkpointer: Checkpointer,
    path: PathBuf,
    /// A file that is moved or deleted must not be written any more.
    identity: Identity,
    config: SqliteConfig,
    _lock: WriterLock,
}

struct Writer {
    /// `None` after an error that may have left it in a state unknown to us.
    connection: Option<SqliteConnection>,
    /// Ledger entries and their lasting sources since the ledger was last tidied up.
    entries: usize,
    sources: BTreeSet<String>,
}

impl Sqlite {
    /// Opens the file at `path`, creating it (with mode 0600) and its tables as needed.
    ///
    /// # Errors
    /// One kind for each thing that can stand in the way: see [`ErrorKind`].
    pub fn open(path: &Path, config: &SqliteConfig) -> Result<Self, Error> {
        let (path, lock, connection) = open::open(path, config)?;
        let system = |what: &str| Error::new(ErrorKind::System, format!("{what} {}", path.display()));
        let identity = identity(&path).ok_or_else(|| system("look at"))?;
        let checkpointer =
            Checkpointer::start(path.clone(), identity).map_err(|error| system("start a thread for").because(error))?;
        let writer = Writer { connection: Some(connection), entries: 0, sources: BTreeSet::new() };
        Ok(Self {
            writer: Mutex::new(writer),
            _checkpointer: checkpointer,
            identity,
            path,
            config: config.clone(),
            _lock: lock,
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the writing connection. A refused row leaves a transaction that is rolled back; after any other
    /// error the connection is closed, and opened anew next time: so whatever the error left behind is gone.
    fn with_connection<T>(
        &self,
        writer: &mut Writer,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        self.check_present()?;
        let mut connection = match writer.connection.take() {
            Some(connection) => connection,
            None => self.reconnect().map_err(error::of_transaction)?,
        };
        let result = work(&mut connection);
        let is_clean = match &result {
            Ok(_) => true,
            // Opening anew for each piece of a cut batch would make a flood of bad rows expensive.
            Err(WriteError::Rejected { .. }) => connection.batch_execute("ROLLBACK").is_ok(),
            Err(_) => false,
        };
        if is_clean {
            writer.connection = Some(connection);
        }
        result
    }

    /// Finds out whether the path still names our file; another one that was put there is neither written nor read.
    fn check_present(&self) -> Result<(), WriteError> {
        if identity(&self.path) == Some(self.identity) {
            return Ok(());
        }
        let source =
            format!("{} was moved or deleted; put it back, or restart to begin a new file", self.path.display());
        Err(WriteError::Transient { reason: "file_gone", source: source.into() })
    }

    fn reconnect(&self) -> Result<SqliteConnection, DieselError> {
        let mut connection = connect(&self.path, Access::Write)?;
        open::configure(&mut connection, &self.config)?;
        Ok(connection)
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
        let mut writer = self.writer();
        self.with_connection(&mut writer, |connection| {
            connection.batch_execute("BEGIN IMMEDIATE").map_err(error::of_transaction)?;
            insert(connection, batch)?;
            connection.batch_execute("COMMIT").map_err(error::of_transaction)
        })?;
        writer.entries += batch.entries().len();
        for entry in batch.entries().iter().filter(|entry| !entry.is_ephemeral()) {
            if !writer.sources.contains(entry.source()) {
                writer.sources.insert(entry.source().to_owned());
            }
        }
        if writer.entries >= TIDY_AFTER {
            self.tidy(&mut writer, EPHEMERAL);
        }
        Ok(())
    }

    fn ping(&self) -> Result<(), WriteError> {
        self.with_connection(&mut self.writer(), |connection| {
            connection.batch_execute("SELECT 1 FROM ingest_ledger LIMIT 1").map_err(error::of_transaction)
        })
    }

    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        use ingest_ledger::dsl;
        self.check_present()?;
        let mut reader = connect(&self.path, Access::Read).map_err(error::of_transaction)?;
        let query = dsl::ingest_ledger.filter(dsl::source.ge(prefix)).order((dsl::source, dsl::first));
        let spans = query.select((dsl::source, dsl::first, dsl::last)).load_iter::<LedgerSpan, _>(&mut reader);
        let spans = spans.map_err(error::of_transaction)?;
        let wanted = spans.take_while(|span| span.as_ref().map_or(true, |(source, ..)| source.starts_with(prefix)));
        wanted.collect::<QueryResult<Vec<_>>>().map(by_source).map_err(error::of_transaction)
    }

    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        let mut writer = self.writer();
        // Tidying is no reason to keep a shutdown waiting for somebody else's lock.
        self.with_connection(&mut writer, |connection| {
            connection.batch_execute("PRAGMA busy_timeout=100").map_err(error::of_transaction)
        })?;
        self.tidy(&mut writer, ephemeral);
        self.with_connection(&mut writer, |connection| {
            // Leaves one file behind. Fails without harm while somebody reads.
            connection.batch_execute("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)").map_err(error::of_transaction)
        })
    }
}

impl Sqlite {
    /// Deletes ledger rows of in-memory producers and merges touching ranges. Only right after a commit, when no batch
    /// could have to be tried again. A failure is no harm: the next time does it.
    fn tidy(&self, writer: &mut Writer, ephemeral: &str) {
        let sources = std::mem::take(&mut writer.sources);
        writer.entries = 0;
        let tidied = self.with_connection(writer, |connection| {
            connection
                .immediate_transaction(|connection| {
                    let after = format!("{}0", ephemeral.trim_end_matches('/'));
                    use ingest_ledger::dsl;
                    let gone = dsl::ingest_ledger.filter(dsl::source.ge(ephemeral)).filter(dsl::source.lt(after));
                    diesel::delete(gone).execute(connection)?;
                    sources.iter().try_for_each(|source| merge_ranges(connection, source))
                })
                .map_err(error::of_transaction)
        });
        if let Err(error) = tidied {
            tracing::debug!(%error, "tidy up the ledger");
            writer.sources.extend(sources);
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

/// Inserts what is not in the ledger yet.
fn insert(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), WriteError> {
    let now = Timestamp::now();
    let mut events = Numbered::with_capacity(batch.len());
    let mut captures = Numbered::with_capacity(batch.len());
    let mut index = 0;
    for entry in batch.entries() {
        let ledger = diesel::insert_or_ignore_into(ingest_ledger::table).values(LedgerRow::of(entry, now));
        if ledger.execute(connection).map_err(error::of_transaction)? == 0 {
            index += entry.row_count();
            continue;
        }
        for row in entry.rows() {
            match row {
                RowRef::Event(event) => events.push(index, event),
                RowRef::Capture(capture) => captures.push(index, capture),
                RowRef::Rejected(row) => {
                    set_aside(connection, &row, now).map_err(|error| error::of_rows(error, vec![index]))?;
                }
            }
            index += 1;
        }
    }
    insert_rows::<Event>(connection, &events)?;
    insert_rows::<Capture>(connection, &captures)
}

fn set_aside(connection: &mut SqliteConnection, rejected: &RejectedRow<'_>, now: Timestamp) -> QueryResult<usize> {
    use super::sql::schema::ingest_rejects::dsl::{
        at, detail, ingest_rejects, position, reason, row, source, table_name,
    };
    let values = (
        at.eq(now.as_nanos()),
        table_name.eq(rejected.table.table()),
        source.eq(rejected.source),
        position.eq(i64::try_from(rejected.position).unwrap_or(i64::MAX)),
        reason.eq(rejected.reason),
        detail.eq(rejected.detail),
        row.eq(&rejected.row),
    );
    diesel::insert_into(ingest_rejects).values(values).execute(connection)
}

/// Rows of one table, with their numbers in the batch.
struct Numbered<'a, R> {
    rows: Vec<&'a R>,
    numbers: Vec<usize>,
}

impl<'a, R> Numbered<'a, R> {
    fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), numbers: Vec::with_capacity(rows) }
    }

    fn push(&mut self, number: usize, row: &'a R) {
        self.rows.push(row);
        self.numbers.push(number);
    }
}

/// Inserts rows in statements of 100, then of 10, then single ones: three shapes, each prepared once.
fn insert_rows<R: Columns>(connection: &mut SqliteConnection, numbered: &Numbered<'_, R>) -> Result<(), WriteError> {
    let mut done = 0;
    done += insert_chunks::<R, 100>(connection, numbered, done)?;
    done += insert_chunks::<R, 10>(connection, numbered, done)?;
    insert_chunks::<R, 1>(connection, numbered, done)?;
    Ok(())
}

/// Inserts as many rows, from `from` on, as fill statements of `N`; returns how many.
fn insert_chunks<R: Columns, const N: usize>(
    connection: &mut SqliteConnection,
    numbered: &Numbered<'_, R>,
    from: usize,
) -> Result<usize, WriteError> {
    let (chunks, rest) = numbered.rows[from..].as_chunks::<N>();
    for (index, rows) in chunks.iter().enumerate() {
        let here = || numbered.numbers[from + index * N..][..N].to_vec();
        let stored = Insert::new(rows).execute(connection).map_err(|error| error::of_rows(error, here()))?;
        if stored != N {
            let detail = format!("a trigger let the database store only {stored} of {N} rows");
            return Err(WriteError::Rejected { rows: here(), detail });
        }
    }
    Ok(numbered.rows.len() - from - rest.len())
}

impl Dialect for SqliteDialect {
    /// `OR FAIL` spares the statement journal that a multi-row INSERT into an indexed table would write; a violation is
    /// still reported, and the transaction rolled back.
    const INSERT_INTO: &'static str = "INSERT OR FAIL INTO ";

    fn bind<'b>(out: &mut AstPass<'_, 'b, Self>, cell: &'b Cell<'b>) -> QueryResult<()> {
        match cell {
            Cell::Number(value) => out.push_bind_param::<BigInt, _>(value),
            Cell::Small(value) => out.push_bind_param::<Nullable<Integer>, _>(value),
            Cell::Text(value) => out.push_bind_param::<Nullable<Text>, _>(value),
            Cell::Bytes(value) => out.push_bind_param::<Binary, _>(value),
        }
    }
}
