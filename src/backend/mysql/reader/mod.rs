//! Answers a repository's questions from a server; the questions are in `sql/query`.
//!
//! Readers have links of their own, a few, whose sessions cannot write; a replica will do. So a dashboard takes no
//! connection from the writer, and what it asks is bounded by the time limits of the settings, on both sides. Each answer
//! is one transaction with a consistent snapshot. A link that has lain there is tried before it is used; one whose state
//! is not known is closed. Not the writer's pool: that one makes tables, and refuses servers that are read-only.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::AsyncMysqlConnection;
use diesel_async::methods::LoadQuery;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::{Fault, Meaning};
use super::link::{Link, Servers};
use super::schema;
use super::session::{check_password, refused, start};
use crate::backend::sql::query::arms::{Arm, prune};
use crate::backend::sql::query::record::{CaptureRow, CaptureSql, EventRow, EventSql, Fetch};
use crate::backend::sql::query::statement::{Returning, Sql};
use crate::backend::sql::query::tallies::Shelf;
use crate::backend::sql::query::{Database, Extent, Grouped, Keyed, Snapshot, quarters};
use crate::chunk::RowKind;
use crate::config::MysqlConfig;
use crate::database_url::MysqlUrl;
use crate::error::{Error, ErrorKind};
use crate::repository::Filter;

mod doubtful;
mod kept;
mod settled;
mod words;

use kept::{Counted, Ledge};
use settled::Gaps;
use words::MysqlWords;

/// Most statements that a link keeps prepared; one that has more is closed, since the server counts them for all.
const MOST_STATEMENTS: usize = 256;

/// A database on a server, open for reading.
pub(crate) struct Reader {
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
    servers: Servers,
    url: MysqlUrl,
    /// Whether the tables were found to be of this version; once is enough.
    is_checked: AtomicBool,
    idle: Mutex<Vec<Kept>>,
    /// One permit for each link that there may be.
    places: Semaphore,
    /// How long a query waits for a place.
    patience: Duration,
    recycle: Duration,
    pre_ping: bool,
    longest_transaction: Duration,
    /// For each kind of rows.
    gaps: Mutex<[Gaps; 2]>,
    ledges: [Ledge; 2],
    shelf: Arc<Shelf>,
}

/// A link that waits, since when it is open, and the shapes of the statements that it keeps.
struct Kept {
    link: Link,
    opened: Instant,
    shapes: HashSet<u64>,
}

impl Reader {
    /// Connects to nothing yet: the first question does, and says what stands in the way. So a repository can be had while
    /// the server is away, as a pipeline can.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a password that is missing and certificates that cannot be read.
    pub(crate) fn new(url: &MysqlUrl, config: &MysqlConfig, connections: usize) -> Result<Self, Error> {
        check_password(url, config)?;
        Ok(Self {
            runtime: Some(start()?),
            servers: Servers::new(url.clone(), config)?,
            url: url.clone(),
            is_checked: AtomicBool::new(false),
            idle: Mutex::default(),
            places: Semaphore::new(connections.max(1)),
            patience: config.statement_timeout,
            recycle: config.recycle,
            pre_ping: config.pre_ping,
            longest_transaction: config.longest_transaction,
            gaps: Mutex::default(),
            ledges: Default::default(),
            shelf: Arc::default(),
        })
    }

    /// Opens a link; the first time finds out whether a writer of this version has made the tables.
    async fn connect(&self) -> Result<Kept, Fault> {
        let mut link = self.servers.connect_to_read().await?;
        if !self.is_checked.load(Ordering::Relaxed) {
            check_version(schema::version(&mut link).await?, &self.url.database)?;
            self.is_checked.store(true, Ordering::Relaxed);
        }
        Ok(Kept { link, opened: Instant::now(), shapes: HashSet::new() })
    }

    /// Returns a place, and a link that works.
    async fn take(&self) -> Result<(SemaphorePermit<'_>, Kept), Fault> {
        let place = timeout(self.patience, self.places.acquire()).await;
        let Ok(Ok(place)) = place else { return Err(Fault::of_connection("all connections for reading are in use")) };
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut kept) = kept else { break };
            kept.link.begin_work();
            if kept.opened.elapsed() < self.recycle && (!self.pre_ping || kept.link.ping().await.is_ok()) {
                return Ok((place, kept));
            }
        }
        Ok((place, self.connect().await?))
    }
}

fn check_version(version: Option<i64>, name: &str) -> Result<(), Fault> {
    let known = schema::KNOWN;
    let refuse = |kind, text: String| Err(Fault::new(Meaning::Refused(kind, ""), text));
    match version {
        None => refuse(
            ErrorKind::NotADatabase,
            format!("the database `{name}` has no tables of forebay; the first program that writes to it makes them"),
        ),
        Some(version) if version < known => {
            let why = format!("the database `{name}` has schema version {version}, this forebay reads {known}");
            refuse(
                ErrorKind::OlderSchema,
                format!("{why}; write to it once with this forebay, which brings it up to date"),
            )
        }
        Some(version) if version > known => {
            let why = format!("the database `{name}` has schema version {version}, this forebay knows {known}");
            refuse(ErrorKind::NewerSchema, format!("{why}; use a newer one"))
        }
        Some(_) => Ok(()),
    }
}

