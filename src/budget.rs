//! What a pipeline may hold in memory: rows of each kind, and bytes of all together.
//!
//! A [`Permit`] is taken before a chunk enters a queue and travels inside it until the chunk is settled, so the bound
//! holds by construction: queued, batched and being written all count. Waiting is FIFO and works in any async runtime
//! and in none (tokio's semaphore needs no runtime). Closing the budget is how a pipeline refuses further rows: after
//! that no permit is given, and once all have come back nothing is on its way any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::chunk::RowKind;

#[derive(Debug)]
pub(crate) struct Budget {
    bytes: Semaphore,
    rows: [Semaphore; 2],
    max_bytes: usize,
    max_rows: [usize; 2],
}

/// The budget is closed: the pipeline takes no more rows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BudgetClosed;

/// Why no permit is there at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TryPermit {
    Full,
    Closed,
}

/// The right of one chunk to be in memory. Comes back on drop, or through [`Released`] for many chunks at once.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<Budget>,
    kind: RowKind,
    rows: u32,
    bytes: u32,
    released: AtomicBool,
}

/// Permits collected from the chunks of one batch, given back together when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Released {
    budget: Option<Arc<Budget>>,
    rows: [usize; 2],
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(max_bytes: usize, max_rows: [usize; 2]) -> Arc<Self> {
        Arc::new(Self { bytes: Semaphore::new(max_bytes), rows: max_rows.map(Semaphore::new), max_bytes, max_rows })
    }

    /// Waits until `rows` and `bytes` are free. Cancel safe: a dropped future holds nothing.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        kind: RowKind,
        rows: u32,
        bytes: u32,
    ) -> Result<Permit, BudgetClosed> {
        let row_permit = self.rows[kind.index()].acquire_many(rows).await.map_err(|_| BudgetClosed)?;
        let byte_permit = self.bytes.acquire_many(bytes).await.map_err(|_| BudgetClosed)?;
        row_permit.forget();
        byte_permit.forget();
        Ok(self.permit(kind, rows, bytes))
    }

    pub(crate) fn try_acquire(self: &Arc<Self>, kind: RowKind, rows: u32, bytes: u32) -> Result<Permit, TryPermit> {
        use tokio::sync::TryAcquireError::{Closed, NoPermits};
        let refusal = |error| match error {
            Closed => TryPermit::Closed,
            NoPermits => TryPermit::Full,
        };
        let row_permit = self.rows[kind.index()].try_acquire_many(rows).map_err(refusal)?;
        self.bytes.try_acquire_many(bytes).map_err(refusal)?.forget();
        row_permit.forget();
        Ok(self.permit(kind, rows, bytes))
    }

    fn permit(self: &Arc<Self>, kind: RowKind, rows: u32, bytes: u32) -> Permit {
        Permit { budget: Arc::clone(self), kind, rows, bytes, released: AtomicBool::new(false) }
    }

    /// Refuses every permit from now on, also to those who wait.
    pub(crate) fn close(&self) {
        self.rows.iter().for_each(Semaphore::close);
        self.bytes.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.bytes.is_closed()
    }

    /// Returns whether every permit has come back, so that no chunk is in the pipeline or on its way into it.
    pub(crate) fn is_whole(&self) -> bool {
        self.rows.iter().zip(self.max_rows).all(|(rows, max)| rows.available_permits() == max)
            && self.bytes.available_permits() == self.max_bytes
    }

    pub(crate) fn bytes_in_use(&self) -> usize {
        self.max_bytes - self.bytes.available_permits().min(self.max_bytes)
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(crate) fn max_rows(&self) -> [usize; 2] {
        self.max_rows
    }

    pub(crate) fn rows_in_use(&self, kind: RowKind) -> usize {
        self.max_rows[kind.index()].saturating_sub(self.rows[kind.index()].available_permits())
    }
}

impl Released {
    /// Takes over `permit`; its own drop then gives nothing back.
    pub(crate) fn add(&mut self, permit: &Permit) {
        if permit.released.swap(true, Ordering::Relaxed) {
            return;
        }
        self.budget.get_or_insert_with(|| Arc::clone(&permit.budget));
        self.rows[permit.kind.index()] += permit.rows as usize;
        self.bytes += permit.bytes as usize;
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        let Some(budget) = &self.budget else { return };
        for (semaphore, rows) in budget.rows.iter().zip(self.rows) {
            semaphore.add_permits(rows);
        }
        budget.bytes.add_permits(self.bytes);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !*self.released.get_mut() {
            self.budget.rows[self.kind.index()].add_permits(self.rows as usize);
            self.budget.bytes.add_permits(self.bytes as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_every_permit_comes_back_once() {
        let budget = Budget::new(100, [4, 4]);
        let a = budget.try_acquire(RowKind::Event, 2, 60).unwrap();
        assert_eq!(budget.try_acquire(RowKind::Event, 3, 1).unwrap_err(), TryPermit::Full, "rows");
        assert_eq!(budget.try_acquire(RowKind::Capture, 1, 41).unwrap_err(), TryPermit::Full, "bytes are shared");
        let b = budget.try_acquire(RowKind::Capture, 4, 40).unwrap();
        assert_eq!(budget.bytes_in_use(), 100);
        let mut released = Released::default();
        released.add(&a);
        released.add(&a);
        drop(a);
        assert!(!budget.is_whole());
        drop((b, released));
        assert!(budget.is_whole());
        budget.close();
        assert_eq!(budget.try_acquire(RowKind::Event, 1, 1).unwrap_err(), TryPermit::Closed);
    }
}
