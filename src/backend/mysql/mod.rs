//! MySQL and MariaDB: several batches at once, each over a connection of its own.
//!
//! `link` is one connection and its time limits, `pool` keeps those that are idle, `schema` makes the tables, `write`
//! puts a batch into one transaction, `ledger` reads what is committed and keeps that table small, `error` says what each
//! error means; `store` keeps state, deployments and users, `reader` answers questions about rows; `inspect` and `reset` work by hand, over a `session`. Here is what stands between them and the pipeline,
//! which calls from plain threads: a small runtime of our own, and a wait for each call. So no write is ever dropped
//! half-way, any host will do, and a starved host runtime stalls nothing.
//!
//! A server that is away is no reason not to open: rows are taken, and the lane says that it tries again. A server that
//! answers and refuses (password, grants, version, a read-only replica) is said at once, and tried again later.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::sql::ledger::orphaned_before;
use super::{Backend, WriteError};
use crate::batch::Batch;
use crate::config::MysqlConfig;
use crate::database_url::MysqlUrl;
use crate::error::{Error, ErrorKind};
use crate::ranges::Ranges;
use crate::timestamp::Timestamp;

mod compat;
mod error;
mod inspect;
mod ledger;
mod link;
mod pool;
mod reader;
mod reset;
mod schema;
mod session;
mod store;
mod tls;
mod write;

pub(crate) use compat::{add_decnet_views, drop_decnet_views};
use error::{Fault, Meaning};
pub(crate) use inspect::{check, count, status};
use ledger::{Orphans, Settled, Work};
use link::{Link, Servers};
use pool::Pool;
pub(crate) use reader::Reader;
pub(crate) use reset::{init, migrate, reset};
pub(crate) use store::MysqlStore;

/// Attempts at rows that failed for a reason nobody knows, before they are taken for bad ones.
const UNKNOWN_ATTEMPTS: u32 = 5;
/// How often the ledger is searched for rows of producers that are gone; the first time at the first commit.
const SEARCH_EVERY: Duration = Duration::from_secs(3600);
/// When a search goes on that has given way to rows, or has failed.
const SEARCH_ON: Duration = Duration::from_secs(1);

/// A database on a MySQL or MariaDB server, or on several that hold the same one.
pub struct Mysql {
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
    pool: Option<Pool>,
    max_in_flight: NonZeroUsize,
    settled: Mutex<Settled>,
    /// Source and first position of batches whose rows failed for a reason nobody knows, and how often.
    doubtful: Mutex<HashMap<(String, u64), u32>>,
    /// When the ledger is next to be searched for what killed processes have left.
    next_search: Arc<Mutex<Instant>>,
}

impl Mysql {
    /// Opens the database, and makes its tables as needed. Waits for a server that does not answer for as long as the time
    /// limits say, and then opens all the same.
    ///
    /// # Errors
    /// When a server answers and refuses: see [`ErrorKind`].
    pub fn open(url: &MysqlUrl, config: &MysqlConfig) -> Result<Self, Error> {
        session::check_password(url, config)?;
        let servers = Servers::new(url.clone(), config)?;
        // Its one thread is enough: it moves packets; rows become packets on the slots' threads.
        let runtime = session::start()?;
        let pool = {
            let _inside = runtime.enter();
            Pool::new(servers, config)
        };
        let backend = Self {
            runtime: Some(runtime),
            pool: Some(pool),
            max_in_flight: NonZeroUsize::new(config.pool_size).unwrap_or(NonZeroUsize::MIN),
            settled: Mutex::default(),
            doubtful: Mutex::default(),
            next_search: Arc::new(Mutex::new(Instant::now())),
        };
        match backend.wait(async |_| Ok(())) {
            Ok(()) => {}
            Err(Fault { meaning: Meaning::Passing("read_only"), text, .. }) => {
                return Err(Error::new(ErrorKind::NotWritable, text));
            }
            Err(Fault { meaning: Meaning::Refused(kind, _), text, .. }) => return Err(Error::new(kind, text)),
            Err(fault @ Fault { meaning: Meaning::Broken, .. }) => {
                return Err(Error::new(ErrorKind::Database, format!("look at {url}")).because(fault));
            }
            Err(error) => tracing::warn!(%url, %error, "the server cannot be used yet; rows wait until it can"),
        }
        Ok(backend)
    }

    /// Does some work over a link, and waits for it. The link goes back into the pool if the work has succeeded.
    fn wait<T>(&self, work: impl AsyncFnOnce(&mut Link) -> Result<T, Fault>) -> Result<T, Fault> {
        self.wait_for(async |link| work(link).await.map_err(Stop::Fault)).map_err(|stop| match stop {
            Stop::Fault(fault) => fault,
            Stop::Rows { fault, .. } => fault,
        })
    }

