//! What `ingest` has to say at its end: a short table and a picture of what came in, or JSON.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use forebay::pipeline::Summary;
use forebay::{Capture, Event, Timestamp};
use serde_json::json;

use crate::terminal::{Harmless, thousands};

/// Distinct values that are counted; rarer ones that come later are counted together.
const MAX_DISTINCT: usize = 10_000;
const BAR: usize = 32;

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

/// One file's outcome.
pub struct FileLine {
    pub path: String,
    pub kind: &'static str,
    pub rows: u64,
    pub known: u64,
    pub malformed: u64,
    pub note: Option<String>,
    /// Whether all of the file that can be read is in.
    pub complete: bool,
}

/// Everything about one run.
pub struct Report {
    pub files: Vec<FileLine>,
    pub picture: Picture,
    pub summary: Summary,
    pub seconds: f64,
    pub database: String,
    pub interrupted: bool,
}

impl Report {
    /// Rows committed to their tables, and rows set aside: by a source or by the database.
    pub fn totals(&self) -> (u64, u64, u64) {
        let lanes = self.summary.lanes.iter();
        let rows = lanes.map(|lane| lane.events.plus(lane.captures));
        rows.fold((0, 0, 0), |sum, counts| {
            let failed = counts.accepted - counts.committed - counts.rejected;
            (sum.0 + counts.committed, sum.1 + counts.rejected, sum.2 + failed)
        })
    }

    pub fn json(&self) -> serde_json::Value {
        let (rows, rejected, failed) = self.totals();
        let files = self.files.iter().map(|file| {
            json!({
                "path": file.path, "kind": file.kind, "rows": file.rows, "already_in": file.known,
                "malformed": file.malformed, "complete": file.complete, "note": file.note,
            })
        });
        let tables = self.summary.lanes.iter().flat_map(|lane| [("events", lane.events), ("captures", lane.captures)]);
        let tables = tables.map(|(table, counts)| {
            (table.to_owned(), json!({ "rows": counts.committed, "rejected": counts.rejected }))
        });
        json!({
            "database": self.database, "rows": rows, "rejected": rejected, "failed": failed, "seconds": self.seconds,
            "rows_per_second": self.rate(rows), "interrupted": self.interrupted,
            "tables": tables.collect::<serde_json::Map<_, _>>(), "files": files.collect::<Vec<_>>(),
        })
    }

    fn rate(&self, rows: u64) -> u64 {
        (rows as f64 / self.seconds.max(1e-6)) as u64
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (rows, rejected, failed) = self.totals();
        self.write_files(out)?;
        if rows > 0 {
            self.write_picture(out)?;
        }
        let size = size_of(&self.database);
        let rate = thousands(self.rate(rows));
        writeln!(
            out,
            "{} rows in {:.2} s ({rate} rows/s) into {}{size}",
            thousands(rows),
            self.seconds,
            self.database
        )?;
        if rejected > 0 {
            writeln!(
                out,
                "{} records set aside in the table ingest_rejects, each with its reason",
                thousands(rejected)
            )?;
        }
        if failed > 0 {
            writeln!(out, "{} rows not written; run the same command again, nothing doubles", thousands(failed))?;
        }
        if self.interrupted {
            writeln!(out, "stopped early; run the same command again to go on from here")?;
        }
        self.write_hint(out, rejected)
    }

    fn write_files(&self, out: &mut String) -> std::fmt::Result {
        let name = |file: &FileLine| Harmless(&file.path, 60).to_string();
        let width = self.files.iter().map(|file| name(file).chars().count()).max().unwrap_or(0).max(4);
        writeln!(out, "{:width$}  {:6}  {:>12}  {:>12}  {:>9}", "file", "kind", "rows", "already in", "set aside")?;
        for file in &self.files {
            let counts = [file.rows, file.known, file.malformed].map(thousands);
            write!(
                out,
                "{:width$}  {:6}  {:>12}  {:>12}  {:>9}",
                name(file),
                file.kind,
                counts[0],
                counts[1],
                counts[2]
            )?;
            match &file.note {
                Some(note) => writeln!(out, "  {}", Harmless(note, 200))?,
                None => writeln!(out)?,
            }
        }
        writeln!(out)
    }

    fn write_picture(&self, out: &mut String) -> std::fmt::Result {
        let kinds = self.picture.kinds.top(6);
        let sources = self.picture.sources.top(6);
        let most = kinds.iter().chain(&sources).map(|(_, count)| *count).max().unwrap_or(1);
        for (title, values) in [("what", &kinds), ("from", &sources)] {
            for (index, (value, count)) in values.iter().enumerate() {
                let title = if index == 0 { title } else { "" };
                let bar = "█".repeat((BAR as u64 * count / most).max(1) as usize);
                writeln!(out, "{title:4}  {:28} {:>10}  {bar}", Harmless(value, 27).to_string(), thousands(*count))?;
            }
        }
        if let (Some(first), Some(last)) = (self.picture.first, self.picture.last) {
            writeln!(out, "when  {first:.19} to {last:.19}")?;
        }
        writeln!(out)
    }

    fn write_hint(&self, out: &mut String, rejected: u64) -> std::fmt::Result {
        let Some(path) = self.database.strip_prefix("sqlite:") else { return Ok(()) };
        let captures: u64 = self.summary.lanes.iter().map(|lane| lane.captures.committed).sum();
        let query = match () {
            () if rejected > 0 => "SELECT reason, detail, row FROM ingest_rejects ORDER BY id DESC LIMIT 5",
            () if captures > 0 => {
                "SELECT time, src_ip, dst_ip, proto, length FROM captures_view ORDER BY id DESC LIMIT 5"
            }
            () => "SELECT time, sensor, event_type, src_ip, msg FROM events_view ORDER BY id DESC LIMIT 5",
        };
        writeln!(out, "try:  sqlite3 -box {path} \"{query}\"")
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
    fn a_flood_of_distinct_values_is_counted_in_bounded_memory() {
        let mut top = TopValues::default();
        for n in 0..MAX_DISTINCT as u64 + 5 {
            top.add(&n.to_string());
        }
        top.add("7");
        assert_eq!((top.top(1), top.counts.len(), top.others), (vec![("7", 2)], MAX_DISTINCT, 5));
    }
}
