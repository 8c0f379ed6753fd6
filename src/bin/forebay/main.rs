//! The program `forebay`: a thin edge over the library's public API.
//!
//! `args` says what can be asked, `settings` gathers how, one file a command does it.

mod args;
mod bench;
mod ingest;
mod metrics;
mod report;
mod settings;
mod signals;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use settings::Settings;

/// How the program ended; the numbers are in `--help`.
pub enum Exit {
    Done,
    SomeRejected,
    Usage,
    NotWritten,
    Signal(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::SomeRejected => 1,
            Exit::Usage => 2,
            Exit::NotWritten => 3,
            Exit::Signal(signal) => 128 + signal,
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(message) => {
            eprintln!("forebay: {message}");
            Exit::Usage.into()
        }
    }
}

fn run(cli: &Cli) -> Result<Exit, String> {
    match &cli.command {
        Command::Bench(flags) => {
            terminal::start_logging(cli.common.verbose, &indicatif::ProgressBar::hidden())?;
            bench::run(flags)
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "forebay", &mut std::io::stdout());
            Ok(Exit::Done)
        }
        Command::Ingest(flags) => {
            let total = flags.files.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
            let bar = terminal::progress_bar(total, flags.quiet);
            terminal::start_logging(cli.common.verbose, &bar)?;
            let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
            let settings = Settings::gather(cli.common.config.as_deref(), environment)?;
            let (listen, sensor) = (settings.metrics.listen, settings.sensor.clone());
            let (config, url) = settings.for_ingest(flags)?;
            let (listen, sensor) = (flags.metrics.or(listen), flags.sensor.clone().or(sensor));
            Ok(ingest::run(flags, ingest::Plan { config, url, sensor, listen }, &bar))
        }
    }
}
