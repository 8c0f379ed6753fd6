//! Tells sources to end: a flag that a thread can wait for, and a task too.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Ends one or several sources. Clones belong together.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_stopped: Mutex<bool>,
    changed: Condvar,
    tasks: watch::Sender<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        let (tasks, _) = watch::channel(false);
        Self(Arc::new(Shared { is_stopped: Mutex::new(false), changed: Condvar::new(), tasks }))
    }
}

impl Stop {
    /// Makes one that has not been said.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says it, for good.
    pub fn stop(&self) {
        *self.0.is_stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
        self.0.tasks.send_replace(true);
    }

    /// Returns whether it was said.
    pub fn is_stopped(&self) -> bool {
        *self.0.is_stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits on a thread until it is said, at most for `patience`; returns whether it was.
    pub fn wait(&self, patience: Duration) -> bool {
        let guard = self.0.is_stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(guard, patience, |is_stopped| !*is_stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits in a task until it is said.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn stopped(&self) {
        // The sender is in `self`, so the channel cannot be closed.
        let _ = self.0.tasks.subscribe().wait_for(|is_stopped| *is_stopped).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_tasks_are_woken_and_late_ones_do_not_wait() {
        let stop = Stop::new();
        assert!(!stop.wait(Duration::from_millis(1)) && !stop.is_stopped());
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| stop.wait(Duration::from_secs(60)));
            let task = scope.spawn(|| pollster::block_on(stop.stopped()));
            stop.clone().stop();
            assert!(thread.join().unwrap());
            task.join().unwrap();
        });
        assert!(stop.wait(Duration::from_secs(60)));
        pollster::block_on(stop.stopped());
    }
}
