//! `forebay run` and `forebay config`: sources beside a database, through crashes, signals and changes of the settings.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

use rusqlite::{Connection, OpenFlags};

use crate::place::{Place, Running, free_address, wait_for};

pub fn settings(place: &Place, text: &str) {
    place.write("forebay.toml", format!("[database]\nurl = \"sqlite:forebay.db\"\n{text}"));
}

pub fn tail(name: &str, path: &str) -> String {
    format!("[sources.{name}]\ntype = \"tail\"\npaths = [\"{path}\"]\nformat = \"ndjson\"\npoll = \"20ms\"\n")
}

pub fn start(place: &Place) -> Running {
    let mut run = place.start(&["run", "--config", "forebay.toml", "--json"]);
    run.wait_for_err(" into sqlite:");
    run
}

pub fn line(number: u64) -> String {
    format!("{{\"sensor\":\"s\",\"msg\":\"line {number}\"}}\n")
}

/// How often each message is in the database; it may not be there yet.
fn messages(place: &Place, database: &str) -> BTreeMap<String, u64> {
    let path = place.path(database);
    let open = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok();
    let mut counts = BTreeMap::new();
    let Some(connection) = open else { return counts };
    let Ok(mut statement) = connection.prepare("SELECT msg, count(*) FROM events GROUP BY 1") else { return counts };
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, Option<String>>(0)?.unwrap_or_default(), row.get::<_, i64>(1)?)));
    counts.extend(rows.unwrap().map(|row| row.map(|(message, count)| (message, count as u64)).unwrap()));
    counts
}

#[track_caller]
pub fn wait_for_messages(place: &Place, database: &str, count: usize) {
    wait_for(&format!("{count} messages in {database}"), || (messages(place, database).len() >= count).then_some(()));
    let twice: Vec<_> = messages(place, database).into_iter().filter(|(_, times)| *times != 1).collect();
    assert!(twice.is_empty(), "landed more than once: {twice:?}");
}

#[test]
fn lines_land_once_through_kill_minus_nine_while_the_file_grows() {
    let place = Place::new();
    settings(&place, &tail("log", "a.json"));
    place.write("a.json", "");
    let mut written = 0;
    for round in 0..6 {
        let run = start(&place);
        for _ in 0..200 {
            place.append("a.json", line(written));
            written += 1;
        }
        // Killed at another moment each time: with nothing, some, or all of it committed.
        wait_for_messages(&place, "forebay.db", (written as usize).saturating_sub(round * 40));
        run.kill();
    }
    let run = start(&place);
    wait_for_messages(&place, "forebay.db", written as usize);
    run.signal("TERM");
    let outcome = run.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.summary()["complete"], true);
    assert_eq!(messages(&place, "forebay.db").len() as u64, written);
}

#[test]
fn a_reload_changes_sources_and_loses_no_row() {
    let place = Place::new();
    for name in ["a.json", "b.json", "c.json"] {
        place.write(name, "");
    }
    settings(&place, &(tail("a", "a.json") + &tail("b", "b.json")));
    let mut run = start(&place);
    let mut written = 0;
    let mut write = |files: &[&str]| {
        for file in files {
            for _ in 0..100 {
                place.append(file, line(written));
                written += 1;
            }
        }
        written as usize
    };
    write(&["a.json", "b.json"]);
    // `a` changes, `b` goes, `c` comes: what `b` had read is not lost.
    settings(&place, &(tail("a", "a.json") + "sensor = \"other\"\n" + &tail("c", "c.json")));
    run.signal("HUP");
    run.wait_for_err("settings read again: 2 sources");
    let count = write(&["a.json", "c.json"]);
    wait_for_messages(&place, "forebay.db", count - 100);
    place.write("forebay.toml", "[sources.a]\ntype = \"tial\"\n");
    run.signal("HUP");
    run.wait_for_err("`sources.a.type`: must be one of: tail, socket, syslog, live; nothing was changed");
    settings(&place, &(tail("a", "a.json") + &tail("b", "b.json") + &tail("c", "c.json")));
    run.signal("HUP");
    run.wait_for_err("settings read again: 3 sources");
    let count = write(&["a.json", "b.json", "c.json"]);
    wait_for_messages(&place, "forebay.db", count);
    run.signal("INT");
    assert_eq!(run.finish().code, 0);
    assert_eq!(messages(&place, "forebay.db").len(), count);
}

