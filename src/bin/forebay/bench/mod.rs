//! `forebay bench`: how fast is it here? A load generator against any database URL.
//!
//! `rows` makes the rows, `load` runs one load, `timed` measures the writes, `latency` keeps the figures, `plot` draws
//! them; here the flags become runs and the runs a report. With `--compare` the runs are interleaved, in rounds, and the
//! medians of the rounds are compared: a noisy machine is noisy for all of them.

mod latency;
mod load;
mod plot;
mod rows;
mod timed;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use forebay::config::{Bytes, Synchronous, parse_duration};
use forebay::{Config, DatabaseUrl};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::terminal::{self, Teller, thousands};
use crate::{Exit, signals};
use latency::Percentiles;
use load::{Load, Outcome};

const EXAMPLES: &str = "\
Examples:
  forebay bench                                       ten seconds into a SQLite file that is deleted again
  forebay bench sqlite:big.db --rows 5000000 --plot big.svg
  forebay bench --rate 50000 --duration 30s           what do producers wait at 50,000 rows/s?
  forebay bench --compare batch.max_rows=100 --compare batch.max_rows=8192 --rounds 5
  forebay bench memory: --producers 8 --send-rows 1   the way to the writer alone

A comparison changes settings (batch.max_rows, batch.max_bytes, sqlite.synchronous), the load (producers, send_rows,
row_bytes, captures) or the database (url); several changes of one run are joined with commas.";

/// What `forebay bench` can be told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// Database to write to; its file must not exist yet. Default: a SQLite file in the current directory, deleted after.
    url: Option<String>,
    /// Rows to send. Default: as many as go into --duration.
    #[arg(long)]
    rows: Option<u64>,
    /// How long to send.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s", conflicts_with = "rows")]
    duration: Duration,
    /// Threads that send.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=512))]
    producers: u16,
    /// Rows of one send.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    send_rows: u16,
    /// Share of captures among the rows, 0 to 100 percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    captures: u8,
    /// About how many bytes a row weighs.
    #[arg(long, value_name = "BYTES", default_value_t = 400)]
    row_bytes: u32,
    /// Rows a second to send, all producers together, on a fixed schedule. Default: as fast as they are taken.
    #[arg(long, value_name = "ROWS")]
    rate: Option<f64>,
    /// Most rows of a batch.
    #[arg(long, value_name = "ROWS")]
    batch_size: Option<usize>,
    /// Most bytes of a batch.
    #[arg(long, value_name = "SIZE")]
    batch_bytes: Option<Bytes>,
    /// Seed of the rows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One more run with these changes, like `batch.max_rows=100,producers=8`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE,...")]
    compare: Vec<String>,
    /// Rounds of a comparison.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Draw throughput and latency into this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(flags: &Bench) -> Result<Exit, String> {
    let stop = signals::watch(Teller(ProgressBar::hidden())).map_err(|error| format!("watch for signals: {error}"))?;
    let base = base(flags)?;
    let loads = if flags.compare.is_empty() {
        vec![base]
    } else {
        flags.compare.iter().map(|changes| changed(&base, changes)).collect::<Result<_, _>>()?
    };
    let rounds = if loads.len() > 1 { flags.rounds } else { 1 };
    let mut outcomes: Vec<Vec<Outcome>> = loads.iter().map(|_| Vec::new()).collect();
    let mut complete = true;
    for round in 0..rounds {
        for (load, outcomes) in loads.iter().zip(&mut outcomes) {
            let bar = bar(load, round, flags.json);
            let database = Scratch::prepare(load)?;
            let outcome = load::run(&database.load, &stop, &bar)?;
            bar.finish_and_clear();
            complete &= outcome.complete;
            outcomes.push(outcome);
            if stop.is_set() {
                return Ok(stop.signal().map_or(Exit::SomeRejected, Exit::Signal));
            }
        }
    }
    let medians: Vec<Outcome> = outcomes.into_iter().filter_map(median).collect();
    if let Some(path) = &flags.plot {
        plot::draw(path, &medians)?;
    }
    if flags.json {
        terminal::print(&format!("{}\n", to_json(&medians, &loads)));
    } else {
        terminal::print(&to_text(&medians, &loads, rounds));
    }
    Ok(if complete { Exit::Done } else { Exit::NotWritten })
}

