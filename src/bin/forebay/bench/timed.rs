//! A backend that measures another one's writes, through the public trait.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use forebay::backend::{Backend, WriteError};
use forebay::{Batch, Ranges};

use super::latency::Latencies;

/// Measures how long each write of a batch takes.
pub struct Timed {
    backend: Box<dyn Backend>,
    writes: Arc<Mutex<Latencies>>,
}

impl Timed {
    pub fn new(backend: Box<dyn Backend>, writes: Arc<Mutex<Latencies>>) -> Self {
        Self { backend, writes }
    }
}

impl Backend for Timed {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn max_in_flight(&self) -> NonZeroUsize {
        self.backend.max_in_flight()
    }

    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        let began = Instant::now();
        let outcome = self.backend.write(batch);
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).record(began.elapsed());
        outcome
    }

    fn ping(&self) -> Result<(), WriteError> {
        self.backend.ping()
    }

    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        self.backend.ledger(prefix)
    }

    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        self.backend.close(ephemeral)
    }
}
