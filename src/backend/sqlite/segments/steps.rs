//! Carries a step out, in one transaction: a crash leaves the file before it or after it, and in both cases the
//! catalogue says how to go on.
//!
//! Table names are made of a kind's name and a number, never of input.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{Error as DieselError, QueryResult};
use diesel::sql_types::{BigInt, Nullable, Text};

use super::catalogue::{Segment, State, columns, covering, definition, indexes, segments::dsl, table};
use super::plan::Step;
use super::view;
use crate::chunk::RowKind;

/// Pages that one step gives back (of 8 KiB: 4 MiB).
const VACUUM_PAGES: u32 = 512;

/// Carries `step` out; `now` is nanoseconds since the Unix epoch.
///
/// # Errors
/// Whatever SQLite says; nothing is changed then.
pub(super) fn carry_out(
    connection: &mut SqliteConnection,
    catalogue: &[Vec<Segment>; 2],
    step: &Step,
    now: i64,
) -> QueryResult<()> {
    if *step == Step::Vacuum {
        return connection.batch_execute(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"));
    }
    connection.immediate_transaction(|connection| apply(connection, catalogue, step, now))
}

/// What a step does within its transaction.
pub(super) fn apply(
    connection: &mut SqliteConnection,
    catalogue: &[Vec<Segment>; 2],
    step: &Step,
    now: i64,
) -> QueryResult<()> {
    let of_kind = |kind: RowKind| &catalogue[kind.index()][..];
    match *step {
        Step::Close(kind) => close(connection, kind, of_kind(kind), now),
        Step::Index(kind, number) => index(connection, find(of_kind(kind), number)?),
        Step::Merge(kind, ref numbers) => merge(connection, kind, of_kind(kind), numbers).map(drop),
        Step::Grow(kind, ref numbers) => grow(connection, kind, of_kind(kind), numbers),
        Step::Copy { kind, from, into, most } => {
            copy(connection, find(of_kind(kind), from)?, find(of_kind(kind), into)?, most)
        }
        Step::Swap(kind, number) => {
            set_state(connection, kind, number, State::Closed)?;
            let sources = dsl::segments.filter(dsl::kind.eq(kind.table())).filter(dsl::target.eq(number));
            let gone = (dsl::state.eq(State::Dropping.name()), dsl::target.eq(None::<i64>));
            diesel::update(sources).set(gone).execute(connection)?;
            view::rebuild(connection, kind)
        }
        Step::Cancel(kind, number) => {
            set_state(connection, kind, number, State::Dropping)?;
            let sources = dsl::segments.filter(dsl::kind.eq(kind.table())).filter(dsl::target.eq(number));
            diesel::update(sources).set(dsl::target.eq(None::<i64>)).execute(connection).map(drop)
        }
        Step::Retire(kind, number, _) => {
            set_state(connection, kind, number, State::Dropping)?;
            view::rebuild(connection, kind)
        }
        Step::Drop(kind, number) => {
            connection.batch_execute(&format!("DROP TABLE IF EXISTS {}", table(kind, number)))?;
            diesel::delete(dsl::segments.find((kind.table(), number))).execute(connection).map(drop)
        }
        Step::Shrink(kind, number, most) => shrink(connection, find(of_kind(kind), number)?, most),
        Step::Vacuum => Ok(()),
    }
}

fn find(segments: &[Segment], number: i64) -> QueryResult<&Segment> {
    segments.iter().find(|segment| segment.number == number).ok_or(DieselError::NotFound)
}

fn set_state(connection: &mut SqliteConnection, kind: RowKind, number: i64, state: State) -> QueryResult<()> {
    let segment = dsl::segments.find((kind.table(), number));
    diesel::update(segment).set(dsl::state.eq(state.name())).execute(connection).map(drop)
}

#[derive(QueryableByName)]
struct Extent {
    #[diesel(sql_type = Nullable<BigInt>)]
    last_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    first_ts: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_ts: Option<i64>,
}

#[derive(QueryableByName)]
struct Filled {
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_id: Option<i64>,
}

fn close(connection: &mut SqliteConnection, kind: RowKind, segments: &[Segment], now: i64) -> QueryResult<()> {
    let open = segments.iter().find(|segment| segment.state == State::Open).ok_or(DieselError::NotFound)?;
    let from = open.table();
    // Neither reads the rows; the times are known, and to read them here would take as long as a fifth of the indexes.
    let filled = format!("SELECT (SELECT count(*) FROM {from}) AS rows, (SELECT max(id) FROM {from}) AS last_id");
    let filled: Filled = diesel::sql_query(filled).get_result(connection)?;
    // Not less than what was given out: somebody may have deleted the last rows.
    let last_id = filled.last_id.map_or(open.last_id, |last_id| last_id.max(open.last_id));
    let number = next_number(segments);
    connection.batch_execute(&format!("CREATE TABLE {} {}", table(kind, number), definition(kind)))?;
    let closed = (
        dsl::state.eq(State::Closed.name()),
        dsl::last_id.eq(last_id),
        dsl::rows.eq(filled.rows),
        dsl::bytes.eq(open.bytes),
        dsl::first_ts.eq(open.first_ts),
        dsl::last_ts.eq(open.last_ts),
        dsl::closed_at.eq(now),
    );
    diesel::update(dsl::segments.find((kind.table(), open.number))).set(closed).execute(connection)?;
    let next = (
        dsl::kind.eq(kind.table()),
        dsl::number.eq(number),
        dsl::state.eq(State::Open.name()),
        dsl::indexes.eq(0),
        dsl::first_id.eq(last_id + 1),
        dsl::rows.eq(0),
        dsl::bytes.eq(0),
        dsl::opened_at.eq(now),
    );
    diesel::insert_into(dsl::segments).values(next).execute(connection)?;
    view::rebuild(connection, kind)
}

/// Numbers are not used twice while the old table is there.
fn next_number(segments: &[Segment]) -> i64 {
    segments.iter().map(|segment| segment.number).max().unwrap_or(0) + 1
}

fn index(connection: &mut SqliteConnection, segment: &Segment) -> QueryResult<()> {
    let Some((name, columns)) = indexes(segment.kind).get(segment.indexes) else { return Ok(()) };
    let table = segment.table();
    connection.batch_execute(&format!("CREATE INDEX {table}_{name} ON {table} {columns}"))?;
    let segment = dsl::segments.find((segment.kind.table(), segment.number));
    diesel::update(segment).set(dsl::indexes.eq(dsl::indexes + 1)).execute(connection).map(drop)
}

/// Returns the number of the segment into which the others go.
fn merge(connection: &mut SqliteConnection, kind: RowKind, segments: &[Segment], numbers: &[i64]) -> QueryResult<i64> {
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Err(DieselError::NotFound) };
    let (first, last) = (find(segments, *first)?, find(segments, *last)?);
    let number = next_number(segments);
    connection.batch_execute(&format!("CREATE TABLE {} {}", table(kind, number), definition(kind)))?;
    let merging = (
        dsl::kind.eq(kind.table()),
        dsl::number.eq(number),
        dsl::state.eq(State::Merging.name()),
        dsl::indexes.eq(0),
        dsl::first_id.eq(first.first_id),
        dsl::last_id.eq(first.first_id - 1),
        dsl::rows.eq(0),
        dsl::bytes.eq(0),
        dsl::opened_at.eq(first.opened_at),
        dsl::closed_at.eq(last.closed_at),
    );
    diesel::insert_into(dsl::segments).values(merging).execute(connection)?;
    let sources = dsl::segments.filter(dsl::kind.eq(kind.table())).filter(dsl::number.eq_any(numbers));
    diesel::update(sources).set(dsl::target.eq(number)).execute(connection)?;
    Ok(number)
}

