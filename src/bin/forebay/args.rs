//! The command line: what can be said, and the help text. Decides nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use forebay::config::{Bytes, Synchronous, parse_duration};
use forebay::source::file::FileKind;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// As text to put together: `concat!` takes no constants.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0    everything is in the database
  1    some records were set aside or could not be read; all others are in
  2    wrong usage or configuration; nothing was written
  3    the database could not be written; run the same command again, nothing doubles
  130  stopped by Ctrl-C (143 by SIGTERM), after what had been read was committed"
    };
}

const EXIT_CODES: &str = exit_codes!();
const INGEST_HELP: &str = concat!(
    "\
Examples:
  forebay ingest capture.pcapng eve.json.gz          into ./forebay.db
  forebay ingest --db sqlite:/var/lib/forebay/a.db --sensor tap-0 *.pcap
  zcat old.json.gz | forebay ingest --format eve -   from standard input
  forebay ingest --json eve.json | jq .rows          for machines

A file lands once: after a crash the same command goes on where the last commit was, after completion it adds \
nothing, after an append only what is new. A copy is another file. Standard input cannot be told apart: what is \
piped twice lands twice.

",
    exit_codes!()
);

/// The write path of network sensors: captures and logs into SQL, batched, exactly once.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, styles = STYLES, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring capture files and logs into a database, each exactly once.
    #[command(after_help = INGEST_HELP)]
    Ingest(Ingest),
    /// Write captured packets back into a capture file.
    #[command(after_help = crate::export::HELP)]
    Export(crate::export::Export),
    /// Follow sources into databases, until it is stopped.
    #[command(after_help = crate::run::HELP)]
    Run(crate::run::Run),
    /// Show live what a running forebay does: lanes, queues, sources, problems.
    #[command(after_help = crate::top::HELP)]
    Top(crate::top::Top),
    /// Show events or captures that an expression asks for.
    #[command(after_help = crate::ask::QUERY_HELP)]
    Query(crate::ask::Query),
    /// Show the newest rows, and follow what comes.
    #[command(after_help = crate::ask::TAIL_HELP)]
    Tail(crate::ask::Tail),
    /// Count rows: totals, rates, the most frequent, and a histogram.
    #[command(after_help = crate::ask::STATS_HELP)]
    Stats(crate::ask::Stats),
    /// List sessions, or show one whole.
    #[command(after_help = crate::ask::SESSIONS_HELP)]
    Sessions(crate::ask::Sessions),
    /// Check the settings, or print an example of them.
    #[command(subcommand, arg_required_else_help = true)]
    Config(crate::configuration::Task),
    /// Look after a database.
    #[command(subcommand, arg_required_else_help = true)]
    Db(Db),
    /// Say who may sign in.
    #[command(subcommand, arg_required_else_help = true, after_help = crate::user::HELP)]
    User(crate::user::User),
    /// Read and change JSON values by key.
    #[command(subcommand, arg_required_else_help = true, after_help = crate::state::HELP)]
    State(crate::state::State),
    /// Look after sensors and hosts.
    #[command(subcommand, arg_required_else_help = true, after_help = crate::deployments::HELP)]
    Deployments(crate::deployments::Deployments),
    /// Measure how fast rows go into a database, on this machine.
    Bench(crate::bench::Bench),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  forebay completions bash > /etc/bash_completion.d/forebay")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

const PRUNE_HELP: &str = "\
Examples:
  forebay db prune --db sqlite:forebay.db --max-age 90d --dry-run   what would go?
  forebay db prune --max-rows 10000000                              at most so many rows of each kind, or a few more
  forebay db prune --max-bytes '20 GiB' --json                      for machines

Whole segments go, the oldest first, so that a little more stays than asked for, never less. The open segment stays, \
unless it is due to be closed. A running forebay does all this by itself when `retention.*` is set, and keeps this \
command out; `--dry-run` may run beside it.

Exit codes:
  0    done, or nothing to do
  2    wrong usage or configuration; nothing was changed
  3    the database could not be opened or written
  130  stopped by Ctrl-C (143 by SIGTERM) between two steps; the same command goes on";

