//! One run of the source: looks which files there are, reads those that have news, waits for more.
//!
//! Every file is looked at every `poll`, whatever the kernel tells (`watch`): nothing depends on being told. All files are
//! read by this one thread in turns of some megabytes, so a large one does not keep the others waiting; what a file has is
//! sent at the end of its turn, so a line does not wait for others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::SourceState;
use super::finding::{self, Finding};
use super::followed::{Followed, Turn};
use super::identities::Identities;
use super::plain::Plain;
use super::rotation;
use super::settings::Start;
use super::terms::{Flow, Terms};
use super::watch::Watch;
use crate::error::Error;

/// Where files ended, by the beginnings of their names in the ledger.
pub(super) type Ends = BTreeMap<String, u64>;

/// How long a file that no pattern matches any more is held open without news.
const LET_GO: Duration = Duration::from_secs(60);
/// Least time between two looks at all files: in a busy directory names change all the time.
const REST: Duration = Duration::from_millis(20);
/// Troubles that are named; more are counted.
const NAMED: usize = 3;

pub(super) struct Round<'a> {
    terms: Terms<'a>,
    ends: &'a mut Option<Ends>,
    files: BTreeMap<String, Followed>,
    by_path: HashMap<PathBuf, String>,
    /// Lengths of the files that are there, by the beginnings of their names.
    there: BTreeMap<String, u64>,
    /// What was wrong at the last look.
    troubles: Vec<String>,
    identities: Identities,
    watch: Watch,
    buffer: Vec<u8>,
    turn: u64,
}

impl<'a> Round<'a> {
    pub(super) fn new(terms: Terms<'a>, ends: &'a mut Option<Ends>) -> Self {
        Self {
            terms,
            ends,
            files: BTreeMap::new(),
            by_path: HashMap::new(),
            there: BTreeMap::new(),
            troubles: Vec::new(),
            identities: Identities::default(),
            watch: Watch::new(),
            buffer: Plain::buffer(terms.max_line()),
            turn: 0,
        }
    }

