//! The way in: permits first, then one bounded crossbeam channel per lane and row kind.
//!
//! `Producer` calls [`Intake`]; the writer of each lane holds the receiving ends. A permit (rows and bytes, see
//! `budget`) is taken before anything is sent, and each channel has room for as many chunks as there are row permits,
//! so the channel itself never blocks: all waiting, fairness and closing happens in one place, the budget.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use smallvec::SmallVec;

use super::clock::Clock;
use super::lane::Lane;
use crate::budget::{Budget, BudgetClosed, Permit, TryPermit};
use crate::chunk::{Chunk, Few, Part, Positions, RowKind, RowType};
use crate::config::{BatchConfig, BufferConfig, Policy};
use crate::ranges::Ranges;
use crate::receipt::{Receipt, ReceiptError, Settlement};
use crate::telemetry::IntakeMetrics;

/// The receiving ends of one lane's channels, by row kind.
pub(crate) type LaneQueues = [Receiver<Part>; 2];

/// What producers and the pipeline share.
pub(crate) struct Intake {
    pub(crate) budget: Arc<Budget>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: BatchConfig,
    pub(crate) metrics: IntakeMetrics,
    policies: [Policy; 2],
    lanes: Vec<(Arc<Lane>, [Sender<Part>; 2])>,
    discarded: [AtomicU64; 2],
    /// Ledger names of in-memory producers begin with this; unique to the pipeline.
    ephemeral: String,
    next_producer: AtomicU64,
}

/// The rows of one chunk to be, not empty, and their weight.
pub(crate) struct Load<T: RowType> {
    pub(crate) rows: Few<T>,
    pub(crate) bytes: usize,
}

impl<T: RowType> Load<T> {
    /// Rows and bytes as permits are counted; a chunk is far below 4 Gi of either.
    fn permits(&self) -> (u32, u32) {
        (self.rows.len() as u32, self.bytes as u32)
    }
}

/// Where a chunk comes from.
pub(crate) enum Origin<'a> {
    /// An in-memory producer with its send sequence.
    Memory { source: &'a Arc<str>, next: &'a AtomicU64 },
    /// A replayable source: positions are its own, and what a lane already has is left out.
    Replay { source: &'a Arc<str>, positions: Positions, committed: &'a [Ranges] },
}

impl Intake {
    pub(crate) fn new(
        lanes: Vec<Arc<Lane>>,
        clock: Arc<dyn Clock>,
        limits: BatchConfig,
        buffer: &BufferConfig,
        ephemeral: String,
    ) -> (Self, Vec<LaneQueues>) {
        let max_rows = [buffer.events.max_rows, buffer.captures.max_rows];
        let channels = |lane: Arc<Lane>| {
            let [(events_in, events), (captures_in, captures)] = max_rows.map(bounded);
            ((lane, [events_in, captures_in]), [events, captures])
        };
        let (lanes, queues) = lanes.into_iter().map(channels).unzip();
        let intake = Self {
            budget: Budget::new(buffer.max_bytes.as_usize(), max_rows),
            clock,
            limits,
            metrics: IntakeMetrics::new(buffer.max_bytes.as_usize()),
            policies: [buffer.events.policy, buffer.captures.policy],
            lanes,
            discarded: Default::default(),
            ephemeral,
            next_producer: AtomicU64::new(0),
        };
        (intake, queues)
    }

    pub(crate) fn policy(&self, kind: RowKind) -> Policy {
        self.policies[kind.index()]
    }

    /// Sets the gauge of what is in memory.
    pub(crate) fn show_buffer(&self) {
        self.metrics.buffered(self.budget.bytes_in_use());
    }

