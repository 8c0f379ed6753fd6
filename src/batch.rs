//! What one transaction will carry: the rows of many chunks.
//!
//! They are grouped into [`Entry`]s by the source they came from, because an entry is also one row of the ledger. Only
//! the pipeline makes batches; a backend reads them through [`Batch::entries`] and [`Entry::rows`].

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use crate::budget::{Budget, Released};
use crate::capture::Capture;
use crate::chunk::{Chunk, Derived, Part, Positions, Row, RowKind, RowType};
use crate::event::Event;
use crate::receipt::{ReceiptError, Settlement};
use crate::reject::RejectedRow;

/// One row as a backend sees it: where it goes follows from what it is.
#[derive(Clone, Debug)]
pub enum RowRef<'a> {
    /// Goes into `events`, and [`Event::derived`] with it into `captures`.
    Event(&'a Event),
    /// Goes into `captures`.
    Capture(&'a Capture),
    /// Goes into `ingest_rejects`.
    Rejected(RejectedRow<'a>),
}

/// Ledger names of all in-memory producers begin with this.
pub(crate) const EPHEMERAL: &str = "memory/";

/// Consecutive positions of one source, and their rows: one row of `ingest_ledger`.
#[derive(Clone, Debug)]
pub struct Entry {
    source: Arc<str>,
    first: u64,
    last: u64,
    parts: SmallVec<[Part; 1]>,
    refusal: Option<Arc<str>>,
}

impl Entry {
    /// Starts an entry with its first part.
    pub(crate) fn new(part: Part) -> Self {
        let (first, last) = part.chunk.positions.span(&part.rows);
        Self { source: Arc::clone(&part.chunk.source), first, last, parts: smallvec![part], refusal: None }
    }

    /// Adds a part if it comes from the same source and begins where the entry ends; else gives it back.
    pub(crate) fn extend(&mut self, part: Part) -> Result<(), Part> {
        let (first, last) = part.chunk.positions.span(&part.rows);
        if !Arc::ptr_eq(&self.source, &part.chunk.source) || self.last.checked_add(1) != Some(first) {
            return Err(part);
        }
        self.last = last;
        self.parts.push(part);
        Ok(())
    }

    /// Returns the ledger's name of the source.
    pub fn source(&self) -> &str {
        &self.source
    }
    /// Returns whether the source is an in-memory producer, which cannot send its rows again.
    pub fn is_ephemeral(&self) -> bool {
        self.source.starts_with(EPHEMERAL)
    }
    /// Returns the first position.
    pub fn first(&self) -> u64 {
        self.first
    }
    /// Returns the last position.
    pub fn last(&self) -> u64 {
        self.last
    }
    /// Returns the number of rows, those for `ingest_rejects` included.
    pub fn row_count(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    /// Iterates over the rows in the order of their positions.
    pub fn rows(&self) -> impl Iterator<Item = RowRef<'_>> {
        let refusal = self.refusal.as_deref();
        self.parts.iter().flat_map(move |part| {
            part.rows.clone().map(move |index| match refusal {
                None => part.row(index),
                Some(detail) => part.refused_row(index, detail),
            })
        })
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// The rows of one transaction, with the ledger entries that make it happen once.
#[derive(Clone, Debug)]
pub struct Batch {
    entries: Vec<Entry>,
    rows: [usize; 2],
    rejects: [usize; 2],
    derived: Derived,
    bytes: usize,
    oldest: Instant,
}

impl Batch {
    /// Starts a batch with its first part.
    pub(crate) fn new(part: Part) -> Self {
        let oldest = part.chunk.accepted_at;
        let mut batch =
            Self { entries: Vec::new(), rows: [0; 2], rejects: [0; 2], derived: Derived::default(), bytes: 0, oldest };
        batch.add(part, None);
        batch
    }

    /// Adds a part: to entry `hint` if it continues that one, else as an entry of its own. Returns its entry.
    pub(crate) fn add(&mut self, part: Part, hint: Option<usize>) -> usize {
        let kind = part.kind().index();
        self.rows[kind] += part.len();
        self.rejects[kind] += part.rejects();
        self.derived += part.derived();
        self.bytes += part.bytes();
        self.oldest = self.oldest.min(part.chunk.accepted_at);
        let refused = match hint {
            Some(entry) => match self.entries[entry].extend(part) {
                Ok(()) => return entry,
                Err(part) => part,
            },
            None => part,
        };
        self.entries.push(Entry::new(refused));
        self.entries.len() - 1
    }

    /// Makes a batch outside any pipeline, for trying a backend alone; `rows` must not be empty.
    ///
    /// The rows take the positions from `first` on in `source`, one each.
    ///
    /// # Panics
    /// When `rows` is empty, or has 4 GiB.
    pub fn detached<T: RowType>(source: &str, first: u64, rows: Vec<Row<T>>) -> Self {
        let (len, bytes) = (rows.len(), rows.iter().map(Row::weight).sum());
        let permit = Budget::new(bytes, [len; 2]).try_acquire(T::KIND, len as u32, bytes as u32);
        let permit = permit.expect("the budget is made for these rows");
        let (settlement, _) = Settlement::new(len);
        let positions = Positions::Each { first };
        let chunk = Chunk::new(rows.into(), source.into(), positions, Instant::now(), bytes, permit, settlement);
        Self::new(Part { chunk, rows: 0..len })
    }

    /// Returns the ledger entries; each has at least one row.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
    /// Returns the number of rows of a kind as they were sent: those for `ingest_rejects` included, derived ones not.
    pub fn row_count(&self, kind: RowKind) -> usize {
        self.rows[kind.index()]
    }
    /// Returns the number of rows of a kind that go to `ingest_rejects`.
    pub fn reject_count(&self, kind: RowKind) -> usize {
        self.rejects[kind.index()]
    }
    /// Returns the number of captures that are derived from events of this batch.
    pub fn derived_count(&self) -> usize {
        self.derived.rows
    }
    /// Returns the number of rows for the table of a kind, derived ones included.
    pub fn stored_count(&self, kind: RowKind) -> usize {
        let derived = if kind == RowKind::Capture { self.derived.rows } else { 0 };
        self.row_count(kind) - self.reject_count(kind) + derived
    }
    /// Returns the number of rows of both kinds, as they were sent.
    pub fn len(&self) -> usize {
        self.rows.iter().sum()
    }
    /// Returns false: a batch has at least one row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Returns the weight of all rows, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Returns the weight of the rows for the table of a kind, derived ones included, in bytes.
    pub fn bytes_of(&self, kind: RowKind) -> usize {
        let parts = self.entries.iter().flat_map(Entry::parts);
        let sent: usize = parts.filter(|part| part.kind() == kind).map(Part::bytes).sum();
        match kind {
            RowKind::Event => sent - self.derived.bytes,
            RowKind::Capture => sent + self.derived.bytes,
        }
    }
    /// Counts the rows for `ingest_rejects` by reason and kind; no allocation when there are none.
    pub(crate) fn rejects_by_reason(&self) -> Vec<(&'static str, RowKind, u64)> {
        let mut counts: Vec<(&'static str, RowKind, u64)> = Vec::new();
        if self.rejects == [0, 0] {
            return counts;
        }
        for entry in &self.entries {
            for part in entry.parts() {
                for reason in part.reject_reasons(entry.refusal.is_some()) {
                    match counts.iter_mut().find(|(known, kind, _)| *known == reason && *kind == part.kind()) {
                        Some((_, _, rows)) => *rows += 1,
                        None => counts.push((reason, part.kind(), 1)),
                    }
                }
            }
        }
        counts
    }
    pub(crate) fn oldest(&self) -> Instant {
        self.oldest
    }

    /// Returns a batch of some of its rows, counted in order; `None` when there are none in the range.
    pub(crate) fn cut(&self, range: Range<usize>) -> Option<Self> {
        let mut start = 0;
        let mut cut: Option<Self> = None;
        for entry in &self.entries {
            let mut open = None;
            for part in entry.parts() {
                let within = |row: usize| part.rows.start + row.clamp(start, start + part.len()) - start;
                let rows = within(range.start)..within(range.end);
                start += part.len();
                if rows.is_empty() {
                    continue;
                }
                let piece = Part { chunk: Arc::clone(&part.chunk), rows };
                open = Some(match &mut cut {
                    Some(batch) => batch.add(piece, open),
                    None => {
                        cut = Some(Self::new(piece));
                        0
                    }
                });
            }
        }
        cut
    }

    /// Returns the same rows, all bound for `ingest_rejects` with this detail.
    pub(crate) fn into_refused(self, detail: &Arc<str>) -> Self {
        let refused = |entry: Entry| Entry { refusal: Some(Arc::clone(detail)), ..entry };
        let (rejects, derived) = (self.rows, Derived::default());
        Self { entries: self.entries.into_iter().map(refused).collect(), rejects, derived, ..self }
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.entries.iter().all(|entry| entry.refusal.is_some())
    }

    /// Answers for all rows and gives their memory back: committed (or set aside) when `failure` is `None`.
    pub(crate) fn settle(self, failure: Option<&Arc<str>>) {
        let mut released = Released::default();
        for entry in &self.entries {
            for part in entry.parts() {
                let rejects = if entry.refusal.is_some() { part.len() } else { part.rejects() };
                let fault = match (failure, rejects) {
                    (Some(reason), _) => Some(ReceiptError::Failed { rows: part.len(), reason: Arc::clone(reason) }),
                    (None, 0) => None,
                    (None, rows) => {
                        let reason = entry.refusal.clone().unwrap_or_else(|| "the source could not read it".into());
                        Some(ReceiptError::Rejected { rows, reason })
                    }
                };
                if part.chunk.settlement.settle(part.len(), fault) {
                    released.add(&part.chunk.permit);
                }
            }
        }
        // First the rows' memory, then the permits that stand for it.
        drop(self.entries);
        drop(released);
    }
}
