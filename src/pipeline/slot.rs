//! A slot: the thread that has a batch written, again and again until every row of it has found its fate.
//!
//! `writer` starts as many slots as the backend takes writes at once, and hands them batches; `retry` decides what
//! follows a failed attempt. Nothing else calls [`Backend::write`].
//!
//! A committed batch goes back to the writer, which settles it (answers, frees the rows, gives permits back) while the
//! slot is at the next one: settling rows that were sent one by one takes a tenth of the time that SQLite needs for
//! them without indexes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, select};

use super::clock::Clock;
use super::lane::Lane;
use super::queue::Intake;
use super::retry::{self, Piece};
use crate::backend::{Backend, WriteError};
use crate::batch::Batch;
use crate::config::RetryConfig;

/// Why rows fail that are not written when shutdown's deadline passes.
pub(super) const LATE: &str = "shutdown's deadline passed";

/// A batch to be written, and its number.
pub(super) type Job = (u64, Batch);

/// What a slot gives back of a batch: its number, and what is committed of it and not settled yet.
pub(super) type Done = (u64, Option<Batch>);

/// What the threads of one lane share.
pub(super) struct Shared {
    pub(super) lane: Arc<Lane>,
    pub(super) intake: Arc<Intake>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) retry: RetryConfig,
    /// Dropped to interrupt every wait for a next attempt.
    pub(super) going: Mutex<Option<Sender<()>>>,
    pub(super) halted: Receiver<()>,
}

impl Shared {
    pub(super) fn halt(&self) {
        self.going.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn is_halted(&self) -> bool {
        self.going.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Returns why nothing may be written any more, if so: the lane has failed, or shutdown's deadline has passed.
    fn why_halted(&self) -> Option<Arc<str>> {
        self.is_halted().then(|| self.lane.failure().unwrap_or_else(|| LATE.into()))
    }

    /// The lane cannot write any more. `stage` is a metric's label: what it was at.
    pub(super) fn fail(&self, reason: &Arc<str>, stage: &'static str) {
        tracing::error!(lane = self.lane.name, %reason, "lane failed; the pipeline takes no more rows");
        self.lane.fail(reason, stage);
        self.intake.budget.close();
        self.halt();
    }

    pub(super) fn fail_batch(&self, batch: Batch, reason: &Arc<str>) {
        self.lane.rows_failed(&batch);
        batch.settle(Some(reason));
    }
}

/// How the attempts at one batch ended.
enum Attempts {
    Committed,
    Rejected { rows: Vec<usize>, detail: String },
    GivenUp(Arc<str>),
}

impl Shared {
    /// Writes batch after batch, until the writer has let go of its end of `jobs`.
    pub(super) fn serve(
        &self,
        slot: usize,
        backend: &dyn Backend,
        jobs: &Receiver<Job>,
        give_back: &Sender<Done>,
        given_back: &Receiver<Done>,
    ) {
        for (id, batch) in jobs {
            let rows = batch.len() as i64;
            let _batch = tracing::debug_span!("batch", lane = self.lane.name, id = id as i64, rows).entered();
            self.lane.slot_began(slot, &batch, self.clock.now());
            let written = catch_unwind(AssertUnwindSafe(|| self.write(slot, id, backend, batch)));
            let committed = written.unwrap_or_else(|_| {
                self.fail(&"the writer panicked".into(), "write");
                None
            });
            self.lane.slot_ended(slot);
            // This slot has a receiver itself, so the channel is open.
            let _ = give_back.send((id, committed));
        }
        // Something is left only if the writer gave up waiting for this very batch, or panicked.
        given_back.try_iter().filter_map(|(_, committed)| committed).for_each(|batch| batch.settle(None));
    }

    /// Writes a batch, and the pieces into which refused rows break it, until every row is settled or committed.
    ///
    /// Returns what was committed last, for the writer to settle.
    fn write(&self, slot: usize, id: u64, backend: &dyn Backend, batch: Batch) -> Option<Batch> {
        let mut todo = vec![batch];
        while let Some(batch) = todo.pop() {
            if let Some(reason) = self.why_halted() {
                self.fail_batch(batch, &reason);
                continue;
            }
            match self.attempt(slot, id, backend, &batch) {
                Attempts::Committed if todo.is_empty() => return Some(batch),
                Attempts::Committed => batch.settle(None),
                Attempts::Rejected { rows, detail } if batch.is_refused() => {
                    let reason =
                        format!("a refused row could not be set aside in ingest_rejects: {detail} ({rows:?})").into();
                    self.fail(&reason, "write");
                    self.fail_batch(batch, &reason);
                }
                Attempts::Rejected { rows, detail } => todo.extend(self.pieces(&batch, &rows, &detail.into())),
                Attempts::GivenUp(reason) => self.fail_batch(batch, &reason),
            }
        }
        None
    }

    /// Cuts a batch at its refused rows; the last piece is to be written first.
    fn pieces(&self, batch: &Batch, suspects: &[usize], detail: &Arc<str>) -> Vec<Batch> {
        self.lane.metrics.error("rejected", "write");
        let cut = |piece| match piece {
            Piece::Write(rows) => batch.cut(rows),
            Piece::SetAside(row) => {
                tracing::warn!(lane = self.lane.name, %detail, "the database refused a row; it is set aside");
                batch.cut(row..row + 1).map(|batch| batch.into_refused(detail))
            }
        };
        retry::pieces(batch.len(), suspects).into_iter().rev().filter_map(cut).collect()
    }

    fn attempt(&self, slot: usize, id: u64, backend: &dyn Backend, batch: &Batch) -> Attempts {
        let mut attempt = 0;
        loop {
            let began = self.clock.now();
            let (lane, rows) = (self.lane.name, batch.len() as i64);
            let outcome = tracing::debug_span!("write", lane, batch = id as i64, rows, attempt = attempt as i64)
                .in_scope(|| catch_unwind(AssertUnwindSafe(|| backend.write(batch))))
                .unwrap_or_else(|_| Err(WriteError::Fatal { source: "the backend panicked".into() }));
            let now = self.clock.now();
            let (reason, source) = match outcome {
                Ok(()) => {
                    if attempt > 0 {
                        tracing::info!(lane = self.lane.name, attempt, "writing goes on");
                    }
                    self.lane.committed(slot, batch, now.saturating_duration_since(began), now);
                    return Attempts::Committed;
                }
                Err(WriteError::Rejected { rows, detail }) => return Attempts::Rejected { rows, detail },
                Err(WriteError::Fatal { source }) => {
                    let reason: Arc<str> = source.to_string().into();
                    self.fail(&reason, "write");
                    return Attempts::GivenUp(reason);
                }
                Err(WriteError::Transient { reason, source }) => (reason, source),
            };
            attempt += 1;
            if attempt == 1 {
                tracing::warn!(lane = self.lane.name, reason, error = %source, "cannot write; rows wait until it works again");
            }
            let error: Arc<str> = source.to_string().into();
            self.lane.attempt_failed(slot, reason, Arc::clone(&error));
            let next = now + retry::wait(&self.retry, attempt, fastrand::f64());
            let interrupted = select! {
                recv(self.clock.at(next)) -> _ => self.is_halted(),
                recv(self.halted) -> _ => true,
            };
            if interrupted {
                return Attempts::GivenUp(self.lane.failure().unwrap_or(error));
            }
        }
    }
}
