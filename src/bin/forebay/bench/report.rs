//! What came of the runs, as text and as JSON.

use std::fmt::Write;

use forebay::config::Synchronous;
use serde_json::{Value, json};

use super::course::Course;
use super::latency::Percentiles;
use super::load::{Contender, Load, Outcome};
use super::machine;
use crate::table::{Side, Table};
use crate::terminal::thousands;

/// Changes when a key of the JSON changes its meaning or goes.
const JSON_FORMAT: u32 = 1;

/// One contender: its median round.
pub struct Run {
    pub load: Load,
    pub outcome: Outcome,
    /// Of all rounds, in their order.
    pub rates: Vec<f64>,
}

impl Run {
    /// Takes the round whose rate is in the middle; `None` when there was none.
    pub fn of(load: Load, mut outcomes: Vec<Outcome>) -> Option<Self> {
        let rates = outcomes.iter().map(Outcome::rate).collect();
        outcomes.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        let middle = outcomes.len().checked_sub(1)? / 2;
        Some(Self { load, outcome: outcomes.swap_remove(middle), rates })
    }

    fn bytes_a_row(&self) -> Option<f64> {
        self.outcome.file_bytes.map(|bytes| bytes as f64 / self.outcome.rows.max(1) as f64)
    }
}

/// All contenders.
pub struct Report {
    pub runs: Vec<Run>,
    pub rounds: u16,
}

impl Report {
    /// Returns what the others are compared with: the baseline, or else the first.
    fn reference(&self) -> Option<&Run> {
        let baseline = self.runs.iter().find(|run| run.load.contender == Contender::SqliteC);
        baseline.or(self.runs.first()).filter(|_| self.runs.len() > 1)
    }

    /// Says what producers do, if it is the same for all runs.
    pub fn load(&self) -> Option<String> {
        let load = self.runs.first().map(|run| sending(&run.load))?;
        self.runs.iter().all(|run| sending(&run.load) == load).then_some(load)
    }

    fn ratio(&self, run: &Run) -> Option<f64> {
        self.reference().map(|reference| run.outcome.rate() / reference.outcome.rate().max(1e-9))
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}\n{}", machine::text(), version())?;
        writeln!(out, "{}\n", self.load().unwrap_or_default())?;
        let mut settings = Table::new([("", Side::Left), ("settings", Side::Left)]);
        let mut rates = Table::new([
            ("", Side::Left),
            ("rows", Side::Right),
            ("seconds", Side::Right),
            ("rows/s", Side::Right),
            ("ratio", Side::Right),
            ("first tenth", Side::Right),
            ("last tenth", Side::Right),
            ("CPU us/row", Side::Right),
            ("peak memory", Side::Right),
        ]);
        let mut sizes = Table::new([
            ("", Side::Left),
            ("database bytes", Side::Right),
            ("bytes/row", Side::Right),
            ("largest WAL", Side::Right),
            ("close", Side::Right),
            ("counted rows", Side::Right),
        ]);
        let mut latencies = Table::new([
            ("", Side::Left),
            ("latency", Side::Left),
            ("p50", Side::Right),
            ("p99", Side::Right),
            ("p99.9", Side::Right),
            ("max", Side::Right),
        ]);
        for run in &self.runs {
            let Outcome { course, figures, .. } = &run.outcome;
            let (outcome, label) = (&run.outcome, run.load.label.clone());
            let own = if self.load().is_none() { sending(&run.load) + "; " } else { String::new() };
            settings.push([label.clone(), own + &storing(&run.load)]);
            let (first, last) = course.first_and_last_tenth().map_or((None, None), |(a, b)| (Some(a), Some(b)));
            rates.push([
                label.clone(),
                thousands(outcome.rows),
                format!("{:.2}", outcome.seconds),
                thousands(outcome.rate() as u64),
                or_dash(self.ratio(run), |ratio| format!("{ratio:.2}")),
                or_dash(first, |rate| thousands(rate as u64)),
                or_dash(last, |rate| thousands(rate as u64)),
                format!("{:.2}", outcome.cpu_seconds * 1e6 / outcome.rows.max(1) as f64),
                or_dash(outcome.peak_memory_bytes, mebibytes),
            ]);
            sizes.push([
                label.clone(),
                or_dash(outcome.file_bytes, thousands),
                or_dash(run.bytes_a_row(), |bytes| format!("{bytes:.0}")),
                or_dash(outcome.wal_peak_bytes, mebibytes),
                time(outcome.close_seconds * 1e3),
                or_dash(outcome.counted, thousands),
            ]);
            for (kind, figures) in
                [("send", figures.send), ("commit", figures.commit), ("end to end", figures.end_to_end)]
            {
                let Percentiles { p50, p99, p999, max } = figures;
                latencies.push([label.clone(), kind.into(), time(p50), time(p99), time(p999), time(max)]);
            }
        }
        write!(out, "{settings}\n{rates}\n{sizes}\n{latencies}\n")?;
        self.write_courses(out)?;
        if let Some(reference) = self.reference() {
            let rounds = if self.rounds == 1 {
                "one round".into()
            } else {
                format!("median of {} interleaved rounds", self.rounds)
            };
            writeln!(out, "\nratio: rows/s to those of {}; {rounds}", reference.load.label)?;
        }
        for run in &self.runs {
            let (label, outcome) = (&run.load.label, &run.outcome);
            if outcome.sent > outcome.rows {
                writeln!(out, "{label}: {} rows were sent and not stored", thousands(outcome.sent - outcome.rows))?;
            }
            if let Some(counted) = outcome.counted.filter(|counted| *counted != outcome.rows) {
                let (counted, rows) = (thousands(counted), thousands(outcome.rows));
                writeln!(out, "{label}: the database has {counted} rows, and {rows} were confirmed")?;
            }
        }
        Ok(())
    }

    /// Draws the rates over time, all to the same scale.
    fn write_courses(&self, out: &mut String) -> std::fmt::Result {
        let rates = |course: &Course| course.at_most(60).iter().map(|point| point.rows_per_second).collect::<Vec<_>>();
        let most = self.runs.iter().flat_map(|run| rates(&run.outcome.course)).fold(1.0, f64::max);
        let mut table = Table::new([("", Side::Left), ("rows/s over time", Side::Left)]);
        for run in &self.runs {
            const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
            let bars =
                rates(&run.outcome.course).into_iter().map(|rate| BARS[((rate / most * 7.0).round() as usize).min(7)]);
            table.push([run.load.label.clone(), bars.collect()]);
        }
        write!(out, "{table}")?;
        writeln!(out, "the highest bar is {} rows/s", thousands(most as u64))
    }

    pub fn json(&self) -> Value {
        let run = |run: &Run| {
            let (load, outcome) = (&run.load, &run.outcome);
            json!({
                "label": load.label,
                "writer": if load.contender == Contender::SqliteC { "sqlite-c" } else { "forebay" },
                "settings": {
                    "rows": load.rows, "duration_seconds": load.rows.is_none().then_some(load.duration.as_secs_f64()),
                    "producers": load.producers, "send_rows": load.send_rows, "row_bytes": load.row_bytes,
                    "capture_share": load.capture_share, "rate": load.rate, "seed": load.seed,
                    "database": database(load), "config": load.config,
                },
                "sent": outcome.sent, "rows": outcome.rows, "seconds": outcome.seconds,
                "rows_per_second": outcome.rate(), "rows_per_second_of_rounds": run.rates, "ratio": self.ratio(run),
                "cpu_seconds": outcome.cpu_seconds, "peak_memory_bytes": outcome.peak_memory_bytes,
                "file_bytes": outcome.file_bytes, "bytes_per_row": run.bytes_a_row(),
                "wal_peak_bytes": outcome.wal_peak_bytes, "close_seconds": outcome.close_seconds,
                "counted_rows": outcome.counted, "complete": outcome.is_sound(),
                "send": outcome.figures.send.json(), "commit": outcome.figures.commit.json(),
                "end_to_end": outcome.figures.end_to_end.json(),
                "points": outcome.course.json(),
            })
        };
        json!({
            "format": JSON_FORMAT, "version": env!("CARGO_PKG_VERSION"), "commit": COMMIT, "machine": machine::json(),
            "rounds": self.rounds, "reference": self.reference().map(|run| &run.load.label),
            "runs": self.runs.iter().map(run).collect::<Vec<_>>(),
        })
    }
}

