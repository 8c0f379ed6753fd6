//! Rows as multi-row INSERT statements of a fixed shape, which a connection prepares once.
//!
//! diesel's own `values(&Vec)` rebuilds and re-prepares its SQL at every call, and its constant-length arrays want
//! owned values. [`Insert`] is a query fragment of our own over `N` borrowed rows; its static query id is made of the
//! row type, whose ids they are, and `N`, which together with the table decide the SQL text: so there must be exactly `N`
//! rows, and there are, and a connection whose rows go to another table from now on must forget its statements.

use std::marker::PhantomData;

use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;

use crate::capture::Capture;
use crate::event::Event;

/// One value of a row, borrowed from it.
#[derive(Clone, Copy, Debug)]
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

    /// Adds the row's values, in the order of the columns.
    fn cells<'a>(&'a self, out: &mut Vec<Cell<'a>>);
}

impl Columns for Event {
    const COLUMNS: &'static str =
        "ts,sensor,service,event_type,src_ip,src_port,dst_ip,dst_port,proto,session,msg,fields,raw,trace_id,span_id";
    const WIDTH: usize = 15;

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

/// One INSERT of `N` rows.
pub(crate) struct Insert<'a, R, I, const N: usize> {
    table: &'a str,
    cells: Vec<Cell<'a>>,
    kind: PhantomData<(R, I)>,
}

impl<'a, R: Columns, I: Ids, const N: usize> Insert<'a, R, I, N> {
    pub(crate) fn new(table: &'a str, rows: &[&'a R; N], ids: I) -> Self {
        let mut cells = Vec::with_capacity(N * (I::WIDTH + R::WIDTH));
        for (index, row) in rows.iter().enumerate() {
            ids.cells(index, &mut cells);
            row.cells(&mut cells);
        }
        Self { table, cells, kind: PhantomData }
    }
}

impl<R: Columns, I: Ids, const N: usize> QueryId for Insert<'_, R, I, N> {
    type QueryId = Insert<'static, R, I, N>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<R: Columns, I: Ids, const N: usize, DB: Dialect> QueryFragment<DB> for Insert<'_, R, I, N> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(DB::INSERT_INTO);
        for part in [self.table, " (", I::COLUMN, R::COLUMNS, ")"] {
            out.push_sql(part);
        }
        for (index, row) in self.cells.chunks_exact(I::WIDTH + R::WIDTH).enumerate() {
            out.push_sql(if index == 0 { " VALUES (" } else { ",(" });
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    out.push_sql(",");
                }
                DB::bind(&mut out, cell)?;
            }
            out.push_sql(")");
        }
        Ok(())
    }
}

impl<R, I, Conn, const N: usize> diesel::RunQueryDsl<Conn> for Insert<'_, R, I, N> {}
