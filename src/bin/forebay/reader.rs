//! Reads the files one by one, and tells of faults: of each kind the first ones, then how many more.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use forebay::pipeline::Pipeline;
use forebay::source::Malformed;
use forebay::source::file::{FileEnd, FileError, FileOptions, FileReport, Observer, Place, SourceFile};
use forebay::{Capture, Error, Event};

use crate::report::{FileLine, FileState, NOT_BEGUN, Picture};
use crate::signals::Stop;
use crate::terminal::{Harmless, Teller, tail, thousands};

/// Faults of one kind that are shown one by one; more are counted.
const SHOWN_FAULTS: u64 = 10;
/// How long until a database that does not answer is asked again, and how often people are told so.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// How often a wait looks whether it should end.
const GLANCE: Duration = Duration::from_millis(50);

/// How to wait for a database that does not answer.
pub struct Patience {
    /// The database as people may see it.
    pub database: String,
    /// After this it is given up.
    pub limit: Option<Duration>,
    pub quiet: bool,
}

/// A wait: since when, and when people were told last.
struct Waiting {
    since: Instant,
    told: Option<Instant>,
}

/// Whether other files are worth a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    GoesOn,
    Ends,
}

pub struct Reader<'a> {
    teller: &'a Teller,
    stop: &'a Stop,
    path: String,
    faults: BTreeMap<&'static str, u64>,
    pub picture: Picture,
    /// Why the database could not be asked what it has.
    pub ledger_fault: Option<String>,
    patience: Patience,
    waiting: Option<Waiting>,
}

impl<'a> Reader<'a> {
    pub fn new(teller: &'a Teller, stop: &'a Stop, patience: Patience) -> Self {
        let (faults, picture) = (BTreeMap::new(), Picture::default());
        Self { teller, stop, path: String::new(), faults, picture, ledger_fault: None, patience, waiting: None }
    }

    pub fn read(
        &mut self,
        path: &Path,
        source: SourceFile,
        pipeline: &Pipeline,
        options: &FileOptions,
    ) -> (FileLine, Outcome) {
        self.path = path.to_string_lossy().into_owned();
        self.waiting = None;
        match source.ingest(pipeline, options, self) {
            Ok(report) => {
                let outcome = if report.end == FileEnd::Closed { Outcome::Ends } else { Outcome::GoesOn };
                let line = line(path, &report);
                if let (Some(note), FileState::Incomplete | FileState::Damaged) = (&line.note, line.state) {
                    self.teller.tell(&format!("{}: {note}", self.name()));
                }
                (line, outcome)
            }
            // Stopped while it waited: that is no fault.
            Err(FileError::Ledger(_)) if self.waiting.is_some() && self.stop.is_set() => {
                (FileLine::unread(path, NOT_BEGUN), Outcome::Ends)
            }
            Err(FileError::Ledger(error)) => {
                let waited = self.waiting.as_ref().map(|waiting| waiting.since.elapsed().as_secs());
                let gave_up = waited.map_or_else(String::new, |waited| format!("gave up after {waited} s: "));
                self.ledger_fault = Some(format!("{gave_up}{error}{}", cause(&error)));
                (FileLine::unread(path, NOT_BEGUN), Outcome::Ends)
            }
            Err(error) => self.cannot_read(path, &error),
        }
    }

    pub fn cannot_read(&self, path: &Path, error: &dyn std::fmt::Display) -> (FileLine, Outcome) {
        self.teller.tell(&format!("{}: {error}", path.display()));
        (FileLine::unread(path, &error.to_string()), Outcome::GoesOn)
    }

    /// Tells how many faults were not shown.
    pub fn tell_rest(&self) {
        for (reason, count) in self.faults.iter().filter(|(_, count)| **count > SHOWN_FAULTS) {
            self.teller.tell(&format!("{reason}: {} more like these", thousands(count - SHOWN_FAULTS)));
        }
    }

    fn name(&self) -> String {
        tail(&Harmless(&self.path, 4000).to_string(), 200)
    }
}

fn cause(error: &Error) -> String {
    std::error::Error::source(error).map(|cause| format!(" ({cause})")).unwrap_or_default()
}

fn line(path: &Path, report: &FileReport) -> FileLine {
    let nothing_new = report.rows == 0 && report.malformed == 0 && report.known > 0;
    let (state, note) = match &report.end {
        FileEnd::Complete if report.kind.is_none() => (FileState::Empty, None),
        FileEnd::Complete if nothing_new => (FileState::WasIn, None),
        FileEnd::Complete => (FileState::In, None),
        FileEnd::Incomplete { place } => {
            let place = place_text(*place);
            let note = format!("ends in the middle of the record at {place}; once it is complete, run this again");
            (FileState::Incomplete, Some(note))
        }
        FileEnd::Broken { reason } => (FileState::Damaged, Some(reason.clone())),
        _ => (FileState::Stopped, None),
    };
    let path = path.to_string_lossy().into_owned();
    let (rows, known, malformed) = (report.rows, report.known, report.malformed);
    FileLine { path, kind: report.kind, rows, known, malformed, state, note }
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
            let detail = Harmless(&malformed.detail, 300);
            self.teller.tell(&format!("{}: {}: {}: {detail}", self.name(), place_text(place), malformed.reason));
        }
    }

    fn outage(&mut self, error: &Error) -> bool {
        let now = Instant::now();
        let waiting = self.waiting.get_or_insert(Waiting { since: now, told: None });
        let waited = now - waiting.since;
        if self.patience.limit.is_some_and(|limit| waited > limit) {
            return false;
        }
        if !self.patience.quiet && waiting.told.is_none_or(|told| now - told >= TELL_AGAIN) {
            waiting.told = Some(now);
            let (database, seconds) = (&self.patience.database, waited.as_secs());
            self.teller.tell(&format!("waiting for {database}, {seconds} s so far: {error}{}", cause(error)));
        }
        while now.elapsed() < ASK_AGAIN && !self.stop.is_set() {
            std::thread::park_timeout(GLANCE);
        }
        !self.stop.is_set()
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}
