//! Decides what is to be done to the segments next. Pure: no clock, no I/O; the catalogue goes in, a step comes out.
//!
//! *Due* steps keep promises and run between batches even under full load: an open segment is closed before it passes
//! its limits, a closed one gets its indexes, old rows and what was merged go. *Idle* steps, which only make reading
//! cheaper, wait for a moment without writes: the open segment gets its indexes early, adjacent small segments are merged,
//! free pages are given back. When a kind has [`Limits::most`] segments, merging becomes due too.
//!
//! Why small open segments and merges: rows without an index on their address cost a scan, and 32,768 of them can be
//! scanned in 6 ms (AMD EPYC, a new connection, warm), half a million by that in 100. Indexing 32,768 rows takes 46 ms for all
//! three indexes, 1.4 us a row, which fits between two batches; keeping the indexes in place costs 5 to 10 us a row and
//! more as the file grows. Merging eight such segments by copy costs another 1 us a row, and 1.7 us for the larger
//! indexes, the longest build 0.23 s. Half a million rows would take 0.65 s, an outage to everybody who waits for a
//! commit. So a busy writer does not merge at all until it must.
//!
//! Why merged segments *grow* once more, in quiet moments only: everybody who reads pays for each segment, an index
//! descent at the least, and the tools that use the view for preparing it. A million rows are not indexed at once, which
//! would take a second: they are copied in pieces into a table that has its indexes already, which costs a row three
//! times as much, and nobody more than a piece.
//!
//! Why merge: preparing a query on the view takes 0.3 ms with 20 segments, 2 ms with 100, 14 ms with 400; and after each
//! close and each index every reader's connection reads the whole schema anew, 0.8 ms with 40 segments, 7.6 with 400,
//! 12.8 with 650 (SQLite 3.40). Writing does not slow down with their number, so they may be many in a flood without a
//! pause, and readers wait then: see the README's figures.

use std::time::Duration;

use super::catalogue::{Segment, State};
use crate::chunk::RowKind;
use crate::config::{Config, RetentionConfig};

/// Fewest segments that are merged at once: less would copy the same rows again and again.
const FAN_IN: usize = 8;
/// How many merged segments' worth of rows one has that has grown.
const GROWTH: i64 = 4;
/// How many pieces an open segment's worth of rows has, where a large table is copied or taken down. In tables with
/// indexes 32,768 rows take 0.22 s, as long as the longest build, and a commit waits for more than one such step.
const PIECES: i64 = 4;
/// Pieces up to which a table is dropped whole: SQLite reads all of its pages to free them.
const DROPPED_WHOLE: i64 = 32;
/// A segment is at most this part of what retention keeps: since whole segments go, neither much more stays than was
/// asked for, nor does much go at once.
const PART: u32 = 16;
/// Fewest rows for which a segment is closed on behalf of retention.
const LEAST_ROWS: i64 = 1024;

/// Fewest rows for which the open segment gets its indexes: so many are scanned in 0.2 ms.
const LEAST_INDEXED: i64 = 1024;

/// The bounds that steps are decided by.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Rows at which the open segment closes.
    pub(crate) open_rows: i64,
    /// Bytes at which the open segment closes.
    pub(crate) open_bytes: i64,
    /// Age at which the open segment closes.
    pub(crate) open_age: Duration,
    /// Most rows of a merged segment.
    pub(crate) merged_rows: i64,
    /// Most bytes of a merged segment.
    pub(crate) merged_bytes: i64,
    /// Most rows of a segment that has grown.
    pub(crate) grown_rows: i64,
    /// Most bytes of a segment that has grown.
    pub(crate) grown_bytes: i64,
    /// Most rows that are copied into, or deleted from, a large table at once.
    pub(crate) piece_rows: i64,
    /// Most bytes of the same.
    pub(crate) piece_bytes: i64,
    /// Segments of one kind above which a busy writer merges too.
    pub(crate) most: usize,
    pub(crate) retention: RetentionConfig,
}

