//! Time as the pipeline sees it, so that tests can hold it still.
//!
//! Everything that waits for a moment (a batch for its `max_wait`, a failed write for its next attempt, a shutdown for
//! its deadline) asks the clock. Hosts use [`SystemClock`]; the model tests bring one that moves when told to.

use std::time::Instant;

use crossbeam_channel::Receiver;

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the present moment.
    fn now(&self) -> Instant;
    /// Returns a channel that gives one message at `moment`.
    fn at(&self, moment: Instant) -> Receiver<Instant>;
}

/// The operating system's monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn at(&self, moment: Instant) -> Receiver<Instant> {
        crossbeam_channel::at(moment)
    }
}
