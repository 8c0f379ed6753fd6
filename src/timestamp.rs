//! When something happened: nanoseconds since the Unix epoch, UTC, in an `i64`.
//!
//! One integer is exact for packet captures, equal across backends and indexable; it reaches from 1677 to 2262.
//! Every row kind carries one. Text forms are read and written here and nowhere else.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment, as nanoseconds since 1970-01-01T00:00:00Z.
///
/// Range: 1677-09-21 to 2262-04-11. `Display` writes RFC 3339 with nine digits: `2026-11-20T08:15:00.000000001Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the moment `nanos` nanoseconds after (or, negative, before) the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns the moment `secs` seconds and `nanos` nanoseconds after the epoch, or `None` out of range.
    pub fn from_parts(secs: i64, nanos: u32) -> Option<Self> {
        secs.checked_mul(1_000_000_000)?.checked_add(i64::from(nanos)).map(Self)
    }

    /// Reads the system clock.
    pub fn now() -> Self {
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
        };
        Self(nanos)
    }

    /// Returns nanoseconds since the Unix epoch, as stored in every `ts` column.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Reads ISO 8601 text: `2026-11-20T08:15:00.5Z`, any offset (`+02:00`, `+0200`), a space instead of `T`.
    ///
    /// Without an offset the time is taken as UTC (Suricata and Zeek can be set to write none). Returns `None` for
    /// anything else, for text outside the range, and for a calendar day that does not exist.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            Some(text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        })?;
        i64::try_from(moment.as_nanosecond()).ok().map(Self)
    }

    /// Reads decimal seconds since the epoch, exactly (never through a float): `1521911721.255387`.
    ///
    /// More than nine digits after the point are cut. Returns `None` for anything else and out of range.
    pub fn parse_seconds(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = fraction.get(..9).unwrap_or(fraction);
        if whole.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let secs: i64 = whole.parse().ok()?;
        let nanos = format!("{digits:0<9}").parse::<i64>().ok()?;
        let nanos = if whole.starts_with('-') { -nanos } else { nanos };
        secs.checked_mul(1_000_000_000)?.checked_add(nanos).map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(moment) => write!(f, "{moment:.9}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_and_without_offset_is_read_exactly() {
        let nanos = |text| Timestamp::parse(text).map(Timestamp::as_nanos);
        assert_eq!(nanos("1970-01-01T00:00:01Z"), Some(1_000_000_000));
        assert_eq!(nanos("1970-01-01T02:00:00.000000001+02:00"), Some(1));
        assert_eq!(nanos("2019-01-02T03:50:11.315110"), Some(1_546_401_011_315_110_000));
        assert_eq!(nanos("2019-01-02T03:50:11.315110+0000"), Some(1_546_401_011_315_110_000));
        assert_eq!(nanos("2019-01-02 03:50:11.315110"), Some(1_546_401_011_315_110_000));
        for bad in ["", "yesterday", "2019-02-30T00:00:00Z", "9999-01-01T00:00:00Z", "2019"] {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }

    #[test]
    fn decimal_seconds_never_pass_through_a_float() {
        let nanos = |text| Timestamp::parse_seconds(text).map(Timestamp::as_nanos);
        assert_eq!(nanos("1521911721.255387"), Some(1_521_911_721_255_387_000));
        assert_eq!(nanos("1521911721.123456789"), Some(1_521_911_721_123_456_789));
        assert_eq!(nanos("0.0000000019"), Some(1));
        assert_eq!(nanos("-1.5"), Some(-1_500_000_000));
        assert_eq!(nanos("7"), Some(7_000_000_000));
        for bad in ["", ".5", "1.-5", "1e9", "99999999999999999999"] {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }

    #[test]
    fn display_has_nine_digits() {
        assert_eq!(Timestamp::from_nanos(1).to_string(), "1970-01-01T00:00:00.000000001Z");
    }
}
