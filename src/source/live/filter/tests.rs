//! Every kind of expression against tcpdump's verdict on each packet of the samples, by a machine that runs programs as
//! the kernel does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::source::pcap::PcapReader;

/// A packet as the kernel's filter sees it.
#[derive(Clone, Default)]
struct Seen {
    bytes: Vec<u8>,
    length: u32,
    protocol: u32,
    outgoing_on: Option<u32>,
    tag: Option<u32>,
}

/// Runs a program; a load behind the end of the packet refuses it, as in the kernel.
fn verdict(program: &[Instruction], seen: &Seen) -> u32 {
    run(program, seen).unwrap_or(0)
}

fn run(program: &[Instruction], seen: &Seen) -> Option<u32> {
    let (mut a, mut x, mut at, mut memory) = (0_u32, 0_u32, 0_usize, [None; 16]);
    let load = |offset: u32, size: u16| {
        let bytes = |n: usize| seen.bytes.get(offset as usize..)?.get(..n);
        Some(match size {
            0x00 => u32::from_be_bytes(bytes(4)?.try_into().ok()?),
            0x08 => u16::from_be_bytes(bytes(2)?.try_into().ok()?).into(),
            _ => bytes(1)?[0].into(),
        })
    };
    loop {
        let Instruction { code, yes, no, k } = *program.get(at).expect("a program ends with a return");
        at += 1;
        let operand = if code & 8 == 0 { k } else { x };
        match code {
            0x20 | 0x28 | 0x30 if k == ANCILLARY_PROTOCOL => a = seen.protocol,
            0x20 | 0x28 | 0x30 if k == 0xffff_f004 => a = if seen.outgoing_on.is_some() { 4 } else { 0 },
            0x20 | 0x28 | 0x30 if k == 0xffff_f008 => a = seen.outgoing_on.unwrap_or(7),
            0x20 | 0x28 | 0x30 if k == 0xffff_f02c => a = seen.tag.unwrap_or(0),
            0x20 | 0x28 | 0x30 if k == 0xffff_f030 => a = seen.tag.is_some().into(),
            0x20 | 0x28 | 0x30 => a = load(k, code & 0x18)?,
            0x40 | 0x48 | 0x50 => a = load(x.checked_add(k)?, code & 0x18)?,
            0x80 => a = seen.length,
            0x00 => a = k,
            0x60 => a = memory[k as usize].expect("a cell is written before it is read"),
            0x01 => x = k,
            0x61 => x = memory[k as usize].expect("a cell is written before it is read"),
            0xb1 => x = 4 * (load(k, 0x10)? & 15),
            0x02 => memory[k as usize] = Some(a),
            0x03 => memory[k as usize] = Some(x),
            0x04 | 0x0c => a = a.wrapping_add(operand),
            0x14 | 0x1c => a = a.wrapping_sub(operand),
            0x54 => a &= k,
            0x64 => a <<= k,
            0x07 => x = a,
            0x87 => a = x,
            0x05 => at += k as usize,
            0x15 | 0x1d => at += usize::from(if a == operand { yes } else { no }),
            0x25 | 0x2d => at += usize::from(if a > operand { yes } else { no }),
            0x35 | 0x3d => at += usize::from(if a >= operand { yes } else { no }),
            0x45 => at += usize::from(if a & k != 0 { yes } else { no }),
            0x06 => return Some(k),
            other => panic!("no instruction {other:#x}"),
        }
    }
}

const ANCILLARY_PROTOCOL: u32 = 0xffff_f000;

/// The packets of a file as our socket would see them; of a cooked file without its headers.
fn packets(file: impl std::io::Read) -> Vec<Seen> {
    let mut reader = PcapReader::open(file).unwrap();
    let mut packets = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        let header = if record.link_type == 276 { 20 } else { 0 };
        let protocol = u16::from_be_bytes([record.data[0], record.data[1]]).into();
        let length = record.length - header;
        // tcpdump cuts what is above a file's own snap length.
        let data = &record.data[..record.data.len().min(65_535)];
        packets.push(Seen { bytes: data[header as usize..].into(), length, protocol, ..Seen::default() });
    }
    packets
}

