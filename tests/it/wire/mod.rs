//! Live capture: real packets on loopback, and on virtual interfaces in a network namespace of their own.
//!
//! All of it needs CAP_NET_RAW, and namespaces need root: `cargo test -- --skip wire::` runs the rest as anybody.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use forebay::config::Bytes;
use forebay::source::live::{Live, LiveSettings, drop_privileges};
use forebay::source::{Meter, Source, SourceState, Stop};
use forebay::{Capture, Config, ErrorKind, Pipeline, RowRef, Timestamp};

use crate::child::{self, Running, say};
use crate::harness::{Flaky, Recorder, config, eventually, text_of};

pub mod veth;

/// A socket that receives on loopback at a port of its own, and one that sends to it.
struct Pair {
    receiver: UdpSocket,
    sender: UdpSocket,
}

impl Pair {
    fn new() -> Self {
        let [receiver, sender] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        Self { receiver, sender }
    }

    fn address(&self) -> SocketAddr {
        self.receiver.local_addr().unwrap()
    }

    fn filter(&self) -> String {
        format!("udp dst port {}", self.address().port())
    }

    fn send(&self, payload: &[u8]) {
        self.sender.send_to(payload, self.address()).unwrap();
    }
}

fn settings(interface: &str, filter: &str) -> LiveSettings {
    let mut settings = LiveSettings::new(interface);
    settings.filter = filter.into();
    settings.ring = Bytes::mib(2);
    settings
}

#[track_caller]
fn open(settings: LiveSettings) -> Live {
    Live::open("test", settings, "here", 1 << 20).unwrap_or_else(|error| {
        panic!(
            "{error} ({:?}); run the tests as root, or leave out those of live capture by `-- --skip wire::`",
            std::error::Error::source(&error).map(ToString::to_string)
        )
    })
}

