//! `forebay ingest`: files into a database.
//!
//! One thread reads and sends, file by file; a second looks at the pipeline five times a second, for the progress bar
//! and for `--give-up-after`; a third waits for signals. The pipeline does the rest.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay::pipeline::{LaneState, Pipeline};
use forebay::source::Malformed;
use forebay::source::file::{FileEnd, FileOptions, FileReport, Observer, OnMalformed, Place, Repeat, SourceFile};
use forebay::{Capture, Config, DatabaseUrl, Error, ErrorKind, Event};
use indicatif::ProgressBar;

use crate::args::Ingest;
use crate::report::{FileLine, Picture, Report};
use crate::terminal::{Harmless, thousands};
use crate::{Exit, metrics, signals};

/// Faults of one kind that are shown one by one; more are counted.
const SHOWN_FAULTS: u64 = 10;
/// At the end everything that was read is written, however long an outage lasts; a second signal ends that.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the settings come to.
pub struct Plan {
    pub config: Config,
    pub url: String,
    pub sensor: Option<String>,
    pub listen: Option<SocketAddr>,
}

pub fn run(flags: &Ingest, plan: Plan, bar: &ProgressBar) -> Exit {
    match ingest(flags, plan, bar) {
        Ok(exit) => exit,
        Err(Failure { exit, message }) => {
            bar.finish_and_clear();
            eprintln!("forebay: {message}");
            exit
        }
    }
}

struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }
}

fn ingest(flags: &Ingest, plan: Plan, bar: &ProgressBar) -> Result<Exit, Failure> {
    let sources = open_all(&flags.files)?;
    let stop = signals::watch().map_err(|error| Failure::usage(format!("watch for signals: {error}")))?;
    if let Some(address) = plan.listen {
        metrics::serve(address).map_err(Failure::usage)?;
    }
    let options = FileOptions {
        kind: flags.format,
        sensor: plan.sensor,
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        on_malformed: if flags.strict { OnMalformed::Stop } else { OnMalformed::SetAside },
        repeat: if flags.again { Repeat::Again } else { Repeat::Never },
        max_row_bytes: usize::try_from(plan.config.batch.max_bytes.0).unwrap_or(usize::MAX),
    };
    let pipeline = Arc::new(Pipeline::builder().config(plan.config).database(&plan.url).open().map_err(refused)?);
    let watch = Watch::start(&pipeline, bar, flags.give_up_after, Arc::clone(&stop));
    let began = Instant::now();
    let mut reader =
        Reader { bar, stop: &stop, path: String::new(), faults: BTreeMap::new(), picture: Picture::default() };
    let mut files = Vec::new();
    let mut closed = false;
    for (path, source) in sources {
        if stop.is_set() || closed {
            break;
        }
        let (line, ended) = reader.read(&path, source, &pipeline, &options, &watch.reading);
        closed = ended == Reading::Closed;
        let strict_stop = flags.strict && line.as_ref().is_some_and(|line| !line.complete);
        files.extend(line);
        if strict_stop {
            break;
        }
    }
    let gave_up = watch.end();
    let deadline = if gave_up { Duration::ZERO } else { LONG };
    let pipeline = Arc::into_inner(pipeline).ok_or_else(|| Failure::usage("the pipeline is still in use"))?;
    let summary = pipeline.shutdown_blocking(deadline);
    bar.finish_and_clear();
    reader.tell_rest();
    let picture = reader.picture;
    let report = Report {
        picture,
        summary,
        seconds: began.elapsed().as_secs_f64(),
        database: shown(&plan.url),
        interrupted: stop.is_set(),
        files,
    };
    if flags.json {
        println!("{}", report.json());
    } else if !flags.quiet {
        print!("{}", report.text());
    }
    Ok(exit(&report, &stop))
}

