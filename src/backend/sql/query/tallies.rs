//! How often which value of a column stands in the rows of a quarter of an hour, kept once it was counted: see `quarters`.
//!
//! Each value is kept once for a segment and column, and for each quarter the numbers of its values with their counts, in
//! eight bytes: counts of a day are added up by number, and only the sums by value. All that a repository keeps stands on
//! one shelf, whose size is bounded: when something more does not fit, everything is forgotten and counted anew when it is
//! asked for, so a question may cost at any time what the first one costs. A quarter with very many values (whoever sends
//! rows chooses them) is not kept at all.

use std::cmp::Reverse;
#[cfg(feature = "mysql")]
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexSet;

use crate::repository::Tally;

/// Most values of a quarter that are kept.
const MOST_VALUES: usize = 1 << 14;
/// Most bytes of a shelf, as they are estimated here.
const MOST_BYTES: usize = 64 << 20;
/// What a value takes beside its own bytes, and what a quarter and a column take beside their counts.
const OVERHEAD: usize = 64;

/// How often each value of a column stands in some rows, as a database says it; `None` is NULL.
pub(super) type Pairs = Vec<(Option<String>, u64)>;

/// Sums of those.
#[derive(Debug, Default)]
pub(super) struct Counts {
    null: u64,
    values: HashMap<String, u64>,
}

impl Counts {
    pub(super) fn add(&mut self, value: Option<&str>, rows: u64) {
        match value {
            None => self.null += rows,
            Some(value) => match self.values.get_mut(value) {
                Some(sum) => *sum += rows,
                None => drop(self.values.insert(value.to_owned(), rows)),
            },
        }
    }

    pub(super) fn add_all(&mut self, pairs: &Pairs) {
        pairs.iter().for_each(|(value, rows)| self.add(value.as_deref(), *rows));
    }

    /// Returns how many values there are but for NULL.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the most frequent ones, of equally frequent ones the lesser first, NULL before all.
    pub(super) fn top(&self, limit: usize) -> Vec<Tally> {
        let null = (self.null > 0).then_some((None, self.null));
        let values = self.values.iter().map(|(value, rows)| (Some(value), *rows));
        let mut all: Vec<_> = null.into_iter().chain(values).map(|(value, rows)| (Reverse(rows), value)).collect();
        if limit < all.len() {
            all.select_nth_unstable(limit);
            all.truncate(limit);
        }
        all.sort_unstable();
        all.into_iter().map(|(Reverse(rows), value)| Tally { key: value.cloned(), rows }).collect()
    }
}

/// What a repository keeps of all its segments.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    segments: u64,
    bytes: usize,
    /// By the segment's number on this shelf, and the column.
    tallies: HashMap<(u64, &'static str), Arc<Tallies>>,
}

#[derive(Clone, Debug, Default)]
struct Tallies {
    values: IndexSet<Option<Box<str>>>,
    quarters: HashMap<i64, Box<[(u32, u32)]>>,
    bytes: usize,
}

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number for a segment that is new here.
    pub(super) fn number(&self) -> u64 {
        let mut kept = self.kept();
        kept.segments += 1;
        kept.segments
    }

    /// Adds up those of the quarters that are known, and returns the others.
    pub(super) fn sum(&self, segment: u64, column: &'static str, quarters: &[i64], into: &mut Counts) -> Vec<i64> {
        let tallies = self.kept().tallies.get(&(segment, column)).cloned();
        let Some(tallies) = tallies else { return quarters.to_vec() };
        let (mut sums, mut unknown) = (vec![0; tallies.values.len()], Vec::new());
        for quarter in quarters {
            let Some(counts) = tallies.quarters.get(quarter) else {
                unknown.push(*quarter);
                continue;
            };
            for (number, rows) in counts {
                sums[*number as usize] += u64::from(*rows);
            }
        }
        let known = tallies.values.iter().zip(sums).filter(|(_, rows)| *rows > 0);
        known.for_each(|(value, rows)| into.add(value.as_deref(), rows));
        unknown
    }

    /// Keeps what was counted of a quarter.
    pub(super) fn keep(&self, segment: u64, column: &'static str, quarter: i64, counts: &Pairs) {
        let most = |(value, _): &(Option<String>, u64)| OVERHEAD + 8 + value.as_ref().map_or(0, String::len);
        let room: usize = OVERHEAD + counts.iter().map(most).sum::<usize>();
        let fits = counts.len() <= MOST_VALUES && room <= MOST_BYTES;
        if !fits || counts.iter().any(|(_, rows)| u32::try_from(*rows).is_err()) {
            return;
        }
        let mut kept = self.kept();
        if kept.bytes + room > MOST_BYTES {
            (kept.tallies, kept.bytes) = (HashMap::new(), 0);
        }
        let tallies = Arc::make_mut(kept.tallies.entry((segment, column)).or_default());
        let before = tallies.bytes;
        let counts = counts.iter().map(|(value, rows)| (tallies.number(value.as_deref()), *rows as u32)).collect();
        tallies.put(quarter, counts);
        let grown = tallies.bytes;
        kept.bytes = kept.bytes - before + grown;
    }

    /// Forgets a segment.
    pub(super) fn forget(&self, segment: u64) {
        let mut kept = self.kept();
        let gone: Vec<_> = kept.tallies.extract_if(|(of, _), _| *of == segment).collect();
        kept.bytes -= gone.iter().map(|(_, tallies)| tallies.bytes).sum::<usize>();
    }

    /// Takes what is kept of a segment for that of another, but for those quarters.
    #[cfg(feature = "mysql")]
    pub(super) fn pass_on(&self, segment: u64, to: u64, but: &BTreeSet<i64>) {
        let mut kept = self.kept();
        let passed: Vec<_> = kept.tallies.extract_if(|(of, _), _| *of == segment).collect();
        for ((_, column), mut passed) in passed {
            let tallies = Arc::make_mut(&mut passed);
            let before = tallies.bytes;
            for quarter in but {
                tallies.take(*quarter);
            }
            kept.bytes = kept.bytes - before + tallies.bytes;
            kept.tallies.insert((to, column), passed);
        }
    }
}

