//! A batch as statements: the ledger entries, then the rows that are not in the ledger yet, in statements of a few
//! fixed sizes. Called inside the transaction that `file.rs` begins and ends.

use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::Sqlite as SqliteDialect;

use super::error;
use super::segments::{Added, Place};
use crate::backend::WriteError;
use crate::backend::sql::ledger::LedgerRow;
use crate::backend::sql::rows::{Cell, Columns, Dialect, Ids, Insert};
use crate::backend::sql::schema::ingest_ledger;
use crate::batch::{Batch, RowRef};
use crate::capture::Capture;
use crate::event::Event;
use crate::reject::RejectedRow;
use crate::timestamp::Timestamp;

/// Inserts what is not in the ledger yet.
///
/// `places` say where the rows of each kind go. Returns what was inserted of each kind, derived rows with the captures.
pub(super) fn insert(
    connection: &mut SqliteConnection,
    batch: &Batch,
    places: &[Place; 2],
) -> Result<[Added; 2], WriteError> {
    let now = Timestamp::now();
    let mut events = Numbered::with_capacity(batch.len());
    let mut captures = Numbered::with_capacity(batch.len());
    let mut index = 0;
    for entry in batch.entries() {
        let ledger = diesel::insert_or_ignore_into(ingest_ledger::table).values(LedgerRow::of(entry, now));
        if ledger.execute(connection).map_err(error::of_transaction)? == 0 {
            index += entry.row_count();
            continue;
        }
        for row in entry.rows() {
            match row {
                RowRef::Event(event) => {
                    events.push(index, event, event.ts());
                    if let Some(capture) = event.derived() {
                        captures.push(index, capture, capture.ts());
                    }
                }
                RowRef::Capture(capture) => captures.push(index, capture, capture.ts()),
                RowRef::Rejected(row) => {
                    set_aside(connection, &row, now).map_err(|error| error::of_rows(error, vec![index]))?;
                }
            }
            index += 1;
        }
    }
    insert_rows::<Event, { Event::USUAL }>(connection, &events, &places[0])?;
    insert_rows::<Capture, { Capture::USUAL }>(connection, &captures, &places[1])?;
    Ok([events.added, captures.added])
}

fn set_aside(connection: &mut SqliteConnection, rejected: &RejectedRow<'_>, now: Timestamp) -> QueryResult<usize> {
    use crate::backend::sql::schema::ingest_rejects::dsl::{
        at, detail, ingest_rejects, position, reason, row, source, table_name,
    };
    let values = (
        at.eq(now.as_nanos()),
        table_name.eq(rejected.table.table()),
        source.eq(rejected.source),
        position.eq(i64::try_from(rejected.position).unwrap_or(i64::MAX)),
        reason.eq(rejected.reason),
        detail.eq(rejected.detail),
        row.eq(&rejected.row),
    );
    diesel::insert_into(ingest_rejects).values(values).execute(connection)
}

/// Rows of one table, with their numbers in the batch; a derived row has its event's.
struct Numbered<'a, R> {
    rows: Vec<&'a R>,
    numbers: Vec<usize>,
    added: Added,
}

impl<'a, R> Numbered<'a, R> {
    fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), numbers: Vec::with_capacity(rows), added: Added::default() }
    }

    fn push(&mut self, number: usize, row: &'a R, ts: Timestamp) {
        self.added.push(ts.as_nanos());
        self.rows.push(row);
        self.numbers.push(number);
    }
}

/// Inserts rows in statements of 100, then of 10, then single ones: three sizes, each prepared once or, where the rows may
/// share values, twice.
fn insert_rows<R: Columns, const SHARED: u32>(
    connection: &mut SqliteConnection,
    numbered: &Numbered<'_, R>,
    place: &Place,
) -> Result<(), WriteError> {
    let mut done = 0;
    done += insert_chunks::<R, 100, SHARED>(connection, numbered, done, place)?;
    done += insert_chunks::<R, 10, SHARED>(connection, numbered, done, place)?;
    insert_chunks::<R, 1, 0>(connection, numbered, done, place)?;
    Ok(())
}

/// Inserts as many rows, from `from` on, as fill statements of `N`; returns how many.
fn insert_chunks<R: Columns, const N: usize, const SHARED: u32>(
    connection: &mut SqliteConnection,
    numbered: &Numbered<'_, R>,
    from: usize,
    place: &Place,
) -> Result<usize, WriteError> {
    let (chunks, rest) = numbered.rows[from..].as_chunks::<N>();
    for (index, rows) in chunks.iter().enumerate() {
        let here = || numbered.numbers[from + index * N..][..N].to_vec();
        let ids = Upwards(place.first_id + (from + index * N) as i64);
        let stored = match Insert::<R, _, N, SHARED>::sharing(&place.table, rows, ids) {
            Some(insert) => insert.execute(connection),
            None => Insert::new(&place.table, rows, ids).execute(connection),
        };
        let stored = stored.map_err(|error| error::of_rows(error, here()))?;
        if stored != N {
            let detail = format!("a trigger let the database store only {stored} of {N} rows");
            return Err(WriteError::Rejected { rows: here(), detail });
        }
    }
    Ok(numbered.rows.len() - from - rest.len())
}

/// Ids upwards from this one.
#[derive(Clone, Copy)]
struct Upwards(i64);

impl Ids for Upwards {
    const COLUMN: &'static str = "id,";
    const WIDTH: usize = 1;

    fn cells(self, index: usize, out: &mut Vec<Cell<'_>>) {
        out.push(Cell::Number(self.0 + index as i64));
    }
}

impl Dialect for SqliteDialect {
    /// `OR FAIL` spares the statement journal that a multi-row INSERT into an indexed table would write; a violation is
    /// still reported, and the transaction rolled back.
    const INSERT_INTO: &'static str = "INSERT OR FAIL INTO ";

    fn bind<'b>(out: &mut AstPass<'_, 'b, Self>, cell: &'b Cell<'b>) -> QueryResult<()> {
        match cell {
            Cell::Number(value) => out.push_bind_param::<BigInt, _>(value),
            Cell::Small(value) => out.push_bind_param::<Nullable<Integer>, _>(value),
            Cell::Text(value) => out.push_bind_param::<Nullable<Text>, _>(value),
            Cell::Bytes(value) => out.push_bind_param::<Binary, _>(value),
        }
    }
}
