//! `forebay run`: sources into databases, for months.
//!
//! Everything is checked before anything is opened (`plan`, `source`). Then come, in this order, what needs rights (sources
//! and the server's address), giving those rights up, the pipeline, and a thread for each source (`sources`). From then on
//! this loop waits: for signals, and once a second to look at it all and to tell systemd (`systemd`). SIGHUP reads the
//! settings again and changes sources only; a source that did not change goes on undisturbed.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use forebay::pipeline::{LaneState, Pipeline, Status, Summary};
use forebay::source::Source;
use forebay::telemetry::SourceFigures;
use indicatif::ProgressBar;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::admin::{FirstAdmin, Seeding};
use crate::args::Common;
use crate::ingest::{Failure, refused, shown};
use crate::terminal::{self, Teller, thousands};
use crate::{Exit, metrics, signals, traces, variable};

mod plan;
mod source;
mod sources;
mod systemd;

pub use plan::{HELP, Plan, Run, RunSettings};
pub use source::SourcePlan;
use sources::{Meters, Sources};

/// How often it looks at everything.
const TICK: Duration = Duration::from_secs(1);
/// How long sources have to send what they have read, once they are told to end.
const LAST_ROWS: Duration = Duration::from_secs(5);
/// How long health and metrics still show a lane that has failed, before the program ends to be started anew: longer than
/// two scrapes.
const LAST_SIGHT: Duration = Duration::from_secs(60);

/// Runs until a signal ends it, or a lane can write no more.
///
/// # Errors
/// [`Failure`] when nothing could be begun, and when rows could not be written.
pub fn run(common: &Common, flags: &Run) -> Result<Exit, Failure> {
    let plan = Plan::gather(common, flags).map_err(usage)?;
    // Before rights are given up: the file may be root's.
    let admin = FirstAdmin::of_service(&plan.urls[0], variable).map_err(usage)?;
    // A log line for each change of a lane or a source is what whoever runs this wants to see without asking.
    terminal::install_logging(common.verbose.max(1), &ProgressBar::hidden()).map_err(usage)?;
    let teller = Teller(ProgressBar::hidden());
    let mut opened: Vec<(&String, &SourcePlan, Box<dyn Source>)> = Vec::new();
    for (name, source) in &plan.sources {
        let failed = |error| {
            let Failure { exit, message } = refused(error);
            Failure { exit, message: format!("source `{name}`: {message}") }
        };
        opened.push((name, source, source.open(name).map_err(failed)?));
    }
    plan.drop_privileges().map_err(refused)?;
    traces::begin().map_err(usage)?;
    let door = plan.server.as_ref().map(metrics::listen).transpose().map_err(usage)?;
    let signals = watch().map_err(|error| usage(format!("watch for signals: {error}")))?;
    let builder =
        plan.urls.iter().fold(Pipeline::builder().config(plan.config.clone()), |builder, url| builder.database(url));
    let pipeline = Arc::new(builder.open().map_err(refused)?);
    let meters = Meters::default();
    let shown_meters = meters.clone();
    let figures = move || shown_meters.statuses().into_iter().map(SourceFigures::from).collect();
    let server = door.map(|door| door.open(&pipeline, figures)).transpose().map_err(usage)?;
    let mut sources = Sources::new(&pipeline, meters.clone());
    for (name, source, opened) in opened {
        sources.start(name, source, opened).map_err(usage)?;
    }
    teller.tell(&greeting(&plan, server.as_ref().map(|server| server.address())));
    systemd::ready(sources.len());
    let seeding = admin.map(|admin| seed(admin, &pipeline, &teller)).transpose()?;
    let attending = Attending { common, flags, plan: &plan, meters: &meters, teller: &teller };
    let ended = attending.until_end(&pipeline, &mut sources, &signals);
    systemd::stopping();
    drop(seeding);
    let hanging = sources.stop(&pipeline, LAST_ROWS);
    drop(server);
    let summary = end(pipeline, &plan, &hanging)?;
    terminal::print(&if flags.json { plan::as_json(&summary, &meters.statuses()) } else { plan::as_text(&summary) });
    let why = match ended {
        End::Failed(why) => why,
        End::Signal if summary.is_complete() => return Ok(Exit::Done),
        End::Signal => "not every row that was taken could be written in time".into(),
    };
    Err(Failure { exit: Exit::NotWritten, message: why })
}

fn usage(message: String) -> Failure {
    Failure { exit: Exit::Usage, message }
}

