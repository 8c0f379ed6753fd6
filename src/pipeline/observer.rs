//! Looks at a pipeline from elsewhere: what the HTTP server, a status line or a watchdog holds.
//!
//! It keeps neither the pipeline nor a database open, so whoever owns the pipeline may shut it down or drop it while
//! others look; then lanes are `Closed`.

use std::sync::{Arc, Weak};

use super::lane::Lane;
use super::queue::Intake;
use super::status::Status;
use crate::backend::{Backend, WriteError};

/// A pipeline to look at, from [`Pipeline::observer`](super::Pipeline::observer). Cloning is cheap.
#[derive(Clone)]
pub struct Observer {
    pub(super) intake: Arc<Intake>,
    pub(super) lanes: Arc<[Arc<Lane>]>,
    pub(super) backends: Arc<[Weak<dyn Backend>]>,
}

impl Observer {
    /// Tells how the pipeline is, without waiting for anything.
    pub fn status(&self) -> Status {
        let (now, budget) = (self.intake.clock.now(), &self.intake.budget);
        Status {
            lanes: self.lanes.iter().map(|lane| lane.status(now)).collect(),
            buffered_rows: self.intake.rows_in_use(),
            max_rows: budget.max_rows(),
            buffered_bytes: budget.bytes_in_use(),
            max_bytes: budget.max_bytes(),
            discarded: self.intake.discarded(),
        }
    }

    /// Asks the database of a lane, counted from 0, for an answer. Blocks until it comes: while a batch is being written
    /// that may take as long as the write.
    ///
    /// # Errors
    /// As [`Backend::ping`]; [`WriteError::Fatal`] for a lane that is closed or not there.
    pub fn ping(&self, lane: usize) -> Result<(), WriteError> {
        let backend = self.backends.get(lane).and_then(Weak::upgrade);
        backend.map_or_else(|| Err(WriteError::Fatal { source: "the lane is closed".into() }), |backend| backend.ping())
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}
