//! The program `forebay`: a thin edge over the library's public API.
//!
//! `args` says what can be asked, `settings` gathers how, one file a command does it.

mod admin;
mod args;
mod ask;
mod bench;
mod configuration;
mod db;
mod deployments;
mod environment;
mod export;
mod ingest;
mod kept;
mod metrics;
#[cfg(not(feature = "otlp"))]
mod no_traces;
mod prune;
mod reader;
mod report;
mod run;
mod settings;
mod signals;
mod state;
mod stream;
mod table;
mod terminal;
mod top;
#[cfg(feature = "otlp")]
mod traces;
mod user;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command, Common};
use indicatif::ProgressBar;
use ingest::Failure;
#[cfg(not(feature = "otlp"))]
use no_traces as traces;
use settings::Settings;
use terminal::Teller;

/// The variables by which OpenTelemetry names a collector; the first that is set counts.
const OTLP_ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// How the program ended; the numbers are in `--help`.
pub enum Exit {
    Done,
    SomeRejected,
    Found,
    /// What was asked for is not there, or was not as expected.
    Missing,
    Usage,
    NotWritten,
    Signal(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::SomeRejected | Exit::Found | Exit::Missing => 1,
            Exit::Usage => 2,
            Exit::NotWritten => 3,
            Exit::Signal(signal) => 128 + signal,
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Bench(flags) => bench(&cli.common, flags),
        Command::Db(args::Db::Init(flags)) => database(&cli.common, &db::Task::Init(flags)),
        Command::Db(args::Db::Status(flags)) => database(&cli.common, &db::Task::Status(flags)),
        Command::Db(args::Db::Check(flags)) => database(&cli.common, &db::Task::Check(flags)),
        Command::Db(args::Db::Reset(flags)) => database(&cli.common, &db::Task::Reset(flags)),
        Command::Db(args::Db::Compat(flags)) => database(&cli.common, &db::Task::Compat(flags)),
        Command::Db(args::Db::Migrate(flags)) => database(&cli.common, &db::Task::Migrate(flags)),
        Command::Query(task) => kept(&cli.common, &task.place, |place| task.run(place)),
        Command::Tail(task) => kept(&cli.common, &task.place, |place| task.run(place)),
        Command::Stats(task) => kept(&cli.common, &task.place, |place| task.run(place)),
        Command::Sessions(task) => kept(&cli.common, &task.place, |place| task.run(place)),
        Command::User(task) => kept(&cli.common, task.place(), |place| task.run(place, variable)),
        Command::State(task) => kept(&cli.common, task.place(), |place| task.run(place)),
        Command::Deployments(task) => kept(&cli.common, task.place(), |place| task.run(place)),
        Command::Db(args::Db::Prune(flags)) => prune(&cli.common, flags),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "forebay", &mut script);
            terminal::print(&String::from_utf8_lossy(&script));
            Ok(Exit::Done)
        }
        Command::Export(flags) => export(&cli.common, flags),
        Command::Ingest(flags) => ingest(&cli.common, flags),
        Command::Run(flags) => run::run(&cli.common, flags),
        Command::Top(flags) => top(&cli.common, flags),
        Command::Config(task) => configuration::run(&cli.common, task),
    };
    traces::end();
    outcome
        .unwrap_or_else(|Failure { exit, message }| {
            Teller(ProgressBar::hidden()).tell(&message);
            exit
        })
        .into()
}

fn bench(common: &Common, flags: &bench::Bench) -> Result<Exit, Failure> {
    let usage = |message| Failure { exit: Exit::Usage, message };
    let settings = gather(common).map_err(usage)?;
    terminal::start_logging(common.verbose, &ProgressBar::hidden()).map_err(usage)?;
    bench::run(flags, settings.pipeline()).map_err(usage)
}

fn top(common: &Common, flags: &top::Top) -> Result<Exit, Failure> {
    let settings = gather(common).map_err(kept::usage)?;
    flags.run(&settings.metrics, variable)
}

fn prune(common: &Common, flags: &args::Prune) -> Result<Exit, Failure> {
    let usage = |message| Failure { exit: Exit::Usage, message };
    let settings = gather(common).map_err(usage)?;
    let bar = terminal::spinner(flags.quiet);
    terminal::start_logging(common.verbose, &bar).map_err(usage)?;
    let url = settings.database_url(flags.db.as_deref());
    let url = environment::named_database(url, variable).map_err(usage)?;
    prune::run(flags, settings.pipeline(), &url, &bar)
}

fn export(common: &Common, flags: &export::Export) -> Result<Exit, Failure> {
    let usage = |message| Failure { exit: Exit::Usage, message };
    let settings = gather(common).map_err(usage)?;
    let url = environment::named_database(settings.database_url(flags.db.as_deref()), variable).map_err(usage)?;
    let bar = export::bar(flags.quiet);
    let outcome = terminal::start_logging(common.verbose, &bar)
        .map_err(usage)
        .and_then(|()| export::run(flags, &url, &settings.pipeline(), &bar));
    bar.finish_and_clear();
    outcome
}

fn database(common: &Common, task: &db::Task<'_>) -> Result<Exit, Failure> {
    let usage = |message| Failure { exit: Exit::Usage, message };
    let settings = gather(common).map_err(usage)?;
    terminal::start_logging(common.verbose, &ProgressBar::hidden()).map_err(usage)?;
    let url = environment::named_database(settings.database_url(task.database()), variable).map_err(usage)?;
    task.run(&settings.pipeline(), &url)
}

fn kept(
    common: &Common,
    place: &db::Place,
    run: impl FnOnce(&kept::Kept) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let usage = |message| Failure { exit: Exit::Usage, message };
    let settings = gather(common).map_err(usage)?;
    terminal::start_logging(common.verbose, &ProgressBar::hidden()).map_err(usage)?;
    let url = environment::named_database(settings.database_url(place.db.as_deref()), variable).map_err(usage)?;
    run(&kept::Kept { url, config: settings.pipeline(), json: place.json })
}

fn gather(common: &Common) -> Result<Settings, String> {
    let file = common.config.clone().or_else(|| variable("FOREBAY_CONFIG").map(Into::into));
    Settings::gather(file.as_deref(), variable)
}

/// An empty variable is none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn ingest(common: &Common, flags: &args::Ingest) -> Result<Exit, Failure> {
    let usage = |message| Failure { exit: Exit::Usage, message };
    let settings = gather(common).map_err(usage)?;
    let mut metrics = settings.metrics.clone();
    metrics.listen = flags.metrics.or(metrics.listen);
    let listen = metrics.server(variable("FOREBAY_METRICS_TOKEN"));
    let sensor = flags.sensor.clone().or_else(|| settings.sensor.clone());
    let (config, url) = settings.for_ingest(flags).map_err(usage)?;
    let url = environment::named_database(url, variable).map_err(usage)?;
    let inputs = ingest::look_at(&flags.files)?;
    let bar = terminal::progress_bar(inputs.iter().map(ingest::Input::length).sum(), flags.quiet);
    let outcome = terminal::start_logging(common.verbose, &bar)
        .map_err(usage)
        .and_then(|()| ingest::run(flags, &inputs, ingest::Plan { config, url, sensor, listen }, &bar));
    bar.finish_and_clear();
    outcome
}