/// Creates the first admin over the writer of the first database.
fn seed(admin: FirstAdmin, pipeline: &Pipeline, teller: &Teller) -> Result<Seeding, Failure> {
    let repository = pipeline.repository().map_err(refused)?;
    let teller = teller.clone();
    let started = Seeding::start(admin, repository, move |line| teller.tell(line));
    started.map_err(|error| usage(format!("start a thread: {error}")))
}

/// Why the loop ended.
enum End {
    Signal,
    Failed(String),
}

struct Attending<'a> {
    common: &'a Common,
    flags: &'a Run,
    plan: &'a Plan,
    meters: &'a Meters,
    teller: &'a Teller,
}

impl Attending<'_> {
    fn until_end(&self, pipeline: &Pipeline, sources: &mut Sources, signals: &Receiver<i32>) -> End {
        let mut watchdog = systemd::Watchdog::new();
        let mut failed_at = None;
        loop {
            match signals.recv_timeout(TICK.min(watchdog.patience())) {
                Ok(SIGHUP) => self.reload(sources),
                Ok(_) => return End::Signal,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return End::Failed("the thread for signals has ended".into()),
            }
            let status = pipeline.status();
            watchdog.tell(&status, &self.meters.statuses());
            if let Some(why) = failure(&status) {
                let since = *failed_at.get_or_insert_with(|| {
                    self.teller.tell(&format!("{why}; rows are not taken any more, and this ends in a minute"));
                    Instant::now()
                });
                if since.elapsed() >= LAST_SIGHT {
                    return End::Failed(why);
                }
            }
        }
    }

    /// Reads the settings again; keeps what runs when they are wrong.
    fn reload(&self, sources: &mut Sources) {
        systemd::reloading();
        match Plan::gather(self.common, self.flags) {
            Ok(new) => {
                if let Some(what) = self.plan.differs_beyond_sources(&new) {
                    self.teller.tell(&format!("{what} changed: that takes a restart; only sources are changed now"));
                }
                sources.change(&new.sources).iter().for_each(|problem| self.teller.tell(problem));
                self.teller.tell(&format!("settings read again: {}", counted(new.sources.len())));
            }
            Err(error) => self.teller.tell(&format!("{error}; nothing was changed")),
        }
        systemd::ready(sources.len());
    }
}

/// Returns why a lane has failed, if one has. The others fail with it: every row goes into each.
fn failure(status: &Status) -> Option<String> {
    status.lanes.iter().find_map(|lane| match &lane.state {
        LaneState::Failed { reason } => Some(format!("{} cannot be written: {reason}", lane.backend)),
        _ => None,
    })
}

/// Writes what was taken.
fn end(pipeline: Arc<Pipeline>, plan: &Plan, hanging: &[String]) -> Result<Summary, Failure> {
    match Arc::into_inner(pipeline) {
        Some(pipeline) => Ok(pipeline.shutdown_blocking(plan.run.shutdown_timeout)),
        // What it had sent and is not committed is read again at the next start, as after a kill.
        None => {
            let message =
                format!("these sources do not end: {}; rows on their way were not waited for", hanging.join(", "));
            Err(Failure { exit: Exit::NotWritten, message })
        }
    }
}

fn counted(sources: usize) -> String {
    format!("{} source{}", thousands(sources as u64), if sources == 1 { "" } else { "s" })
}

fn greeting(plan: &Plan, address: Option<std::net::SocketAddr>) -> String {
    let databases: Vec<_> = plan.urls.iter().map(|url| shown(url)).collect();
    let scheme = if plan.server.as_ref().is_some_and(|server| server.tls.is_some()) { "https" } else { "http" };
    let page = address.map_or_else(String::new, |address| format!("; see {scheme}://{address}/"));
    format!("{} into {}{page}", counted(plan.sources.len()), databases.join(" and "))
}

/// Sends each signal over a channel; a second that asks to end ends at once.
fn watch() -> std::io::Result<Receiver<i32>> {
    let (sender, receiver) = mpsc::channel();
    let mut signals = Signals::new(signals::not_ignored(&[SIGINT, SIGTERM, SIGHUP]))?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut is_ending = false;
        for signal in signals.forever() {
            if signal != SIGHUP && std::mem::replace(&mut is_ending, true) {
                // What is committed stays, and the next run goes on from there.
                std::process::exit(128 + signal);
            }
            // Nobody listens any more only when the program ends anyway.
            let _ = sender.send(signal);
        }
    })?;
    Ok(receiver)
}
