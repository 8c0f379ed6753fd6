//! A credential that somebody tried: a derived row of kind `credential` beside its event.
//!
//! | column of `captures` | what |
//! |---|---|
//! | `ts`, `sensor`, `session`, `src_ip`, `src_port`, `dst_ip`, `dst_port`, `proto` | the event's |
//! | `kind` | always `credential` |
//! | `data`, `length` | the secret, byte for byte, so that equal ones are equal whatever their encoding; may be empty |
//! | `fields` | `service` and `event_type` of the event (which tell a success from a failure), `username`, `password`, `secret_kind` as far as the record has them, each as it stood |
//! | `link_type` | NULL |
//!
//! Cowrie and others write bytes that are no UTF-8 as lone surrogates (`"\udcff"`, Python's `surrogateescape`, PEP 383);
//! in `data` they are those bytes again.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, Visitor};

use super::draft::Draft;
use super::object::Object;
use super::{Columns, Malformed, column, malformed, reason};
use crate::capture::Capture;

/// What a record says of a credential.
pub(super) struct Credential<'a> {
    /// Values as they stood.
    username: Option<&'a str>,
    password: Option<&'a str>,
    kind: Option<&'a str>,
    secret: Vec<u8>,
}

impl<'a> Credential<'a> {
    /// Finds the secret under `passwords` and who it belongs to under `usernames`: texts or numbers, the first that is
    /// there. Takes none of them.
    pub(super) fn find(object: &Object<'a>, usernames: &[&str], passwords: &[&str]) -> Option<Self> {
        let first = |keys: &[&str]| keys.iter().find_map(|key| object.get(key).filter(|json| bytes(json).is_some()));
        let password = first(passwords)?;
        Some(Self { username: first(usernames), password: Some(password), kind: None, secret: bytes(password)? })
    }

    /// As [`find`](Self::find), with a secret that is written in base64, and the name of its kind.
    pub(super) fn with_secret(mut self, base64: Option<Cow<'_, str>>, kind: Option<&'a str>) -> Self {
        if let Some(secret) = base64.and_then(|text| STANDARD.decode(text.as_bytes()).ok()) {
            self.secret = secret;
        }
        self.kind = kind;
        self
    }

    /// Makes the derived row of an event.
    pub(super) fn capture(&self, event: &Columns<'_>) -> Result<Capture, Malformed> {
        let mut fields = Draft::new();
        fields.text("service", &event.service);
        fields.text("event_type", &event.event_type);
        for (key, value) in [("username", self.username), ("password", self.password), ("secret_kind", self.kind)] {
            if let Some(json) = value {
                fields.json(key, json);
            }
        }
        let fields = fields.end();
        let mut row = Capture::builder(&event.sensor, "credential")
            .ts(event.ts)
            .src(event.src.0, event.src.1)
            .dst(event.dst.0, event.dst.1)
            .data(self.secret.as_slice())
            .fields(&fields);
        if let Some(session) = &event.session {
            row = row.session(session);
        }
        if let Some(proto) = &event.proto {
            row = row.proto(proto);
        }
        // Its members are texts and numbers: nothing is nested.
        row.build().map_err(|fault| malformed(reason::TOO_DEEP, fault.to_string()))
    }
}

/// Returns the bytes of a JSON text, or the digits of a number.
fn bytes(json: &str) -> Option<Vec<u8>> {
    if !json.starts_with('"') {
        return column::scalar(json).map(|digits| digits.into_owned().into_bytes());
    }
    let wide = serde_json::Deserializer::from_str(json).deserialize_bytes(Bytes).ok()?;
    let mut bytes = Vec::with_capacity(wide.len());
    let mut rest = wide.as_slice();
    // serde_json gives a lone surrogate as three bytes that no UTF-8 has; U+DC80 to U+DCFF stand for 0x80 to 0xFF.
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match rest {
            [0xed, 0xb2, low @ 0x80..=0xbf, after @ ..] => (*low, after),
            [0xed, 0xb3, low @ 0x80..=0xbf, after @ ..] => (*low | 0x40, after),
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    Some(bytes)
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_bytes_that_were_typed() {
        for (json, secret) in [
            (r#""""#, &b""[..]),
            (r#""toor""#, b"toor"),
            (r#""\u0000\"\u00e9\ud83d\ude00""#, "\0\"é😀".as_bytes()),
            (r#""a\udcff\udc80\udcbf\udcc0b""#, b"a\xff\x80\xbf\xc0b"),
            (r#""\ud800""#, b"\xed\xa0\x80"),
            ("0012", b"0012"),
            ("-1.50", b"-1.50"),
        ] {
            assert_eq!(bytes(json).as_deref(), Some(secret), "{json}");
        }
        for other in ["null", "true", "{}", "[]"] {
            assert_eq!(bytes(other), None, "{other}");
        }
    }
}
