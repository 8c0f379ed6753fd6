//! Looks at everything once a second, and keeps the last report for whoever asks.
//!
//! So a hundred open pages cost what one costs, and none of them reaches the pipeline or the database: `/api/status` and
//! the stream give out the same text. What may block (an answer of a database, a query) runs on threads for that, at most
//! one of each at a time, so that a hung server holds one thread and nothing else. Events are read only while somebody
//! looks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::exposition::{Histogram, histograms, samples};
use super::health::{self, Answer};
use super::report::{Buffer, Course, EventReport, LaneReport, Percentiles, Queue, Report, SourceReport, unix_seconds};
use super::view::View;
use crate::pipeline::Status;
use crate::repository::{Direction, Filter, Paging, Sort};
use crate::telemetry;

const EVERY: Duration = Duration::from_secs(1);
/// Points of a lane's course: five minutes.
const HISTORY: usize = 300;
/// Percentiles are those of as many seconds.
const WINDOW: usize = 60;
/// How long a database is left alone after an answer.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Newest events shown, and how long after the last look they are still read.
const EVENTS: usize = 20;
const LOOKED_WITHIN: Duration = Duration::from_secs(10);
const LATENCY: &str = "forebay_latency_seconds";
const WRITE: &str = "forebay_write_seconds";

/// The last report, as JSON.
pub(super) type Latest = Arc<str>;

/// What requests see.
pub(super) struct Lookout {
    pub(super) view: View,
    latest: watch::Sender<Latest>,
    answers: Arc<Mutex<Vec<Asked>>>,
    events: Arc<Mutex<Newest>>,
    began: Instant,
    /// When somebody last looked, in milliseconds since `began`.
    looked: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Asked {
    since: Option<Instant>,
    answered: Option<Instant>,
    error: Option<String>,
}

#[derive(Debug, Default)]
struct Newest {
    is_asked: bool,
    events: Vec<EventReport>,
}

/// What is carried from one look to the next.
#[derive(Default)]
struct Before {
    at: Option<Instant>,
    committed: Vec<[u64; 2]>,
    history: Vec<VecDeque<f64>>,
    window: VecDeque<[BTreeMap<String, Histogram>; 2]>,
}

impl Lookout {
    pub(super) fn new(view: View) -> Self {
        let (latest, _) = watch::channel("{}".into());
        Self {
            view,
            latest,
            answers: Arc::default(),
            events: Arc::default(),
            began: Instant::now(),
            looked: AtomicU64::new(0),
        }
    }

    /// Returns the last report, and notes that somebody looks.
    pub(super) fn subscribe(&self) -> watch::Receiver<Latest> {
        self.looked_at();
        self.latest.subscribe()
    }

