//! Where the server listens and who may ask: plain data, with bounds. Reads no file and no environment until it is opened.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::database_url::Secret;
use crate::error::{Error, ErrorKind};

/// Fewest characters of a token: what a machine draws at random is not guessed over a network then.
const SHORTEST_TOKEN: usize = 16;

/// Settings of a [`Server`](super::Server).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// The address to listen at. Default `127.0.0.1:9464`; port 0 takes a free one. Beyond loopback a token is required.
    pub listen: SocketAddr,
    /// A file whose first line is the token, 16 characters or more. Default none.
    pub token_file: Option<PathBuf>,
    /// The token itself, which goes before the file; never serialized. Default none.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// Certificate and key; with them the server speaks HTTPS only. Default none.
    pub tls: Option<Tls>,
    /// Further names under which browsers and proxies may ask a server on loopback, beside `localhost` and the loopback
    /// addresses; without port. Default none.
    pub hosts: Vec<String>,
}

/// Files of a certificate. They are read once, at the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// The certificate and those that vouch for it, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM (PKCS#8, PKCS#1 or SEC 1).
    pub key: PathBuf,
}

impl Tls {
    /// Names the two files.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            token_file: None,
            token: None,
            tls: None,
            hosts: Vec::new(),
        }
    }
}

impl Settings {
    /// Returns the defaults with another address.
    pub fn at(listen: SocketAddr) -> Self {
        Self { listen, ..Self::default() }
    }

    /// Checks every bound, and that an address beyond loopback has a token.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`].
    pub fn validate(&self) -> Result<(), Error> {
        if !self.listen.ip().is_loopback() && self.token.is_none() && self.token_file.is_none() {
            let address = self.listen;
            return refuse(format!(
                "listen at {address}: without a token only loopback addresses, like 127.0.0.1:9464"
            ));
        }
        if let Some(host) = self.hosts.iter().find(|host| host.is_empty() || host.contains(['/', ' ', '@'])) {
            return refuse(format!("`{}` is no host's name", host.escape_debug()));
        }
        Ok(())
    }

    /// Returns the token, if one is set, from the file if need be.
    pub(super) fn read_token(&self) -> Result<Option<Secret>, Error> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.reveal().to_owned(),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Error::new(ErrorKind::Configuration, format!("read the token of {}", path.display())).because(error)
                })?;
                text.lines().next().unwrap_or_default().trim().to_owned()
            }
            (None, None) => return Ok(None),
        };
        if token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let rules = "a token has 16 or more characters, all of them ASCII and none a space; `openssl rand -hex 24` makes one";
            return refuse(rules);
        }
        Ok(Some(token.into()))
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Configuration, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_a_token_is_required_and_a_weak_one_is_none() {
        let mut settings = Settings::at("0.0.0.0:9464".parse().unwrap());
        assert!(settings.validate().unwrap_err().to_string().contains("only loopback"));
        for (token, is_good) in [("short", false), ("has a space in it here", false), ("0123456789abcdef", true)] {
            settings.token = Some(token.to_owned().into());
            settings.validate().unwrap();
            assert_eq!(settings.read_token().is_ok(), is_good, "{token}");
        }
        assert!(!format!("{settings:?}").contains("0123456789"));
        assert!(Settings::at("[::1]:0".parse().unwrap()).validate().is_ok());
    }

    #[test]
    fn the_first_line_of_a_file_is_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "  0123456789abcdef \nmore\n").unwrap();
        let mut settings = Settings { token_file: Some(path), ..Settings::default() };
        assert_eq!(settings.read_token().unwrap().unwrap().reveal(), "0123456789abcdef");
        settings.token_file = Some(dir.path().join("none"));
        assert!(settings.read_token().unwrap_err().to_string().contains("none"));
    }
}
