//! How TLS is asked for: the driver's options, and what it cannot do by itself.
//!
//! `link` makes every handshake with these options. The driver's own way to leave out the host's name looks for a text that
//! the TLS library does not write any more, and so refuses what `verify-ca` must accept. The library checks who signed a
//! certificate before it looks at the name; so when only the name is wrong, `link` makes a second handshake that expects a
//! name which the certificate has ([`name_in`]), and everything is checked again. A certificate without any name
//! (`subjectAltName`) cannot be taken this way, and is refused. Turned down: to accept any certificate and look at it
//! afterwards, when the password has been sent.
//!
//! It also reads no private key but RSA in its oldest form; [`rsa_key`] brings the usual form to that one.

use std::net::IpAddr;
use std::path::PathBuf;

use mysql_async::{ClientIdentity, Error as DriverError, IoError, SslOpts};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, Error as TlsError};

use crate::database_url::{Tls, TlsMode};
use crate::error::{Error, ErrorKind};

/// Reads the certificates that the URL names; `None` is no TLS.
pub(super) fn options(tls: &Tls) -> Result<Option<SslOpts>, Error> {
    let read = |path: &PathBuf| {
        let failed = |error| Error::new(ErrorKind::Configuration, format!("read {}", path.display())).because(error);
        std::fs::read(path).map_err(failed)
    };
    let mut options =
        SslOpts::default().with_danger_accept_invalid_certs(matches!(tls.mode, TlsMode::Preferred | TlsMode::Required));
    if let Some(ca) = &tls.ca {
        options = options.with_root_certs(vec![read(ca)?.into()]).with_disable_built_in_roots(true);
    }
    if let Some((certificate, key)) = &tls.identity {
        let pkcs1 = rsa_key(&read(key)?).ok_or_else(|| {
            let advice = "write an unencrypted RSA key as PEM; the driver takes no other";
            Error::new(ErrorKind::Configuration, format!("read the key {}: {advice}", key.display()))
        })?;
        options = options.with_client_identity(Some(ClientIdentity::new(read(certificate)?.into(), pkcs1.into())));
    }
    Ok((tls.mode != TlsMode::Disabled).then_some(options))
}

/// Returns the DER (PKCS #1) of an RSA key in PEM. The driver itself finds no key in `BEGIN PRIVATE KEY` (PKCS #8), which is
/// what every tool of today writes, and would go on trying for ever.
fn rsa_key(pem: &[u8]) -> Option<Vec<u8>> {
    match PrivateKeyDer::from_pem_slice(pem).ok()? {
        PrivateKeyDer::Pkcs1(key) => Some(key.secret_pkcs1_der().to_vec()),
        PrivateKeyDer::Pkcs8(key) => {
            // RFC 5208: a sequence of the version (0), the algorithm (RSA), and the key as an octet string.
            const RSA: &[u8] = b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
            let sequence = content(key.secret_pkcs8_der(), 0x30)?;
            content(sequence.strip_prefix(RSA)?, 0x04).map(<[u8]>::to_vec)
        }
        _ => None,
    }
}

/// Returns what is in a DER value of this kind.
fn content(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match usize::from(length) {
        short @ 0..0x80 => (short, rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(long - 0x80).filter(|(bytes, _)| bytes.len() <= 4)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    rest.get(..length)
}

/// Returns what the TLS library says; `None` when the error is another's, such as a connection that was cut.
pub(super) fn error_in(error: &DriverError) -> Option<&TlsError> {
    match error {
        DriverError::Io(IoError::Tls(mysql_async::TlsError::Tls(error))) => Some(error),
        DriverError::Io(IoError::Io(error)) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Returns a name that the server's certificate has, when all that is wrong with it is that it has not the host's.
pub(super) fn name_in(error: &DriverError) -> Option<String> {
    match error_in(error)? {
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            presented.iter().find_map(|name| read(name))
        }
        _ => None,
    }
}

/// Reads `DnsName("db.example")` or `IpAddress(10.0.0.1)`. What is read wrongly fails in the second handshake.
fn read(presented: &str) -> Option<String> {
    let (kind, name) = presented.strip_suffix(')')?.split_once('(')?;
    match kind {
        // One label stands for the star.
        "DnsName" => Some(name.trim_matches('"').replacen('*', "any", 1)),
        "IpAddress" => name.parse::<IpAddr>().ok().map(|address| address.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_whole_value_of_that_kind_has_no_content() {
        assert_eq!(content(b"\x04\x02ab", 0x04), Some(&b"ab"[..]));
        assert_eq!(content(b"\x04\x81\x02ab", 0x04), Some(&b"ab"[..]));
        for wrong in [&b""[..], b"\x04", b"\x04\x03ab", b"\x30\x02ab", b"\x04\x82\x01", b"\x04\xff\xff\xff\xff\xff\xff"]
        {
            assert_eq!(content(wrong, 0x04), None, "{wrong:?}");
        }
        assert_eq!(rsa_key(b"no key"), None);
    }

    #[test]
    fn a_name_is_read_from_what_the_certificate_has() {
        for (presented, expected) in [
            ("DnsName(\"db.example\")", Some("db.example")),
            ("DnsName(\"*.db.example\")", Some("any.db.example")),
            ("IpAddress(10.0.0.1)", Some("10.0.0.1")),
            ("IpAddress(?)", None),
            ("DirectoryName", None),
            ("", None),
        ] {
            assert_eq!(read(presented).as_deref(), expected, "{presented}");
        }
    }
}