/// Whoever builds it may say which commit it is.
const COMMIT: Option<&str> = option_env!("FOREBAY_COMMIT");

fn version() -> String {
    let commit = COMMIT.map_or_else(String::new, |commit| format!(" (commit {commit})"));
    format!("forebay {}{commit}", env!("CARGO_PKG_VERSION"))
}

/// Names the database without what might be secret.
fn database(load: &Load) -> String {
    forebay::DatabaseUrl::parse(&load.url).map_or_else(|_| "?".into(), |url| url.to_string())
}

/// What producers do.
fn sending(load: &Load) -> String {
    let pace = load.rate.map(|rate| format!("{} rows/s", thousands(rate as u64)));
    format!(
        "{} producers x {} rows a send, {:.0} % captures, rows of {} bytes, {}, seed {}",
        load.producers,
        load.send_rows,
        load.capture_share * 100.0,
        thousands(load.row_bytes as u64),
        pace.unwrap_or_else(|| "as fast as they are taken".into()),
        load.seed
    )
}

/// What stores it.
fn storing(load: &Load) -> String {
    let batch = &load.config.batch;
    let (rows, bytes, wait) = (thousands(batch.max_rows as u64), batch.max_bytes, batch.max_wait);
    let batches = format!("{}, batches of {rows} rows / {bytes} / {wait:?}", database(load));
    if let Ok(Some(_)) = load.server() {
        return format!("{batches}, {} connections", load.config.mysql.pool_size);
    }
    let sqlite = &load.config.sqlite;
    let synchronous = if sqlite.synchronous == Synchronous::Full { "full" } else { "normal" };
    format!("{batches}, synchronous {synchronous}, cache {}", sqlite.cache)
}

fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".into(), text)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Writes milliseconds in the unit that suits them.
fn time(ms: f64) -> String {
    match ms {
        ms if ms >= 1000.0 => format!("{:.2} s", ms / 1000.0),
        ms if ms >= 1.0 => format!("{ms:.1} ms"),
        ms if ms >= 0.001 => format!("{:.1} us", ms * 1e3),
        ms => format!("{:.0} ns", ms * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_the_unit_that_suits_them() {
        assert_eq!([0.000_25, 0.0123, 12.34, 1234.5].map(time), ["250 ns", "12.3 us", "12.3 ms", "1.23 s"]);
    }
}
