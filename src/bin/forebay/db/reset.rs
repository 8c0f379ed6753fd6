//! `forebay db reset`: drops our tables, once somebody has said which database is meant.

use std::io::{self, BufRead, IsTerminal, Write};

use forebay::{Config, DatabaseUrl, maintenance};

use super::Reset;
use crate::Exit;
use crate::ingest::{self, Failure};
use crate::terminal::{self, Harmless, thousands};

pub fn run(flags: &Reset, config: &Config, url: &DatabaseUrl) -> Result<Exit, Failure> {
    let name = match &flags.yes_destroy {
        Some(name) => name.clone(),
        None => ask(config, url)?,
    };
    let dropped = maintenance::reset(url, config, &name).map_err(ingest::refused)?;
    let told = match (flags.place.json, dropped.len()) {
        (true, _) => serde_json::json!({ "database": url.to_string(), "dropped": dropped }).to_string(),
        (false, 0) => format!("{url}: there was nothing to drop"),
        (false, count) => format!("{url}: dropped {count} tables and views"),
    };
    terminal::print(&(told + "\n"));
    Ok(Exit::Done)
}

/// Asks a person for the name, and says first what would go.
fn ask(config: &Config, url: &DatabaseUrl) -> Result<String, Failure> {
    let usage = |message: String| Failure { exit: Exit::Usage, message };
    let shown = url.name();
    let shown = Harmless(&shown, 200);
    if !io::stdin().is_terminal() {
        let why = format!("nobody can be asked here; to drop every row of {url}, add --yes-destroy {shown}");
        return Err(usage(why));
    }
    let status = maintenance::status(url, config).map_err(ingest::refused)?;
    let rows: u64 = status.tables.iter().map(|table| table.rows).sum();
    let question = format!("All {} rows of {url} will be gone. Type its name, {shown}, to go on: ", thousands(rows));
    let mut answer = String::new();
    let asked = io::stderr().write_all(question.as_bytes()).and_then(|()| io::stdin().lock().read_line(&mut answer));
    asked.map_err(|error| usage(format!("ask for the name: {error}; nothing was dropped")))?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}
