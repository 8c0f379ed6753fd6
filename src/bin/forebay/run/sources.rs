//! The sources of a running `forebay run`: a thread for each, started, changed and ended by name.
//!
//! A source that ends with an error is opened and run again after a wait that grows. One whose settings change is ended
//! first, and what it has sent is settled before its successor begins: a source has one handle in the ledger at a time,
//! and one listener at an address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use forebay::Error;
use forebay::pipeline::Pipeline;
use forebay::source::{Meter, Source, SourceState, SourceStatus, Stop};

use super::source::SourcePlan;

/// Waits before a source that has failed is run again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often threads are looked at while they end.
const GLANCE: Duration = Duration::from_millis(20);

/// The counters of the sources, by name: for whoever shows them.
#[derive(Clone, Default)]
pub struct Meters(Arc<Mutex<BTreeMap<String, Meter>>>);

impl Meters {
    pub fn statuses(&self) -> Vec<SourceStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(Meter::status).collect()
    }

    fn set(&self, name: &str, meter: Option<Meter>) {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match meter {
            Some(meter) => meters.insert(name.to_owned(), meter),
            None => meters.remove(name),
        };
    }
}

/// Every source that runs.
pub struct Sources {
    pipeline: Weak<Pipeline>,
    running: BTreeMap<String, Running>,
    /// Told to end, and not seen to have ended yet.
    ending: Vec<(String, JoinHandle<()>)>,
    meters: Meters,
}

struct Running {
    plan: SourcePlan,
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Sources {
    pub fn new(pipeline: &Arc<Pipeline>, meters: Meters) -> Self {
        Self { pipeline: Arc::downgrade(pipeline), running: BTreeMap::new(), ending: Vec::new(), meters }
    }

    /// Starts a source that is open already.
    ///
    /// # Errors
    /// In words, when the operating system gives no thread.
    pub fn start(&mut self, name: &str, plan: &SourcePlan, opened: Box<dyn Source>) -> Result<(), String> {
        self.spawn(name, plan, Some(opened), None)
    }

    /// Makes the running sources those of the plan; returns, in words, what could not be started. One that runs already
    /// with the same settings goes on undisturbed.
    pub fn change(&mut self, wanted: &BTreeMap<String, SourcePlan>) -> Vec<String> {
        self.ending.retain(|(_, thread)| !thread.is_finished());
        let gone: Vec<_> = self.running.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.meters.set(&name, None);
            if let Some(thread) = self.end(&name) {
                self.ending.push((name, thread));
            }
        }
        let mut problems = Vec::new();
        for (name, plan) in wanted {
            if self.running.get(name).is_some_and(|running| running.plan == *plan) {
                continue;
            }
            // It may also have been taken out a moment ago, and still be ending.
            let before = self.end(name).or_else(|| {
                let at = self.ending.iter().position(|(ending, _)| ending == name)?;
                Some(self.ending.swap_remove(at).1)
            });
            problems.extend(self.spawn(name, plan, None, before).err());
        }
        problems
    }

    fn end(&mut self, name: &str) -> Option<JoinHandle<()>> {
        let running = self.running.remove(name)?;
        running.stop.stop();
        Some(running.thread)
    }

    fn spawn(
        &mut self,
        name: &str,
        plan: &SourcePlan,
        opened: Option<Box<dyn Source>>,
        before: Option<JoinHandle<()>>,
    ) -> Result<(), String> {
        let stop = Stop::new();
        let following = Following {
            name: name.to_owned(),
            plan: plan.clone(),
            pipeline: Weak::clone(&self.pipeline),
            stop: stop.clone(),
            meters: self.meters.clone(),
        };
        let thread = thread::Builder::new().name(format!("src-{name}")).spawn(move || following.follow(opened, before));
        let thread = thread.map_err(|error| format!("source `{name}`: start its thread: {error}"))?;
        self.running.insert(name.to_owned(), Running { plan: plan.clone(), stop, thread });
        Ok(())
    }

    /// Ends all: they send what they have read for as long as `patience`; then the pipeline takes no more rows, and they
    /// have as long again. Returns the names of those that do not end even so.
    pub fn stop(self, pipeline: &Pipeline, patience: Duration) -> Vec<String> {
        self.running.values().for_each(|running| running.stop.stop());
        let threads = self.running.into_iter().map(|(name, running)| (name, running.thread)).chain(self.ending);
        let mut threads: Vec<_> = threads.collect();
        let mut wait = || {
            let until = Instant::now() + patience;
            loop {
                threads.retain(|(_, thread)| !thread.is_finished());
                if threads.is_empty() || Instant::now() >= until {
                    break;
                }
                thread::sleep(GLANCE);
            }
        };
        wait();
        pipeline.close();
        wait();
        threads.into_iter().map(|(name, _)| name).collect()
    }

    pub fn len(&self) -> usize {
        self.running.len()
    }
}

/// What the thread of a source knows.
struct Following {
    name: String,
    plan: SourcePlan,
    pipeline: Weak<Pipeline>,
    stop: Stop,
    meters: Meters,
}

impl Following {
    /// Runs the source until it is told to stop.
    fn follow(&self, mut opened: Option<Box<dyn Source>>, before: Option<JoinHandle<()>>) {
        let kind = self.plan.kind();
        let waiting = Meter::new(&self.name, kind);
        waiting.state(SourceState::Waiting { why: "for what its former settings have sent to be written".into() });
        if let Some(before) = before {
            self.meters.set(&self.name, Some(waiting.clone()));
            // A panic of its predecessor has been logged.
            let _ = before.join();
            let Some(sent) = self.pipeline.upgrade().map(|pipeline| pipeline.flush()) else { return };
            // Without holding the pipeline: its shutdown ends this wait too. What failed is read again.
            let _ = sent.wait();
        }
        let mut pause = FIRST_WAIT;
        while !self.stop.is_stopped() {
            let began = Instant::now();
            let source = opened.take().map_or_else(|| self.plan.open(&self.name), Ok);
            let meter = source.as_ref().map_or_else(|_| waiting.clone(), |source| source.meter().clone());
            self.meters.set(&self.name, Some(meter.clone()));
            let Err(error) = source.and_then(|source| self.run(source)) else { return };
            let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
            let why = format!("{error}{cause}");
            tracing::error!(source = self.name, error = %why, "a source failed; it is tried again");
            meter.state(SourceState::Failed { why });
            pause = if began.elapsed() > LONGEST_WAIT { FIRST_WAIT } else { (pause * 2).min(LONGEST_WAIT) };
            self.stop.wait(pause);
        }
    }

    fn run(&self, mut source: Box<dyn Source>) -> Result<(), Error> {
        let Some(pipeline) = self.pipeline.upgrade() else { return Ok(()) };
        source.run(&pipeline, &self.stop)
    }
}
