//! `forebay db init`: the tables, without a row.

use forebay::{Config, DatabaseUrl, maintenance};

use super::Place;
use crate::Exit;
use crate::ingest::{self, Failure};
use crate::terminal;

pub fn run(place: &Place, config: &Config, url: &DatabaseUrl) -> Result<Exit, Failure> {
    let schema = maintenance::init(url, config).map_err(ingest::refused)?;
    let told = if place.json {
        serde_json::json!({ "database": url.to_string(), "schema": schema }).to_string()
    } else {
        format!("{url}: the tables are there, schema version {schema}")
    };
    terminal::print(&(told + "\n"));
    Ok(Exit::Done)
}
