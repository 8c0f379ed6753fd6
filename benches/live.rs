//! How many packets a second live capture takes, beside `tcpdump -w` on the same traffic.
//!
//! `cargo bench --bench live -- [--packets N] [--rounds N] [--size BYTES]`, as root on Linux: it makes a network namespace
//! of its own (`unshare --net`) with a veth pair in it, and needs `ip`, `python3` and `tcpdump`.
//!
//! A program in Python sends UDP packets of 64 flows at `v0` as fast as it can, and whoever is measured takes them at
//! `v1`, each in turn, round after round. Sender and taker share the machine: on few cores it is mostly the sender that is
//! measured, so what was offered is told beside what was taken. A packet is taken or in the kernel's count of drops; a
//! round that does not add up ends the bench. Time runs from the first packet until the last one is committed (of tcpdump:
//! until it has written its file and ended). tcpdump leaves packets in a block that is not full for up to a second: with
//! few packets that second is what is measured.

#[cfg(target_os = "linux")]
mod cable {
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    use forebay::Pipeline;
    use forebay::source::live::{Live, LiveSettings};
    use forebay::source::{Source, Stop};
    use rustix::process::{Pid, Signal, kill_process};

    const INSIDE: &str = "FOREBAY_BENCH_INSIDE";
    /// The default of `live.ring`, in KiB as tcpdump wants it: the same room for both.
    const RING_KIB: &str = "16384";
    const SNAP: &str = "262144";
    /// Of one packet that is neither taken nor counted.
    const PATIENCE: Duration = Duration::from_secs(60);

    const SENDER: &str = "
import socket, struct, sys, time
count, size = int(sys.argv[1]), int(sys.argv[2])
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(('v0', 0))
data = bytes(size - 42)
link = bytes.fromhex('020000000003020000000001') + b'\\x08\\x00'
ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, size - 14, 0, 0, 64, 17, 0, bytes([10, 7, 0, 1]), bytes([10, 7, 0, 3]))
frames = [link + ip + struct.pack('>HHHH', 4000 + n, 4000, size - 34, 0) + data for n in range(64)]
send, began = out.send, time.monotonic()
for n in range(count):
    send(frames[n & 63])
print(time.monotonic() - began)
";

    /// What a round came to.
    struct Outcome {
        taken: u64,
        dropped: u64,
        took: f64,
        sending: f64,
    }

    struct Load {
        packets: u64,
        size: u64,
    }

    pub fn main() {
        let number = |name: &str, default: u64| {
            let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
            arguments.next().map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
        };
        if std::env::var_os(INSIDE).is_none() {
            let mut inside = Command::new("unshare");
            inside.arg("--net").arg(std::env::current_exe().expect("our own path")).args(std::env::args_os().skip(1));
            let status = inside.env(INSIDE, "1").status().expect("unshare, of util-linux");
            assert!(status.success(), "{status}; it needs root, for a network namespace and packet sockets");
            return;
        }
        let load = Load { packets: number("--packets", 1_000_000), size: number("--size", 300).max(42) };
        for arguments in
            ["link add v0 type veth peer name v1", "link set v0 addrgenmode none up", "link set v1 addrgenmode none up"]
        {
            let done = Command::new("ip").args(arguments.split(' ')).status().expect("ip, of iproute2");
            assert!(done.success(), "ip {arguments}");
        }
        println!("{} packets of {} bytes a round, {RING_KIB} KiB of ring", load.packets, load.size);
        println!("{:12} {:>12} {:>12} {:>10} {:>8}", "", "offered/s", "taken/s", "dropped", "%");
        for _ in 0..number("--rounds", 3) {
            let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
            let sqlite = format!("sqlite:{}", directory.path().join("a.db").display());
            show("memory:", &load, &forebay(&load, "memory:"));
            show("sqlite", &load, &forebay(&load, &sqlite));
            show("tcpdump -w", &load, &tcpdump(&load, &directory.path().join("a.pcap")));
        }
    }

    fn show(who: &str, load: &Load, outcome: &Outcome) {
        let Outcome { taken, dropped, took, sending } = *outcome;
        assert_eq!(taken + dropped, load.packets, "{who}: taken and dropped");
        let percent = 100.0 * dropped as f64 / load.packets as f64;
        let (offered, rate) = (load.packets as f64 / sending, taken as f64 / took);
        println!("{who:12} {offered:>12.0} {rate:>12.0} {dropped:>10} {percent:>8.2}");
    }

    /// Sends all of it; returns how many seconds that took.
    fn send(load: &Load) -> f64 {
        let mut sender = Command::new("python3");
        sender.args(["-c", SENDER, &load.packets.to_string(), &load.size.to_string()]).stderr(Stdio::inherit());
        let told = sender.output().expect("python3");
        String::from_utf8_lossy(&told.stdout).trim().parse().expect("seconds")
    }

    fn forebay(load: &Load, url: &str) -> Outcome {
        let pipeline = Arc::new(Pipeline::open(url).expect("a pipeline"));
        let mut live = Live::open("v1", LiveSettings::new("v1"), "bench", 8 << 20).expect("a capture");
        let (meter, stop) = (live.meter().clone(), Stop::new());
        let (theirs, told) = (Arc::clone(&pipeline), stop.clone());
        let thread = thread::spawn(move || live.run(&theirs, &told));
        let began = Instant::now();
        let sending = send(load);
        // The start of the sender's interpreter is no part of it.
        let before = began.elapsed().as_secs_f64() - sending;
        let passed = || {
            let status = meter.status();
            status.rows + status.kernel_drops.unwrap_or(0)
        };
        let sent = Instant::now();
        while passed() < load.packets && sent.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        pipeline.flush().wait().expect("every row");
        let took = began.elapsed().as_secs_f64() - before;
        stop.stop();
        thread.join().expect("no panic").expect("a capture to its end");
        let committed = pipeline.status().lanes[0].captures.committed;
        let dropped = meter.status().kernel_drops.unwrap_or(0);
        let pipeline = Arc::into_inner(pipeline).expect("nobody else has it");
        assert!(pipeline.shutdown_blocking(PATIENCE).is_complete());
        Outcome { taken: committed, dropped, took, sending }
    }

    fn tcpdump(load: &Load, file: &Path) -> Outcome {
        let mut tcpdump = Command::new("tcpdump");
        tcpdump.args(["-n", "-i", "v1", "-B", RING_KIB, "-s", SNAP, "-Z", "root", "-w"]).arg(file);
        let mut process = tcpdump.stderr(Stdio::piped()).spawn().expect("tcpdump");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("listening on")), "tcpdump has ended");
        let began = Instant::now();
        let sending = send(load);
        let before = began.elapsed().as_secs_f64() - sending;
        let signal = |signal| kill_process(Pid::from_child(&process), signal).expect("a signal");
        // What is in the ring when it is told to end it leaves there: so it is asked how far it is.
        let (mut taken, mut dropped) = (0, 0);
        let sent = Instant::now();
        while taken + dropped < load.packets && sent.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
            signal(Signal::USR1);
            let told = lines.next().expect("an answer");
            let figure = |what: &str| {
                let before = told.split(what).next().and_then(|before| before.split_whitespace().next_back());
                before.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{what}: {told}"))
            };
            (taken, dropped) = (figure(" packets captured"), figure(" packets dropped by kernel"));
        }
        signal(Signal::INT);
        lines.for_each(drop);
        process.wait().expect("its end");
        let took = began.elapsed().as_secs_f64() - before;
        Outcome { taken, dropped, took, sending }
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    cable::main();
    #[cfg(not(target_os = "linux"))]
    println!("packets are captured on Linux only");
}
