//! Answers a repository's questions from a SQL database: one source of query code for all of them.
//!
//! ```text
//! Tables      here           the traits of `repository`, once; every call is measured, traced and counted here
//!  -> Database::ask          opens a snapshot: SQLite a transaction over its segments, a server one over its tables
//!     -> page, tally,        decide what to ask of which arm, and put the answers together
//!        sessions            (an arm is a table with what is known of it: a SQLite segment, or a server's whole table)
//!        -> arms, condition  write the WHERE of one arm; `statement` keeps every value bound
//!           -> Dialect       the four expressions that databases spell differently
//!        -> Snapshot         runs a statement, in one of five shapes of rows
//! ```
//!
//! A server is the case of one arm of which nothing is known beforehand, so whatever prunes and merges segments needs no
//! second form. What differs stands in `Dialect`: the bytes of an address, free text, a place in JSON, and comparing text
//! exactly (a server's collations take `a` and `a ` for the same). Time zones need no dialect: see `repository::Buckets`.
//!
//! Turned down: diesel's query builder with a boxed query for each backend, whose types are those of one backend, so that
//! every question would have been written twice (and `sql_query`, which is prepared anew at each call); a generic `load<T>`
//! in `Snapshot`, whose bounds of diesel and diesel-async do not meet, for five shapes that are all there is; async
//! algorithms, since SQLite's calls block anyway and a server's wait on the thread that asks.

use std::time::Instant;

use ipnet::IpNet;

use crate::capture::Capture;
use crate::chunk::RowKind;
use crate::error::Error;
use crate::event::Event;
use crate::repository::{
    Bucket, Buckets, EventColumn, FieldPath, Filter, Page, Paging, Session, SessionRows, Sessions, Settled, Source,
    Summary, Table, Tally,
};
use crate::telemetry;
use crate::timestamp::Timestamp;

pub(crate) mod arms;
mod condition;
mod page;
pub(crate) mod quarters;
pub(crate) mod record;
mod sessions;
pub(crate) mod statement;
pub(crate) mod tallies;
mod tally;

use arms::Arm;
use record::{CaptureRow, EventRow, Fetch};
use statement::Sql;
#[cfg_attr(not(feature = "mysql"), allow(unused_imports))]
pub(crate) use tally::from as select;

