//! State, deployments and users in a SQLite file: written through the pipeline of this process if there is one, else
//! beside whoever writes, and read past both.
//!
//! A file has one writer of rows, and the writer lock keeps a second out. What is changed here are a few rows now and then,
//! by a dashboard or `forebay user add`, which must not have to stop the sensors first. So there are two ways to write:
//!
//! * In the process of a pipeline, on its connection and under its mutex, between two batches. SQLite never has two
//!   writers to choose between.
//! * In any other process, in a short BEGIN IMMEDIATE transaction of its own. SQLite's lock keeps both apart: a pipeline
//!   that meets it waits as it does for any other program (`sqlite.busy_timeout`), for the milliseconds of one transaction;
//!   hashing and all other work is done before it begins. A pipeline at full speed holds the lock nearly all the time, and
//!   SQLite's own waiting, which ends in naps of 100 ms, would meet the gaps between batches by luck only; so the lock is
//!   asked for every millisecond or so, and after [`PATIENCE`] that is an error to try again.
//!
//! Neither touches a table of rows, a segment or the ledger, which the pipeline knows by heart. The writer lock is not
//! needed for that, and a pipeline may be opened at any time.
//!
//! A commit of one's own survives a power failure (`synchronous=FULL`: a password that was changed stays so); one over the
//! pipeline's connection is as lasting as its rows (`sqlite.synchronous`).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::{Sqlite as SqliteDialect, SqliteType, SqliteValue};

use super::error::{self, Meaning, meaning};
use super::open::{Access, Identity, connect, identity};
use super::{Sqlite, unusable};
use crate::backend::WriteError;
use crate::backend::sql::store::{Fields, Session, Statement, Store, Trouble, Value, Values, Work};
use crate::error::Error;

/// How long another program's write lock is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most connections that wait for the next question.
const MOST_IDLE: usize = 4;
/// SQLITE_MAX_LENGTH (<https://www.sqlite.org/limits.html>).
const LONGEST: usize = 1_000_000_000;
/// Pages of the log after which a connection of one's own empties it: nobody else does without a pipeline.
const AUTOCHECKPOINT: u32 = 4096;

/// A file, for a [`Desk`](crate::backend::sql::store::Desk).
pub(crate) struct SqliteStore {
    path: PathBuf,
    identity: Identity,
    /// The pipeline of this process, while it is open.
    pipeline: Weak<Sqlite>,
    idle: Mutex<Vec<SqliteConnection>>,
    /// Goes last, so that the log is emptied when nobody else has the file open.
    own: Mutex<Option<SqliteConnection>>,
}

impl SqliteStore {
    /// Of the file at `path`, which was found to be ours; `pipeline` writes to it, if one does.
    pub(crate) fn open(path: &Path, pipeline: Weak<Sqlite>) -> Result<Self, Error> {
        let gone = |error| unusable(path, DieselError::QueryBuilderError(Box::new(error)));
        let path = path.canonicalize().map_err(gone)?;
        let identity = identity(&path).ok_or_else(|| gone(std::io::ErrorKind::NotFound.into()))?;
        Ok(Self { path, identity, pipeline, idle: Mutex::default(), own: Mutex::default() })
    }

    fn check_present(&self) -> Result<(), Trouble> {
        if identity(&self.path) == Some(self.identity) {
            return Ok(());
        }
        let why = format!("{} was moved or deleted; put it back, or open it anew", self.path.display());
        Err(Trouble::Away(why.into()))
    }

    fn connect(&self) -> QueryResult<SqliteConnection> {
        let mut connection = connect(&self.path, Access::Write)?;
        connection.batch_execute(&format!(
            "PRAGMA busy_timeout=0; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint={AUTOCHECKPOINT}"
        ))?;
        Ok(connection)
    }

    fn write_alone(&self, work: &mut Work<'_>) -> Result<(), Trouble> {
        self.check_present()?;
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = own.take().map_or_else(|| self.connect(), Ok).map_err(trouble)?;
        begin(&mut connection)?;
        let done = transact(&mut connection, work);
        if !matches!(done, Err(Outcome::Unclear(_))) {
            *own = Some(connection);
        }
        done.map_err(Outcome::into_trouble)
    }

