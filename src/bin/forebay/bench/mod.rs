//! `forebay bench`: how fast is it here? A load generator against any database URL.
//!
//! `flags` says what to run, `rows` makes the rows, `load` runs one load into a `target` (a pipeline whose backend is
//! `timed`, or the `baseline`), `latency` and `course` keep the figures, `report` and `plot` show them; `room` sees to it that each run begins with nothing. Here runs take
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
mod room;
mod rows;
mod target;
mod timed;

use forebay::Config;
use indicatif::{ProgressBar, ProgressStyle};

pub use flags::Bench;
use load::{Load, Outcome};
use report::{Report, Run};
use room::Rooms;

use crate::terminal::{self, Teller};
use crate::{Exit, signals};

/// Runs the command.
pub fn run(flags: &Bench, config: Config) -> Result<Exit, String> {
    let stop = signals::watch(Teller(ProgressBar::hidden())).map_err(|error| format!("watch for signals: {error}"))?;
    let mut loads = flags.loads(config)?;
    let mut rooms = Rooms::prepare(&mut loads)?;
    let rounds = if loads.len() > 1 { flags.rounds } else { 1 };
    let mut outcomes: Vec<Vec<Outcome>> = loads.iter().map(|_| Vec::new()).collect();
    'rounds: for round in 0..rounds {
        let mut order: Vec<usize> = (0..loads.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            rooms.make(&loads[index])?;
            let bar = bar(&loads[index], round);
            let outcome = load::run(&loads[index], &stop, &bar);
            bar.finish_and_clear();
            let outcome = outcome?;
            rooms.filled(&loads[index], outcome.rows);
            outcomes[index].push(outcome);
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
