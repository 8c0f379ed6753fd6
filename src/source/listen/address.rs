//! Where a source listens, as its settings name it: `unix:/run/forebay/in.sock`, `tcp:127.0.0.1:5170`. Pure.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
///
/// Text forms: `unix:PATH` and `unixgram:PATH` (a stream or datagrams), `tcp:ADDRESS:PORT` and `udp:ADDRESS:PORT`. Addresses are
/// numbers, not names; IPv6 stands in brackets: `tcp:[::1]:5170`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket of streams.
    Unix(PathBuf),
    /// A Unix socket of datagrams.
    Unixgram(PathBuf),
    /// TCP, or TLS over it.
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
}

/// Permissions of a Unix socket, written in octal: `0600`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub(super) u32);

impl Default for SocketMode {
    /// `0600`: the owner alone.
    fn default() -> Self {
        Self(0o600)
    }
}

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
        let mode = mode.filter(|_| (3..=4).contains(&text.len()) && !text.starts_with('+'));
        mode.map(Self).ok_or_else(|| format!("`{text}` is no mode; write it in octal, like `0600` or `0660`"))
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Longest path of a Unix socket: `sun_path` of unix(7), without its NUL.
const MAX_PATH: usize = 107;

impl Listen {
    /// Returns whether only processes of this host can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Unixgram(_) => true,
            Self::Tcp(address) | Self::Udp(address) => address.ip().is_loopback(),
        }
    }

    /// Returns whether peers send datagrams: no connection, no answer.
    pub fn is_datagrams(&self) -> bool {
        matches!(self, Self::Unixgram(_) | Self::Udp(_))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = "one of `unix:PATH`, `unixgram:PATH`, `tcp:ADDRESS:PORT`, `udp:ADDRESS:PORT`";
        let (kind, place) =
            text.split_once(':').ok_or_else(|| format!("`{text}` is no address to listen on: {forms}"))?;
        let path = || match place.len() {
            1..=MAX_PATH if place.starts_with('/') && !place.contains('\0') => Ok(PathBuf::from(place)),
            _ => Err(format!("`{place}` must be an absolute path of at most {MAX_PATH} bytes")),
        };
        let address = || {
            let example = "an address and a port, like `127.0.0.1:5170` or `[::1]:5170`";
            place.parse::<SocketAddr>().map_err(|_| format!("`{place}` must be {example}"))
        };
        match kind {
            "unix" => path().map(Self::Unix),
            "unixgram" => path().map(Self::Unixgram),
            "tcp" => address().map(Self::Tcp),
            "udp" => address().map(Self::Udp),
            _ => Err(format!("`{text}` is no address to listen on: {forms}")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Unixgram(path) => write!(f, "unixgram:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Udp(address) => write!(f, "udp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_and_says_whether_it_is_local() {
        for (text, local) in [
            ("unix:/run/a.sock", true),
            ("unixgram:/run/a.sock", true),
            ("tcp:127.0.0.1:5170", true),
            ("tcp:[::1]:5170", true),
            ("tcp:0.0.0.0:5170", false),
            ("udp:[::]:514", false),
            ("udp:192.0.2.1:514", false),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.to_string().as_str(), listen.is_local()), (text, local));
        }
    }

    #[test]
    fn a_mode_is_octal() {
        assert_eq!("0660".parse().map(|mode: SocketMode| (mode.0, mode.to_string())), Ok((0o660, "0660".into())));
        assert_eq!(SocketMode::default().to_string(), "0600");
        for text in ["", "6", "0o600", "0680", "1777", "+600"] {
            assert!(text.parse::<SocketMode>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms_there_are() {
        for text in ["", "/run/a.sock", "unix:", "unix:a.sock", "tcp:localhost:1", "tcp:127.0.0.1", "tls:127.0.0.1:1"] {
            let fault = text.parse::<Listen>().unwrap_err();
            assert!(fault.contains('`') && fault.len() < 200, "{fault}");
        }
        assert!(format!("unix:/{}", "x".repeat(107)).parse::<Listen>().is_err());
    }
}
