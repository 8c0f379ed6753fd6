//! What readers of replayable sources share: rows gathered into a chunk, and records that are set aside.
//!
//! A record that cannot be read becomes a row of `ingest_rejects` with its position, in the same chunk as its neighbours;
//! it keeps every byte that a row has room for.

use super::format::{Defaults, Parser, reason};
use super::{Malformed, Stop};
use crate::chunk::{Row, RowType};
use crate::event::Event;
use crate::pipeline::{Replay, ReplayRows};
use crate::receipt::Receipt;
use crate::reject::Reject;

/// Rows and bytes at which a chunk is sent.
const CHUNK_ROWS: usize = 512;
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes that are kept of a record that is set aside and does not fit into a row.
const CUT_RECORD: usize = 64 << 10;
/// Room for the words that say so.
const MAX_NOTE: usize = 64;

/// The bytes of a record that is set aside.
pub(super) struct Original<'a> {
    /// The first ones, or all.
    pub(super) start: &'a [u8],
    /// How many it has.
    pub(super) bytes: u64,
}

impl<'a> Original<'a> {
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self { start: bytes, bytes: bytes.len() as u64 }
    }

    /// Keeps every byte if that comes to no more than a row may have; else the first ones, and says so.
    pub(super) fn reject<T: RowType>(&self, malformed: Malformed, max_bytes: usize) -> Reject {
        let Malformed { reason, mut detail } = malformed;
        let weight = |detail: &str, raw: &[u8]| Row::<T>::Reject(Box::new(Reject::new(reason, detail, raw))).weight();
        if self.bytes == self.start.len() as u64 && weight(&detail, &[]) + self.start.len() <= max_bytes {
            return Reject::new(reason, detail, self.start);
        }
        let room = max_bytes.saturating_sub(weight(&detail, &[]) + MAX_NOTE);
        let kept = &self.start[..self.start.len().min(room).min(CUT_RECORD)];
        detail.push_str(&format!("; its first {} bytes are kept", kept.len()));
        Reject::new(reason, detail, kept)
    }
}

pub(super) fn malformed(reason: &'static str, detail: String) -> Malformed {
    Malformed { reason, detail }
}

pub(super) fn too_large(bytes: usize) -> Malformed {
    malformed(reason::TOO_LARGE, format!("the record comes to {bytes} bytes, more than batch.max_bytes"))
}

/// Reads a whole line into a row that a pipeline takes; `None` as [`Parser::parse`].
pub(super) fn event_of(
    parser: &mut Parser,
    line: &[u8],
    defaults: &Defaults<'_>,
    max_row_bytes: usize,
) -> Result<Option<Event>, Malformed> {
    // A row has its line twice, in `raw` and in its columns: a longer one has no chance, so it is not even parsed.
    if line.len() > max_row_bytes / 2 {
        return Err(too_long(line.len() as u64));
    }
    match parser.parse(line, defaults)? {
        Some(event) if event.weight() > max_row_bytes => Err(too_large(event.weight())),
        event => Ok(event),
    }
}

/// Of a line that is not even parsed.
pub(super) fn too_long(bytes: u64) -> Malformed {
    malformed(reason::TOO_LARGE, format!("a line of {bytes} bytes makes a row above batch.max_bytes"))
}

/// Whether rows were taken.
#[derive(Debug)]
pub(super) enum Sent {
    /// They were.
    Taken,
    /// There was no room until the source was told to stop.
    Stopped,
    /// The pipeline takes none any more.
    Closed,
}

/// Rows that are gathered into a chunk; those of a chunk follow each other without a gap.
pub(super) struct Gathering<T: RowType> {
    pub(super) replay: Replay<T>,
    first: u64,
    ends: Vec<u64>,
    rows: Vec<Row<T>>,
    bytes: usize,
}

impl<T: RowType> Gathering<T> {
    pub(super) fn new(replay: Replay<T>) -> Self {
        Self { replay, first: 0, ends: Vec::new(), rows: Vec::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, first: u64, end: u64, row: Row<T>) {
        if self.rows.is_empty() {
            self.first = first;
        }
        self.bytes += row.weight();
        self.ends.push(end);
        self.rows.push(row);
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns how many rows there are, and which positions they cover: from the first up to, not including, the second.
    pub(super) fn span(&self) -> (usize, u64, u64) {
        (self.rows.len(), self.first, self.ends.last().copied().unwrap_or(self.first))
    }

    /// Sends the rows; `None` when the pipeline takes none any more. The receipt resolves when they are settled.
    pub(super) fn send(&mut self) -> Option<Receipt> {
        if self.rows.is_empty() {
            return Some(Receipt::resolved(Ok(())));
        }
        let rows = self.take();
        self.replay.send_blocking(rows).ok()
    }

    /// As [`send`](Self::send), but waits for room only until `stop` is said. Rows that were not taken are gone from here,
    /// and still in their source.
    pub(super) fn send_unless(&mut self, stop: &Stop) -> Sent {
        if self.rows.is_empty() {
            return Sent::Taken;
        }
        let rows = self.take();
        pollster::block_on(async {
            tokio::select! {
                biased;
                sent = self.replay.send(rows) => if sent.is_ok() { Sent::Taken } else { Sent::Closed },
                () = stop.stopped() => Sent::Stopped,
            }
        })
    }

    fn take(&mut self) -> ReplayRows<T> {
        self.bytes = 0;
        ReplayRows::spanning(self.first, std::mem::take(&mut self.ends), std::mem::take(&mut self.rows))
    }
}
