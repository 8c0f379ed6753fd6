//! A JSON object being written, for lines that are no JSON: their values get the forms that a JSON log would have.

/// The text of a JSON object, open at its end.
#[derive(Debug)]
pub(super) struct Draft {
    text: String,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self { text: String::from("{") }
    }

    /// Returns whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.text.len() == 1
    }

    /// Adds a member whose value is JSON already.
    pub(super) fn json(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text.push_str(value);
    }

    /// Adds a member whose value is a text.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        quote(&mut self.text, value);
    }

    /// Adds a member, and gives the text to whoever writes its value.
    pub(super) fn key(&mut self, key: &str) -> &mut String {
        if !self.is_empty() {
            self.text.push(',');
        }
        quote(&mut self.text, key);
        self.text.push(':');
        &mut self.text
    }

    /// Closes the object.
    pub(super) fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// Writes a JSON string (RFC 8259): only what must be escaped is.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        if escape.is_empty() {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.push_str("\\u00");
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        } else {
            out.push_str(escape);
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// Returns whether a text is a number as JSON writes one (RFC 8259, section 6).
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction) && digits(exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_follow_each_other() {
        assert_eq!(Draft::new().end(), "{}");
        let mut draft = Draft::new();
        draft.text("a\"b", "x\u{1f}\u{7f}\n");
        draft.json("n", "[1]");
        assert_eq!(draft.end(), "{\"a\\\"b\":\"x\\u001f\u{7f}\\n\",\"n\":[1]}");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let mut json = String::new();
            quote(&mut json, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn what_counts_as_a_number_is_what_json_takes(text in "-?[0-9.eE+-]{0,8}") {
            prop_assert_eq!(is_number(&text), serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok());
        }
    }
}
