//! The reasons for which a log line is [`Malformed`](crate::source::Malformed). A small fixed set: metric labels.

/// The line is not UTF-8; the detail names the byte.
pub const INVALID_UTF8: &str = "invalid_utf8";
/// The line is not JSON (or is blank, or was cut off); the detail names the byte.
pub const BAD_JSON: &str = "bad_json";
/// The line is JSON, but an array, a string, a number, a boolean or null.
pub const NOT_AN_OBJECT: &str = "not_an_object";
/// What would go to `fields` is nested more than 128 levels deep (see [`Event::fields`](crate::Event::fields)).
pub const TOO_DEEP: &str = "too_deep";
/// The line has more than 1 GiB.
pub const TOO_LARGE: &str = "too_large";
/// The record has no time, and its format always has one.
pub const NO_TIMESTAMP: &str = "no_timestamp";
/// The record's time cannot be read; the detail quotes it.
pub const BAD_TIMESTAMP: &str = "bad_timestamp";
/// A header line of a log cannot be read, so neither can the records below it; the detail says why.
pub const BAD_HEADER: &str = "bad_header";
/// No header line before a record says what its values are.
pub const NO_HEADER: &str = "no_header";
/// A record has more or fewer values than its header names; the detail says how many.
pub const WRONG_FIELDS: &str = "wrong_fields";
/// The line is no syslog: it begins neither with a priority in angle brackets nor with a time.
pub const BAD_SYSLOG: &str = "bad_syslog";
