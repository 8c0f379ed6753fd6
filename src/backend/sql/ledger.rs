//! The ledger: which positions of which source are committed.
//!
//! Each backend inserts an entry, in the transaction of its rows, so that an entry which is there already changes
//! nothing and says so. Here is what they share: the row, and the arithmetic of merging ranges that touch. Merging keeps
//! the table small; it is done only where no batch in flight could be tried again, since a merged range no longer
//! collides on its first position.

use std::collections::BTreeMap;
use std::time::Duration;

use diesel::prelude::Insertable;

use super::schema::ingest_ledger;
use crate::batch::Entry;
use crate::ranges::Ranges;
use crate::timestamp::Timestamp;

/// One row of `ingest_ledger`.
#[derive(Insertable)]
#[diesel(table_name = ingest_ledger)]
pub(crate) struct LedgerRow<'a> {
    pub(crate) source: &'a str,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) rows: i64,
    pub(crate) at: i64,
}

impl<'a> LedgerRow<'a> {
    pub(crate) fn of(entry: &'a Entry, now: Timestamp) -> Self {
        Self {
            source: entry.source(),
            first: as_column(entry.first()),
            last: as_column(entry.last()),
            rows: entry.row_count() as i64,
            at: now.as_nanos(),
        }
    }
}

/// A row as it is read: source, first, last.
pub(crate) type LedgerSpan = (String, i64, i64);

pub(crate) fn by_source(spans: impl IntoIterator<Item = LedgerSpan>) -> BTreeMap<String, Ranges> {
    let mut sources: BTreeMap<String, Ranges> = BTreeMap::new();
    for (source, first, last) in spans {
        sources.entry(source).or_default().insert(first as u64, last as u64);
    }
    sources
}

/// One range and the rows that it stands for: what is left of ranges that touch.
pub(crate) type Merged = (i64, i64, i64);

/// Merges ranges (first, last, rows), ascending, that touch or overlap; returns `None` when none do.
pub(crate) fn merge(spans: &[Merged]) -> Option<Vec<Merged>> {
    let mut merged: Vec<Merged> = Vec::with_capacity(spans.len());
    for &(first, last, rows) in spans {
        match merged.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) => {
                *open = (open.0, open.1.max(last), open.2 + rows);
            }
            _ => merged.push((first, last, rows)),
        }
    }
    (merged.len() < spans.len()).then_some(merged)
}

/// Age after which a row of an in-memory producer is taken for one that a killed process has left. A pipeline deletes its
/// own soon after their commit, so an old one is nobody's; or its pipeline has not reached the database for a day.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// Returns the time of commit before which rows of in-memory producers are orphans, whoever wrote them.
pub(crate) fn orphaned_before(now: Timestamp) -> i64 {
    now.as_nanos().saturating_sub(ORPHAN_AGE.as_nanos() as i64)
}

/// A position as the column holds it: `Replay` and `Producer` keep positions below 2^63.
pub(crate) fn as_column(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_ranges_become_one_and_gaps_stay() {
        assert_eq!(merge(&[(0, 4, 5), (5, 9, 2), (11, 11, 1)]), Some(vec![(0, 9, 7), (11, 11, 1)]));
        assert_eq!(merge(&[(0, 4, 5), (6, 9, 4)]), None);
        assert_eq!(merge(&[]), None);
    }
}