/// A capture that runs.
struct Capturing {
    pipeline: Arc<Pipeline>,
    backend: Arc<Flaky<Recorder>>,
    meter: Meter,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Capturing {
    fn start(live: Live) -> Self {
        Self::start_with(live, Config::default(), Flaky::new(Recorder::new(1)))
    }

    fn start_with(mut live: Live, config: Config, backend: Arc<Flaky<Recorder>>) -> Self {
        let pipeline = Pipeline::builder().config(config).shared_backend(backend.clone()).open().unwrap();
        let (pipeline, meter, stop) = (Arc::new(pipeline), live.meter().clone(), Stop::new());
        let (for_run, for_stop) = (Arc::clone(&pipeline), stop.clone());
        let thread = Some(thread::spawn(move || live.run(&for_run, &for_stop).unwrap()));
        Self { pipeline, backend, meter, stop, thread }
    }

    /// Waits until so many rows are in.
    #[track_caller]
    fn wait_for(&self, rows: usize) {
        eventually(&format!("{rows} packets"), || self.backend.inner.row_count() >= rows);
    }

    /// Stops it, and returns what was captured.
    fn finish(mut self) -> Vec<Capture> {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
        self.pipeline.flush().wait().unwrap();
        let mut captures = Vec::new();
        for batch in self.backend.inner.kept().offered {
            for row in batch.entries().iter().flat_map(forebay::Entry::rows) {
                assert!(text_of(&row).is_some());
                if let RowRef::Capture(capture) = row {
                    captures.push(capture.clone());
                }
            }
        }
        captures
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        self.stop.stop();
        self.pipeline.close();
    }
}

/// What is behind the headers.
fn payload(capture: &Capture, headers: usize) -> String {
    String::from_utf8_lossy(&capture.data()[headers..]).into_owned()
}

#[test]
fn the_datagrams_that_a_filter_wants_are_captured_once_and_no_others() {
    for (interface, link_type, headers) in [("lo", 1, 14 + 28), ("any", 276, 20 + 28)] {
        let (wanted, other) = (Pair::new(), Pair::new());
        let before = Timestamp::now();
        let capturing = Capturing::start(open(settings(interface, &wanted.filter())));
        for n in 0..50 {
            wanted.send(format!("datagram {n}").as_bytes());
            other.send(b"not wanted");
        }
        capturing.wait_for(50);
        let status = capturing.meter.status();
        assert_eq!((status.state, status.rows, status.kernel_drops), (SourceState::Running, 50, Some(0)));
        let captures = capturing.finish();
        let payloads: Vec<_> = captures.iter().map(|capture| payload(capture, headers)).collect();
        assert_eq!(payloads, (0..50).map(|n| format!("datagram {n}")).collect::<Vec<_>>(), "{interface}");
        for capture in &captures {
            assert_eq!((capture.sensor(), capture.kind(), capture.proto()), ("here", "packet", Some("udp")));
            assert_eq!((capture.src_ip(), capture.dst_ip()), (Some("127.0.0.1"), Some("127.0.0.1")));
            assert_eq!(capture.dst_port(), Some(wanted.address().port()));
            assert_eq!(capture.src_port(), Some(wanted.sender.local_addr().unwrap().port()));
            assert_eq!((capture.link_type(), capture.length()), (Some(link_type), capture.data().len() as u64));
            assert!(before <= capture.ts() && capture.ts() <= Timestamp::now());
        }
        assert!(captures.is_sorted_by_key(Capture::ts));
        assert!(captures.iter().any(|capture| capture.ts().as_nanos() % 1000 != 0), "nanoseconds");
    }
}

#[test]
fn a_snap_length_cuts_the_data_and_keeps_the_length() {
    let pair = Pair::new();
    let mut settings = settings("lo", &pair.filter());
    settings.snap_length = 60;
    let capturing = Capturing::start(open(settings));
    pair.send(&[b'x'; 1000]);
    pair.send(b"short");
    capturing.wait_for(2);
    let captures = capturing.finish();
    let sizes: Vec<_> = captures.iter().map(|capture| (capture.data().len(), capture.length())).collect();
    assert_eq!(sizes, [(60, 1042), (47, 47)]);
    assert_eq!(captures[0].dst_port(), Some(pair.address().port()));
}

#[test]
fn no_row_is_larger_than_it_may_be() {
    let pair = Pair::new();
    let capturing = Capturing::start(Live::open("test", settings("lo", &pair.filter()), "here", 4096).unwrap());
    pair.send(&[b'x'; 20_000]);
    capturing.wait_for(1);
    let captures = capturing.finish();
    assert!(captures[0].weight() <= 4096 && captures[0].data().len() > 2000, "{}", captures[0].weight());
    assert_eq!(captures[0].length(), 20_042);
}

/// The settings of a ring that is soon full: two blocks of 64 KiB.
fn tiny(filter: &str) -> LiveSettings {
    let mut settings = settings("lo", filter);
    settings.ring = Bytes(128 << 10);
    settings.snap_length = 2000;
    settings
}

#[test]
fn what_the_kernel_drops_before_anybody_reads_is_shown_and_everything_adds_up() {
    let pair = Pair::new();
    let live = open(tiny(&pair.filter()));
    for _ in 0..1000 {
        pair.send(&[b'x'; 1000]);
    }
    let capturing = Capturing::start(live);
    let total = |status: forebay::source::SourceStatus| status.rows + status.kernel_drops.unwrap_or(0);
    eventually("every packet is captured or counted", || total(capturing.meter.status()) == 1000);
    let status = capturing.meter.status();
    assert!(status.rows >= 50 && status.kernel_drops > Some(500), "{status:?}");
    assert_eq!(capturing.finish().len() as u64, status.rows);
}

#[test]
fn a_pipeline_that_is_full_makes_the_kernel_drop_and_count_and_then_it_goes_on() {
    let pair = Pair::new();
    let backend = Flaky::new(Recorder::new(1));
    backend.stall();
    let capturing = Capturing::start_with(open(tiny(&pair.filter())), config(10), backend.clone());
    let mut sent = 0;
    eventually("drops while the pipeline is full", || {
        (0..100).for_each(|_| pair.send(&[b'x'; 1000]));
        sent += 100;
        capturing.meter.status().kernel_drops > Some(0)
    });
    backend.release();
    let total = |status: forebay::source::SourceStatus| status.rows + status.kernel_drops.unwrap_or(0);
    eventually("every packet is captured or counted", || total(capturing.meter.status()) == sent);
    let status = capturing.meter.status();
    assert_eq!(capturing.finish().len() as u64, status.rows);
}

#[test]
fn threads_share_out_the_flows_and_each_packet_comes_once() {
    let pair = Pair::new();
    let mut settings = settings("lo", &pair.filter());
    settings.threads = 4;
    let capturing = Capturing::start(open(settings));
    let senders: Vec<_> = (0..40).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for n in 0..10 {
        for (flow, sender) in senders.iter().enumerate() {
            sender.send_to(format!("{flow}/{n}").as_bytes(), pair.address()).unwrap();
        }
    }
    capturing.wait_for(400);
    let captures = capturing.finish();
    let mut payloads: Vec<_> = captures.iter().map(|capture| payload(capture, 42)).collect();
    for (flow, sender) in senders.iter().enumerate() {
        let port = sender.local_addr().unwrap().port();
        let of_flow = captures.iter().filter(|capture| capture.src_port() == Some(port));
        let of_flow: Vec<_> = of_flow.map(|capture| payload(capture, 42)).collect();
        assert_eq!(of_flow, (0..10).map(|n| format!("{flow}/{n}")).collect::<Vec<_>>(), "in order");
    }
    let mut all: Vec<_> = (0..40).flat_map(|flow| (0..10).map(move |n| format!("{flow}/{n}"))).collect();
    payloads.sort();
    all.sort();
    assert_eq!(payloads, all);
}

#[test]
fn what_tcpdump_compiles_is_taken_as_a_filter() {
    let pair = Pair::new();
    for interface in ["lo", "any"] {
        let listing = Command::new("tcpdump").args(["-i", interface, "-dd", &pair.filter()]).output();
        let listing = listing.expect("tcpdump; install it: apt-get install tcpdump");
        assert!(listing.status.success(), "{listing:?}");
        let listing = String::from_utf8(listing.stdout).unwrap();
        let other = Pair::new();
        let capturing = Capturing::start(open(settings(interface, &listing)));
        other.send(b"no");
        pair.send(b"yes");
        capturing.wait_for(1);
        let captures = capturing.finish();
        assert_eq!(captures.len(), 1);
        assert!(captures[0].data().ends_with(b"yes"), "{interface}");
    }
}

#[test]
fn what_cannot_be_captured_is_refused_in_words() {
    let refused = |settings: LiveSettings| Live::open("test", settings, "here", 1 << 20).unwrap_err();
    let error = refused(settings("nosuch0", ""));
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("no interface is named nosuch0; there are: "), "{error}");
    let error = refused(settings("lo", "port ssh"));
    assert!(error.to_string().contains("filter: `ssh` is no port"), "{error}");
    let error = refused(settings("any", "ether host 1:2:3:4:5:6"));
    assert!(error.to_string().contains("filter: it asks for Ethernet's addresses"), "{error}");
    let error = refused(settings("lo", "{ 0x60, 0, 0, 9 }, { 0x6, 0, 0, 1 },"));
    assert!(error.to_string().contains("it reads a cell that may not have been written"), "{error}");
}

