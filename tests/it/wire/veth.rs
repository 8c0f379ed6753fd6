//! A cable in a network namespace of its own, tens of thousands of packets over it, and what of them is in SQLite: every
//! one, byte for byte, or in the kernel's count of drops.
//!
//! Frames are our own, of many kinds and sizes, and those of the captures in `tests/data`. A program in Python sends them,
//! as fast as it can, at `v0`; what goes out there comes in at `v1`. That nothing was lost on the cable itself is what the
//! interface's own counters say.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use forebay::config::Bytes;
use forebay::source::live::{Live, LiveSettings};
use forebay::source::pcap::PcapReader;
use forebay::source::{Source, SourceStatus, Stop};
use forebay::{Config, Pipeline};
use rusqlite::Connection;

use super::{ip, open};
use crate::child::{self, Running, say};
use crate::harness::eventually_within;
use crate::sqlite::LONG;

/// Frames that are made up; those of files come on top.
const FRAMES: usize = 20_000;
const SEED: u64 = 7;
/// Flows of each kind of frame.
const FLOWS: usize = 16;
const SNAP: usize = 300;
const ETHERNET: usize = 14;
/// Before the network header of a packet that is captured on `any`.
const COOKED: usize = 20;

/// Sends the frames of a file, each behind its length, and tells how many. `send` waits while the kernel holds more of
/// them than the socket may have on its way, so that none is lost before it is on the cable.
const SENDER: &str = "
import socket, struct, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
out.bind(('v0', 0))
data, at, count = open(sys.argv[1], 'rb').read(), 0, 0
while at < len(data):
    length = struct.unpack_from('<I', data, at)[0]
    out.send(data[at + 4:at + 4 + length])
    at, count = at + 4 + length, count + 1
print(count)
";

/// What is sent.
struct Frame {
    bytes: Vec<u8>,
    /// Packets of one flow stay in their order.
    flow: String,
    /// Whether the filter wants it.
    is_wanted: bool,
}

/// Wants a flow of each kind, and nothing of the files.
const FILTER: &str = "arp or udp dst port 4003 or ip6 host 2001:db8::5 or (vlan 2 and tcp src port 4002)";

impl Frame {
    /// One of a flow, with its number in it; `size` is that of its payload.
    fn new(number: u32, kind: usize, flow: usize, size: usize) -> Self {
        let payload: Vec<u8> = number.to_be_bytes().into_iter().chain((0..size).map(|n| (n * 7) as u8)).collect();
        let (udp, tcp) = (transport(17, flow, &payload), transport(6, flow, &payload));
        let (name, ether_type, network, is_wanted) = match kind {
            0 => ("udp4", vec![8, 0], ipv4(17, flow, &udp), flow == 3),
            1 => ("tcp4", vec![8, 0], ipv4(6, flow, &tcp), false),
            2 => ("udp6", vec![0x86, 0xdd], ipv6(17, flow, &udp), flow == 3 || flow == 5),
            3 => ("tcp6", vec![0x86, 0xdd], ipv6(6, flow, &tcp), flow == 5),
            4 => ("arp", vec![8, 6], arp(flow, &payload), true),
            // A VLAN, and one in another.
            5 => ("vlan", vec![0x81, 0, 0, flow as u8, 8, 0], ipv4(6, flow, &tcp), flow == 2),
            6 => ("qinq", vec![0x88, 0xa8, 0, 9, 0x81, 0, 0, 4, 8, 0], ipv4(17, flow, &udp), flow == 3),
            _ => ("other", vec![0x88, 0xb5], payload, false),
        };
        let addresses = [2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 1];
        let bytes = [&addresses[..], &ether_type, &network].concat();
        Self { bytes, flow: format!("{name} {flow}"), is_wanted }
    }

    /// Returns whether the kernel takes a tag out of it.
    fn is_tagged(&self) -> bool {
        matches!(self.bytes[12..14], [0x81, 0] | [0x88, 0xa8])
    }
}

fn transport(proto: u8, flow: usize, payload: &[u8]) -> Vec<u8> {
    let port = (4000 + flow as u16).to_be_bytes();
    let mut segment = [port, port].concat();
    if proto == 17 {
        segment.extend((8 + payload.len() as u16).to_be_bytes());
        segment.extend([0, 0]);
    } else {
        segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    }
    [&segment, payload].concat()
}

fn ipv4(proto: u8, flow: usize, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let header = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, proto, 0, 0];
    [&header[..], &[10, 7, 0, flow as u8, 10, 7, 1, 1], payload].concat()
}

