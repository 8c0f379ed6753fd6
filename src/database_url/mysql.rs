//! Reads `mysql://user:password@host:3306,other/name?option=value`: one or several servers that hold one database.
//!
//! Several hosts are tried in turn, so that a cluster survives the loss of a node. Options are written as MySQL's own
//! clients do (`ssl-mode`), or with underscores; an unknown one is an error that names the nearest, since a misspelt
//! `ssl-mode` would otherwise send passwords in the clear.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::percent::{decoded, encoded};
use super::{Secret, wrong};
use crate::error::Error;

/// Where a MySQL or MariaDB database is, and who writes to it. `Display` is the URL without its password and options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MysqlUrl {
    /// Not empty, unless there is a socket.
    pub hosts: Vec<Host>,
    /// A Unix socket, in place of the hosts.
    pub socket: Option<PathBuf>,
    /// Who connects.
    pub user: String,
    /// May be empty.
    pub password: Secret,
    /// The name of the database; not empty.
    pub database: String,
    /// How the way there is protected.
    pub tls: Tls,
    /// Goes before `mysql.connect_timeout`.
    pub connect_timeout: Option<Duration>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an address, IPv6 without brackets.
    pub name: String,
    /// Default 3306.
    pub port: u16,
}

/// How a connection is protected. Default: [`TlsMode::Preferred`], no files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// What is demanded of the server.
    pub mode: TlsMode,
    /// Certificates (PEM or DER) of the authorities that are trusted, in place of the public ones.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain (PEM) and its key (RSA, PEM, not encrypted), if the server asks who we are.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What is demanded of the server, as in MySQL's `--ssl-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disabled,
    /// TLS if the server offers it; its certificate is not checked.
    #[default]
    Preferred,
    /// TLS or no connection; the certificate is not checked.
    Required,
    /// TLS, with a certificate that a trusted authority has signed, for any host; it needs a `subjectAltName`.
    VerifyCa,
    /// That, and made for the host that the URL names.
    VerifyIdentity,
}

const OPTIONS: [&str; 7] = ["charset", "connect-timeout", "socket", "ssl-ca", "ssl-cert", "ssl-key", "ssl-mode"];
const FORM: &str = "write `mysql://user:password@host:3306/database`";
const ESCAPE: &str = "percent-encode what is not a letter or digit in user and password";

impl MysqlUrl {
    /// Reads what follows the scheme and its colon.
    pub(super) fn parse(rest: &str) -> Result<Self, Error> {
        let rest = rest.strip_prefix("//").ok_or_else(|| wrong(&format!("a mysql URL needs two slashes; {FORM}")))?;
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let part = |text: &str, what: &str| {
            let text = decoded(text).filter(|text| !text.contains('\0'));
            text.ok_or_else(|| wrong(&format!("the {what} of the mysql URL has a bad % escape or a NUL; {ESCAPE}")))
        };
        let mut url = Self {
            hosts: Vec::new(),
            socket: None,
            user: part(user, "user")?,
            password: part(password, "password")?.into(),
            database: part(database, "database")?,
            tls: Tls::default(),
            connect_timeout: None,
        };
        if url.user.is_empty() {
            return Err(wrong(&format!("the mysql URL names no user; {FORM}, and {ESCAPE}")));
        }
        if url.database.is_empty() || url.database.contains('/') {
            return Err(wrong(&format!("the mysql URL names no database, or has a slash in it; {FORM}, and {ESCAPE}")));
        }
        url.read_options(options)?;
        match (&url.socket, hosts) {
            (Some(_), "" | "localhost") => {}
            (Some(_), _) => return Err(wrong("the mysql URL names both a host and a socket; leave one out")),
            (None, _) => url.hosts = hosts.split(',').map(host).collect::<Result<_, _>>()?,
        }
        Ok(url)
    }

    fn read_options(&mut self, options: &str) -> Result<(), Error> {
        let (mut certificate, mut key) = (None, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let name = name.to_ascii_lowercase().replace('_', "-");
            if !OPTIONS.contains(&name.as_str()) {
                return Err(unknown(&name));
            }
            let value = decoded(value).filter(|value| !value.is_empty() && !value.contains('\0'));
            let value = value.ok_or_else(|| wrong("an option of the mysql URL has no value, or a bad % escape"))?;
            match name.as_str() {
                "socket" => self.socket = Some(value.into()),
                "ssl-ca" => self.tls.ca = Some(value.into()),
                "ssl-cert" => certificate = Some(value.into()),
                "ssl-key" => key = Some(value.into()),
                "ssl-mode" => self.tls.mode = tls_mode(&value)?,
                "charset" if value.eq_ignore_ascii_case("utf8mb4") => {}
                "charset" => return Err(wrong("forebay speaks `charset=utf8mb4` only: leave the option out")),
                _ => {
                    let seconds = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
                    let seconds = seconds.ok_or_else(|| wrong("connect-timeout is a number of seconds, 1 to 3600"))?;
                    self.connect_timeout = Some(Duration::from_secs(seconds));
                }
            }
        }
        self.tls.identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(wrong("ssl-cert and ssl-key belong together: name both in the mysql URL")),
        };
        let has_files = self.tls.ca.is_some() || self.tls.identity.is_some();
        if has_files && self.tls.mode == TlsMode::Disabled {
            return Err(wrong("the mysql URL has files for TLS, and ssl-mode=disabled; leave one out"));
        }
        if self.tls.ca.is_some() && matches!(self.tls.mode, TlsMode::Preferred | TlsMode::Required) {
            // Whoever names an authority means it to be asked.
            self.tls.mode = TlsMode::VerifyCa;
        }
        Ok(())
    }
}

