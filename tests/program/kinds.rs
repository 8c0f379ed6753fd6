//! What each kind of file becomes.

use crate::database::Value;
use crate::place::Place;
use crate::samples::{self, gzip, line, lines, own, shared};

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

/// Logins in `cowrie.json`.
const LOGINS: i64 = 33;

#[test]
fn each_sample_lands_in_its_table_with_every_record() {
    let place = Place::new();
    for (name, kind, rows, set_aside) in [
        ("loopback.pcap", "pcap", 82, 0),
        ("loopback.pcapng", "pcap", 82, 0),
        ("cooked.pcap", "pcap", 82, 0),
        ("eve.json", "eve", 84, 0),
        ("conn.zeek.json", "zeek", 86, 0),
        ("ssh.zeek.json", "zeek", 26, 0),
        ("cowrie.json", "cowrie", 100, 0),
        ("app.ndjson", "ndjson", 81, 3),
        ("zeek.log", "zeek-tsv", 86 + 26, 0),
        ("decnet.json", "decnet", 30, 0),
        ("syslog.log", "syslog", 46, 1),
    ] {
        let outcome = place.ingest(&[text(&own(name))]);
        assert_eq!(outcome.counts(), (rows, 0, set_aside), "{name}");
        assert_eq!((outcome.code, &outcome.summary()["files"][0]["kind"]), (i32::from(set_aside > 0), &kind.into()));
    }
    let database = place.database();
    assert_eq!(database.number("SELECT count(*) FROM captures WHERE kind = 'packet'"), 3 * 82);
    assert_eq!(database.number("SELECT count(*) FROM captures WHERE kind = 'credential'"), LOGINS + 12 + 12);
    let of_event = "SELECT count(*) FROM captures c JOIN events e ON (e.session = c.session AND e.ts = c.ts) \
                    WHERE c.kind = 'credential' AND e.event_type LIKE 'cowrie.login.%'";
    assert_eq!(database.number(of_event), LOGINS);
    assert_eq!(database.number("SELECT count(*) FROM events"), 84 + 86 + 26 + 100 + 81 + 112 + 30 + 46);
    assert_eq!(database.number("SELECT count(*) FROM ingest_rejects"), 3 + 1);
}

#[test]
fn every_packet_of_every_shared_capture_lands_once() {
    let place = Place::new();
    let counts = [
        ("afs.pcap", 601),
        ("arp-oobr.pcap", 2282),
        ("of13_ericsson.pcapng", 174),
        ("pim-packet-assortment.pcap", 245),
        ("dhcp-request-flood.pcap", 10_000),
        ("linux-cooked-v2.pcap", 159),
        ("smb2-peter.pcap", 792),
    ];
    for (name, packets) in counts {
        let Some(path) = shared(&format!("pcap/{name}")) else { return };
        let outcome = place.ingest(&[text(&path)]);
        assert_eq!((outcome.code, outcome.counts()), (0, (packets, 0, 0)), "{name}");
    }
    for (name, packets) in counts {
        let path = shared(&format!("pcap/{name}")).expect("it was there");
        assert_eq!(place.ingest(&[text(&path)]).counts(), (0, packets, 0), "{name} again");
    }
    let all: u64 = counts.iter().map(|(_, packets)| packets).sum();
    assert_eq!(place.database().number("SELECT count(*) FROM captures") as u64, all);
}

#[test]
fn every_line_of_every_shared_log_lands_once_with_its_original() {
    let place = Place::new();
    for (name, kind, count) in [
        ("eve/honeypot-2018.eve.json", "eve", 44),
        ("zeek/weird.json", "zeek", 24_202),
        ("zeek/ssh.json", "zeek", 22),
        ("zeek/rdp.json", "zeek", 4122),
        ("zeek/weird.log", "zeek-tsv", 24_202),
        ("zeek/ssh.log", "zeek-tsv", 22),
        ("zeek/rdp.log", "zeek-tsv", 4122),
        ("cowrie/cowrie.json", "cowrie", 945),
    ] {
        let Some(path) = shared(name) else { return };
        let before = place.path("forebay.db").exists().then(|| place.database().number("SELECT max(id) FROM events"));
        let outcome = place.ingest(&[text(&path)]);
        assert_eq!((outcome.code, outcome.counts()), (0, (count, 0, 0)), "{name}");
        assert_eq!(outcome.summary()["files"][0]["kind"], kind);
        let query = format!("SELECT raw FROM events WHERE id > {} ORDER BY id", before.unwrap_or(0));
        let raw = place.database().texts(&query);
        let file = std::fs::read_to_string(&path).unwrap();
        let is_record = |line: &&str| !line.trim().is_empty() && !(kind == "zeek-tsv" && line.starts_with('#'));
        assert!(file.lines().filter(is_record).eq(raw.iter().map(String::as_str)), "{name}");
    }
}

