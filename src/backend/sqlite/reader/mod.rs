//! Answers a repository's questions from a SQLite file, segment by segment; the questions are in `sql/query`.
//!
//! The views `events` and `captures` are for people and their tools. Here each query reads the catalogue, leaves out the
//! segments that its ranges cannot touch, asks each of the others by a statement of its own and puts the answers
//! together: SQLite pushes no aggregate into the arms of a view, and prepares all of its arms for a page that one would
//! fill. Everything is read in one transaction, so an answer is of one moment, whatever is being merged or dropped
//! meanwhile.
//!
//! Connections are read-only and never wait for the writer, nor does it wait for them: long work gives way (`aside.rs`).
//! There are so many at most, kept with their prepared statements; who comes when all are in use waits for one.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use diesel::connection::{CacheSize, Connection as _, SimpleConnection};
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::open::{Access, SCHEMA_VERSION, check_owner, connect, pragma_number, unusable};
use crate::backend::sql::query::arms::{Arm, prune};
use crate::backend::sql::query::quarters::Kept;
use crate::backend::sql::query::record::{CaptureRow, CaptureSql, EventRow, EventSql, Fetch};
use crate::backend::sql::query::statement::{Returning, Sql};
use crate::backend::sql::query::{Database, Extent, Grouped, Keyed, Snapshot};
use crate::backend::sql::turns::Turns;
use crate::chunk::RowKind;
use crate::error::{Error, ErrorKind};
use crate::repository::Filter;

mod aside;
mod counted;
mod functions;

use counted::{Counted, Identity};
use functions::SqliteWords;

/// Most statements that a connection keeps prepared: a few KiB each, and one for each segment and shape of a question.
const MOST_STATEMENTS: usize = 2048;
/// Page cache of a connection, in KiB.
const CACHE_KIB: u32 = 32 << 10;

/// A SQLite file, open for reading.
pub(crate) struct Reader {
    path: PathBuf,
    desks: Mutex<Desks>,
    counted: Arc<Counted>,
    is_free: Condvar,
    turns: Turns,
}

/// Connections that nobody uses, and how many more there may be.
struct Desks {
    idle: Vec<Connection>,
    more: usize,
}

/// A connection, with the shapes of the statements that it keeps.
pub(crate) struct Connection {
    path: PathBuf,
    sqlite: SqliteConnection,
    shapes: HashSet<u64>,
    /// Each kind's segments in sight, of the version of the file that they were read from.
    catalogue: [Option<(i64, Vec<Arm>)>; 2],
    counted: Arc<Counted>,
}

impl Reader {
    /// Opens the file at `path`, which a writer of this version must have made or brought up to date, for that many
    /// queries at a time.
    ///
    /// # Errors
    /// One kind for each thing that can stand in the way: see [`ErrorKind`].
    pub(crate) fn open(path: &Path, connections: usize) -> Result<Self, Error> {
        let system = |error| {
            let why = format!("find {}; a database is made by the first program that writes to it", path.display());
            Error::new(ErrorKind::System, why).because(error)
        };
        let path = path.canonicalize().map_err(system)?;
        let counted = Arc::default();
        let mut connection = Connection::open(&path, &counted)?;
        check_owner(&mut connection.sqlite, &path)?;
        let version = pragma_number(&mut connection.sqlite, "user_version");
        let version = version.map_err(|error| unusable(&path, error))?;
        if version < SCHEMA_VERSION {
            let why = format!("{} has schema version {version}, this forebay reads {SCHEMA_VERSION}", path.display());
            let advice = "write to it once with this forebay, which brings it up to date";
            return Err(Error::new(ErrorKind::OlderSchema, format!("{why}; {advice}")));
        }
        let desks = Desks { idle: vec![connection], more: connections.max(1) - 1 };
        Ok(Self { path, desks: Mutex::new(desks), counted, is_free: Condvar::new(), turns: aside::turns() })
    }