#[derive(Debug, Subcommand)]
pub enum Db {
    /// Make the tables, or bring them up to date.
    #[command(after_help = crate::db::INIT_HELP)]
    Init(crate::db::Place),
    /// Bring the tables to a version, or tell what that would take.
    #[command(after_help = crate::db::MIGRATE_HELP)]
    Migrate(crate::db::Migrate),
    /// Describe a database: tables, ledger, locks, and what to mend.
    #[command(after_help = crate::db::STATUS_HELP)]
    Status(crate::db::Place),
    /// Find out whether anything is wrong with a database.
    #[command(after_help = crate::db::CHECK_HELP)]
    Check(crate::db::Place),
    /// Drop all tables of forebay, with every row.
    #[command(after_help = crate::db::RESET_HELP)]
    Reset(crate::db::Reset),
    /// Make views in another program's names, so that it can read what forebay writes.
    #[command(after_help = crate::db::COMPAT_HELP)]
    Compat(crate::db::Compat),
    /// Drop old rows now, and give their space back.
    #[command(after_help = PRUNE_HELP)]
    Prune(Prune),
}

#[derive(Debug, Args)]
pub struct Prune {
    /// Database to prune. Default: sqlite:forebay.db [env: FOREBAY_DB_URL]
    #[arg(long, value_name = "URL")]
    pub db: Option<String>,
    /// Keep rows for so long after their commit, like `90d`. Default: `retention.max_age`
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_age: Option<Duration>,
    /// Keep so many rows of each kind. Default: `retention.max_rows`
    #[arg(long, value_name = "ROWS")]
    pub max_rows: Option<u64>,
    /// Keep the file below this size, like `20 GiB`. Default: `retention.max_bytes`
    #[arg(long, value_name = "SIZE")]
    pub max_bytes: Option<Bytes>,
    /// Tell what would be dropped, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Common {
    /// Settings file (TOML); flags and environment go before it. [env: FOREBAY_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log more to standard error: -v what happens, -vv every detail. FOREBAY_LOG filters by module.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Args)]
pub struct Ingest {
    /// Files to bring in: pcap, pcapng, EVE, Zeek (JSON, TSV), Cowrie, DECNET, syslog or other JSON lines, plain or gzipped; `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Database to write to. Default: sqlite:forebay.db [env: FOREBAY_DB_URL]
    #[arg(long, value_name = "URL")]
    pub db: Option<String>,
    /// Sensor of every row. Default: the one that a record names, else this host's name. [env: FOREBAY_SENSOR]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub sensor: Option<String>,
    /// What the files hold (pcap, eve, zeek, zeek-tsv, cowrie, decnet, syslog, ndjson). Default: told from their content.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<FileKind>,
    /// Bring the files in even if they are in already.
    #[arg(long)]
    pub again: bool,
    /// Stop at the first record that cannot be read, instead of setting it aside.
    #[arg(long)]
    pub strict: bool,
    /// Give up when the database cannot be written for so long (like `5m`). Default: wait for it.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub give_up_after: Option<Duration>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print nothing but faults.
    #[arg(short, long)]
    pub quiet: bool,
    /// Serve metrics, health and a status page at this address while running, like `127.0.0.1:9464`. Beyond loopback a
    /// token is needed: `metrics.token_file` [env: FOREBAY_METRICS_TOKEN]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Most rows of a batch. Default: 8192 [env: FOREBAY_BATCH_SIZE]
    #[arg(long, value_name = "ROWS", help_heading = "Tuning")]
    pub batch_size: Option<usize>,
    /// Most bytes of a batch, and so of one row. Default: 8 MiB
    #[arg(long, value_name = "SIZE", help_heading = "Tuning")]
    pub batch_bytes: Option<Bytes>,
    /// Most memory for rows on their way. Default: 64 MiB
    #[arg(long, value_name = "SIZE", help_heading = "Tuning")]
    pub buffer: Option<Bytes>,
    /// What a commit survives: `normal` a crash, `full` a power failure too. Default: normal
    #[arg(long, value_name = "MODE", value_parser = parse_synchronous, help_heading = "Tuning")]
    pub synchronous: Option<Synchronous>,
}

fn parse_synchronous(text: &str) -> Result<Synchronous, String> {
    match text {
        "normal" => Ok(Synchronous::Normal),
        "full" => Ok(Synchronous::Full),
        _ => Err("one of: normal, full".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