fn exit(report: &Report, stop: &signals::Stop) -> Exit {
    let (_, rejected, failed) = report.totals();
    let lane_failed = report.summary.lanes.iter().find_map(|lane| match &lane.state {
        LaneState::Failed { reason } => Some(reason),
        _ => None,
    });
    if let Some(reason) = lane_failed {
        eprintln!("forebay: the database cannot be written: {}", Harmless(reason, 500));
    }
    match stop.signal() {
        _ if failed > 0 || lane_failed.is_some() => Exit::NotWritten,
        Some(signal) => Exit::Signal(signal),
        None if rejected > 0 || report.files.iter().any(|file| !file.complete) => Exit::SomeRejected,
        None => Exit::Done,
    }
}

/// Opens all files before anything is written, so that a misspelt name changes nothing.
fn open_all(paths: &[PathBuf]) -> Result<Vec<(PathBuf, SourceFile)>, Failure> {
    let mut seen = HashSet::new();
    let mut sources = Vec::new();
    for path in paths {
        let is_stdin = path.as_os_str() == "-";
        let same = if is_stdin { path.clone() } else { path.canonicalize().unwrap_or_else(|_| path.clone()) };
        if !seen.insert(same) {
            continue;
        }
        let source = match is_stdin {
            true => SourceFile::stream(io::stdin(), "stdin"),
            false => SourceFile::open(path).map_err(|error| Failure::usage(format!("{}: {error}", quoted(path))))?,
        };
        sources.push((path.clone(), source));
    }
    Ok(sources)
}

fn quoted(path: &Path) -> String {
    Harmless(&path.to_string_lossy(), 200).to_string()
}

fn refused(error: Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Configuration | ErrorKind::Unsupported => Exit::Usage,
        _ => Exit::NotWritten,
    };
    let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    Failure { exit, message: format!("{error}{cause}") }
}

/// The database as people may see it.
fn shown(url: &str) -> String {
    match DatabaseUrl::parse(url) {
        Ok(DatabaseUrl::Sqlite(path)) => format!("sqlite:{}", path.display()),
        _ => url.split(':').next().unwrap_or_default().to_owned() + ":",
    }
}

#[derive(PartialEq, Eq)]
enum Reading {
    GoesOn,
    Closed,
}

/// Reads the files one by one and tells of faults.
struct Reader<'a> {
    bar: &'a ProgressBar,
    stop: &'a signals::Stop,
    path: String,
    faults: BTreeMap<&'static str, u64>,
    picture: Picture,
}

impl Reader<'_> {
    fn read(
        &mut self,
        path: &Path,
        source: SourceFile,
        pipeline: &Pipeline,
        options: &FileOptions,
        reading: &CurrentFile,
    ) -> (Option<FileLine>, Reading) {
        self.path = path.to_string_lossy().into_owned();
        reading.begin(&self.path, &source);
        let outcome = source.ingest(pipeline, options, self);
        let path = self.path.clone();
        let failed = |note: String| {
            eprint_above(self.bar, &format!("{}: {note}", Harmless(&path, 200)));
            FileLine {
                path: path.clone(),
                kind: "-",
                rows: 0,
                known: 0,
                malformed: 0,
                note: Some(note),
                complete: false,
            }
        };
        match outcome {
            Ok(report) if report.end == FileEnd::Closed => (Some(self.line(&report)), Reading::Closed),
            Ok(report) => (Some(self.line(&report)), Reading::GoesOn),
            Err(error) => (Some(failed(error.to_string())), Reading::GoesOn),
        }
    }

    fn line(&self, report: &FileReport) -> FileLine {
        let nothing_new = report.rows == 0 && report.malformed == 0 && report.known > 0;
        let (note, complete) = match &report.end {
            FileEnd::Complete if report.kind.is_none() => (Some("empty".to_owned()), true),
            FileEnd::Complete if nothing_new => (Some("already in; --again to insist".to_owned()), true),
            FileEnd::Complete => (None, true),
            FileEnd::Incomplete { place } => {
                (Some(format!("ends in the middle of the record at {}", place_text(*place))), false)
            }
            FileEnd::Broken { reason } => (Some(reason.clone()), false),
            FileEnd::Stopped => (Some("stopped early".to_owned()), false),
            FileEnd::Closed => (Some("not read to its end".to_owned()), false),
            _ => (None, false),
        };
        FileLine {
            path: self.path.clone(),
            kind: report.kind.map_or("-", |kind| kind.name()),
            rows: report.rows,
            known: report.known,
            malformed: report.malformed,
            note,
            complete,
        }
    }

    /// Tells how many faults were not shown.
    fn tell_rest(&self) {
        for (reason, count) in self.faults.iter().filter(|(_, count)| **count > SHOWN_FAULTS) {
            eprintln!("forebay: {reason}: {} more like these", thousands(count - SHOWN_FAULTS));
        }
    }
}

