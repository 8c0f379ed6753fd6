//! Syslog over every transport, from a real sender: `logger` of util-linux, which every Debian has.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

use forebay::source::syslog::{Syslog, SyslogSettings};

use super::{Station, soon};
use crate::authority::Authority;
use crate::harness::counts;
use crate::sqlite::Database;

fn start(listen: &str, rest: &str) -> Station {
    let database = Database::new();
    let settings = format!(r#"{{"listen":"{listen}"{rest}}}"#).replace('@', database.directory().to_str().unwrap());
    let settings: SyslogSettings = serde_json::from_str(&settings).unwrap();
    let mut syslog = Syslog::new("log", &settings, "here", super::ROOM).unwrap();
    syslog.bind().unwrap();
    let port = syslog.local_address().map_or(0, |address| address.port());
    Station::run(database, syslog, port)
}

/// Has `logger` send what it is told.
fn log(arguments: &[&str]) {
    let output = Command::new("logger").args(["--tag", "sshd"]).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("logger: {error}; install the package `bsdutils`"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn services_and_messages(station: &Station) -> Vec<String> {
    station.database.texts("SELECT service || ' ' || msg FROM events ORDER BY id")
}

#[test]
fn both_forms_come_over_udp_and_tcp_counted_or_in_lines() {
    for protocol in ["udp", "tcp"] {
        let station = start(&format!("{protocol}:127.0.0.1:0"), "");
        let port = station.port.to_string();
        let to = ["--server", "127.0.0.1", "--port", &port, &format!("--{protocol}")];
        let mut rows = 0;
        for form in ["--rfc5424", "--rfc3164"] {
            // Datagrams need no count: each is a message.
            let counted: &[&str] = if protocol == "udp" { &[] } else { &["--octet-count"] };
            for framing in [&[], counted] {
                log(&[&to, framing, &[form, "invalid user root"]].concat());
                rows += 1;
                station.wait_for_rows(rows, 0);
            }
        }
        assert_eq!(services_and_messages(&station), ["sshd invalid user root"; 4], "{protocol}");
        let database = station.end();
        assert_eq!(database.number("SELECT count(DISTINCT sensor) FROM events WHERE sensor <> 'here'"), 1);
    }
}

#[test]
fn one_connection_may_change_its_framing_with_each_message() {
    let station = start("tcp:127.0.0.1:0", "");
    let mut sender = TcpStream::connect(("127.0.0.1", station.port)).unwrap();
    let line = |text: &str| format!("<34>1 2026-11-20T08:15:00Z web-1 sshd - - - {text}");
    let counted = |text: &str| format!("{} {}", line(text).len(), line(text));
    let stream = format!("{}\n{}{}{}\n{}", line("a"), counted("b\nc"), counted("d"), line("e"), line("f"));
    for byte in stream.as_bytes() {
        sender.write_all(&[*byte]).unwrap();
    }
    station.wait_for_rows(4, 0);
    drop(sender);
    station.wait_for_rows(5, 0);
    let rows = services_and_messages(&station);
    assert_eq!(rows, ["sshd a", "sshd b\nc", "sshd d", "sshd e", "sshd f"]);
    station.end();
}

#[test]
fn a_unix_socket_stands_in_for_dev_log() {
    let station = start("unixgram:@/in.sock", r#","mode":"0666""#);
    log(&["--socket", station.path().to_str().unwrap(), "hello"]);
    station.wait_for_rows(1, 0);
    assert_eq!(services_and_messages(&station), ["sshd hello"]);
    station.end();
}

#[test]
fn a_message_of_decnet_over_tls_becomes_a_row_of_its_decoy() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.sign("server", "IP:127.0.0.1");
    authority.sign("client", "DNS:relay.example");
    let tls = format!(
        r#","tls":{{"cert":"{0}/server.pem","key":"{0}/server.key","client_ca":"{0}/ca.pem"}}"#,
        directory.path().display()
    );
    let station = start("tcp:127.0.0.1:0", &tls);
    let mut client = super::tls::Client::connect(&station, &authority, Some(&authority));
    let line = r#"<134>1 2026-11-20T08:15:00Z decoy-3 ssh - login_attempt [relay@55555 src_ip="203.0.113.9"] root"#;
    client.write(&format!("{} {line}", line.len()));
    station.wait_for_rows(1, 0);
    let query = "SELECT sensor || ' ' || service || ' ' || event_type || ' ' || src_ip FROM events";
    assert_eq!(station.database.text(query), "decoy-3 ssh login_attempt 203.0.113.9");
    station.end();
}

#[test]
fn what_is_no_syslog_is_set_aside_and_nobody_is_answered() {
    let station = start("tcp:127.0.0.1:0", "");
    let mut peer = station.tcp();
    peer.say(&super::hello("a", None));
    peer.say("<13>fine");
    super::Stream::end_writing(&peer.stream);
    assert_eq!(peer.answer(), None);
    station.wait_for_rows(1, 1);
    assert_eq!(station.database.text("SELECT reason FROM ingest_rejects"), "bad_syslog");
    station.end();
}

#[test]
fn what_the_kernel_drops_of_a_flood_is_counted_and_the_rest_is_there() {
    const SENT: u64 = 20_000;
    let station = start("udp:127.0.0.1:0", r#","receive_buffer":"4 KiB""#);
    let other = station.database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let message = format!("<13>{}", "x".repeat(4000));
    for _ in 0..SENT {
        // Local datagrams are dropped by the receiver's socket alone.
        sender.send_to(message.as_bytes(), ("127.0.0.1", station.port)).unwrap();
    }
    // 80 MB were sent, and 64 MiB is what a pipeline holds.
    soon("drops are counted", || station.meter.status().kernel_drops.is_some_and(|drops| drops > 0));
    assert!(station.pipeline.status().buffered_bytes <= 64 << 20);
    other.execute_batch("COMMIT").unwrap();
    soon("every datagram has its fate", || {
        let drops = station.meter.status().kernel_drops.unwrap_or(0);
        counts(&station.pipeline).committed + drops == SENT
    });
    station.end();
}
