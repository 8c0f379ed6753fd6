//! One connection for work by hand, with a runtime of its own: asks a server about itself, in its text protocol, since not
//! every statement can be prepared everywhere (`CHECK TABLE`). Every answer has a time limit.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::{FromRow, Queryable};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::error::{Fault, Meaning};
use super::link::Servers;
use crate::config::MysqlConfig;
use crate::database_url::MysqlUrl;
use crate::error::{Error, ErrorKind};

pub(super) struct Session {
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
    connection: Option<Conn>,
    limit: Duration,
}

impl Session {
    /// Connects to the first server that answers, be it read-only. No answer may take longer than `limit`.
    pub(super) fn open(url: &MysqlUrl, config: &MysqlConfig, limit: Duration) -> Result<Self, Error> {
        check_password(url, config)?;
        let servers = Servers::new(url.clone(), config)?;
        let mut session = Self { runtime: Some(start()?), connection: None, limit };
        session.connection = Some(session.run(servers.reach_any()).map_err(|fault| refused(url, fault))?);
        Ok(session)
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        run(self.runtime.as_ref(), work)
    }

    /// Returns all rows of a query.
    pub(super) fn rows<T: FromRow + Send + 'static>(&mut self, sql: &str) -> Result<Vec<T>, Fault> {
        let Some(mut connection) = self.connection.take() else {
            return Err(Fault::of_connection("the connection is gone"));
        };
        let answer = self.run(async { timeout(self.limit, connection.query(sql)).await });
        let rows = answer.map_err(|_| Fault::timed_out("wait for the server", self.limit))?;
        // After a time-out the answer may still come: that connection is not used again.
        self.connection = Some(connection);
        rows.map_err(Fault::of_driver)
    }

    /// Returns the one number that a query gives; 0 for none.
    pub(super) fn number(&mut self, sql: &str) -> Result<i64, Fault> {
        let rows: Vec<Option<i64>> = self.rows(sql)?;
        Ok(rows.first().copied().flatten().unwrap_or(0))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if let Some(connection) = self.connection.take() {
            // A server that does not hear the farewell finds out by itself.
            let _ = run(Some(&runtime), async { timeout(Duration::from_secs(1), connection.disconnect()).await });
        }
        runtime.shutdown_background();
    }
}

pub(super) fn start() -> Result<Runtime, Error> {
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("forebay-mysql-io").enable_all().build();
    runtime.map_err(|error| Error::new(ErrorKind::System, "start a runtime").because(error))
}

/// Waits on this thread, which may belong to another runtime. A time-out must be made within `work`.
pub(super) fn run<T>(runtime: Option<&Runtime>, work: impl Future<Output = T>) -> T {
    let _inside = runtime.map(Runtime::enter);
    pollster::block_on(work)
}

pub(super) fn check_password(url: &MysqlUrl, config: &MysqlConfig) -> Result<(), Error> {
    if !url.password.is_empty() || config.allow_empty_password {
        return Ok(());
    }
    let advice = "give one, or set mysql.allow_empty_password (FOREBAY_DB_ALLOW_EMPTY_PASSWORD=true)";
    Err(Error::new(ErrorKind::Configuration, format!("{url} has no password; {advice}")))
}

/// Says what stands in the way, for people.
pub(super) fn refused(url: &MysqlUrl, fault: Fault) -> Error {
    match fault.meaning {
        Meaning::Refused(kind, _) => Error::new(kind, fault.text),
        Meaning::Passing("read_only") => Error::new(ErrorKind::NotWritable, fault.text),
        Meaning::Passing(_) => Error::new(ErrorKind::Unavailable, format!("look at {url}")).because(fault),
        _ => Error::new(ErrorKind::Database, format!("look at {url}")).because(fault),
    }
}
