//! New rows, as they are committed.
//!
//! A tail keeps the id up to which it has told everything, and asks for what comes behind. How far ids are settled the
//! database says (`sql/query::Database::settled`): of two writers on a server the one with the lower ids may commit later,
//! and a tail that went past them would never show them. In the process of the pipeline that commits, [`Tail::woken_by`]
//! spares the asking; elsewhere it asks twice a second.
//!
//! The async form is a thread that asks, and a channel of few pages: queries block, and a host's runtime may be any or
//! none. Turned down: a trigger or `sqlite3_update_hook`, which tell only of one's own connection.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::columns::Record;
use super::filter::Filter;
use super::page::{Cursor, Direction, Paging, Sort, Stored};
use super::table::Table;
use crate::chunk::RowKind;
use crate::commits::Commits;
use crate::error::{Error, ErrorKind};

/// How long a tail that nobody wakes waits before it asks again.
const EVERY: Duration = Duration::from_millis(500);
/// Most rows that are told at once.
const AT_ONCE: usize = 1000;

/// Up to which id rows are all there.
pub(crate) trait Settled: Send + Sync {
    /// Returns the greatest id, at least `after`, such that no row with it or a smaller one, down to `after`, is still to come.
    fn settled(&self, kind: RowKind, after: i64) -> Result<i64, Error>;
}

/// Rows of one kind that a filter leaves, from a moment on, in the order of their ids.
pub struct Tail<R: Record> {
    table: Arc<dyn Table<R>>,
    settled: Arc<dyn Settled>,
    filter: Filter<R::Column>,
    /// The id up to which everything was told.
    told: i64,
    commits: Option<Commits>,
    every: Duration,
}

impl<R: Record> Tail<R> {
    pub(super) fn new(
        table: Arc<dyn Table<R>>,
        settled: Arc<dyn Settled>,
        filter: Filter<R::Column>,
        after: Option<i64>,
    ) -> Result<Self, Error> {
        let newest = Paging::newest(1).ordered(Sort::Id, Direction::NewestFirst);
        let told = match after {
            Some(id) => id,
            None => table.page(&Filter::new(), &newest)?.rows.first().map_or(0, |newest| newest.id),
        };
        Ok(Self { table, settled, filter, told, commits: None, every: EVERY })
    }

    /// Has it woken by the commits of a pipeline in this process, [`Pipeline::commits`](crate::Pipeline::commits). Of what
    /// others commit it learns as before.
    #[must_use]
    pub fn woken_by(self, commits: Commits) -> Self {
        Self { commits: Some(commits), ..self }
    }

    /// Sets how long it waits before it asks again. Default 500 ms; less than 10 ms is taken as that.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every: every.max(Duration::from_millis(10)), ..self }
    }

    /// Returns the id up to which everything was told: with it a later tail goes on there.
    pub fn position(&self) -> i64 {
        self.told
    }

    /// Returns rows that are there now, at most 1000; an empty list, if there are none.
    ///
    /// # Errors
    /// As [`Table::page`]. Nothing is passed over: the next call asks again.
    pub fn poll(&mut self) -> Result<Vec<Stored<R>>, Error> {
        let settled = self.settled.settled(R::KIND, self.told)?;
        if settled <= self.told {
            return Ok(Vec::new());
        }
        let filter = self.filter.clone().before(settled.saturating_add(1));
        let oldest = Paging::newest(AT_ONCE).ordered(Sort::Id, Direction::OldestFirst);
        let page = self.table.page(&filter, &oldest.after(Cursor { ts: 0, id: self.told }))?;
        self.told = page.next.map_or(settled, |last| last.id);
        Ok(page.rows)
    }

    /// As [`poll`](Self::poll), but waits for rows, `limit` at most.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn wait(&mut self, limit: Duration) -> Result<Vec<Stored<R>>, Error> {
        let began = Instant::now();
        loop {
            // Before asking: what is committed from here on ends the wait.
            let seen = self.commits.as_ref().map(Commits::count);
            let rows = self.poll()?;
            let left = limit.saturating_sub(began.elapsed());
            if !rows.is_empty() || left.is_zero() {
                return Ok(rows);
            }
            self.rest(seen, left);
        }
    }

    /// Waits for the next time to ask.
    fn rest(&self, seen: Option<u64>, most: Duration) {
        let pause = self.every.min(most);
        match (&self.commits, seen) {
            (Some(commits), Some(seen)) => drop(commits.wait(seen, pause)),
            _ => std::thread::sleep(pause),
        }
    }

    /// Goes on in a thread of its own, for async code. It asks as long as somebody takes the rows, and ends when the stream
    /// is dropped. After an error it goes on. While nobody takes them it has three lists of rows at most in memory, and nothing
    /// open in the database: a stream that is not read on holds no log and no snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::System`], when no thread can be had.
    pub fn into_stream(mut self) -> Result<TailStream<R>, Error> {
        let (sender, rows) = mpsc::channel(2);
        let follow = move || {
            while !sender.is_closed() {
                let seen = self.commits.as_ref().map(Commits::count);
                let told = self.poll();
                let is_idle = told.as_ref().map_or(true, Vec::is_empty);
                if !matches!(&told, Ok(rows) if rows.is_empty()) && sender.blocking_send(told).is_err() {
                    return;
                }
                if is_idle {
                    self.rest(seen, self.every);
                }
            }
        };
        let started = std::thread::Builder::new().name("forebay-tail".into()).spawn(follow);
        started.map_err(|error| Error::new(ErrorKind::System, "start a thread").because(error))?;
        Ok(TailStream { rows })
    }
}

/// A [`Tail`] for async code of any runtime.
pub struct TailStream<R: Record> {
    rows: mpsc::Receiver<Result<Vec<Stored<R>>, Error>>,
}

impl<R: Record> TailStream<R> {
    /// Returns the next rows, when there are some; never an empty list. `None` when its thread has ended by a panic.
    ///
    /// # Cancel safety
    /// No row is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Vec<Stored<R>>, Error>> {
        self.rows.recv().await
    }

    /// As [`next`](Self::next), for those who write a `Stream`.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Vec<Stored<R>>, Error>>> {
        self.rows.poll_recv(context)
    }
}

impl<R: Record> std::fmt::Debug for Tail<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("told", &self.told).finish_non_exhaustive()
    }
}

impl<R: Record> std::fmt::Debug for TailStream<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TailStream").finish_non_exhaustive()
    }
}