#[test]
fn files_sockets_and_syslog_go_into_every_database() {
    let place = Place::new();
    place.write("a.json", line(0));
    let socket = place.path("in.sock");
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sources = format!(
        "[run]\nalso = [\"second\"]\n[databases.second]\nurl = \"sqlite:second.db\"\n{}\
         [sources.in]\ntype = \"socket\"\nlisten = \"unix:{}\"\n\
         [sources.relay]\ntype = \"syslog\"\nlisten = \"udp:127.0.0.1:{port}\"\n",
        tail("log", "a.json"),
        socket.display()
    );
    settings(&place, &sources);
    let run = start(&place);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut peer = UnixStream::connect(&socket).unwrap();
    peer.write_all(b"{\"forebay\":\"hello\",\"peer\":\"p\",\"first\":1}\n{\"msg\":\"from a socket\"}\n").unwrap();
    let mut answers = BufReader::new(peer.try_clone().unwrap()).lines();
    while !answers.next().unwrap().unwrap().contains("\"ack\":1") {}
    let syslog = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sent = b"<34>1 2026-01-02T03:04:05.000006Z web-1 ssh 77 login - from a relay";
    syslog.send_to(sent, ("127.0.0.1", port)).unwrap();
    for database in ["forebay.db", "second.db"] {
        wait_for_messages(&place, database, 3);
        let known: Vec<_> = messages(&place, database).into_keys().collect();
        assert_eq!(known, ["from a relay", "from a socket", "line 0"]);
    }
    run.signal("TERM");
    let outcome = run.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let summary = outcome.summary();
    assert_eq!(summary["lanes"].as_array().unwrap().len(), 2, "{summary}");
    assert_eq!(summary["lanes"][1]["events"]["committed"], 3);
}

