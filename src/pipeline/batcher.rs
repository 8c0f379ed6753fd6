//! Decides when a batch is complete. Pure: no clock, no I/O, no tasks.
//!
//! The writer pushes what it receives and takes batches; time is an argument. A batch is complete when one more part
//! would pass `max_rows` or `max_bytes`, or when its first row is older than `max_wait`. Limits are never passed, not
//! by one byte: the check comes before the push. A chunk above `max_bytes` cannot get here; `Producer::send` has cut or
//! refused it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::batch::Batch;
use crate::chunk::Part;
use crate::config::BatchConfig;

#[derive(Debug)]
pub(crate) struct Batcher {
    limits: BatchConfig,
    batch: Option<Batch>,
    /// The entry of the batch that each source's rows were last added to, by the address of the source's name: the
    /// batch keeps the name alive, so an address stands for one source.
    entry_of: HashMap<usize, usize>,
    /// The part that did not fit: the first of the next batch.
    overflow: Option<Part>,
}

impl Batcher {
    pub(crate) fn new(limits: BatchConfig) -> Self {
        Self { limits, batch: None, entry_of: HashMap::new(), overflow: None }
    }

    /// Returns whether another part may be pushed: no part has been found not to fit, and no limit is reached.
    pub(crate) fn is_open(&self) -> bool {
        self.overflow.is_none() && !self.is_at_limit()
    }

    /// Returns whether the batch can grow no more.
    pub(crate) fn is_full(&self) -> bool {
        !self.is_open()
    }

    /// Returns how many calls of [`take`](Self::take) would give a batch now: 0, 1 or 2.
    pub(crate) fn batches(&self) -> u64 {
        u64::from(self.batch.is_some()) + u64::from(self.overflow.is_some())
    }

    /// Adds a part; only when [`is_open`](Self::is_open).
    pub(crate) fn push(&mut self, part: Part) {
        debug_assert!(self.is_open());
        let fits = self.batch.as_ref().is_none_or(|batch| {
            batch.len() + part.len() <= self.limits.max_rows
                && batch.bytes() + part.bytes() <= self.limits.max_bytes.as_usize()
        });
        if fits { self.add(part) } else { self.overflow = Some(part) }
    }

    /// Returns when the oldest row was accepted, if there is one.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.batch.as_ref().map(Batch::oldest)
    }

    /// Returns when the batch will be due by age, if there is one.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.batch.as_ref().map(|batch| batch.oldest() + self.limits.max_wait)
    }

    /// Takes the batch, complete or not; the next one starts with what did not fit.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        let batch = self.batch.take();
        self.entry_of.clear();
        if let Some(part) = self.overflow.take() {
            self.add(part);
        }
        batch
    }

    fn is_at_limit(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| {
            batch.len() >= self.limits.max_rows || batch.bytes() >= self.limits.max_bytes.as_usize()
        })
    }

    fn add(&mut self, part: Part) {
        let source = Arc::as_ptr(&part.chunk.source).addr();
        match &mut self.batch {
            Some(batch) => {
                let entry = batch.add(part, self.entry_of.get(&source).copied());
                self.entry_of.insert(source, entry);
            }
            None => {
                self.batch = Some(Batch::new(part));
                self.entry_of.insert(source, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::RowRef;
    use crate::chunk::Row;
    use crate::config::Bytes;
    use crate::event::Event;

    fn part(source: &Arc<str>, first: u64, texts: &[usize]) -> Part {
        let rows =
            texts.iter().map(|len| Row::Keep(Event::builder("s", "v", "t").msg(&"x".repeat(*len)).build().unwrap()));
        let mut part = Batch::detached("", first, rows.collect()).entries()[0].parts()[0].clone();
        let chunk = Arc::get_mut(&mut part.chunk).unwrap();
        chunk.source = Arc::clone(source);
        part
    }

    fn limits(max_rows: usize, max_bytes: u64) -> BatchConfig {
        BatchConfig { max_rows, max_bytes: Bytes(max_bytes), max_wait: Duration::from_millis(50) }
    }

    proptest! {
        #[test]
        fn no_limit_is_ever_passed_and_every_row_comes_out_once_in_its_sources_order(
            sends in prop::collection::vec((0usize..3, prop::collection::vec(0usize..300, 1..5)), 1..60),
            max_rows in 5usize..12,
            max_bytes in 2200u64..5000,
        ) {
            let sources: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).into();
            let mut next = [0u64; 3];
            let mut batcher = Batcher::new(limits(max_rows, max_bytes));
            let mut out = Vec::new();
            for (source, texts) in sends {
                while batcher.is_full() {
                    out.extend(batcher.take());
                }
                batcher.push(part(&sources[source], next[source], &texts));
                next[source] += texts.len() as u64;
            }
            while let Some(batch) = batcher.take() {
                out.push(batch);
            }
            let mut seen = [0u64; 3];
            for batch in &out {
                prop_assert!(batch.len() <= max_rows && batch.bytes() as u64 <= max_bytes, "{} {}", batch.len(), batch.bytes());
                prop_assert!(!batch.is_empty());
                for entry in batch.entries() {
                    let source = sources.iter().position(|source| **source == *entry.source()).unwrap();
                    prop_assert_eq!(entry.first(), seen[source]);
                    prop_assert_eq!((entry.last() + 1 - entry.first()) as usize, entry.row_count());
                    prop_assert!(entry.rows().all(|row| matches!(row, RowRef::Event(_))));
                    seen[source] = entry.last() + 1;
                }
                let per_source = batch.entries().len();
                prop_assert!(per_source <= 3, "rows of one source that follow each other share an entry");
            }
            prop_assert_eq!(seen, next);
        }
    }

    #[test]
    fn a_batch_is_due_when_its_first_row_is_old_enough() {
        let mut batcher = Batcher::new(limits(100, 1 << 20));
        assert_eq!(batcher.due_at(), None);
        let first = part(&"a".into(), 0, &[1]);
        let accepted = first.chunk.accepted_at;
        batcher.push(first);
        batcher.push(part(&"b".into(), 0, &[1]));
        assert_eq!(batcher.due_at(), Some(accepted + Duration::from_millis(50)));
    }
}