    /// Takes a connection, which [`give_back`](Self::give_back) must follow; waits while all are in use.
    fn take(&self) -> Result<Connection, Error> {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = desks.idle.pop() {
                return Ok(connection);
            }
            if desks.more > 0 {
                desks.more -= 1;
                drop(desks);
                return Connection::open(&self.path, &self.counted).inspect_err(|_| self.give_back(None));
            }
            desks = self.is_free.wait(desks).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives a connection back, or the place of one that is closed.
    fn give_back(&self, connection: Option<Connection>) {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        match connection {
            Some(connection) => desks.idle.push(connection),
            None => desks.more += 1,
        }
        drop(desks);
        self.is_free.notify_one();
    }
}

/// Gives a connection back, or its place, also when the work panics.
struct Taken<'a> {
    reader: &'a Reader,
    connection: Option<Connection>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.reader.give_back(self.connection.take());
    }
}

impl Database for Reader {
    type Snapshot = Connection;
    type Dialect = SqliteWords;
    const NAME: &'static str = "sqlite";

    fn ask<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut connection = self.take()?;
        // Put there when its work has ended well: one that is left in the middle of something is closed.
        let mut taken = Taken { reader: self, connection: None };
        connection.run("BEGIN")?;
        let answer = work(&mut connection);
        // Nothing was written: however it ends, it only lets the snapshot go.
        let ended = connection.run("COMMIT");
        let answer = answer.and_then(|answer| ended.map(|()| answer))?;
        taken.connection = Some(connection);
        Ok(answer)
    }

    fn aside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        aside::aside(&self.turns, work)
    }

    /// There is one writer, and it commits in the order of ids.
    fn settled(&self, kind: RowKind, after: i64) -> Result<i64, Error> {
        self.ask(|connection| {
            let mut arms = arms(connection, kind).map_err(|error| connection.failed(error))?;
            arms.retain(|arm| arm.ids.1 > after);
            arms.sort_by_key(|arm| std::cmp::Reverse(arm.ids.0));
            for arm in arms {
                let sql = Sql::default().own("SELECT 0, NULL, max(id) FROM ").own(arm.table);
                if let Some((_, _, Some(newest))) = connection.extents(sql)?.first() {
                    return Ok(after.max(*newest));
                }
            }
            Ok(after)
        })
    }

    fn arms<R: Fetch>(connection: &mut Connection, filter: &Filter<R::Column>) -> Result<Vec<Arm>, Error> {
        let arms = arms(connection, R::KIND).map_err(|error| connection.failed(error))?;
        Ok(prune(arms, filter))
    }
}

impl Connection {
    fn open(path: &Path, counted: &Arc<Counted>) -> Result<Self, Error> {
        let open = || {
            let mut sqlite = connect(path, Access::Read)?;
            sqlite.batch_execute(&format!("PRAGMA cache_size=-{CACHE_KIB}"))?;
            functions::register(&mut sqlite)?;
            let (path, counted) = (path.to_owned(), Arc::clone(counted));
            Ok(Self { path, sqlite, shapes: HashSet::new(), catalogue: [None, None], counted })
        };
        open().map_err(|error| unusable(path, error))
    }

    /// Runs one of our own statements without values, prepared once.
    fn run(&mut self, sql: &'static str) -> Result<(), Error> {
        let done = Sql::default().own(sql).returning::<BigInt>().execute(&mut self.sqlite);
        done.map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: diesel::result::Error) -> Error {
        Error::new(ErrorKind::Database, format!("read {}", self.path.display())).because(error)
    }

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

    /// Runs a statement and returns its rows.
    fn rows<'q, S, T>(&mut self, sql: Sql) -> Result<Vec<T>, Error>
    where
        Returning<S>: diesel::query_dsl::methods::LoadQuery<'q, SqliteConnection, T>,
    {
        let sqlite = self.keep(&sql);
        let rows = sql.returning::<S>().load::<T>(sqlite);
        rows.map_err(|error| self.failed(error))
    }
}

