//! The handle by which a host sends rows.
//!
//! A `Producer` is cheap to clone and to move between threads. It knows the way in (`queue`) and nothing of writers or
//! databases. Rows that are not taken always come back in the error.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use smallvec::{SmallVec, smallvec};

use super::queue::{Intake, Load, Origin};
use crate::budget::TryPermit;
use crate::chunk::{Few, Row, RowType};
use crate::config::Policy;
use crate::receipt::Receipt;

/// Sends rows of type `T` ([`Event`](crate::Event) or [`Capture`](crate::Capture)) into a pipeline.
///
/// Each clone is a producer of its own: rows of one clone that are sent one after the other are stored in that order.
pub struct Producer<T: RowType> {
    intake: Arc<Intake>,
    source: Arc<str>,
    next: AtomicU64,
    rows: PhantomData<fn(T)>,
}

/// Why rows could not be sent. Hands them back: one row after `send`, a `Vec` after `send_many`.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<R> {
    /// A row weighs more than `batch.max_bytes`; none of the rows was taken.
    TooLarge(R),
    /// The pipeline is shut down or has failed; `Pipeline::status` tells which. Of a `Vec`, those rows come back that
    /// were not taken; the earlier ones are settled like all rows of a closed pipeline.
    Closed(R),
}

/// Why rows could not be sent at once. Hands them back.
#[derive(Debug, PartialEq, Eq)]
pub enum TrySendError<R> {
    /// There is no room at the moment.
    Full(R),
    /// A row weighs more than `batch.max_bytes`; none of the rows was taken.
    TooLarge(R),
    /// The pipeline is shut down or has failed.
    Closed(R),
}

impl<R> SendError<R> {
    /// Returns the rows.
    pub fn into_rows(self) -> R {
        match self {
            Self::TooLarge(rows) | Self::Closed(rows) => rows,
        }
    }
}

impl<R> TrySendError<R> {
    /// Returns the rows.
    pub fn into_rows(self) -> R {
        match self {
            Self::Full(rows) | Self::TooLarge(rows) | Self::Closed(rows) => rows,
        }
    }
}

const TOO_LARGE: &str = "a row weighs more than batch.max_bytes; raise that limit or cut the row";
const CLOSED: &str = "the pipeline takes no more rows; its status tells why";

impl<R> fmt::Display for SendError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge(_) => TOO_LARGE,
            Self::Closed(_) => CLOSED,
        })
    }
}

impl<R> fmt::Display for TrySendError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "there is no room in the queue",
            Self::TooLarge(_) => TOO_LARGE,
            Self::Closed(_) => CLOSED,
        })
    }
}

impl<R: fmt::Debug> std::error::Error for SendError<R> {}
impl<R: fmt::Debug> std::error::Error for TrySendError<R> {}

impl<T: RowType> Producer<T> {
    pub(crate) fn new(intake: Arc<Intake>) -> Self {
        let source = intake.new_source();
        Self { intake, source, next: AtomicU64::new(0), rows: PhantomData }
    }

    /// Sends a row; waits while there is no room, if the policy is `block`. Works in any async runtime.
    ///
    /// With policy `drop_newest` it never waits: without room the row is discarded and counted, and the receipt
    /// resolves to [`ReceiptError::Discarded`](crate::ReceiptError::Discarded).
    ///
    /// # Errors
    /// [`SendError`] hands the row back.
    ///
    /// # Cancel safety
    /// A dropped future has either sent the row or drops it with itself; it holds no room.
    pub async fn send(&self, row: T) -> Result<Receipt, SendError<T>> {
        self.take(smallvec![Row::Keep(row)]).await.map_err(|error| error.map(only))
    }

