//! Capture files from outside: our own samples, the shared ones when they are there, and damaged ones.
#![cfg(feature = "source")]

use std::path::{Path, PathBuf};

use forebay::Capture;
use forebay::source::link;
use forebay::source::pcap::{PcapError, PcapReader, is_capture};
use proptest::prelude::*;

const SAMPLES: [&str; 3] = ["loopback.pcap", "loopback.pcapng", "cooked.pcap"];

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// The rows of a file, and the faults in it; panics should reading not end.
fn read(bytes: &[u8]) -> (Vec<Capture>, Vec<PcapError>) {
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    let mut reader = match PcapReader::open(bytes) {
        Ok(reader) => reader,
        Err(fault) => return (rows, vec![fault]),
    };
    // A block has at least twelve bytes, so there cannot be more calls than this.
    for _ in 0..bytes.len() / 12 + 3 {
        match reader.next_record() {
            Ok(None) => return (rows, faults),
            Ok(Some(record)) => {
                assert_eq!(record.packet as usize, rows.len() + faults.len());
                assert!((record.offset as usize + record.data.len()) < bytes.len());
                rows.push(record.into_capture("fuzz").unwrap());
            }
            Err(fault) => faults.push(fault),
        }
    }
    panic!("{} rows and {} faults of {} bytes, and no end", rows.len(), faults.len(), bytes.len());
}

#[test]
fn our_captures_give_every_packet_with_its_endpoints() {
    for name in SAMPLES {
        let (rows, faults) = read(&sample(name));
        assert!(faults.is_empty(), "{name}: {faults:?}");
        assert_eq!(rows.len(), 82, "{name}");
        let of = |proto: &str| rows.iter().filter(|row| row.proto() == Some(proto)).count();
        assert_eq!((of("tcp"), of("udp"), of("icmp"), of("icmp6")), (66, 14, 1, 1), "{name}");
        let has_ports = |row: &&Capture| row.src_port().is_some() && row.dst_port().is_some();
        assert_eq!(rows.iter().filter(has_ports).count(), 80, "{name}");
        for address in ["127.0.0.1", "::1"] {
            let between = |row: &&Capture| row.src_ip() == Some(address) && row.dst_ip() == Some(address);
            assert_eq!(rows.iter().filter(between).count(), 41, "{name} {address}");
        }
    }
}

#[test]
fn times_lengths_and_comments_are_those_of_the_file() {
    let (rows, _) = read(&sample("loopback.pcapng"));
    assert_eq!(rows[0].ts().to_string(), "2026-11-20T23:31:34.139442895Z");
    assert_eq!(rows[81].ts().to_string(), "2026-11-20T23:31:34.189303479Z");
    assert_eq!(rows[0].fields(), Some(r#"{"comment":"first segment of the HTTP request's connection"}"#));
    assert!(rows[1..].iter().all(|row| row.fields().is_none()));
    let bytes = |rows: &[Capture]| rows.iter().map(Capture::length).sum::<u64>();
    assert_eq!(bytes(&rows), 6996);

    let (cooked, _) = read(&sample("cooked.pcap"));
    assert!(cooked.iter().all(|row| row.link_type() == Some(276) && row.data().len() <= 96));
    // Twenty bytes of cooked header instead of Ethernet's fourteen.
    assert_eq!(bytes(&cooked), 6996 + 82 * 6);
}

/// The shared captures are not part of the project; where they are absent there is nothing to claim.
#[test]
fn every_packet_of_the_shared_captures_is_read() {
    let shared = std::env::var_os("FOREBAY_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let folder = shared.join("pcap");
    if !folder.is_dir() {
        return;
    }
    for (name, packets) in [
        ("afs.pcap", 601),
        ("arp-oobr.pcap", 2282),
        ("dhcp-request-flood.pcap", 10_000),
        ("linux-cooked-v2.pcap", 159),
        ("of13_ericsson.pcapng", 174),
        ("pim-packet-assortment.pcap", 245),
        ("smb2-peter.pcap", 792),
    ] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        assert!(is_capture(&bytes), "{name}");
        let (rows, faults) = read(&bytes);
        assert!(faults.is_empty(), "{name}: {faults:?}");
        assert_eq!(rows.len(), packets, "{name}");
    }
}

const LINK_TYPES: [u16; 11] = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 147];

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        for link_type in LINK_TYPES {
            link::decode(link_type, &bytes);
        }
    }

    /// Random bytes rarely get past the first header; a real packet with a few bytes changed does.
    #[test]
    fn no_change_to_a_real_packet_makes_decoding_panic(
        name in prop::sample::select(&SAMPLES[..]),
        packet in 0..82_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let (rows, _) = read(&sample(name));
        let mut frame = rows[packet].data().to_vec();
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let kept = cut.index(frame.len() + 1);
        for link_type in LINK_TYPES {
            link::decode(link_type, &frame[..kept]);
        }
    }

    #[test]
    fn reading_any_bytes_behind_a_magic_number_ends(
        start in prop::sample::select(&SAMPLES[..]),
        head in prop::sample::select(&[4_usize, 12, 24, 28][..]),
        tail in prop::collection::vec(prop_oneof![Just(0_u8), 1..40_u8, any::<u8>()], 0..600),
    ) {
        let bytes = [&sample(start)[..head], &tail].concat();
        read(&bytes);
        read(&tail);
    }

    /// Every packet that lies whole in front of the first change is given unchanged.
    #[test]
    fn damage_never_costs_a_packet_in_front_of_it(
        name in prop::sample::select(&SAMPLES[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = sample(name);
        let mut damaged = whole.clone();
        damaged.truncate(cut.index(whole.len() + 1));
        for (at, byte) in changes {
            if !damaged.is_empty() {
                let at = at.index(damaged.len());
                damaged[at] = byte;
            }
        }
        let same = whole.iter().zip(&damaged).take_while(|(a, b)| a == b).count();
        let (expected, _) = read(&whole[..same]);
        let (rows, _) = read(&damaged);
        prop_assert!(rows.len() >= expected.len());
        prop_assert_eq!(&rows[..expected.len()], &expected[..]);
    }
}
