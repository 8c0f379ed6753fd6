//! One source of statements for state, deployments and users, over whatever database: what it must offer for that
//! ([`Store`], [`Session`]), the statements' form, and the [`Desk`], behind which `state.rs`, `deployments.rs` and `users.rs`
//! ask them.
//!
//! The databases differ here in three things, and each store says how: how a transaction begins (and what holds others
//! off), what locks a row that is read (`FOR UPDATE`, or nothing), and what an error means. All else is the same text:
//! values are bound at each `?`, names of columns are ours, and what one database calls upsert is an UPDATE and, if that
//! found nothing, an INSERT within the transaction. Nothing from outside is ever part of a statement.
//!
//! Turned down: diesel's typed queries, generic over both databases. Each would carry a page of bounds, and diesel's MySQL
//! connection is async while SQLite's is not, so that every method would be written twice after all. A `Session` blocks;
//! `mysql/store.rs` waits on its own runtime, as everything else there does.
//!
//! Every call goes through [`Desk::read`] or [`Desk::write`], which measure and trace it: there is no other way in.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::deserialize::{self, QueryableByName};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::row::{Field, NamedRow, Row};
use diesel::sql_types::Untyped;

use super::password::Hasher;
use super::rows::{Cell, Dialect};
use crate::error::{Error, ErrorKind};
use crate::telemetry;

/// Attempts at a transaction that another one's locks got in the way of.
const ATTEMPTS: u32 = 10;

/// A statement that may run more than once.
pub(crate) type Work<'w> = dyn FnMut(&mut dyn Session) -> Result<(), Trouble> + 'w;

/// A database that keeps state, deployments and users.
pub(crate) trait Store: Send + Sync + 'static {
    /// Name of the backend, as a metric's label.
    const NAME: &'static str;

    /// Runs `work`, which changes nothing and asks one question.
    fn read(&self, work: &mut Work<'_>) -> Result<(), Trouble>;

    /// Runs `work` in one transaction: all of it is committed, or nothing when it fails.
    fn write(&self, work: &mut Work<'_>) -> Result<(), Trouble>;
}

/// A connection of a store, for as long as a piece of work.
pub(crate) trait Session {
    /// Returns the words behind a SELECT that keep others from changing its rows until the end of the transaction.
    fn locking(&self) -> &'static str;

    /// Returns how many bytes a statement may have.
    fn most_bytes(&self) -> usize;

    /// Runs a statement that is not too long.
    fn run(&mut self, statement: Statement<'_>) -> Result<usize, Trouble>;

    /// Runs a statement; returns how many rows it found.
    fn execute(&mut self, statement: Statement<'_>) -> Result<usize, Trouble> {
        let (bytes, most) = (statement.bytes(), self.most_bytes());
        if bytes > most {
            let why = format!(
                "this takes {bytes} bytes at once, and the database takes {most}; a server's bound is its max_allowed_packet"
            );
            return Err(Error::new(ErrorKind::Configuration, why).into());
        }
        self.run(statement)
    }

    /// Runs a query.
    fn rows(&mut self, query: Statement<'_>) -> Result<Vec<Fields>, Trouble>;
}

/// Why a piece of work ended.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The statement would have made a second row of the same key. The transaction goes on without it.
    Duplicate,
    /// Another transaction was in the way; the same work may well succeed now.
    Again(Box<dyn StdError + Send + Sync>),
    /// The database does not answer, or not yet.
    Away(Box<dyn StdError + Send + Sync>),
    /// The database refuses.
    Refused(Box<dyn StdError + Send + Sync>),
    /// Something else that the caller is to be told as it is.
    Told(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// Text of our own, with a `?` for each value.
#[derive(Clone, Debug)]
pub(crate) struct Statement<'a> {
    text: Cow<'static, str>,
    values: Vec<Cell<'a>>,
}

impl<'a> Statement<'a> {
    pub(crate) fn new(text: impl Into<Cow<'static, str>>, values: impl Into<Vec<Cell<'a>>>) -> Self {
        let (text, values) = (text.into(), values.into());
        debug_assert_eq!(text.matches('?').count(), values.len(), "{text}");
        Self { text, values }
    }

    /// Returns how many bytes it sends, about.
    fn bytes(&self) -> usize {
        let weigh = |value: &Cell<'_>| match value {
            Cell::Text(text) => text.map_or(0, str::len),
            Cell::Bytes(bytes) => bytes.len(),
            Cell::Number(_) | Cell::Small(_) => 8,
        };
        self.text.len() + self.values.iter().map(|value| weigh(value) + 12).sum::<usize>()
    }
}

impl QueryId for Statement<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement<'_> {
    type SqlType = Untyped;
}

impl<DB: Dialect> QueryFragment<DB> for Statement<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut pieces = self.text.split('?');
        out.push_sql(pieces.next().unwrap_or_default());
        for (value, piece) in self.values.iter().zip(pieces) {
            DB::bind(&mut out, value)?;
            out.push_sql(piece);
        }
        Ok(())
    }
}

