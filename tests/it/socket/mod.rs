//! Sources that peers send to, over real sockets into a real SQLite file.
//!
//! [`Station`] runs a source on its thread; [`Peer`] is somebody who speaks lines to it. `transports` tries every way in,
//! `answers` what an answer promises, `crash` that it holds when forebay is killed, `hostile` what peers can do to others,
//! `tls` who is let in, `syslog` real senders.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use forebay::source::socket::{Socket, SocketSettings};
use forebay::source::{Meter, Source, Stop};
use forebay::{Error, Pipeline};

use crate::harness::{counts, eventually_within};
use crate::sqlite::{Database, impatient};

mod answers;
pub mod crash;
mod hostile;
mod syslog;
mod tls;
mod transports;

/// Longest wait for an answer.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const ROOM: usize = 8 << 20;

/// Waits until `condition` holds, on a machine that may be busy.
#[track_caller]
pub fn soon(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, condition);
}

/// A source that runs, over a database.
pub struct Station {
    pub database: Database,
    pub pipeline: Arc<Pipeline>,
    pub meter: Meter,
    pub port: u16,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Station {
    /// Runs a socket at `listen`; the settings are JSON members, and `@` in them stands for the database's directory.
    pub fn start(listen: &str, settings: &str) -> Self {
        let database = Database::new();
        Self::over(database, listen, settings)
    }

    pub fn over(database: Database, listen: &str, settings: &str) -> Self {
        let settings = format!(r#"{{"listen":"{listen}"{settings}}}"#);
        let settings = settings.replace('@', database.directory().to_str().unwrap());
        let settings: SocketSettings = serde_json::from_str(&settings).unwrap();
        let mut socket = Socket::new("in", &settings, "here", ROOM).unwrap();
        socket.bind().unwrap();
        let port = socket.local_address().map_or(0, |address| address.port());
        Self::run(database, socket, port)
    }

    pub fn run(database: Database, mut source: impl Source + 'static, port: u16) -> Self {
        let pipeline = Arc::new(database.open_with(impatient()).unwrap());
        let (stop, meter) = (Stop::new(), source.meter().clone());
        let thread = std::thread::spawn({
            let (pipeline, stop) = (Arc::clone(&pipeline), stop.clone());
            move || source.run(&pipeline, &stop)
        });
        Self { database, pipeline, meter, port, stop, thread: Some(thread) }
    }

    pub fn path(&self) -> PathBuf {
        self.database.directory().join("in.sock")
    }

    pub fn peer(&self) -> Peer<UnixStream> {
        Peer::new(UnixStream::connect(self.path()).unwrap())
    }

    pub fn tcp(&self) -> Peer<TcpStream> {
        Peer::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    /// Ends the source, has everything committed, and returns the database.
    pub fn end(mut self) -> Database {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
        assert_eq!(self.pipeline.flush().wait(), Ok(()));
        let database = std::mem::replace(&mut self.database, Database::new());
        drop(self);
        database
    }

    #[track_caller]
    pub fn wait_for_rows(&self, committed: u64, rejected: u64) {
        let now = || (counts(&self.pipeline).committed, counts(&self.pipeline).rejected);
        let began = std::time::Instant::now();
        while now() != (committed, rejected) {
            assert!(began.elapsed() < PATIENCE, "{:?} instead of {:?}", now(), (committed, rejected));
            crate::harness::pause();
        }
    }

    pub fn messages(&self) -> Vec<String> {
        self.database.texts("SELECT msg FROM events ORDER BY id")
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // A test that fails ends here too; what the source says then is of no interest.
            let _ = thread.join();
        }
        self.pipeline.close();
    }
}

/// Raises a flag at the end of its scope, so that the threads there end also when the test fails.
pub struct Raises<'a>(pub &'a AtomicBool);

impl Drop for Raises<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stream that times out instead of hanging.
pub trait Stream: Read + Write + Sized {
    fn patient(self) -> Self;
    fn again(&self) -> Self;
    fn end_writing(&self);
    fn nonblocking(&self, on: bool);
}

macro_rules! stream {
    ($stream:ty) => {
        impl Stream for $stream {
            fn patient(self) -> Self {
                self.set_read_timeout(Some(PATIENCE)).unwrap();
                self.set_write_timeout(Some(PATIENCE)).unwrap();
                self
            }
            fn again(&self) -> Self {
                self.try_clone().unwrap()
            }
            fn end_writing(&self) {
                self.shutdown(std::net::Shutdown::Write).unwrap();
            }
            fn nonblocking(&self, on: bool) {
                self.set_nonblocking(on).unwrap();
            }
        }
    };
}

stream!(UnixStream);
stream!(TcpStream);

/// Somebody who speaks lines.
pub struct Peer<S> {
    pub stream: S,
    lines: BufReader<S>,
}

impl<S: Stream> Peer<S> {
    pub fn new(stream: S) -> Self {
        let stream = stream.patient();
        Self { lines: BufReader::new(stream.again()), stream }
    }

    pub fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Sends events with these texts.
    pub fn send(&mut self, texts: impl IntoIterator<Item = u64>) {
        let lines: String = texts.into_iter().map(|text| format!("{}\n", record(text))).collect();
        self.stream.write_all(lines.as_bytes()).unwrap();
    }

    /// Says hello, and returns what is answered.
    pub fn hello(&mut self, peer: &str, first: Option<u64>) -> String {
        self.say(&hello(peer, first));
        self.answer().expect("an answer to hello")
    }

    /// Returns the next answer; `None` at the end.
    pub fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            // A connection that is closed with bytes unread is reset.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Reads whatever comes, and returns false at the end.
    pub fn answer_bytes(&mut self) -> bool {
        self.lines.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0)
    }

    /// Reads answers until this record is acknowledged.
    pub fn wait_for_ack(&mut self, number: u64) {
        loop {
            let answer = self.answer().unwrap_or_else(|| panic!("closed before {number} was acknowledged"));
            if acked(&answer) >= number {
                return;
            }
        }
    }

    /// Returns whether nothing has been said, and the connection stands.
    pub fn is_silent(&mut self) -> bool {
        self.stream.nonblocking(true);
        let silent = match self.lines.fill_buf() {
            Err(error) => error.kind() == ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        self.stream.nonblocking(false);
        silent
    }
}

pub fn hello(peer: &str, first: Option<u64>) -> String {
    let first = first.map(|first| format!(r#","first":{first}"#)).unwrap_or_default();
    format!(r#"{{"forebay":"hello","peer":"{peer}"{first}}}"#)
}

pub fn record(text: u64) -> String {
    format!(r#"{{"sensor":"s","msg":"{text}"}}"#)
}

pub fn acked(answer: &str) -> u64 {
    let json: serde_json::Value = serde_json::from_str(answer).unwrap();
    json["ack"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

/// Returns these numbers as `messages` gives them.
pub fn texts(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

pub fn socket_beside(database: &Path) -> PathBuf {
    database.with_file_name("in.sock")
}
