//! How many rows of a closed segment happened in which quarter of an hour, and how often they have which value of a
//! column (`tallies`), kept once they were counted.
//!
//! A histogram, and the most frequent values of a column, whose only conditions are of time add these up, and look at
//! rows only where their range cuts a quarter, and in the open segment. On a server the whole table is one segment, of
//! which quarters are counted anew that have got rows since: see `mysql/reader/kept`. Quarters since every piece of every
//! calendar consists of them, for times since 1980: see `repository::Buckets`. They are counted when they are asked for,
//! by the snapshot that asks. So a first question costs what it would cost without, but for values on SQLite: there it
//! costs several times that, since it would not look at times within (README, Speed). Nothing is counted ahead, since
//! whoever sends rows chooses their times, and one of 1970 beside one of today would mean a million quarters.
//!
//! Nothing is ever taken back: the rows of a closed segment do not change (merging makes another one, and retention
//! drops it whole). Whoever deletes some of them by hand, past forebay, is told so by `db check`, and may be told the old
//! counts of a segment as long as the repository is open.
//!
//! Turned down: keeping them in the file, which would make the writer count.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::arms::Arm;
use super::tallies::{Counts, Pairs, Shelf};
use crate::repository::{Buckets, Column, Filter};

/// In nanoseconds.
const QUARTER: i64 = 900_000_000_000;
/// Most quarters that are kept for a segment, and most that are asked for one by one: three weeks. Some 70 KiB as they are kept.
pub(super) const MOST: usize = 2048;

/// Counts of a closed segment's rows, by the number of the quarter since the Unix epoch.
#[derive(Debug)]
pub(crate) struct Quarters {
    rows: Mutex<HashMap<i64, u64>>,
    shelf: Arc<Shelf>,
    number: u64,
}

impl Quarters {
    /// Returns those of a segment of which nothing is known, whose tallies go to this shelf.
    pub(crate) fn new(shelf: &Arc<Shelf>) -> Self {
        Self { rows: Mutex::default(), shelf: Arc::clone(shelf), number: shelf.number() }
    }

    /// Takes over what is known, but for those quarters.
    #[cfg(feature = "mysql")]
    pub(crate) fn pass_on(&self, but: &BTreeSet<i64>) -> Self {
        let heir = Self::new(&self.shelf);
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.retain(|quarter, _| !but.contains(quarter));
        heir.keep(known.into_iter().collect());
        self.shelf.pass_on(self.number, heir.number, but);
        heir
    }

    /// Returns what is known of each of these.
    fn known(&self, quarters: Range<i64>) -> Vec<Option<u64>> {
        let counts = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        quarters.map(|quarter| counts.get(&quarter).copied()).collect()
    }

    /// Keeps counts; a segment that would have too many forgets those it had.
    fn keep(&self, counted: Vec<(i64, u64)>) {
        let mut counts = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() + counted.len() > MOST {
            counts.clear();
        }
        counts.extend(counted.into_iter().take(MOST));
    }
}

impl Drop for Quarters {
    fn drop(&mut self) {
        self.shelf.forget(self.number);
    }
}

/// What an arm knows of its quarters.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    quarters: Arc<Quarters>,
    /// Quarters with rows that are not in the counts: they are counted anew each time.
    changing: Arc<BTreeSet<i64>>,
}

impl Kept {
    pub(crate) fn new(quarters: Arc<Quarters>, changing: BTreeSet<i64>) -> Self {
        Self { quarters, changing: Arc::new(changing) }
    }

    fn is_still(&self, quarter: i64) -> bool {
        !self.changing.contains(&quarter)
    }

    /// Returns what is known of each of these.
    pub(super) fn known(&self, quarters: Range<i64>) -> Vec<Option<u64>> {
        let known = quarters.clone().zip(self.quarters.known(quarters));
        known.map(|(quarter, rows)| rows.filter(|_| self.is_still(quarter))).collect()
    }

    /// Keeps counts.
    pub(super) fn keep(&self, mut counted: Vec<(i64, u64)>) {
        counted.retain(|(quarter, _)| self.is_still(*quarter));
        self.quarters.keep(counted);
    }

