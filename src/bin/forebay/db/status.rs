//! `forebay db status`: what is in a database, and how is it?

use std::fmt::Write;

use forebay::maintenance::{self, DatabaseStatus, TableStatus};
use forebay::{Config, DatabaseUrl};

use super::Place;
use crate::Exit;
use crate::ingest::{self, Failure};
use crate::table::{Side, Table};
use crate::terminal::{self, Harmless, thousands};

pub fn run(place: &Place, config: &Config, url: &DatabaseUrl) -> Result<Exit, Failure> {
    let status = maintenance::status(url, config).map_err(ingest::refused)?;
    let told = if place.json { format!("{}\n", json(url, &status)) } else { text(url, &status) };
    terminal::print(&told);
    Ok(Exit::Done)
}

fn json(url: &DatabaseUrl, status: &DatabaseStatus) -> serde_json::Value {
    let table = |table: &TableStatus| {
        serde_json::json!({
            "name": table.name, "rows": table.rows, "counted": table.is_counted, "bytes": table.bytes,
        })
    };
    let [event, capture] = status.newest.map(|time| time.map(|time| time.to_string()));
    serde_json::json!({
        "database": url.to_string(), "backend": status.backend, "server": status.server,
        "schema": status.schema, "known_schema": status.known_schema,
        "tables": status.tables.iter().map(table).collect::<Vec<_>>(),
        "ledger": {
            "sources": status.ledger.sources, "ranges": status.ledger.ranges, "ephemeral": status.ledger.ephemeral,
        },
        "rejects": status.rejects, "newest": { "events": event, "captures": capture },
        "log_bytes": status.log_bytes, "replica_seconds": status.replica_seconds,
        "locks": status.locks, "warnings": status.warnings,
    })
}

fn text(url: &DatabaseUrl, status: &DatabaseStatus) -> String {
    let mut lines = vec![("database", url.to_string()), ("server", Harmless(&status.server, 100).to_string())];
    lines.push((
        "schema",
        match status.schema {
            Some(version) if version == status.known_schema => format!("version {version}"),
            Some(version) => format!("version {version}; this forebay makes {}", status.known_schema),
            None => "none yet".into(),
        },
    ));
    let ledger = status.ledger;
    let (sources, ranges) = (thousands(ledger.sources), thousands(ledger.ranges));
    lines.push(("ledger", format!("{sources} sources in {ranges} ranges, {} of memory", thousands(ledger.ephemeral))));
    lines.push(("rejects", thousands(status.rejects)));
    for (kind, time) in ["newest event", "newest capture"].into_iter().zip(status.newest) {
        lines.push((kind, time.map_or_else(|| "-".into(), |time| time.to_string())));
    }
    lines.extend(status.log_bytes.map(|bytes| ("log", format!("{:.1} MiB", mebibytes(bytes)))));
    lines.extend(status.replica_seconds.map(|seconds| ("behind", format!("{seconds} s, as a replica"))));
    let locks = match &status.locks {
        None => "not to be seen by this user".into(),
        Some(locks) if locks.is_empty() => "none".into(),
        Some(locks) => locks.join("; "),
    };
    lines.push(("locks", locks));
    lines.extend(status.warnings.iter().map(|warning| ("warning", warning.clone())));
    let mut told = String::new();
    for (name, value) in lines {
        // Writing to a text cannot fail.
        let _ = writeln!(told, "{name:<14}  {value}");
    }
    let mut table = Table::new([("table", Side::Left), ("rows", Side::Right), ("about MiB", Side::Right)]);
    for one in &status.tables {
        let about = if one.is_counted { "" } else { "~" };
        let rows = format!("{about}{}", thousands(one.rows));
        table.push([one.name.clone(), rows, format!("{:.1}", mebibytes(one.bytes))]);
    }
    if status.tables.is_empty() { told } else { format!("{told}\n{table}") }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
