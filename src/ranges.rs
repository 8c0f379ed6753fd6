//! Sets of positions in a replayable source, as sorted, disjoint, inclusive ranges.
//!
//! The ledger is read into one of these; a source asks it what it may skip. Ranges, not a high-water mark: a backend
//! that writes several batches at once may commit them out of order. Pure.

use std::ops::RangeInclusive;

/// A set of `u64` positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds all positions from `first` to `last`, both included. Does nothing when `first > last`.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let start = self.0.partition_point(|&(_, l)| l.checked_add(1).is_some_and(|next| next < first));
        let end = self.0.partition_point(|&(f, _)| f <= last.saturating_add(1));
        let merged = self.0[start..end].iter().fold((first, last), |(f, l), r| (f.min(r.0), l.max(r.1)));
        self.0.splice(start..end, [merged]);
    }

    /// Returns whether `position` is in the set.
    pub fn contains(&self, position: u64) -> bool {
        let at = self.0.partition_point(|&(_, last)| last < position);
        self.0.get(at).is_some_and(|&(first, _)| first <= position)
    }

    /// Returns the first position at or after `from` that is not in the set.
    pub fn first_missing(&self, from: u64) -> u64 {
        let at = self.0.partition_point(|&(_, last)| last < from);
        match self.0.get(at) {
            Some(&(first, last)) if first <= from => last.saturating_add(1),
            _ => from,
        }
    }

    /// Returns the positions that are in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(af, al)), Some(&&(bf, bl))) = (a.peek(), b.peek()) {
            if af.max(bf) <= al.min(bl) {
                both.push((af.max(bf), al.min(bl)));
            }
            if al <= bl {
                a.next()
            } else {
                b.next()
            };
        }
        Self(both)
    }

    /// Returns the highest position in the set.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|&(_, last)| last)
    }

    /// Returns whether the set has no position.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the ranges, ascending; no two touch.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.0.iter().map(|&(first, last)| first..=last)
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(pairs: I) -> Self {
        let mut ranges = Self::default();
        pairs.into_iter().for_each(|(first, last)| ranges.insert(first, last));
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn model(pairs: &[(u64, u64)]) -> BTreeSet<u64> {
        pairs.iter().flat_map(|&(first, last)| first..=last).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_set_of_all_inserted_positions(
            a in prop::collection::vec((0u64..60, 0u64..60), 0..12),
            b in prop::collection::vec((0u64..60, 0u64..60), 0..12),
        ) {
            let (ra, rb): (Ranges, Ranges) = (a.iter().copied().collect(), b.iter().copied().collect());
            let (ma, mb) = (model(&a), model(&b));
            for p in 0..64 {
                prop_assert_eq!(ra.contains(p), ma.contains(&p));
                prop_assert_eq!(ra.first_missing(p), (p..).find(|p| !ma.contains(p)).unwrap());
                prop_assert_eq!(ra.intersection(&rb).contains(p), ma.contains(&p) && mb.contains(&p));
            }
            prop_assert_eq!(ra.last(), ma.last().copied());
            let ranges: Vec<_> = ra.iter().collect();
            prop_assert!(ranges.windows(2).all(|w| *w[0].end() + 1 < *w[1].start()), "touching ranges are merged");
        }
    }

    #[test]
    fn the_last_position_of_all_does_not_overflow() {
        let ranges: Ranges = [(u64::MAX - 1, u64::MAX), (0, 3)].into_iter().collect();
        assert!(ranges.contains(u64::MAX) && !ranges.contains(4));
        assert_eq!(ranges.first_missing(u64::MAX), u64::MAX);
    }
}