fn tcpdump(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tcpdump").args(arguments).stderr(Stdio::piped()).output();
    let output = output.unwrap_or_else(|error| panic!("tcpdump: {error}; install it: apt-get install tcpdump"));
    assert!(output.status.success(), "tcpdump {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn program(text: &str, start: Start) -> Vec<Instruction> {
    Filter::parse(text)
        .and_then(|filter| filter.program(start, 99, None))
        .unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

/// Our own samples, and the shared ones that are there.
fn samples() -> Vec<PathBuf> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = ["loopback.pcap", "loopback.pcapng", "cooked.pcap"].map(|name| base.join("tests/data").join(name));
    let shared = std::env::var_os("FOREBAY_SHARED_DATA").map_or_else(|| base.join("../shared/data"), PathBuf::from);
    let shared = fs::read_dir(shared.join("pcap")).into_iter().flatten().flatten();
    // One kind of link per file, or tcpdump refuses it.
    let shared = shared.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "pcap"));
    own.into_iter().chain(shared).collect()
}

const EXPRESSIONS: [&str; 62] = [
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "igmp",
    "pim",
    "esp",
    "ah",
    "vrrp",
    "sctp",
    "host 127.0.0.1",
    "host ::1",
    "src host 127.0.0.1",
    "dst ::1",
    "src and dst host 127.0.0.1",
    "net 10.0.0.0/8",
    "net 10",
    "net 192.168",
    "src net 192.168.0.0/16",
    "net 10.0.0.0 mask 255.0.0.0",
    "net fe80::/10",
    "net ::/0",
    "net 0.0.0.0/0",
    "arp host 192.168.0.1",
    "ip host 10.0.0.5",
    "ip6 host ::1",
    "port 53",
    "tcp port 445",
    "udp port 67",
    "src port 7001",
    "dst port 7001",
    "udp src port 68",
    "port 445 or 67",
    "portrange 1-1024",
    "udp portrange 7000-7001",
    "tcp dst portrange 445-500",
    "not tcp",
    "ip and not udp",
    "tcp and not port 445",
    "not (port 53 or port 67)",
    "! ip && !arp || udp",
    "tcp or udp and port 53",
    "udp and port 53 or tcp",
    "not not udp",
    "less 100",
    "greater 500",
    "less 60 or greater 1000",
    "proto 17",
    "ip proto 103",
    "ip6 proto \\tcp",
    "ip proto \\udp",
    "ip multicast",
    "ip6 multicast",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "tcp[13] & 2 != 0",
    "ip[8] < 5",
    "udp[4:2] > 100",
    "icmp[icmptype] == icmp-echo",
    "ip[2:2] >= 60 and ip[6:2] & 0x1fff = 0",
];

const OF_ETHERNET: [&str; 8] = [
    "ether host ff:ff:ff:ff:ff:ff",
    "ether src 00:00:00:00:00:00",
    "broadcast",
    "multicast",
    "ether proto 0x0800",
    "ether proto \\arp",
    "vlan",
    "ether[0] & 1 != 0",
];

#[test]
fn every_expression_means_what_it_means_to_tcpdump() {
    for path in samples() {
        let all = packets(File::open(&path).unwrap());
        let is_cooked = path.file_name().is_some_and(|name| name.to_string_lossy().contains("cooked"));
        let start = if is_cooked { Start::Network } else { Start::Ethernet };
        let more = if is_cooked { &[][..] } else { &OF_ETHERNET };
        for text in EXPRESSIONS.iter().chain(more) {
            // Length counts from the network header there, which tcpdump's does not.
            if is_cooked && (text.starts_with("less") || text.starts_with("greater")) {
                continue;
            }
            let program = program(text, start);
            let ours: Vec<_> = all.iter().filter(|seen| verdict(&program, seen) > 0).map(|seen| &seen.bytes).collect();
            let theirs = packets(&tcpdump(&["-r", &path.to_string_lossy(), "-w", "-", text])[..]);
            let theirs: Vec<_> = theirs.iter().map(|seen| &seen.bytes).collect();
            assert!(ours == theirs, "{text} in {}: {} packets, tcpdump {}", path.display(), ours.len(), theirs.len());
        }
    }
}

#[test]
fn a_listing_of_tcpdump_decides_as_tcpdump_does_and_keeps_our_length() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for (name, start) in [("loopback.pcap", Start::Ethernet), ("cooked.pcap", Start::Network)] {
        let path = base.join(name);
        let path = path.to_string_lossy();
        for text in ["tcp and port 80", "ip6 or icmp", "host 127.0.0.1 and not tcp"] {
            let listing = String::from_utf8(tcpdump(&["-r", &path, "-dd", text])).unwrap();
            let program = program(&listing, start);
            let ours = packets(File::open(&*path).unwrap());
            let ours: Vec<_> = ours.iter().map(|seen| verdict(&program, seen)).filter(|kept| *kept > 0).collect();
            let theirs = packets(&tcpdump(&["-r", &path, "-w", "-", text])[..]).len();
            assert_eq!(ours, vec![99; theirs], "{text} in {name}");
        }
    }
}

