//! Which segments a query has to look into, and in which order. Pure.
//!
//! An arm is a table with what is known of its rows beforehand: a segment of SQLite, or a server's whole table. A closed
//! segment's ids and times lie within what the catalogue says, whatever else is true of it; where it says
//! nothing (the open segment, a server's table), anything may be there. Segments are disjoint in ids, but not in times.

use super::quarters::Kept;
use crate::repository::{Column, Direction, Filter, Sort};

/// A table with rows of one kind, as queries see it.
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    pub(crate) table: String,
    /// First and last, as far as they are known: else the first and last there are.
    pub(crate) times: (i64, i64),
    pub(crate) ids: (i64, i64),
    pub(crate) is_indexed: bool,
    /// Of conditions of the filter, by number, the rows that satisfy them without the database being able to tell.
    pub(crate) known: Vec<(usize, Vec<i64>)>,
    /// Of rows that do not change any more: how many there are of each time, as far as they have been counted.
    pub(crate) quarters: Option<Kept>,
}

impl Arm {
    /// Returns whether some row could satisfy the filter's ranges.
    fn may_hold<C: Column>(&self, filter: &Filter<C>) -> bool {
        meet(self.times, filter.times()) && meet(self.ids, filter.ids())
    }

    /// Returns a table of which nothing is known.
    #[cfg_attr(not(feature = "mysql"), allow(dead_code))]
    pub(crate) fn whole(table: &str) -> Self {
        let anything = (i64::MIN, i64::MAX);
        let table = table.into();
        Self { table, times: anything, ids: anything, is_indexed: true, known: Vec::new(), quarters: None }
    }
}

fn meet(a: (i64, i64), b: (i64, i64)) -> bool {
    a.0.max(b.0) <= a.1.min(b.1)
}

/// Leaves the segments that may hold rows that `filter` leaves.
pub(crate) fn prune<C: Column>(arms: Vec<Arm>, filter: &Filter<C>) -> Vec<Arm> {
    arms.into_iter().filter(|arm| arm.may_hold(filter)).collect()
}

/// Orders segments so that the one which may hold the first row of a page comes first.
pub(crate) fn order(arms: &mut [Arm], sort: Sort, direction: Direction) {
    let range = |arm: &Arm| if sort == Sort::Time { arm.times } else { arm.ids };
    match direction {
        Direction::NewestFirst => arms.sort_by_key(|arm| std::cmp::Reverse((range(arm).1, arm.ids.1))),
        Direction::OldestFirst => arms.sort_by_key(|arm| (range(arm).0, arm.ids.0)),
    }
}

/// Returns whether no row of `arm`, nor of those that [`order`] has put behind it, comes before the row with `worst`
/// (its time or its id, by what is sorted).
pub(crate) fn is_behind(arm: &Arm, worst: i64, sort: Sort, direction: Direction) -> bool {
    let range = if sort == Sort::Time { arm.times } else { arm.ids };
    // An equal time may still come with an id that goes before.
    match direction {
        Direction::NewestFirst => range.1 < worst,
        Direction::OldestFirst => range.0 > worst,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::EventColumn;
    use crate::timestamp::Timestamp;

    fn arm(table: &str, times: (i64, i64), ids: (i64, i64)) -> Arm {
        Arm { times, ids, ..Arm::whole(table) }
    }

    fn three() -> Vec<Arm> {
        let open = (i64::MIN, i64::MAX);
        vec![arm("a", (10, 50), (1, 5)), arm("b", (0, 20), (6, 9)), arm("open", open, (10, i64::MAX))]
    }

    fn names(arms: &[Arm]) -> Vec<&str> {
        arms.iter().map(|arm| arm.table.as_str()).collect()
    }

    #[test]
    fn only_segments_that_the_ranges_cannot_touch_are_left_out() {
        let at = Timestamp::from_nanos;
        let filter = Filter::<EventColumn>::new;
        assert_eq!(names(&prune(three(), &filter())), ["a", "b", "open"]);
        assert_eq!(names(&prune(three(), &filter().since(at(20)))), ["a", "b", "open"]);
        assert_eq!(names(&prune(three(), &filter().since(at(21)))), ["a", "open"]);
        assert_eq!(names(&prune(three(), &filter().until(at(10)))), ["b", "open"]);
        assert_eq!(names(&prune(three(), &filter().after(5))), ["b", "open"]);
        assert_eq!(names(&prune(three(), &filter().before(10))), ["a", "b"]);
        assert!(prune(three(), &filter().since(at(5)).until(at(5))).is_empty());
    }

    #[test]
    fn a_page_begins_where_its_first_row_may_be_and_ends_where_none_can_be() {
        use Direction::{NewestFirst, OldestFirst};
        use Sort::{Id, Time};
        let ordered = |sort, direction| {
            let mut arms = three();
            order(&mut arms, sort, direction);
            arms
        };
        assert_eq!(names(&ordered(Time, NewestFirst)), ["open", "a", "b"]);
        assert_eq!(names(&ordered(Time, OldestFirst)), ["open", "b", "a"]);
        assert_eq!(names(&ordered(Id, NewestFirst)), ["open", "b", "a"]);
        assert_eq!(names(&ordered(Id, OldestFirst)), ["a", "b", "open"]);
        let [a, ..] = &three()[..] else { panic!() };
        assert!(is_behind(a, 51, Time, NewestFirst) && !is_behind(a, 50, Time, NewestFirst));
        assert!(is_behind(a, 9, Time, OldestFirst) && !is_behind(a, 10, Time, OldestFirst));
    }
}
