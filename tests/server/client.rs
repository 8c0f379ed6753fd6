//! HTTP/1.1 by hand: what is sent and what comes back is seen byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// For whatever must happen soon; far above what a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for something to become true.
#[track_caller]
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    stream.set_write_timeout(Some(DEADLINE)).expect("a time limit");
    stream
}

/// Asks as a well-behaved client on this machine.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &["Host: localhost"], "")
}

pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    raw(connect(address), &format!("{method} {path} HTTP/1.1\r\n{headers}{length}Connection: close\r\n\r\n{body}"))
}

/// Sends `request` and reads the answer, by its length.
pub fn raw(mut stream: impl Read + Write, request: &str) -> Answer {
    // A server that refuses early may close before all is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).expect("an answer") > 2 {}
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head:?}"));
    let answer = Answer { code, head, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    Answer { body: String::from_utf8(body).expect("text"), ..answer }
}

/// The reports of a stream of server-sent events.
pub fn stream(address: SocketAddr) -> impl Iterator<Item = serde_json::Value> {
    let mut socket = connect(address);
    socket.write_all(b"GET /api/status/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    let lines = BufReader::new(socket).lines().map(|line| line.expect("a line"));
    lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
}
