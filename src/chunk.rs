//! What one send carries into a pipeline, down to the single row.
//!
//! A [`Chunk`] has rows of one kind, their positions in the source that they come from, the permit for their memory and
//! the settlement that answers for them. It is made by the pipeline's intake and shared by all lanes; a lane sees it as
//! [`Part`]s.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::batch::RowRef;
use crate::budget::Permit;
use crate::capture::Capture;
use crate::event::Event;
use crate::ranges::Ranges;
use crate::receipt::Settlement;
use crate::reject::{REFUSED, Reject, RejectedRow, capture_json, event_json, raw_json};

/// The two kinds of rows, each with a table and a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Rows of `events`.
    Event,
    /// Rows of `captures`.
    Capture,
}

impl RowKind {
    /// Both kinds, in the order of [`index`](Self::index).
    pub const ALL: [Self; 2] = [Self::Event, Self::Capture];

    /// Returns 0 for events and 1 for captures.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the name of the table, which is also the metric label: `events` or `captures`.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Event => "events",
            Self::Capture => "captures",
        }
    }
}

/// One place in a chunk: a row, or the record that a source could not make a row of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row<T> {
    /// A row for its table.
    Keep(T),
    /// A record for `ingest_rejects`.
    Reject(Box<Reject>),
}

pub type Few<T> = SmallVec<[Row<T>; 1]>;

/// The rows of a chunk, all of one kind.
#[derive(Debug)]
pub enum Rows {
    Events(Few<Event>),
    Captures(Few<Capture>),
}

impl Rows {
    pub(crate) fn kind(&self) -> RowKind {
        match self {
            Self::Events(_) => RowKind::Event,
            Self::Captures(_) => RowKind::Capture,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Events(rows) => rows.len(),
            Self::Captures(rows) => rows.len(),
        }
    }

    fn weight(&self, range: Range<usize>) -> usize {
        match self {
            Self::Events(rows) => rows[range].iter().map(Row::weight).sum(),
            Self::Captures(rows) => rows[range].iter().map(Row::weight).sum(),
        }
    }
}

mod sealed {
    use super::{Capture, Few, Rows};

    pub trait Sealed: Sized + Send + Sync + 'static {
        /// The bytes that a row counts for in every limit.
        fn weight(&self) -> usize;
        /// The capture that is committed with it.
        fn derived(&self) -> Option<&Capture>;
        fn into_rows(rows: Few<Self>) -> Rows;
    }
}

/// A type that is a row: [`Event`] or [`Capture`]. Sealed.
pub trait RowType: sealed::Sealed {
    /// Which kind of row it is.
    const KIND: RowKind;
}

impl RowType for Event {
    const KIND: RowKind = RowKind::Event;
}

impl RowType for Capture {
    const KIND: RowKind = RowKind::Capture;
}

impl sealed::Sealed for Event {
    fn weight(&self) -> usize {
        Event::weight(self)
    }
    fn derived(&self) -> Option<&Capture> {
        Event::derived(self)
    }
    fn into_rows(rows: Few<Self>) -> Rows {
        Rows::Events(rows)
    }
}

impl sealed::Sealed for Capture {
    fn weight(&self) -> usize {
        Capture::weight(self)
    }
    fn derived(&self) -> Option<&Capture> {
        None
    }
    fn into_rows(rows: Few<Self>) -> Rows {
        Rows::Captures(rows)
    }
}

impl<T: RowType> Row<T> {
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Keep(row) => row.weight(),
            Self::Reject(reject) => size_of::<Self>() + reject.weight(),
        }
    }

    fn derived(&self) -> Option<&Capture> {
        match self {
            Self::Keep(row) => row.derived(),
            Self::Reject(_) => None,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Keep(_) => None,
            Self::Reject(reject) => Some(reject.reason),
        }
    }
}

/// Where the rows of a chunk stand in their source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Positions {
    /// Row `i` has the one position `first + i`: packet numbers, send sequences.
    Each { first: u64 },
    /// Row `i` reaches from the end of row `i - 1` (the first: from `first`) up to, not including, `ends[i]`: bytes.
    Spans { first: u64, ends: Box<[u64]> },
}

impl Positions {
    /// Returns the first and last position of a range of rows, which must not be empty.
    pub(crate) fn span(&self, rows: &Range<usize>) -> (u64, u64) {
        match self {
            Self::Each { first } => (first + rows.start as u64, first + rows.end as u64 - 1),
            Self::Spans { first, ends } => {
                let start = rows.start.checked_sub(1).map_or(*first, |before| ends[before]);
                (start, ends[rows.end - 1] - 1)
            }
        }
    }

    /// Takes the positions of the first `rows` rows off.
    pub(crate) fn split_front(&mut self, rows: usize) -> Self {
        match self {
            Self::Each { first } => {
                let front = Self::Each { first: *first };
                *first += rows as u64;
                front
            }
            Self::Spans { first, ends } => {
                let mut front = std::mem::take(ends).into_vec();
                *ends = front.split_off(rows).into();
                let front = Self::Spans { first: *first, ends: front.into() };
                *first = front.span(&(0..rows)).1 + 1;
                front
            }
        }
    }