fn frame(kind: u16, payload: &[u8]) -> Seen {
    let bytes = [&[2; 12][..], &kind.to_be_bytes(), payload].concat();
    Seen { length: bytes.len() as u32, bytes, ..Seen::default() }
}

/// UDP from 10.0.0.1#1000 to 10.0.0.2#53.
const UDP: [u8; 28] = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 3, 232, 0, 53, 0, 8, 0, 0];

#[test]
fn tags_are_seen_wherever_they_are_and_seen_through() {
    let tagged = |payload: &[u8]| [&[0x20, 7, 8, 0][..], payload].concat();
    let twice = [&[0x20, 9, 0x81, 0][..], &tagged(&UDP)].concat();
    let taken = Seen { tag: Some(0x2007), ..frame(0x0800, &UDP) };
    for (name, seen, id) in [
        ("plain", frame(0x0800, &UDP), None),
        ("tagged", frame(0x8100, &tagged(&UDP)), Some(7)),
        ("twice", frame(0x88a8, &twice), Some(9)),
        ("taken out", taken, Some(7)),
    ] {
        let passes = |text: &str| verdict(&program(text, Start::Ethernet), &seen) > 0;
        assert!(passes("udp port 53") && passes("host 10.0.0.1 and ip") && !passes("tcp"), "{name}");
        assert_eq!(passes("vlan"), id.is_some(), "{name}");
        for number in [7, 9] {
            assert_eq!(passes(&format!("vlan {number} and udp")), id == Some(number), "{name}");
        }
    }
}

/// An attacker cuts packets short so that a load behind the end refuses them: they would be hidden from such a filter.
#[test]
fn a_packet_that_is_cut_anywhere_does_not_escape_a_negation() {
    let filters = ["not port 22", "not host 192.0.2.1", "not tcp[13] & 2 != 0", "not ip6 host ::1", "not vlan 5"];
    let fragment = [&[0x60, 0, 0, 0, 0, 12, 44, 64][..], &[0; 32], &[6, 0, 0, 1, 0, 0, 0, 0], &[0, 23, 0, 24]].concat();
    for seen in
        [frame(0x0800, &UDP), frame(0x86dd, &fragment), frame(0x8100, &[0, 7, 0x81, 0, 0, 7, 8, 6]), frame(6, &[])]
    {
        for text in filters {
            let program = program(text, Start::Ethernet);
            for cut in 0..=seen.bytes.len() {
                let cut = Seen { bytes: seen.bytes[..cut].into(), length: cut as u32, ..seen.clone() };
                assert_eq!(verdict(&program, &cut), 99, "{text}, {} bytes", cut.bytes.len());
            }
        }
    }
}

#[test]
fn a_long_filter_jumps_as_far_as_it_must() {
    let hosts: Vec<_> = (0..200).map(|n| format!("10.0.0.{n}")).collect();
    let text = format!("host {}", hosts.join(" or "));
    let [either, neither] = [text.clone(), format!("not ({text})")].map(|text| program(&text, Start::Ethernet));
    let mut other = UDP;
    other[15] = 250;
    other[19] = 251;
    let [seen, other] = [frame(0x0800, &UDP), frame(0x0800, &other)];
    assert_eq!([verdict(&either, &seen), verdict(&neither, &seen)], [99, 0]);
    assert_eq!([verdict(&either, &other), verdict(&neither, &other)], [0, 99]);
    let endless = format!("host {}", ["10.0.0.1"; 2000].join(" or "));
    let fault = Filter::parse(&endless).unwrap().program(Start::Ethernet, 99, None).unwrap_err();
    assert!(fault.contains("the kernel takes 4096"), "{fault}");
}

#[test]
fn what_is_sent_on_loopback_is_left_to_its_arrival() {
    let program = Filter::parse("udp").unwrap().program(Start::Ethernet, 99, Some(3)).unwrap();
    let seen = frame(0x0800, &UDP);
    for (outgoing_on, kept) in [(None, 99), (Some(3), 0), (Some(4), 99)] {
        assert_eq!(verdict(&program, &Seen { outgoing_on, ..seen.clone() }), kept);
    }
}

