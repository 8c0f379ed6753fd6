//! `forebay state`: JSON values by key.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use forebay::repository::{Entry, Key, MAX_LIMIT, MAX_VALUE, Swap};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::Exit;
use crate::db::Place;
use crate::ingest::Failure;
use crate::kept::{Kept, failed, missing, read, usage, word};
use crate::table::{Side, Table};
use crate::terminal::{self, Harmless, thousands};

pub const HELP: &str = "\
Examples:
  forebay state set scan/last '{\"page\": 1}'
  forebay state set rules --file rules.json              `-` is standard input
  forebay state get scan/last | jq .page
  forebay state set scan/last 2 --if-version 1795882800000000   only if nobody has changed it
  forebay state list scan/ --json

Keys have 1 to 255 bytes, values are JSON of at most 16 MiB. May run beside a forebay that writes to the same database.

Exit codes:
  0    done
  1    there is no such key, or its version is another one; nothing was changed
  2    wrong usage or configuration; nothing was changed
  3    the database could not be opened or written";

#[derive(Debug, Subcommand)]
pub enum State {
    /// Print a key's value; with --json its version too.
    Get {
        key: String,
        #[command(flatten)]
        place: Place,
    },
    /// Store a value, and print its version.
    Set(Set),
    /// Delete a key.
    Delete {
        key: String,
        #[command(flatten)]
        place: Place,
    },
    /// List the keys that begin with a prefix.
    List {
        /// How keys begin. Default: all keys
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub struct Set {
    key: String,
    /// The value, as JSON.
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_hyphen_values = true)]
    value: Option<String>,
    /// Read the value from a file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only if the key has this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    /// Only if the key is not there.
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    #[command(flatten)]
    place: Place,
}

impl State {
    /// Returns where, and for whom the answer is.
    pub fn place(&self) -> &Place {
        match self {
            Self::Get { place, .. } | Self::Delete { place, .. } | Self::List { place, .. } => place,
            Self::Set(set) => &set.place,
        }
    }

    pub fn run(&self, kept: &Kept) -> Result<Exit, Failure> {
        match self {
            Self::Get { key, .. } => {
                let entry = kept.open()?.state().get(key).map_err(failed)?;
                print(kept, &entry.ok_or_else(|| none(key))?)
            }
            Self::Set(set) => set.run(kept),
            Self::Delete { key, .. } => {
                if !kept.open_to_write()?.state().delete(key).map_err(failed)? {
                    return Err(none(key));
                }
                Ok(kept.tell(json!({ "deleted": key }), &format!("deleted {}", word(key))))
            }
            Self::List { prefix, .. } => list(kept, prefix),
        }
    }
}

impl Set {
    fn run(&self, kept: &Kept) -> Result<Exit, Failure> {
        let value = match (&self.value, &self.file) {
            (Some(value), _) => value.clone(),
            (None, Some(file)) => read(file, MAX_VALUE)?,
            (None, None) => return Err(usage("name a value, or a file")),
        };
        let repository = kept.open_to_write()?;
        let state = repository.state();
        let version = if self.if_absent || self.if_version.is_some() {
            match state.compare_and_set(&self.key, self.if_version, &value).map_err(failed)? {
                Swap::Done(version) => version,
                Swap::Changed(None) => return Err(none(&self.key)),
                Swap::Changed(Some(version)) => {
                    return Err(missing(format!("{} has version {version}; nothing was changed", word(&self.key))));
                }
            }
        } else {
            state.set(&self.key, &value).map_err(failed)?
        };
        Ok(kept.tell(json!({ "key": self.key, "version": version }), &version.to_string()))
    }
}

fn none(key: &str) -> Failure {
    missing(format!("there is no key {}", word(key)))
}

#[derive(Serialize)]
struct Shown<'a> {
    key: &'a str,
    value: &'a RawValue,
    version: i64,
    updated: String,
}

fn print(kept: &Kept, entry: &Entry) -> Result<Exit, Failure> {
    use std::io::IsTerminal;
    if kept.json {
        let unreadable = |error: serde_json::Error| usage(format!("the value is no JSON any more: {error}"));
        let value: &RawValue = serde_json::from_str(&entry.value).map_err(unreadable)?;
        let shown = Shown { key: &entry.key, value, version: entry.version, updated: entry.updated.to_string() };
        terminal::print(&(serde_json::to_string(&shown).map_err(unreadable)? + "\n"));
    } else if std::io::stdout().is_terminal() {
        let lines = entry.value.lines().map(|line| format!("{}\n", Harmless(line, usize::MAX)));
        terminal::print(&lines.collect::<String>());
    } else {
        terminal::print(&format!("{}\n", entry.value));
    }
    Ok(Exit::Done)
}

fn list(kept: &Kept, prefix: &str) -> Result<Exit, Failure> {
    let repository = kept.open()?;
    let mut keys: Vec<Key> = Vec::new();
    loop {
        let after = keys.last().map(|key| key.key.as_str());
        let page = repository.state().list(prefix, after, MAX_LIMIT).map_err(failed)?;
        let is_end = page.len() < MAX_LIMIT;
        keys.extend(page);
        if is_end {
            break;
        }
    }
    if kept.json {
        let key = |key: &Key| json!({ "key": key.key, "version": key.version, "updated": key.updated.to_string(), "bytes": key.bytes });
        terminal::print(&format!("{}\n", serde_json::Value::Array(keys.iter().map(key).collect())));
        return Ok(Exit::Done);
    }
    let titles = [("key", Side::Left), ("version", Side::Right), ("bytes", Side::Right), ("updated", Side::Left)];
    let mut table = Table::new(titles);
    for key in &keys {
        table.push([word(&key.key), key.version.to_string(), thousands(key.bytes), key.updated.to_string()]);
    }
    terminal::print(&table.to_string());
    Ok(Exit::Done)
}
