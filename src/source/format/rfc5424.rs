//! Takes a syslog line of RFC 5424 apart, without copying anything of it.
//!
//! `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`. Of what the RFC leaves to a receiver: several
//! spaces between two parts count as one; what should be structured data and is none belongs to the message, so that no
//! byte is dropped; the lengths that the RFC bounds are not bounded here.
//!
//! Turned down: the crate `syslog_loose`. It drops elements that it cannot read without a word, reads `C:\new` in a value as
//! a line break (the RFC, 6.3.3: a backslash before anything but `"`, `\` and `]` is a backslash), tells `-x` apart as nil
//! and `x`, and reads old timestamps in the zone of the machine that happens to read them.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{MAX_QUOTE, Malformed, malformed, reason};
use crate::timestamp::Timestamp;

/// What stands before the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) ts: Option<Timestamp>,
    pub(super) host: Option<&'a str>,
    pub(super) app: Option<&'a str>,
    pub(super) process: Option<&'a str>,
    pub(super) message_id: Option<&'a str>,
    pub(super) elements: SmallVec<[Element<'a>; 2]>,
}

/// One element of the structured data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) id: &'a str,
    /// Names, and values as they are written: see [`unescaped`].
    pub(super) params: SmallVec<[(&'a str, &'a str); 8]>,
}

/// Takes the priority off: `<0>` to `<191>`.
pub(super) fn priority(line: &str) -> Option<(u8, &str)> {
    let (digits, rest) = line.strip_prefix('<')?.split_once('>')?;
    let is_number = matches!(digits.len(), 1..=3) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let priority = digits.parse().ok().filter(|priority| is_number && *priority <= 191)?;
    Some((priority, rest))
}

/// Reads what follows `<PRI>1 `: header and message. Returns `None` if parts are missing.
///
/// # Errors
/// When there is a time that cannot be read.
pub(super) fn read(text: &str) -> Option<Result<(Header<'_>, &str), Malformed>> {
    let (time, rest) = word(text)?;
    let (host, rest) = word(rest)?;
    let (app, rest) = word(rest)?;
    let (process, rest) = word(rest)?;
    let (message_id, rest) = word(rest)?;
    let ts = match time {
        "-" => None,
        time => match Timestamp::parse(time) {
            None => return Some(Err(bad_time(time))),
            moment => moment,
        },
    };
    let known = |word| Some(word).filter(|word| *word != "-");
    let (elements, message) = structured_data(rest).unwrap_or((SmallVec::new(), rest));
    let [host, app, process, message_id] = [host, app, process, message_id].map(known);
    Some(Ok((Header { ts, host, app, process, message_id, elements }, message)))
}

pub(super) fn bad_time(time: &str) -> Malformed {
    let quote: String = time.chars().take(MAX_QUOTE).collect();
    malformed(reason::BAD_TIMESTAMP, format!("the time is {quote:?}"))
}

/// Splits the first word off, and the spaces around it.
pub(super) fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (!word.is_empty()).then(|| (word, rest.trim_start_matches(' ')))
}

/// Reads `-` or elements, and what stands behind them; `None` if there are neither.
pub(super) fn structured_data(text: &str) -> Option<(SmallVec<[Element<'_>; 2]>, &str)> {
    let mut elements = SmallVec::new();
    let mut rest = match text.strip_prefix('-') {
        Some(rest) => rest,
        None => {
            let (first, rest) = element(text)?;
            elements.push(first);
            rest
        }
    };
    while !elements.is_empty() && rest.starts_with('[') {
        // `[a x="1"][b` ends its data before the second element.
        let Some((next, after)) = element(rest) else { break };
        elements.push(next);
        rest = after;
    }
    let ends_here = rest.is_empty() || rest.starts_with(' ') || (!elements.is_empty() && rest.starts_with('['));
    ends_here.then(|| (elements, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// Reads `[id name="value" name="value"]`.
fn element(text: &str) -> Option<(Element<'_>, &str)> {
    let text = text.strip_prefix('[')?;
    let (id, mut rest) = text.split_at(text.find([' ', ']', '=', '"'])?);
    if id.is_empty() {
        return None;
    }
    let mut params = SmallVec::new();
    loop {
        let after_spaces = rest.trim_start_matches(' ');
        if let Some(rest) = after_spaces.strip_prefix(']') {
            return Some((Element { id, params }, rest));
        }
        if after_spaces.len() == rest.len() {
            return None;
        }
        let (name, value) = after_spaces.split_at(after_spaces.find([' ', ']', '=', '"'])?);
        let value = value.strip_prefix("=\"")?;
        let end = closing_quote(value)?;
        if name.is_empty() {
            return None;
        }
        params.push((name, &value[..end]));
        rest = &value[end + 1..];
    }
}

/// Returns where the first quote stands that no backslash escapes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })
}

/// Returns a value as it was before it was written: `\"`, `\\` and `\]` are one character, any other backslash is itself.
pub(super) fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let escaped = after.chars().next().filter(|next| matches!(next, '"' | '\\' | ']'));
        text.push(escaped.unwrap_or('\\'));
        rest = if escaped.is_some() { &after[1..] } else { after };
    }
    text.push_str(rest);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<'a>(elements: &[Element<'a>]) -> Vec<&'a str> {
        elements.iter().map(|element| element.id).collect()
    }

    #[test]
    fn structured_data_is_read_element_by_element() {
        let (elements, rest) =
            structured_data(r#"[ex@32473 iut="3" p="a\"b\\c\]d\n"][examplePriority@32473] msg"#).unwrap();
        assert_eq!((ids(&elements), rest), (vec!["ex@32473", "examplePriority@32473"], "msg"));
        assert_eq!(elements[0].params[0], ("iut", "3"));
        assert_eq!(unescaped(elements[0].params[1].1), r#"a"b\c]d\n"#);
        assert!(elements[1].params.is_empty());
        assert_eq!(structured_data("- msg").unwrap(), (SmallVec::new(), "msg"));
        assert_eq!(structured_data("-").unwrap(), (SmallVec::new(), ""));
        assert_eq!(ids(&structured_data(r#"[a x="]"][b"#).unwrap().0), ["a"]);
        assert_eq!(structured_data(r#"[a x="]"][b"#).unwrap().1, "[b");
    }

    #[test]
    fn what_is_no_structured_data_is_left_to_the_message() {
        for text in [
            "",
            "-x",
            "msg",
            "[",
            "[]",
            "[a",
            "[a x]",
            "[a x=1]",
            r#"[a x="1]"#,
            r#"[a x="1\"]"#,
            r#"[a ="1"]"#,
            "[a]x",
        ] {
            assert_eq!(structured_data(text), None, "{text}");
        }
        let (header, message) = read("- h a p m hello [x]").unwrap().unwrap();
        assert_eq!((header.message_id, message), (Some("m"), "hello [x]"));
    }

    #[test]
    fn values_lose_exactly_their_escapes() {
        for (written, meant) in
            [("", ""), (r"\", r"\"), (r"\\", r"\"), (r"C:\new\\x", r"C:\new\x"), (r#"\"\]\é"#, r#""]\é"#)]
        {
            assert_eq!(unescaped(written), meant, "{written}");
        }
    }

    #[test]
    fn a_priority_is_a_number_of_the_rfc() {
        assert_eq!((priority("<0>x"), priority("<191>")), (Some((0, "x")), Some((191, ""))));
        for bad in ["<192>", "<>", "<1234>", "<+1>", "<-1>", "< 1>", "<1", "1>", ""] {
            assert_eq!(priority(bad), None, "{bad}");
        }
    }
}