#[test]
fn the_original_line_is_in_raw_and_the_rest_in_fields() {
    let place = Place::new();
    let original = r#"{"ts":1700000000.25, "src_ip":"192.0.2.1","odd":{"a":[1,2.50]} ,"msg":"hé"}"#;
    place.write("a.json", format!("{original}\r\n"));
    place.ingest(&["a.json"]);
    let rows = place.database().rows("SELECT ts, src_ip, msg, fields, raw, sensor FROM events");
    let text = |text: &str| Value::Text(text.into());
    let fields = text(r#"{"odd":{"a":[1,2.50]}}"#);
    let ts = Value::Integer(1_700_000_000_250_000_000);
    assert_eq!(rows, [[ts, text("192.0.2.1"), text("hé"), fields, text(original), text("here")]]);
}

#[test]
fn a_packet_of_a_link_type_that_nobody_takes_apart_is_kept_as_its_bytes() {
    let place = Place::new();
    place.write("a.pcap", samples::pcap(1));
    place.ingest(&["a.pcap"]);
    let rows = place.database().rows("SELECT kind, link_type, length, hex(data), src_ip FROM captures");
    let data = Value::Text("0".repeat(16) + &"AB".repeat(52));
    let kind = Value::Text("packet".into());
    assert_eq!(rows, [[kind, Value::Integer(147), Value::Integer(60), data, Value::Null]]);
}

#[test]
fn blank_lines_carriage_returns_and_a_byte_order_mark_do_no_harm() {
    let place = Place::new();
    place.write("a.json", format!("\u{feff}{}\r\n\r\n  \n\t\n{}\n\n\n", line(0).trim(), line(1).trim()));
    let outcome = place.ingest(&["a.json"]);
    assert_eq!((outcome.code, outcome.counts()), (0, (2, 0, 0)));
    assert_eq!(place.ingest(&["a.json"]).counts(), (0, 2, 0));
}

#[test]
fn gzip_of_one_or_many_members_is_read_as_what_is_in_it() {
    let place = Place::new();
    place.write("a.pcap.gz", gzip(samples::pcap(7)));
    place.write("b", [gzip(lines(0, 3)), gzip(""), gzip(line(3).trim()), gzip("\n"), gzip(line(4))].concat());
    assert_eq!(place.ingest(&["a.pcap.gz"]).counts(), (7, 0, 0));
    assert_eq!(place.ingest(&["b"]).counts(), (5, 0, 0));
    assert_eq!(place.ingest(&["a.pcap.gz", "b"]).counts(), (0, 12, 0));
}

#[test]
fn an_empty_file_is_nothing_and_no_fault() {
    let place = Place::new();
    place.write("empty", "");
    place.write("blank", "\n \r\n");
    place.write("empty.gz", gzip(""));
    let outcome = place.ingest(&["empty", "blank", "empty.gz", "/dev/null"]);
    assert_eq!((outcome.code, outcome.counts()), (0, (0, 0, 0)), "{outcome:?}");
    for file in outcome.summary()["files"].as_array().unwrap() {
        assert_eq!(file["state"], "empty", "{file}");
    }
    assert_eq!(place.run(&["ingest", "empty"]).code, 0);
}

/// The header lines of a log are in no row, so that nothing of them is committed; they are needed all the same.
#[test]
fn a_growing_log_with_a_header_is_read_on_and_never_in_the_middle_of_a_line() {
    let place = Place::new();
    let header = "#separator \\x09\n#path\tssh\n#fields\tts\tclient\n#types\ttime\tstring\n";
    let mut log = format!("{header}1767325811.5\ta\n1767325812\tbeginn");
    place.write("ssh.log", &log);
    assert_eq!(place.ingest(&["ssh.log"]).counts(), (1, 0, 0));
    log.push_str("ing\n1767325813\tc\n#close\t2026\n#fields\tserver\tts\n#types\tstring\ttime\ns\t1767325814\n");
    place.write("ssh.log", &log);
    assert_eq!(place.ingest(&["ssh.log"]).counts(), (3, 1, 0));
    assert_eq!(place.ingest(&["ssh.log"]).counts(), (0, 4, 0));
    let database = place.database();
    assert_eq!(database.texts("SELECT msg FROM events WHERE msg IS NOT NULL ORDER BY ts"), ["a", "beginning", "c"]);
    assert_eq!(database.texts("SELECT fields ->> 'server' FROM events WHERE msg IS NULL"), ["s"]);
}

#[test]
fn a_format_that_is_named_wins_over_the_one_that_is_told() {
    let place = Place::new();
    place.write("a.json", samples::eve(0));
    place.ingest(&["--format", "ndjson", "a.json"]);
    assert_eq!(place.database().texts("SELECT service FROM events"), ["ndjson"]);
    let outcome = place.ingest(&["--format", "Eve", "a.json"]);
    assert!(
        outcome.code == 2 && outcome.err.contains("pcap, eve, zeek, zeek-tsv, cowrie, decnet, syslog, ndjson"),
        "{outcome:?}"
    );
}

#[test]
fn a_file_of_no_known_kind_is_named_and_the_others_come_in() {
    let place = Place::new();
    place.write("a.txt", "hello\nworld\n");
    place.write("b.json", lines(0, 3));
    place.write("c.bin", [0_u8; 100_000]);
    let outcome = place.ingest(&["a.txt", "b.json", "c.bin"]);
    assert_eq!((outcome.code, outcome.counts()), (1, (3, 0, 0)));
    for name in ["a.txt", "c.bin"] {
        let hint = format!("{name}: is neither a capture nor a known log; if it is, name it with --format");
        assert!(outcome.err.contains(&hint), "{outcome:?}");
    }
    let states: Vec<_> =
        outcome.summary()["files"].as_array().unwrap().iter().map(|file| file["state"].clone()).collect();
    assert_eq!(states, ["not read", "in", "not read"]);
}
