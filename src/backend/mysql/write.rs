//! One batch in one transaction: BEGIN, the ledger, the rows in statements of a few fixed sizes, COMMIT.
//!
//! The ledger comes first. An entry that is there already is a duplicate key, in this table and at this moment only. An
//! earlier attempt may still be running in the server (its connection was cut, or timed out): its ledger rows are locked,
//! so that this attempt waits for its end there, before it has written a row, and then finds them committed or gone.
//! Turned down: `INSERT IGNORE`, which turns every error into a warning, and `ON DUPLICATE KEY UPDATE`, which tells new
//! from known only by a count that the driver's settings change.

use crate::backend::sql::ledger::{LedgerRow, as_column};
use crate::backend::sql::rows::{Cell, Columns, Dialect, Ids, Insert};
use crate::batch::{Batch, Entry, RowRef};
use crate::capture::Capture;
use crate::event::Event;
use crate::reject::RejectedRow;
use crate::timestamp::Timestamp;

use diesel::mysql::Mysql as MysqlDialect;
use diesel::query_builder::AstPass;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};

use super::Stop;
use super::error::{Fault, Meaning, row_in};
use super::link::Link;

/// What a value, a row and a statement take in a packet beside the text and bytes: type, length, NULL bits, header.
const VALUE_OVERHEAD: usize = 12;
const STATEMENT_OVERHEAD: usize = 1024;

/// Commits the batch, but for entries that are in the ledger already.
pub(super) async fn write(link: &mut Link, batch: &Batch) -> Result<(), Stop> {
    let now = Timestamp::now();
    let claims: Vec<_> = batch.entries().iter().map(|entry| Claim::of(entry, now)).collect();
    link.batch("BEGIN").await?;
    let known = match insert_all(link, &claims).await {
        Ok(()) => vec![false; claims.len()],
        Err(fault) if is_duplicate(&fault) => {
            link.batch("ROLLBACK").await?;
            link.batch("BEGIN").await?;
            insert_new(link, &claims).await?
        }
        Err(fault) => return Err(fault.into()),
    };
    insert_rows_of(link, batch, &known, now).await?;
    Ok(link.batch("COMMIT").await?)
}

/// One row of the ledger, owning its text as a statement of many needs it.
struct Claim {
    source: String,
    first: i64,
    last: i64,
    rows: i64,
    at: i64,
}

impl Claim {
    fn of(entry: &Entry, now: Timestamp) -> Self {
        let LedgerRow { source, first, last, rows, at } = LedgerRow::of(entry, now);
        Self { source: source.to_owned(), first, last, rows, at }
    }
}

impl Columns for Claim {
    const COLUMNS: &'static str = "source,first,last,`rows`,at";
    const WIDTH: usize = 5;

    fn cells<'a>(&'a self, out: &mut Vec<Cell<'a>>) {
        use Cell::{Bytes, Number};
        let source = Bytes(self.source.as_bytes());
        out.extend_from_slice(&[source, Number(self.first), Number(self.last), Number(self.rows), Number(self.at)]);
    }
}

fn is_duplicate(fault: &Fault) -> bool {
    fault.code == 1062
}

/// Inserts the claims in as few statements as may be; fails if one is there already.
async fn insert_all(link: &mut Link, claims: &[Claim]) -> Result<(), Fault> {
    let rows: Vec<_> = claims.iter().collect();
    insert(link, &rows).await.map_err(|(_, fault)| fault)
}

/// Inserts the claims one by one; returns which were there already. A batch is written a second time rarely enough.
async fn insert_new(link: &mut Link, claims: &[Claim]) -> Result<Vec<bool>, Fault> {
    let mut known = Vec::with_capacity(claims.len());
    for claim in claims {
        known.push(match insert(link, &[claim]).await {
            Ok(()) => false,
            Err((_, fault)) if is_duplicate(&fault) => true,
            Err((_, fault)) => return Err(fault),
        });
    }
    Ok(known)
}

/// A row of `ingest_rejects`, or a part of one.
struct SetAside {
    at: i64,
    table: &'static str,
    source: String,
    position: i64,
    reason: String,
    detail: String,
    row: String,
}

impl Columns for SetAside {
    const COLUMNS: &'static str = "at,table_name,source,position,reason,detail,`row`";
    const WIDTH: usize = 7;