fn ipv6(proto: u8, flow: usize, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let host = |last: u8| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let header = [0x60, 0, 0, 0, length[0], length[1], proto, 64];
    [&header[..], &host(flow as u8), &host(200), payload].concat()
}

/// A question; what is behind it is padding.
fn arp(flow: usize, payload: &[u8]) -> Vec<u8> {
    let question = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 7, 0, flow as u8];
    [&question[..], &[0, 0, 0, 0, 0, 0, 10, 7, 2, 2], payload].concat()
}

fn frames() -> Vec<Frame> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut frames: Vec<_> = (0..FRAMES as u32)
        .map(|number| {
            // Most are small; some are as large as the cable takes, and a tag more.
            let size = *random.choice(&[0, 1, 20, 60, 100, 231, 500, 1400]).unwrap();
            Frame::new(number, random.usize(..8), random.usize(..FLOWS), size)
        })
        .collect();
    for name in ["loopback.pcap", "loopback.pcapng", "cooked.pcap"] {
        frames.extend(replayed(name));
    }
    frames
}

/// The packets of a sample.
fn replayed(name: &str) -> Vec<Frame> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let content = fs::read(path).unwrap();
    let mut reader = PcapReader::open(&content[..]).unwrap();
    let mut frames = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        let row = record.into_capture("here").unwrap();
        let flow = format!("{name} {:?}", (row.src_ip(), row.src_port(), row.dst_ip(), row.dst_port(), row.proto()));
        let bytes = match row.link_type() {
            Some(1) => row.data().to_vec(),
            // Linux cooked: the network's protocol comes first.
            _ => [&[0; 12], &row.data()[..2], &row.data()[COOKED..]].concat(),
        };
        frames.push(Frame { bytes, flow, is_wanted: false });
    }
    assert_eq!(frames.len(), 82, "{name}");
    frames
}

/// A row of `captures`.
struct Row {
    data: Vec<u8>,
    length: usize,
}

