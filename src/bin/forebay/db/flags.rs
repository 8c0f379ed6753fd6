//! What `forebay db init`, `migrate`, `status`, `check` and `reset` can be told, and their help.

use clap::Args;

pub const INIT_HELP: &str = "\
Examples:
  forebay db init --db sqlite:/var/lib/forebay/a.db
  forebay db init --db mysql://writer:...@db1/sensors      the database and its user must exist

Makes the tables, or brings them up to date. Every other command does that by itself; this is for a start without rows, \
and for a user who may create tables when the one who writes later may not. Done twice it changes nothing.

Exit codes:
  0    the tables are there and up to date
  2    wrong usage or configuration
  3    the database could not be opened or written";

pub const MIGRATE_HELP: &str = "\
Examples:
  forebay db migrate --db sqlite:forebay.db --dry-run      what would be done?
  forebay db migrate --db central                          to the latest version
  forebay db migrate --db central --to 1 --json            no further than an older forebay knows

Brings the tables up to date, or to a version, step by step. Every writer brings them up to date by itself. There is no way \
back: restore a backup that was made before.

Exit codes:
  0    done, or nothing to do
  2    wrong usage or configuration, or a version that cannot be; nothing was changed
  3    the database could not be opened or written, is in use, or is newer than this forebay";

pub const STATUS_HELP: &str = "\
Examples:
  forebay db status --db sqlite:forebay.db
  forebay db status --db central --json | jq .warnings      the database of FOREBAY_DB_URL_CENTRAL

Changes nothing, and may run beside a writer. Rows of a server's large tables are its own estimate, and marked so.

Exit codes:
  0    told
  2    wrong usage or configuration
  3    the database could not be read";

pub const CHECK_HELP: &str = "\
Examples:
  forebay db check --db sqlite:forebay.db && echo sound
  forebay db check --db central --json | jq .findings

Reads everything: pages and indexes (PRAGMA integrity_check, CHECK TABLE), segments against their catalogue, the ledger \
against itself and the tables. Changes nothing, and may run beside a writer.

Exit codes:
  0    nothing was found
  1    something is wrong: each finding is printed
  2    wrong usage or configuration
  3    the database could not be read, so it was not checked";

pub const RESET_HELP: &str = "\
Examples:
  forebay db reset --db sqlite:forebay.db                                  asks for `forebay.db` to be typed
  forebay db reset --db mysql://admin:...@db1/sensors --yes-destroy sensors   for scripts

Drops the tables and views that forebay has made, with every row in them, and nothing else. Refuses while somebody else \
has the database open, and when it holds tables that are not forebay's.

Exit codes:
  0    done, or there was nothing to drop
  2    wrong usage, or the name was not confirmed; nothing was dropped
  3    refused, or the database could not be opened or written";

pub const COMPAT_HELP: &str = "\
Examples:
  forebay db compat decnet --db sqlite:forebay.db        makes the views `logs` and `bounty`
  forebay db compat decnet --db central --drop           drops them

The views show events and captures under the names and in the forms of DECNET's own tables, so that its dashboard's queries \
read a database that forebay fills. They cost writers nothing, and are no part of the schema. Writers may run meanwhile.

Exit codes:
  0    done
  2    wrong usage or configuration
  3    something else has such a name, or the database could not be opened or written";

/// Which database, and for whom the answer is.
#[derive(Debug, Args)]
pub struct Place {
    /// Database. Default: sqlite:forebay.db [env: FOREBAY_DB_URL]
    #[arg(long, value_name = "URL")]
    pub db: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    pub place: Place,
    /// Go no further than this version. Default: the latest
    #[arg(long, value_name = "VERSION")]
    pub to: Option<i64>,
    /// Tell what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Reset {
    #[command(flatten)]
    pub place: Place,
    /// Do not ask: the name of the database (of a file, its name without the path), to show that it is meant.
    #[arg(long, value_name = "NAME")]
    pub yes_destroy: Option<String>,
}

#[derive(Debug, Args)]
pub struct Compat {
    /// Whose names.
    pub program: Program,
    #[command(flatten)]
    pub place: Place,
    /// Drop the views instead.
    #[arg(long)]
    pub drop: bool,
}

/// Programs whose names we know.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Program {
    /// DECNET: its tables `logs` and `bounty`.
    Decnet,
}
