//! Which rows are asked for: ranges of time and id, and tests of columns and fields, each of which may be negated. Pure data.
//!
//! A negated test leaves exactly the rows that the test itself leaves out, those with NULL among them: so the two parts
//! of a table always add up. `expression.rs` reads and writes filters as text.

use std::net::IpAddr;

use ipnet::IpNet;

use super::columns::{Column, ColumnKind};
use super::field::FieldPath;
use crate::timestamp::Timestamp;

/// What may be asked about a row. Of NULL nothing is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test<C> {
    /// The column has this text, byte for byte; a number has these digits.
    Is(C, String),
    /// The column is not NULL.
    Present(C),
    /// The column's address lies in the block. One of version 4 never lies in a block of version 6.
    Within(C, IpNet),
    /// The column's number lies between these, both within.
    Between(C, i64, i64),
    /// Source or destination address lies in the block.
    Peer(IpNet),
    /// Source or destination port lies between these, both within.
    Port(u16, u16),
    /// It happened between these moments, in nanoseconds since the Unix epoch, both within.
    Times(i64, i64),
    /// Its id lies between these, both within.
    Ids(i64, i64),
    /// The text stands somewhere in the row's prose ([`Column::PROSE`]); capital and small letters of ASCII are the same.
    Contains(String),
    /// This place in `fields` has the text: a string is compared after its escapes were read, a number, `true`, `false`
    /// and `null` as they are written; an object or a list has no text. Of a key that stands twice the first counts.
    Field(FieldPath, String),
}

/// A test, or its opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition<C> {
    /// What is asked.
    pub test: Test<C>,
    /// Whether rows are asked for of which that is not true.
    pub is_negated: bool,
}

/// Which rows are asked for. Every condition must hold; without any, every row is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Filter<C> {
    /// First and last, both within; none when the first is greater.
    times: (i64, i64),
    /// The same of ids.
    ids: (i64, i64),
    conditions: Vec<Condition<C>>,
}

impl<C> Default for Filter<C> {
    fn default() -> Self {
        let everything = (i64::MIN, i64::MAX);
        Self { times: everything, ids: everything, conditions: Vec::new() }
    }
}

impl<C: Column> Filter<C> {
    /// Asks for every row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out what happened before `ts`.
    pub fn since(self, ts: Timestamp) -> Self {
        self.and(Test::Times(ts.as_nanos(), i64::MAX))
    }

    /// Leaves out what happened at `ts` or later, so that windows can stand side by side.
    pub fn until(self, ts: Timestamp) -> Self {
        match ts.as_nanos().checked_sub(1) {
            Some(last) => self.and(Test::Times(i64::MIN, last)),
            None => self.and(Test::Times(i64::MAX, i64::MIN)),
        }
    }

    /// Leaves out rows up to the id `id`: what came in after a row that has been seen is left.
    pub fn after(mut self, id: i64) -> Self {
        self.ids.0 = self.ids.0.max(id.saturating_add(1));
        self
    }

    /// Leaves out rows from the id `id` on.
    pub fn before(mut self, id: i64) -> Self {
        self.ids.1 = self.ids.1.min(id.saturating_sub(1));
        self
    }

    /// Leaves out rows whose `column` is NULL or another text. An address may be written in any form, or as a block:
    /// `10.0.0.0/8`; a number as digits, or as a range: `1..1023`.
    pub fn is(self, column: C, text: impl Into<String>) -> Self {
        self.and(Test::of(column, text.into()))
    }

    /// Leaves out the rows that [`is`](Self::is) leaves.
    pub fn is_not(self, column: C, text: impl Into<String>) -> Self {
        self.and_not(Test::of(column, text.into()))
    }

    /// Leaves out rows in whose prose `text` does not stand.
    pub fn contains(self, text: impl Into<String>) -> Self {
        self.and(Test::Contains(text.into()))
    }

    /// Leaves out rows whose `fields` have nothing or another text at `path`.
    pub fn field(self, path: FieldPath, text: impl Into<String>) -> Self {
        self.and(Test::Field(path, text.into()))
    }

