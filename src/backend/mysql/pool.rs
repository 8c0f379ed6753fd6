//! The links that are open and not in use: bb8, with SQLAlchemy's words for its settings.
//!
//! `pool_size + max_overflow` is bb8's `max_size`, `recycle` its `max_lifetime`, `pre_ping` its `test_on_check_out`. bb8
//! connects in the background and lets whoever waits learn of a failure only by its time-out; so failures are passed on
//! here through its error sink, and an attempt learns at once, and in words, why there is no connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bb8::{ErrorSink, ManageConnection, PooledConnection, RunError};
use tokio::sync::watch;

use super::error::Fault;
use super::link::{Link, Servers};
use super::schema;
use crate::config::MysqlConfig;
use crate::telemetry::{PoolFigures, PoolMetrics, PoolWait};

/// How often links that nobody has used for long are looked for.
const REAP: Duration = Duration::from_secs(15);

/// Opens links and looks after them, for bb8.
#[derive(Debug)]
pub(super) struct Opener {
    servers: Arc<Servers>,
    /// Whether the tables were found to keep their promises; once is enough.
    is_checked: AtomicBool,
}

impl ManageConnection for Opener {
    type Connection = Link;
    type Error = Failure;

    async fn connect(&self) -> Result<Link, Failure> {
        let mut link = self.servers.connect().await.map_err(Failure::Connect)?;
        schema::ensure(&mut link, self.servers.url()).await.map_err(Failure::Connect)?;
        if !self.is_checked.load(Ordering::Relaxed) {
            schema::check(&mut link, self.servers.url()).await.map_err(Failure::Connect)?;
            self.is_checked.store(true, Ordering::Relaxed);
        }
        link.end_work();
        Ok(link)
    }

    async fn is_valid(&self, link: &mut Link) -> Result<(), Failure> {
        link.begin_work();
        link.ping().await.map_err(|_| Failure::Stale)?;
        link.end_work();
        Ok(())
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        link.is_dirty()
    }
}

/// Why bb8 could not give a link.
#[derive(Debug)]
pub(super) enum Failure {
    Connect(Fault),
    /// A link that had lain there was dead. Another is taken; nobody needs to know.
    Stale,
}

/// Tells everybody who waits why the last connection failed.
#[derive(Clone, Debug)]
struct Sink(watch::Sender<Option<Fault>>);

impl ErrorSink<Failure> for Sink {
    fn sink(&self, failure: Failure) {
        if let Failure::Connect(fault) = failure {
            self.0.send_replace(Some(fault));
        }
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<Failure>> {
        Box::new(self.clone())
    }
}

#[derive(Clone)]
pub(super) struct Pool {
    links: bb8::Pool<Opener>,
    failures: watch::Receiver<Option<Fault>>,
    wait: PoolWait,
}

impl Pool {
    /// Makes an empty pool; connects to nothing. To be called within a runtime, which then opens the links.
    pub(super) fn new(servers: Servers, config: &MysqlConfig) -> Self {
        let (sender, failures) = watch::channel(None);
        // A link's turn comes after the reaper's, and before the server gives up an idle session (see `Servers::session`).
        let idle = config.statement_timeout.max(REAP);
        let links = bb8::Pool::builder()
            .max_size((config.pool_size + config.max_overflow) as u32)
            .max_lifetime(config.recycle)
            .idle_timeout(idle)
            .reaper_rate(REAP)
            .test_on_check_out(config.pre_ping)
            .retry_connection(false)
            .connection_timeout(servers.patience() + config.ping_timeout * 2)
            .error_sink(Box::new(Sink(sender)))
            .build_unchecked(Opener { servers: Arc::new(servers), is_checked: AtomicBool::new(false) });
        // Ends with the runtime. On its own, because a pool that waits for its server shows nothing by being used.
        tokio::spawn(show(links.clone(), PoolMetrics::new(config.pool_size + config.max_overflow)));
        Self { links, failures, wait: PoolWait::new() }
    }

    /// Returns whether a link lies there that nobody uses.
    pub(super) fn is_idle(&self) -> bool {
        self.links.state().idle_connections > 0
    }

    /// Returns a link that nobody else uses, to be given back by dropping it.
    pub(super) async fn take(&self) -> Result<PooledConnection<'_, Opener>, Fault> {
        let began = Instant::now();
        let link = self.get().await;
        self.wait.waited(began.elapsed());
        link
    }

    async fn get(&self) -> Result<PooledConnection<'_, Opener>, Fault> {
        let mut failures = self.failures.clone();
        failures.mark_unchanged();
        tokio::select! {
            biased;
            link = self.links.get() => match link {
                Ok(link) => Ok(link),
                Err(RunError::User(Failure::Connect(fault))) => Err(fault),
                Err(RunError::User(Failure::Stale) | RunError::TimedOut) => {
                    Err(Fault::of_connection("no connection could be had in time; all are in use, or the server hangs"))
                }
            },
            // Only what fails from here on: an old failure stays in the channel.
            _ = failures.changed() => {
                let fault = failures.borrow().clone();
                Err(fault.unwrap_or_else(|| Fault::of_connection("the pool is closed")))
            }
        }
    }
}

/// Shows the pool's figures once a second.
async fn show(links: bb8::Pool<Opener>, mut metrics: PoolMetrics) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let state = links.state();
        let counted = state.statistics;
        metrics.show(PoolFigures {
            connections: state.connections,
            idle: state.idle_connections,
            direct: counted.get_direct,
            waited: counted.get_waited,
            timed_out: counted.get_timed_out,
            opened: counted.connections_created,
            closed: [
                counted.connections_closed_broken,
                counted.connections_closed_invalid,
                counted.connections_closed_max_lifetime,
                counted.connections_closed_idle_timeout,
            ],
        });
    }
}
