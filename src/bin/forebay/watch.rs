//! Looks at the pipeline five times a second while `ingest` reads and writes: for the bar, and to give up.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use forebay::pipeline::{LaneState, Pipeline, Status};
use indicatif::ProgressBar;

use crate::signals::Stop;
use crate::terminal::{Harmless, tail, thousands};

/// How often it looks.
const GLANCE: Duration = Duration::from_millis(200);

/// The file that is being read, for the bar.
#[derive(Default)]
pub struct CurrentFile(Mutex<Current>);

#[derive(Default)]
struct Current {
    name: String,
    position: Option<Arc<AtomicU64>>,
    /// Bytes of the files before it.
    before: u64,
}

impl Current {
    fn bytes(&self) -> u64 {
        self.before + self.position.as_ref().map_or(0, |position| position.load(Ordering::Relaxed))
    }
}

impl CurrentFile {
    pub fn begin(&self, path: &Path, position: Arc<AtomicU64>) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let name = tail(&Harmless(&name, 200).to_string(), 24);
        *current = Current { name, before: current.bytes(), position: Some(position) };
    }

    fn name_and_bytes(&self) -> (String, u64) {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (current.name.clone(), current.bytes())
    }
}

/// The thread that looks.
pub struct Watch {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    reading: CurrentFile,
    is_over: AtomicBool,
    surrender: Mutex<Option<String>>,
}

impl Watch {
    /// Starts looking. When a batch has been in the database's hands for longer than `limit` the pipeline is closed and
    /// `stop` set; whoever waits in [`written`](Self::written) goes on.
    pub fn start(pipeline: &Arc<Pipeline>, bar: &ProgressBar, limit: Option<Duration>, stop: &Arc<Stop>) -> Self {
        let shared = Arc::<Shared>::default();
        let thread = thread::spawn({
            let (shared, pipeline, bar, stop) =
                (Arc::clone(&shared), Arc::clone(pipeline), bar.clone(), Arc::clone(stop));
            let owner = thread::current();
            move || shared.look(&pipeline, &bar, limit, &stop, &owner)
        });
        Self { shared, thread }
    }

    pub fn reading(&self) -> &CurrentFile {
        &self.shared.reading
    }

    /// Waits until everything that was sent is settled, or the database was given up. On the thread that called `start`.
    pub fn written(&self, pipeline: &Pipeline) {
        let receipt = pipeline.flush();
        let settled = Arc::new(AtomicBool::new(false));
        let waiter = thread::spawn({
            let (settled, owner) = (Arc::clone(&settled), thread::current());
            move || {
                // The summary tells what became of the rows.
                let _ = receipt.wait();
                settled.store(true, Ordering::Release);
                owner.unpark();
            }
        });
        while !settled.load(Ordering::Acquire) && !self.shared.has_given_up() {
            thread::park_timeout(GLANCE);
        }
        // Not joined: it ends with the pipeline.
        drop(waiter);
    }

    /// Ends the watching; says why, if it gave the database up.
    pub fn end(self) -> Option<String> {
        self.shared.is_over.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // A panic there has cost the bar, nothing else.
        let _ = self.thread.join();
        self.shared.surrender.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Shared {
    fn look(&self, pipeline: &Pipeline, bar: &ProgressBar, limit: Option<Duration>, stop: &Stop, owner: &Thread) {
        while !self.is_over.load(Ordering::Acquire) {
            let status = pipeline.status();
            self.show(&status, bar);
            if let Some((waited, why)) = stuck(&status).filter(|(waited, _)| limit.is_some_and(|limit| *waited > limit))
            {
                let why = format!("gave up after {} s: {why}", waited.as_secs());
                *self.surrender.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                stop.set();
                pipeline.close();
                owner.unpark();
                return;
            }
            thread::park_timeout(GLANCE);
        }
    }

    fn has_given_up(&self) -> bool {
        self.surrender.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn show(&self, status: &Status, bar: &ProgressBar) {
        let (name, bytes) = self.reading.name_and_bytes();
        bar.set_prefix(name);
        bar.set_position(bytes);
        let rows: u64 = status.lanes.iter().map(|lane| lane.events.committed + lane.captures.committed).sum();
        let rate = rows as f64 / bar.elapsed().as_secs_f64().max(0.1);
        bar.set_message(match stuck(status).filter(|(waited, _)| waited.as_secs() > 1) {
            Some((waited, why)) => format!("waiting {} s: {}", waited.as_secs(), Harmless(&why, 60)),
            None => format!("{} rows, {}/s", thousands(rows), thousands(rate as u64)),
        });
    }
}

/// How long the oldest batch has been in the database's hands, and what is known of the reason.
fn stuck(status: &Status) -> Option<(Duration, String)> {
    let oldest =
        status.lanes.iter().filter_map(|lane| Some((lane.writing_for?, lane))).max_by_key(|(waited, _)| *waited);
    let (waited, lane) = oldest?;
    let why = match &lane.state {
        LaneState::Retrying { error, .. } => error.clone(),
        _ => "the database does not answer; another program may hold its lock".to_owned(),
    };
    Some((waited, why))
}