    /// Notes that somebody looks.
    pub(super) fn looked_at(&self) {
        self.looked.store(self.began.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    /// Returns what is wrong with the process now.
    pub(super) fn ills(&self) -> Vec<String> {
        health::ills(&self.view.observer.status())
    }

    /// Returns why rows do not land now.
    pub(super) fn obstacles(&self) -> Vec<String> {
        health::obstacles(&self.view.observer.status(), &self.answers())
    }

    /// Looks again and again.
    pub(super) async fn run(&self) {
        let mut before = Before::default();
        let mut seconds = tokio::time::interval(EVERY);
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            let status = self.view.observer.status();
            self.ask(&status);
            self.read_events();
            let report = self.report(status, &mut before);
            match serde_json::to_string(&report) {
                Ok(text) => drop(self.latest.send_replace(text.into())),
                Err(error) => tracing::error!(%error, "write the status as JSON"),
            }
        }
    }

    /// Asks databases that have nothing to do whether they are there. One that commits need not be asked.
    fn ask(&self, status: &Status) {
        let mut asked = lock(&self.answers);
        asked.resize_with(status.lanes.len(), Asked::default);
        for (index, lane) in status.lanes.iter().enumerate() {
            let asked = &mut asked[index];
            let is_rested = asked.answered.is_none_or(|answered| answered.elapsed() >= ASK_EVERY);
            if lane.writing_for.is_some() || asked.since.is_some() || !is_rested {
                continue;
            }
            asked.since = Some(Instant::now());
            let (observer, answers) = (self.view.observer.clone(), Arc::clone(&self.answers));
            spawn_blocking(move || {
                let error = observer.ping(index).err().map(|error| error.to_string());
                if let Some(asked) = lock(&answers).get_mut(index) {
                    *asked = Asked { since: None, answered: Some(Instant::now()), error };
                }
            });
        }
    }

    fn answers(&self) -> Vec<Answer> {
        let answer =
            |asked: &Asked| Answer { error: asked.error.clone(), waiting: asked.since.map(|since| since.elapsed()) };
        lock(&self.answers).iter().map(answer).collect()
    }

    fn is_looked_at(&self) -> bool {
        let looked = self.looked.load(Ordering::Relaxed);
        let since = self.began.elapsed().saturating_sub(Duration::from_millis(looked));
        self.latest.receiver_count() > 0 || (looked > 0 && since < LOOKED_WITHIN)
    }

    fn read_events(&self) {
        let Some(repository) = self.view.repository.clone() else { return };
        let mut newest = lock(&self.events);
        if newest.is_asked {
            return;
        }
        if !self.is_looked_at() {
            newest.events.clear();
            return;
        }
        newest.is_asked = true;
        let events = Arc::clone(&self.events);
        spawn_blocking(move || {
            let paging = Paging::newest(EVENTS).ordered(Sort::Id, Direction::NewestFirst);
            let page = repository.events().page(&Filter::new(), &paging);
            let mut newest = lock(&events);
            newest.is_asked = false;
            match page {
                Ok(page) => newest.events = page.rows.into_iter().map(EventReport::from).collect(),
                Err(error) => tracing::debug!(%error, "read the newest events"),
            }
        });
    }

    fn report(&self, status: Status, before: &mut Before) -> Report {
        let now = SystemTime::now();
        let problems = health::obstacles(&status, &self.answers());
        let healthy = health::ills(&status).is_empty();
        let sources = (self.view.sources)();
        telemetry::sources(&sources);
        let text = self.view.exporter.as_ref().map_or_else(String::new, |exporter| {
            exporter.keep_up();
            exporter.render()
        });
        let courses = before.courses(&status, &text);
        let queue = |kind: usize| Queue {
            rows: status.buffered_rows[kind],
            max_rows: status.max_rows[kind],
            discarded: status.discarded[kind],
        };
        let backend = |name: &str| ["forebay_sqlite_", "forebay_mysql_"].iter().any(|prefix| name.starts_with(prefix));
        let is_figure = |name: &str| !["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        Report {
            version: env!("CARGO_PKG_VERSION"),
            at: unix_seconds(now),
            started_at: unix_seconds(now) - self.began.elapsed().as_secs_f64(),
            healthy,
            ready: problems.is_empty(),
            problems,
            buffer: Buffer {
                bytes: status.buffered_bytes,
                max_bytes: status.max_bytes,
                events: queue(0),
                captures: queue(1),
            },
            lanes: status.lanes.into_iter().zip(courses).map(|(lane, course)| LaneReport::new(lane, course)).collect(),
            sources: sources.into_iter().map(|source| SourceReport::new(source, now)).collect(),
            backends: samples(&text, "forebay_").filter(|s| backend(&s.name) && is_figure(&s.name)).collect(),
            events: lock(&self.events).events.clone(),
        }
    }
}

impl Before {
    /// Reckons the course of each lane since the last look.
    fn courses(&mut self, status: &Status, text: &str) -> Vec<Course> {
        let now = Instant::now();
        let elapsed = self.at.replace(now).map(|at| (now - at).as_secs_f64());
        let committed: Vec<_> =
            status.lanes.iter().map(|lane| [lane.events.committed, lane.captures.committed]).collect();
        let earlier = std::mem::replace(&mut self.committed, committed.clone());
        self.history.resize_with(committed.len(), VecDeque::new);
        let of_now = [LATENCY, WRITE].map(|name| histograms(text, name, "lane"));
        let mut courses = Vec::with_capacity(committed.len());
        for (index, lane) in status.lanes.iter().enumerate() {
            let mut course = Course::default();
            if let (Some(elapsed), Some(earlier)) = (elapsed, earlier.get(index)) {
                let rate = |kind: usize| (committed[index][kind] - earlier[kind]) as f64 / elapsed.max(1e-3);
                course.per_second = [rate(0), rate(1)];
                let history = &mut self.history[index];
                history.push_back((rate(0) + rate(1)).round());
                history.drain(..history.len().saturating_sub(HISTORY));
            }
            course.history = self.history[index].iter().copied().collect();
            let percentiles = |which: usize| {
                let now = of_now[which].get(lane.backend).cloned().unwrap_or_default();
                let then = self.window.front().and_then(|earlier| earlier[which].get(lane.backend));
                let lately = now.since(then.unwrap_or(&Histogram::default()));
                Percentiles { p50: lately.quantile(0.5), p90: lately.quantile(0.9), p99: lately.quantile(0.99) }
            };
            course.latency = percentiles(0);
            course.write = percentiles(1);
            courses.push(course);
        }
        self.window.push_back(of_now);
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
        courses
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