fn base(flags: &Bench) -> Result<Load, String> {
    let mut config = Config::default();
    config.batch.max_rows = flags.batch_size.unwrap_or(config.batch.max_rows);
    config.batch.max_bytes = flags.batch_bytes.unwrap_or(config.batch.max_bytes);
    config.validate().map_err(|error| error.to_string())?;
    Ok(Load {
        label: "run".into(),
        url: flags.url.clone().unwrap_or_default(),
        config,
        rows: flags.rows,
        duration: flags.duration,
        producers: usize::from(flags.producers),
        send_rows: usize::from(flags.send_rows),
        capture_share: f64::from(flags.captures) / 100.0,
        row_bytes: flags.row_bytes as usize,
        rate: flags.rate,
        seed: flags.seed,
    })
}

/// Applies the changes of one `--compare`.
fn changed(base: &Load, changes: &str) -> Result<Load, String> {
    let mut load = Load { label: changes.to_owned(), ..base.clone() };
    for change in changes.split(',') {
        let (key, value) = change.split_once('=').ok_or_else(|| format!("--compare {change}: write KEY=VALUE"))?;
        let number = || value.parse::<usize>().map_err(|_| format!("--compare {key}: `{value}` is no number"));
        match key.trim() {
            "batch.max_rows" => load.config.batch.max_rows = number()?,
            "batch.max_bytes" => load.config.batch.max_bytes = value.parse()?,
            "sqlite.synchronous" if value == "full" => load.config.sqlite.synchronous = Synchronous::Full,
            "sqlite.synchronous" if value == "normal" => load.config.sqlite.synchronous = Synchronous::Normal,
            "producers" => load.producers = number()?.clamp(1, 512),
            "send_rows" => load.send_rows = number()?.max(1),
            "row_bytes" => load.row_bytes = number()?,
            "captures" => load.capture_share = number()?.min(100) as f64 / 100.0,
            "url" => load.url = value.to_owned(),
            _ => return Err(format!("--compare: unknown change `{change}`; see `forebay bench --help`")),
        }
    }
    load.config.validate().map_err(|error| error.to_string())?;
    Ok(load)
}

/// The database of one run; a file that the run has made by itself is deleted after it.
struct Scratch {
    load: Load,
    delete: Option<PathBuf>,
}

impl Scratch {
    fn prepare(load: &Load) -> Result<Self, String> {
        let mut load = load.clone();
        if load.url.is_empty() {
            load.url = format!("sqlite:forebay-bench-{}.db", std::process::id());
            let path = PathBuf::from(&load.url["sqlite:".len()..]);
            return Ok(Self { load, delete: Some(path) });
        }
        if let Ok(DatabaseUrl::Sqlite(path)) = DatabaseUrl::parse(&load.url)
            && path.exists()
        {
            return Err(format!("{} exists already; a benchmark writes into a new file", path.display()));
        }
        Ok(Self { load, delete: None })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let Some(path) = &self.delete else { return };
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            // The log's files are mostly gone already.
            let _ = std::fs::remove_file(name);
        }
    }
}

fn bar(load: &Load, round: u16, quiet: bool) -> ProgressBar {
    use std::io::IsTerminal;
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = load.rows.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if load.rows.is_some() {
        "{spinner} {prefix} {wide_bar} {eta} left  {msg}"
    } else {
        "{spinner} {prefix} {elapsed} {pos} rows  {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(format!("{} (round {})", load.label, round + 1));
    bar
}

/// The run whose rate is in the middle.
fn median(mut outcomes: Vec<Outcome>) -> Option<Outcome> {
    outcomes.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
    let middle = outcomes.len().checked_sub(1)? / 2;
    Some(outcomes.swap_remove(middle))
}

fn to_text(outcomes: &[Outcome], loads: &[Load], rounds: u16) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(&mut out, outcomes, loads, rounds);
    out
}

