//! Which segments a query has to look into, in which order, and with which conditions. Pure.
//!
//! A closed segment's ids and times lie within what the catalogue says, whatever else is true of it; where it says
//! nothing (the open segment), anything may be there. Segments are disjoint in ids, but not in times.

use super::sql::Sql;
use crate::repository::{Column, Direction, Filter, Sort};

/// A segment in sight, as queries see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arm {
    pub(super) table: String,
    /// First and last, as far as they are known: else the first and last there are.
    pub(super) times: (i64, i64),
    pub(super) ids: (i64, i64),
    pub(super) is_indexed: bool,
}

impl Arm {
    /// Returns whether some row could satisfy the filter's ranges.
    fn may_hold<C: Column>(&self, filter: &Filter<C>) -> bool {
        meet(self.times, filter.times()) && meet(self.ids, filter.ids())
    }

    /// Returns whether the earliest and the latest time are known.
    pub(super) fn has_times(&self) -> bool {
        self.times.0 != i64::MIN && self.times.1 != i64::MAX
    }
}

fn meet(a: (i64, i64), b: (i64, i64)) -> bool {
    a.0.max(b.0) <= a.1.min(b.1)
}

/// Leaves the segments that may hold rows that `filter` leaves.
pub(super) fn prune<C: Column>(arms: Vec<Arm>, filter: &Filter<C>) -> Vec<Arm> {
    arms.into_iter().filter(|arm| arm.may_hold(filter)).collect()
}

/// Orders segments so that the one which may hold the first row of a page comes first.
pub(super) fn order(arms: &mut [Arm], sort: Sort, direction: Direction) {
    let range = |arm: &Arm| if sort == Sort::Time { arm.times } else { arm.ids };
    match direction {
        Direction::NewestFirst => arms.sort_by_key(|arm| std::cmp::Reverse((range(arm).1, arm.ids.1))),
        Direction::OldestFirst => arms.sort_by_key(|arm| (range(arm).0, arm.ids.0)),
    }
}

/// Returns whether no row of `arm`, nor of those that [`order`] has put behind it, comes before the row with `worst`
/// (its time or its id, by what is sorted).
pub(super) fn is_behind(arm: &Arm, worst: i64, sort: Sort, direction: Direction) -> bool {
    let range = if sort == Sort::Time { arm.times } else { arm.ids };
    // An equal time may still come with an id that goes before.
    match direction {
        Direction::NewestFirst => range.1 < worst,
        Direction::OldestFirst => range.0 > worst,
    }
}

/// In which order rows are wanted: a condition on the other key must not lure SQLite to the other index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    Any,
    By(Sort),
}

/// Adds the conditions that rows of `arm` do not satisfy anyway. None at all lets SQLite count a whole index at once.
pub(super) fn conditions<C: Column>(mut sql: Sql, arm: &Arm, filter: &Filter<C>, walk: Walk) -> Sql {
    // The sign keeps SQLite from using an index for the column (https://www.sqlite.org/optoverview.html).
    let ts = if walk == Walk::By(Sort::Id) { "+ts" } else { "ts" };
    let id = if walk == Walk::By(Sort::Time) { "+id" } else { "id" };
    for (name, known, asked) in [(ts, arm.times, filter.times()), (id, arm.ids, filter.ids())] {
        if known.0 < asked.0 {
            sql = sql.and().own(name).own(" >= ").number(asked.0);
        }
        if known.1 > asked.1 {
            sql = sql.and().own(name).own(" <= ").number(asked.1);
        }
    }
    for (column, text) in filter.equal() {
        sql = sql.and().own(column.name()).own(" = ").text(text);
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::EventColumn;
    use crate::timestamp::Timestamp;

    fn arm(table: &str, times: (i64, i64), ids: (i64, i64)) -> Arm {
        Arm { table: table.into(), times, ids, is_indexed: true }
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
