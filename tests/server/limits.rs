//! What one peer can cost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use forebay::Pipeline;
use forebay::server::{Server, View};

use crate::client::{connect, get, raw, wait_for};
use crate::stage::{anywhere, exporter};

fn serve() -> (Server, Pipeline) {
    let exporter = exporter();
    let pipeline = Pipeline::open("memory:").unwrap();
    (Server::start(&anywhere(), View::new(pipeline.observer()).exporter(exporter)).unwrap(), pipeline)
}

/// Returns whether the other end has closed; waits for it.
fn is_cut(mut stream: &TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn peers_that_send_nothing_or_headers_drop_by_drop_are_cut() {
    let (server, _pipeline) = serve();
    let address = server.address();
    let silent = connect(address);
    let mut slow = connect(address);
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: local").unwrap();
    let mut dropping = connect(address);
    let drops = thread::spawn(move || {
        dropping.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        // One header line at a time, until it is cut: no line starts the time anew.
        wait_for("the end of the connection", || dropping.write_all(b"X-A: b\r\n").is_err().then_some(()));
    });
    let kept_alive = connect(address);
    (&kept_alive).write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(is_cut(&silent) && is_cut(&slow) && is_cut(&kept_alive));
    drops.join().unwrap();
    assert_eq!(get(address, "/healthz").code, 200);
}

#[test]
fn headers_have_a_size_and_a_number() {
    let (server, _pipeline) = serve();
    let head = |more: String| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    let code = |request: String| raw(connect(server.address()), &request).code;
    assert_eq!(code(head("X-A: b\r\n".repeat(50))), 200);
    assert_eq!(code(head("X-A: b\r\n".repeat(70))), 431);
    assert_eq!(code(head(format!("X-A: {}\r\n", "b".repeat(8 << 10)))), 200);
    assert_eq!(code(head(format!("X-A: {}\r\n", "b".repeat(64 << 10)))), 431);
    assert_eq!(code(format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(64 << 10))), 431);
    assert_eq!(code("\x16\x03\x01 nonsense\r\n\r\n".into()), 400);
    assert_eq!(get(server.address(), "/healthz").code, 200);
}

#[test]
fn one_address_has_so_many_connections_and_when_they_end_it_is_answered_again() {
    let (server, _pipeline) = serve();
    let address = server.address();
    let many: Vec<_> = (0..70).map(|_| connect(address)).collect();
    let refused = |stream: &&TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let mut stream = *stream;
        matches!(stream.read(&mut [0]), Ok(0))
            || stream.read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
    };
    wait_for("the last ones to be refused", || (many.iter().filter(refused).count() >= 6).then_some(()));
    drop(many);
    let answered = || {
        let mut stream = connect(address);
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        (asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(" 200 ")).then_some(())
    };
    wait_for("an answer", answered);
}

#[test]
fn so_many_pages_may_be_open_and_the_next_one_is_told_when_to_come_back() {
    let (server, _pipeline) = serve();
    let address = server.address();
    let open = || {
        let mut stream = connect(address);
        stream.write_all(b"GET /api/status/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let mut streams: Vec<_> = (0..17).map(|_| open()).collect();
    assert!(streams[..16].iter().all(|(_, head)| head.ends_with("200")));
    assert!(streams.pop().unwrap().1.ends_with("503"));
    assert_eq!(get(address, "/healthz").code, 200);
    streams.clear();
    wait_for("room", || open().1.ends_with("200").then_some(()));
}

#[test]
fn a_peer_that_takes_no_answer_is_cut() {
    let (server, _pipeline) = serve();
    let mut stream = connect(server.address());
    let requests = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(64);
    // It is asked for more than fits between us, and nothing is read.
    wait_for("the end of the connection", || stream.write_all(&requests).is_err().then_some(()));
    assert_eq!(get(server.address(), "/healthz").code, 200);
}