type Words = Nullable<Text>;
type Number = Nullable<BigInt>;

impl Snapshot for Connection {
    fn events(&mut self, sql: Sql) -> Result<Vec<EventRow>, Error> {
        self.rows::<EventSql, _>(sql)
    }

    fn captures(&mut self, sql: Sql) -> Result<Vec<CaptureRow>, Error> {
        self.rows::<CaptureSql, _>(sql)
    }

    fn extents(&mut self, sql: Sql) -> Result<Vec<Extent>, Error> {
        self.rows::<(BigInt, Number, Number), _>(sql)
    }

    fn keyed(&mut self, sql: Sql) -> Result<Vec<Keyed>, Error> {
        self.rows::<(Words, BigInt), _>(sql)
    }

    fn grouped(&mut self, sql: Sql) -> Result<Vec<Grouped>, Error> {
        self.rows::<(Words, Words, BigInt, BigInt, BigInt), _>(sql)
    }

    fn pairs(&mut self, sql: Sql) -> Result<Vec<(i64, i64)>, Error> {
        self.rows::<(BigInt, BigInt), _>(sql)
    }
}

/// Returns a kind's segments in sight: read anew only when anybody has committed anything since.
fn arms(connection: &mut Connection, kind: RowKind) -> QueryResult<Vec<Arm>> {
    // Within the transaction, so it is the version of what is read next (https://www.sqlite.org/pragma.html).
    let version = Sql::default().own("PRAGMA data_version").returning::<BigInt>();
    let version: i64 = version.get_result(&mut connection.sqlite)?;
    if let Some((_, arms)) = connection.catalogue[kind.index()].as_ref().filter(|(of, _)| *of == version) {
        return Ok(arms.clone());
    }
    let arms = read(connection, kind)?;
    connection.catalogue[kind.index()] = Some((version, arms.clone()));
    Ok(arms)
}

fn read(connection: &mut Connection, kind: RowKind) -> QueryResult<Vec<Arm>> {
    type Row = (i64, i64, i64, Option<i64>, Option<i64>, Option<i64>, i64, i64, Option<i64>);
    let sql = "SELECT number, indexes, first_id, last_id, first_ts, last_ts, rows, opened_at, closed_at FROM segments \
               WHERE state IN ('open', 'closed') AND kind = ";
    let sql = Sql::default().own(sql).text(kind.table());
    let counted = Arc::clone(&connection.counted);
    let sqlite = connection.keep(&sql);
    type Columns = (BigInt, BigInt, BigInt, Number, Number, Number, BigInt, BigInt, Number);
    let rows = sql.returning::<Columns>().load_iter::<Row, _>(sqlite)?;
    let indexes = super::segments::index_count(kind);
    rows.map(|row| {
        let (number, built, first_id, last_id, first_ts, last_ts, rows, opened_at, closed_at) = row?;
        let table = super::segments::table(kind, number);
        let times = (first_ts.unwrap_or(i64::MIN), last_ts.unwrap_or(i64::MAX));
        let ids = (first_id, last_id.unwrap_or(i64::MAX));
        let is_indexed = usize::try_from(built).is_ok_and(|built| built >= indexes);
        // Only a closed one has been closed.
        let identity =
            closed_at.map(|closed_at| Identity { kind, number, rows, ids, times, life: (opened_at, closed_at) });
        let quarters = identity.map(|identity| Kept::new(counted.of(identity), BTreeSet::new()));
        Ok(Arm { table, times, ids, is_indexed, known: Vec::new(), quarters })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sqlite::segments::timed_columns;
    use crate::capture::Capture;
    use crate::event::Event;

    /// A histogram of rows with one value of such a column counts piece by piece; without the index that would be a scan
    /// for each.
    #[test]
    fn columns_that_are_taken_for_indexed_with_the_time_are() {
        assert_eq!(timed_columns(RowKind::Event), Event::TIMED);
        assert_eq!(timed_columns(RowKind::Capture), Capture::TIMED);
    }
}
