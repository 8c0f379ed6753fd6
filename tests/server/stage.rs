//! A pipeline with a server before it, in a directory of its own; gone at the end.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use std::collections::BTreeMap;

use forebay::backend::sqlite::Sqlite;
use forebay::backend::{Backend, WriteError};
use forebay::pipeline::{Replay, ReplayRows};
use forebay::server::{Exporter, Server, Settings, View};
use forebay::{Batch, Config, Event, Pipeline, Ranges, Reject, Repository, Row};
use tempfile::TempDir;

use crate::client;

/// The recorder of this process. To be asked for before a pipeline is opened.
pub fn exporter() -> Exporter {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    EXPORTER.get_or_init(|| Exporter::install().expect("no other recorder")).clone()
}

/// Returns settings for a free port of 127.0.0.1.
pub fn anywhere() -> Settings {
    Settings::at(([127, 0, 0, 1], 0).into())
}

pub fn event(msg: &str) -> Event {
    let source = "203.0.113.9".parse().ok();
    Event::builder("web-1", "ssh", "login.failed").src(source, Some(51022)).msg(msg).build().expect("an event")
}

pub struct Stage {
    // In the order in which they must go.
    pub server: Server,
    pub pipeline: Pipeline,
    dir: TempDir,
}

impl Stage {
    /// Opens a SQLite file whose lane is called `lane`, and a server with everything that it can show.
    pub fn new(lane: &'static str) -> Self {
        Self::with(lane, |backend| Box::new(backend))
    }

    /// The same, around whose backend `wrap` puts another.
    pub fn with(lane: &'static str, wrap: impl FnOnce(Sqlite) -> Box<dyn Backend>) -> Self {
        let exporter = exporter();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.db");
        let sqlite = Sqlite::open(&path, &Config::default()).expect("a database");
        let pipeline = Pipeline::builder().backend(Named(lane, wrap(sqlite))).open().expect("a pipeline");
        let repository = Repository::open(&format!("sqlite://{}", path.display())).expect("a reader");
        let view = View::new(pipeline.observer()).exporter(exporter).repository(repository);
        let server = Server::start(&anywhere(), view).expect("a server");
        Self { server, pipeline, dir }
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("a.db")
    }

    pub fn get(&self, path: &str) -> client::Answer {
        client::get(self.server.address(), path)
    }

    /// Commits some events.
    pub fn commit(&self, texts: &[&str]) {
        let rows = texts.iter().map(|text| event(text)).collect();
        self.pipeline.events().send_many_blocking(rows).expect("taken").wait().expect("committed");
    }

    /// Commits records that are set aside.
    pub fn reject(&self, reason: &'static str, records: usize) {
        let replay: Replay<Event> = self.pipeline.replay("rejects").expect("a source");
        let reject = || Row::Reject(Box::new(Reject::new(reason, "no JSON", &b"x"[..])));
        let rows = ReplayRows::numbered(0, (0..records).map(|_| reject()).collect());
        let receipt = replay.send_blocking(rows).expect("taken");
        assert!(receipt.wait().is_err(), "rejected");
    }

    /// Returns the value of a lane's metric.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").body;
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// A backend under another name, so that its lane has metrics of its own.
struct Named(&'static str, Box<dyn Backend>);

impl Backend for Named {
    fn name(&self) -> &'static str {
        self.0
    }
    fn max_in_flight(&self) -> NonZeroUsize {
        self.1.max_in_flight()
    }
    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        self.1.write(batch)
    }
    fn ping(&self) -> Result<(), WriteError> {
        self.1.ping()
    }
    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        self.1.ledger(prefix)
    }
    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        self.1.close(ephemeral)
    }
}

/// A backend that fails as it is told to.
pub struct Faulty {
    pub inner: Box<dyn Backend>,
    pub fault: Arc<Mutex<Fault>>,
}

/// What a [`Faulty`] backend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The next write says that nothing will help.
    Fatal,
    /// The next write panics.
    Panic,
    /// The server is away.
    Away,
    /// A ping is not answered until the fault is gone.
    Silent,
}

impl Faulty {
    fn now(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn answer(&self) -> Result<(), WriteError> {
        match self.now() {
            Fault::Fatal => Err(WriteError::Fatal { source: "the disk is gone\u{1b}[31m\nfor good".into() }),
            Fault::Panic => panic!("as told"),
            Fault::Away => Err(WriteError::Transient { reason: "connection", source: "nobody is there".into() }),
            Fault::None | Fault::Silent => Ok(()),
        }
    }
}

impl Backend for Faulty {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn max_in_flight(&self) -> NonZeroUsize {
        self.inner.max_in_flight()
    }
    fn write(&self, batch: &Batch) -> Result<(), WriteError> {
        self.answer()?;
        self.inner.write(batch)
    }
    fn ping(&self) -> Result<(), WriteError> {
        while self.now() == Fault::Silent {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        if self.now() == Fault::Away { self.answer() } else { self.inner.ping() }
    }
    fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, Ranges>, WriteError> {
        self.inner.ledger(prefix)
    }
    fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
        self.inner.close(ephemeral)
    }
}
