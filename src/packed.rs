//! Several optional text columns in one allocation, so that a row costs one `malloc` and one `free`.
//!
//! Rows are made on the producers' threads and dropped on the writer's; with one allocation a column the dropping
//! alone would take a tenth of the writer's time. `Event` and `Capture` are built on this; nothing else is.

use std::fmt::Write;
use std::net::IpAddr;

/// Longest text of an IP address: six hex groups and a dotted quad (RFC 5952, RFC 4291).
const MAX_IP_TEXT: usize = 45;
/// Text columns that stand before the two addresses, in both row kinds.
const BEFORE_IPS: usize = 3;

/// `N` optional texts, stored back to back.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packed<const N: usize> {
    text: String,
    ends: [u32; N],
    present: u32,
}

/// Fills the columns of a [`Packed`] in their order.
struct Packer<const N: usize> {
    packed: Packed<N>,
    column: usize,
}

impl<const N: usize> Packed<N> {
    /// Starts packing; `bytes` is an upper bound of the text to come.
    fn with_capacity(bytes: usize) -> Packer<N> {
        const { assert!(N <= 32) };
        let packed = Packed { text: String::with_capacity(bytes), ends: [0; N], present: 0 };
        Packer { packed, column: 0 }
    }

    /// Packs the columns of a row: three texts, source and destination address, the other texts. Returns `None` when
    /// they hold 4 GiB or more.
    pub(crate) fn pack(texts: &[Option<&str>], ips: [Option<IpAddr>; 2]) -> Option<Self> {
        let text_bytes: usize = texts.iter().flatten().map(|text| text.len()).sum();
        let mut packer = Self::with_capacity(text_bytes + MAX_IP_TEXT * ips.iter().flatten().count());
        let (before, after) = texts.split_at(BEFORE_IPS);
        before.iter().for_each(|text| packer.push(*text));
        ips.into_iter().for_each(|ip| packer.push_ip(ip));
        after.iter().for_each(|text| packer.push(*text));
        packer.finish()
    }

    /// Packs what was packed before and comes back from a database: all columns as texts, in their order.
    pub(crate) fn restore(texts: [Option<&str>; N]) -> Option<Self> {
        let mut packer = Self::with_capacity(texts.iter().flatten().map(|text| text.len()).sum());
        texts.into_iter().for_each(|text| packer.push(text));
        packer.finish()
    }

    pub(crate) fn get(&self, column: usize) -> Option<&str> {
        if self.present & (1 << column) == 0 {
            return None;
        }
        let start = if column == 0 { 0 } else { self.ends[column - 1] as usize };
        Some(&self.text[start..self.ends[column] as usize])
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}

impl<const N: usize> Packer<N> {
    fn push(&mut self, column: Option<&str>) {
        if let Some(text) = column {
            self.packed.text.push_str(text);
        }
        self.end_column(column.is_some());
    }

    fn push_ip(&mut self, column: Option<IpAddr>) {
        let text = &mut self.packed.text;
        match column {
            None => {}
            // As `Display` writes it, in a quarter of the time.
            Some(IpAddr::V4(ip)) => {
                for (index, octet) in ip.octets().into_iter().enumerate() {
                    if index > 0 {
                        text.push('.');
                    }
                    if octet >= 100 {
                        text.push(char::from(b'0' + octet / 100));
                    }
                    if octet >= 10 {
                        text.push(char::from(b'0' + octet / 10 % 10));
                    }
                    text.push(char::from(b'0' + octet % 10));
                }
            }
            Some(IpAddr::V6(ip)) => {
                // Writing to a String cannot fail, and the Display of an address never does.
                let _ = write!(text, "{ip}");
            }
        }
        self.end_column(column.is_some());
    }

    /// Returns the packed columns, or `None` when they hold 4 GiB or more.
    fn finish(self) -> Option<Packed<N>> {
        debug_assert_eq!(self.column, N);
        u32::try_from(self.packed.text.len()).is_ok().then_some(self.packed)
    }

    fn end_column(&mut self, present: bool) {
        // A wrapped end is never read: `finish` refuses such a row.
        self.packed.ends[self.column] = self.packed.text.len() as u32;
        self.packed.present |= u32::from(present) << self.column;
        self.column += 1;
    }
}

const FIELDS_TOO_DEEP: &str = "fields is nested more than 128 levels deep";

/// Says why `text` cannot be a `fields` column, or `None` if it can: it must be one JSON object.
///
/// One bad row would otherwise fail every later query that looks into `fields`.
pub(crate) fn fields_fault(text: &str) -> Option<&'static str> {
    if !text.trim_start().starts_with('{') {
        return Some("fields is not a JSON object");
    }
    json_fault(text).map(|fault| if fault == TOO_DEEP { FIELDS_TOO_DEEP } else { "fields is not valid JSON" })
}

/// As [`fields_fault`], of what is one JSON object for certain: made of members that a JSON reader has read.
pub(crate) fn depth_fault(json_object: &str) -> Option<&'static str> {
    let fault = is_too_deep(json_object).then_some(FIELDS_TOO_DEEP);
    debug_assert_eq!(fields_fault(json_object), fault);
    fault
}

const TOO_DEEP: &str = "is nested more than 128 levels deep";

/// Says why `text` is no JSON text that everybody can read, or `None` if it is one: at most 128 levels deep, which is what
/// serde_json reads back, and SQLite's own JSON functions refuse 1000.
pub(crate) fn json_fault(text: &str) -> Option<&'static str> {
    if is_too_deep(text) {
        return Some(TOO_DEEP);
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_err().then_some("is not valid JSON")
}

fn is_too_deep(text: &str) -> bool {
    const MAX_DEPTH: usize = 128;
    // Nearly every text has fewer brackets than levels are allowed, and to count them all is quick.
    if text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= MAX_DEPTH {
        return false;
    }
    let mut depth = 0usize;
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_empty_columns_differ() {
        let mut packer = Packed::<4>::with_capacity(8);
        packer.push(Some("ab"));
        packer.push(None);
        packer.push(Some(""));
        packer.push_ip("::7".parse().ok());
        let packed = packer.finish().unwrap();
        assert_eq!([0, 1, 2, 3].map(|c| packed.get(c)), [Some("ab"), None, Some(""), Some("::7")]);
    }

    #[test]
    fn an_address_is_written_as_it_displays_itself() {
        for octet in 0..=255 {
            let ip = IpAddr::from([octet, 0, octet, 10]);
            let packed = Packed::<5>::pack(&[None; 3], [Some(ip), None]).unwrap();
            assert_eq!(packed.get(BEFORE_IPS), Some(ip.to_string().as_str()));
        }
    }

    #[test]
    fn fields_must_be_an_object_of_bounded_depth() {
        assert_eq!(fields_fault(r#" {"a":["\"}",{"b":1}]}"#), None);
        for bad in ["", "[]", "1", "{", "{}x", "{'a':1}", r#"{"a":"\ud8"}"#] {
            assert!(fields_fault(bad).is_some(), "{bad}");
        }
        let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert_eq!(fields_fault(&nested(127)), None);
        assert!(fields_fault(&nested(128)).is_some());
        let quoted = format!("{{\"a\":\"{}\"}}", "[".repeat(1000));
        assert_eq!((fields_fault(&quoted), depth_fault(&quoted)), (None, None));
        assert_eq!((depth_fault(&nested(127)), depth_fault(&nested(128))), (None, Some(FIELDS_TOO_DEEP)));
    }
}