impl Limits {
    /// Returns the limits that a configuration means.
    pub(crate) fn of(config: &Config) -> Self {
        let (sqlite, retention) = (&config.sqlite, config.retention);
        let part = |most: u64| clamped(most) / i64::from(PART);
        let rows = retention.max_rows.map_or(i64::MAX, |most| part(most).max(LEAST_ROWS));
        let bytes = retention.max_bytes.map_or(i64::MAX, |most| part(most.0));
        let merged = (sqlite.merged_rows as i64, clamped(sqlite.merged_bytes.0));
        Self {
            open_rows: rows.min(sqlite.segment_rows as i64),
            open_bytes: bytes.min(clamped(sqlite.segment_bytes.0)),
            open_age: retention.max_age.map_or(sqlite.segment_age, |age| sqlite.segment_age.min(age / PART)),
            merged_rows: rows.min(merged.0),
            merged_bytes: bytes.min(merged.1),
            grown_rows: rows.min(merged.0.saturating_mul(GROWTH)),
            grown_bytes: bytes.min(merged.1.saturating_mul(GROWTH)),
            piece_rows: (sqlite.segment_rows as i64 / PIECES).max(1),
            piece_bytes: (clamped(sqlite.segment_bytes.0) / PIECES).max(1),
            most: sqlite.max_segments,
            retention,
        }
    }
}

/// The file, as far as steps depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Space {
    /// Bytes of all pages.
    pub(crate) file: i64,
    /// Bytes of pages that hold nothing.
    pub(crate) free: i64,
    /// Whether those can be given back: not in a file that was made anew by `sqlite3 .recover`, say.
    pub(crate) is_incremental: bool,
}

/// How urgent a step must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Between two batches.
    Due,
    /// While nothing is being written.
    Idle,
}

/// One transaction's worth of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ends the open segment and begins the next.
    Close(RowKind),
    /// Builds the next index of a segment.
    Index(RowKind, i64),
    /// Begins to merge these segments, adjacent and in order of their ids.
    Merge(RowKind, Vec<i64>),
    /// Begins to make one segment of these, which were merged before.
    Grow(RowKind, Vec<i64>),
    /// Copies a segment, or the next rows of it, into the one that it is merged into.
    Copy { kind: RowKind, from: i64, into: i64, most: i64 },
    /// Puts a merged segment in the place of those that it was merged from.
    Swap(RowKind, i64),
    /// Gives up a merge.
    Cancel(RowKind, i64),
    /// Takes a segment's rows out of sight, for a reason of retention.
    Retire(RowKind, i64, &'static str),
    /// Drops a table that is out of sight.
    Drop(RowKind, i64),
    /// Drops an index of a large table that is out of sight, or so many rows if it has none.
    Shrink(RowKind, i64, i64),
    /// Gives free pages back to the file system.
    Vacuum,
}

impl Step {
    /// Returns the step's name: a metric label.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Close(_) => "close",
            Self::Index(..) => "index",
            Self::Merge(..) => "merge",
            Self::Grow(..) => "grow",
            Self::Copy { .. } => "copy",
            Self::Swap(..) => "swap",
            Self::Cancel(..) => "cancel",
            Self::Retire(..) => "retire",
            Self::Drop(..) => "drop",
            Self::Shrink(..) => "shrink",
            Self::Vacuum => "vacuum",
        }
    }
}

/// Returns the next step, if there is one.
///
/// `segments` are those of both kinds, each kind in order of ids, the open one last; `now` is nanoseconds since the
/// Unix epoch.
pub(crate) fn next(
    segments: &[Vec<Segment>; 2],
    space: Space,
    limits: &Limits,
    now: i64,
    urgency: Urgency,
) -> Option<Step> {
    let each = || RowKind::ALL.into_iter().zip(segments);
    let due = each()
        .find_map(|(kind, of_kind)| close(kind, of_kind, limits, now))
        .or_else(|| each().find_map(|(kind, of_kind)| index(kind, of_kind)))
        .or_else(|| retire(segments, space, limits, now))
        .or_else(|| each().find_map(|(kind, of_kind)| drop(kind, of_kind, limits)))
        .or_else(|| {
            let crowded = each().filter(|(_, of_kind)| visible(of_kind).count() > limits.most);
            crowded.into_iter().find_map(|(kind, of_kind)| merge(kind, of_kind, limits))
        });
    if due.is_some() || urgency == Urgency::Due {
        return due;
    }
    each()
        .find_map(|(kind, of_kind)| index_open(kind, of_kind))
        .or_else(|| each().find_map(|(kind, of_kind)| merge(kind, of_kind, limits)))
        .or_else(|| each().find_map(|(kind, of_kind)| grow(kind, of_kind, limits)))
        .or_else(|| vacuum(space))
}