    /// Adds up a column's values over the quarters that are known, and returns the others.
    pub(super) fn sum(&self, column: &'static str, quarters: Range<i64>, into: &mut Counts) -> Vec<i64> {
        let (still, changing): (Vec<_>, Vec<_>) = quarters.partition(|quarter| self.is_still(*quarter));
        let mut unknown = self.quarters.shelf.sum(self.quarters.number, column, &still, into);
        unknown.extend(changing);
        unknown
    }

    /// Keeps how often each value of a column stands in a quarter.
    pub(super) fn keep_tally(&self, column: &'static str, quarter: i64, counts: &Pairs) {
        if self.is_still(quarter) {
            self.quarters.shelf.keep(self.quarters.number, column, quarter, counts);
        }
    }
}

/// How many rows of a group are of which quarter, as a text: `quarter:rows`, with commas. A quarter may come again.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<(i64, u64)>);

impl Runs {
    /// Adds a row with this time.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn add(&mut self, ts: i64) {
        let quarter = ts.div_euclid(QUARTER);
        match self.0.last_mut() {
            Some((last, rows)) if *last == quarter => *rows += 1,
            _ => self.0.push((quarter, 1)),
        }
    }

    /// Reads the text.
    pub(super) fn read(text: &str) -> impl Iterator<Item = (i64, u64)> {
        text.split(',').filter_map(|run| {
            let (quarter, rows) = run.split_once(':')?;
            Some((quarter.parse().ok()?, rows.parse().ok()?))
        })
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (quarter, rows)) in self.0.iter().enumerate() {
            write!(f, "{}{quarter}:{rows}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A range of time in a segment, as whole quarters and what is left at its ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    pub(super) quarters: Range<i64>,
    /// First and last moment, both within; each within one quarter.
    pub(super) ends: Vec<(i64, i64)>,
}

/// Returns whether every piece of time since `first` is made of whole quarters.
pub(super) fn divide(buckets: &Buckets, first: i64) -> bool {
    buckets.unit_nanos(first) % QUARTER == 0
}

/// Cuts what `filter` asks of an arm, if that is nothing but a range of time, and not too long a one.
pub(super) fn pieces<C: Column>(arm: &Arm, filter: &Filter<C>) -> Option<Pieces> {
    let (ids, asked) = (filter.ids(), filter.times());
    if !filter.conditions().is_empty() || ids.0 > arm.ids.0 || ids.1 < arm.ids.1 {
        return None;
    }
    let (first, last) = (arm.times.0.max(asked.0), arm.times.1.min(asked.1));
    if first > last {
        return None;
    }
    let (mut quarters, mut ends) = (first.div_euclid(QUARTER)..last.div_euclid(QUARTER) + 1, Vec::new());
    // Beyond the arm's times there is nothing that a cut could leave out.
    let is_cut = first > arm.times.0 && first.rem_euclid(QUARTER) != 0;
    let is_cut_off = last < arm.times.1 && last.rem_euclid(QUARTER) != QUARTER - 1;
    if quarters.end - quarters.start == 1 {
        if is_cut || is_cut_off {
            (quarters.end, ends) = (quarters.start, vec![(first, last)]);
        }
        return Some(Pieces { quarters, ends });
    }
    if is_cut {
        quarters.start += 1;
        ends.push((first, quarters.start * QUARTER - 1));
    }
    if is_cut_off {
        quarters.end -= 1;
        ends.push((quarters.end * QUARTER, last));
    }
    (quarters.end - quarters.start <= MOST as i64).then_some(Pieces { quarters, ends })
}

/// Returns the number of a row's quarter, as SQL.
#[cfg(feature = "mysql")]
pub(crate) fn quarter_of(divided_by: &str) -> String {
    unit_of(divided_by, QUARTER)
}

/// Returns the number of a row's unit of time, as SQL. A quotient is cut towards zero; units go on below it.
///
/// The unit as text: with a bound value in its place MySQL would not know that what is grouped by is what comes back.
pub(super) fn unit_of(divided_by: &str, unit: i64) -> String {
    format!("ts {divided_by} {unit} - (ts % {unit} < 0)")
}

/// Returns the first and the last moment of a quarter, both within.
pub(super) fn moments(quarter: i64) -> (i64, i64) {
    let last = (quarter + 1).checked_mul(QUARTER).map_or(i64::MAX, |next| next - 1);
    (quarter.saturating_mul(QUARTER), last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::repository::{EventColumn, Test};

    fn arm(times: (i64, i64)) -> Arm {
        Arm { times, ids: (1, 9), ..Arm::whole("a") }
    }

    proptest! {
        /// Cut where it may be and where it may not: every moment of the range is in one piece, and none beyond it that
        /// the segment could have a row of.
        #[test]
        fn pieces_are_the_range_and_nothing_else(
            times in (-5 * QUARTER..5 * QUARTER, 0..5 * QUARTER),
            asked in (-5 * QUARTER..5 * QUARTER, 0..5 * QUARTER),
            is_even in any::<[bool; 2]>(),
            moment in -10 * QUARTER..10 * QUARTER,
            is_far in any::<bool>(),
        ) {
            let shift = if is_far { i64::MAX - 10 * QUARTER } else { 0 };
            let times = (times.0 + shift, times.0 + times.1 + shift);
            let even = |moment: i64, is_even: bool| if is_even { moment - moment.rem_euclid(QUARTER) } else { moment };
            let asked = (even(asked.0, is_even[0]) + shift, even(asked.0 + asked.1, is_even[1]) + shift);
            let filter = Filter::<EventColumn>::new().and(Test::Times(asked.0, asked.1));
            let moment = moment.saturating_add(shift);
            let is_asked = (times.0.max(asked.0)..=times.1.min(asked.1)).contains(&moment);
            let Some(pieces) = pieces(&arm(times), &filter) else {
                prop_assert!(!is_asked);
                return Ok(());
            };
            let within = |(first, last): (i64, i64)| (first..=last).contains(&moment);
            let ends = pieces.ends.iter().filter(|end| within(**end)).count();
            let quarters = pieces.quarters.clone().filter(|quarter| within(moments(*quarter))).count();
            if (times.0..=times.1).contains(&moment) {
                prop_assert_eq!(ends + quarters, usize::from(is_asked));
            }
            for (first, last) in pieces.ends {
                prop_assert_eq!(first.div_euclid(QUARTER), last.div_euclid(QUARTER));
            }
        }
    }

    #[test]
    fn runs_are_read_as_they_were_written() {
        let mut runs = Runs::default();
        assert_eq!(Runs::read(&runs.to_string()).count(), 0);
        [0, 1, QUARTER - 1, QUARTER, -1, 0, i64::MAX].into_iter().for_each(|ts| runs.add(ts));
        let last = i64::MAX / QUARTER;
        assert_eq!(Runs::read(&runs.to_string()).collect::<Vec<_>>(), [(0, 3), (1, 1), (-1, 1), (0, 1), (last, 1)]);
    }

    #[test]
    fn only_a_range_of_time_that_is_not_too_long_is_cut() {
        let (day, all) = (96 * QUARTER, Filter::<EventColumn>::new);
        assert_eq!(pieces(&arm((0, day - 1)), &all()).unwrap(), Pieces { quarters: 0..96, ends: vec![] });
        assert!(pieces(&arm((0, MOST as i64 * QUARTER - 1)), &all()).is_some());
        for (times, filter) in [
            ((0, MOST as i64 * QUARTER), all()),
            ((i64::MIN, i64::MAX), all()),
            ((0, day), all().is(EventColumn::Sensor, "a")),
            ((0, day), all().after(1)),
            ((0, day), all().before(9)),
        ] {
            assert_eq!(pieces(&arm(times), &filter), None, "{times:?} {filter:?}");
        }
        assert!(pieces(&arm((i64::MIN, i64::MAX)), &all().and(Test::Times(5, 9))).is_some());
    }

    #[test]
    fn a_segment_that_would_keep_too_many_quarters_forgets_those_it_had() {
        let quarters = Quarters::new(&Arc::default());
        quarters.keep((0..MOST as i64).map(|quarter| (quarter, 1)).collect());
        assert_eq!(quarters.known(0..1), [Some(1)]);
        quarters.keep(vec![(-1, 7)]);
        assert_eq!(quarters.known(-1..1), [Some(7), None]);
        quarters.keep((0..2 * MOST as i64).map(|quarter| (quarter, 1)).collect());
        assert!(quarters.rows.lock().unwrap().len() <= MOST);
    }
}
