//! `forebay bench`: how fast is it here? A load generator against any database URL.
//!
//! `flags` says what to run, `rows` makes the rows, `load` runs one load into a `target` (a pipeline whose backend is
//! `timed`, or the `baseline`), `latency` and `course` keep the figures, `report` and `plot` show them. Here runs take
//! turns: in rounds, every other one backwards, and the median of the rounds counts, so that a noisy machine is noisy for
//! all of them.

mod baseline;
mod course;
mod flags;
mod latency;
mod load;
mod machine;
mod meters;
mod plot;
mod report;
mod rows;
mod target;
mod timed;

use std::path::{Path, PathBuf};

use forebay::Config;
use indicatif::{ProgressBar, ProgressStyle};

pub use flags::Bench;
use load::{Load, Outcome};
use report::{Report, Run};

use crate::terminal::{self, Teller};
use crate::{Exit, signals};

/// Runs the command.
pub fn run(flags: &Bench, config: Config) -> Result<Exit, String> {
    let stop = signals::watch(Teller(ProgressBar::hidden())).map_err(|error| format!("watch for signals: {error}"))?;
    let mut loads = flags.loads(config)?;
    let files = Files::prepare(&mut loads)?;
    let rounds = if loads.len() > 1 { flags.rounds } else { 1 };
    let mut outcomes: Vec<Vec<Outcome>> = loads.iter().map(|_| Vec::new()).collect();
    'rounds: for round in 0..rounds {
        let mut order: Vec<usize> = (0..loads.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            files.make_room(&loads[index])?;
            let bar = bar(&loads[index], round);
            let outcome = load::run(&loads[index], &stop, &bar);
            bar.finish_and_clear();
            outcomes[index].push(outcome?);
            if stop.is_set() {
                break 'rounds;
            }
        }
    }
    let is_sound = outcomes.iter().flatten().all(Outcome::is_sound);
    let runs = loads.into_iter().zip(outcomes).filter_map(|(load, outcomes)| Run::of(load, outcomes)).collect();
    let report = Report { runs, rounds };
    if let Some(path) = &flags.plot {
        plot::draw(path, &report)?;
    }
    let shown = if flags.json { format!("{}\n", report.json()) } else { report.text() };
    terminal::print(&shown);
    Ok(match stop.signal() {
        Some(signal) => Exit::Signal(signal),
        None if is_sound => Exit::Done,
        None => Exit::NotWritten,
    })
}

/// The files of the runs. None may exist before, so all that is there later is ours; those that nobody has named are
/// deleted at the end.
struct Files {
    unnamed: Vec<PathBuf>,
}

impl Files {
    /// Gives a file to each load that names none.
    fn prepare(loads: &mut [Load]) -> Result<Self, String> {
        let mut files = Self { unnamed: Vec::new() };
        for load in loads {
            let is_unnamed = load.url.is_empty();
            if is_unnamed {
                let yardstick = if load.contender == load::Contender::SqliteC { ".sqlite-c" } else { "" };
                load.url = format!("sqlite:forebay-bench-{}.db{yardstick}", std::process::id());
            }
            let Some(path) = load.file()? else { continue };
            if path.exists() {
                return Err(format!("{} exists already; a benchmark writes into a new file", path.display()));
            }
            if is_unnamed {
                files.unnamed.push(path);
            }
        }
        Ok(files)
    }

    /// Deletes what an earlier round has left where this load writes.
    fn make_room(&self, load: &Load) -> Result<(), String> {
        load.file()?.iter().for_each(|path| delete(path));
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.unnamed.iter().for_each(|path| delete(path));
    }
}

fn delete(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // The log's files are mostly gone already.
        let _ = std::fs::remove_file(name);
    }
}

/// On a terminal only.
fn bar(load: &Load, round: u16) -> ProgressBar {
    use std::io::IsTerminal;
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (length, template) = match load.rows {
        Some(rows) => (rows, "{spinner} {prefix} {wide_bar} {eta} left  {msg}"),
        None => (load.duration.as_secs(), "{spinner} {prefix} {wide_bar} {pos}/{len} s  {msg}"),
    };
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.set_prefix(format!("{} (round {})", load.label, round + 1));
    bar
}