fn write_text(out: &mut String, outcomes: &[Outcome], loads: &[Load], rounds: u16) -> std::fmt::Result {
    writeln!(out, "machine    {}", machine())?;
    let width = outcomes.iter().map(|outcome| outcome.label.len()).max().unwrap_or(0).max(4);
    for (outcome, load) in outcomes.iter().zip(loads) {
        let batch = &load.config.batch;
        let label = &outcome.label;
        writeln!(
            out,
            "{label:width$}  {} producers x {} rows a send, rows of {} bytes, batches of {} rows / {}",
            load.producers, load.send_rows, load.row_bytes, batch.max_rows, batch.max_bytes
        )?;
    }
    let best = outcomes.first().map_or(1.0, Outcome::rate);
    writeln!(
        out,
        "\n{:width$}  {:>12} {:>8} {:>10} {:>9} {:>8}",
        "", "rows", "seconds", "rows/s", "CPU us/row", "bytes/row"
    )?;
    for outcome in outcomes {
        let bytes = outcome.file_bytes.map_or_else(|| "-".into(), |bytes| (bytes / outcome.rows.max(1)).to_string());
        let cpu = outcome.cpu_seconds * 1e6 / outcome.rows.max(1) as f64;
        let label = &outcome.label;
        write!(out, "{label:width$}  {:>12} {:>8.2} ", thousands(outcome.rows), outcome.seconds)?;
        write!(out, "{:>10} {cpu:>9.2} {bytes:>8}", thousands(outcome.rate() as u64))?;
        if outcomes.len() > 1 {
            write!(out, "   x {:.2}", outcome.rate() / best)?;
        }
        writeln!(out)?;
    }
    writeln!(out, "\n{:width$}  {:12} {:>10} {:>10} {:>10} {:>10}", "", "milliseconds", "p50", "p99", "p99.9", "max")?;
    for outcome in outcomes {
        let kinds = [("send", outcome.send), ("commit", outcome.commit), ("end to end", outcome.end_to_end)];
        for (kind, Percentiles { p50, p99, p999, max }) in kinds {
            writeln!(out, "{:width$}  {kind:12} {p50:>10.3} {p99:>10.3} {p999:>10.3} {max:>10.3}", outcome.label)?;
        }
    }
    if let [outcome] = outcomes {
        write_course(out, outcome)?;
    }
    if rounds > 1 {
        writeln!(out, "\nmedian of {rounds} interleaved rounds; x is the ratio to the first run")?;
    }
    if let Some(peak) = load::peak_memory() {
        writeln!(out, "peak memory of the process {} MiB", peak >> 20)?;
    }
    Ok(())
}

/// Draws the rate over time, a bar for each tenth of the run.
fn write_course(out: &mut String, outcome: &Outcome) -> std::fmt::Result {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = outcome.samples.iter().map(|sample| sample.rows_per_second).fold(1.0, f64::max);
    let group = outcome.samples.len().div_ceil(60).max(1);
    let means = outcome
        .samples
        .chunks(group)
        .map(|part| part.iter().map(|sample| sample.rows_per_second).sum::<f64>() / part.len() as f64);
    let course: String = means.map(|mean| BARS[((mean / most * 7.0).round() as usize).min(7)]).collect();
    if course.is_empty() {
        Ok(())
    } else {
        writeln!(out, "\nrows/s over time, up to {}: {course}", thousands(most as u64))
    }
}

fn to_json(outcomes: &[Outcome], loads: &[Load]) -> serde_json::Value {
    let runs = outcomes.iter().zip(loads).map(|(outcome, load)| {
        let samples = outcome.samples.iter().map(|sample| {
            json!({
                "seconds": sample.seconds, "rows": sample.rows, "rows_per_second": sample.rows_per_second,
                "send": sample.send.json(), "commit": sample.commit.json(), "end_to_end": sample.end_to_end.json(),
            })
        });
        json!({
            "label": outcome.label, "rows": outcome.rows, "seconds": outcome.seconds, "rows_per_second": outcome.rate(),
            "cpu_seconds": outcome.cpu_seconds, "file_bytes": outcome.file_bytes, "complete": outcome.complete,
            "send": outcome.send.json(), "commit": outcome.commit.json(), "end_to_end": outcome.end_to_end.json(),
            "settings": {
                "producers": load.producers, "send_rows": load.send_rows, "row_bytes": load.row_bytes,
                "capture_share": load.capture_share, "rate": load.rate, "seed": load.seed,
                "batch_max_rows": load.config.batch.max_rows, "batch_max_bytes": load.config.batch.max_bytes.0,
            },
            "samples": samples.collect::<Vec<_>>(),
        })
    });
    json!({ "machine": machine(), "version": env!("CARGO_PKG_VERSION"), "peak_memory_bytes": load::peak_memory(), "runs": runs.collect::<Vec<_>>() })
}

/// Names processor, cores and system, as far as `/proc` tells.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { ", DEBUG BUILD: figures mean nothing" } else { "" };
    format!("{cores} x {cpu}, {} {}{build}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    #[test]
    fn a_comparison_changes_what_it_names_and_nothing_else() {
        let base = base(&Line::parse_from(["bench", "--batch-size", "50"]).bench).unwrap();
        let load = changed(&base, "producers=9,sqlite.synchronous=full,captures=30").unwrap();
        assert_eq!((load.producers, load.capture_share, load.config.batch.max_rows), (9, 0.3, 50));
        assert_eq!(load.config.sqlite.synchronous, Synchronous::Full);
        for wrong in ["producers", "producers=x", "batch.max_rows=0", "colour=red", "sqlite.synchronous=off"] {
            assert!(changed(&base, wrong).is_err(), "{wrong}");
        }
    }
}