fn host(text: &str) -> Result<Host, Error> {
    let bad = || wrong(&format!("a host or port of the mysql URL is none; {FORM}, IPv6 in brackets, and {ESCAPE}"));
    let (name, port) = match text.strip_prefix('[') {
        Some(v6) => {
            let (address, port) = v6.split_once(']').ok_or_else(bad)?;
            address.parse::<Ipv6Addr>().map_err(|_| bad())?;
            (address, port.strip_prefix(':').or(port.is_empty().then_some("3306")).ok_or_else(bad)?)
        }
        None => text.split_once(':').unwrap_or((text, "3306")),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let port = port.parse().ok().filter(|port| *port > 0);
    match port {
        Some(port) if !name.is_empty() && name.chars().all(is_name) => Ok(Host { name: name.into(), port }),
        _ => Err(bad()),
    }
}

fn tls_mode(value: &str) -> Result<TlsMode, Error> {
    match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "disabled" => Ok(TlsMode::Disabled),
        "preferred" => Ok(TlsMode::Preferred),
        "required" => Ok(TlsMode::Required),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-identity" => Ok(TlsMode::VerifyIdentity),
        _ => Err(wrong("ssl-mode is one of: disabled, preferred, required, verify-ca, verify-identity")),
    }
}

/// The name that was read is not shown: it may be the end of a password with a `?` in it.
fn unknown(name: &str) -> Error {
    let nearest = OPTIONS.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    let nearest = nearest.copied().unwrap_or_default();
    wrong(&format!("unknown option in the mysql URL; the nearest is `{nearest}`, of {}", OPTIONS.join(", ")))
}

impl fmt::Display for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        let dots = if self.password.is_empty() { "" } else { ":..." };
        write!(f, "mysql://{}{dots}@{}/{}", encoded(&self.user), hosts.join(","), encoded(&self.database))?;
        self.socket.as_ref().map_or(Ok(()), |socket| write!(f, "?socket={}", encoded(&socket.to_string_lossy())))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::DatabaseUrl;
    use super::*;

    fn parse(url: &str) -> Result<MysqlUrl, Error> {
        match DatabaseUrl::parse(url)? {
            DatabaseUrl::Mysql(url) => Ok(*url),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_part_of_a_url_is_read() {
        let url = parse("mysql+asyncmy://a%40b:p%3A%2F%25@[::1]:3307,db.example,10.0.0.1:1/d%C3%A9?ssl-mode=REQUIRED")
            .unwrap();
        let hosts: Vec<_> = url.hosts.iter().map(Host::to_string).collect();
        assert_eq!(hosts, ["[::1]:3307", "db.example:3306", "10.0.0.1:1"]);
        assert_eq!((url.user.as_str(), url.password.reveal(), url.database.as_str()), ("a@b", "p:/%", "dé"));
        assert_eq!(url.tls.mode, TlsMode::Required);
        assert_eq!(url.to_string(), "mysql://a%40b:...@[::1]:3307,db.example:3306,10.0.0.1:1/d%C3%A9");
        let url = parse("MariaDB://u@localhost/d?socket=%2Frun%2Fm.sock&connect_timeout=7&charset=utf8mb4").unwrap();
        assert_eq!((url.socket, url.hosts), (Some("/run/m.sock".into()), vec![]));
        assert_eq!((url.connect_timeout, url.tls.mode), (Some(Duration::from_secs(7)), TlsMode::Preferred));
        let tls = parse("mysql://u:p@h/d?ssl-ca=ca.pem&ssl-cert=c.pem&ssl-key=k.pem").unwrap().tls;
        assert_eq!(tls.mode, TlsMode::VerifyCa);
        assert_eq!((tls.ca, tls.identity), (Some("ca.pem".into()), Some(("c.pem".into(), "k.pem".into()))));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        for (url, hint) in [
            ("mysql:u:secret@h/d", "two slashes"),
            ("mysql://u:secret@h", "no database"),
            ("mysql://u:secret@h/", "no database"),
            ("mysql://:secret@h/d", "no user"),
            ("mysql://h/d", "no user"),
            ("mysql://u:secret@/d", "host"),
            ("mysql://u:secret@h:x/d", "port"),
            ("mysql://u:secret@h:0/d", "port"),
            ("mysql://u:secret@h:99999/d", "port"),
            ("mysql://u:secret@a,,b/d", "host"),
            ("mysql://u:secret@[::1/d", "brackets"),
            ("mysql://u:secret@::1/d", "brackets"),
            ("mysql://u:secret%@h/d", "password of the mysql URL has a bad % escape"),
            ("mysql://u:sec/ret@h/d", "percent-encode"),
            ("mysql://u:secret@h/d?ssl-mod=required", "the nearest is `ssl-mode`"),
            ("mysql://u:secret@h/d?sslca=x", "the nearest is `ssl-ca`"),
            ("mysql://u:secret@h/d?ssl-mode=on", "one of: disabled"),
            ("mysql://u:secret@h/d?ssl-cert=x", "belong together"),
            ("mysql://u:secret@h/d?ssl-mode=disabled&ssl-ca=x", "leave one out"),
            ("mysql://u:secret@h/d?socket=/x", "both a host and a socket"),
            ("mysql://u:secret@h/d?connect-timeout=soon", "number of seconds"),
            ("mysql://u:secret@h/d?charset=latin1", "utf8mb4"),
            ("mysql://u:secret@h/d?ssl-mode", "no value"),
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(error.contains(hint), "{url}: {error}");
            assert!(!error.contains("secret") && !error.contains("sec/ret"), "{error}");
        }
    }
}