    /// Returns which of `rows` rows have a position that is not in `committed`, as ranges of rows.
    pub(crate) fn missing_rows(&self, rows: usize, committed: &Ranges) -> SmallVec<[Range<usize>; 1]> {
        let mut missing: SmallVec<[Range<usize>; 1]> = SmallVec::new();
        if committed.is_empty() {
            missing.push(0..rows);
            return missing;
        }
        for row in 0..rows {
            let (first, last) = self.span(&(row..row + 1));
            if committed.first_missing(first) > last {
                continue;
            }
            match missing.last_mut() {
                Some(range) if range.end == row => range.end += 1,
                _ => missing.push(row..row + 1),
            }
        }
        missing
    }
}

/// How many captures are derived from some rows, and what they weigh (as part of those rows).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Derived {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl Derived {
    fn of<T: RowType>(rows: &[Row<T>]) -> Self {
        rows.iter().filter_map(Row::derived).fold(Self::default(), |sum, capture| sum.plus(1, capture.weight()))
    }

    fn plus(self, rows: usize, bytes: usize) -> Self {
        Self { rows: self.rows + rows, bytes: self.bytes + bytes }
    }
}

impl std::ops::AddAssign for Derived {
    fn add_assign(&mut self, other: Self) {
        *self = self.plus(other.rows, other.bytes);
    }
}

/// What one send carried.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) rows: Rows,
    pub(crate) source: Arc<str>,
    pub(crate) positions: Positions,
    pub(crate) bytes: usize,
    pub(crate) accepted_at: Instant,
    pub(crate) settlement: Settlement,
    pub(crate) permit: Permit,
    /// Whether any place holds a [`Row::Reject`].
    pub(crate) has_rejects: bool,
    pub(crate) derived: Derived,
}

impl Chunk {
    /// Makes a chunk of rows that weigh `bytes` and for which `permit` was given; `settlement` counts them.
    pub(crate) fn new<T: RowType>(
        rows: Few<T>,
        source: Arc<str>,
        positions: Positions,
        accepted_at: Instant,
        bytes: usize,
        permit: Permit,
        settlement: Settlement,
    ) -> Arc<Self> {
        let has_rejects = rows.iter().any(|row| matches!(row, Row::Reject(_)));
        let derived = Derived::of(&rows);
        Arc::new(Self {
            rows: T::into_rows(rows),
            source,
            positions,
            bytes,
            accepted_at,
            settlement,
            permit,
            has_rejects,
            derived,
        })
    }
}

/// Some consecutive rows of a chunk: all of them, unless a lane already has the others or a batch was cut.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) rows: Range<usize>,
}

impl Part {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        if self.rows.len() == self.chunk.rows.len() {
            return self.chunk.bytes;
        }
        self.chunk.rows.weight(self.rows.clone())
    }

    pub(crate) fn kind(&self) -> RowKind {
        self.chunk.rows.kind()
    }

    pub(crate) fn rejects(&self) -> usize {
        if self.chunk.has_rejects { self.reject_reasons(false).count() } else { 0 }
    }

    pub(crate) fn derived(&self) -> Derived {
        match &self.chunk.rows {
            Rows::Events(rows) if self.len() < rows.len() && self.chunk.derived.rows > 0 => {
                Derived::of(&rows[self.rows.clone()])
            }
            _ => self.chunk.derived,
        }
    }

    /// Iterates over the reasons of the rows that go to `ingest_rejects`: with `refused`, all of them do.
    pub(crate) fn reject_reasons(&self, refused: bool) -> impl Iterator<Item = &'static str> {
        let own = |index: usize| match &self.chunk.rows {
            Rows::Events(rows) => rows[index].reason(),
            Rows::Captures(rows) => rows[index].reason(),
        };
        self.rows.clone().filter_map(move |index| own(index).or(refused.then_some(REFUSED)))
    }

    pub(crate) fn row(&self, index: usize) -> RowRef<'_> {
        let (table, reject) = match &self.chunk.rows {
            Rows::Events(rows) => match &rows[index] {
                Row::Keep(event) => return RowRef::Event(event),
                Row::Reject(reject) => (RowKind::Event, reject),
            },
            Rows::Captures(rows) => match &rows[index] {
                Row::Keep(capture) => return RowRef::Capture(capture),
                Row::Reject(reject) => (RowKind::Capture, reject),
            },
        };
        RowRef::Rejected(self.rejected(index, table, reject.reason, &reject.detail, raw_json(&reject.raw)))
    }

    /// As [`row`](Self::row), for a row that the database refused.
    pub(crate) fn refused_row<'a>(&'a self, index: usize, detail: &'a str) -> RowRef<'a> {
        let (table, row) = match self.row(index) {
            RowRef::Event(event) => (RowKind::Event, event_json(event)),
            RowRef::Capture(capture) => (RowKind::Capture, capture_json(capture)),
            already @ RowRef::Rejected(_) => return already,
        };
        RowRef::Rejected(self.rejected(index, table, REFUSED, detail, row))
    }

    fn rejected<'a>(
        &'a self,
        index: usize,
        table: RowKind,
        reason: &'a str,
        detail: &'a str,
        row: String,
    ) -> RejectedRow<'a> {
        let position = self.chunk.positions.span(&(index..index + 1)).0;
        RejectedRow { table, source: &self.chunk.source, position, reason, detail, row }
    }
}