    /// Leaves out rows of which `test` is not true.
    pub fn and(mut self, test: Test<C>) -> Self {
        let narrow = |range: &mut (i64, i64), first: i64, last: i64| *range = (range.0.max(first), range.1.min(last));
        match test {
            Test::Times(first, last) => narrow(&mut self.times, first, last),
            Test::Ids(first, last) => narrow(&mut self.ids, first, last),
            test => self.conditions.push(Condition { test, is_negated: false }),
        }
        self
    }

    /// Leaves out rows of which `test` is true.
    pub fn and_not(mut self, test: Test<C>) -> Self {
        self.conditions.push(Condition { test, is_negated: true });
        self
    }

    /// Returns the first and the last moment, in nanoseconds since the Unix epoch, both within. Nothing is, when the
    /// first is later.
    pub fn times(&self) -> (i64, i64) {
        self.times
    }

    /// Returns the first and the last id, both within. Nothing is, when the first is greater.
    pub fn ids(&self) -> (i64, i64) {
        self.ids
    }

    /// Returns the same without the conditions on `fields`.
    #[cfg(feature = "mysql")]
    pub(crate) fn without_fields(mut self) -> Self {
        self.conditions.retain(|condition| !matches!(condition.test, Test::Field(..)));
        self
    }

    /// Returns all other conditions.
    pub fn conditions(&self) -> &[Condition<C>] {
        &self.conditions
    }
}

impl<C: Column> Test<C> {
    /// Returns the test that `column` has what `text` says, by the column's kind: see [`Filter::is`].
    pub fn of(column: C, text: String) -> Self {
        match column.kind() {
            ColumnKind::Text => Self::Is(column, text),
            ColumnKind::Address => match (text.parse::<IpAddr>(), text.parse::<IpNet>()) {
                (Ok(address), _) => Self::Is(column, address.to_string()),
                (_, Ok(block)) => Self::Within(column, block.trunc()),
                _ => Self::Is(column, text),
            },
            ColumnKind::Number => match range(&text) {
                Some((first, last)) => Self::Between(column, first, last),
                None => Self::Is(column, text),
            },
        }
    }
}

/// Reads `7` or `7..9`, both within.
pub(super) fn range(text: &str) -> Option<(i64, i64)> {
    let number = |text: &str| text.parse::<i64>().ok().filter(|_| !text.starts_with('+'));
    match text.split_once("..") {
        Some((first, last)) => Some((number(first)?, number(last)?)),
        None => number(text).map(|number| (number, number)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventColumn;
    use super::*;

    #[test]
    fn ranges_narrow_and_never_overflow() {
        let at = Timestamp::from_nanos;
        let filter = Filter::<EventColumn>::new().since(at(5)).since(at(3)).until(at(9)).until(at(12));
        assert_eq!(filter.times, (5, 8));
        let nothing = Filter::<EventColumn>::new().until(at(i64::MIN));
        assert!(nothing.times.0 > nothing.times.1);
        let ids = Filter::<EventColumn>::new().after(i64::MAX).before(i64::MIN).ids;
        assert_eq!(ids, (i64::MAX, i64::MIN));
    }

    #[test]
    fn a_text_is_taken_by_the_kind_of_its_column() {
        use EventColumn::{Sensor, SrcIp, SrcPort};
        let of = |column, text: &str| Test::of(column, text.into());
        assert_eq!(of(SrcIp, "2001:DB8:0::1"), Test::Is(SrcIp, "2001:db8::1".into()));
        assert_eq!(of(Sensor, "2001:DB8:0::1"), Test::Is(Sensor, "2001:DB8:0::1".into()));
        assert_eq!(of(SrcIp, "10.1.2.3/8"), Test::Within(SrcIp, "10.0.0.0/8".parse().unwrap()));
        assert_eq!(of(SrcIp, "10.1"), Test::Is(SrcIp, "10.1".into()));
        assert_eq!(of(SrcPort, "22"), Test::Between(SrcPort, 22, 22));
        assert_eq!(of(SrcPort, "1..9"), Test::Between(SrcPort, 1, 9));
        for none in ["", "x", "+1", "1..", "..", "1..2..3", "99999999999999999999"] {
            assert_eq!(of(SrcPort, none), Test::Is(SrcPort, none.into()));
        }
    }
}
