//! A backend that counts rows and keeps none: for benchmarks of the way there, and for tests of the pipeline.
//!
//! It keeps the ledger's promises: an entry that is committed twice counts once.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use super::{Backend, WriteError};
use crate::batch::{Batch, RowRef};
use crate::chunk::RowKind;
use crate::ranges::Ranges;

/// Counts what is written to it.
#[derive(Debug)]
pub struct Memory {
    max_in_flight: NonZeroUsize,
    stored: Mutex<Stored>,
}

#[derive(Debug, Default)]
struct Stored {
    ledger: HashMap<String, Ranges>,
    rows: [u64; 2],
    rejects: u64,
}

impl Memory {
    /// Makes an empty backend that takes `max_in_flight` writes at once.
    pub fn new(max_in_flight: NonZeroUsize) -> Self {
        Self { max_in_flight, stored: Mutex::default() }
    }

    /// Returns the rows of a kind that were committed to its table, derived ones included.
    pub fn row_count(&self, kind: RowKind) -> u64 {
        self.lock().rows[kind.index()]
    }

    /// Returns the rows that were set aside.
    pub fn reject_count(&self) -> u64 {
        self.lock().rejects
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(NonZeroUsize::MIN)
    }
}

impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn max_in_flight(&self) -> NonZeroUsize {
        self.max_in_flight
    }

    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        let mut stored = self.lock();
        for entry in batch.entries() {
            let known = stored.ledger.get_mut(entry.source());
            if known.as_ref().is_some_and(|ranges| ranges.contains(entry.first())) {
                continue;
            }
            match known {
                Some(ranges) => ranges.insert(entry.first(), entry.last()),
                None => {
                    let ranges = Ranges::from_iter([(entry.first(), entry.last())]);
                    stored.ledger.insert(entry.source().to_owned(), ranges);
                }
            }
            for row in entry.rows() {
                match row {
                    RowRef::Event(event) => {
                        stored.rows[RowKind::Event.index()] += 1;
                        stored.rows[RowKind::Capture.index()] += u64::from(event.derived().is_some());
                    }
                    RowRef::Capture(_) => stored.rows[RowKind::Capture.index()] += 1,
                    RowRef::Rejected(_) => stored.rejects += 1,
                }
            }
        }
        Ok(())
    }

    fn ping(&self) -> Result<(), WriteError> {
        Ok(())
    }

    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        let stored = self.lock();
        let wanted = stored.ledger.iter().filter(|(source, _)| source.starts_with(prefix));
        Ok(wanted.map(|(source, ranges)| (source.clone(), ranges.clone())).collect())
    }

    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        self.lock().ledger.retain(|source, _| !source.starts_with(ephemeral));
        Ok(())
    }
}
