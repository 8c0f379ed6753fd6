//! `forebay db prune`: drops what retention does not keep, now, or tells what it would drop.

use std::ops::ControlFlow;

use forebay::config::Bytes;
use forebay::maintenance::{self, Dropped, Pruned};
use forebay::{Config, DatabaseUrl, Error, ErrorKind, RowKind};
use indicatif::ProgressBar;

use crate::args::Prune;
use crate::ingest::{self, Failure};
use crate::table::{Side, Table};
use crate::terminal::{self, Teller};
use crate::{Exit, signals};

/// Prunes and reports.
///
/// # Errors
/// [`Failure`] when nothing could be begun.
pub fn run(flags: &Prune, mut config: Config, url: &str, bar: &ProgressBar) -> Result<Exit, Failure> {
    let usage = |message: String| Failure { exit: Exit::Usage, message };
    let retention = &mut config.retention;
    retention.max_age = flags.max_age.or(retention.max_age);
    retention.max_bytes = flags.max_bytes.or(retention.max_bytes);
    retention.max_rows = flags.max_rows.or(retention.max_rows);
    if retention.max_age.is_none() && retention.max_bytes.is_none() && retention.max_rows.is_none() {
        let why = "nothing says what to keep: give --max-age, --max-rows or --max-bytes, or set `retention.*` in the \
                   settings file";
        return Err(usage(why.into()));
    }
    let url = DatabaseUrl::parse(url).map_err(|error| usage(error.to_string()))?;
    let teller = Teller(bar.clone());
    let outcome = if flags.dry_run {
        maintenance::plan_prune(&url, &config)
    } else {
        let stop = signals::watch(teller).map_err(|error| usage(format!("watch for signals: {error}")))?;
        let outcome = maintenance::prune(&url, &config, &mut |progress| {
            bar.set_message(format!("{} segments dropped, {} MiB to give back", progress.dropped, progress.free >> 20));
            bar.tick();
            if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let (Ok(pruned), Some(signal)) = (&outcome, stop.signal()) {
            bar.finish_and_clear();
            tell(flags, pruned);
            return Ok(Exit::Signal(signal));
        }
        outcome
    };
    bar.finish_and_clear();
    let pruned = outcome.map_err(refused)?;
    tell(flags, &pruned);
    Ok(Exit::Done)
}

fn refused(error: Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::InUse => "; a running forebay prunes by itself when `retention.*` is set",
        _ => "",
    };
    let Failure { exit, message } = ingest::refused(error);
    Failure { exit, message: message + hint }
}

fn tell(flags: &Prune, pruned: &Pruned) {
    let text = if flags.json { format!("{}\n", json(flags, pruned)) } else { text(flags, pruned) };
    terminal::print(&text);
}

fn json(flags: &Prune, pruned: &Pruned) -> serde_json::Value {
    let dropped = |dropped: &Dropped| {
        serde_json::json!({
            "table": dropped.kind.table(), "reason": dropped.reason, "rows": dropped.rows, "bytes": dropped.bytes,
            "first": dropped.first.map(|time| time.to_string()), "last": dropped.last.map(|time| time.to_string()),
        })
    };
    serde_json::json!({
        "dry_run": flags.dry_run, "stopped": pruned.is_stopped,
        "dropped": pruned.dropped.iter().map(dropped).collect::<Vec<_>>(),
        "kept": { "events": pruned.kept[0], "captures": pruned.kept[1] },
        "file_bytes": { "before": pruned.before, "after": pruned.after },
    })
}

fn text(flags: &Prune, pruned: &Pruned) -> String {
    let mut table = Table::new([
        ("table", Side::Left),
        ("because of", Side::Left),
        ("segments", Side::Right),
        ("rows", Side::Right),
        ("about MiB", Side::Right),
        ("from", Side::Left),
        ("to", Side::Left),
    ]);
    for kind in RowKind::ALL {
        for reason in ["max_age", "max_rows", "max_bytes"] {
            let of: Vec<&Dropped> =
                pruned.dropped.iter().filter(|dropped| dropped.kind == kind && dropped.reason == reason).collect();
            if of.is_empty() {
                continue;
            }
            let time = |time: Option<forebay::Timestamp>| time.map_or_else(String::new, |time| time.to_string());
            table.push([
                kind.table().into(),
                reason.into(),
                of.len().to_string(),
                terminal::thousands(of.iter().map(|dropped| dropped.rows).sum()),
                terminal::thousands(of.iter().map(|dropped| dropped.bytes).sum::<u64>() >> 20),
                time(of.iter().filter_map(|dropped| dropped.first).min()),
                time(of.iter().filter_map(|dropped| dropped.last).max()),
            ]);
        }
    }
    let rows: u64 = pruned.dropped.iter().map(|dropped| dropped.rows).sum();
    let (verb, about) = if flags.dry_run { ("would drop", "about ") } else { ("dropped", "") };
    let head = if rows == 0 { String::new() } else { format!("{table}\n") };
    let size = |bytes: u64| if bytes < 64 << 20 { Bytes((bytes >> 10) << 10) } else { Bytes((bytes >> 20) << 20) };
    format!(
        "{head}{verb} {} rows; {} events and {} captures stay; the file: {}, after {about}{}\n",
        terminal::thousands(rows),
        terminal::thousands(pruned.kept[0]),
        terminal::thousands(pruned.kept[1]),
        size(pruned.before),
        size(pruned.after),
    )
}
