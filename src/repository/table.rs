//! The questions that a database must be able to answer about one kind of rows.

use super::buckets::Buckets;
use super::columns::Record;
use super::filter::Filter;
use super::page::{Page, Paging};
use crate::error::Error;
use crate::timestamp::Timestamp;

/// How many rows have one text in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The text, of a number its digits; `None` is NULL.
    pub key: Option<String>,
    /// How many rows have it.
    pub rows: u64,
}

/// An address that rows came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The address, as canonical text (RFC 5952).
    pub address: String,
    /// How many rows have it.
    pub rows: u64,
    /// When the first of them happened.
    pub first: Timestamp,
    /// When the last of them happened.
    pub last: Timestamp,
}

/// How many rows fall into one piece of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its first moment; of the first bucket of all time, which reaches beyond what a [`Timestamp`] can say, the first
    /// moment there is.
    pub from: Timestamp,
    /// How many rows fall into it.
    pub rows: u64,
}

/// What rows come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub rows: u64,
    /// When the first and the last of them happened; `None` without any.
    pub times: Option<(Timestamp, Timestamp)>,
    /// How many sensors they are of.
    pub sensors: u64,
    /// How many source addresses they have.
    pub sources: u64,
}

/// All rows of one kind. Each answer is that of one moment: what is committed meanwhile is in it whole or not at all.
pub trait Table<R: Record>: Send + Sync {
    /// Returns one page of the rows that `filter` leaves.
    ///
    /// # Errors
    /// [`ErrorKind::Database`](crate::ErrorKind::Database), when the database does not answer;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), if waiting may mend that;
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for more than is answered: an offset above
    /// [`MAX_OFFSET`](super::MAX_OFFSET).
    fn page(&self, filter: &Filter<R::Column>, paging: &Paging) -> Result<Page<R>, Error>;

    /// Returns how many rows `filter` leaves.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn count(&self, filter: &Filter<R::Column>) -> Result<u64, Error>;

    /// Returns the `limit` most frequent texts of `column` among the rows that `filter` leaves, the most frequent first,
    /// equals in the order of their bytes, NULL before all. Every distinct text is in memory for a while.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn count_by(&self, column: R::Column, filter: &Filter<R::Column>, limit: usize) -> Result<Vec<Tally>, Error>;

    /// Returns the `limit` source addresses with most rows among those that `filter` leaves, most first, equals in the
    /// order of their bytes. Every distinct one is in memory for a while.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn sources(&self, filter: &Filter<R::Column>, limit: usize) -> Result<Vec<Source>, Error>;

    /// Returns how many of the rows that `filter` leaves fall into each piece of time; earliest first, without empty ones.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn histogram(&self, filter: &Filter<R::Column>, buckets: &Buckets) -> Result<Vec<Bucket>, Error>;

    /// Returns what the rows that `filter` leaves come to.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn summary(&self, filter: &Filter<R::Column>) -> Result<Summary, Error>;
}
