//! State, deployments and users on a MySQL or MariaDB server: short transactions over a small pool of its own.
//!
//! Not over the pipeline's links: a dashboard's questions would take them from batches. The pool is opened by the first
//! call, so that a repository that is only asked for rows holds no more connections than it needs.
//!
//! A transaction runs at READ COMMITTED: without gap locks two that make different rows never wait for each other, and each
//! statement sees what was committed before it. A deadlock, or a conflict between a cluster's nodes, undoes one of the two,
//! which is then done again. A connection that is lost during COMMIT leaves it open whether it happened: the caller is told
//! that the server was away, and looks; there is no ledger for these.

use std::sync::{Arc, Mutex, PoisonError};

use diesel::deserialize::{self, FromSql};
use diesel::mysql::{Mysql as MysqlDialect, MysqlType, MysqlValue};
use diesel::sql_types::{BigInt, Binary};

use super::Mysql;
use super::error::{Fault, Meaning};
use super::link::Link;
use crate::backend::sql::store::{Fields, Session, Statement, Store, Trouble, Value, Values, Work};
use crate::config::MysqlConfig;
use crate::database_url::MysqlUrl;
use crate::error::{Error, ErrorKind};

/// Connections at most: each for a few milliseconds.
const CONNECTIONS: usize = 4;

/// A database, for a [`Desk`](crate::backend::sql::store::Desk).
pub(crate) struct MysqlStore {
    url: MysqlUrl,
    config: MysqlConfig,
    opened: Mutex<Option<Arc<Mysql>>>,
}

impl MysqlStore {
    /// Connects to nothing yet.
    pub(crate) fn new(url: MysqlUrl, config: &MysqlConfig) -> Self {
        let config = MysqlConfig { pool_size: CONNECTIONS, max_overflow: 0, ..config.clone() };
        Self { url, config, opened: Mutex::default() }
    }

    fn opened(&self) -> Result<Arc<Mysql>, Trouble> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mysql) = &*opened {
            return Ok(Arc::clone(mysql));
        }
        let mysql = Arc::new(Mysql::open(&self.url, &self.config)?);
        Ok(Arc::clone(opened.insert(mysql)))
    }
}

impl Store for MysqlStore {
    const NAME: &'static str = "mysql";

    fn read(&self, work: &mut Work<'_>) -> Result<(), Trouble> {
        let mysql = self.opened()?;
        mysql.lend(async |link| {
            link.catch_up().await?;
            Ok(work(link))
        })
    }

    fn write(&self, work: &mut Work<'_>) -> Result<(), Trouble> {
        let mysql = self.opened()?;
        mysql.lend(async |link| {
            link.batch("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
            link.batch("BEGIN").await?;
            let done = work(link);
            link.batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
            Ok(done)
        })
    }
}

impl Mysql {
    /// Lends a link. It is kept after trouble that the server has told of in words, and closed after any fault.
    fn lend(&self, work: impl AsyncFnOnce(&mut Link) -> Result<Result<(), Trouble>, Fault>) -> Result<(), Trouble> {
        self.wait(work).map_err(trouble).flatten()
    }
}

/// Blocks at each statement; the runtime that moves its packets has a thread of its own.
impl Session for Link {
    fn locking(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn most_bytes(&self) -> usize {
        self.most_at_once()
    }

    fn run(&mut self, statement: Statement<'_>) -> Result<usize, Trouble> {
        pollster::block_on(Link::execute(self, statement)).map_err(trouble)
    }

    fn rows(&mut self, query: Statement<'_>) -> Result<Vec<Fields>, Trouble> {
        pollster::block_on(self.load(query)).map_err(trouble)
    }
}

fn trouble(fault: Fault) -> Trouble {
    match fault.meaning {
        Meaning::Row if fault.code == DUPLICATE => Trouble::Duplicate,
        Meaning::Passing("deadlock" | "locked" | "schema_changed") => Trouble::Again(fault.into()),
        Meaning::Passing("read_only") => Error::new(ErrorKind::NotWritable, fault.text).into(),
        Meaning::Passing(_) => Trouble::Away(fault.into()),
        Meaning::Refused(kind, _) => Error::new(kind, fault.text).into(),
        Meaning::Row | Meaning::Broken | Meaning::Unknown => Trouble::Refused(fault.into()),
    }
}

/// `ER_DUP_ENTRY`.
const DUPLICATE: u16 = 1062;

impl Values for MysqlDialect {
    fn value(raw: MysqlValue<'_>) -> deserialize::Result<Value> {
        match raw.value_type() {
            MysqlType::Tiny | MysqlType::Short | MysqlType::Long | MysqlType::LongLong => {
                <i64 as FromSql<BigInt, Self>>::from_sql(raw).map(Value::Number)
            }
            // Names are bytes there.
            MysqlType::String | MysqlType::Blob => {
                let bytes = <Vec<u8> as FromSql<Binary, Self>>::from_sql(raw)?;
                Ok(Value::Text(String::from_utf8(bytes)?))
            }
            _ => Err("a value of a type that forebay does not store".into()),
        }
    }
}
