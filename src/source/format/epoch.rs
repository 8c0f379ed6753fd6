//! Reads a JSON number as a moment, digit by digit: never through a float, so that no nanosecond is invented.
//!
//! [`Timestamp::parse_seconds`] reads plain decimals; here are also exponents (`1.5219e9`) and other units than the
//! second. Digits below the nanosecond are cut.

use crate::timestamp::Timestamp;

/// A JSON number taken apart.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i32,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds = 9,
    Millis = 6,
    Micros = 3,
    Nanos = 0,
}

/// Reads seconds since the epoch. Returns `None` for what is no number, and out of the range of [`Timestamp`].
pub(super) fn seconds(json: &str) -> Option<Timestamp> {
    in_unit(json, Unit::Seconds)
}

/// Reads a number of units since the epoch; `None` as in [`seconds`].
pub(super) fn in_unit(json: &str, unit: Unit) -> Option<Timestamp> {
    Decimal::read(json)?.moment(unit)
}

/// Reads seconds, milliseconds, microseconds or nanoseconds since the epoch: whichever puts the number between March
/// 1973 and the end of [`Timestamp`]'s range.
///
/// In that span the four units have 9 to 10, 12 to 13, 15 to 16 and 18 to 19 digits before the point, so no number
/// fits two. Returns `None` for any other number: it is more likely a duration or a counter than a moment of 1970.
pub(super) fn any_unit(json: &str) -> Option<Timestamp> {
    let number = Decimal::read(json)?;
    if number.negative {
        return None;
    }
    match number.digits_before_point() {
        9..=10 => number.moment(Unit::Seconds),
        12..=13 => number.moment(Unit::Millis),
        15..=16 => number.moment(Unit::Micros),
        18..=19 => number.moment(Unit::Nanos),
        _ => None,
    }
}

impl<'a> Decimal<'a> {
    fn read(json: &'a str) -> Option<Self> {
        let (negative, number) = match json.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, json),
        };
        let (mantissa, exponent) = match number.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().ok()?),
            None => (number, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        (is_number(whole) && is_number(fraction)).then_some(Self { negative, whole, fraction, exponent })
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }

    /// Returns how many digits the number has before its point, without leading zeros.
    fn digits_before_point(&self) -> i64 {
        let leading_zeros = self.digits().take_while(|digit| *digit == b'0').count();
        self.whole.len() as i64 + i64::from(self.exponent) - leading_zeros as i64
    }

    /// Returns so many units as nanoseconds: the number times ten to the power of `unit`.
    fn moment(&self, unit: Unit) -> Option<Timestamp> {
        let mut wanted = self.whole.len() as i64 + i64::from(self.exponent) + unit as i64;
        let mut nanos: i64 = 0;
        let append = |nanos: i64, digit: u8| {
            let digit = i64::from(digit - b'0');
            nanos.checked_mul(10)?.checked_add(if self.negative { -digit } else { digit })
        };
        for digit in self.digits() {
            if wanted <= 0 {
                break;
            }
            nanos = append(nanos, digit)?;
            wanted -= 1;
        }
        // Ends after 19 rounds at most, also for an exponent of two thousand millions: zero stays zero.
        while wanted > 0 && nanos != 0 {
            nanos = append(nanos, b'0')?;
            wanted -= 1;
        }
        Some(Timestamp::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_with_and_without_exponent() {
        let nanos = |json| seconds(json).map(Timestamp::as_nanos);
        assert_eq!(nanos("1521911721.255387"), Some(1_521_911_721_255_387_000));
        assert_eq!(nanos("1.521911721255387E+9"), Some(1_521_911_721_255_387_000));
        assert_eq!(nanos("1.5219e9"), Some(1_521_900_000_000_000_000));
        assert_eq!(nanos("15219117212553870009e-10"), Some(1_521_911_721_255_387_000));
        assert_eq!(nanos("-0.5"), Some(-500_000_000));
        assert_eq!(nanos("0.0000000019"), Some(1));
        assert_eq!((nanos("0"), nanos("0e2000000000"), nanos("7e-2000000000")), (Some(0), Some(0), Some(0)));
        assert_eq!(nanos("-9223372036.854775808"), Some(i64::MIN));
        for bad in
            ["", "1.", ".5", "1e", "1ee2", "1e2000000000", "9e99999999999", "9223372036.854775808", "\"1\"", "null"]
        {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_unit_follows_from_the_magnitude() {
        let same = ["1521911721", "1521911721000", "1521911721000.000", "1521911721000000", "1521911721000000000"];
        for json in same.into_iter().chain(["1.521911721e9", "1521911721e3", "0001521911721"]) {
            assert_eq!(any_unit(json), seconds("1521911721"), "{json}");
        }
        assert_eq!(any_unit("1521911721255.387001").unwrap().as_nanos(), 1_521_911_721_255_387_001);
        assert_eq!(any_unit("1521911721255387001").unwrap().as_nanos(), 1_521_911_721_255_387_001);
        for bad in ["0", "0.25", "12", "15219117", "15219117210", "-1521911721", "9999999999", "15219117210000000000"] {
            assert_eq!(any_unit(bad), None, "{bad}");
        }
    }

    #[test]
    fn plain_decimals_read_as_the_timestamp_reads_them() {
        proptest::proptest!(|(secs in -9_000_000_000i64..9_000_000_000, fraction in "[0-9]{1,12}")| {
            let text = format!("{secs}.{fraction}");
            proptest::prop_assert_eq!(seconds(&text), Timestamp::parse_seconds(&text));
        });
    }
}
