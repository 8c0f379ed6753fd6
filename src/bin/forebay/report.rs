//! What `ingest` has to say at its end: a short table and a picture of what came in, or JSON.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;

use forebay::pipeline::{LaneStatus, Summary};
use forebay::source::file::FileKind;
use forebay::{Capture, Event, Timestamp};
use serde_json::json;

use crate::table::{Side, Table};
use crate::terminal::{Harmless, tail, thousands};

/// Distinct values that are counted; rarer ones that come later are counted together.
const MAX_DISTINCT: usize = 10_000;
const BAR: usize = 32;
const VALUE_WIDTH: usize = 28;
const FILE_WIDTH: usize = 40;
/// With more files than this only odd ones are listed, and of those so many.
const SHOWN_FILES: usize = 20;
const MAX_LISTED: usize = 50;
/// Why a file was not read after a stop.
pub const NOT_BEGUN: &str = "not begun";

/// Counts of one column's values, bounded in memory whatever an attacker sends.
#[derive(Default)]
pub struct TopValues {
    counts: HashMap<Box<str>, u64>,
    others: u64,
}

impl TopValues {
    fn add(&mut self, value: &str) {
        if let Some(count) = self.counts.get_mut(value) {
            *count += 1;
        } else if self.counts.len() < MAX_DISTINCT && value.len() <= 256 {
            self.counts.insert(value.into(), 1);
        } else {
            self.others += 1;
        }
    }

    fn top(&self, n: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.counts.iter().map(|(value, count)| (&**value, *count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(n);
        all
    }
}

/// What the rows of this run look like.
#[derive(Default)]
pub struct Picture {
    pub kinds: TopValues,
    pub sources: TopValues,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Picture {
    pub fn event(&mut self, event: &Event) {
        self.kinds.add(event.event_type());
        self.add(event.ts(), event.src_ip());
    }

    pub fn capture(&mut self, capture: &Capture) {
        self.kinds.add(capture.proto().unwrap_or(capture.kind()));
        self.add(capture.ts(), capture.src_ip());
    }

    fn add(&mut self, ts: Timestamp, src_ip: Option<&str>) {
        self.first = Some(self.first.map_or(ts, |first| first.min(ts)));
        self.last = Some(self.last.map_or(ts, |last| last.max(ts)));
        if let Some(src_ip) = src_ip {
            self.sources.add(src_ip);
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// All of it is in.
    In,
    /// All of it was in before.
    WasIn,
    Empty,
    /// Its last record is not complete yet.
    Incomplete,
    /// It cannot be read to its end.
    Damaged,
    /// The reading was stopped.
    Stopped,
    /// It was not read at all.
    Unread,
}

impl FileState {
    pub fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::WasIn => "was in",
            Self::Empty => "empty",
            Self::Incomplete => "incomplete",
            Self::Damaged => "damaged",
            Self::Stopped => "stopped",
            Self::Unread => "not read",
        }
    }

    /// Whether there is nothing left to bring in.
    pub fn is_complete(self) -> bool {
        matches!(self, Self::In | Self::WasIn | Self::Empty)
    }
}

/// One file's outcome.
pub struct FileLine {
    pub path: String,
    pub kind: Option<FileKind>,
    pub rows: u64,
    pub known: u64,
    pub malformed: u64,
    pub state: FileState,
    /// What `state` does not say.
    pub note: Option<String>,
}

impl FileLine {
    /// A file of which nothing was read.
    pub fn unread(path: &Path, why: &str) -> Self {
        let path = path.to_string_lossy().into_owned();
        Self { path, kind: None, rows: 0, known: 0, malformed: 0, state: FileState::Unread, note: Some(why.into()) }
    }

    fn kind_name(&self) -> &'static str {
        self.kind.map_or("-", FileKind::name)
    }

    fn table(&self) -> &'static str {
        match self.kind {
            Some(FileKind::Capture) => "captures",
            Some(FileKind::Lines(_)) => "events",
            None => "-",
        }
    }
}

/// Rows of one run, by their fate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub committed: u64,
    /// Set aside in `ingest_rejects`, by a source or by the database.
    pub rejected: u64,
    pub failed: u64,
}

/// Everything about one run.
pub struct Report {
    pub files: Vec<FileLine>,
    pub picture: Picture,
    pub summary: Summary,
    pub seconds: f64,
    pub database: String,
}

impl Report {
    pub fn totals(&self) -> Totals {
        let rows = self.summary.lanes.iter().map(|lane| lane.events.plus(lane.captures));
        rows.fold(Totals::default(), |sum, counts| Totals {
            committed: sum.committed + counts.committed,
            rejected: sum.rejected + counts.rejected,
            failed: sum.failed + counts.accepted.saturating_sub(counts.committed + counts.rejected),
        })
    }

