//! Whom to ask: an address as people write it. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::settings::Metrics;

/// The port of `forebay run` when nobody says another, and what a URL without a port means.
const PORT: u16 = 9464;
const HTTP: u16 = 80;
const STATUS: &str = "/api/status";
const NO_HTTPS: &str = "https is not spoken here: ask through a proxy of this machine that takes http, or with \
                        `curl -H \"Authorization: Bearer $FOREBAY_METRICS_TOKEN\" https://.../api/status`";

/// A host, a port, and what stands before `/api/status`.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// Empty, or begins with `/` and does not end with one.
    prefix: String,
}

impl Address {
    /// Reads `host`, `host:port` or a URL.
    ///
    /// # Errors
    /// In words that do not repeat the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, port) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest, HTTP),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => return Err(NO_HTTPS.into()),
            Some(_) => return Err("an address is `host:port` or an http URL".into()),
            None => (text, PORT),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("an address has no user and no password: the token is FOREBAY_METRICS_TOKEN".into());
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['?', '#']) {
            return Err("an address is `host:port` or an http URL, without `?`, `#` and spaces".into());
        }
        let (host, port) =
            split(authority, port).ok_or("an address is `host:port`, like 127.0.0.1:9464 or [::1]:9464")?;
        let path = path.trim_end_matches('/');
        let prefix = path.strip_suffix(STATUS).unwrap_or(path).trim_end_matches('/').to_owned();
        Ok(Self { host, port, prefix })
    }

    /// Returns where the process of these settings listens, else the usual place.
    ///
    /// # Errors
    /// In words, when it listens with TLS.
    pub fn of(metrics: &Metrics) -> Result<Self, String> {
        if metrics.tls.is_some() {
            return Err(format!("with `metrics.tls` these settings serve https. {NO_HTTPS}"));
        }
        let listen = metrics.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        // Listening everywhere is listening here too.
        let host = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(Self { host: host.to_string(), port: listen.port(), prefix: String::new() })
    }

    pub fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// Returns what stands in `Host`.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Returns what is asked for.
    pub fn path(&self) -> String {
        format!("{}{STATUS}", self.prefix)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}/", self.authority(), self.prefix)
    }
}

/// Splits `host`, `host:port`, `[ip]` or `[ip]:port`; `port` is what holds if none is named.
fn split(authority: &str, port: u16) -> Option<(String, u16)> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    if let Some(rest) = authority.strip_prefix('[') {
        let (ip, rest) = rest.split_once(']')?;
        ip.parse::<Ipv6Addr>().ok()?;
        let port = if rest.is_empty() { port } else { number(rest.strip_prefix(':')?)? };
        return Some((ip.to_owned(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, text)) => (host, number(text)?),
        None => (authority, port),
    };
    let is_name =
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    is_name.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay::server::Tls;

    #[test]
    fn an_address_is_taken_as_people_write_it() {
        for (text, shown, path) in [
            ("localhost", "http://localhost:9464/", "/api/status"),
            ("192.0.2.7:80", "http://192.0.2.7:80/", "/api/status"),
            ("[::1]:9464", "http://[::1]:9464/", "/api/status"),
            ("HTTP://db-1.example", "http://db-1.example:80/", "/api/status"),
            ("http://h:8080/forebay/", "http://h:8080/forebay/", "/forebay/api/status"),
            ("http://h:8080/api/status", "http://h:8080/", "/api/status"),
            ("http://h/a//api/status/", "http://h:80/a/", "/a/api/status"),
        ] {
            let address = Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((address.to_string().as_str(), address.path().as_str()), (shown, path), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        for text in [
            "",
            ":9464",
            "h:0",
            "h:x",
            "h:1:2",
            "::1",
            "[::1",
            "[::1]9",
            "[h]:1",
            "a b",
            "h\r\nx: y",
            "http://h/a b",
            "http://h/\r\nX: y",
            "http://h/?secret",
            "http://u:secret@h/",
            "https://h/secret",
            "ftp://secret",
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(Address::parse("https://h/").unwrap_err().contains("proxy"));
        assert!(Address::parse("http://u:p@h/").unwrap_err().contains("FOREBAY_METRICS_TOKEN"));
    }

    #[test]
    fn without_an_address_the_settings_say_it() {
        let of = |listen: Option<&str>| {
            let listen = listen.map(|listen| listen.parse().unwrap());
            Address::of(&Metrics { listen, ..Metrics::default() }).unwrap().to_string()
        };
        assert_eq!(of(None), "http://127.0.0.1:9464/");
        assert_eq!(of(Some("192.0.2.7:1")), "http://192.0.2.7:1/");
        assert_eq!(of(Some("0.0.0.0:1")), "http://127.0.0.1:1/");
        assert_eq!(of(Some("[::]:1")), "http://[::1]:1/");
        let secured = Metrics { tls: Some(Tls::default()), ..Metrics::default() };
        assert!(Address::of(&secured).unwrap_err().contains("metrics.tls"));
    }
}
