//! The answer to one send: a [`Receipt`] for the producer and a [`Settlement`] inside the chunk.
//!
//! The settlement counts rows down, over all lanes and over all the pieces that a rejected batch is cut into; when the
//! last row has found its fate the receipt resolves, to the worst that happened to any of them. A settlement that is
//! dropped early (a panic) resolves its receipt as failed: nobody waits for ever.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use smallvec::SmallVec;
use tokio::sync::oneshot;

/// Why the rows of one send are not all committed to their table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Some rows are set aside in `ingest_rejects`; all others are committed.
    Rejected {
        /// How many rows were set aside, in all lanes together.
        rows: usize,
        /// Why the first of them was.
        reason: Arc<str>,
    },
    /// Some rows are not stored, or it is not known whether they are: the lane failed, or shutdown's deadline passed.
    Failed {
        /// How many rows, in all lanes together.
        rows: usize,
        /// What happened.
        reason: Arc<str>,
    },
    /// The queue was full and its policy is `drop_newest`: the rows were not taken.
    Discarded,
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { rows, reason } => write!(f, "{rows} rows set aside in ingest_rejects: {reason}"),
            Self::Failed { rows, reason } => write!(f, "{rows} rows not known to be stored: {reason}"),
            Self::Discarded => f.write_str("rows discarded: the queue is full"),
        }
    }
}

impl std::error::Error for ReceiptError {}

impl ReceiptError {
    /// Returns the worse of the two; rows of the same fate add up.
    fn worse(self, other: Self) -> Self {
        use ReceiptError::{Discarded, Failed, Rejected};
        match (self, other) {
            (Failed { rows: a, reason }, Failed { rows: b, .. }) => Failed { rows: a + b, reason },
            (Rejected { rows: a, reason }, Rejected { rows: b, .. }) => Rejected { rows: a + b, reason },
            (failed @ Failed { .. }, _) | (_, failed @ Failed { .. }) => failed,
            (Discarded, _) | (_, Discarded) => Discarded,
        }
    }
}

/// What became of the rows of a send: all committed, or why not.
pub type Verdict = Result<(), ReceiptError>;

/// The promise of an answer for the rows of one send.
///
/// Resolves `Ok` only after the COMMIT of every lane returned. Await it in any async runtime, or [`wait`](Self::wait)
/// on a plain thread; or drop it and use `Pipeline::flush` now and then. Dropping it loses nothing but the answer.
///
/// # Cancel safety
/// Awaiting `&mut receipt` may be dropped and taken up again.
#[derive(Debug)]
#[must_use = "a receipt tells whether the rows were committed; drop it knowingly"]
pub struct Receipt {
    waiting: SmallVec<[oneshot::Receiver<Verdict>; 1]>,
    verdict: Verdict,
}

impl Receipt {
    pub(crate) fn resolved(verdict: Verdict) -> Self {
        Self { waiting: SmallVec::new(), verdict }
    }

    pub(crate) fn pending(receiver: oneshot::Receiver<Verdict>) -> Self {
        Self { waiting: SmallVec::from_buf([receiver]), verdict: Ok(()) }
    }

    /// Makes one receipt of two: it resolves when both have.
    pub(crate) fn join(&mut self, other: Self) {
        self.waiting.extend(other.waiting);
        self.add(other.verdict);
    }

    /// Blocks the thread until the rows are settled. For plain threads: it would stall an async runtime's worker.
    ///
    /// # Errors
    /// As when awaited: see [`ReceiptError`].
    pub fn wait(self) -> Verdict {
        pollster::block_on(self)
    }

    fn add(&mut self, verdict: Verdict) {
        if let Err(error) = verdict {
            self.verdict = Err(match std::mem::replace(&mut self.verdict, Ok(())) {
                Ok(()) => error,
                Err(before) => before.worse(error),
            });
        }
    }
}

impl Future for Receipt {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        while let Some(receiver) = self.waiting.last_mut() {
            let Poll::Ready(answer) = Pin::new(receiver).poll(context) else { return Poll::Pending };
            self.waiting.pop();
            self.add(answer.unwrap_or_else(|_| {
                Err(ReceiptError::Failed { rows: 0, reason: "the pipeline ended before it settled them".into() })
            }));
        }
        Poll::Ready(self.verdict.clone())
    }
}

/// Counts the rows of one chunk down to its answer.
#[derive(Debug)]
pub(crate) struct Settlement {
    unsettled: AtomicUsize,
    answer: Mutex<(Verdict, Option<oneshot::Sender<Verdict>>)>,
}

impl Settlement {
    /// `rows` counts each row once for each lane.
    pub(crate) fn new(rows: usize) -> (Self, Receipt) {
        let (sender, receiver) = oneshot::channel();
        let settlement = Self { unsettled: AtomicUsize::new(rows), answer: Mutex::new((Ok(()), Some(sender))) };
        (settlement, Receipt::pending(receiver))
    }

    /// Settles `rows` rows; returns whether they were the last.
    pub(crate) fn settle(&self, rows: usize, fault: Option<ReceiptError>) -> bool {
        if let Some(fault) = fault {
            let verdict = &mut self.answer.lock().unwrap_or_else(PoisonError::into_inner).0;
            *verdict = Err(match std::mem::replace(verdict, Ok(())) {
                Ok(()) => fault,
                Err(before) => before.worse(fault),
            });
        }
        let last = self.unsettled.fetch_sub(rows, Ordering::AcqRel) == rows;
        if last {
            let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
            let verdict = std::mem::replace(&mut answer.0, Ok(()));
            if let Some(sender) = answer.1.take() {
                // The producer may have dropped its receipt; then nobody wants the answer.
                let _ = sender.send(verdict);
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_resolves_with_the_last_row_and_to_the_worst_fate() {
        let (settlement, mut receipt) = Settlement::new(4);
        let poll = |receipt: &mut Receipt| Pin::new(receipt).poll(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(!settlement.settle(2, None));
        assert!(!settlement.settle(1, Some(ReceiptError::Rejected { rows: 1, reason: "bad".into() })));
        assert!(poll(&mut receipt).is_pending());
        assert!(settlement.settle(1, Some(ReceiptError::Rejected { rows: 1, reason: "worse".into() })));
        assert_eq!(receipt.wait(), Err(ReceiptError::Rejected { rows: 2, reason: "bad".into() }));
    }

    #[test]
    fn a_dropped_settlement_answers_instead_of_leaving_its_producer_waiting() {
        let (settlement, receipt) = Settlement::new(1);
        drop(settlement);
        assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { .. })));
    }

    #[test]
    fn a_joined_receipt_waits_for_both() {
        let (a, mut receipt) = Settlement::new(1);
        let (b, other) = Settlement::new(1);
        receipt.join(other);
        b.settle(1, Some(ReceiptError::Failed { rows: 1, reason: "x".into() }));
        a.settle(1, None);
        assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { rows: 1, .. })));
    }
}