/// What databases spell differently.
pub(crate) trait Dialect {
    /// Adds the condition that a column of text has this text, byte for byte.
    fn equal(sql: Sql, column: &'static str, text: &str) -> Sql;

    /// Adds the bytes of the address in a column, in network order: 4 or 16, or NULL.
    fn address(sql: Sql, column: &'static str) -> Sql;

    /// Adds the condition that a text, in small letters, stands in a column's, whose letters of ASCII count as small.
    fn contains(sql: Sql, column: &'static str, small: &str) -> Sql;

    /// Adds the condition that a place in `fields` has a text: see [`FieldPath::finds`].
    fn field(sql: Sql, path: &FieldPath, text: &str) -> Sql;

    /// Returns the expression by which rows with one text in a column are put together.
    fn group(column: &'static str) -> String;

    /// How often rows of a group have which quarter of an hour, as a text of [`quarters::Runs`], where there is such a
    /// function.
    const RUNS: Option<&'static str>;
    /// The type of a text, as CAST names it.
    const TEXT: &'static str;
    /// The operator of division without remainder.
    const DIVIDED_BY: &'static str;
}

/// Count, least and greatest.
pub(crate) type Extent = (i64, Option<i64>, Option<i64>);
/// A key, and how many have it.
pub(crate) type Keyed = (Option<String>, i64);
/// A key of up to two texts, how many have it, least and greatest.
pub(crate) type Grouped = (Option<String>, Option<String>, i64, i64, i64);

/// A database at one moment, to be asked.
pub(crate) trait Snapshot {
    fn events(&mut self, sql: Sql) -> Result<Vec<EventRow>, Error>;
    fn captures(&mut self, sql: Sql) -> Result<Vec<CaptureRow>, Error>;
    fn extents(&mut self, sql: Sql) -> Result<Vec<Extent>, Error>;
    fn keyed(&mut self, sql: Sql) -> Result<Vec<Keyed>, Error>;
    fn grouped(&mut self, sql: Sql) -> Result<Vec<Grouped>, Error>;
    /// Pairs of numbers: buckets and their counts, times and ids.
    fn pairs(&mut self, sql: Sql) -> Result<Vec<(i64, i64)>, Error>;
}

/// A database that can be asked.
pub(crate) trait Database: Send + Sync + 'static {
    type Snapshot: Snapshot;
    type Dialect: Dialect;

    /// The kind of database: a metric label.
    const NAME: &'static str;

    /// Lets `work` ask about one moment.
    fn ask<T>(&self, work: impl FnOnce(&mut Self::Snapshot) -> Result<T, Error>) -> Result<T, Error>;

    /// Does work that may look at many rows: where a writer shares the processors, on a thread that gives way.
    fn aside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        work()
    }

    /// Returns up to which id rows of a kind are all there: see [`Settled`].
    fn settled(&self, kind: RowKind, after: i64) -> Result<i64, Error>;

    /// Returns the arms of a kind's rows that may hold rows which `filter` leaves.
    fn arms<R: Fetch>(snapshot: &mut Self::Snapshot, filter: &Filter<R::Column>) -> Result<Vec<Arm>, Error>;

    /// Brings up to date what is kept of counts, before the snapshot of a question that can use it.
    fn prepare_counts(&self, _kind: RowKind) -> Result<(), Error> {
        Ok(())
    }

    /// Returns the arms with what has been counted of them.
    fn counted_arms<R: Fetch>(snapshot: &mut Self::Snapshot, filter: &Filter<R::Column>) -> Result<Vec<Arm>, Error> {
        Self::arms::<R>(snapshot, filter)
    }
}

/// A database as `repository` sees it.
pub(crate) struct Tables<D>(D);

impl<D: Database> Tables<D> {
    pub(crate) fn new(database: D) -> Self {
        Self(database)
    }

    fn answer<T>(
        &self,
        op: &'static str,
        kind: RowKind,
        work: impl FnOnce(&mut D::Snapshot) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.measured(op, kind, || self.0.ask(work))
    }

    /// The same for what may look at many rows.
    fn answer_aside<T: Send>(
        &self,
        op: &'static str,
        kind: RowKind,
        work: impl FnOnce(&mut D::Snapshot) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.measured(op, kind, || self.0.aside(|| self.0.ask(work)))
    }

    /// The same for what can use counts that are kept.
    fn answer_counted<R: Fetch, T: Send>(
        &self,
        op: &'static str,
        filter: &Filter<R::Column>,
        work: impl FnOnce(&mut D::Snapshot) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let is_plain = filter.conditions().is_empty();
        let ask = || {
            if is_plain {
                self.0.prepare_counts(R::KIND)?;
            }
            self.0.ask(work)
        };
        self.measured(op, R::KIND, || self.0.aside(ask))
    }

    /// The one way to every answer.
    fn measured<T>(
        &self,
        op: &'static str,
        kind: RowKind,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let span = tracing::debug_span!("query", op, table = kind.table(), backend = D::NAME);
        let _inside = span.enter();
        let began = Instant::now();
        let answer = work();
        let elapsed = began.elapsed();
        telemetry::query(op, D::NAME, elapsed, answer.is_ok());
        match &answer {
            Ok(_) => tracing::debug!(?elapsed, "answered"),
            Err(error) => tracing::debug!(?elapsed, %error, "not answered"),
        }
        answer
    }
}

impl<R: Fetch, D: Database> Table<R> for Tables<D> {
    fn page(&self, filter: &Filter<R::Column>, paging: &Paging) -> Result<Page<R>, Error> {
        let work = |snapshot: &mut D::Snapshot| page::page::<R, D>(snapshot, filter, paging);
        // An index leads to what it asks for.
        let is_short = filter.conditions().iter().all(tally::is_timed::<R>);
        if is_short { self.answer("page", R::KIND, work) } else { self.answer_aside("page", R::KIND, work) }
    }

    fn count(&self, filter: &Filter<R::Column>) -> Result<u64, Error> {
        self.answer_aside("count", R::KIND, |snapshot| tally::count::<R, D>(snapshot, filter))
    }

    fn count_by(&self, column: R::Column, filter: &Filter<R::Column>, limit: usize) -> Result<Vec<Tally>, Error> {
        self.answer_counted::<R, _>("count_by", filter, |snapshot| {
            tally::count_by::<R, D>(snapshot, column, filter, limit)
        })
    }

    fn sources(&self, filter: &Filter<R::Column>, limit: usize) -> Result<Vec<Source>, Error> {
        self.answer_aside("sources", R::KIND, |snapshot| tally::sources::<R, D>(snapshot, filter, limit))
    }

    fn histogram(&self, filter: &Filter<R::Column>, buckets: &Buckets) -> Result<Vec<Bucket>, Error> {
        self.answer_counted::<R, _>("histogram", filter, |snapshot| tally::histogram::<R, D>(snapshot, filter, buckets))
    }

    fn summary(&self, filter: &Filter<R::Column>) -> Result<Summary, Error> {
        self.answer_counted::<R, _>("summary", filter, |snapshot| tally::summary::<R, D>(snapshot, filter))
    }
}

impl<D: Database> Sessions for Tables<D>
where
    Event: Fetch<Column = EventColumn>,
    Capture: Fetch,
{
    fn list(&self, filter: &Filter<EventColumn>, limit: usize) -> Result<Vec<Session>, Error> {
        self.answer_aside("sessions", RowKind::Event, |snapshot| sessions::list::<D>(snapshot, filter, limit))
    }

    fn rows(
        &self,
        sensor: &str,
        name: &str,
        between: Option<(Timestamp, Timestamp)>,
        limit: usize,
    ) -> Result<SessionRows, Error> {
        self.answer_aside("session", RowKind::Event, |snapshot| {
            sessions::rows::<D>(snapshot, sensor, name, between, limit)
        })
    }
}

impl<D: Database> Settled for Tables<D> {
    fn settled(&self, kind: RowKind, after: i64) -> Result<i64, Error> {
        self.measured("settled", kind, || self.0.settled(kind, after))
    }
}

/// First and last address of a block, as bytes.
fn ends(block: &IpNet) -> (Vec<u8>, Vec<u8>) {
    match block {
        IpNet::V4(block) => (block.network().octets().to_vec(), block.broadcast().octets().to_vec()),
        IpNet::V6(block) => (block.network().octets().to_vec(), block.broadcast().octets().to_vec()),
    }
}
