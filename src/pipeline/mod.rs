//! START READING HERE: a row's way from a producer to its commit.
//!
//! ```text
//!  Producer::send         producer.rs   cuts rows into chunks, hands them back if they cannot be taken
//!    -> Intake            queue.rs      takes a permit (budget.rs), gives each lane the chunk over its channel
//!    -> Writer            writer.rs     one per lane: receives, lets the batcher form batches, hands them to slots
//!         Batcher         batcher.rs    pure: when is a batch complete?
//!    -> slot              slot.rs       calls Backend::write, which blocks; waits and tries again, or cuts the batch
//!         retry           retry.rs      pure: how long to wait, where to cut
//!    -> Batch::settle     batch.rs      called by the writer: receipts resolve, permits come back
//! ```
//!
//! `open.rs` starts all this, `lane.rs` counts it, `status.rs` is what a host sees of it and `observer.rs` from where,
//! `replay.rs` is the way in for sources that can be read again, and `clock.rs` lets tests hold time still.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::batch::EPHEMERAL;
use crate::capture::Capture;
use crate::chunk::{RowKind, RowType};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::ranges::Ranges;
use crate::receipt::{Receipt, ReceiptError};
use crate::repository::Repository;

mod batcher;
mod clock;
mod lane;
mod observer;
mod open;
mod producer;
mod queue;
mod replay;
mod retry;
mod slot;
mod status;
mod writer;

pub use clock::{Clock, SystemClock};
pub use observer::Observer;
pub use open::PipelineBuilder;
pub use producer::{Producer, SendError, TrySendError};
pub use replay::{Replay, ReplayRows};
pub use status::{Counts, LaneState, LaneStatus, Status, Summary};

use lane::Lane;
use open::OpenRepository;
use queue::Intake;
use writer::{Control, WriterHandle};

/// In place of a deadline that the clock cannot express: 136 years.
const AGES: Duration = Duration::from_secs(u32::MAX as u64);

/// Takes rows from many producers and commits them, in batches, to one or several databases.
///
/// Call [`shutdown`](Self::shutdown) at the end. Dropping a pipeline never blocks: it gives up every row that is not in
/// the backend's hands yet (their receipts say so) and logs how many.
pub struct Pipeline {
    intake: Arc<Intake>,
    lanes: Arc<[Arc<Lane>]>,
    writers: Vec<WriterHandle>,
    /// The writers own the backends, so that they are gone when the last writer has ended.
    backends: Arc<[Weak<dyn Backend>]>,
    /// Of the first database that was named; `None` when all backends are the host's own.
    repository: Option<OpenRepository>,
}

impl Pipeline {
    /// Opens a pipeline into one database with default settings; `sqlite:forebay.db` names a file.
    ///
    /// # Errors
    /// As [`PipelineBuilder::open`].
    pub fn open(url: &str) -> Result<Self, Error> {
        Self::builder().database(url).open()
    }