    fn cells<'a>(&'a self, out: &mut Vec<Cell<'a>>) {
        use Cell::{Number, Text};
        let (at, position) = (Number(self.at), Number(self.position));
        let texts = [self.table, &self.source, &self.reason, &self.detail, &self.row].map(|text| Text(Some(text)));
        out.extend_from_slice(&[at, texts[0], texts[1], position, texts[2], texts[3], texts[4]]);
    }
}

impl SetAside {
    /// Cuts a record that is larger than a packet into several rows: none of it may be lost, and it must not stop the lane.
    fn of(rejected: &RejectedRow<'_>, now: Timestamp, packet: usize) -> Vec<Self> {
        let largest = (packet.saturating_sub(STATEMENT_OVERHEAD) / 2).max(64);
        let detail = cut_at(rejected.detail, largest / 4);
        let mut parts = Vec::new();
        let mut rest = rejected.row.as_str();
        while !rest.is_empty() || parts.is_empty() {
            let part = cut_at(rest, largest);
            rest = &rest[part.len()..];
            parts.push(part);
        }
        let count = parts.len();
        let number =
            |index: usize| if count == 1 { String::new() } else { format!(" (part {} of {count})", index + 1) };
        let row = |(index, part): (usize, &str)| Self {
            at: now.as_nanos(),
            table: rejected.table.table(),
            source: rejected.source.to_owned(),
            position: as_column(rejected.position),
            reason: rejected.reason.to_owned(),
            detail: detail.to_owned() + &number(index),
            row: part.to_owned(),
        };
        parts.into_iter().enumerate().map(row).collect()
    }
}

