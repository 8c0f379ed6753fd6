//! The views `events` and `captures` over the segments in sight.
//!
//! SQLite takes at most 500 terms in one compound SELECT (`SQLITE_LIMIT_COMPOUND_SELECT`). Beyond [`TERMS`] the view is
//! made of views of so many terms each: the limit is the parser's, for each SELECT by itself, and the planner still
//! reaches the indexes through both levels (measured with 980 segments; tested with SQLite 3.40 too). So nothing breaks
//! there; only preparing a query grows slow.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::Text;

use super::catalogue::{Segment, columns, load};
use crate::chunk::RowKind;

/// Most terms of one view.
const TERMS: usize = 450;

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Makes a kind's view anew from the catalogue. To be called in the transaction that changes what is in sight.
pub(super) fn rebuild(connection: &mut SqliteConnection, kind: RowKind) -> QueryResult<()> {
    let catalogue = load(connection)?;
    let tables: Vec<String> =
        catalogue[kind.index()].iter().filter(|segment| segment.is_visible()).map(Segment::table).collect();
    let parts = "SELECT name FROM sqlite_schema WHERE type = 'view' AND name GLOB ?";
    let parts = diesel::sql_query(parts).bind::<Text, _>(format!("{}_part_[0-9]*", kind.table()));
    for part in parts.load::<Named>(connection)? {
        connection.batch_execute(&format!("DROP VIEW {}", part.name))?;
    }
    statements(kind, &tables).iter().try_for_each(|statement| connection.batch_execute(statement))
}

/// Returns the statements that make the view of `tables`.
fn statements(kind: RowKind, tables: &[String]) -> Vec<String> {
    let name = kind.table();
    let union = |tables: &[String]| {
        let terms: Vec<String> = tables.iter().map(|table| format!("SELECT {} FROM {table}", columns(kind))).collect();
        terms.join(" UNION ALL ")
    };
    let drop = format!("DROP VIEW IF EXISTS {name}");
    if tables.len() <= TERMS {
        return vec![drop, format!("CREATE VIEW {name} AS {}", union(tables))];
    }
    let mut statements = vec![drop];
    let mut parts = Vec::new();
    for (index, tables) in tables.chunks(TERMS).enumerate() {
        let part = format!("{name}_part_{}", index + 1);
        statements.push(format!("CREATE VIEW {part} AS {}", union(tables)));
        parts.push(part);
    }
    statements.push(format!("CREATE VIEW {name} AS {}", union(&parts)));
    statements
}
