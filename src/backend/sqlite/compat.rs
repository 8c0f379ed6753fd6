//! Makes and drops the views for DECNET, beside a writer or without one: a short transaction of its own.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::Text;

use super::open::{self, Access, connect, unusable};
use crate::backend::sql::decnet::{Dialect, VIEWS, statements};
use crate::error::{Error, ErrorKind};

/// Longest wait for a writer, which holds the lock for one batch or one step at a time.
const PATIENCE: Duration = Duration::from_secs(30);

const DIALECT: Dialect = Dialect {
    // Whole seconds and the rest apart: what SQLite reckons with is not exact to the microsecond. Times before 1970 go on
    // below it.
    time: "strftime('%Y-%m-%d %H:%M:%S', ts / 1000000000 - (ts % 1000000000 < 0), 'unixepoch') \
           || printf('.%06d', (ts % 1000000000 + 1000000000) % 1000000000 / 1000)",
    inner: "CASE json_type(fields, '$.fields') WHEN 'object' THEN json_extract(fields, '$.fields') END",
    service: "json_extract(fields, '$.service')",
};

#[derive(QueryableByName)]
struct Object {
    #[diesel(sql_type = Text)]
    sql: String,
}

/// Returns whether a table or view of this name and text is one that we make.
pub(super) fn is_ours(name: &str, sql: &str) -> bool {
    VIEWS.contains(&name) && sql.starts_with(&format!("CREATE VIEW {name} AS SELECT id, strftime("))
}

/// Makes the views, or makes them anew.
pub(crate) fn add_decnet_views(path: &Path) -> Result<(), Error> {
    change(path, |connection| {
        drop_views(connection)?;
        statements(&DIALECT).iter().try_for_each(|statement| connection.batch_execute(statement))
    })
}

/// Drops the views; returns whether there were any.
pub(crate) fn drop_decnet_views(path: &Path) -> Result<bool, Error> {
    let mut dropped = 0;
    change(path, |connection| {
        dropped = drop_views(connection)?;
        Ok(())
    })?;
    Ok(dropped > 0)
}

fn change(path: &Path, work: impl FnOnce(&mut SqliteConnection) -> QueryResult<()>) -> Result<(), Error> {
    // Finds out first that it is a file of ours, up to date enough to have the tables.
    drop(open::to_read(path)?);
    let failed = |error| unusable(path, error);
    let mut connection = connect(path, Access::Write).map_err(failed)?;
    open::set_busy_timeout(&mut connection, PATIENCE).map_err(failed)?;
    let mut foreign = None;
    let changed = connection.immediate_transaction(|connection| {
        foreign = foreign_object(connection)?;
        if foreign.is_some() { Ok(()) } else { work(connection) }
    });
    changed.map_err(failed)?;
    match foreign {
        None => Ok(()),
        Some(name) => {
            let why = format!("{} has a table or view `{name}` that is not ours; nothing was changed", path.display());
            Err(Error::new(ErrorKind::NotADatabase, why))
        }
    }
}

fn object(connection: &mut SqliteConnection, name: &str) -> QueryResult<Option<Object>> {
    let query = "SELECT COALESCE(sql, '') AS sql FROM sqlite_schema WHERE name = ?";
    diesel::sql_query(query).bind::<Text, _>(name).get_result(connection).optional()
}

fn foreign_object(connection: &mut SqliteConnection) -> QueryResult<Option<&'static str>> {
    for name in VIEWS {
        if object(connection, name)?.is_some_and(|object| !is_ours(name, &object.sql)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn drop_views(connection: &mut SqliteConnection) -> QueryResult<usize> {
    let mut dropped = 0;
    for name in VIEWS {
        if object(connection, name)?.is_some() {
            connection.batch_execute(&format!("DROP VIEW {name}"))?;
            dropped += 1;
        }
    }
    Ok(dropped)
}
