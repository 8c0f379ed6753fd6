//! What `forebay bench` can be told, and which runs come of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use forebay::Config;
use forebay::config::{Bytes, parse_duration};
use serde_json::Value;

use super::load::{Contender, Load};

const HELP: &str = "\
Examples:
  forebay bench                                       ten seconds into a SQLite file that is deleted again
  forebay bench sqlite:big.db --rows 5000000 --plot big.svg
  forebay bench --rate 50000 --duration 30s           what do producers wait at 50,000 rows/s?
  forebay bench --compare batch.max_rows=100 --compare batch.max_rows=1000 --rounds 5
  forebay bench --baseline sqlite-c --rows 20000000 --rounds 1 --verify --plot soak.svg
  forebay bench mysql://bench:...@127.0.0.1/bench --compare mysql.pool_size=1 --compare mysql.pool_size=8
  forebay bench memory: --producers 8 --send-rows 1   the way to the writer alone

--set and --compare take every setting that the settings file has for `batch`, `buffer`, `retry`, `sqlite` and `mysql` (such as \
batch.max_rows=100, batch.max_wait=10ms, sqlite.synchronous=full), of the load `producers`, `send_rows`, `row_bytes`, \
`captures` (percent) and `rate` (rows/s), and `url`. Several changes are joined with commas. The settings file of \
--config and FOREBAY_BATCH_SIZE count here too; a database that they name does not.

The baseline is what one writes by hand: one prepared single-row INSERT in a loop over SQLite's C API, row after row, \
into ordinary tables with the schema's indexes. It gets the same rows (events and captures) from the same producers, \
commits as many at a time, and has the same log, synchronous and cache settings; it keeps no ledger and no receipts. \
Its file is that of the database with `.sqlite-c` added.

On a server the tables must hold no rows, and keep those of the last run (`forebay db reset` empties them); between runs \
they are dropped, for which the user needs DROP. Their size is not told: a server knows it only roughly, and late.

Latencies: `send` is what a producer waits in one send, `commit` one transaction, `end to end` from the send (with \
--rate: from when it was due) to its receipt. Runs take turns, forwards and backwards; of each the round in the middle is shown.";

/// Flags of `forebay bench`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Bench {
    /// Database to write to; its file must not exist yet, its tables on a server must be empty. Default: a SQLite file in the current directory, deleted after.
    url: Option<String>,
    /// Rows to send. Default: as many as go into --duration.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
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
    /// Share of captures among the rows, 0 to 100 percent; the others are events.
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
    /// Change settings of all runs, like `sqlite.cache=64MiB`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE,...")]
    set: Vec<String>,
    /// One more run, with these changes, like `batch.max_rows=100,producers=8`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE,...")]
    compare: Vec<String>,
    /// One more run, by hand-written C calls; all ratios are to it.
    #[arg(long, value_name = "WHICH")]
    baseline: Option<Baseline>,
    /// Rounds of a comparison.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// After each run count the rows in the database; exit code 3 if they are not those that were confirmed.
    #[arg(long)]
    verify: bool,
    /// Draw throughput and latencies, over time and against rows stored, into this SVG file; a line for each run.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Baseline {
    /// SQLite's C API, a prepared single-row INSERT.
    SqliteC,
}

impl Bench {
    /// Returns the runs: as the flags say, then the comparisons, then the baseline.
    ///
    /// # Errors
    /// In words, for a setting that is unknown or out of bounds.
    pub fn loads(&self, config: Config) -> Result<Vec<Load>, String> {
        let base = self.set.iter().try_fold(self.base(config)?, |load, changes| changed(&load, "--set", changes))?;
        let compared = self.compare.iter().map(|changes| {
            let load = Load { label: changes.clone(), ..base.clone() };
            changed(&load, "--compare", changes)
        });
        let mut loads = std::iter::once(Ok(base.clone())).chain(compared).collect::<Result<Vec<_>, String>>()?;
        if let Some(Baseline::SqliteC) = self.baseline {
            let url = if base.file().is_ok_and(|file| file.is_some()) {
                base.url.clone() + ".sqlite-c"
            } else {
                String::new()
            };
            loads.push(Load { label: "sqlite-c".into(), contender: Contender::SqliteC, url, ..base });
        }
        Ok(loads)
    }

    fn base(&self, mut config: Config) -> Result<Load, String> {
        config.batch.max_rows = self.batch_size.unwrap_or(config.batch.max_rows);
        config.batch.max_bytes = self.batch_bytes.unwrap_or(config.batch.max_bytes);
        checked(Load {
            label: "forebay".into(),
            contender: Contender::Forebay,
            url: self.url.clone().unwrap_or_default(),
            config,
            rows: self.rows,
            duration: self.duration,
            producers: usize::from(self.producers),
            send_rows: usize::from(self.send_rows),
            capture_share: f64::from(self.captures) / 100.0,
            row_bytes: self.row_bytes as usize,
            rate: self.rate,
            seed: self.seed,
            verify: self.verify,
        })
    }
}