    /// Starts gathering settings and backends.
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder::default()
    }

    /// Returns a producer of events; clone it for each task or thread.
    pub fn events(&self) -> Producer<Event> {
        Producer::new(Arc::clone(&self.intake))
    }

    /// Returns a producer of captures; clone it for each task or thread.
    pub fn captures(&self) -> Producer<Capture> {
        Producer::new(Arc::clone(&self.intake))
    }

    /// Returns the way in for a source that can be read again, with what is committed of it already.
    ///
    /// `source` names it in the ledger, for ever: the same text must mean the same data. At most 255 bytes; not
    /// beginning with `memory/`. Have one handle of a source at a time, and make it before the first row is sent: what
    /// is committed is asked once, here.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a name that cannot be; when a ledger cannot be read, [`ErrorKind::Unavailable`] if
    /// waiting may mend that, else [`ErrorKind::Database`].
    pub fn replay<T: RowType>(&self, source: &str) -> Result<Replay<T>, Error> {
        if source.is_empty() || source.len() > 255 || source.starts_with(EPHEMERAL) || source.contains('\0') {
            let rules = "a source's name has 1 to 255 bytes, no NUL, and does not begin with `memory/`";
            return Err(Error::new(ErrorKind::Configuration, rules));
        }
        let mut committed = Vec::with_capacity(self.backends.len());
        for lane in 0..self.backends.len() {
            committed.push(self.ledger(lane, source)?.remove(source).unwrap_or_default());
        }
        Ok(Replay::new(Arc::clone(&self.intake), source.into(), committed))
    }

    /// Returns what the first lane's ledger has of every source whose name begins with `prefix`.
    ///
    /// # Errors
    /// When the ledger cannot be read: [`ErrorKind::Unavailable`] if waiting may mend that, else [`ErrorKind::Database`].
    pub fn committed(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, Error> {
        self.ledger(0, prefix)
    }

    /// Opens a repository of the first database that was named: for SQLite, what is changed through it goes over the
    /// writer's connection, between two batches, while the pipeline is open.
    ///
    /// # Errors
    /// As [`Repository::open`]; [`ErrorKind::Unsupported`] when no database was named.
    pub fn repository(&self) -> Result<Repository, Error> {
        let none = || Error::new(ErrorKind::Unsupported, "this pipeline has no database that a URL names");
        self.repository.as_ref().ok_or_else(none)?()
    }

    fn ledger(&self, lane: usize, prefix: &str) -> Result<BTreeMap<String, Ranges>, Error> {
        let ended = || Error::new(ErrorKind::Database, "read the ledger: the lane has ended");
        let backend = self.backends[lane].upgrade().ok_or_else(ended)?;
        backend.ledger(prefix).map_err(|error| {
            let kind = if error.passes() { ErrorKind::Unavailable } else { ErrorKind::Database };
            Error::new(kind, "read the ledger").because(error)
        })
    }

    /// Has everything written that was accepted before this call, without waiting for batches to fill.
    ///
    /// The receipt resolves when all of it is settled; `Err` only if a lane failed. During an outage that takes as long
    /// as the outage.
    pub fn flush(&self) -> Receipt {
        let mut receipt = Receipt::resolved(Ok(()));
        for (writer, lane) in self.writers.iter().zip(self.lanes.iter()) {
            let (reply, answer) = oneshot::channel();
            match writer.control.send(Control::Flush(reply)) {
                Ok(()) => receipt.join(Receipt::pending(answer)),
                Err(_) => {
                    let reason = lane.failure().unwrap_or_else(|| "the lane has ended".into());
                    receipt.join(Receipt::resolved(Err(ReceiptError::Failed { rows: 0, reason })));
                }
            }
        }
        receipt
    }

    /// Tells how the pipeline is, without waiting for anything.
    pub fn status(&self) -> Status {
        self.observer().status()
    }

    /// Returns a handle to look at the pipeline from elsewhere: a server of its status, a watchdog.
    pub fn observer(&self) -> Observer {
        Observer {
            intake: Arc::clone(&self.intake),
            lanes: Arc::clone(&self.lanes),
            backends: Arc::clone(&self.backends),
        }
    }

    /// Takes no more rows from now on: sends that wait, and later ones, get `Closed`. What was taken is still written.
    pub fn close(&self) {
        self.intake.budget.close();
    }

    /// Takes no more rows, writes what was taken, and ends.
    ///
    /// After `deadline` (`Duration::MAX`: however long it takes) the rows that are not written fail, and their receipts say so; a write that is in the backend's
    /// hands then gets 200 ms more, and goes on by itself after that. So this returns within `deadline` and a second.
    ///
    /// # Cancel safety
    /// When the future is dropped the shutdown goes on, without a summary.
    pub async fn shutdown(mut self, deadline: Duration) -> Summary {
        let began = self.intake.clock.now();
        self.end_by(began.checked_add(deadline).unwrap_or(began + AGES));
        for writer in std::mem::take(&mut self.writers) {
            // Nothing is ever sent: the writer drops its end when it is done.
            let _ = writer.ended.await;
        }
        let now = self.intake.clock.now();
        Summary {
            lanes: self.lanes.iter().map(|lane| lane.status(now)).collect(),
            discarded: self.intake.discarded(),
            took: now.saturating_duration_since(began),
        }
    }

    /// As [`shutdown`](Self::shutdown), from a plain thread.
    pub fn shutdown_blocking(self, deadline: Duration) -> Summary {
        pollster::block_on(self.shutdown(deadline))
    }

    fn end_by(&self, deadline: Instant) {
        self.intake.budget.close();
        let tell = |control: &Sender<Control>| {
            // A writer that has ended already needs no telling.
            let _ = control.send(Control::Shutdown { deadline });
        };
        self.writers.iter().for_each(|writer| tell(&writer.control));
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.writers.is_empty() {
            return;
        }
        self.end_by(self.intake.clock.now());
        for lane in self.lanes.iter() {
            let abandoned: u64 = RowKind::ALL.iter().map(|kind| lane.counts(*kind).queued).sum();
            if abandoned > 0 {
                tracing::error!(lane = lane.name, rows = abandoned, "pipeline dropped without shutdown; rows given up");
            }
        }
    }
}
