//! Up to which id rows are all there, on a server.
//!
//! Rows get their ids when they are inserted, and are seen when their transaction commits: of two writers the one with the
//! lower ids may come later. So whoever goes from id to id must not pass over ids that are missing. A missing one is of a
//! transaction that still runs (a read of uncommitted rows shows it: then we wait for its end), or of one that was rolled
//! back, or left out by the server's numbering; of those nobody can tell at once, since a statement reserves its ids a
//! moment before it inserts. So a gap that nobody is seen in is passed over after two seconds. In a cluster whose nodes
//! write at the same time that is not enough: rows of other nodes come with ids far below. Write to one node there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use diesel::sql_types::BigInt;

use super::Visit;
use crate::backend::sql::query::statement::Sql;
use crate::chunk::RowKind;
use crate::error::Error;

/// How long a gap in which nobody is seen keeps us.
const GRACE: Duration = Duration::from_secs(2);
/// Most ids that are looked at.
const MOST: usize = 4096;
/// Most gaps that are remembered.
const MOST_GAPS: usize = 8 * MOST;

/// Gaps, by the first id of each, and since when they are known.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<i64, Instant>);

impl Gaps {
    /// Returns whether the gap is old enough to be passed over.
    pub(super) fn is_old(&mut self, first: i64, now: Instant) -> bool {
        if self.0.len() >= MOST_GAPS && !self.0.contains_key(&first) {
            // The lowest have been passed by everybody, or soon will be known again.
            self.0.pop_first();
        }
        now.saturating_duration_since(*self.0.entry(first).or_insert(now)) >= GRACE
    }
}

/// Returns up to which id everything is there. Both lists are ids behind `after`, ascending; the uncommitted ones were read
/// first.
pub(super) fn settled(after: i64, uncommitted: &[i64], committed: &[i64], mut is_old: impl FnMut(i64) -> bool) -> i64 {
    let mut settled = after;
    let running = uncommitted.iter().find(|id| committed.binary_search(id).is_err()).copied().unwrap_or(i64::MAX);
    for id in committed.iter().copied().take_while(|id| *id < running) {
        if id > settled + 1 && !is_old(settled + 1) {
            return settled;
        }
        settled = id;
    }
    settled
}

impl Visit {
    /// Returns the ids behind `after` that this transaction sees.
    pub(super) fn ids(&mut self, kind: RowKind, after: i64) -> Result<Vec<i64>, Error> {
        let sql = Sql::default().own(format!("SELECT id FROM {} WHERE id > ", kind.table())).number(after);
        self.rows::<BigInt, i64>(sql.own(format!(" ORDER BY id LIMIT {MOST}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_past_ids_that_may_still_come() {
        let young = |_| false;
        assert_eq!(settled(0, &[], &[], young), 0);
        assert_eq!(settled(0, &[1, 2, 3], &[1, 2, 3], young), 3);
        assert_eq!(settled(0, &[1, 2, 3, 4], &[3, 4], young), 0, "1 and 2 are being written");
        assert_eq!(settled(0, &[1, 2, 3, 4], &[1, 2, 4], young), 2);
        assert_eq!(settled(0, &[1, 4], &[1, 4, 5], young), 1, "2 and 3 may be reserved");
        assert_eq!(settled(0, &[1, 4], &[1, 4, 5], |first| first == 2), 5);
        assert_eq!(settled(0, &[1, 3, 4, 7], &[1, 4, 7], |_| true), 1, "3 is seen, however old the gap is");
        assert_eq!(settled(7, &[8], &[8, 9], young), 9);
    }

    #[test]
    fn a_gap_becomes_old_from_when_it_was_seen_first() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        assert!(!gaps.is_old(5, now));
        assert!(!gaps.is_old(5, now + GRACE / 2));
        assert!(gaps.is_old(5, now + GRACE) && !gaps.is_old(6, now + GRACE));
    }
}
