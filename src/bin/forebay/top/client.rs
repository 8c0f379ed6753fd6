//! Asks one question over HTTP/1.1 (RFC 9112), in the clear, and takes nothing for granted of who answers.
//!
//! A connection for each question: at one a second it costs nothing, and there is no state to get wrong. An answer is
//! bounded in bytes and in time, from the name's address to the last byte. Redirections are not followed: the token is
//! for one address. Turned down: a client crate, for one GET of a local page; and TLS, since its crates are the library's.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use forebay::database_url::Secret;

use super::address::Address;

/// How long a whole answer may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of what stands before the body, and of all: far above the status of a thousand sources.
const MOST_HEAD: usize = 16 << 10;
const MOST: usize = 4 << 20;
const NOT_HTTP: &str = "does not answer in HTTP; is it a forebay, and without `metrics.tls`?";

/// Whom to ask, and what to show for it.
pub struct Client {
    address: Address,
    token: Option<Secret>,
}

impl Client {
    /// # Errors
    /// In words, for a token that cannot be sent.
    pub fn new(address: Address, token: Option<String>) -> Result<Self, String> {
        if token.as_ref().is_some_and(|token| token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("a token is of ASCII characters, none of them a space".into());
        }
        Ok(Self { address, token: token.map(Secret::from) })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the body of the answer.
    ///
    /// # Errors
    /// In words that say what to try.
    pub fn ask(&self) -> Result<String, String> {
        let address = &self.address;
        let failed = |error: io::Error| {
            let why = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer within 5 s".to_owned(),
                ErrorKind::ConnectionRefused => {
                    "nobody listens there; is a forebay running, with `metrics.listen` or `--metrics`?".to_owned()
                }
                _ => error.to_string(),
            };
            format!("ask {address}: {why}")
        };
        let answer = self.exchange().map_err(failed)?;
        let wrong = |why: &str| format!("{address} {why}");
        let head = Head::read(&answer).ok_or_else(|| wrong(NOT_HTTP))?;
        match head.code {
            200 => {}
            401 if self.token.is_none() => {
                return Err(wrong(
                    "asks for a token: set FOREBAY_METRICS_TOKEN, or name the settings with `metrics.token_file`",
                ));
            }
            401 => return Err(wrong("does not take this token; see FOREBAY_METRICS_TOKEN and `metrics.token_file`")),
            421 => {
                return Err(wrong(
                    "is not served under this name: ask for localhost, or see the setting `metrics.hosts`",
                ));
            }
            code => return Err(wrong(&format!("answers {code}; is it a forebay?"))),
        }
        let body = head.body(&answer).ok_or_else(|| wrong("broke its answer off, or wrote it wrongly"))?;
        String::from_utf8(body).map_err(|_| wrong("answers what is no text; is it a forebay?"))
    }

    fn exchange(&self) -> io::Result<Vec<u8>> {
        let end = Instant::now() + WITHIN;
        let mut stream = self.connect(end)?;
        let (path, host) = (self.address.path(), self.address.authority());
        let mut request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n");
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {}\r\n", token.reveal()));
        }
        request.push_str("\r\n");
        stream.set_write_timeout(Some(left(end)?))?;
        stream.write_all(request.as_bytes())?;
        let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
        loop {
            stream.set_read_timeout(Some(left(end)?))?;
            match stream.read(&mut piece) {
                Ok(0) => return Ok(answer),
                Ok(length) => answer.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let head = Head::read(&answer);
            if answer.len() > MOST || (head.is_none() && answer.len() > MOST_HEAD) {
                return Err(io::Error::other("the answer is too long for a status; is it a forebay?"));
            }
            // Some keep the connection open although they are told to close it.
            if head.is_some_and(|head| head.length.is_some_and(|length| answer.len() - head.end >= length)) {
                return Ok(answer);
            }
        }
    }

    fn connect(&self, end: Instant) -> io::Result<TcpStream> {
        let mut failed = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in (self.address.host.as_str(), self.address.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(end)?) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// What of an answer's beginning matters.
struct Head {
    code: u16,
    /// Of the body; not known of one in chunks.
    length: Option<usize>,
    is_chunked: bool,
    /// Where the body begins.
    end: usize,
}

impl Head {
    /// Returns `None` for what is no HTTP, and while it is not whole.
    fn read(answer: &[u8]) -> Option<Self> {
        let first = &answer[..answer.len().min(MOST_HEAD)];
        let end = first.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = std::str::from_utf8(&first[..end]).ok()?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        if !words.next()?.starts_with("HTTP/1.") {
            return None;
        }
        let code = words.next()?.parse().ok()?;
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
        let value =
            |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        let is_chunked = value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = value("content-length").filter(|_| !is_chunked).and_then(|value| value.parse().ok());
        Some(Self { code, length, is_chunked, end: end + 4 })
    }

    /// Returns the whole body, if it is there.
    fn body(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let body = &answer[self.end..];
        match self.length {
            _ if self.is_chunked => unchunk(body),
            Some(length) => Some(body.get(..length)?.to_vec()),
            None => Some(body.to_vec()),
        }
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let length = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..length)?);
        rest = rest[length..].strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answer: &str) -> Option<String> {
        let body = Head::read(answer.as_bytes())?.body(answer.as_bytes())?;
        Some(String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_body_has_a_length_or_chunks_or_goes_to_the_end() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}more"), some("{}"));
        assert_eq!(body("HTTP/1.0 200 OK\r\n\r\n{}"), some("{}"));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(body(&format!("{chunks}3;x=y\r\n{{\"a\r\nA\r\n\":1234567}}\r\n0\r\n\r\n")), some("{\"a\":1234567}"));
    }

    #[test]
    fn what_is_broken_off_or_wrong_is_no_body() {
        let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for rest in
            ["", "5\r\nabc", "3\r\nabc\r\n", "3\r\nabcdef\r\n0\r\n\r\n", "x\r\n", "-1\r\n", "ffffffffffffffff\r\na"]
        {
            assert_eq!(body(&format!("{chunks}{rest}")), None, "{rest:?}");
        }
        for answer in [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 \r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
        ] {
            assert_eq!(body(answer), None, "{answer:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn whatever_is_answered_there_is_a_body_of_it_or_none(
            head in "(HTTP/1\\.[01] [0-9]{0,4}( OK)?|.{0,6})(\r\n(content-length|transfer-encoding): ?([0-9]{0,20}|chunked|-1))?(\r\n){0,2}",
            rest in "(([0-9a-f]{1,2}|f{16}|.)(;x)?\r\n.{0,20}\r\n){0,3}(0\r\n)?",
        ) {
            let answer = [head.as_bytes(), rest.as_bytes()].concat();
            let body = Head::read(&answer).and_then(|head| head.body(&answer));
            proptest::prop_assert!(body.is_none_or(|body| body.len() <= answer.len()));
        }
    }

    #[test]
    fn a_token_that_would_add_a_header_is_refused() {
        let client = |token: &str| Client::new(Address::parse("h").unwrap(), Some(token.to_owned()));
        assert!(client("0123456789abcdef").is_ok());
        for token in ["", "a b", "a\r\nx: y", "ü"] {
            assert!(client(token).is_err(), "{token:?}");
        }
    }
}
