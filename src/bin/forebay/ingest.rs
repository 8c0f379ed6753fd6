//! `forebay ingest`: files into a database.
//!
//! One thread reads and sends, file by file (`reader`); a second looks at the pipeline five times a second (`watch`); a
//! third waits for signals. The pipeline does the rest.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::pipeline::{LaneState, Pipeline};
use forebay::server::Settings;
use forebay::source::file::{FileOptions, OnMalformed, Repeat, SourceFile};
use forebay::{Config, DatabaseUrl, Error, ErrorKind};
use indicatif::ProgressBar;

use crate::args::Ingest;
use crate::reader::{Outcome, Patience, Reader};
use crate::report::{FileLine, NOT_BEGUN, Report};
use crate::signals::Stop;
use crate::stream::Stream;
use crate::terminal::{self, Teller};
use crate::watch::Watch;
use crate::{Exit, metrics, signals};

/// At the end everything that was read is written, however long an outage lasts; a second signal ends that.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the settings come to.
pub struct Plan {
    pub config: Config,
    pub url: String,
    pub sensor: Option<String>,
    pub listen: Option<Settings>,
}

/// Why nothing was begun.
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }
}

/// Brings the inputs in and reports.
///
/// # Errors
/// [`Failure`] when nothing could be begun.
pub fn run(flags: &Ingest, inputs: &[Input], plan: Plan, bar: &ProgressBar) -> Result<Exit, Failure> {
    let teller = Teller(bar.clone());
    let stop = signals::watch(teller.clone()).map_err(|error| Failure::usage(format!("watch for signals: {error}")))?;
    let door = plan.listen.as_ref().map(metrics::listen).transpose().map_err(Failure::usage)?;
    let options = FileOptions {
        kind: flags.format,
        sensor: plan.sensor,
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        on_malformed: if flags.strict { OnMalformed::Stop } else { OnMalformed::SetAside },
        repeat: if flags.again { Repeat::Again } else { Repeat::Never },
        max_row_bytes: usize::try_from(plan.config.batch.max_bytes.0).unwrap_or(usize::MAX),
    };
    let pipeline = Arc::new(Pipeline::builder().config(plan.config).database(&plan.url).open().map_err(refused)?);
    let server = door.map(|door| door.open(&pipeline, Vec::new)).transpose().map_err(Failure::usage)?;
    let watch = Watch::start(&pipeline, bar, flags.give_up_after, &stop);
    let began = Instant::now();
    let patience = Patience { database: shown(&plan.url), limit: flags.give_up_after, quiet: flags.quiet };
    let mut reader = Reader::new(&teller, &stop, patience);
    let mut files = Vec::with_capacity(inputs.len());
    let mut is_over = false;
    for input in inputs {
        if is_over || stop.is_set() {
            files.push(FileLine::unread(input.path(), NOT_BEGUN));
            continue;
        }
        let (line, outcome) = match input.open(&stop) {
            Ok(source) => {
                watch.reading().begin(input.path(), source.position());
                reader.read(input.path(), source, &pipeline, &options)
            }
            Err(error) => reader.cannot_read(input.path(), &error),
        };
        is_over = outcome == Outcome::Ends || flags.strict && !line.state.is_complete();
        files.push(line);
    }
    watch.written(&pipeline);
    let gave_up = watch.end();
    let deadline = if gave_up.is_some() { Duration::ZERO } else { LONG };
    let pipeline = Arc::into_inner(pipeline).ok_or_else(|| Failure::usage("the pipeline is still in use"))?;
    let summary = pipeline.shutdown_blocking(deadline);
    if let Some(server) = server {
        server.shutdown();
    }
    bar.finish_and_clear();
    reader.tell_rest();
    let ledger_fault = reader.ledger_fault;
    let report = Report {
        picture: reader.picture,
        summary,
        seconds: began.elapsed().as_secs_f64(),
        database: shown(&plan.url),
        files,
    };
    let lane_fault = report.summary.lanes.iter().find_map(|lane| match &lane.state {
        LaneState::Failed { reason } => Some(format!("the database cannot be written: {reason}")),
        _ => None,
    });
    if let Some(fault) = lane_fault.or(gave_up).or(ledger_fault) {
        teller.tell(&fault);
        tell(flags, &report);
        return Ok(Exit::NotWritten);
    }
    tell(flags, &report);
    Ok(exit(&report, &stop))
}

fn tell(flags: &Ingest, report: &Report) {
    if flags.json {
        terminal::print(&format!("{}\n", report.json()));
    } else if !flags.quiet {
        terminal::print(&report.text());
    }
}

fn exit(report: &Report, stop: &Stop) -> Exit {
    let totals = report.totals();
    match stop.signal() {
        _ if totals.failed > 0 => Exit::NotWritten,
        Some(signal) => Exit::Signal(signal),
        None if totals.rejected > 0 || report.files.iter().any(|file| !file.state.is_complete()) => Exit::SomeRejected,
        None => Exit::Done,
    }
}

/// Something to read, which was there when we looked.
pub enum Input {
    Stdin,
    File(PathBuf),
    /// A pipe or a device.
    Stream(PathBuf),
}

impl Input {
    pub fn path(&self) -> &Path {
        match self {
            Self::Stdin => Path::new("-"),
            Self::File(path) | Self::Stream(path) => path,
        }
    }

    /// Returns its length, if it has one.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::File(path) => path.metadata().ok().map(|metadata| metadata.len()),
            _ => None,
        }
    }

    fn open(&self, stop: &Arc<Stop>) -> io::Result<SourceFile> {
        match self {
            Self::Stdin => Ok(SourceFile::stream(Stream::stdin(Arc::clone(stop))?, "stdin")),
            Self::File(path) => SourceFile::open(path),
            Self::Stream(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                Ok(SourceFile::stream(Stream::open(path, Arc::clone(stop))?, name))
            }
        }
    }
}

/// Looks at all files before anything is written, so that a misspelt name changes nothing.
///
/// A file that is named twice, also by a link, is read once. None is kept open: there may be more than a process can open.
///
/// # Errors
/// When one is not there, may not be read, or is a directory.
pub fn look_at(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    let mut seen = HashSet::new();
    let mut inputs = Vec::new();
    for path in paths {
        let cannot = |error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
        if path.as_os_str() == "-" {
            if seen.insert(None) {
                inputs.push(Input::Stdin);
            }
            continue;
        }
        let metadata = path.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!("{} is a directory; name the files in it", path.display())));
        }
        if !seen.insert(Some((metadata.dev(), metadata.ino()))) {
            continue;
        }
        inputs.push(if metadata.is_file() {
            File::open(path).map_err(cannot)?;
            Input::File(path.clone())
        } else {
            Input::Stream(path.clone())
        });
    }
    Ok(inputs)
}

pub fn refused(error: Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Configuration | ErrorKind::Unsupported => Exit::Usage,
        _ => Exit::NotWritten,
    };
    let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    Failure { exit, message: format!("{error}{cause}") }
}

/// The database as people may see it.
pub fn shown(url: &str) -> String {
    DatabaseUrl::parse(url).map_or_else(|_| "?".into(), |url| url.to_string())
}
