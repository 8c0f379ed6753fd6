//! `forebay db migrate`: the tables, step by step.

use forebay::maintenance::{self, Migration, Run};
use forebay::{Config, DatabaseUrl};

use super::Migrate;
use crate::Exit;
use crate::ingest::{self, Failure};
use crate::terminal;

pub fn run(flags: &Migrate, config: &Config, url: &DatabaseUrl) -> Result<Exit, Failure> {
    let run = if flags.dry_run { Run::Dry } else { Run::Now };
    let (from, steps) = maintenance::migrate(url, config, flags.to, run).map_err(ingest::refused)?;
    terminal::print(&if flags.place.json { json(flags, url, from, &steps) } else { text(flags, url, from, &steps) });
    Ok(Exit::Done)
}

fn json(flags: &Migrate, url: &DatabaseUrl, from: i64, steps: &[Migration]) -> String {
    let step = |step: &Migration| serde_json::json!({ "version": step.version, "name": step.name });
    let steps: Vec<_> = steps.iter().map(step).collect();
    let told = serde_json::json!({
        "database": url.to_string(), "from": from, "steps": steps, "dry_run": flags.dry_run,
    });
    format!("{told}\n")
}

fn text(flags: &Migrate, url: &DatabaseUrl, from: i64, steps: &[Migration]) -> String {
    let Some(last) = steps.last() else { return format!("{url}: schema version {from}, nothing to do\n") };
    let lines: String = steps.iter().map(|step| format!("  {} {}\n", step.version, step.name)).collect();
    let what = if flags.dry_run { "would go" } else { "went" };
    format!("{url}: {what} from schema version {from} to {}\n{lines}", last.version)
}
