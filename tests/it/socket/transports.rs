//! Every way in, end to end.

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use forebay::ErrorKind;
use forebay::source::Source;
use forebay::source::socket::{Socket, SocketSettings};

use super::{Station, record, soon, texts};

const CAPTURE: &str = r#"{"forebay":"capture","kind":"payload","data":"AP8=","src_ip":"192.0.2.7"}"#;

/// Three records: an event, a capture, and one that is neither.
fn lines() -> String {
    format!("{}\n\n{CAPTURE}\nnonsense\n", record(1))
}

/// What they come to.
fn check(station: &Station) {
    station.wait_for_rows(2, 1);
    let database = &station.database;
    assert_eq!(database.text("SELECT sensor || ' ' || msg || ' ' || raw FROM events"), format!("s 1 {}", record(1)));
    assert_eq!(
        database.text("SELECT sensor || ' ' || kind || hex(data) || src_ip FROM captures"),
        "here payload00FF192.0.2.7"
    );
    assert_eq!(database.text("SELECT reason || row FROM ingest_rejects"), r#"bad_json{"raw":"nonsense"}"#);
    // Counted a moment before it is sent, and a moment after.
    soon("the meter has counted them", || station.meter.status().rows == 3 && station.meter.status().malformed == 1);
}

#[test]
fn lines_over_a_unix_socket_become_rows_and_what_cannot_be_read_is_set_aside() {
    let station = Station::start("unix:@/in.sock", "");
    let mut peer = station.peer();
    peer.stream.write_all(lines().as_bytes()).unwrap();
    check(&station);
    assert_eq!(station.meter.status().peers, Some(1));
    let mode = fs::metadata(station.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = station.path();
    drop(peer);
    station.end();
    assert!(!path.exists());
}

#[test]
fn lines_over_tcp_become_rows() {
    let station = Station::start("tcp:127.0.0.1:0", "");
    station.tcp().stream.write_all(lines().as_bytes()).unwrap();
    check(&station);
    station.end();
}

#[test]
fn datagrams_of_one_or_several_lines_become_rows() {
    for udp in [false, true] {
        let station = Station::start(if udp { "udp:127.0.0.1:0" } else { "unixgram:@/in.sock" }, r#","mode":"0660""#);
        let send = |text: &str| {
            if udp {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.send_to(text.as_bytes(), ("127.0.0.1", station.port)).unwrap();
            } else {
                UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), station.path()).unwrap();
            }
        };
        if !udp {
            assert_eq!(fs::metadata(station.path()).unwrap().permissions().mode() & 0o777, 0o660);
        }
        // The end of a datagram is the end of its last line.
        send(&record(1));
        send(lines().split_once('\n').unwrap().1);
        check(&station);
        if udp {
            soon("the kernel's drops are known", || station.meter.status().kernel_drops.is_some());
        } else {
            assert_eq!(station.meter.status().kernel_drops, None);
        }
        station.end();
    }
}

#[test]
fn a_datagram_above_the_limit_is_set_aside_and_counted() {
    let station = Station::start("unixgram:@/in.sock", r#","limits":{"record":"1 KiB"}"#);
    let sender = UnixDatagram::unbound().unwrap();
    sender.send_to(&[b'x'; 5000], station.path()).unwrap();
    sender.send_to(record(1).as_bytes(), station.path()).unwrap();
    station.wait_for_rows(1, 1);
    let reject = station.database.text("SELECT reason || ' ' || detail || length(row) FROM ingest_rejects");
    assert!(reject.starts_with("too_large the record has 1025 bytes, more than limits.record"), "{reject}");
    assert_eq!(station.meter.status().malformed, 1);
    station.end();
}

#[test]
fn records_behind_their_length_may_hold_line_ends() {
    let station = Station::start("unix:@/in.sock", r#","framing":"length""#);
    let framed = |record: &str| [&(record.len() as u32).to_be_bytes(), record.as_bytes()].concat();
    let records = [&*record(1).replace(',', ",\n"), CAPTURE, "nonsense"];
    let mut peer = station.peer();
    for byte in records.iter().flat_map(|record| framed(record)) {
        peer.stream.write_all(&[byte]).unwrap();
    }
    station.wait_for_rows(2, 1);
    assert_eq!(station.messages(), ["1"]);
    station.end();
}

#[test]
fn what_has_arrived_when_the_source_ends_is_committed() {
    for round in 0..5 {
        let station = Station::start("unix:@/in.sock", "");
        let mut peer = station.peer();
        peer.send(0..1);
        // The connection was taken: what is written from now on is in its buffer.
        station.wait_for_rows(1, 0);
        peer.send(1..1000);
        let database = station.end();
        let rows = database.texts("SELECT msg FROM events ORDER BY id");
        assert_eq!(rows, texts(0..1000), "round {round}");
    }
}

#[test]
fn an_address_that_is_taken_is_refused_when_it_is_bound_and_a_stale_one_is_not() {
    let station = Station::start("unix:@/in.sock", "");
    let mut settings = SocketSettings::default();
    settings.listen = format!("unix:{}", station.path().display()).parse().unwrap();
    let mut second = Socket::new("second", &settings, "here", 1 << 20).unwrap();
    assert_eq!(second.bind().unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(second.meter().status().state.word(), "starting");
    station.peer().send(0..1);
    station.wait_for_rows(1, 0);
    let database = station.end();
    drop(std::os::unix::net::UnixListener::bind(database.directory().join("in.sock")).unwrap());
    let again = Station::over(database, "unix:@/in.sock", "");
    again.peer().send(1..2);
    again.wait_for_rows(1, 0);
    again.end();
}

#[test]
fn a_pipeline_that_takes_no_more_rows_ends_the_source_with_an_error() {
    let station = Station::start("unix:@/in.sock", "");
    let mut peer = station.peer();
    station.pipeline.close();
    peer.send(0..1);
    soon("it has failed", || station.meter.status().state.word() == "failed");
    assert_eq!(peer.answer(), None, "and peers see it");
}

#[test]
fn a_record_without_a_sensor_has_its_peers_name_or_this_hosts() {
    let station = Station::start("unix:@/in.sock", "");
    station.peer().say(r#"{"msg":"plain"}"#);
    station.wait_for_rows(1, 0);
    let mut named = station.peer();
    named.hello("web-1", None);
    named.say(r#"{"msg":"named"}"#);
    named.wait_for_ack(1);
    let sensors = station.database.texts("SELECT msg || ' ' || sensor FROM events ORDER BY id");
    assert_eq!(sensors, ["plain here", "named web-1"]);
    station.end();
}

#[test]
fn a_mapping_says_which_member_goes_into_which_column() {
    let station = Station::start("unix:@/in.sock", r#","mapping":{"src_ip":"/client/ip"},"sensor":"forced""#);
    station.peer().say(r#"{"msg":"a","client":{"ip":"192.0.2.1"}}"#);
    station.wait_for_rows(1, 0);
    assert_eq!(station.database.text("SELECT src_ip || ' ' || sensor FROM events"), "192.0.2.1 forced");
    station.end();
}

#[test]
fn the_example_of_the_readme_works() {
    let station = Station::start("unix:@/in.sock", "");
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let example = readme.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let example = example.replace("/run/forebay/in.sock", station.path().to_str().unwrap());
    let python = Command::new("python3").args(["-c", &example]).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let database = station.end();
    assert_eq!(database.text("SELECT service || src_ip FROM events"), "ssh203.0.113.9");
    assert_eq!(database.text("SELECT sensor || hex(data) FROM captures"), "web-100FF");
}
