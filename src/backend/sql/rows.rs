//! Rows as multi-row INSERT statements of a fixed shape, which a connection prepares once.
//!
//! diesel's own `values(&Vec)` rebuilds and re-prepares its SQL at every call, and its constant-length arrays want
//! owned values. [`Insert`] is a query fragment of our own over `N` borrowed rows; its static query id is made of the
//! row type, whose ids they are, `N` and `SHARED`, which together with the table decide the SQL text: so there must be
//! exactly `N` rows, and there are, and a connection whose rows go to another table from now on must forget its statements.
//!
//! Binding values, and taking them back, is a good part of the work. Where parameters may have numbers (SQLite), columns
//! that mostly have one value in all rows of a statement, such as the sensor or a NULL, are bound with the first row, and
//! the other rows name its parameters: see [`Columns::USUAL`]. A million packets so take 1.49 instead of 1.62 s of
//! processor time in user mode (AMD EPYC, 2 cores, `forebay ingest`, medians of 9). There are two shapes, all of these
//! columns or none, not one for each set that could be: whoever sends the rows would choose how many are kept.

use std::marker::PhantomData;

use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;

use crate::capture::Capture;
use crate::event::Event;

/// One value of a row, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Number(i64),
    Small(Option<i32>),
    Text(Option<&'a str>),
    Bytes(&'a [u8]),
}

/// What differs between databases in an INSERT of rows.
pub(crate) trait Dialect: diesel::backend::Backend {
    /// The statement's first words.
    const INSERT_INTO: &'static str;

    fn bind<'b>(out: &mut AstPass<'_, 'b, Self>, cell: &'b Cell<'b>) -> QueryResult<()>;
}

/// A row type with columns.
pub(crate) trait Columns: 'static {
    /// The columns but for `id`, as they stand in an INSERT.
    const COLUMNS: &'static str;
    /// How many columns.
    const WIDTH: usize;
    /// Those that usually have one value in all rows of a statement: a bit for each, the first column's the lowest.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    const USUAL: u32 = 0;

    /// Adds the row's values, in the order of the columns.
    fn cells<'a>(&'a self, out: &mut Vec<Cell<'a>>);
}

impl Columns for Event {
    const COLUMNS: &'static str =
        "ts,sensor,service,event_type,src_ip,src_port,dst_ip,dst_port,proto,session,msg,fields,raw,trace_id,span_id";
    const WIDTH: usize = 15;
    /// Sensor, trace id and span id.
    const USUAL: u32 = 1 << 1 | 1 << 13 | 1 << 14;

    fn cells<'a>(&'a self, out: &mut Vec<Cell<'a>>) {
        use Cell::{Number, Small, Text};
        out.extend_from_slice(&[
            Number(self.ts().as_nanos()),
            Text(Some(self.sensor())),
            Text(Some(self.service())),
            Text(Some(self.event_type())),
            Text(self.src_ip()),
            Small(self.src_port().map(i32::from)),
            Text(self.dst_ip()),
            Small(self.dst_port().map(i32::from)),
            Text(self.proto()),
            Text(self.session()),
            Text(self.msg()),
            Text(self.fields()),
            Text(self.raw()),
            Text(self.trace_id()),
            Text(self.span_id()),
        ]);
    }
}

impl Columns for Capture {
    const COLUMNS: &'static str =
        "ts,sensor,kind,session,src_ip,src_port,dst_ip,dst_port,proto,link_type,length,fields,data";
    const WIDTH: usize = 13;
    /// Sensor, kind, session, link type and fields: those of packets.
    const USUAL: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;

    fn cells<'a>(&'a self, out: &mut Vec<Cell<'a>>) {
        use Cell::{Bytes, Number, Small, Text};
        out.extend_from_slice(&[
            Number(self.ts().as_nanos()),
            Text(Some(self.sensor())),
            Text(Some(self.kind())),
            Text(self.session()),
            Text(self.src_ip()),
            Small(self.src_port().map(i32::from)),
            Text(self.dst_ip()),
            Small(self.dst_port().map(i32::from)),
            Text(self.proto()),
            Small(self.link_type().map(i32::from)),
            // `CaptureBuilder::build` has refused a length above i64::MAX.
            Number(self.length() as i64),
            Text(self.fields()),
            Bytes(self.data()),
        ]);
    }
}

/// Who gives the rows their ids: each backend has its own.
pub(crate) trait Ids: Copy + 'static {
    /// The column of the id with its comma, or nothing.
    const COLUMN: &'static str;
    /// How many columns that is.
    const WIDTH: usize;

    /// Adds the id of the `index`th row, if we give it.
    fn cells(self, index: usize, out: &mut Vec<Cell<'_>>);
}

