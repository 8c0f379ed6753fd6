//! What peers can do to others, and to our memory: next to nothing.

use std::fs;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{PATIENCE, Peer, Raises, Station, Stream, record, socket_beside, soon};
use crate::child::{self, Running};
use crate::harness::counts;
use crate::sqlite::Database;

/// Whether a well-behaved peer gets its answers: five times, each waited for.
fn serves<S: Stream>(mut peer: Peer<S>, name: &str) {
    peer.hello(name, Some(1));
    for number in 1..=5 {
        peer.send([number]);
        peer.wait_for_ack(number);
    }
}

/// Most memory that a process has had, in MiB.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Lets this process have many connections.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < 8192) {
        let enough = Rlimit { current: Some(maximum.unwrap_or(8192).min(8192)), maximum };
        setrlimit(Resource::Nofile, enough).unwrap();
    }
}

#[test]
fn lines_without_end_cost_no_memory_and_others_are_served_meanwhile() {
    const CONNECTIONS: usize = 50;
    let database = Database::new();
    let mut child = Running::start(child::command("listen", database.path()));
    assert_eq!(child.next().as_deref(), Some("ready"));
    let connect = || UnixStream::connect(socket_beside(database.path())).unwrap();
    serves(Peer::new(connect()), "before");
    let before = peak(child.process.id());
    let mut peers: Vec<_> = (0..CONNECTIONS).map(|_| Peer::new(connect())).collect();
    // Four MiB each, a quarter of one at a time: more than the limit of a record already with the second.
    for round in 0..16 {
        for peer in &mut peers {
            peer.stream.write_all(&[b'x'; 256 << 10]).unwrap();
        }
        if round % 5 == 0 {
            serves(Peer::new(connect()), &format!("round-{round}"));
        }
    }
    // Each ends its line, and is a peer like any other.
    for peer in &mut peers {
        peer.stream.write_all(format!("\n{}\n", record(100)).as_bytes()).unwrap();
    }
    soon("their records are there", || {
        database.number("SELECT count(*) FROM events WHERE msg = '100'") == CONNECTIONS as i64
    });
    let grown = peak(child.process.id()) - before;
    // 200 MiB were sent; a record of 256 KiB and its double while it grows are 25.
    assert!(grown < 80, "{grown} MiB");
    assert_eq!(database.number("SELECT count(*) FROM ingest_rejects WHERE reason = 'too_large'"), CONNECTIONS as i64);
}