/// Returns whether the open segment must be closed before `rows` more rows of `bytes` in all go into it.
pub(crate) fn is_full(open: &Segment, rows: i64, bytes: i64, limits: &Limits) -> bool {
    open.rows > 0 && (open.rows + rows > limits.open_rows || open.bytes + bytes > limits.open_bytes)
}

/// The segments that the view shows.
fn visible(segments: &[Segment]) -> impl Iterator<Item = &Segment> {
    segments.iter().filter(|segment| segment.is_visible())
}

fn close(kind: RowKind, segments: &[Segment], limits: &Limits, now: i64) -> Option<Step> {
    let open = segments.iter().find(|segment| segment.state == State::Open)?;
    let is_old = open.rows > 0 && now.saturating_sub(open.opened_at) >= nanos(limits.open_age);
    (is_full(open, 0, 0, limits) || is_old).then_some(Step::Close(kind))
}

/// Small segments before the one that is being merged: they are in sight.
fn index(kind: RowKind, segments: &[Segment]) -> Option<Step> {
    let wants = |segment: &&Segment| segment.state == State::Closed && !segment.is_indexed();
    segments.iter().find(wants).map(|segment| Step::Index(kind, segment.number))
}

/// While little is written, the open segment is searched like any other: its rows keep the indexes until it closes.
fn index_open(kind: RowKind, segments: &[Segment]) -> Option<Step> {
    let wants =
        |segment: &&Segment| segment.state == State::Open && segment.rows >= LEAST_INDEXED && !segment.is_indexed();
    segments.iter().find(wants).map(|segment| Step::Index(kind, segment.number))
}

fn drop(kind: RowKind, segments: &[Segment], limits: &Limits) -> Option<Step> {
    let gone = segments.iter().find(|segment| segment.state == State::Dropping)?;
    // What was merged is as small as one asked for: a busy writer must get rid of it as fast as it merges.
    let whole = |piece: i64, merged: i64| piece.saturating_mul(DROPPED_WHOLE).max(merged);
    let (rows, bytes) = (whole(limits.piece_rows, limits.merged_rows), whole(limits.piece_bytes, limits.merged_bytes));
    if gone.rows <= rows && gone.bytes <= bytes {
        return Some(Step::Drop(kind, gone.number));
    }
    Some(Step::Shrink(kind, gone.number, piece(gone, limits)))
}

/// Returns how many rows of a segment are a piece.
fn piece(segment: &Segment, limits: &Limits) -> i64 {
    let average = (segment.bytes / segment.rows.max(1)).max(1);
    (limits.piece_bytes / average).min(limits.piece_rows).max(1)
}

/// Retention takes whole closed segments, oldest first; a segment without rows goes as well.
fn retire(segments: &[Vec<Segment>; 2], space: Space, limits: &Limits, now: i64) -> Option<Step> {
    let RetentionConfig { max_age, max_bytes, max_rows } = limits.retention;
    let oldest = |kind: RowKind| segments[kind.index()].iter().find(|segment| segment.state == State::Closed);
    let bytes = |kind: RowKind| visible(&segments[kind.index()]).map(|segment| segment.bytes).sum::<i64>();
    for kind in RowKind::ALL {
        let Some(segment) = oldest(kind) else { continue };
        let rows = visible(&segments[kind.index()]).map(|segment| segment.rows).sum::<i64>();
        let is_old = max_age.is_some_and(|age| now.saturating_sub(segment.closed_at) > nanos(age));
        let reason = match () {
            () if segment.rows == 0 => "empty",
            () if is_old => "max_age",
            // Not below the bound: who asks for a million rows keeps at least a million.
            () if max_rows.is_some_and(|most| rows - segment.rows >= clamped(most)) => "max_rows",
            () => continue,
        };
        return Some(retired(kind, segment, reason));
    }
    let used = space.file - space.free;
    if max_bytes.is_none_or(|most| used <= clamped(most.0)) {
        return None;
    }
    // What is out of sight already makes room by itself.
    if segments.iter().flatten().any(|segment| segment.state == State::Dropping) {
        return None;
    }
    // A flood of one kind must not push the other's history out.
    let mut kinds = RowKind::ALL;
    kinds.sort_by_key(|kind| std::cmp::Reverse(bytes(*kind)));
    let (kind, segment) = kinds.into_iter().find_map(|kind| oldest(kind).map(|segment| (kind, segment)))?;
    Some(retired(kind, segment, "max_bytes"))
}