/// One INSERT of `N` rows, in which the columns `SHARED` (as in [`Columns::USUAL`]) are bound once.
pub(crate) struct Insert<'a, R, I, const N: usize, const SHARED: u32 = 0> {
    table: &'a str,
    /// The first row's, then the others' without those that are shared.
    cells: Vec<Cell<'a>>,
    kind: PhantomData<(R, I)>,
}

impl<'a, R: Columns, I: Ids, const N: usize> Insert<'a, R, I, N> {
    /// An INSERT of any rows, each value bound.
    pub(crate) fn new(table: &'a str, rows: &[&'a R; N], ids: I) -> Self {
        let mut cells = Vec::with_capacity(N * (I::WIDTH + R::WIDTH));
        for (index, row) in rows.iter().enumerate() {
            ids.cells(index, &mut cells);
            row.cells(&mut cells);
        }
        Self { table, cells, kind: PhantomData }
    }
}

impl<'a, R: Columns, I: Ids, const N: usize, const SHARED: u32> Insert<'a, R, I, N, SHARED> {
    /// An INSERT of rows that have the same values in the columns `SHARED`; `None` if they have not.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn sharing(table: &'a str, rows: &[&'a R; N], ids: I) -> Option<Self> {
        const { assert!(I::WIDTH + R::WIDTH <= FIRST_ROWS.len()) };
        let width = I::WIDTH + R::WIDTH;
        let mut cells = Vec::with_capacity(N * width);
        for (index, row) in rows.iter().enumerate() {
            let mut kept = cells.len();
            ids.cells(index, &mut cells);
            row.cells(&mut cells);
            if index == 0 {
                continue;
            }
            for (column, at) in (kept..kept + width).enumerate() {
                if Self::shared(column).is_none() {
                    cells[kept] = cells[at];
                    kept += 1;
                } else if cells[at] != cells[column] {
                    return None;
                }
            }
            cells.truncate(kept);
        }
        Some(Self { table, cells, kind: PhantomData })
    }

    /// Returns the first row's parameter of a column of the statement, if it is shared; ids are not.
    fn shared(column: usize) -> Option<&'static str> {
        let column_of_row = column.checked_sub(I::WIDTH)?;
        (SHARED >> column_of_row & 1 != 0).then(|| FIRST_ROWS[column])
    }
}

impl<R: Columns, I: Ids, const N: usize, const SHARED: u32> QueryId for Insert<'_, R, I, N, SHARED> {
    type QueryId = Insert<'static, R, I, N, SHARED>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<R: Columns, I: Ids, const N: usize, const SHARED: u32, DB: Dialect> QueryFragment<DB>
    for Insert<'_, R, I, N, SHARED>
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(DB::INSERT_INTO);
        for part in [self.table, " (", I::COLUMN, R::COLUMNS, ")"] {
            out.push_sql(part);
        }
        let mut cells = self.cells.iter();
        for row in 0..N {
            out.push_sql(if row == 0 { " VALUES (" } else { ",(" });
            for column in 0..I::WIDTH + R::WIDTH {
                if column > 0 {
                    out.push_sql(",");
                }
                if let Some(parameter) = Self::shared(column).filter(|_| row > 0) {
                    out.push_sql(parameter);
                } else if let Some(cell) = cells.next() {
                    DB::bind(&mut out, cell)?;
                }
            }
            out.push_sql(")");
        }
        Ok(())
    }
}

/// The parameters of a statement's first row. Those without a number, of the rows after it, go on from the largest.
const FIRST_ROWS: [&str; 16] =
    ["?1", "?2", "?3", "?4", "?5", "?6", "?7", "?8", "?9", "?10", "?11", "?12", "?13", "?14", "?15", "?16"];

impl<R, I, Conn, const N: usize, const SHARED: u32> diesel::RunQueryDsl<Conn> for Insert<'_, R, I, N, SHARED> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_that_rows_usually_share_are_these() {
        fn usual<R: Columns>() -> Vec<&'static str> {
            let columns = R::COLUMNS.split(',').enumerate();
            columns.filter(|(at, _)| R::USUAL >> at & 1 != 0).map(|(_, name)| name).collect()
        }
        assert_eq!(usual::<Event>(), ["sensor", "trace_id", "span_id"]);
        assert_eq!(usual::<Capture>(), ["sensor", "kind", "session", "link_type", "fields"]);
    }
}