    /// Sends a row from a plain thread, blocking it while there is no room. Needs no runtime.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(&self, row: T) -> Result<Receipt, SendError<T>> {
        pollster::block_on(self.send(row))
    }

    /// Sends a row if there is room at once, whatever the policy.
    ///
    /// # Errors
    /// [`TrySendError`] hands the row back.
    pub fn try_send(&self, row: T) -> Result<Receipt, TrySendError<T>> {
        self.try_take(smallvec![Row::Keep(row)]).map_err(|error| error.map(only))
    }

    /// Sends rows as one chunk, which is committed as one; more than fit into one batch go as several chunks.
    ///
    /// The receipt resolves when all are settled. An empty `Vec` is settled at once.
    ///
    /// # Errors
    /// [`SendError`] hands back the rows that were not taken.
    ///
    /// # Cancel safety
    /// A dropped future has sent some chunks and drops the others with itself.
    pub async fn send_many(&self, rows: Vec<T>) -> Result<Receipt, SendError<Vec<T>>> {
        self.take(keep(rows)).await.map_err(|error| error.map(kept))
    }

    /// Sends rows from a plain thread, blocking it while there is no room.
    ///
    /// # Errors
    /// As [`send_many`](Self::send_many).
    pub fn send_many_blocking(&self, rows: Vec<T>) -> Result<Receipt, SendError<Vec<T>>> {
        pollster::block_on(self.send_many(rows))
    }

    /// Sends rows if there is room at once for all that go into one batch.
    ///
    /// # Errors
    /// [`TrySendError`] hands back the rows that were not taken; those before them were. More than fit into one batch
    /// may be taken in part: then the receipt of the part is lost, use `Pipeline::flush`.
    pub fn try_send_many(&self, rows: Vec<T>) -> Result<Receipt, TrySendError<Vec<T>>> {
        self.try_take(keep(rows)).map_err(|error| error.map(kept))
    }

    /// Sends rows together with records that could not become rows, in their order: the latter are set aside.
    ///
    /// Else as [`send_many`](Self::send_many). The receipt resolves to
    /// [`ReceiptError::Rejected`](crate::ReceiptError::Rejected) when something was set aside.
    ///
    /// # Errors
    /// [`SendError`] hands back what was not taken.
    ///
    /// # Cancel safety
    /// As [`send_many`](Self::send_many).
    pub async fn send_rows(&self, rows: Vec<Row<T>>) -> Result<Receipt, SendError<Vec<Row<T>>>> {
        self.take(Few::from_vec(rows)).await.map_err(|error| error.map(Few::into_vec))
    }

    async fn take(&self, rows: Few<T>) -> Result<Receipt, SendError<Few<T>>> {
        if self.intake.policy(T::KIND) == Policy::DropNewest {
            return self.take_or_discard(rows);
        }
        let mut receipt = Receipt::resolved(Ok(()));
        let mut rest = self.loads(rows).map_err(SendError::TooLarge)?.into_iter();
        while let Some(load) = rest.next() {
            match self.intake.take(load, self.origin()).await {
                Ok(taken) => receipt.join(taken),
                Err(rows) => return Err(SendError::Closed(with_rest(rows, rest))),
            }
        }
        Ok(receipt)
    }

    fn take_or_discard(&self, rows: Few<T>) -> Result<Receipt, SendError<Few<T>>> {
        let mut receipt = Receipt::resolved(Ok(()));
        let mut rest = self.loads(rows).map_err(SendError::TooLarge)?.into_iter();
        while let Some(load) = rest.next() {
            match self.intake.try_take(load, self.origin()) {
                Ok(taken) => receipt.join(taken),
                Err((TryPermit::Full, rows)) => receipt.join(self.intake.discard(T::KIND, rows.len())),
                Err((TryPermit::Closed, rows)) => return Err(SendError::Closed(with_rest(rows, rest))),
            }
        }
        Ok(receipt)
    }

    fn try_take(&self, rows: Few<T>) -> Result<Receipt, TrySendError<Few<T>>> {
        let mut receipt = Receipt::resolved(Ok(()));
        let mut rest = self.loads(rows).map_err(TrySendError::TooLarge)?.into_iter();
        while let Some(load) = rest.next() {
            match self.intake.try_take(load, self.origin()) {
                Ok(taken) => receipt.join(taken),
                Err((TryPermit::Full, rows)) => return Err(TrySendError::Full(with_rest(rows, rest))),
                Err((TryPermit::Closed, rows)) => return Err(TrySendError::Closed(with_rest(rows, rest))),
            }
        }
        Ok(receipt)
    }

    fn loads(&self, rows: Few<T>) -> Result<Loads<T>, Few<T>> {
        cut_to_loads(rows, self.intake.limits.max_rows, self.intake.limits.max_bytes.as_usize())
    }

    fn origin(&self) -> Origin<'_> {
        Origin::Memory { source: &self.source, next: &self.next }
    }
}

/// What one send comes to: nearly always one chunk.
pub(crate) type Loads<T> = SmallVec<[Load<T>; 1]>;

/// Cuts rows into chunks' worths that keep both limits; gives all back when a single row is above `max_bytes`.
pub(crate) fn cut_to_loads<T: RowType>(
    mut rows: Few<T>,
    max_rows: usize,
    max_bytes: usize,
) -> Result<Loads<T>, Few<T>> {
    let mut cuts = SmallVec::<[(usize, usize); 1]>::new();
    let (mut begin, mut bytes) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        let weight = row.weight();
        if weight > max_bytes {
            return Err(rows);
        }
        if index - begin == max_rows || bytes + weight > max_bytes {
            cuts.push((begin, bytes));
            (begin, bytes) = (index, 0);
        }
        bytes += weight;
    }
    if rows.len() > begin {
        cuts.push((begin, bytes));
    }
    // Cut from the back, so that each cut moves only its own rows.
    let mut loads = Loads::with_capacity(cuts.len());
    while let Some((begin, bytes)) = cuts.pop() {
        let tail = if begin == 0 { std::mem::take(&mut rows) } else { rows.drain(begin..).collect() };
        loads.push(Load { rows: tail, bytes });
    }
    loads.reverse();
    Ok(loads)
}

fn with_rest<T: RowType>(mut rows: Few<T>, rest: impl Iterator<Item = Load<T>>) -> Few<T> {
    rest.for_each(|load| rows.extend(load.rows));
    rows
}

fn keep<T: RowType>(rows: Vec<T>) -> Few<T> {
    Few::from_vec(rows.into_iter().map(Row::Keep).collect())
}

fn kept<T: RowType>(rows: Few<T>) -> Vec<T> {
    let keep = |row| match row {
        Row::Keep(row) => Some(row),
        Row::Reject(_) => None,
    };
    rows.into_iter().filter_map(keep).collect()
}

fn only<T: RowType>(rows: Few<T>) -> T {
    kept(rows).pop().expect("a single row was sent and comes back")
}

impl<R> SendError<R> {
    pub(crate) fn map<U>(self, f: impl FnOnce(R) -> U) -> SendError<U> {
        match self {
            Self::TooLarge(rows) => SendError::TooLarge(f(rows)),
            Self::Closed(rows) => SendError::Closed(f(rows)),
        }
    }
}

impl<R> TrySendError<R> {
    fn map<U>(self, f: impl FnOnce(R) -> U) -> TrySendError<U> {
        match self {
            Self::Full(rows) => TrySendError::Full(f(rows)),
            Self::TooLarge(rows) => TrySendError::TooLarge(f(rows)),
            Self::Closed(rows) => TrySendError::Closed(f(rows)),
        }
    }
}

impl<T: RowType> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.intake))
    }
}

impl<T: RowType> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("kind", &T::KIND).field("source", &self.source).finish_non_exhaustive()
    }
}