fn rows(database: &Path) -> Vec<Row> {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection.prepare("SELECT data, length FROM captures ORDER BY id").unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok(Row { data: row.get(0)?, length: row.get::<_, i64>(1)? as usize });
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// The directory of one capture: what is sent, and what came in.
struct Wire {
    directory: PathBuf,
}

impl Wire {
    fn new(directory: PathBuf) -> Self {
        fs::create_dir(&directory).unwrap();
        Self { directory }
    }

    fn database(&self) -> PathBuf {
        self.directory.join("a.db")
    }

    /// Sends the frames; they have all passed the cable when this returns.
    fn send(&self, frames: &[Frame]) {
        let path = self.directory.join("frames");
        let framed = |frame: &Frame| [&(frame.bytes.len() as u32).to_le_bytes()[..], &frame.bytes].concat();
        fs::write(&path, frames.iter().flat_map(framed).collect::<Vec<u8>>()).unwrap();
        let [passed, lost] = counters();
        let sender = Command::new("python3").args(["-c", SENDER]).arg(path).stderr(Stdio::inherit()).output();
        let sender = sender.expect("python3; install it: apt-get install python3");
        assert_eq!(String::from_utf8_lossy(&sender.stdout).trim(), frames.len().to_string());
        // As many, and no others: neither does the host send anything over this cable.
        assert_eq!(counters(), [passed + frames.len() as u64, lost], "what passed, and what was lost before");
    }

    /// Captures until `is_done`, into a database; `amid` is called when it has begun.
    fn capture(&self, mut live: Live, amid: impl FnOnce(), is_done: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        let url = format!("sqlite:{}", self.database().display());
        let pipeline = Arc::new(Pipeline::builder().config(Config::default()).database(url).open().unwrap());
        let (meter, stop) = (live.meter().clone(), Stop::new());
        let (theirs, told) = (Arc::clone(&pipeline), stop.clone());
        let thread = thread::spawn(move || live.run(&theirs, &told).unwrap());
        amid();
        eventually_within(2 * LONG, "every packet is captured or counted", || is_done(&meter.status()));
        stop.stop();
        thread.join().unwrap();
        assert!(Arc::into_inner(pipeline).unwrap().shutdown_blocking(2 * LONG).is_complete());
        meter.status()
    }
}

/// Packets that went out at `v0`, and those that it lost.
fn counters() -> [u64; 2] {
    let told = Command::new("ip").args(["-j", "-s", "link", "show", "v0"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    ["packets", "dropped"].map(|what| told[0]["stats64"]["tx"][what].as_u64().unwrap())
}

/// Two interfaces whose ends meet, over which nobody says anything but our sender.
fn silent_cable() {
    ip("link add v0 type veth peer name v1");
    for interface in ["v0", "v1"] {
        // No address, and so no question who has it already.
        ip(&format!("link set {interface} addrgenmode none"));
        ip(&format!("link set {interface} up"));
    }
}

fn settings(interface: &str, filter: &str, threads: usize, snap_length: usize) -> LiveSettings {
    let mut settings = LiveSettings::new(interface);
    settings.filter = filter.into();
    settings.threads = threads;
    settings.snap_length = snap_length as u32;
    // Has room for all that is sent, so that nothing may be missing.
    settings.ring = Bytes::mib(64);
    settings
}

/// In a network namespace of its own: everything that is sent is captured, every way.
pub fn everything(directory: &Path) {
    silent_cable();
    let frames = frames();
    assert!(frames.iter().filter(|frame| frame.bytes.len() > SNAP).count() > 4000, "to be cut");
    for (number, (interface, filter, threads, snap)) in [
        ("v1", "", 1, 262_144),
        ("v1", "", 4, SNAP),
        ("v1", FILTER, 1, SNAP),
        ("v1", FILTER, 3, 262_144),
        ("any", "", 1, SNAP),
        ("any", FILTER, 2, 262_144),
    ]
    .into_iter()
    .enumerate()
    {
        let wire = Wire::new(directory.join(number.to_string()));
        let sent: Vec<_> = frames.iter().filter(|frame| filter.is_empty() || frame.is_wanted).collect();
        let live = open(settings(interface, filter, threads, snap));
        // On `any` they are seen as they go out, too, see below.
        let outgoing = sent.iter().filter(|frame| interface == "any" && !frame.is_tagged()).count();
        let least = (sent.len() + outgoing) as u64;
        let status = wire.capture(live, || wire.send(&frames), |status| status.rows >= least);
        assert_eq!(status.kernel_drops, Some(0), "{interface} {filter:?} {threads}");
        let rows = rows(&wire.database());
        assert_eq!(rows.len() as u64, status.rows);
        if interface == "any" {
            on_any(&rows, &sent, threads, snap);
        } else {
            let whole = |frame: &Frame| (frame.bytes.clone(), frame.bytes.len());
            same(&rows.iter().collect::<Vec<_>>(), &sent, threads, snap, whole);
        }
        say(&format!("{interface}, threads: {threads}, filter: {}, rows: {}", !filter.is_empty(), rows.len()));
    }
}

/// Compares what was seen on `any`, with cooked headers.
fn on_any(rows: &[Row], sent: &[&Frame], threads: usize, snap: usize) {
    const OUTGOING: u8 = 4;
    let (out, come_in): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.data[10] == OUTGOING);
    // Everything behind the header: what of that is the interface's own is the same in all rows that come in.
    let header = |row: &Row| {
        assert_eq!((row.data[8..10].to_vec(), row.data[11]), (vec![0, 1], 6), "Ethernet, and a sender with six bytes");
        let mut data = [&row.data[..2], &row.data[COOKED..]].concat();
        // Newer kernels tell, of two tags, not the inner one's kind, but that of what is behind it.
        if data[..2] == [0x88, 0xa8] && data[4..6] == data[8..10] {
            data[4..6].copy_from_slice(&[0x81, 0]);
        }
        Row { data, length: row.length }
    };
    let cooked = |frame: &Frame| {
        let behind = &frame.bytes[12..];
        let kept = behind.len().min(snap - COOKED + 2);
        (behind[..kept].to_vec(), COOKED + frame.bytes.len() - ETHERNET)
    };
    let come_in: Vec<_> = come_in.into_iter().map(header).collect();
    same(&come_in.iter().collect::<Vec<_>>(), sent, threads, usize::MAX, cooked);
    // Of tagged frames that go out, the kernel shows a filter no tag, and older ones a reader neither.
    let untagged: Vec<_> = sent.iter().copied().filter(|frame| !frame.is_tagged()).collect();
    let protocol = |row: &Row| u16::from_be_bytes([row.data[0], row.data[1]]);
    let out = out.into_iter().map(header).collect::<Vec<_>>();
    let names: HashMap<_, _> = untagged.iter().map(|frame| (cooked(frame), ())).collect();
    let out: Vec<_> = out
        .iter()
        .filter(|row| !matches!(protocol(row), 0x8100 | 0x88a8) && names.contains_key(&(row.data.clone(), row.length)))
        .collect();
    same(&out, &untagged, threads, usize::MAX, cooked);
}

/// Compares rows with what was sent: each once, cut at the snap length, with its whole length, in the order of its flow.
#[track_caller]
fn same(rows: &[&Row], sent: &[&Frame], threads: usize, snap: usize, shape: impl Fn(&Frame) -> (Vec<u8>, usize)) {
    let mut numbers = HashMap::<_, VecDeque<usize>>::new();
    for (number, frame) in sent.iter().enumerate() {
        let (mut data, length) = shape(frame);
        data.truncate(snap);
        numbers.entry((data, length)).or_default().push_back(number);
    }
    let mut latest = HashMap::<&str, usize>::new();
    for (at, row) in rows.iter().enumerate() {
        let number = numbers.get_mut(&(row.data.clone(), row.length)).and_then(VecDeque::pop_front);
        let number = number.unwrap_or_else(|| panic!("row {at} of {} bytes was not sent: {:x?}", row.length, row.data));
        // One thread keeps the order of all.
        let flow = if threads == 1 { "" } else { &sent[number].flow };
        let before = latest.insert(flow, number);
        assert!(before < Some(number), "{} came after {before:?}", sent[number].flow);
    }
    let lost: Vec<_> = numbers.values().flatten().map(|number| &sent[*number].flow).collect();
    assert!(lost.is_empty(), "{} of {} were lost: {:?}", lost.len(), sent.len(), &lost[..lost.len().min(9)]);
}

/// In a network namespace of its own: much more than the ring holds, before anybody reads and while somebody does.
pub fn too_much(directory: &Path) {
    silent_cable();
    let frames = frames();
    for threads in [1, 2] {
        let wire = Wire::new(directory.join(threads.to_string()));
        let mut settings = settings("v1", "", threads, 2000);
        settings.ring = Bytes(128 << 10);
        let live = open(settings);
        wire.send(&frames);
        let total = 2 * frames.len() as u64;
        let status =
            wire.capture(live, || wire.send(&frames), |status| status.rows + status.kernel_drops.unwrap_or(0) >= total);
        let drops = status.kernel_drops.unwrap();
        assert_eq!(status.rows + drops, total);
        assert!(status.rows > 100 && drops > 10_000, "{status:?}");
        let rows = rows(&wire.database());
        assert_eq!(rows.len() as u64, status.rows);
        // What is there is whole, and was sent; each frame twice, so that none is there more often.
        let mut left = HashMap::<&[u8], usize>::new();
        frames.iter().for_each(|frame| *left.entry(&frame.bytes).or_default() += 2);
        for row in &rows {
            let left = left.get_mut(&row.data[..]).expect("a frame that was sent");
            *left = left.checked_sub(1).expect("each comes once");
            assert_eq!(row.data.len(), row.length);
        }
        say("adds up");
    }
}

/// Why this machine allows no network namespace, if so.
fn refusal(mut command: Command) -> Option<String> {
    let output = command.output().expect("unshare; install it: apt-get install util-linux");
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    (!output.status.success()).then(|| {
        format!(
            "this machine gives no network namespace ({why}): run the tests as root, in a container with CAP_SYS_ADMIN \
             and CAP_NET_ADMIN, or leave out those of live capture by `-- --skip wire::`"
        )
    })
}

/// Has a child play the role in a network namespace of its own; returns what it says. `database` is what it is given as such.
pub fn in_a_namespace(role: &str, database: &Path) -> Vec<String> {
    let mut try_it = Command::new("unshare");
    try_it.args(["--net", "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
    if let Some(refusal) = refusal(try_it) {
        panic!("{refusal}");
    }
    let script = r#"exec unshare --net "$0" "$@""#;
    let mut child = Running::start(child::command_in_shell(&["env"], script, role, database));
    let mut told = Vec::new();
    while let Some(line) = child.next() {
        told.push(line);
    }
    assert!(child.process.wait().unwrap().success(), "after {told:?}");
    told
}

#[test]
fn every_packet_over_a_cable_is_in_the_database_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(in_a_namespace("live_everything", directory.path()).len(), 6);
}

#[test]
fn packets_that_found_no_room_in_the_ring_are_counted_and_all_others_are_in_the_database() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(in_a_namespace("live_too_much", directory.path()), ["adds up", "adds up"]);
}

#[test]
fn a_machine_without_namespaces_is_told_what_is_missing() {
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--clear-groups", "--bounding-set=-all", "unshare", "--net", "true"]);
    let refusal = refusal(nobody).expect("an ordinary user may not");
    for part in ["no network namespace (unshare", "run the tests as root", "--skip wire::"] {
        assert!(refusal.contains(part), "{refusal}");
    }
}
