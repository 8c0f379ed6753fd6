//! What a run measures while it goes on, shared by producers, those who store, and the sampler.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::course::Figures;
use super::latency::{Latencies, lock};

/// Counters and latencies of one run.
pub struct Meters {
    pub send: Mutex<Latencies>,
    pub commit: Mutex<Latencies>,
    pub end_to_end: Mutex<Latencies>,
    /// Rows that producers have claimed to send.
    claimed: AtomicU64,
    pub sent: AtomicU64,
    pub stored: AtomicU64,
    pub confirmed: AtomicU64,
    opened: Instant,
    /// Nanoseconds from `opened` to the last confirmation.
    confirmed_at: AtomicU64,
    over: AtomicBool,
    /// Why a producer had to stop.
    fault: Mutex<Option<String>>,
}

impl Meters {
    pub fn new() -> Self {
        Self {
            send: Mutex::default(),
            commit: Mutex::default(),
            end_to_end: Mutex::default(),
            claimed: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            opened: Instant::now(),
            confirmed_at: AtomicU64::new(0),
            over: AtomicBool::new(false),
            fault: Mutex::default(),
        }
    }

    /// Counts a write that has just ended.
    pub fn wrote(&self, began: Instant, rows: usize) {
        lock(&self.commit).record(began.elapsed());
        self.stored.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Counts rows of which the producer knows that they are stored.
    pub fn confirm(&self, rows: usize) {
        self.confirmed.fetch_add(rows as u64, Ordering::Relaxed);
        self.confirmed_at.fetch_max(self.opened.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Returns the latencies since the last call.
    pub fn interval(&self) -> Figures {
        Figures {
            send: lock(&self.send).interval(),
            commit: lock(&self.commit).interval(),
            end_to_end: lock(&self.end_to_end).interval(),
        }
    }

    /// Returns the latencies of the whole run.
    pub fn whole(&self) -> Figures {
        Figures {
            send: lock(&self.send).whole(),
            commit: lock(&self.commit).whole(),
            end_to_end: lock(&self.end_to_end).whole(),
        }
    }

    /// Claims up to `most` of the rows that are still to be sent; `None` when there are none, or the run is over.
    pub fn claim(&self, most: usize, rows: Option<u64>) -> Option<usize> {
        let claimed = self.claimed.fetch_add(most as u64, Ordering::Relaxed);
        let left = rows.map_or(most as u64, |rows| rows.saturating_sub(claimed)).min(most as u64);
        (left > 0 && !self.is_over()).then_some(left as usize)
    }

    /// Returns when rows were confirmed last; when the run was opened, if none were.
    pub fn confirmed_at(&self) -> Instant {
        self.opened + Duration::from_nanos(self.confirmed_at.load(Ordering::Relaxed))
    }

    /// Makes producers stop.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Makes producers stop, and says why.
    pub fn fail(&self, why: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.end();
    }

    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
