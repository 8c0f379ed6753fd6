//! The pieces of time that a histogram counts in: as long as one says, or as the calendar of a place has them. Pure.
//!
//! A piece begins where [`Buckets::start`] says and ends where the next begins. A database counts either piece by piece
//! between those moments, or by [`Buckets::unit`], a length that divides every piece and the Unix epoch alike, and the
//! counts of units are added up here. So no database needs to know a time zone: those that a server knows depend on
//! who installed it, and SQLite knows none.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::error::{Error, ErrorKind};
use crate::timestamp::Timestamp;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Since 1980 every day of every zone has begun at a quarter of an hour of UTC (tested with jiff's tables).
const QUARTERS_SINCE: i64 = 315_532_800 * SECOND;
const QUARTER: i64 = 900 * SECOND;

/// Pieces of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    length: Length,
    zone: TimeZone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Nanos(i64),
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Buckets {
    /// Returns pieces of this length, counted from the Unix epoch, UTC. A length of nothing is taken as one nanosecond.
    pub fn every(length: Duration) -> Self {
        let nanos = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX).max(1);
        Self { length: Length::Nanos(nanos), zone: TimeZone::UTC }
    }

    /// Returns days, from midnight to midnight.
    pub fn days() -> Self {
        Self { length: Length::Day, zone: TimeZone::UTC }
    }

    /// Returns weeks, which begin on Monday.
    pub fn weeks() -> Self {
        Self { length: Length::Week, zone: TimeZone::UTC }
    }

    /// Returns months.
    pub fn months() -> Self {
        Self { length: Length::Month, zone: TimeZone::UTC }
    }

    /// Returns quarters of years.
    pub fn quarters() -> Self {
        Self { length: Length::Quarter, zone: TimeZone::UTC }
    }

    /// Returns years.
    pub fn years() -> Self {
        Self { length: Length::Year, zone: TimeZone::UTC }
    }

    /// Returns the same by the clocks of a zone of the IANA database, like `Europe/Berlin`. Pieces shorter than a day are
    /// then counted from each midnight there, by elapsed time; the last of a day is cut. A day has 23 or 25 hours where the
    /// clocks are set.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a zone that is not known, and for a length that is no part of a day: a piece of
    /// five days has no place in a calendar.
    pub fn in_zone(self, name: &str) -> Result<Self, Error> {
        let unknown = |error: jiff::Error| {
            let why = "no such time zone is known; write one like `Europe/Berlin` or `UTC`";
            Error::new(ErrorKind::Configuration, why).because(error)
        };
        let zone = TimeZone::get(name).map_err(unknown)?;
        if let Length::Nanos(nanos) = self.length
            && (nanos % SECOND != 0 || nanos > DAY)
            && zone != TimeZone::UTC
        {
            let why =
                "in a time zone a bucket has whole seconds, at most a day, or is a day, week, month, quarter or year";
            return Err(Error::new(ErrorKind::Configuration, why));
        }
        Ok(Self { zone, ..self })
    }

    /// Returns the first moment of the piece that `ts` falls into. Of a piece that reaches beyond what a [`Timestamp`] can
    /// say, the first moment there is.
    pub fn start(&self, ts: Timestamp) -> Timestamp {
        Timestamp::from_nanos(self.start_nanos(ts.as_nanos()))
    }

    /// Returns the first moment of the piece behind the one that `ts` falls into, if there is one.
    pub fn next(&self, ts: Timestamp) -> Option<Timestamp> {
        self.next_nanos(ts.as_nanos()).map(Timestamp::from_nanos)
    }

    pub(crate) fn start_nanos(&self, ts: i64) -> i64 {
        i64::try_from(self.piece(ts).0).unwrap_or(i64::MIN)
    }

    pub(crate) fn next_nanos(&self, ts: i64) -> Option<i64> {
        i64::try_from(self.piece(ts).1).ok()
    }

    /// Returns where the piece begins and where the next one does.
    fn piece(&self, ts: i64) -> (i128, i128) {
        if let Some(width) = self.width() {
            let number = i128::from(ts.div_euclid(width));
            return (number * i128::from(width), (number + 1) * i128::from(width));
        }
        let (start, end) = self.dates(ts);
        let Length::Nanos(width) = self.length else { return (start, end) };
        let elapsed = i128::from(ts) - start;
        let start = start + elapsed - elapsed % i128::from(width);
        (start, end.min(start + i128::from(width)))
    }

    /// Returns the first moment of the day, week ... that `ts` falls into, and the one behind it.
    fn dates(&self, ts: i64) -> (i128, i128) {
        let ts = i128::from(ts);
        let local = jiff::Timestamp::from_nanosecond(ts).unwrap_or_default().to_zoned(self.zone.clone());
        let first = self.first(local.date());
        let next = self.after(first);
        let end = self.midnight(next);
        // Where clocks go back over midnight the old day comes again for an hour: it is the new one's.
        if end <= ts { (end, self.midnight(self.after(next))) } else { (self.midnight(first), end) }
    }

    /// Returns the first moment of a day.
    fn midnight(&self, date: Date) -> i128 {
        let midnight = date.to_zoned(self.zone.clone()).and_then(|midnight| midnight.start_of_day());
        // Dates beyond what jiff can say are far beyond what a `Timestamp` can.
        midnight.map_or(i128::MAX, |midnight| midnight.timestamp().as_nanosecond())
    }

    fn first(&self, date: Date) -> Date {
        match self.length {
            Length::Nanos(_) | Length::Day => date,
            Length::Week => date.saturating_sub(Span::new().days(date.weekday().to_monday_zero_offset())),
            Length::Month => date.first_of_month(),
            Length::Quarter => {
                date.first_of_month().saturating_sub(Span::new().months(i32::from((date.month() - 1) % 3)))
            }
            Length::Year => date.first_of_year(),
        }
    }

    fn after(&self, first: Date) -> Date {
        first.saturating_add(match self.length {
            Length::Nanos(_) | Length::Day => Span::new().days(1),
            Length::Week => Span::new().days(7),
            Length::Month => Span::new().months(1),
            Length::Quarter => Span::new().months(3),
            Length::Year => Span::new().years(1),
        })
    }

    /// Returns a length, counted from the Unix epoch, that divides every piece since `first`: rows that were counted by it
    /// can be added up to pieces.
    pub fn unit(&self, first: Timestamp) -> Duration {
        Duration::from_nanos(self.unit_nanos(first.as_nanos()).unsigned_abs())
    }

    pub(crate) fn unit_nanos(&self, first: i64) -> i64 {
        if let Some(width) = self.width() {
            return width;
        }
        let clocks = if first >= QUARTERS_SINCE { QUARTER } else { SECOND };
        match self.length {
            Length::Nanos(width) => greatest_divisor(width, clocks),
            _ => clocks,
        }
    }

    /// Returns the length of pieces that need no calendar.
    fn width(&self) -> Option<i64> {
        match self.length {
            Length::Nanos(width) if self.zone == TimeZone::UTC => Some(width),
            Length::Day if self.zone == TimeZone::UTC => Some(DAY),
            _ => None,
        }
    }
}

