//! kill -9 of forebay at any moment, while peers send and send again.
//!
//! A child process runs the source. The peers live here, and know what was acknowledged: in the end each record that they
//! have is in the table once, and none that was acknowledged is missing after any kill.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use forebay::Pipeline;
use forebay::source::socket::{Socket, SocketSettings};
use forebay::source::{Source, Stop};

use super::{PATIENCE, ROOM, Raises, acked, hello, socket_beside};
use crate::child::{self, Running};
use crate::harness::pause;
use crate::sqlite::Database;

const KILLS: usize = 12;
/// Acknowledged records, of all peers, between two kills.
const BETWEEN: u64 = 150;

/// The child: listens until it is killed.
pub fn listen(database: &Path) {
    let mut config = forebay::Config::default();
    config.batch.max_rows = 32;
    config.batch.max_wait = Duration::from_millis(1);
    let pipeline = Pipeline::builder().config(config).database(format!("sqlite:{}", database.display()));
    let pipeline = pipeline.open().unwrap();
    let mut settings = SocketSettings::default();
    settings.listen = format!("unix:{}", socket_beside(database).display()).parse().unwrap();
    let mut socket = Socket::new("in", &settings, "here", ROOM).unwrap();
    socket.bind().unwrap();
    child::say("ready");
    socket.run(&pipeline, &Stop::new()).unwrap();
}

/// One peer: has records from 1 on, sends up to fifty ahead, and sends again what was not acknowledged.
struct Sender {
    name: String,
    acknowledged: AtomicU64,
    sent: AtomicU64,
}

impl Sender {
    fn record(&self, number: u64) -> String {
        match number % 4 {
            0 => format!(r#"{{"forebay":"capture","kind":"k","session":"{}:{number}","data":"AA=="}}"#, self.name),
            _ => format!(r#"{{"msg":"{}:{number}"}}"#, self.name),
        }
    }

    /// Sends over one connection, until it breaks or `ends` says so and everything is acknowledged.
    fn session(&self, path: &Path, ends: &AtomicBool) -> Option<()> {
        let mut stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut next = self.acknowledged.load(Ordering::Relaxed) + 1;
        writeln!(stream, "{}", hello(&self.name, Some(next))).ok()?;
        loop {
            let mut line = String::new();
            if answers.read_line(&mut line).ok()? == 0 || !line.ends_with('\n') {
                return None;
            }
            let acknowledged = acked(&line);
            assert!(acknowledged >= self.acknowledged.load(Ordering::Relaxed), "an answer is never taken back");
            self.acknowledged.store(acknowledged, Ordering::Relaxed);
            let sent = self.sent.load(Ordering::Relaxed);
            if ends.load(Ordering::Relaxed) && acknowledged == sent {
                return Some(());
            }
            let goal = if ends.load(Ordering::Relaxed) { sent } else { acknowledged + 50 };
            // Also what the answer says is committed: what was sent before has its numbers.
            let lines: String = (next..=goal).map(|number| self.record(number) + "\n").collect();
            self.sent.fetch_max(goal, Ordering::Relaxed);
            next = next.max(goal + 1);
            stream.write_all(lines.as_bytes()).ok()?;
        }
    }
}

#[test]
fn a_record_that_is_acknowledged_is_there_once_after_kill_minus_nine_and_so_is_every_other_in_the_end() {
    let database = Database::new();
    let start = || {
        let mut child = Running::start(child::command("listen", database.path()));
        assert_eq!(child.next().as_deref(), Some("ready"));
        child
    };
    let senders: Vec<_> = (0..3)
        .map(|peer| Sender { name: format!("p{peer}"), acknowledged: AtomicU64::new(0), sent: AtomicU64::new(0) })
        .collect();
    let (ends, path) = (AtomicBool::new(false), socket_beside(database.path()));
    let given_up = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _guard = Raises(&given_up);
        let threads: Vec<_> = senders
            .iter()
            .map(|sender| {
                let (ends, path, given_up) = (&ends, &path, &given_up);
                scope.spawn(move || {
                    while sender.session(path, ends).is_none() && !given_up.load(Ordering::Relaxed) {
                        pause();
                    }
                })
            })
            .collect();
        let acknowledged = || senders.iter().map(|sender| sender.acknowledged.load(Ordering::Relaxed)).sum::<u64>();
        for kill in 0..KILLS {
            let mut child = start();
            let goal = acknowledged() + BETWEEN + fastrand::u64(0..50);
            super::soon("records are acknowledged", || acknowledged() >= goal);
            let known: Vec<_> = senders.iter().map(|sender| sender.acknowledged.load(Ordering::Relaxed)).collect();
            child.kill();
            child.process.wait().unwrap();
            check(&database, &senders, &known, kill);
        }
        ends.store(true, Ordering::Relaxed);
        let _last = start();
        super::soon("everything is acknowledged", || threads.iter().all(|thread| thread.is_finished()));
    });
    let known: Vec<_> = senders.iter().map(|sender| sender.sent.load(Ordering::Relaxed)).collect();
    let rows = check(&database, &senders, &known, KILLS);
    assert_eq!(rows as u64, known.iter().sum::<u64>(), "and nothing else");
}

/// Every record up to these numbers is there once, and none twice; returns how many there are.
fn check(database: &Database, senders: &[Sender], known: &[u64], kill: usize) -> usize {
    let mut rows = database.texts("SELECT msg FROM events UNION ALL SELECT session FROM captures");
    rows.sort();
    assert!(rows.windows(2).all(|pair| pair[0] != pair[1]), "kill {kill}: a row is there twice");
    for (sender, known) in senders.iter().zip(known) {
        for number in 1..=*known {
            let name = format!("{}:{number}", sender.name);
            assert!(rows.binary_search(&name).is_ok(), "kill {kill}: {name} was acknowledged and is lost");
        }
    }
    rows.len()
}
