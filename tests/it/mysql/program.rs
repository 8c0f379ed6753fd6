//! The program `forebay` against a real server.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::server::{SHARED, Server};
use crate::harness::eventually;

/// A directory in which the program runs, without any setting from outside.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.0.path().join("a.json"), "{\"msg\":\"one\"}\n{\"msg\":\"two\"}\n").unwrap();
        place
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FOREBAY_") {
                command.env_remove(name);
            }
        }
        let file = |name: &str| fs::File::create(self.0.path().join(name)).unwrap();
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Running { child, directory: self.0.path().to_owned() }
    }

    /// Runs the program to its end; returns its exit code, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.start(arguments).finish()
    }
}

/// A process of the program; killed if it is dropped.
pub struct Running {
    child: Child,
    directory: std::path::PathBuf,
}

impl Running {
    pub fn read(&self, name: &str) -> String {
        let mut text = String::new();
        fs::File::open(self.directory.join(name)).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub fn wait_for_err(&mut self, text: &str) {
        eventually(text, || {
            let (is_over, err) = (self.child.try_wait().unwrap().is_some(), self.read("err"));
            assert!(!is_over || err.contains(text), "the program ended first: {err}");
            err.contains(text)
        });
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    pub fn finish(mut self) -> (i32, String, String) {
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let outcome = (status.unwrap().code().unwrap(), self.read("out"), self.read("err"));
        assert!(!outcome.2.contains("p@ss") && !outcome.2.contains("p%40ss"), "a password is shown: {outcome:?}");
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill or wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_that_is_down_at_start_is_waited_for_in_words_and_then_everything_comes_in() {
    let server = Server::start();
    let url = server.database("late");
    server.kill();
    let place = Place::new();
    let mut running = place.start(&["ingest", "--json", "--db", &url, "a.json"]);
    running.wait_for_err(&format!("waiting for mysql://writer:...@127.0.0.1:{}/late, 0 s so far: ", server.port));
    server.run();
    let (code, out, err) = running.finish();
    assert_eq!(code, 0, "{err}");
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["rows"], 2);
    assert_eq!(server.admin().texts("SELECT msg FROM late.events ORDER BY id"), ["one", "two"]);
    assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0);
    assert_eq!(server.admin().number("SELECT count(*) FROM late.events"), 2, "once");
}

#[test]
fn waiting_for_a_server_ends_by_ctrl_c_and_by_its_time_limit() {
    let place = Place::new();
    let ingest = ["ingest", "--db", "mysql://u:p%40ss@127.0.0.1:1/d", "a.json"];
    let mut running = place.start(&ingest);
    running.wait_for_err("waiting for mysql://");
    running.interrupt();
    let (code, _, err) = running.finish();
    assert_eq!(code, 130, "{err}");
    let (code, _, err) = place.run(&[&ingest[..], &["--quiet", "--give-up-after", "100ms"]].concat());
    assert!(code == 3 && err.contains("gave up after 0 s: read the ledger") && !err.contains("so far"), "{err}");
}

/// The server was down at first, so nobody had looked at its tables; rows went into what could not hold them.
#[test]
fn a_late_server_that_refuses_ends_the_waiting_with_its_own_message() {
    let server = Server::start();
    let url = server.database("late");
    let place = Place::new();
    assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0);
    server.admin().run("ALTER TABLE late.events CONVERT TO CHARACTER SET latin1");
    for (url, hint) in [
        (url.replace("p%40ss%3Aw%2Frd", "p%40ss"), "correct the user or the password"),
        (url.replace("/late", "/early"), "grant the user SELECT, INSERT"),
        (url, "utf8mb4"),
    ] {
        server.kill();
        let mut running = place.start(&["ingest", "--db", &url, "a.json"]);
        running.wait_for_err("waiting for mysql://");
        server.run();
        let (code, _, err) = running.finish();
        assert!(code == 3 && err.contains(hint), "{code} {hint}: {err}");
    }
}

#[test]
fn a_server_that_refuses_at_start_is_not_waited_for() {
    let (_, url) = SHARED.new_database();
    let (code, _, err) = Place::new().run(&["ingest", "--db", &url.replace("p%40ss%3Aw%2Frd", "p%40ss"), "a.json"]);
    assert!(code == 3 && err.contains("correct the user or the password") && !err.contains("waiting"), "{err}");
}

fn scraped(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn an_outage_is_seen_in_the_metrics_while_it_lasts_and_its_end_too() {
    let server = Server::start();
    let url = server.database("sensors");
    let place = Place::new();
    let pipe = place.0.path().join("in.json");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let running = place.start(&["ingest", "--metrics", &address, "--db", &url, "in.json"]);
    let until = |what: &str| {
        eventually(what, || {
            scraped(&address).is_some_and(|metrics| metrics.lines().any(|line| line.starts_with(what)))
        });
    };
    let mut rows = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    rows.write_all(b"{\"msg\":\"one\"}\n").unwrap();
    until("forebay_committed_rows_total{lane=\"mysql\",kind=\"events\"} 1");
    until("forebay_lane_state{lane=\"mysql\"} 0");
    server.kill();
    rows.write_all(b"{\"msg\":\"two\"}\n").unwrap();
    until("forebay_lane_state{lane=\"mysql\"} 1");
    until("forebay_retries_total{lane=\"mysql\",reason=\"connection\"} ");
    until("forebay_buffer_size_rows{lane=\"mysql\",kind=\"events\"} 1");
    server.run();
    until("forebay_committed_rows_total{lane=\"mysql\",kind=\"events\"} 2");
    until("forebay_lane_state{lane=\"mysql\"} 0");
    drop(rows);
    assert_eq!(running.finish().0, 0);
    assert_eq!(server.admin().texts("SELECT msg FROM sensors.events ORDER BY id"), ["one", "two"]);
}