    /// As [`wait`](Self::wait), for work that may stop at a row; then its transaction is rolled back, and the link kept.
    fn wait_for<T>(&self, work: impl AsyncFnOnce(&mut Link) -> Result<T, Stop>) -> Result<T, Stop> {
        let gone = || Stop::Fault(Fault::of_connection("the backend is being closed"));
        let (runtime, pool) = (self.runtime.as_ref().ok_or_else(gone)?, self.pool.as_ref().ok_or_else(gone)?);
        // Not `Runtime::block_on`: that panics in a thread which belongs to another runtime, the host's.
        let _inside = runtime.enter();
        pollster::block_on(async {
            let mut link = pool.take().await.map_err(Stop::Fault)?;
            link.begin_work();
            let outcome = work(&mut link).await;
            let is_clean = match &outcome {
                Ok(_) => true,
                // Connecting anew for each piece of a cut batch would make a flood of bad rows expensive.
                Err(Stop::Rows { .. }) => link.batch("ROLLBACK").await.is_ok(),
                Err(Stop::Fault(_)) => false,
            };
            if is_clean {
                link.end_work();
            }
            outcome
        })
    }

    fn settled(&self) -> MutexGuard<'_, Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the attempts at a batch whose rows failed for a reason nobody knows; returns whether there were enough.
    fn is_hopeless(&self, batch: &Batch) -> bool {
        let mut doubtful = self.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = doubtful.entry(key(batch)).or_default();
        *attempts += 1;
        *attempts > UNKNOWN_ATTEMPTS
    }

    /// Deletes and merges what the ledger does not need any more. A failure is no harm: the next time does it.
    fn tidy(&self, work: Option<Work>) {
        let Some(work) = work else { return };
        if let Err(error) = self.wait(async |link| ledger::tidy(link, &work).await) {
            tracing::debug!(%error, "tidy up the ledger");
            self.settled().put_back(work);
        }
    }
}

impl Mysql {
    /// Now and then has the ledger searched for rows of producers that are long gone. On a thread of the runtime, so that
    /// no slot is kept from its next batch; the end of the program ends it too, and the next one goes on.
    fn forget_orphans(&self) {
        {
            let mut next = self.next_search.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() < *next {
                return;
            }
            *next = Instant::now() + SEARCH_EVERY;
        }
        let (Some(runtime), Some(pool)) = (&self.runtime, &self.pool) else { return };
        let (pool, cutoff) = (pool.clone(), orphaned_before(Timestamp::now()));
        let next = Arc::clone(&self.next_search);
        runtime.spawn(async move {
            let found = ledger::forget_orphans(&pool, cutoff).await;
            match &found {
                Ok(Orphans { deleted: 0, .. }) => {}
                Ok(Orphans { deleted, .. }) => {
                    tracing::debug!(rows = deleted, "deleted what killed processes had left in the ledger");
                }
                Err(error) => tracing::debug!(%error, "search the ledger for what killed processes have left"),
            }
            if !found.is_ok_and(|found| found.are_all) {
                *next.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + SEARCH_ON;
            }
        });
    }
}

fn key(batch: &Batch) -> (String, u64) {
    batch.entries().first().map(|entry| (entry.source().to_owned(), entry.first())).unwrap_or_default()
}

/// What work over a link stopped at.
enum Stop {
    Fault(Fault),
    /// Some of these rows (of the batch) were refused; nothing is committed.
    Rows {
        rows: Vec<usize>,
        fault: Fault,
    },
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Backend for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn max_in_flight(&self) -> NonZeroUsize {
        self.max_in_flight
    }

    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        match self.wait_for(async |link| write::write(link, batch).await) {
            Ok(()) => {}
            Err(Stop::Fault(fault)) => return Err(fault.into()),
            Err(Stop::Rows { fault, .. }) if fault.meaning == Meaning::Unknown && !self.is_hopeless(batch) => {
                return Err(fault.into());
            }
            Err(Stop::Rows { rows, fault }) => return Err(WriteError::Rejected { rows, detail: fault.to_string() }),
        }
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(batch));
        let is_due = self.settled().add(batch);
        if is_due {
            let work = self.settled().take();
            self.tidy(work);
        }
        self.forget_orphans();
        Ok(())
    }

    fn ping(&self) -> Result<(), WriteError> {
        Ok(self.wait(async |link| link.ping().await)?)
    }

    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        Ok(self.wait(async |link| ledger::read(link, prefix).await)?)
    }

    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        let work = self.settled().take_lasting();
        self.tidy(work);
        Ok(self.wait(async |link| ledger::forget(link, ephemeral).await)?)
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        {
            let _inside = runtime.enter();
            self.pool = None;
        }
        // Waits for nothing: this may be a thread of the host's runtime.
        runtime.shutdown_background();
    }
}