fn retired(kind: RowKind, segment: &Segment, reason: &'static str) -> Step {
    match segment.target {
        Some(target) => Step::Cancel(kind, target),
        None => Step::Retire(kind, segment.number, reason),
    }
}

fn merge(kind: RowKind, segments: &[Segment], limits: &Limits) -> Option<Step> {
    if let Some(target) = segments.iter().find(|segment| segment.state == State::Merging) {
        let is_source = |segment: &&Segment| segment.target == Some(target.number) && segment.last_id > target.last_id;
        return Some(match segments.iter().find(is_source) {
            Some(source) => {
                // Without indexes it is quick, and records are copied whole.
                let most = if target.is_indexed() { piece(source, limits) } else { i64::MAX };
                Step::Copy { kind, from: source.number, into: target.number, most }
            }
            None if !target.is_indexed() => Step::Index(kind, target.number),
            None => Step::Swap(kind, target.number),
        });
    }
    let size = Size { rows: limits.merged_rows, bytes: limits.merged_bytes };
    // Either what comes of it is at least twice its largest part, so that no row is copied more often than its segment
    // can double; or it is complete, and so is copied for the last time but one.
    let is_worthwhile = |taken: &[&Segment], is_complete: bool| {
        let largest = taken.iter().map(|segment| segment.rows).max().unwrap_or(0);
        is_complete || (taken.len() >= FAN_IN && largest <= rows(taken) / 2)
    };
    taken(segments, size, limits, is_worthwhile).map(|numbers| Step::Merge(kind, numbers))
}

/// Copies each row once, since what comes of it is never taken again.
fn grow(kind: RowKind, segments: &[Segment], limits: &Limits) -> Option<Step> {
    let size = Size { rows: limits.grown_rows, bytes: limits.grown_bytes };
    taken(segments, size, limits, |_, is_complete| is_complete).map(|numbers| Step::Grow(kind, numbers))
}

/// The most that a segment is made of by copying.
#[derive(Clone, Copy)]
struct Size {
    rows: i64,
    bytes: i64,
}

/// Returns the first neighbours to make one segment of. Those of more than half the size are left as they are, and a
/// result of more than half the size is complete if the next segment did not fit.
fn taken(
    segments: &[Segment],
    size: Size,
    limits: &Limits,
    is_worthwhile: impl Fn(&[&Segment], bool) -> bool,
) -> Option<Vec<i64>> {
    let is_large = |rows: i64, bytes: i64| rows > size.rows / 2 || bytes > size.bytes / 2;
    let closed: Vec<&Segment> = segments.iter().filter(|segment| segment.state == State::Closed).collect();
    for run in closed.split(|segment| is_large(segment.rows, segment.bytes)) {
        // From every beginning: the first may be too old, or too large, to go with those that follow.
        for start in 0..run.len() {
            let taken = fitting(&run[start..], size, limits);
            let is_followed = run.len() > start + taken.len();
            let bytes = taken.iter().map(|segment| segment.bytes).sum();
            let is_complete = taken.len() > 1 && is_followed && is_large(rows(taken), bytes);
            if is_worthwhile(taken, is_complete) {
                return Some(taken.iter().map(|segment| segment.number).collect());
            }
        }
    }
    None
}

fn rows(segments: &[&Segment]) -> i64 {
    segments.iter().map(|segment| segment.rows).sum()
}

/// Returns the first segments of `run` that together do not pass the size.
fn fitting<'a, 'b>(run: &'a [&'b Segment], size: Size, limits: &Limits) -> &'a [&'b Segment] {
    let span = limits.retention.max_age.map_or(i64::MAX, |age| nanos(age / PART));
    // Of the oldest row, not of the first segment's end: that one may have been merged over such a span already.
    let opened = run.first().map_or(0, |first| first.opened_at);
    let (mut rows, mut bytes) = (0, 0);
    let fits = |segment: &&&Segment| {
        rows += segment.rows;
        bytes += segment.bytes;
        let is_near = segment.closed_at.saturating_sub(opened) <= span;
        rows <= size.rows && bytes <= size.bytes && is_near
    };
    &run[..run.iter().take_while(fits).count()]
}

/// Pages that were freed by a merge serve the next one; more than that goes back.
fn vacuum(space: Space) -> Option<Step> {
    const KEEP: i64 = 16 << 20;
    (space.is_incremental && space.free > (space.file / 16).max(KEEP)).then_some(Step::Vacuum)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
