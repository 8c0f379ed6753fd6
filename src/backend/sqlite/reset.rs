//! Makes the tables of a file without writing a row, and drops them all.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::compat;
use super::open::{self, unusable};
use crate::config::Config;
use crate::error::{Error, ErrorKind};

/// Tables beside those for rows.
const OTHERS: [&str; 9] = [
    "ingest_ledger",
    "ingest_rejects",
    "segments",
    "state",
    "deployments",
    "deployment_history",
    "users",
    "revoked_tokens",
    "__diesel_schema_migrations",
];

#[derive(QueryableByName)]
struct Object {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

/// Makes the file and its tables as needed; returns the version of the schema.
pub(crate) fn init(path: &Path, config: &Config) -> Result<i64, Error> {
    let (path, _lock, mut connection) = open::open(path, &config.sqlite)?;
    let version = open::pragma_number(&mut connection, "user_version").map_err(|error| unusable(&path, error))?;
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").map_err(|error| unusable(&path, error))?;
    Ok(version)
}

/// Drops every table and view that is ours, as the file's one writer; refuses when there are others.
pub(crate) fn reset(path: &Path, config: &Config) -> Result<Vec<String>, Error> {
    // Before the writer's way of opening, which would make what is not there.
    drop(open::to_read(path)?);
    let (path, _lock, mut connection) = open::open(path, &config.sqlite)?;
    let failed = |error| unusable(&path, error);
    let list = "SELECT type AS kind, name, sql FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*'";
    let objects: Vec<Object> = diesel::sql_query(list).load(&mut connection).map_err(failed)?;
    let foreign: Vec<&str> = objects
        .iter()
        .filter(|object| !is_ours(&object.name) && !compat::is_ours(&object.name, &object.sql))
        .map(|object| object.name.as_str())
        .collect();
    if !foreign.is_empty() {
        let why =
            format!("{} has tables that are not ours ({}); nothing was dropped", path.display(), foreign.join(", "));
        return Err(Error::new(ErrorKind::NotADatabase, why));
    }
    let dropped = connection.immediate_transaction(|connection| {
        // Views first: they name the tables.
        for kind in ["view", "table"] {
            for object in objects.iter().filter(|object| object.kind == kind) {
                connection.batch_execute(&format!("DROP {kind} {}", object.name))?;
            }
        }
        connection.batch_execute("PRAGMA user_version=0; PRAGMA application_id=0")
    });
    dropped.map_err(failed)?;
    connection.batch_execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed)?;
    Ok(objects.into_iter().map(|object| object.name).collect())
}

/// Returns whether a table or view of this name is one that we make.
fn is_ours(name: &str) -> bool {
    if OTHERS.contains(&name) {
        return true;
    }
    let rest = name.strip_prefix("events").or_else(|| name.strip_prefix("captures"));
    rest.is_some_and(|rest| {
        let number = rest.strip_prefix("_part_").or_else(|| rest.strip_prefix('_')).unwrap_or_default();
        ["", "_view", "_open"].contains(&rest)
            || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_make_are_ours() {
        for ours in ["events", "captures_view", "events_0", "captures_12", "events_part_3", "segments", "ingest_ledger"]
        {
            assert!(is_ours(ours), "{ours}");
        }
        for theirs in ["event", "events_", "events_x", "events_1x", "events_part_", "my_events", "notes", "Segments"] {
            assert!(!is_ours(theirs), "{theirs}");
        }
    }
}