/// As a merge, into a table with its indexes: built afterwards, each would take as long as all rows need.
fn grow(connection: &mut SqliteConnection, kind: RowKind, segments: &[Segment], numbers: &[i64]) -> QueryResult<()> {
    let number = merge(connection, kind, segments, numbers)?;
    let table = table(kind, number);
    for (name, columns) in indexes(kind) {
        connection.batch_execute(&format!("CREATE INDEX {table}_{name} ON {table} {columns}"))?;
    }
    let grown = dsl::segments.find((kind.table(), number));
    diesel::update(grown).set(dsl::indexes.eq(indexes(kind).len() as i64)).execute(connection).map(drop)
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    names: String,
}

#[derive(QueryableByName)]
struct Object {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
}

/// Copies whole records where the two tables are made alike, else column by column.
fn copy(connection: &mut SqliteConnection, from: &Segment, into: &Segment, most: i64) -> QueryResult<()> {
    let (source, target) = (from.table(), into.table());
    let names = diesel::sql_query("SELECT group_concat(name) AS names FROM pragma_table_info(?)");
    let names: Named = names.bind::<Text, _>(&source).get_result(connection)?;
    let columns = columns(from.kind);
    let mut insert = if names.names == columns {
        format!("INSERT INTO {target} SELECT * FROM {source}")
    } else {
        format!("INSERT INTO {target} ({columns}) SELECT {columns} FROM {source}")
    };
    if most < i64::MAX {
        insert += &format!(" WHERE id > {} ORDER BY id LIMIT {most}", into.last_id);
    }
    let rows = diesel::sql_query(insert).execute(connection)? as i64;
    let is_whole = rows < most;
    let extent = if into.is_indexed() {
        // By the indexes, and exact: what is left of the source may be later or earlier than this piece.
        let sql = format!(
            "SELECT (SELECT max(id) FROM {target}) AS last_id, \
             (SELECT min(ts) FROM {target}) AS first_ts, (SELECT max(ts) FROM {target}) AS last_ts"
        );
        diesel::sql_query(sql).get_result(connection)?
    } else {
        let (first_ts, last_ts) = covering(into.times(), from.times());
        Extent { last_id: None, first_ts, last_ts }
    };
    let grown = (
        dsl::last_id.eq(if is_whole { from.last_id } else { extent.last_id.unwrap_or(into.last_id) }),
        dsl::rows.eq(into.rows + rows),
        // By parts: a last piece that is just full is not known to be the last, and nothing is copied after it.
        dsl::bytes.eq(into.bytes + share(from, rows)),
        dsl::first_ts.eq(extent.first_ts),
        dsl::last_ts.eq(extent.last_ts),
    );
    diesel::update(dsl::segments.find((into.kind.table(), into.number))).set(grown).execute(connection).map(drop)
}

