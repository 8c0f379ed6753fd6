//! Growing files, rotated every way that rotation is done, into real databases: each line once, whatever happens.
//!
//! [`Log`] is a writer that rotates; it remembers every line that it has written. [`Following`] is a pipeline with a
//! followed directory. `story` has a claim for each way of rotation, `program` plays random ones, `torture` kills, and
//! `deaf` has no inotify.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay::source::tail::{Tail, TailSettings};
use forebay::source::{Meter, Source, SourceState, Stop};
use forebay::{Config, Pipeline};

use crate::harness::eventually_within;
use crate::sqlite::{Database, impatient};

pub mod deaf;
mod log;
#[cfg(feature = "mysql")]
mod mysql;
mod program;
mod story;
pub mod torture;

pub use log::Log;

const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes of a row.
const MAX_ROW: usize = 8 << 20;

/// Settings that follow these files and look often.
pub fn settings(paths: &[&Path]) -> TailSettings {
    let mut settings = TailSettings::default();
    settings.paths = paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    settings.poll = Duration::from_millis(20);
    settings
}

/// A pipeline with one source on a thread of its own, ended in order when the test ends.
pub struct Following {
    pipeline: Option<Arc<Pipeline>>,
    pub meter: Meter,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    pub fn start(url: &str, config: Config, settings: &TailSettings) -> Self {
        let pipeline = Arc::new(Pipeline::builder().config(config).database(url).open().unwrap());
        let mut tail = Tail::new("logs", settings, "here", MAX_ROW).unwrap();
        let (meter, stop) = (tail.meter().clone(), Stop::new());
        let (theirs, told) = (Arc::clone(&pipeline), stop.clone());
        let thread = std::thread::spawn(move || tail.run(&theirs, &told).unwrap());
        Self { pipeline: Some(pipeline), meter, stop, thread: Some(thread) }
    }

    /// Ends it: all that it has sent is committed.
    pub fn end(mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
        assert_eq!(self.meter.status().state, SourceState::Ended);
        let pipeline = Arc::into_inner(self.pipeline.take().unwrap()).unwrap();
        assert!(pipeline.shutdown_blocking(PATIENCE).is_complete());
    }

    /// Waits until the state is told in words that have `part` in them.
    #[track_caller]
    pub fn waits_for(&self, part: &str) {
        eventually_within(
            PATIENCE,
            part,
            || matches!(self.meter.status().state, SourceState::Waiting { why } if why.contains(part)),
        );
    }

    #[track_caller]
    pub fn runs(&self) {
        eventually_within(PATIENCE, "it runs", || self.meter.status().state == SourceState::Running);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // It has failed: the test says why.
            let _ = thread.join();
        }
    }
}

/// A directory of logs and a database beside it.
pub struct Place {
    pub database: Database,
    logs: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let database = Database::new();
        database.create();
        let logs = database.directory().join("logs");
        std::fs::create_dir(&logs).unwrap();
        Self { database, logs }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    /// Follows `x.log*`.
    pub fn follow(&self) -> Following {
        self.follow_with(&self.settings())
    }

    pub fn settings(&self) -> TailSettings {
        settings(&[&self.path("x.log*")])
    }

    pub fn follow_with(&self, settings: &TailSettings) -> Following {
        Following::start(&self.database.url(), impatient(), settings)
    }

    pub fn lines(&self) -> Vec<String> {
        self.database.texts("SELECT raw FROM events ORDER BY id")
    }

    /// Waits until there are as many rows as lines, and compares.
    #[track_caller]
    pub fn has(&self, written: &[String]) {
        let count = || self.database.number("SELECT count(*) FROM events") as usize;
        let until = Instant::now() + PATIENCE;
        // In the end the comparison says what is missing.
        eventually_within(2 * PATIENCE, "a count", || count() >= written.len() || Instant::now() > until);
        same(self.lines(), written);
    }
}

/// Compares what is stored with what was written, in any order.
#[track_caller]
pub fn same(mut stored: Vec<String>, written: &[String]) {
    let mut written = written.to_vec();
    stored.sort();
    written.sort();
    let doubled: Vec<_> = stored.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).take(5).collect();
    let lost: Vec<_> = written.iter().filter(|line| stored.binary_search(line).is_err()).take(5).collect();
    assert!(
        stored == written,
        "{} written, {} stored; twice: {doubled:?}; lost: {lost:?}",
        written.len(),
        stored.len()
    );
}