#[test]
fn a_length_that_is_never_fulfilled_keeps_nobody_waiting() {
    let station = Station::start("unix:@/in.sock", r#","framing":"length","limits":{"record":"1 KiB"}"#);
    let mut liar = station.peer();
    liar.stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
    liar.stream.write_all(&[b'x'; 100_000]).unwrap();
    let mut other = station.peer();
    other.stream.write_all(&[&24u32.to_be_bytes(), &br#"{"sensor":"s","msg":"1"}"#[..]].concat()).unwrap();
    station.wait_for_rows(1, 0);
    drop(liar);
    station.wait_for_rows(1, 1);
    station.end();
}

#[test]
fn silent_connections_yield_their_places_to_those_that_come() {
    let limits = r#","limits":{"connections":4,"handshake":"100ms"}"#;
    let station = Station::start("unix:@/in.sock", limits);
    let mut silent: Vec<_> = (0..4).map(|_| station.peer()).collect();
    soon("all places are taken", || station.meter.status().peers == Some(4));
    serves(station.peer(), "a");
    assert_eq!(silent[0].answer(), None, "the oldest had to leave");
    // Who has said something keeps its place: the next one waits until it leaves.
    let mut speaking: Vec<_> = (0..4).map(|_| station.peer()).collect();
    for (number, peer) in speaking.iter_mut().enumerate() {
        peer.hello(&format!("b{number}"), None);
    }
    let mut late = station.peer();
    late.say(&super::hello("late", None));
    assert!(late.is_silent() && speaking.iter_mut().all(Peer::is_silent));
    drop(speaking.pop());
    assert_eq!(late.answer().as_deref(), Some(r#"{"ack":0,"next":1}"#));
    station.end();
}

#[test]
fn a_connection_that_never_completes_a_record_is_closed() {
    let station = Station::start("unix:@/in.sock", r#","limits":{"idle":"1s"}"#);
    let mut slow = station.peer();
    let began = Instant::now();
    // A byte now and then, which is less than a record.
    while slow.stream.write_all(b"x").is_ok() {
        assert!(began.elapsed() < PATIENCE, "it still stands");
        crate::harness::pause();
    }
    let mut silent = station.peer();
    assert_eq!(silent.answer(), None);
    station.end();
}

#[test]
fn a_thousand_silent_connections_keep_nobody_out() {
    raise_file_limit();
    let station = Station::start("tcp:127.0.0.1:0", r#","limits":{"handshake":"100ms"}"#);
    let silent: Vec<_> = (0..1000).map(|_| TcpStream::connect(("127.0.0.1", station.port)).unwrap()).collect();
    serves(station.tcp(), "a");
    assert!(station.meter.status().peers.unwrap() <= 256);
    drop(silent);
    station.end();
}

#[test]
fn two_thousand_connections_at_once_are_all_served() {
    raise_file_limit();
    let station = Station::start("tcp:127.0.0.1:0", r#","limits":{"connections":2500}"#);
    let mut peers: Vec<_> = (0..2000).map(|_| TcpStream::connect(("127.0.0.1", station.port)).unwrap()).collect();
    for round in 0..3u64 {
        for (number, peer) in peers.iter_mut().enumerate() {
            peer.write_all(format!("{}\n", record(round * 2000 + number as u64)).as_bytes()).unwrap();
        }
    }
    station.wait_for_rows(6000, 0);
    assert_eq!(station.meter.status().peers, Some(2000));
    assert_eq!(station.database.number("SELECT count(DISTINCT msg) FROM events"), 6000);
    drop(peers);
    station.end();
}

#[test]
fn a_flood_leaves_others_their_turn_and_lets_the_source_end() {
    let station = Station::start("unix:@/in.sock", "");
    let (ends, path) = (AtomicBool::new(false), station.path());
    std::thread::scope(|scope| {
        let _guard = Raises(&ends);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut peer = Peer::new(UnixStream::connect(&path).unwrap());
                let lines = format!("{}\n", record(9)).repeat(1000);
                while !ends.load(Ordering::Relaxed) {
                    if peer.stream.write_all(lines.as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
        soon("the flood has come", || counts(&station.pipeline).accepted > 1000);
        serves(station.peer(), "a");
        station.end();
    });
}

#[test]
fn a_flood_of_datagrams_lets_the_source_end_also_if_they_are_empty() {
    for datagram in [&b""[..], b"x"] {
        let station = Station::start("udp:127.0.0.1:0", "");
        let ends = AtomicBool::new(false);
        let address = ("127.0.0.1", station.port);
        std::thread::scope(|scope| {
            let _guard = Raises(&ends);
            scope.spawn(|| {
                let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                while !ends.load(Ordering::Relaxed) {
                    // After the end nobody listens, and the system says so.
                    let _ = sender.send_to(datagram, address);
                    let _ = sender.send_to(record(1).as_bytes(), address);
                }
            });
            soon("the flood has come", || counts(&station.pipeline).committed > 1000);
            station.end();
        });
    }
}

#[test]
fn garbage_costs_itself_alone() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut garbage = move |bytes: usize| (0..bytes).map(|_| random.u8(..)).collect::<Vec<_>>();
    for (listen, rest) in [
        ("unix:@/in.sock", ""),
        ("unix:@/in.sock", r#","framing":"length""#),
        ("unixgram:@/in.sock", ""),
        ("udp:127.0.0.1:0", ""),
    ] {
        let station = Station::start(listen, rest);
        for _ in 0..20 {
            let bytes = garbage(2000);
            match listen {
                "unix:@/in.sock" => station.peer().stream.write_all(&bytes).unwrap(),
                "unixgram:@/in.sock" => drop(UnixDatagram::unbound().unwrap().send_to(&bytes, station.path()).unwrap()),
                _ => {
                    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                    sender.send_to(&bytes, ("127.0.0.1", station.port)).unwrap();
                }
            }
        }
        soon("it was read and set aside", || counts(&station.pipeline).rejected >= 20);
        assert_eq!(counts(&station.pipeline).committed, 0, "{listen}{rest}");
        if rest.is_empty() && listen == "unix:@/in.sock" {
            serves(station.peer(), "a");
        }
        let database = station.end();
        assert_eq!(database.text("PRAGMA integrity_check"), "ok");
    }
}

#[test]
fn a_peer_that_reads_no_answers_holds_up_nobody() {
    let station = Station::start("unix:@/in.sock", r#","limits":{"idle":"2s"}"#);
    let mut deaf = station.peer();
    deaf.say(&super::hello("deaf", Some(1)));
    deaf.stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _guard = Raises(&ends);
        scope.spawn(|| {
            // One record at a time asks for many answers.
            for number in 1.. {
                if ends.load(Ordering::Relaxed)
                    || deaf.stream.write_all(format!("{}\n", record(number)).as_bytes()).is_err()
                {
                    break;
                }
            }
        });
        soon("it has sent much", || counts(&station.pipeline).accepted > 2000);
        serves(station.peer(), "a");
    });
    station.end();
}
