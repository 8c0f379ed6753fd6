//! Lets so many do something at once and no more; whoever comes when all are at it waits for a turn.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Turns {
    free: Mutex<usize>,
    is_free: Condvar,
}

/// A turn; given back on drop.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Lets this many at once, at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self { free: Mutex::new(most.max(1)), is_free: Condvar::new() }
    }

    /// Takes a turn.
    pub(crate) fn take(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.is_free.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn(self)
    }

    /// Takes a turn, unless there is none for so long.
    #[cfg_attr(not(any(feature = "sqlite", test)), allow(dead_code))]
    pub(crate) fn take_within(&self, patience: Duration) -> Option<Turn<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.is_free.wait_timeout_while(free, patience, |free| *free == 0);
        let (mut free, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.is_free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_turns_and_each_is_waited_for_and_given_back() {
        let turns = Turns::new(2);
        let (one, two) = (turns.take(), turns.take());
        assert!(turns.take_within(Duration::from_millis(1)).is_none());
        std::thread::scope(|scope| {
            let waiting = [true, false].map(|is_patient| {
                let take = move |turns: &Turns| match is_patient {
                    true => drop(turns.take()),
                    false => assert!(turns.take_within(Duration::from_secs(60)).is_some()),
                };
                let turns = &turns;
                scope.spawn(move || take(turns))
            });
            drop(one);
            waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
        });
        drop(two);
        assert!(turns.take_within(Duration::ZERO).is_some());
        assert_eq!(*turns.free.lock().unwrap(), 2);
    }
}