/// One visit to the server: what is asked over one link, in one transaction.
pub(crate) struct Visit {
    kept: Kept,
    url: MysqlUrl,
    /// For each kind of rows what was counted before the transaction began.
    counted: [Option<Counted>; 2],
}

impl Database for Reader {
    type Snapshot = Visit;
    type Dialect = MysqlWords;
    const NAME: &'static str = "mysql";

    fn ask<T>(&self, work: impl FnOnce(&mut Visit) -> Result<T, Error>) -> Result<T, Error> {
        self.visit("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", work)
    }

    fn settled(&self, kind: RowKind, after: i64) -> Result<i64, Error> {
        let begin = "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; START TRANSACTION READ ONLY";
        let uncommitted = self.visit(begin, |visit| visit.ids(kind, after))?;
        if uncommitted.is_empty() {
            return Ok(after);
        }
        let committed = self.ask(|visit| visit.ids(kind, after))?;
        let (mut gaps, now) = (self.gaps.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let is_old = |first| gaps[kind.index()].is_old(first, now);
        Ok(settled::settled(after, &uncommitted, &committed, is_old))
    }

    fn arms<R: Fetch>(visit: &mut Visit, filter: &Filter<R::Column>) -> Result<Vec<Arm>, Error> {
        let mut arms = prune(vec![Arm::whole(R::KIND.table())], filter);
        for arm in &mut arms {
            arm.known = doubtful::known::<R>(visit, arm, filter)?;
        }
        Ok(arms)
    }

    fn prepare_counts(&self, kind: RowKind) -> Result<(), Error> {
        self.move_up(kind)
    }

    fn counted_arms<R: Fetch>(visit: &mut Visit, filter: &Filter<R::Column>) -> Result<Vec<Arm>, Error> {
        let mut arms = Self::arms::<R>(visit, filter)?;
        let is_plain = filter.conditions().is_empty() && filter.ids() == (i64::MIN, i64::MAX);
        let (Some(counted), [arm], true) = (visit.counted[R::KIND.index()].take(), &mut arms[..], is_plain) else {
            return Ok(arms);
        };
        if let Some(changing) = visit.changing(R::KIND, &counted)? {
            let times = Sql::default().own(format!("SELECT 0, min(ts), max(ts) FROM {}", R::KIND.table()));
            if let Some((_, Some(first), Some(last))) = visit.extents(times)?.first() {
                (arm.times, arm.quarters) =
                    ((*first, *last), Some(quarters::Kept::new(Arc::clone(&counted.quarters), changing)));
            }
        }
        Ok(arms)
    }
}

impl Reader {
    /// Does work over a link, in a transaction that is begun in these words.
    fn visit<T>(&self, begin: &str, work: impl FnOnce(&mut Visit) -> Result<T, Error>) -> Result<T, Error> {
        let gone = || Error::new(ErrorKind::Unavailable, "the repository is being closed");
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        // Not `Runtime::block_on`: that panics in a thread which belongs to another runtime, the host's.
        let _inside = runtime.enter();
        let failed = |fault| refused(&self.url, fault);
        let (_place, kept) = pollster::block_on(self.take()).map_err(failed)?;
        let counted = self.ledges.each_ref().map(Ledge::counted);
        let mut visit = Visit { kept, url: self.url.clone(), counted };
        pollster::block_on(visit.kept.link.batch(begin)).map_err(failed)?;
        let answer = work(&mut visit);
        // A link that is not given back is dirty, and so closed.
        if pollster::block_on(visit.kept.link.batch("COMMIT")).is_ok() && visit.kept.shapes.len() <= MOST_STATEMENTS {
            visit.kept.link.end_work();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(visit.kept);
        }
        answer
    }
}

impl Visit {
    /// Runs a statement and returns its rows.
    fn rows<'q, S, T>(&mut self, sql: Sql) -> Result<Vec<T>, Error>
    where
        T: Send,
        Returning<S>: LoadQuery<'q, AsyncMysqlConnection, T> + 'q,
    {
        self.kept.shapes.insert(sql.shape());
        pollster::block_on(self.kept.link.load(sql.returning::<S>())).map_err(|fault| refused(&self.url, fault))
    }
}

type Words = Nullable<Text>;
type Number = Nullable<BigInt>;

impl Snapshot for Visit {
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

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        {
            let _inside = runtime.enter();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        // Waits for nothing: this may be a thread of the host's runtime.
        runtime.shutdown_background();
    }
}