#[test]
fn everything_is_checked_before_anything_is_opened() {
    let place = Place::new();
    let good = tail("log", "a.json");
    for (text, told) in [
        (good.replace("paths", "pats"), "`sources.log.pats`: unknown key `pats`; the nearest is `paths`"),
        (good.replace("20ms", "soon"), "`sources.log.poll`: `soon` is no duration"),
        (good.clone() + "[sources.\"a b\"]\ntype = \"tail\"\n", "`sources.a b`: a source's name has 1 to 64 letters"),
        (good.clone() + "[batch]\nmax_rows = 0\n", "max_rows"),
        (good.clone() + "[run]\nalso = [\"nowhere\"]\n", "no database is named `nowhere`"),
        (good.clone() + "[run]\nalso = [\"sqlite:forebay.db\"]\n", "named twice"),
        (good.clone() + "[metrics]\nlisten = \"0.0.0.0:9464\"\n", "only loopback"),
        (good.clone() + "[sources.in]\ntype = \"socket\"\nlisten = \"tcp:0.0.0.0:1\"\n", "allow_plaintext"),
        (
            good.clone() + "[sources.tap]\ntype = \"live\"\ninterface = \"lo\"\nfilter = \"prot 22\"\n",
            "`sources.tap`: filter",
        ),
        (String::new(), "there are no sources"),
        (good.clone() + "[sourcs]\n", "unknown key `sourcs`; the nearest is `sources`"),
    ] {
        settings(&place, &text);
        for command in [&["config", "check"][..], &["run"]] {
            let outcome = place.run(&[command, &["--config", "forebay.toml"]].concat());
            assert_eq!(outcome.code, 2, "{text}: {outcome:?}");
            assert!(outcome.err.contains(told), "{text}: {outcome:?}");
        }
    }
    settings(&place, &good);
    let outcome = place.run(&["config", "check", "--config", "forebay.toml", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.summary()["sources"][0]["type"], "tail");
    assert!(!place.path("forebay.db").exists(), "nothing was opened");
}

#[test]
fn the_example_is_right_and_a_source_that_cannot_start_is_named() {
    let place = Place::new();
    let example = place.run(&["config", "example"]);
    place.write("forebay.toml", &example.out);
    assert_eq!(place.run(&["config", "check", "--config", "forebay.toml"]).code, 0);
    settings(&place, "[sources.in]\ntype = \"socket\"\nlisten = \"unix:/nowhere/at/all/in.sock\"\n");
    let outcome = place.run(&["run", "--config", "forebay.toml"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.err.contains("source `in`: ") && outcome.err.contains("/nowhere/at/all"), "{outcome:?}");
    assert!(!place.path("forebay.db").exists());
}

/// The next datagrams to a service manager, until one has `text`.
fn told(manager: &UnixDatagram, text: &str) {
    let mut buffer = [0; 4096];
    wait_for(text, || {
        let length = manager.recv(&mut buffer).ok()?;
        String::from_utf8_lossy(&buffer[..length]).contains(text).then_some(())
    });
}

#[test]
fn systemd_is_told_when_it_is_ready_reloads_lives_and_stops() {
    let place = Place::new();
    place.write("a.json", line(0));
    settings(&place, &tail("log", "a.json"));
    let manager = UnixDatagram::bind(place.path("notify.sock")).unwrap();
    manager.set_read_timeout(Some(crate::place::DEADLINE)).unwrap();
    // As systemd does, its own process id is among what it is told.
    let mut command = Command::new("sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" run --config forebay.toml", env!("CARGO_BIN_EXE_forebay")]);
    command.env("NOTIFY_SOCKET", place.path("notify.sock")).env("WATCHDOG_USEC", "600000");
    let run = place.start_command(command);
    told(&manager, "READY=1");
    told(&manager, "WATCHDOG=1");
    run.signal("HUP");
    told(&manager, "RELOADING=1\nMONOTONIC_USEC=");
    told(&manager, "READY=1");
    run.signal("TERM");
    told(&manager, "STOPPING=1");
    assert_eq!(run.finish().code, 0);
}

#[test]
fn packets_are_captured_and_every_right_is_given_up() {
    assert!(rustix::process::geteuid().is_root(), "capturing packets needs root here: run the tests as root");
    let place = Place::new();
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(place.path(""), everybody).unwrap();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = receiver.local_addr().unwrap().port();
    let source = format!(
        "[run]\nuser = \"nobody\"\n[sources.tap]\ntype = \"live\"\ninterface = \"lo\"\nfilter = \"udp port {port}\"\n"
    );
    settings(&place, &source);
    let run = start(&place);
    let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
    assert_eq!(value("CapEff:").trim_matches('0'), "", "{status}");
    assert_eq!(value("NoNewPrivs:"), "1");
    assert!(!value("Uid:").split_whitespace().any(|id| id == "0"), "{status}");
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"caught by forebay run", ("127.0.0.1", port)).unwrap();
    let query = "SELECT count(*) FROM captures WHERE instr(data, 'caught by forebay run')";
    wait_for("the packet", || (place.database().number(query) >= 1).then_some(()));
    run.signal("TERM");
    assert_eq!(run.finish().code, 0);
}

#[test]
fn its_page_shows_each_source_and_turns_red_while_the_database_is_locked() {
    let place = Place::new();
    place.write("a.json", line(0));
    let address = free_address();
    settings(&place, &(tail("log", "a.json") + &format!("[metrics]\nlisten = \"{address}\"\n")));
    let run = start(&place);
    wait_for_messages(&place, "forebay.db", 1);
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    wait_for("the source's rows", || {
        get("/metrics").contains("forebay_source_rows_total{source=\"log\",kind=\"tail\"} 1\n").then_some(())
    });
    assert!(get("/healthz").starts_with("HTTP/1.1 200") && get("/readyz").starts_with("HTTP/1.1 200"));
    let database = place.database();
    let lock = database.lock();
    place.append("a.json", line(1));
    wait_for("a red answer", || get("/readyz").starts_with("HTTP/1.1 503").then_some(()));
    drop(lock);
    wait_for("a green answer", || get("/readyz").starts_with("HTTP/1.1 200").then_some(()));
    wait_for_messages(&place, "forebay.db", 2);
    run.signal("TERM");
    assert_eq!(run.finish().code, 0);
}
