//! `forebay db compat`: views in another program's names.

use forebay::{Config, DatabaseUrl, maintenance};

use super::Compat;
use crate::Exit;
use crate::ingest::{self, Failure};
use crate::terminal;

pub fn run(flags: &Compat, config: &Config, url: &DatabaseUrl) -> Result<Exit, Failure> {
    let told = if flags.drop {
        let were_there = maintenance::drop_decnet_views(url, config).map_err(ingest::refused)?;
        if were_there { "dropped the views logs and bounty" } else { "there were no such views" }
    } else {
        maintenance::add_decnet_views(url, config).map_err(ingest::refused)?;
        "made the views logs and bounty"
    };
    terminal::print(&if flags.place.json {
        format!("{}\n", serde_json::json!({ "database": url.to_string(), "done": told }))
    } else {
        format!("{url}: {told}\n")
    });
    Ok(Exit::Done)
}