fn place_text(place: Place) -> String {
    match place {
        Place::Line(number) => format!("line {number}"),
        Place::Offset(offset) => format!("byte {offset}"),
    }
}

impl Observer for Reader<'_> {
    fn event(&mut self, event: &Event) {
        self.picture.event(event);
    }

    fn capture(&mut self, capture: &Capture) {
        self.picture.capture(capture);
    }

    fn malformed(&mut self, place: Place, malformed: &Malformed) {
        let count = self.faults.entry(malformed.reason).or_default();
        *count += 1;
        if *count <= SHOWN_FAULTS {
            let (path, detail) = (Harmless(&self.path, 200), Harmless(&malformed.detail, 300));
            eprint_above(self.bar, &format!("{path}: {}: {}: {detail}", place_text(place), malformed.reason));
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}

fn eprint_above(bar: &ProgressBar, line: &str) {
    bar.suspend(|| eprintln!("forebay: {line}"));
}

/// The file that is being read, for the bar.
#[derive(Default)]
struct CurrentFile(std::sync::Mutex<(String, Option<Arc<AtomicU64>>, u64)>);

impl CurrentFile {
    fn begin(&self, path: &str, source: &SourceFile) {
        let mut current = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = current.2 + current.1.as_ref().map_or(0, |position| position.load(Ordering::Relaxed));
        let name = Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy());
        *current = (Harmless(&name, 24).to_string(), Some(source.position()), before);
    }

    fn name_and_bytes(&self) -> (String, u64) {
        let current = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let here = current.1.as_ref().map_or(0, |position| position.load(Ordering::Relaxed));
        (current.0.clone(), current.2 + here)
    }
}

/// Looks at the pipeline while the files are read.
struct Watch {
    reading: Arc<CurrentFile>,
    over: Arc<AtomicBool>,
    gave_up: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(pipeline: &Arc<Pipeline>, bar: &ProgressBar, limit: Option<Duration>, stop: Arc<signals::Stop>) -> Self {
        let (reading, over, gave_up) =
            (Arc::<CurrentFile>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (reading, over, gave_up) = (Arc::clone(&reading), Arc::clone(&over), Arc::clone(&gave_up));
            let (pipeline, bar) = (Arc::clone(pipeline), bar.clone());
            move || {
                while !over.load(Ordering::Acquire) {
                    let status = pipeline.status();
                    let rows: u64 =
                        status.lanes.iter().map(|lane| lane.events.committed + lane.captures.committed).sum();
                    let (name, bytes) = reading.name_and_bytes();
                    bar.set_prefix(name);
                    bar.set_position(bytes);
                    let rate = rows as f64 / bar.elapsed().as_secs_f64().max(0.1);
                    let outage = status.lanes.iter().find_map(|lane| match &lane.state {
                        LaneState::Retrying { since, error, .. } => Some((*since, error.clone())),
                        _ => None,
                    });
                    bar.set_message(match &outage {
                        Some((since, error)) => format!("waiting for {} s: {}", since.as_secs(), Harmless(error, 60)),
                        None => format!("{} rows, {}/s", thousands(rows), thousands(rate as u64)),
                    });
                    if limit.zip(outage).is_some_and(|(limit, (since, _))| since > limit) {
                        gave_up.store(true, Ordering::Release);
                        stop.set();
                        pipeline.close();
                        return;
                    }
                    std::thread::park_timeout(Duration::from_millis(200));
                }
            }
        });
        Self { reading, over, gave_up, thread: Some(thread) }
    }

    /// Ends the watching; returns whether it gave the database up.
    fn end(mut self) -> bool {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has cost the bar, nothing else.
            let _ = thread.join();
        }
        self.gave_up.load(Ordering::Acquire)
    }
}