    /// Captures that were derived from events, beside the rows of the totals.
    fn derived(&self) -> u64 {
        self.summary.lanes.iter().map(|lane| lane.derived).sum()
    }

    /// For machines. Keys are only ever added.
    pub fn json(&self) -> serde_json::Value {
        let Totals { committed, rejected, failed } = self.totals();
        let files = self.files.iter().map(|file| {
            json!({
                "path": file.path, "kind": file.kind.map(FileKind::name), "rows": file.rows, "already_in": file.known,
                "malformed": file.malformed, "state": file.state.name(), "complete": file.state.is_complete(),
                "note": file.note,
            })
        });
        let tables = self.summary.lanes.iter().flat_map(|lane| [("events", lane.events), ("captures", lane.captures)]);
        let tables = tables.map(|(table, counts)| {
            (table.to_owned(), json!({ "rows": counts.committed, "rejected": counts.rejected }))
        });
        json!({
            "database": self.database, "rows": committed, "derived": self.derived(), "rejected": rejected, "failed": failed,
            "already_in": self.files.iter().map(|file| file.known).sum::<u64>(), "seconds": self.seconds,
            "rows_per_second": self.rate(committed), "interrupted": self.is_interrupted(),
            "tables": tables.collect::<serde_json::Map<_, _>>(), "files": files.collect::<Vec<_>>(),
        })
    }

    fn rate(&self, rows: u64) -> u64 {
        (rows as f64 / self.seconds.max(1e-6)) as u64
    }

    fn is_interrupted(&self) -> bool {
        self.files.iter().any(|file| file.state == FileState::Stopped || file.note.as_deref() == Some(NOT_BEGUN))
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Totals { committed, rejected, failed } = self.totals();
        writeln!(out, "{}", self.files_table())?;
        if let Some(table) = self.sums_table() {
            writeln!(out, "{table}")?;
        }
        if committed > 0 {
            self.write_picture(out)?;
        }
        let known: u64 = self.files.iter().map(|file| file.known).sum();
        let database = format!("{}{}", Harmless(&self.database, 400), size_of(&self.database));
        match (committed, known) {
            (0, 1..) if rejected == 0 => {
                writeln!(
                    out,
                    "nothing new for {database}: {} records were in already (--again to insist)",
                    thousands(known)
                )?;
            }
            _ => {
                let (rows, rate) = (thousands(committed), thousands(self.rate(committed)));
                writeln!(out, "{rows} rows in {:.2} s ({rate} rows/s) into {database}", self.seconds)?;
            }
        }
        if self.derived() > 0 {
            writeln!(out, "{} credentials in them, as rows of the table captures", thousands(self.derived()))?;
        }
        if rejected > 0 {
            let rejected = thousands(rejected);
            writeln!(out, "{rejected} records set aside in the table ingest_rejects, each with its reason")?;
        }
        if failed > 0 {
            writeln!(out, "{} rows not written; run the same command again, nothing doubles", thousands(failed))?;
        } else if self.is_interrupted() {
            writeln!(out, "stopped early; run the same command again to go on from here")?;
        }
        self.write_hint(out, rejected)
    }