    fn write_with(&self, pipeline: &Sqlite, work: &mut Work<'_>) -> Result<(), Trouble> {
        let mut ended = Ok(());
        let written = pipeline.file.transact(|connection| match transact(connection, work) {
            Err(Outcome::Unclear(trouble)) => {
                ended = Err(trouble);
                Err(WriteError::Transient { reason: "unknown", source: "a change of state failed".into() })
            }
            Err(Outcome::RolledBack(trouble)) => {
                ended = Err(trouble);
                Ok(())
            }
            Ok(()) => Ok(()),
        });
        ended?;
        written.map_err(|error| match error {
            WriteError::Transient { source, .. } => Trouble::Away(source),
            WriteError::Fatal { source } => Trouble::Refused(source),
            WriteError::Rejected { detail, .. } => Trouble::Refused(detail.into()),
        })
    }
}

impl Store for SqliteStore {
    const NAME: &'static str = "sqlite";

    fn read(&self, work: &mut Work<'_>) -> Result<(), Trouble> {
        self.check_present()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = idle.map_or_else(|| connect(&self.path, Access::Read), Ok).map_err(trouble)?;
        work(&mut connection)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
        Ok(())
    }

    fn write(&self, work: &mut Work<'_>) -> Result<(), Trouble> {
        match self.pipeline.upgrade() {
            Some(pipeline) => self.write_with(&pipeline, work),
            None => self.write_alone(work),
        }
    }
}

/// How a transaction ended without its commit.
enum Outcome {
    /// The connection is as it was before.
    RolledBack(Trouble),
    /// The connection must not be used any more.
    Unclear(Trouble),
}

impl Outcome {
    fn into_trouble(self) -> Trouble {
        match self {
            Self::RolledBack(trouble) | Self::Unclear(trouble) => trouble,
        }
    }
}

/// Takes the write lock, in the gaps that a busy writer leaves.
fn begin(connection: &mut SqliteConnection) -> Result<(), Trouble> {
    let until = Instant::now() + PATIENCE;
    loop {
        match connection.batch_execute("BEGIN IMMEDIATE") {
            Ok(()) => return Ok(()),
            Err(error) if meaning(&error) == Meaning::Passing("locked") && Instant::now() < until => {
                std::thread::sleep(Duration::from_micros(fastrand::u64(300..1500)));
            }
            Err(error) => return Err(trouble(error)),
        }
    }
}

/// Does the work of a transaction that was begun, and ends it.
fn transact(connection: &mut SqliteConnection, work: &mut Work<'_>) -> Result<(), Outcome> {
    let done = work(connection).and_then(|()| connection.batch_execute("COMMIT").map_err(trouble));
    done.map_err(|trouble| match connection.batch_execute("ROLLBACK") {
        Ok(()) => Outcome::RolledBack(trouble),
        Err(_) => Outcome::Unclear(trouble),
    })
}

impl Session for SqliteConnection {
    fn locking(&self) -> &'static str {
        // The whole file is locked already.
        ""
    }

    fn most_bytes(&self) -> usize {
        LONGEST
    }

    fn run(&mut self, statement: Statement<'_>) -> Result<usize, Trouble> {
        diesel::RunQueryDsl::execute(statement, self).map_err(trouble)
    }

    fn rows(&mut self, query: Statement<'_>) -> Result<Vec<Fields>, Trouble> {
        diesel::RunQueryDsl::load(query, self).map_err(trouble)
    }
}

fn trouble(error: DieselError) -> Trouble {
    if matches!(error, DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) {
        return Trouble::Duplicate;
    }
    match error::of_transaction(error) {
        WriteError::Transient { reason: "unknown", source } | WriteError::Fatal { source } => Trouble::Refused(source),
        WriteError::Transient { reason: "schema_changed", source } => Trouble::Again(source),
        WriteError::Transient { source, .. } => Trouble::Away(source),
        WriteError::Rejected { detail, .. } => Trouble::Refused(detail.into()),
    }
}

impl Values for SqliteDialect {
    fn value(raw: SqliteValue<'_, '_, '_>) -> deserialize::Result<Value> {
        match raw.value_type() {
            None => Ok(Value::Null),
            Some(SqliteType::SmallInt | SqliteType::Integer | SqliteType::Long) => {
                <i64 as FromSql<BigInt, Self>>::from_sql(raw).map(Value::Number)
            }
            Some(SqliteType::Text) => <String as FromSql<Text, Self>>::from_sql(raw).map(Value::Text),
            Some(_) => Err("a value of a type that forebay does not store".into()),
        }
    }
}