    /// Returns a ledger name that no other producer has.
    pub(crate) fn new_source(&self) -> Arc<str> {
        format!("{}{}", self.ephemeral, self.next_producer.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// Returns the rows in memory, by kind.
    pub(crate) fn rows_in_use(&self) -> [usize; 2] {
        RowKind::ALL.map(|kind| self.budget.rows_in_use(kind))
    }

    pub(crate) fn discarded(&self) -> [u64; 2] {
        [0, 1].map(|kind| self.discarded[kind].load(Ordering::Relaxed))
    }

    /// Takes rows (not empty, at most one chunk's worth), waiting for room; gives them back when the pipeline is closed.
    pub(crate) async fn take<T: RowType>(&self, load: Load<T>, origin: Origin<'_>) -> Result<Receipt, Few<T>> {
        let (rows, bytes) = load.permits();
        let permit = match self.budget.try_acquire(T::KIND, rows, bytes) {
            Ok(permit) => permit,
            Err(TryPermit::Closed) => return Err(load.rows),
            Err(TryPermit::Full) => {
                let began = self.clock.now();
                let permit = self.budget.acquire(T::KIND, rows, bytes).await;
                self.metrics.send_waited(T::KIND, self.clock.now().saturating_duration_since(began));
                match permit {
                    Ok(permit) => permit,
                    Err(BudgetClosed) => return Err(load.rows),
                }
            }
        };
        Ok(self.enqueue(load, origin, permit))
    }

    /// Takes rows if there is room at once.
    pub(crate) fn try_take<T: RowType>(
        &self,
        load: Load<T>,
        origin: Origin<'_>,
    ) -> Result<Receipt, (TryPermit, Few<T>)> {
        let (rows, bytes) = load.permits();
        match self.budget.try_acquire(T::KIND, rows, bytes) {
            Ok(permit) => Ok(self.enqueue(load, origin, permit)),
            Err(refusal) => Err((refusal, load.rows)),
        }
    }

    fn enqueue<T: RowType>(&self, load: Load<T>, origin: Origin<'_>, permit: Permit) -> Receipt {
        let rows = load.rows.len();
        let _send = tracing::debug_span!("send", kind = T::KIND.table(), rows = rows as i64).entered();
        let (source, positions, committed) = match origin {
            Origin::Memory { source, next } => {
                (source, Positions::Each { first: next.fetch_add(rows as u64, Ordering::Relaxed) }, None)
            }
            Origin::Replay { source, positions, committed } => (source, positions, Some(committed)),
        };
        let missing: Vec<SmallVec<[Range<usize>; 1]>> = match committed {
            None => Vec::new(),
            Some(lanes) => lanes.iter().map(|ranges| positions.missing_rows(rows, ranges)).collect(),
        };
        let everything = SmallVec::from_iter(std::iter::once(0..rows));
        let for_lane = |lane: usize| if committed.is_some() { &missing[lane] } else { &everything };
        let shares = (0..self.lanes.len()).flat_map(for_lane).map(Range::len).sum();
        if shares == 0 {
            return Receipt::resolved(Ok(()));
        }
        let (settlement, receipt) = Settlement::new(shares);
        let accepted_at = self.clock.now();
        let chunk = Chunk::new(load.rows, Arc::clone(source), positions, accepted_at, load.bytes, permit, settlement);
        for (index, (lane, channels)) in self.lanes.iter().enumerate() {
            for rows in for_lane(index) {
                let part = Part { chunk: Arc::clone(&chunk), rows: rows.clone() };
                lane.accepted(T::KIND, part.len());
                // Never full: see the module comment. Disconnected only after the lane's writer panicked.
                if let Err(refused) = channels[T::KIND.index()].try_send(part) {
                    let part = refused.into_inner();
                    let reason = lane.failure().unwrap_or_else(|| "the lane has ended".into());
                    lane.lost(T::KIND, part.len());
                    let fault = ReceiptError::Failed { rows: part.len(), reason };
                    part.chunk.settlement.settle(part.len(), Some(fault));
                }
            }
        }
        receipt
    }

    /// Counts rows as discarded and answers for them.
    pub(crate) fn discard(&self, kind: RowKind, rows: usize) -> Receipt {
        self.discarded[kind.index()].fetch_add(rows as u64, Ordering::Relaxed);
        self.metrics.discarded(kind, rows);
        Receipt::resolved(Err(ReceiptError::Discarded))
    }
}
