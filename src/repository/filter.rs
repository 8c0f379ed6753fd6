//! Which rows are asked for: ranges of time and id, and columns that equal a text. Pure data.

use std::net::IpAddr;

use super::columns::Column;
use crate::timestamp::Timestamp;

/// Which rows are asked for. Every condition must hold; without any, every row is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Filter<C> {
    /// First and last, both within; none when the first is greater.
    times: (i64, i64),
    /// The same of ids.
    ids: (i64, i64),
    equal: Vec<(C, String)>,
}

impl<C> Default for Filter<C> {
    fn default() -> Self {
        let everything = (i64::MIN, i64::MAX);
        Self { times: everything, ids: everything, equal: Vec::new() }
    }
}

impl<C: Column> Filter<C> {
    /// Asks for every row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out what happened before `ts`.
    pub fn since(mut self, ts: Timestamp) -> Self {
        self.times.0 = self.times.0.max(ts.as_nanos());
        self
    }

    /// Leaves out what happened at `ts` or later, so that windows can stand side by side.
    pub fn until(mut self, ts: Timestamp) -> Self {
        match ts.as_nanos().checked_sub(1) {
            Some(last) => self.times.1 = self.times.1.min(last),
            None => self.times = (i64::MAX, i64::MIN),
        }
        self
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

    /// Leaves out rows whose `column` is NULL or another text. An address may be written in any form: it is compared in
    /// the form that is stored (RFC 5952).
    pub fn is(mut self, column: C, text: impl Into<String>) -> Self {
        let text = text.into();
        let address = column.is_address().then(|| text.parse::<IpAddr>().ok()).flatten();
        self.equal.push((column, address.map_or(text, |address| address.to_string())));
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

    /// Returns which columns must have which text.
    pub fn equal(&self) -> &[(C, String)] {
        &self.equal
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
    fn an_address_is_compared_in_the_form_that_is_stored() {
        let filter = Filter::new().is(EventColumn::SrcIp, "2001:DB8:0::1").is(EventColumn::Sensor, "2001:DB8:0::1");
        let texts: Vec<_> = filter.equal.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["2001:db8::1", "2001:DB8:0::1"]);
    }
}