#[test]
fn a_fault_is_told_where_it_is() {
    for (text, told) in [
        ("port ssh", "`ssh` is no port"),
        ("host example.org", "names are not looked up"),
        ("tcp port 80 port", "`port` was not expected"),
        ("(tcp", "a `)` is missing"),
        ("tcp and", "a test is missing"),
        ("net 10.0.0.1/8", "`10.0.0.0/8` has none"),
        ("net 10.0.0.0.0", "is no network"),
        ("host 10.0.0.1/8", "is no address"),
        ("tcp host 10.0.0.1", "`tcp` does not go with `host`"),
        ("icmp port 7", "`icmp` does not go with `port`"),
        ("vlan 4096", "below 4096"),
        ("wlan type mgt", "`tcpdump -dd '...'` is taken"),
        ("tcp[0:3] = 1", "sizes 1, 2 and 4"),
        ("tcp ; rm", "`;` has no meaning"),
        ("{ 0x6, 0, 0 }", "instruction 1 of the listing"),
        ("{ 0x28, 0, 0, 0x0000000c },", "ends with a return"),
        ("{ 0x6, 0, 300, 1 },", "instruction 1"),
        ("{ 0x5, 0, 0, 1 }, { 0x6, 0, 0, 1 },", "instruction 1: it jumps behind the end"),
        ("{ 0x15, 0, 1, 1 }, { 0x6, 0, 0, 1 },", "instruction 1: it jumps behind the end"),
        ("{ 0x60, 0, 0, 3 }, { 0x6, 0, 0, 1 },", "may not have been written"),
        ("{ 0x34, 0, 0, 0 }, { 0x6, 0, 0, 1 },", "divides by zero"),
        ("{ 0x28, 0, 0, 0xfffff040 }, { 0x6, 0, 0, 1 },", "knows nothing"),
        ("{ 0xff, 0, 0, 0 }, { 0x6, 0, 0, 1 },", "no such code"),
    ] {
        let fault = Filter::parse(text).unwrap_err();
        assert!(fault.contains(told), "{text}: {fault}");
    }
    assert!(Filter::parse(&"(".repeat(100_000)).unwrap_err().contains("nested"));
    assert!(Filter::parse(&"not ".repeat(30_000)).unwrap_err().contains("nested"));
    let on_tun = Filter::parse("ether host 1:2:3:4:5:6").unwrap().program(Start::Network, 99, None).unwrap_err();
    assert!(on_tun.contains("do not have"), "{on_tun}");
}

const WORDS: [&str; 40] = [
    "host",
    "net",
    "port",
    "portrange",
    "proto",
    "src",
    "dst",
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "ether",
    "vlan",
    "less",
    "greater",
    "broadcast",
    "multicast",
    "and",
    "or",
    "not",
    "(",
    ")",
    "[",
    "]",
    "&",
    "|",
    "!=",
    "=",
    "10.0.0.1",
    "10.0.0.0/8",
    "fe80::/10",
    "::1",
    "1:2:3:4:5:6",
    "22",
    "1-1024",
    "13",
    "4:2",
    "tcp-syn",
];

/// A test of an expression that means something.
const TESTS: [&str; 8] =
    ["tcp", "port 53", "not ip6", "net 10.0.0.0/8", "host ::1", "vlan 7", "udp[4:2] > 9", "ether src 2:2:2:2:2:2"];

proptest! {
    #[test]
    fn no_text_makes_reading_a_filter_panic(text in any::<String>()) {
        let _ = Filter::parse(&text);
        let _ = Filter::parse(&format!("{{{text}"));
    }

    /// What is compiled runs to its end, jumps forward only, and reads no cell that was not written: the kernel's rules.
    #[test]
    fn every_filter_that_is_read_makes_a_sound_program(
        words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..12),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        kind in prop::sample::select(&[0x0800_u16, 0x86dd, 0x0806, 0x8100][..]),
    ) {
        let Ok(filter) = Filter::parse(&words.join(" ")) else { return Ok(()) };
        let seen = Seen { protocol: kind.into(), ..frame(kind, &bytes) };
        for start in [Start::Ethernet, Start::Network] {
            if let Ok(program) = filter.program(start, 99, Some(1)) {
                verdict(&program, &seen);
            }
        }
    }

    #[test]
    fn a_filter_and_its_negation_share_all_packets_between_them(
        tests in prop::collection::vec(prop::sample::select(&TESTS[..]), 1..6),
        joints in prop::collection::vec(prop::sample::select(&[" and ", " or "][..]), 6),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        kind in prop::sample::select(&[0x0800_u16, 0x86dd, 0x0806, 0x8100][..]),
    ) {
        let text: String = tests.iter().zip(&joints).flat_map(|(test, joint)| [*joint, *test]).skip(1).collect();
        let [plain, not] = [text.clone(), format!("not ({text})")].map(|text| program(&text, Start::Ethernet));
        let seen = frame(kind, &bytes);
        prop_assert_eq!(verdict(&plain, &seen) + verdict(&not, &seen), 99, "{}", text);
    }
}
