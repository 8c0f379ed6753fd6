//! The views `events` and `captures` over the segments in sight.
//!
//! Beyond [`TERMS`] segments a view is made of views of so many terms each, oldest first, so that a close makes only the
//! last of them anew, however many there are. SQLite's limit of 500 terms in one compound SELECT
//! (`SQLITE_LIMIT_COMPOUND_SELECT`) is the parser's, for each SELECT by itself, and the planner reaches the indexes
//! through both levels (tested with 511 segments, and with SQLite 3.40 too): so nothing breaks there.
//!
//! Why 64: with 300 segments one flat view takes 4.8 ms to be made, of the 135 in which a segment's rows are written; and
//! pages of it take 12.5 ms to be prepared, in parts 8.1. Counts of a range of time take 8.2 instead of 4.9 (SQLite 3.40).

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::Text;

use super::catalogue::{Segment, columns, load};
use crate::chunk::RowKind;

/// Most terms of one view.
const TERMS: usize = 64;

/// A view, with the statement that makes it.
#[derive(QueryableByName, PartialEq, Eq)]
struct View {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

/// Makes both kinds' views of the catalogue.
pub(crate) fn make_views(connection: &mut SqliteConnection) -> QueryResult<()> {
    RowKind::ALL.into_iter().try_for_each(|kind| rebuild(connection, kind))
}

/// Makes a kind's view of the catalogue. To be called in the transaction that changes what is in sight.
pub(super) fn rebuild(connection: &mut SqliteConnection, kind: RowKind) -> QueryResult<()> {
    let catalogue = load(connection)?;
    let tables: Vec<String> =
        catalogue[kind.index()].iter().filter(|segment| segment.is_visible()).map(Segment::table).collect();
    let wanted = views(kind, &tables);
    let there = "SELECT name, sql FROM sqlite_schema WHERE type = 'view' AND (name = ? OR name GLOB ?)";
    let there = diesel::sql_query(there).bind::<Text, _>(kind.table());
    let there: Vec<View> = there.bind::<Text, _>(format!("{}_part_[0-9]*", kind.table())).load(connection)?;
    for view in there.iter().filter(|view| !wanted.contains(view)) {
        connection.batch_execute(&format!("DROP VIEW {}", view.name))?;
    }
    wanted.iter().filter(|view| !there.contains(view)).try_for_each(|view| connection.batch_execute(&view.sql))
}

/// Returns the views that together show `tables`.
fn views(kind: RowKind, tables: &[String]) -> Vec<View> {
    let view = |name: String, tables: &[String]| {
        let terms: Vec<String> = tables.iter().map(|table| format!("SELECT {} FROM {table}", columns(kind))).collect();
        // As SQLite keeps it, so that it can be compared.
        let sql = format!("CREATE VIEW {name} AS {}", terms.join(" UNION ALL "));
        View { name, sql }
    };
    let name = kind.table();
    if tables.len() <= TERMS {
        return vec![view(name.into(), tables)];
    }
    let part = |(index, tables)| view(format!("{name}_part_{}", index + 1), tables);
    let mut views: Vec<View> = tables.chunks(TERMS).enumerate().map(part).collect();
    let parts: Vec<String> = views.iter().map(|part| part.name.clone()).collect();
    views.push(view(name.into(), &parts));
    views
}