/// Applies `KEY=VALUE,...`; `flag` is where it was said.
fn changed(base: &Load, flag: &str, changes: &str) -> Result<Load, String> {
    let mut load = base.clone();
    for change in changes.split(',') {
        let (key, value) = change.split_once('=').ok_or_else(|| format!("{flag} {change}: write KEY=VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        let number = || value.parse::<usize>().map_err(|_| format!("{flag} {key}: `{value}` is no number"));
        match key {
            "producers" => load.producers = number()?.clamp(1, 512),
            "send_rows" => load.send_rows = number()?.clamp(1, usize::from(u16::MAX)),
            "row_bytes" => load.row_bytes = number()?,
            "captures" => load.capture_share = number()?.min(100) as f64 / 100.0,
            "rate" => load.rate = Some(number()? as f64),
            "url" => load.url = value.to_owned(),
            _ => load.config = configured(&load.config, key, value).map_err(|why| format!("{flag} {key}: {why}"))?,
        }
    }
    checked(load)
}

/// Changes one setting by the path that the settings file has for it; which there are is read off the settings.
fn configured(config: &Config, key: &str, value: &str) -> Result<Config, String> {
    let mut tree = serde_json::to_value(config).map_err(|error| error.to_string())?;
    let place = tree.pointer_mut(&format!("/{}", key.replace('.', "/"))).filter(|place| !place.is_object());
    let place = place.ok_or("there is no such setting; see `forebay bench --help`")?;
    // Everything but numbers and switches is a text in the settings file, and its type says how it is read.
    *place = match place {
        Value::Number(_) | Value::Bool(_) => value.parse().map_err(|_| format!("`{value}` does not fit"))?,
        _ => Value::String(value.to_owned()),
    };
    serde_json::from_value(tree).map_err(|error| error.to_string())
}

fn checked(mut load: Load) -> Result<Load, String> {
    let Config { batch, buffer, .. } = &mut load.config;
    // Whoever names a large batch means it to find room.
    for queue in [&mut buffer.events, &mut buffer.captures] {
        queue.max_rows = queue.max_rows.max(batch.max_rows);
    }
    buffer.max_bytes = buffer.max_bytes.max(batch.max_bytes);
    load.config.validate().map_err(|error| error.to_string())?;
    if load.row_bytes as u64 >= load.config.batch.max_bytes.0 {
        return Err(format!(
            "rows of {} bytes do not fit into a batch of {}",
            load.row_bytes, load.config.batch.max_bytes
        ));
    }
    if load.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err("the rate must be above 0".into());
    }
    Ok(load)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use forebay::config::Synchronous;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn loads(words: &[&str]) -> Result<Vec<Load>, String> {
        Line::parse_from([&["bench"], words].concat()).bench.loads(Config::default())
    }

    #[test]
    fn a_comparison_changes_what_it_names_and_nothing_else() {
        let changes = "producers=9,sqlite.synchronous=full,captures=30,batch.max_wait=7ms";
        let loads = loads(&["--batch-size", "50", "--compare", changes]).unwrap();
        let [base, load] = loads.as_slice() else { panic!("{loads:?}") };
        assert_eq!((base.producers, base.capture_share, base.config.batch.max_rows), (4, 0.0, 50));
        assert_eq!((load.producers, load.capture_share, load.config.batch.max_rows), (9, 0.3, 50));
        assert_eq!(load.config.sqlite.synchronous, Synchronous::Full);
        assert_eq!(load.config.batch.max_wait, Duration::from_millis(7));
    }

    #[test]
    fn a_change_that_cannot_be_made_is_refused() {
        let wrong = ["producers", "producers=x", "batch.max_rows=0", "batch.max_rows=x", "batch=1", "colour=red"];
        for wrong in wrong.into_iter().chain(["sqlite.synchronous=off", "row_bytes=99999999", "rate=0", "/batch=1"]) {
            assert!(loads(&["--compare", wrong]).is_err() && loads(&["--set", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_baseline_has_the_settings_of_the_first_run_and_a_file_of_its_own() {
        let words = ["sqlite:a.db", "--set", "batch.max_rows=77", "--compare", "producers=1", "--baseline", "sqlite-c"];
        let loads = loads(&words).unwrap();
        assert_eq!(loads.iter().map(|load| load.config.batch.max_rows).collect::<Vec<_>>(), [77; 3]);
        let baseline = &loads[2];
        assert_eq!((baseline.url.as_str(), baseline.producers), ("sqlite:a.db.sqlite-c", 4));
    }
}
