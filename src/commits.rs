//! Tells readers of the same process that rows were committed, so that they need not ask again and again.
//!
//! A pipeline notes each commit here; whoever follows new rows (`repository::Tail`) waits on it. A counter and a condition
//! variable: a wait that begins after a commit it has not seen yet does not wait.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The commits of one pipeline, as a number that grows. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Commits(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Commits {
    pub(crate) fn note(&self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_all();
    }

    /// Returns how many batches were committed since the pipeline was opened.
    pub fn count(&self) -> u64 {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are more commits than `seen`, `limit` at most; returns how many there are.
    pub fn wait(&self, seen: u64, limit: Duration) -> u64 {
        let count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(count, limit, |count| *count <= seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_a_commit_and_does_not_begin_behind_one() {
        let commits = Commits::default();
        assert_eq!(commits.wait(0, Duration::ZERO), 0);
        commits.note();
        assert_eq!(commits.wait(0, Duration::MAX), 1);
        let other = commits.clone();
        let waiting = std::thread::spawn(move || other.wait(1, Duration::from_secs(60)));
        commits.note();
        assert_eq!(waiting.join().unwrap(), 2);
    }
}