fn greatest_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

impl From<Duration> for Buckets {
    fn from(length: Duration) -> Self {
        Self::every(length)
    }
}

impl FromStr for Buckets {
    type Err = String;

    /// Reads `90s`, `5m`, `1h`, `day`, `week`, `month`, `quarter` or `year`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "day" => Ok(Self::days()),
            "week" => Ok(Self::weeks()),
            "month" => Ok(Self::months()),
            "quarter" => Ok(Self::quarters()),
            "year" => Ok(Self::years()),
            _ => {
                let unknown =
                    || format!("`{text}` is no bucket; write `5m`, `1h`, `day`, `week`, `month`, `quarter` or `year`");
                crate::config::parse_duration(text).map(Self::every).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Length::Nanos(nanos) => write!(f, "{:?}", Duration::from_nanos(nanos.unsigned_abs()))?,
            Length::Day => f.write_str("day")?,
            Length::Week => f.write_str("week")?,
            Length::Month => f.write_str("month")?,
            Length::Quarter => f.write_str("quarter")?,
            Length::Year => f.write_str("year")?,
        }
        write!(f, " {}", self.zone.iana_name().unwrap_or("UTC"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn shown(buckets: &Buckets, ts: &str) -> String {
        format!("{} {}", buckets.start(at(ts)), buckets.next(at(ts)).unwrap()).replace(":00.000000000", "")
    }

    #[test]
    fn a_calendar_is_that_of_its_zone() {
        let berlin = |buckets: Buckets| buckets.in_zone("Europe/Berlin").unwrap();
        for (buckets, ts, expected) in [
            (Buckets::days(), "2026-11-20T08:15:00Z", "2026-11-20T00:00Z 2026-11-21T00:00Z"),
            (berlin(Buckets::days()), "2026-11-20T23:15:00Z", "2026-11-20T23:00Z 2026-11-21T23:00Z"),
            // 23 hours, and 25.
            (berlin(Buckets::days()), "2026-03-29T12:00:00Z", "2026-03-28T23:00Z 2026-03-29T22:00Z"),
            (berlin(Buckets::days()), "2026-10-25T12:00:00Z", "2026-10-24T22:00Z 2026-10-25T23:00Z"),
            (berlin(Buckets::weeks()), "2026-10-25T12:00:00Z", "2026-10-18T22:00Z 2026-10-25T23:00Z"),
            (berlin(Buckets::months()), "2026-03-31T22:00:00Z", "2026-03-31T22:00Z 2026-04-30T22:00Z"),
            (berlin(Buckets::quarters()), "2026-11-20T08:15:00Z", "2026-09-30T22:00Z 2026-12-31T23:00Z"),
            (berlin(Buckets::years()), "2026-11-20T08:15:00Z", "2025-12-31T23:00Z 2026-12-31T23:00Z"),
            (
                berlin(Buckets::every(Duration::from_secs(6 * 3600))),
                "2026-03-29T21:30:00Z",
                "2026-03-29T17:00Z 2026-03-29T22:00Z",
            ),
            (
                Buckets::every(Duration::from_secs(3600)).in_zone("Asia/Kolkata").unwrap(),
                "2026-11-20T08:15:00Z",
                "2026-11-20T07:30Z 2026-11-20T08:30Z",
            ),
            // No 30 December 2011 in Samoa.
            (
                Buckets::days().in_zone("Pacific/Apia").unwrap(),
                "2011-12-30T09:59:00Z",
                "2011-12-29T10:00Z 2011-12-30T10:00Z",
            ),
        ] {
            assert_eq!(shown(&buckets, ts), expected, "{buckets} {ts}");
        }
        assert!(Buckets::days().in_zone("Europe/Nowhere").is_err());
        assert!(Buckets::every(Duration::from_millis(1)).in_zone("Europe/Berlin").is_err());
        assert!(Buckets::every(Duration::from_secs(5 * 86_400)).in_zone("Europe/Berlin").is_err());
        assert_eq!("1h".parse(), Ok(Buckets::every(Duration::from_secs(3600))));
        assert!("fortnight".parse::<Buckets>().is_err());
    }

    /// On this counting by units depends; see [`Buckets::unit`].
    #[test]
    fn days_begin_at_quarters_of_an_hour_since_1980_whatever_is_done_to_clocks() {
        let since = jiff::Timestamp::from_nanosecond(i128::from(QUARTERS_SINCE)).unwrap();
        let mut seen = 0;
        for name in jiff::tz::db().available() {
            let Ok(days) = Buckets::days().in_zone(name.as_str()) else { continue };
            for change in days.zone.following(since).take(300) {
                let Ok(change) = i64::try_from(change.timestamp().as_nanosecond()) else { break };
                for ts in [change - DAY, change - 1, change, change + QUARTER * 3, change + DAY] {
                    let (start, next) = days.piece(ts);
                    assert_eq!((start % i128::from(QUARTER), next % i128::from(QUARTER)), (0, 0), "{name} {ts}");
                    assert!(start <= i128::from(ts) && i128::from(ts) < next, "{name} {ts}");
                    assert!(
                        start < i128::from(QUARTERS_SINCE) || days.piece(start as i64 - 1).1 == start,
                        "{name} {ts}"
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 1000);
    }

    proptest! {
        #[test]
        fn pieces_lie_side_by_side_and_units_lie_within_them(
            ts in prop_oneof![any::<i64>(), -400..400i64].prop_map(|ts| if ts.abs() < 400 { 1_774_746_000 * SECOND + ts * QUARTER } else { ts }),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Africa/Monrovia", "Australia/Lord_Howe", "Antarctica/Troll"]),
            length in prop::sample::select(vec!["1s", "7s", "5m", "1h", "6h", "24h", "day", "week", "month", "quarter", "year"]),
        ) {
            let buckets = length.parse::<Buckets>().unwrap().in_zone(zone).unwrap();
            let start = buckets.start_nanos(ts);
            prop_assert!(start <= ts);
            if start != i64::MIN {
                prop_assert_eq!(buckets.start_nanos(start), start);
                prop_assert_eq!(buckets.next_nanos(start - 1), Some(start));
            }
            if let Some(next) = buckets.next_nanos(ts) {
                prop_assert!(ts < next);
                prop_assert_eq!(buckets.start_nanos(next), next);
                prop_assert_eq!(buckets.start_nanos(next - 1), start);
            }
            let unit = buckets.unit_nanos(ts);
            if let Some(first) = ts.div_euclid(unit).checked_mul(unit) {
                prop_assert_eq!(buckets.start_nanos(first), start);
            }
        }
    }
}
