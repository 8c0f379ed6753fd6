//! The questions that a database must be able to answer about one kind of rows.

use std::time::Duration;

use super::columns::Record;
use super::filter::Filter;
use super::page::{Page, Paging};
use crate::error::Error;
use crate::timestamp::Timestamp;

/// How many rows have one text in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The text; `None` is NULL.
    pub key: Option<String>,
    /// How many rows have it.
    pub rows: u64,
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

/// All rows of one kind. Each answer is that of one moment: what is committed meanwhile is in it whole or not at all.
pub trait Table<R: Record>: Send + Sync {
    /// Returns one page of the rows that `filter` leaves.
    ///
    /// # Errors
    /// [`ErrorKind::Database`](crate::ErrorKind::Database), when the database does not answer.
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

    /// Returns how many of the rows that `filter` leaves fall into each piece of time as long as `bucket`, counted from
    /// the Unix epoch; earliest first, without empty ones. A `bucket` of nothing is taken as one nanosecond.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    fn histogram(&self, filter: &Filter<R::Column>, bucket: Duration) -> Result<Vec<Bucket>, Error>;
}
