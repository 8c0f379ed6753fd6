//! Carries a step out, in one transaction: a crash leaves the file before it or after it, and in both cases the
//! catalogue says how to go on.
//!
//! Table names are made of a kind's name and a number, never of input.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{Error as DieselError, QueryResult};
use diesel::sql_types::{BigInt, Nullable, Text};

use super::catalogue::{Segment, State, columns, definition, indexes, segments::dsl, table};
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
        Step::Merge(kind, ref numbers) => merge(connection, kind, of_kind(kind), numbers),
        Step::Copy { kind, from, into } => copy(connection, find(of_kind(kind), from)?, find(of_kind(kind), into)?),
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
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    first_ts: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_ts: Option<i64>,
}

fn close(connection: &mut SqliteConnection, kind: RowKind, segments: &[Segment], now: i64) -> QueryResult<()> {
    let open = segments.iter().find(|segment| segment.state == State::Open).ok_or(DieselError::NotFound)?;
    let from = open.table();
    let extent =
        format!("SELECT count(*) AS rows, max(id) AS last_id, min(ts) AS first_ts, max(ts) AS last_ts FROM {from}");
    let extent: Extent = diesel::sql_query(extent).get_result(connection)?;
    // Not less than what was given out: somebody may have deleted the last rows.
    let last_id = extent.last_id.map_or(open.last_id, |last_id| last_id.max(open.last_id));
    let number = next_number(segments);
    connection.batch_execute(&format!("CREATE TABLE {} {}", table(kind, number), definition(kind)))?;
    let closed = (
        dsl::state.eq(State::Closed.name()),
        dsl::last_id.eq(last_id),
        dsl::rows.eq(extent.rows),
        dsl::bytes.eq(open.bytes),
        dsl::first_ts.eq(extent.first_ts),
        dsl::last_ts.eq(extent.last_ts),
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

fn merge(connection: &mut SqliteConnection, kind: RowKind, segments: &[Segment], numbers: &[i64]) -> QueryResult<()> {
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(()) };
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
    diesel::update(sources).set(dsl::target.eq(number)).execute(connection).map(drop)
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    names: String,
}

/// Copies whole records where the two tables are made alike, else column by column.
fn copy(connection: &mut SqliteConnection, from: &Segment, into: &Segment) -> QueryResult<()> {
    let (source, target) = (from.table(), into.table());
    let names = diesel::sql_query("SELECT group_concat(name) AS names FROM pragma_table_info(?)");
    let names: Named = names.bind::<Text, _>(&source).get_result(connection)?;
    let columns = columns(from.kind);
    let insert = if names.names == columns {
        format!("INSERT INTO {target} SELECT * FROM {source}")
    } else {
        format!("INSERT INTO {target} ({columns}) SELECT {columns} FROM {source}")
    };
    let rows = diesel::sql_query(insert).execute(connection)?;
    let least = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).min();
    let most = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).max();
    let grown = (
        dsl::last_id.eq(from.last_id),
        dsl::rows.eq(into.rows + rows as i64),
        dsl::bytes.eq(into.bytes + from.bytes),
        dsl::first_ts.eq(least(into.first_ts, from.first_ts)),
        dsl::last_ts.eq(most(into.last_ts, from.last_ts)),
    );
    diesel::update(dsl::segments.find((into.kind.table(), into.number))).set(grown).execute(connection).map(drop)
}