impl Tallies {
    fn number(&mut self, value: Option<&str>) -> u32 {
        let (number, is_new) = self.values.insert_full(value.map(Box::from));
        if is_new {
            self.bytes += OVERHEAD + value.map_or(0, str::len);
        }
        number as u32
    }

    /// Puts a quarter's counts there; of two who have counted the same at the same time the later one's stay.
    fn put(&mut self, quarter: i64, counts: Box<[(u32, u32)]>) {
        self.take(quarter);
        self.bytes += OVERHEAD + 8 * counts.len();
        self.quarters.insert(quarter, counts);
    }

    /// Its values stay: most of them others have too.
    fn take(&mut self, quarter: i64) {
        if let Some(counts) = self.quarters.remove(&quarter) {
            self.bytes -= OVERHEAD + 8 * counts.len();
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "mysql")]
    use std::collections::BTreeSet;
    use std::ops::Range;

    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Pairs {
        counts.iter().map(|(value, rows)| ((!value.is_empty()).then(|| (*value).to_owned()), *rows)).collect()
    }

    fn sum(shelf: &Shelf, segment: u64, quarters: Range<i64>) -> (Pairs, Vec<i64>) {
        let mut sums = Counts::default();
        let unknown = shelf.sum(segment, "c", &quarters.collect::<Vec<_>>(), &mut sums);
        (sums.top(usize::MAX).into_iter().map(|tally| (tally.key, tally.rows)).collect(), unknown)
    }

    #[test]
    fn the_most_frequent_values_come_first_and_of_equal_ones_the_lesser() {
        let mut sums = Counts::default();
        sums.add_all(&counts(&[("b", 2), ("", 3), ("a", 3), ("c", 5), ("b", 1)]));
        let top = |limit| sums.top(limit).into_iter().map(|tally| (tally.key, tally.rows)).collect::<Vec<_>>();
        let all = counts(&[("c", 5), ("", 3), ("a", 3), ("b", 3)]);
        for limit in 0..=5 {
            assert_eq!(top(limit), all[..limit.min(4)]);
        }
        assert_eq!(sums.len(), 3);
    }

    #[test]
    fn known_quarters_are_added_up_and_the_others_named() {
        let (shelf, one) = (Shelf::default(), 1);
        assert_eq!(sum(&shelf, one, 0..2), (vec![], vec![0, 1]));
        shelf.keep(one, "c", 0, &counts(&[("a", 1), ("", 2)]));
        shelf.keep(one, "c", 2, &counts(&[("b", 4), ("a", 8)]));
        shelf.keep(one, "c", 3, &vec![]);
        shelf.keep(one, "d", 1, &counts(&[("a", 16)]));
        assert_eq!(sum(&shelf, one, 0..4), (counts(&[("a", 9), ("b", 4), ("", 2)]), vec![1]));
        assert_eq!(sum(&shelf, one, 3..4), (vec![], vec![]));
        assert_eq!(sum(&shelf, 2, 0..1), (vec![], vec![0]));
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_with_its_segment() {
        let shelf = Shelf::default();
        let bytes = || shelf.kept().bytes;
        let of = |quarter: i64| -> Pairs { (0..10_000).map(|n| (Some(format!("{quarter}-{n:0100}")), 1)).collect() };
        for quarter in 0..100 {
            shelf.keep(1 + quarter as u64 % 2, "c", quarter, &of(quarter));
            assert!(bytes() <= MOST_BYTES);
        }
        let (known, unknown) = sum(&shelf, 2, 99..100);
        assert_eq!((known.len(), unknown.len()), (10_000, 0));
        shelf.keep(3, "c", 0, &counts(&[("a", 1)]));
        let before = bytes();
        shelf.keep(3, "c", 0, &counts(&[("a", 1)]));
        assert_eq!(bytes(), before);
        (1..=3).for_each(|segment| shelf.forget(segment));
        assert_eq!(bytes(), 0);
        // Nothing of these is kept.
        shelf.keep(3, "c", 0, &counts(&[("a", 1 << 32)]));
        shelf.keep(3, "c", 1, &(0..=MOST_VALUES).map(|n| (Some(n.to_string()), 1)).collect::<Vec<_>>());
        assert_eq!((bytes(), sum(&shelf, 3, 0..2).1.len()), (0, 2));
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn what_is_kept_is_passed_on_but_for_some_quarters() {
        let shelf = Shelf::default();
        shelf.keep(1, "c", 0, &counts(&[("a", 1)]));
        shelf.keep(1, "c", 1, &counts(&[("a", 2), ("b", 4)]));
        shelf.pass_on(1, 2, &BTreeSet::from([0, 7]));
        assert_eq!(sum(&shelf, 1, 0..2), (vec![], vec![0, 1]));
        assert_eq!(sum(&shelf, 2, 0..2), (counts(&[("b", 4), ("a", 2)]), vec![0]));
        shelf.pass_on(2, 3, &BTreeSet::new());
        shelf.forget(3);
        assert_eq!(shelf.kept().bytes, 0);
    }
}
