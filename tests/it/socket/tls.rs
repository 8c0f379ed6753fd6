//! Who is let in beyond this host: who has a certificate of our authority. The peers are `openssl s_client`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};

use forebay::ErrorKind;
use forebay::source::socket::{Socket, SocketSettings};
use tempfile::TempDir;

use super::{Station, hello, record, soon, texts};
use crate::authority::Authority;

/// An authority with certificates `server` and `client`.
fn authority() -> (TempDir, Authority) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.sign("server", "IP:127.0.0.1");
    authority.sign("client", "DNS:sensor.example");
    (directory, authority)
}

/// Listens for peers that have a certificate of this authority, or of any with `any_client`.
fn start(ours: &Authority, rest: &str) -> Station {
    start_with(ours, "", rest)
}

/// The same, with more settings of TLS.
fn start_with(ours: &Authority, more: &str, rest: &str) -> Station {
    let tls = format!(
        r#","tls":{{"cert":"{}","key":"{}",{}{more}}}{rest}"#,
        ours.file("server.pem"),
        ours.file("server.key"),
        format_args!(r#""client_ca":"{}""#, ours.file("ca.pem")),
    );
    Station::start("tcp:127.0.0.1:0", &tls)
}

/// A peer over TLS; killed when the test ends.
pub struct Client {
    process: Child,
    input: ChildStdin,
}

impl Client {
    /// Connects, trusting `server`, with the certificate of `client`.
    pub fn connect(station: &Station, server: &Authority, client: Option<&Authority>) -> Self {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-connect",
            &format!("127.0.0.1:{}", station.port),
        ]);
        openssl.args(["-CAfile", &server.file("ca.pem")]);
        if let Some(client) = client {
            openssl.args(["-cert", &client.file("client.pem"), "-key", &client.file("client.key")]);
        }
        let mut process = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let input = process.stdin.take().unwrap();
        Self { process, input }
    }

    fn say(&mut self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    pub fn write(&mut self, text: &str) {
        // Who is refused may have gone already.
        let _ = self.input.write_all(text.as_bytes());
    }

    fn first_answer(&mut self) -> String {
        let mut answers = BufReader::new(self.process.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_peer_with_a_certificate_of_our_authority_is_let_in_and_nobody_else() {
    let (_ours, ours) = authority();
    let (_other, other) = authority();
    let station = start(&ours, "");
    for refused in [Some(&other), None] {
        let mut client = Client::connect(&station, &ours, refused);
        client.say(&record(66));
        soon("it is refused", || client.process.try_wait().unwrap().is_some());
    }
    // Without TLS, and with an end in the middle of the handshake.
    let mut plain = station.tcp();
    plain.send([66]);
    while plain.answer_bytes() {}
    let mut client = Client::connect(&station, &ours, Some(&ours));
    client.say(&hello("sensor-7", None));
    assert_eq!(client.first_answer(), r#"{"ack":0,"next":1}"#);
    client.say(&record(1));
    station.wait_for_rows(1, 0);
    assert_eq!(station.messages(), texts([1]));
    station.end();
}

/// Whoever had a certificate could take another's name, and with it the numbers of its records: what it sent under
/// numbers that the other had not used yet was all that landed under them.
#[test]
fn with_own_names_no_peer_can_take_the_name_of_another() {
    let (_ours, ours) = authority();
    let station = start_with(&ours, r#","own_names":true"#, "");
    for name in ["other.example", "example", "sensor-7"] {
        let mut client = Client::connect(&station, &ours, Some(&ours));
        client.say(&hello(name, None));
        client.say(&record(66));
        assert_eq!(client.first_answer(), r#"{"error":"the certificate is not that of a peer with this name"}"#);
    }
    let mut client = Client::connect(&station, &ours, Some(&ours));
    client.say(&hello("sensor.example", None));
    assert_eq!(client.first_answer(), r#"{"ack":0,"next":1}"#);
    client.say(&record(1));
    station.wait_for_rows(1, 0);
    assert_eq!(station.messages(), texts([1]));
    station.end();
}

#[test]
fn half_a_handshake_keeps_nobody_out() {
    let (_ours, ours) = authority();
    let station = start(&ours, r#","limits":{"connections":4,"handshake":"200ms"}"#);
    let half: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", station.port)).unwrap();
            // A record of a handshake that is to have 512 bytes.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
            stream
        })
        .collect();
    let mut client = Client::connect(&station, &ours, Some(&ours));
    client.say(&hello("a", None));
    assert_eq!(client.first_answer(), r#"{"ack":0,"next":1}"#);
    drop(half);
    station.end();
}

#[test]
fn files_that_cannot_be_used_are_told_when_the_address_is_bound() {
    let (_ours, ours) = authority();
    for (cert, key, ca) in [
        ("missing.pem", "server.key", "ca.pem"),
        ("server.pem", "client.key", "ca.pem"),
        ("server.key", "server.key", "ca.pem"),
        ("server.pem", "server.pem", "ca.pem"),
        ("server.pem", "server.key", "server.key"),
    ] {
        let file = |name: &str| ours.file(name);
        let settings = format!(
            r#"{{"listen":"tcp:127.0.0.1:0","tls":{{"cert":"{}","key":"{}","client_ca":"{}"}}}}"#,
            file(cert),
            file(key),
            file(ca)
        );
        let settings: SocketSettings = serde_json::from_str(&settings).unwrap();
        let error = Socket::new("in", &settings, "here", 1 << 20).unwrap().bind().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{cert} {key} {ca}");
        assert!(error.to_string().contains("TLS") && !format!("{error:?}").contains("BEGIN"), "{error:?}");
    }
}
