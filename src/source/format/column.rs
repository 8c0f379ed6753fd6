//! Which JSON value fits which column. Every function takes one value as it stood in the line and returns what the
//! column would hold, or `None` when it would not hold all of it; then the value stays in `fields`.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::timestamp::Timestamp;

/// A string that is not empty, decoded. A lone surrogate (`"\ud800"`) has no decoded form and does not fit.
pub(super) fn text(json: &str) -> Option<Cow<'_, str>> {
    let quoted = json.strip_prefix('"')?.strip_suffix('"')?;
    if quoted.is_empty() {
        return None;
    }
    if !quoted.contains('\\') {
        return Some(Cow::Borrowed(quoted));
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// A string as in [`text`], or a number in the digits in which it was written.
pub(super) fn scalar(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(json)),
        _ => text(json),
    }
}

/// A string in lower case: for protocol names, which sensors write in either.
pub(super) fn lower_case(json: &str) -> Option<Cow<'_, str>> {
    let text = text(json)?;
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(text.to_ascii_lowercase()));
    }
    Some(text)
}

/// A string that holds an IPv4 or IPv6 address. Placeholders (`""`, `"-"`, `"Unknown"`), names and addresses with a
/// zone do not fit, so that the column stays NULL.
pub(super) fn address(json: &str) -> Option<IpAddr> {
    text(json)?.parse().ok()
}

/// A whole number from 0 to 65535, plain or as a string.
pub(super) fn port(json: &str) -> Option<u16> {
    let digits = scalar(json)?;
    let canonical = digits == "0" || digits.starts_with(|first: char| ('1'..='9').contains(&first));
    if !canonical { None } else { digits.parse().ok() }
}

/// A string with a time in ISO 8601 (see [`Timestamp::parse`]).
pub(super) fn iso_time(json: &str) -> Option<Timestamp> {
    Timestamp::parse(&text(json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded() {
        assert_eq!(text(r#""a\"b\u00e9\u0000\ud83d\ude00\/""#).unwrap(), "a\"bé\0😀/");
        assert!(matches!(text(r#""plain""#), Some(Cow::Borrowed("plain"))));
        for unfit in [r#""""#, "1", "null", "{}", r#""\ud800""#, r#""\udc00\ud800""#] {
            assert_eq!(text(unfit), None, "{unfit}");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(scalar("123456789012345678901234567890").unwrap(), "123456789012345678901234567890");
        assert_eq!(scalar("-1.50E2").unwrap(), "-1.50E2");
        assert_eq!(scalar("true"), None);
    }

    #[test]
    fn only_addresses_are_addresses() {
        assert_eq!(address(r#""2001:DB8::0:1""#).unwrap().to_string(), "2001:db8::1");
        for unfit in
            [r#""""#, r#""-""#, r#""Unknown""#, r#""192.0.2.1:80""#, r#""fe80::1%eth0""#, "1", r#""192.0.2.256""#]
        {
            assert_eq!(address(unfit), None, "{unfit}");
        }
    }

    #[test]
    fn only_ports_are_ports() {
        assert_eq!((port("0"), port("65535"), port(r#""22""#)), (Some(0), Some(65535), Some(22)));
        for unfit in ["65536", "-1", "22.0", "2e1", r#""022""#, r#""+22""#, r#""""#, "null", "true"] {
            assert_eq!(port(unfit), None, "{unfit}");
        }
    }
}
