//! The sources of a running `forebay run`: a thread for each, started, changed and ended by name.
//!
//! A source that ends with an error is run again, as it is, after a wait that grows: what it has open may have taken rights
//! that are given up by now. One whose settings change is ended
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
///
/// A source that was taken out stays, as ended: what it brought was counted, and a gauge that nobody sets any more would
/// show its last trouble for ever.
#[derive(Clone, Default)]
pub struct Meters(Arc<Mutex<BTreeMap<String, Shown>>>);

struct Shown {
    meter: Meter,
    /// What earlier sources of the name came to: a counter must not go back.
    before: [u64; 4],
}

impl Shown {
    fn status(&self) -> SourceStatus {
        let mut status = self.meter.status();
        let [rows, malformed, skipped, drops] = self.before;
        status.rows += rows;
        status.malformed += malformed;
        status.skipped += skipped;
        status.kernel_drops = status.kernel_drops.map(|now| now + drops).or(Some(drops).filter(|drops| *drops > 0));
        status
    }
}

impl Meters {
    pub fn statuses(&self) -> Vec<SourceStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(Shown::status).collect()
    }

    /// Shows the meter of a source that begins.
    fn add(&self, name: &str, meter: &Meter) {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = meters.get(name).map_or([0; 4], |shown| {
            let status = shown.status();
            [status.rows, status.malformed, status.skipped, status.kernel_drops.unwrap_or(0)]
        });
        meters.insert(name.to_owned(), Shown { meter: meter.clone(), before });
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
        let mut meter =
            opened.as_ref().map_or_else(|| Meter::new(&self.name, self.plan.kind()), |it| it.meter().clone());
        // A panic of its predecessor has been logged. Until it has ended its rows count, so its meter is shown.
        let predecessor = before.map(JoinHandle::join);
        self.meters.add(&self.name, &meter);
        if predecessor.is_some() {
            meter.state(SourceState::Waiting { why: "for what its former settings have sent to be written".into() });
            let Some(sent) = self.pipeline.upgrade().map(|pipeline| pipeline.flush()) else { return };
            // Without holding the pipeline: its shutdown ends this wait too. What failed is read again.
            let _ = sent.wait();
        }
        let mut pause = FIRST_WAIT;
        while !self.stop.is_stopped() {
            let began = Instant::now();
            let Err(error) = self.open(&mut opened, &mut meter).and_then(|source| self.run(source)) else { break };
            let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
            let why = format!("{error}{cause}");
            tracing::error!(source = self.name, error = %why, "a source failed; it is tried again");
            meter.state(SourceState::Failed { why });
            if began.elapsed() > LONGEST_WAIT {
                pause = FIRST_WAIT;
            }
            self.stop.wait(pause);
            pause = (pause * 2).min(LONGEST_WAIT);
        }
        meter.state(SourceState::Ended);
        if meter.status().lag_bytes.is_some() {
            meter.lag_bytes(0);
        }
    }

    /// Returns the source, opened now if it is not yet; `meter` is its own from then on.
    fn open<'a>(
        &self,
        opened: &'a mut Option<Box<dyn Source>>,
        meter: &mut Meter,
    ) -> Result<&'a mut Box<dyn Source>, Error> {
        match opened {
            Some(source) => Ok(source),
            None => {
                let source = self.plan.open(&self.name)?;
                *meter = source.meter().clone();
                self.meters.add(&self.name, meter);
                Ok(opened.insert(source))
            }
        }
    }

    fn run(&self, source: &mut Box<dyn Source>) -> Result<(), Error> {
        let Some(pipeline) = self.pipeline.upgrade() else { return Ok(()) };
        source.run(&pipeline, &self.stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counters of Prometheus that go back are taken for a restart, and the recorder's do not go back at all: after a reload
    /// a source's rows seemed to stand still until they had passed what was there before.
    #[test]
    fn what_a_source_brought_under_former_settings_stays_counted() {
        let meters = Meters::default();
        let (first, second) = (Meter::new("a", "tail"), Meter::new("a", "tail"));
        meters.add("a", &first);
        first.rows(3);
        first.kernel_drops(2);
        meters.add("a", &second);
        second.rows(4);
        let [status] = &meters.statuses()[..] else { panic!("one name, one source") };
        assert_eq!((status.rows, status.kernel_drops), (7, Some(2)));
        meters.add("a", &Meter::new("a", "tail"));
        assert_eq!(meters.statuses()[0].rows, 7);
    }

    /// Fails at its first run, and ends at the second.
    struct Faltering {
        meter: Meter,
        runs: u64,
    }

    impl Source for Faltering {
        fn meter(&self) -> &Meter {
            &self.meter
        }

        fn run(&mut self, _: &Pipeline, stop: &Stop) -> Result<(), Error> {
            self.runs += 1;
            self.meter.rows(self.runs);
            if self.runs == 1 {
                return Err(forebay::DatabaseUrl::parse("nonsense").unwrap_err());
            }
            stop.stop();
            Ok(())
        }
    }

    /// It was opened anew, without the rights that the program had given up since: a capture never came back.
    #[test]
    fn a_source_that_fails_is_run_again_as_it_is() {
        let pipeline = Arc::new(Pipeline::open("memory:").unwrap());
        let table = "type = 'tail'\npaths = ['/nowhere']".parse().unwrap();
        let plan = SourcePlan::parse("a", &table, None, "here", 1 << 20).unwrap();
        let meters = Meters::default();
        let mut sources = Sources::new(&pipeline, meters.clone());
        sources.start("a", &plan, Box::new(Faltering { meter: Meter::new("a", "tail"), runs: 0 })).unwrap();
        sources.running.remove("a").unwrap().thread.join().unwrap();
        let [status] = &meters.statuses()[..] else { panic!("one source") };
        assert_eq!((status.rows, &status.state), (3, &SourceState::Ended), "run twice, with one meter");
    }
}
