//! Answers a repository's questions from a SQLite file, segment by segment.
//!
//! The views `events` and `captures` are for people and their tools. Here each query reads the catalogue, leaves out the
//! segments that its ranges cannot touch, asks each of the others by a statement of its own and puts the answers
//! together: SQLite pushes no aggregate into the arms of a view, and prepares all of its arms for a page that one would
//! fill. Everything is read in one transaction, so an answer is of one moment, whatever is being merged or dropped
//! meanwhile. `arms` decides where to look, `page` and `tally` do it, `record` makes rows, `sql` keeps values bound.
//!
//! Connections are read-only and never wait for the writer. A few are kept, with their prepared statements.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use diesel::connection::{CacheSize, Connection as _, SimpleConnection};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable};

use super::open::{Access, SCHEMA_VERSION, check_owner, connect, pragma_number, unusable};
use crate::chunk::RowKind;
use crate::error::{Error, ErrorKind};
use crate::repository::{Bucket, Filter, Page, Paging, Table, Tally};

mod arms;
mod page;
mod record;
mod sql;
mod tally;

use arms::Arm;
use record::Fetch;
use sql::Sql;

/// Most connections that wait for the next query.
const MOST_IDLE: usize = 4;
/// Most statements that a connection keeps prepared: a few KiB each, and one for each segment and shape of a question.
const MOST_STATEMENTS: usize = 2048;
/// Page cache of a connection, in KiB.
const CACHE_KIB: u32 = 32 << 10;

/// A SQLite file, open for reading.
pub(crate) struct Reader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// A connection, with the shapes of the statements that it keeps.
struct Connection {
    sqlite: SqliteConnection,
    shapes: HashSet<u64>,
}

impl Reader {
    /// Opens the file at `path`, which a writer of this version must have made or brought up to date.
    ///
    /// # Errors
    /// One kind for each thing that can stand in the way: see [`ErrorKind`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let system = |error| {
            let why = format!("find {}; a database is made by the first program that writes to it", path.display());
            Error::new(ErrorKind::System, why).because(error)
        };
        let path = path.canonicalize().map_err(system)?;
        let reader = Self { path, idle: Mutex::default() };
        let mut connection = reader.connect()?;
        check_owner(&mut connection.sqlite, &reader.path)?;
        let version = pragma_number(&mut connection.sqlite, "user_version");
        let version = version.map_err(|error| unusable(&reader.path, error))?;
        if version < SCHEMA_VERSION {
            let why =
                format!("{} has schema version {version}, this forebay reads {SCHEMA_VERSION}", reader.path.display());
            let advice = "write to it once with this forebay, which brings it up to date";
            return Err(Error::new(ErrorKind::OlderSchema, format!("{why}; {advice}")));
        }
        reader.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(reader)
    }

    fn connect(&self) -> Result<Connection, Error> {
        let open = || {
            let mut sqlite = connect(&self.path, Access::Read)?;
            sqlite.batch_execute(&format!("PRAGMA cache_size=-{CACHE_KIB}"))?;
            Ok(Connection { sqlite, shapes: HashSet::new() })
        };
        open().map_err(|error| unusable(&self.path, error))
    }

    /// Runs `work` in one transaction, with the segments of a kind that `filter` does not leave out.
    fn ask<R: Fetch, T>(
        &self,
        filter: &Filter<R::Column>,
        work: impl FnOnce(&mut Connection, Vec<Arm>) -> QueryResult<T>,
    ) -> Result<T, Error> {
        let _query = tracing::debug_span!("query", table = R::KIND.table()).entered();
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = kept.map_or_else(|| self.connect(), Ok)?;
        connection.sqlite.batch_execute("BEGIN").map_err(|error| self.failed(R::KIND, error))?;
        let answer = arms(&mut connection, R::KIND).and_then(|arms| work(&mut connection, arms::prune(arms, filter)));
        // Nothing was written: however it ends, it only lets the snapshot go.
        let ended = connection.sqlite.batch_execute("COMMIT");
        let answer = answer.and_then(|answer| ended.map(|()| answer)).map_err(|error| self.failed(R::KIND, error))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
        Ok(answer)
    }

    fn failed(&self, kind: RowKind, error: diesel::result::Error) -> Error {
        let what = format!("read {} of {}", kind.table(), self.path.display());
        Error::new(ErrorKind::Database, what).because(error)
    }
}

impl Connection {
    /// Takes note of a statement before it is run: a connection that has kept too many forgets them all, since those of
    /// segments that are gone would stay for ever.
    fn keep(&mut self, sql: &Sql) -> &mut SqliteConnection {
        if self.shapes.insert(sql.shape()) && self.shapes.len() > MOST_STATEMENTS {
            self.sqlite.set_prepared_statement_cache_size(CacheSize::Disabled);
            self.sqlite.set_prepared_statement_cache_size(CacheSize::Unbounded);
            self.shapes = HashSet::from([sql.shape()]);
        }
        &mut self.sqlite
    }
}

/// Reads the catalogue: a kind's segments in sight.
fn arms(connection: &mut Connection, kind: RowKind) -> QueryResult<Vec<Arm>> {
    type Known = Nullable<BigInt>;
    type Row = (i64, i64, i64, Option<i64>, Option<i64>, Option<i64>);
    let sql = "SELECT number, indexes, first_id, last_id, first_ts, last_ts FROM segments \
               WHERE state IN ('open', 'closed') AND kind = ";
    let sql = Sql::default().own(sql).text(kind.table());
    let sqlite = connection.keep(&sql);
    let rows = sql.returning::<(BigInt, BigInt, BigInt, Known, Known, Known)>().load_iter::<Row, _>(sqlite)?;
    let indexes = super::segments::index_count(kind);
    rows.map(|row| {
        let (number, built, first_id, last_id, first_ts, last_ts) = row?;
        let table = super::segments::table(kind, number);
        let times = (first_ts.unwrap_or(i64::MIN), last_ts.unwrap_or(i64::MAX));
        let is_indexed = usize::try_from(built).is_ok_and(|built| built >= indexes);
        Ok(Arm { table, times, ids: (first_id, last_id.unwrap_or(i64::MAX)), is_indexed })
    })
    .collect()
}

impl<R: Fetch> Table<R> for Reader {
    fn page(&self, filter: &Filter<R::Column>, paging: &Paging) -> Result<Page<R>, Error> {
        self.ask::<R, _>(filter, |connection, arms| page::page(connection, arms, filter, paging))
    }

    fn count(&self, filter: &Filter<R::Column>) -> Result<u64, Error> {
        self.ask::<R, _>(filter, |connection, arms| tally::count(connection, &arms, filter))
    }

    fn count_by(&self, column: R::Column, filter: &Filter<R::Column>, limit: usize) -> Result<Vec<Tally>, Error> {
        self.ask::<R, _>(filter, |connection, arms| tally::count_by(connection, &arms, column, filter, limit))
    }

    fn histogram(&self, filter: &Filter<R::Column>, bucket: Duration) -> Result<Vec<Bucket>, Error> {
        self.ask::<R, _>(filter, |connection, arms| tally::histogram::<R>(connection, &arms, filter, bucket))
    }
}
