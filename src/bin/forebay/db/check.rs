//! `forebay db check`: what is wrong with a database?

use forebay::maintenance::{self, Finding};
use forebay::{Config, DatabaseUrl};

use super::Place;
use crate::Exit;
use crate::ingest::{self, Failure};
use crate::terminal::{self, Harmless};

pub fn run(place: &Place, config: &Config, url: &DatabaseUrl) -> Result<Exit, Failure> {
    let findings = maintenance::check(url, config).map_err(ingest::refused)?;
    if place.json {
        let finding = |finding: &Finding| serde_json::json!({ "place": finding.place, "detail": finding.detail });
        let findings: Vec<_> = findings.iter().map(finding).collect();
        terminal::print(&format!("{}\n", serde_json::json!({ "database": url.to_string(), "findings": findings })));
    } else {
        // A name in the ledger is a source's own.
        let line =
            |finding: &Finding| format!("{}: {}\n", Harmless(&finding.place, 200), Harmless(&finding.detail, 1000));
        let lines: String = findings.iter().map(line).collect();
        let end = if findings.is_empty() { "nothing was found".into() } else { format!("{} findings", findings.len()) };
        terminal::print(&format!("{lines}{url}: {end}\n"));
    }
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Found })
}