    /// One line a file; of many files only those that are not simply in.
    fn files_table(&self) -> String {
        let mut table = Table::new([
            ("file", Side::Left),
            ("kind", Side::Left),
            ("rows", Side::Right),
            ("already in", Side::Right),
            ("set aside", Side::Right),
            ("", Side::Left),
        ]);
        let is_short = self.files.len() <= SHOWN_FILES;
        let is_odd = |file: &FileLine| file.malformed > 0 || !file.state.is_complete();
        let shown = self.files.iter().filter(|file| is_short || is_odd(file));
        let mut listed = 0;
        for file in shown.take(MAX_LISTED) {
            listed += 1;
            let [rows, known, malformed] = [file.rows, file.known, file.malformed].map(thousands);
            let name = tail(&Harmless(&file.path, 4000).to_string(), FILE_WIDTH);
            let state = if file.state == FileState::In { String::new() } else { file.state.name().into() };
            table.push([name, file.kind_name().into(), rows, known, malformed, state]);
        }
        let mut text = if listed > 0 { table.to_string() } else { String::new() };
        if listed < self.files.len() {
            let more = if listed > 0 { "more files" } else { "files" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {more}; --json tells of each", thousands((self.files.len() - listed) as u64));
        }
        text
    }

    /// Rows by table and kind, if there is more than one of them.
    fn sums_table(&self) -> Option<Table<5>> {
        let mut sums: BTreeMap<(&str, &str), (u64, u64, u64)> = BTreeMap::new();
        for file in self.files.iter().filter(|file| file.kind.is_some()) {
            let sum = sums.entry((file.table(), file.kind_name())).or_default();
            *sum = (sum.0 + file.rows, sum.1 + file.known, sum.2 + file.malformed);
        }
        if sums.len() < 2 && self.files.len() <= SHOWN_FILES {
            return None;
        }
        let [left, right] = [Side::Left, Side::Right];
        let mut table =
            Table::new([("table", left), ("kind", left), ("rows", right), ("already in", right), ("set aside", right)]);
        for ((name, kind), (rows, known, malformed)) in sums {
            table.push([name.into(), kind.into(), thousands(rows), thousands(known), thousands(malformed)]);
        }
        Some(table)
    }

    fn write_picture(&self, out: &mut String) -> std::fmt::Result {
        let kinds = self.picture.kinds.top(6);
        let sources = self.picture.sources.top(6);
        let most = kinds.iter().chain(&sources).map(|(_, count)| *count).max().unwrap_or(1);
        let mut table = Table::new([("", Side::Left), ("", Side::Left), ("", Side::Right), ("", Side::Left)]);
        for (title, values) in [("what", &kinds), ("from", &sources)] {
            for (index, (value, count)) in values.iter().enumerate() {
                let title = if index == 0 { title } else { "" };
                let bar = "█".repeat((BAR as u64 * count / most).max(1) as usize);
                let value = tail(&Harmless(value, 256).to_string(), VALUE_WIDTH);
                table.push([title.into(), value, thousands(*count), bar]);
            }
        }
        write!(out, "{}", table.to_string().trim_start_matches('\n'))?;
        if let (Some(first), Some(last)) = (self.picture.first, self.picture.last) {
            let [first, last] = [first, last].map(|ts| ts.to_string());
            // `2026-01-02T03:50:11` has 19 characters; fractions say nothing here.
            let [first, last] = [&first, &last].map(|ts| ts.get(..19).unwrap_or(ts));
            writeln!(out, "when  {first} to {last} (UTC)")?;
        }
        writeln!(out)
    }

    fn write_hint(&self, out: &mut String, rejected: u64) -> std::fmt::Result {
        let Some(path) = self.database.strip_prefix("sqlite:") else { return Ok(()) };
        let sum = |counts: fn(&LaneStatus) -> u64| self.summary.lanes.iter().map(counts).sum::<u64>();
        let (events, captures) = (sum(|lane| lane.events.committed), sum(|lane| lane.captures.committed));
        let query = match () {
            () if rejected > 0 => "SELECT reason, detail, row FROM ingest_rejects ORDER BY id DESC LIMIT 5",
            () if captures > events => {
                "SELECT time, src_ip, dst_ip, proto, length FROM captures_view ORDER BY id DESC LIMIT 5"
            }
            () if events > 0 => {
                "SELECT time, sensor, event_type, src_ip, msg FROM events_view ORDER BY id DESC LIMIT 5"
            }
            () => return Ok(()),
        };
        writeln!(out, "try:  sqlite3 -box {} \"{query}\"", shell_word(path))
    }
}

/// Writes a path so that a shell takes it for one word.
fn shell_word(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    match path.chars().all(is_plain) && !path.starts_with('-') {
        true => path.to_owned(),
        false => format!("'{}'", Harmless(&path.replace('\'', "'\\''"), 400)),
    }
}

fn size_of(database: &str) -> String {
    let path = database.strip_prefix("sqlite:").map(Path::new);
    match path.and_then(|path| path.metadata().ok()) {
        Some(metadata) => format!(" ({:.1} MiB)", metadata.len() as f64 / f64::from(1 << 20)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_the_hint_is_one_word_of_a_shell() {
        assert_eq!(shell_word("/var/lib/a-1.db"), "/var/lib/a-1.db");
        assert_eq!(shell_word("it's here.db"), r"'it'\''s here.db'");
        assert_eq!(shell_word("-x\u{1b}.db"), r"'-x\u{1b}.db'");
    }

    #[test]
    fn a_flood_of_distinct_values_is_counted_in_bounded_memory() {
        let mut top = TopValues::default();
        for n in 0..MAX_DISTINCT as u64 + 5 {
            top.add(&n.to_string());
        }
        top.add("7");
        assert_eq!((top.top(1), top.counts.len(), top.others), (vec![("7", 2)], MAX_DISTINCT, 5));
    }
}
