//! `forebay export`: what was brought in comes out again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use forebay::source::pcap::PcapReader;

use crate::place::Place;
use crate::samples::{own, packet, pcap, pcap_header, shared};

/// A packet: time, length, link type, bytes, comment.
type Packet = (i64, u32, u16, Vec<u8>, Option<String>);

fn packets(file: &Path) -> Vec<Packet> {
    let bytes = fs::read(file).unwrap();
    let mut reader = PcapReader::open(&bytes[..]).unwrap();
    let mut packets = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        let ts = record.ts.as_nanos();
        packets.push((ts, record.length, record.link_type, record.data.to_vec(), record.comment()));
    }
    packets
}

/// Our own captures, and the shared ones that are there.
fn captures() -> Vec<PathBuf> {
    let shared = shared("pcap").and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let own = ["loopback.pcap", "loopback.pcapng", "cooked.pcap"].map(own);
    own.into_iter().chain(shared.map(|entry| entry.path())).collect()
}

#[test]
fn every_sample_comes_out_with_the_same_packets_times_lengths_and_link_types() {
    for file in captures() {
        let place = Place::new();
        let expected = packets(&file);
        let count = place.ingest(&[&file.to_string_lossy()]).counts().0;
        assert_eq!(count, expected.len() as u64, "{}", file.display());
        let outcome = place.run(&["export", "--output", "out.pcapng", "--json"]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
        assert_eq!(outcome.summary()["packets"], count);
        assert!(packets(&place.path("out.pcapng")) == expected, "{}", file.display());

        // Another program reads the same bytes at the same times; of packets above a file's own snap length it reads less.
        if expected.iter().any(|packet| packet.3.len() > 65_535) {
            continue;
        }
        let dump = |file: &Path| {
            let output = Command::new("tcpdump").args(["-n", "-tt", "--nano", "-xx", "-r"]).arg(file).output();
            let output = output.expect("tcpdump; install it: apt-get install tcpdump");
            assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        assert!(dump(&place.path("out.pcapng")) == dump(&file), "{}", file.display());
    }
}

#[test]
fn several_files_of_any_link_type_come_out_in_the_order_in_which_they_went_in() {
    let place = Place::new();
    let files = ["cooked.pcap", "loopback.pcap", "loopback.pcapng"].map(own);
    // Its clock goes back: no order by time would keep it.
    let backwards: Vec<u8> = [9, 5, 7].iter().flat_map(|seconds| packet(*seconds, b"back")).collect();
    let backwards = place.write("back.pcap", [pcap_header(), backwards].concat());
    let files: Vec<_> = files.into_iter().chain([backwards]).collect();
    for (n, file) in files.iter().enumerate() {
        place.run(&["ingest", "--quiet", "--sensor", &format!("sensor-{n}"), &file.to_string_lossy()]);
    }
    let all: Vec<_> = files.iter().flat_map(|file| packets(file)).collect();
    // To standard output, as to another program.
    let script = format!("{} export > all.pcapng", env!("CARGO_BIN_EXE_forebay"));
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let outcome = place.start_command(command).finish();
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert!(packets(&place.path("all.pcapng")) == all);

    let mut by_time = all.clone();
    by_time.sort_by_key(|packet| packet.0);
    assert_eq!(place.run(&["export", "--order", "time", "--output", "time.pcapng"]).code, 0);
    let times = |packets: &[Packet]| packets.iter().map(|packet| packet.0).collect::<Vec<_>>();
    assert_eq!(times(&packets(&place.path("time.pcapng"))), times(&by_time));
}

#[test]
fn only_what_is_asked_for_comes_out() {
    let place = Place::new();
    place.write("a.pcap", pcap(100));
    place.ingest(&["a.pcap"]);
    place.run(&["ingest", "--sensor", "other", &own("loopback.pcap").to_string_lossy()]);
    let export = |flags: &[&str]| {
        let outcome = place.run(&[&["export", "--force", "--output", "out.pcapng"], flags].concat());
        assert_eq!(outcome.code, 0, "{outcome:?}");
        packets(&place.path("out.pcapng"))
    };
    assert_eq!(export(&[]).len(), 182);
    assert_eq!(export(&["--sensor", "here"]).len(), 100);
    assert_eq!(export(&["--sensor", "other", "--src", "0:0::1"]).len(), 41);
    assert_eq!(export(&["--sensor", "nobody"]), []);
    // The packets of `pcap` come a second apart, from 1,700,000,000 on.
    let window = export(&["--since", "2023-11-14T22:13:30Z", "--until", "2023-11-14T22:13:40Z"]);
    let seconds: Vec<_> = window.iter().map(|packet| packet.0 / 1_000_000_000 - 1_700_000_000).collect();
    assert_eq!(seconds, (10..20).collect::<Vec<_>>());
}

#[test]
fn a_new_file_is_its_owners_alone_and_another_is_not_written_over() {
    let place = Place::new();
    place.write("a.pcap", pcap(3));
    place.ingest(&["a.pcap"]);
    assert_eq!(place.run(&["export", "--output", "new.pcapng"]).code, 0);
    let mode = place.path("new.pcapng").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    place.write("old", "precious");
    let outcome = place.run(&["export", "--output", "old"]);
    assert!(outcome.code == 2 && outcome.err.contains("add --force"), "{outcome:?}");
    assert_eq!(fs::read(place.path("old")).unwrap(), b"precious");
    for (flags, told) in [
        (&["--db", "sqlite:nowhere.db", "--output", "x"][..], "nowhere.db"),
        (&["--since", "yesterday"], "write it like 2026-11-20T08:15:00Z"),
        (&["--json"], "add --output FILE"),
        (&["--output", "nowhere/x"], "nowhere/x"),
    ] {
        let outcome = place.run(&[&["export"], flags].concat());
        assert!(outcome.code >= 2 && outcome.err.contains(told), "{told}: {outcome:?}");
    }
    assert!(!place.path("x").exists());
}

#[test]
fn a_row_that_no_file_can_hold_is_left_out_and_told() {
    let place = Place::new();
    place.write("a.pcap", pcap(3));
    place.ingest(&["a.pcap"]);
    let number = place.database().number("SELECT min(number) FROM segments WHERE kind = 'captures'");
    let connection = rusqlite::Connection::open(place.path("forebay.db")).unwrap();
    let sql = format!("UPDATE captures_{number} SET link_type = NULL WHERE id = (SELECT min(id) FROM captures)");
    connection.execute_batch(&sql).unwrap();
    drop(connection);
    let outcome = place.run(&["export", "--output", "out.pcapng", "--json"]);
    assert!(outcome.code == 1 && outcome.err.contains("1 rows are not in the file"), "{outcome:?}");
    assert_eq!((&outcome.summary()["packets"], &outcome.summary()["left_out"]), (&2.into(), &1.into()));
    assert_eq!(packets(&place.path("out.pcapng")).len(), 2);
    let full = place.run(&["export", "--output", "/dev/full"]);
    assert!(full.code == 3 && full.err.contains("write the file"), "{full:?}");
}