    /// Follows the files until the source is told to stop.
    ///
    /// # Errors
    /// When the pipeline takes no more rows, or its ledger cannot be read and waiting will not mend that.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        let mut due = Instant::now();
        let mut soonest = due;
        while !self.terms.stop.is_stopped() {
            let began = Instant::now();
            if began >= due {
                if self.look()? == Flow::Stops {
                    break;
                }
                let rest = began.elapsed() * 4;
                due = began + self.terms.settings.poll.max(rest);
                soonest = began + REST.max(rest);
            }
            let Some(has_more) = self.read()? else { break };
            self.tell();
            let left = due.saturating_duration_since(Instant::now());
            let news = if has_more { self.watch.read() } else { self.watch.wait(left, self.terms.stop) };
            for path in &news.written {
                if let Some(file) = self.by_path.get(path).and_then(|prefix| self.files.get_mut(prefix)) {
                    file.has_news = true;
                }
            }
            if news.names {
                due = due.min(soonest);
            }
        }
        Ok(())
    }

    /// Looks at all files: which came, changed, were renamed, are gone.
    fn look(&mut self) -> Result<Flow, Error> {
        let Finding { files: found, directories, troubles } = finding::find(&self.terms.settings.paths);
        // Watched before they are looked at the next time: what happens from now on is heard.
        self.watch.set(&directories);
        self.troubles = troubles;
        let starts_at_end = self.terms.settings.start == Start::End;
        let lengths = || found.iter().map(|(prefix, (_, sight))| (prefix.clone(), sight.length)).collect();
        let ends = self.ends.get_or_insert_with(|| if starts_at_end { lengths() } else { Ends::new() });
        self.there = lengths();
        for file in self.files.values_mut() {
            if !found.contains_key(&file.prefix) {
                file.unlisted.get_or_insert_with(Instant::now);
                file.look();
            }
        }
        for (prefix, (path, sight)) in found {
            match self.files.get_mut(&prefix) {
                Some(file) => {
                    file.path = path;
                    file.unlisted = None;
                    file.seen(sight);
                    file.has_news |= file.waits();
                }
                None => {
                    let file = Followed::new(prefix.clone(), path, sight, ends.get(&prefix).copied());
                    self.files.insert(prefix, file);
                }
            }
        }
        let listed = self.files.values().filter(|file| file.unlisted.is_none());
        self.by_path = listed.map(|file| (file.path.clone(), file.prefix.clone())).collect();
        self.let_go()
    }

    /// Lets files go that nobody will find again, and forgets what belonged to them.
    fn let_go(&mut self) -> Result<Flow, Error> {
        let is_over = |file: &Followed| {
            let is_silent = file.since.elapsed() >= LET_GO && !file.has_news;
            let is_lost = !file.is_open() || file.trouble.is_some();
            file.unlisted.is_some_and(|since| is_lost || is_silent && since.elapsed() >= LET_GO)
        };
        let over: Vec<_> = self.files.values().filter(|file| is_over(file)).map(|file| file.prefix.clone()).collect();
        for prefix in over {
            let Some(mut file) = self.files.remove(&prefix) else { continue };
            if file.finish(&mut self.identities, &mut self.buffer, &self.terms)? == Flow::Stops {
                return Ok(Flow::Stops);
            }
        }
        let in_use: BTreeSet<_> = self.files.values().filter_map(Followed::name).collect();
        self.identities.forget(&in_use, self.terms.pipeline);
        Ok(Flow::GoesOn)
    }

    /// Gives each file that has news a turn; returns whether any has more, `None` when the source was told to stop.
    fn read(&mut self) -> Result<Option<bool>, Error> {
        let mut with_news: Vec<_> =
            self.files.values().filter(|file| file.has_news).map(|file| (rank(file), file.prefix.clone())).collect();
        with_news.sort();
        let mut has_more = false;
        for (_, prefix) in with_news {
            self.make_room(&prefix);
            let Some(file) = self.files.get_mut(&prefix) else { continue };
            self.turn += 1;
            file.turn = self.turn;
            match file.turn(&mut self.identities, &self.there, &mut self.buffer, &self.terms)? {
                Turn::Stops => return Ok(None),
                Turn::More | Turn::Emptied => has_more = true,
                Turn::Done => {}
            }
        }
        Ok(Some(has_more))
    }

    /// Closes the file that has had no turn for the longest time, if there are too many open for one more.
    fn make_room(&mut self, prefix: &str) {
        if self.files.get(prefix).is_none_or(Followed::is_open) {
            return;
        }
        while self.files.values().filter(|file| file.is_open()).count() >= self.terms.settings.max_open {
            // A file that no pattern matches cannot be opened again: it is closed last.
            let open = self.files.values_mut().filter(|file| file.is_open());
            let Some(idle) = open.min_by_key(|file| (file.unlisted.is_some(), file.turn)) else { return };
            idle.close();
        }
    }

    /// Tells how it is.
    fn tell(&mut self) {
        let meter = self.terms.meter;
        meter.lag_bytes(self.files.values().map(Followed::lag).sum());
        let of_files = self.files.values().filter_map(|file| file.trouble.as_deref());
        let troubles: Vec<_> = self.troubles.iter().map(String::as_str).chain(of_files).collect();
        if troubles.is_empty() {
            meter.state(SourceState::Running);
            return;
        }
        let mut why = troubles[..troubles.len().min(NAMED)].join("; ");
        if troubles.len() > NAMED {
            why.push_str(&format!("; and {} more", troubles.len() - NAMED));
        }
        let state = SourceState::Waiting { why };
        if meter.status().state != state {
            tracing::warn!(source = meter.name(), state = ?state, "not all files can be followed; they are tried again");
        }
        meter.state(state);
    }
}

/// Originals before their copies.
fn rank(file: &Followed) -> u8 {
    let name = Path::file_name(&file.path).unwrap_or_default().to_string_lossy();
    u8::from(rotation::is_rotated(&name)) + u8::from(name.ends_with(".gz"))
}