/// Returns the beginning of a text, of at most `bytes` bytes.
fn cut_at(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Rows of one table, with their numbers in the batch; a derived row has its event's.
struct Numbered<R> {
    rows: Vec<R>,
    numbers: Vec<usize>,
}

impl<R> Numbered<R> {
    fn new() -> Self {
        Self { rows: Vec::new(), numbers: Vec::new() }
    }

    fn push(&mut self, number: usize, row: R) {
        self.rows.push(row);
        self.numbers.push(number);
    }
}

async fn insert_rows_of(link: &mut Link, batch: &Batch, known: &[bool], now: Timestamp) -> Result<(), Stop> {
    let (mut events, mut captures, mut rejects) = (Numbered::new(), Numbered::new(), Numbered::new());
    let mut number = 0;
    for (entry, known) in batch.entries().iter().zip(known) {
        if *known {
            number += entry.row_count();
            continue;
        }
        for row in entry.rows() {
            match row {
                RowRef::Event(event) => {
                    events.push(number, event);
                    if let Some(capture) = event.derived() {
                        captures.push(number, capture);
                    }
                }
                RowRef::Capture(capture) => captures.push(number, capture),
                RowRef::Rejected(row) => {
                    SetAside::of(&row, now, link.packet()).into_iter().for_each(|part| rejects.push(number, part));
                }
            }
            number += 1;
        }
    }
    let rejects = Numbered { rows: rejects.rows.iter().collect(), numbers: rejects.numbers };
    insert_numbered::<Event>(link, &events).await?;
    insert_numbered::<Capture>(link, &captures).await?;
    insert_numbered::<SetAside>(link, &rejects).await
}

async fn insert_numbered<R: Stored + Send>(link: &mut Link, numbered: &Numbered<&R>) -> Result<(), Stop> {
    insert(link, &numbered.rows).await.map_err(|(rows, fault)| match fault.meaning {
        Meaning::Row | Meaning::Unknown => {
            // The message may name the row; then it is that one.
            let named = row_in(&fault.to_string()).map(|row| rows.start + row).filter(|row| rows.contains(row));
            let rows = named.map_or(rows, |row| row..row + 1);
            let mut suspects = numbered.numbers[rows].to_vec();
            suspects.dedup();
            Stop::Rows { rows: suspects, fault }
        }
        _ => Stop::Fault(fault),
    })
}

/// Inserts rows in statements of 1024, 128, 16 and single ones: four shapes, each prepared once per connection. The largest
/// has 15,360 placeholders, of 65,535; a full batch is eight of them. A statement, its text too, stays below the server's
/// largest packet.
///
/// # Errors
/// With the rows of the statement that failed.
async fn insert<R: Stored + Send>(link: &mut Link, rows: &[&R]) -> Result<(), (std::ops::Range<usize>, Fault)> {
    let mut from = 0;
    while from < rows.len() {
        let rest = &rows[from..];
        let fits = |count: usize| rest.len() >= count && bytes_of(&rest[..count]) <= link.packet();
        let (count, outcome) = if fits(1024) {
            (1024, execute::<R, 1024>(link, rest).await)
        } else if fits(128) {
            (128, execute::<R, 128>(link, rest).await)
        } else if fits(16) {
            (16, execute::<R, 16>(link, rest).await)
        } else if fits(1) {
            (1, execute::<R, 1>(link, rest).await)
        } else {
            let text = format!("the row has {} bytes, more than the server's max_allowed_packet", bytes_of(&rest[..1]));
            (1, Err(Fault::new(Meaning::Row, text)))
        };
        outcome.map_err(|fault| (from..from + count, fault))?;
        from += count;
    }
    Ok(())
}

async fn execute<R: Stored + Send, const N: usize>(link: &mut Link, rows: &[&R]) -> Result<(), Fault> {
    match rows.first_chunk::<N>() {
        Some(rows) => link.execute(Insert::new(R::TABLE, rows, Theirs)).await.map(drop),
        None => Ok(()),
    }
}

/// Returns an upper bound of a statement's bytes on the wire, and of its text's.
fn bytes_of<R: Stored + Send>(rows: &[&R]) -> usize {
    let mut cells = Vec::with_capacity(R::WIDTH);
    let mut bytes = STATEMENT_OVERHEAD;
    for row in rows {
        cells.clear();
        row.cells(&mut cells);
        bytes += cells.iter().map(|cell| VALUE_OVERHEAD + payload(cell)).sum::<usize>();
    }
    bytes
}

fn payload(cell: &Cell<'_>) -> usize {
    match cell {
        Cell::Number(_) | Cell::Small(_) | Cell::Text(None) => 0,
        Cell::Text(Some(text)) => text.len(),
        Cell::Bytes(bytes) => bytes.len(),
    }
}

/// A row type with a table of its own.
trait Stored: Columns {
    const TABLE: &'static str;
}

impl Stored for Event {
    const TABLE: &'static str = "events";
}

impl Stored for Capture {
    const TABLE: &'static str = "captures";
}

impl Stored for Claim {
    const TABLE: &'static str = "ingest_ledger";
}

impl Stored for SetAside {
    const TABLE: &'static str = "ingest_rejects";
}

/// The server numbers the rows.
#[derive(Clone, Copy)]
struct Theirs;

impl Ids for Theirs {
    const COLUMN: &'static str = "";
    const WIDTH: usize = 0;

    fn cells(self, _: usize, _: &mut Vec<Cell<'_>>) {}
}

impl Dialect for MysqlDialect {
    const INSERT_INTO: &'static str = "INSERT INTO ";

    fn bind<'b>(out: &mut AstPass<'_, 'b, Self>, cell: &'b Cell<'b>) -> QueryResult<()> {
        match cell {
            Cell::Number(value) => out.push_bind_param::<BigInt, _>(value),
            Cell::Small(value) => out.push_bind_param::<Nullable<Integer>, _>(value),
            Cell::Text(value) => out.push_bind_param::<Nullable<Text>, _>(value),
            Cell::Bytes(value) => out.push_bind_param::<Binary, _>(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::RowKind;

    #[test]
    fn a_record_larger_than_a_packet_is_set_aside_in_parts_that_make_it_whole() {
        let row: String = "äb".repeat(5000);
        let rejected = RejectedRow {
            table: RowKind::Event,
            source: "s",
            position: 7,
            reason: "refused_by_database",
            detail: "too large",
            row: row.clone(),
        };
        let parts = SetAside::of(&rejected, Timestamp::from_nanos(0), 8192);
        assert!(parts.len() > 3 && parts.iter().all(|part| bytes_of(&[part]) <= 8192));
        assert_eq!(parts.iter().map(|part| part.row.as_str()).collect::<String>(), row);
        assert_eq!(parts[0].detail, format!("too large (part 1 of {})", parts.len()));
        let whole = SetAside::of(&rejected, Timestamp::from_nanos(0), 1 << 20);
        assert_eq!((whole.len(), whole[0].detail.as_str()), (1, "too large"));
    }
}
