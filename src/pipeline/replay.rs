//! The handle of a source that can be read again: a file, a capture, a spool.
//!
//! Such a source has a stable name and positions of its own. Each chunk carries its positions into the ledger, in the
//! transaction of its rows, so that after a crash the source asks what is committed and sends only the rest. When the
//! pipeline has several lanes they may have committed different parts; each lane then gets just what it lacks.

use std::sync::Arc;

use super::producer::{SendError, cut_to_loads};
use super::queue::{Intake, Load, Origin};
use crate::chunk::{Few, Positions, Row, RowType};
use crate::ranges::Ranges;
use crate::receipt::Receipt;

/// Sends rows of type `T` with their positions in a replayable source.
///
/// Always waits for room, whatever the queue's policy: what can be read again need not be discarded.
#[derive(Clone)]
pub struct Replay<T: RowType> {
    intake: Arc<Intake>,
    source: Arc<str>,
    committed: Arc<[Ranges]>,
    everywhere: Ranges,
    rows: std::marker::PhantomData<fn(T)>,
}

/// Rows of a replayable source that follow each other, not empty. Positions are at most `i64::MAX`, the range of the
/// ledger's columns.
#[derive(Clone, Debug)]
pub struct ReplayRows<T> {
    rows: Vec<Row<T>>,
    positions: Positions,
}

/// How many positions a ledger can tell apart: its columns are signed.
const POSITIONS: u64 = 1 << 63;
const TOO_HIGH: &str = "positions must not be above i64::MAX";

impl<T> ReplayRows<T> {
    /// Rows that have one position each, from `first` on: packets by number.
    ///
    /// # Panics
    /// When a position is above `i64::MAX`.
    pub fn numbered(first: u64, rows: Vec<Row<T>>) -> Self {
        assert!(first.checked_add(rows.len() as u64).is_some_and(|end| end <= POSITIONS), "{TOO_HIGH}");
        Self { rows, positions: Positions::Each { first } }
    }

    /// Rows that each reach up to, not including, the position in `ends`; the first begins at `first`: lines by byte.
    ///
    /// # Panics
    /// When there is not one end for each row, the ends do not ascend from `first`, or a position is above `i64::MAX`.
    pub fn spanning(first: u64, ends: Vec<u64>, rows: Vec<Row<T>>) -> Self {
        assert_eq!(ends.len(), rows.len(), "each row needs its end");
        assert!(ends.first().is_none_or(|end| *end > first) && ends.is_sorted_by(|a, b| a < b), "ends must ascend");
        assert!(ends.last().is_none_or(|end| *end <= POSITIONS), "{TOO_HIGH}");
        Self { rows, positions: Positions::Spans { first, ends: ends.into() } }
    }
}

impl<T: RowType> Replay<T> {
    pub(crate) fn new(intake: Arc<Intake>, source: Arc<str>, committed: Vec<Ranges>) -> Self {
        let everywhere = committed.iter().skip(1).fold(committed[0].clone(), |all, lane| all.intersection(lane));
        Self { intake, source, committed: committed.into(), everywhere, rows: std::marker::PhantomData }
    }

    /// Returns the positions that were committed in every lane when this handle was made: they may be skipped.
    pub fn committed(&self) -> &Ranges {
        &self.everywhere
    }

    /// Sends rows; waits while there is no room. Rows that a lane had committed earlier are not sent to it again.
    ///
    /// More than fit into one batch go as several chunks. The receipt resolves when all are settled.
    ///
    /// # Errors
    /// [`SendError`] hands back the rows that were not taken.
    pub async fn send(&self, rows: ReplayRows<T>) -> Result<Receipt, SendError<Vec<Row<T>>>> {
        let ReplayRows { rows, mut positions } = rows;
        let (max_rows, max_bytes) = (self.intake.limits.max_rows, self.intake.limits.max_bytes.as_usize());
        let mut receipt = Receipt::resolved(Ok(()));
        let loads = cut_to_loads(Few::from_vec(rows), max_rows, max_bytes);
        let mut loads = loads.map_err(|rows| SendError::TooLarge(rows.into_vec()))?.into_iter();
        while let Some(load) = loads.next() {
            let here = positions.split_front(load.rows.len());
            let origin = Origin::Replay { source: &self.source, positions: here, committed: &self.committed };
            match self.intake.take(load, origin).await {
                Ok(taken) => receipt.join(taken),
                Err(rows) => return Err(SendError::Closed(remaining(rows, loads))),
            }
        }
        Ok(receipt)
    }

    /// Sends rows from a plain thread, blocking it while there is no room.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(&self, rows: ReplayRows<T>) -> Result<Receipt, SendError<Vec<Row<T>>>> {
        pollster::block_on(self.send(rows))
    }
}

fn remaining<T: RowType>(rows: Few<T>, rest: impl Iterator<Item = Load<T>>) -> Vec<Row<T>> {
    rows.into_iter().chain(rest.flat_map(|load| load.rows)).collect()
}