impl<Conn> diesel::RunQueryDsl<Conn> for Statement<'_> {}

/// A number or NULL, to be bound.
pub(crate) fn number(number: Option<i64>) -> Cell<'static> {
    number.map_or(Cell::Text(None), Cell::Number)
}

/// A text, to be bound.
pub(crate) fn text(text: &str) -> Cell<'_> {
    Cell::Text(Some(text))
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Number(i64),
    Text(String),
}

/// A database whose values can be read without knowing their types beforehand.
pub(crate) trait Values: Backend {
    fn value(raw: Self::RawValue<'_>) -> deserialize::Result<Value>;
}

/// A row: its values, to be taken from the first to the last.
#[derive(Debug)]
pub(crate) struct Fields(std::vec::IntoIter<Value>);

impl<DB: Values> QueryableByName<DB> for Fields {
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let mut values = Vec::with_capacity(row.field_count());
        for index in 0..row.field_count() {
            let field = Row::get(row, index).ok_or(diesel::result::UnexpectedEndOfRow)?;
            values.push(field.value().map_or(Ok(Value::Null), DB::value)?);
        }
        Ok(Self(values.into_iter()))
    }
}

impl Fields {
    pub(crate) fn number(&mut self) -> Result<i64, Trouble> {
        self.maybe_number()?.ok_or_else(unreadable)
    }

    pub(crate) fn text(&mut self) -> Result<String, Trouble> {
        self.maybe_text()?.ok_or_else(unreadable)
    }

    pub(crate) fn maybe_number(&mut self) -> Result<Option<i64>, Trouble> {
        match self.0.next() {
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(Value::Null) => Ok(None),
            _ => Err(unreadable()),
        }
    }

    pub(crate) fn maybe_text(&mut self) -> Result<Option<String>, Trouble> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(unreadable()),
        }
    }
}

/// A value that we have not written so.
pub(crate) fn unreadable() -> Trouble {
    Trouble::Refused("a stored value is none that forebay writes".into())
}

/// Where state, deployments and users are asked for.
pub(crate) struct Desk<S> {
    store: S,
    pub(super) hasher: Hasher,
}

impl<S: Store> Desk<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, hasher: Hasher::default() }
    }

    /// Asks one question. `op` is the metric's label; `doing` says what, for people.
    pub(super) fn read<T>(
        &self,
        op: &'static str,
        doing: &str,
        work: impl FnMut(&mut dyn Session) -> Result<T, Trouble>,
    ) -> Result<T, Error> {
        self.measured(op, doing, work, |store, work| store.read(work))
    }

    /// Does `work` in one transaction, again if others were in the way.
    pub(super) fn write<T>(
        &self,
        op: &'static str,
        doing: &str,
        work: impl FnMut(&mut dyn Session) -> Result<T, Trouble>,
    ) -> Result<T, Error> {
        self.measured(op, doing, work, |store, work| store.write(work))
    }

    fn measured<T>(
        &self,
        op: &'static str,
        doing: &str,
        mut work: impl FnMut(&mut dyn Session) -> Result<T, Trouble>,
        run: impl Fn(&S, &mut Work<'_>) -> Result<(), Trouble>,
    ) -> Result<T, Error> {
        let _span = tracing::debug_span!("query", op, backend = S::NAME).entered();
        let began = Instant::now();
        let mut attempt = 0;
        let outcome = loop {
            let mut answer = None;
            attempt += 1;
            match run(&self.store, &mut |session| work(session).map(|found| answer = Some(found))) {
                Err(Trouble::Again(error)) if attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "another transaction was in the way");
                    std::thread::sleep(Duration::from_millis(fastrand::u64(1..=4 << attempt)));
                }
                ended => break ended.and(answer.ok_or_else(unreadable)),
            }
        };
        let outcome = outcome.map_err(|trouble| told(trouble, doing));
        // Whoever asks for what cannot be has not met a fault of the database.
        let is_fault = |error: &Error| !matches!(error.kind(), ErrorKind::Configuration | ErrorKind::Conflict);
        telemetry::query(op, S::NAME, began.elapsed(), !outcome.as_ref().is_err_and(is_fault));
        outcome
    }
}

fn told(trouble: Trouble, doing: &str) -> Error {
    match trouble {
        Trouble::Told(error) => error,
        Trouble::Duplicate => Error::new(ErrorKind::Conflict, format!("{doing}: it is there already")),
        Trouble::Again(cause) | Trouble::Away(cause) => Error::new(ErrorKind::Unavailable, doing).because(cause),
        Trouble::Refused(cause) => Error::new(ErrorKind::Database, doing).because(cause),
    }
}
