//! A backend that measures another one's writes, through the public trait.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use forebay::backend::{Backend, WriteError};
use forebay::{Batch, Ranges};

use super::meters::Meters;

/// Measures how long each write of a batch takes, and counts the rows of those that succeed.
pub struct Timed {
    backend: Box<dyn Backend>,
    meters: Arc<Meters>,
}

impl Timed {
    pub fn new(backend: Box<dyn Backend>, meters: Arc<Meters>) -> Self {
        Self { backend, meters }
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
        let stored = if outcome.is_ok() { batch.len() } else { 0 };
        self.meters.wrote(began, stored);
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