/// Returns about how many bytes so many rows of a segment are.
fn share(segment: &Segment, rows: i64) -> i64 {
    let part = rows as f64 / segment.rows.max(1) as f64;
    (segment.bytes as f64 * part.min(1.0)).round() as i64
}

/// Takes a large table down a little.
fn shrink(connection: &mut SqliteConnection, segment: &Segment, most: i64) -> QueryResult<()> {
    let table = segment.table();
    let listed = dsl::segments.find((segment.kind.table(), segment.number));
    let of_table = "SELECT type AS kind, name FROM sqlite_schema WHERE tbl_name = ? AND type IN ('table', 'index') \
                    AND sql IS NOT NULL ORDER BY type LIMIT 1";
    let first: Option<Object> =
        diesel::sql_query(of_table).bind::<Text, _>(&table).get_result(connection).optional()?;
    let is_there = first.is_some();
    if let Some(index) = first.filter(|object| object.kind == "index") {
        // Of any name: an older file's, or one that somebody has added.
        connection.batch_execute(&format!("DROP INDEX \"{}\"", index.name.replace('"', "\"\"")))?;
        return diesel::update(listed).set(dsl::indexes.eq(0)).execute(connection).map(drop);
    }
    let deleted = if is_there {
        let delete = format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT {most})");
        diesel::sql_query(delete).execute(connection)? as i64
    } else {
        0
    };
    // Less than a piece is all there was, whatever the catalogue says.
    let rows = if deleted < most { 0 } else { (segment.rows - deleted).max(0) };
    diesel::update(listed).set((dsl::rows.eq(rows), dsl::bytes.eq(share(segment, rows)))).execute(connection).map(drop)
}