/// As root, gives everything up and tells what is left.
pub fn unprivileged() {
    let pair = Pair::new();
    let live = open(settings("lo", &pair.filter()));
    for user in ["root", "no such user"] {
        assert_eq!(drop_privileges(Some(user)).unwrap_err().kind(), ErrorKind::Configuration, "{user}");
    }
    drop_privileges(Some("nobody")).unwrap();
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let left = status.lines().filter(|line| {
        ["Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapInh", "CapAmb", "NoNewPrivs"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    say(&left.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(";"));
    let capturing = Capturing::start(live);
    pair.send(b"still");
    capturing.wait_for(1);
    say(&payload(&capturing.finish()[0], 42));
    say(&Live::open("test", settings("lo", ""), "here", 1 << 20).unwrap_err().to_string());
    say(&drop_privileges(Some("daemon")).unwrap_err().to_string());
}

#[test]
fn an_open_capture_goes_on_without_privileges_and_a_new_one_tells_what_is_missing() {
    let mut child = Running::start(child::command("live_unprivileged", "".as_ref()));
    let left = child.next().expect("run the tests as root, or leave out those of live capture by `-- --skip wire::`");
    let none = "0000000000000000";
    for part in ["Uid: 65534 65534 65534 65534", "Gid: 65534 65534 65534 65534", "NoNewPrivs: 1"] {
        assert!(left.contains(part), "{left}");
    }
    for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert!(left.contains(&format!("{set}: {none}")), "{left}");
    }
    assert_eq!(child.next().as_deref(), Some("still"));
    let refused = child.next().unwrap();
    for part in ["lacks the capability CAP_NET_RAW", "setcap cap_net_raw=ep", "AmbientCapabilities=CAP_NET_RAW"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(child.next().unwrap().contains("only root can become"));
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).stderr(Stdio::piped()).output();
    let output = output.expect("ip; install it: apt-get install iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two interfaces whose ends meet; what goes out at `v0` to 10.9.0.3 comes in at `v1`.
fn cable() {
    ip("link add v0 type veth peer name v1");
    ip("link set v1 up");
    ip("link set v0 up");
    ip("addr add 10.9.0.1/24 dev v0");
    ip("neigh add 10.9.0.3 lladdr 02:00:00:00:00:03 dev v0");
}

/// Sends a datagram from 10.7.0.1 in a frame with a VLAN tag; the kernel takes that out before it hands the frame on.
fn send_tagged(text: &str) {
    let length = 28 + text.len() as u8;
    let ip = [0x45, 0, 0, length, 0, 0, 0, 0, 64, 17, 0, 0, 10, 7, 0, 1, 10, 7, 0, 3];
    let udp = [0, 9, 4000_u16.to_be_bytes()[0], 4000_u16.to_be_bytes()[1], 0, length - 20, 0, 0];
    let tag = [0x81, 0, 0, 7, 8, 0];
    let frame = [&[2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 1][..], &tag, &ip, &udp, text.as_bytes()].concat();
    let frame: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let script = "import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('v0', 0)); \
                  s.send(bytes.fromhex(sys.argv[1]))";
    let status = Command::new("python3").args(["-c", script, &frame]).status();
    assert!(status.expect("python3; install it: apt-get install python3").success());
}

/// In a network namespace of its own: an interface that goes and comes back.
pub fn on_a_cable() {
    let threads: usize = std::env::var("FOREBAY_TEST_DATABASE").unwrap().parse().unwrap();
    cable();
    let mut settings = settings("v1", "udp dst port 4000");
    settings.threads = threads;
    let capturing = Capturing::start(open(settings));
    let waits = |text: &str| {
        eventually(text, || match capturing.meter.status().state {
            SourceState::Waiting { why } => why == text,
            _ => false,
        });
    };
    let runs = || eventually("running", || capturing.meter.status().state == SourceState::Running);
    let send = |text: &str| {
        let sender = UdpSocket::bind("10.9.0.1:0").unwrap();
        sender.send_to(text.as_bytes(), "10.9.0.3:4000").unwrap();
    };
    runs();
    send("first");
    capturing.wait_for(1);
    ip("link set v1 down");
    waits("v1 is down");
    ip("link set v1 up");
    runs();
    send("second");
    capturing.wait_for(2);
    ip("link del v0");
    waits("no interface is named v1");
    cable();
    eventually("packets of the new interface", || {
        send("third");
        capturing.backend.inner.row_count() >= 3
    });
    runs();
    send_tagged("tagged");
    eventually("the tagged one", || capturing.backend.inner.kept().rows.iter().any(|row| row.ends_with("tagged")));
    for capture in capturing.finish() {
        let data = capture.data();
        let headers = if data.ends_with(b"tagged") { 46 } else { 42 };
        say(&format!("{} {} {}", payload(&capture, headers), capture.src_ip().unwrap(), capture.length()));
        assert_eq!(headers == 46, data[12..16] == [0x81, 0, 0, 7], "the tag is back in its place");
    }
}

#[test]
fn an_interface_that_goes_down_or_vanishes_is_waited_for() {
    for threads in ["1", "2"] {
        let mut told = veth::in_a_namespace("live_cable", threads.as_ref());
        // The third is sent until it comes, and several threads hand over in any order.
        told.sort();
        told.dedup();
        assert_eq!(told, ["first 10.9.0.1 47", "second 10.9.0.1 48", "tagged 10.7.0.1 52", "third 10.9.0.1 47"]);
    }
}
