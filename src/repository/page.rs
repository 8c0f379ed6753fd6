//! One page of rows, and where the next one begins.
//!
//! Pages go by key: the next one begins behind the last row of this one, so that it costs the same at any depth, and rows
//! that come in meanwhile shift nothing. An offset is there too, for those who cannot do without.

/// Most rows of a page.
pub const MAX_LIMIT: usize = 10_000;
/// Most rows that are passed over.
pub const MAX_OFFSET: usize = 1_000_000;

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<R> {
    /// Its id: unique for its kind. In SQLite greater than that of every row committed before; a server gives it when the
    /// row is inserted, so that of two writers the one with the lower ids may commit later.
    pub id: i64,
    /// The row.
    pub row: R,
}

/// What rows are ordered by. Equal times are ordered by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// When it happened.
    Time,
    /// In which order rows were committed.
    Id,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The latest time, or the greatest id.
    NewestFirst,
    /// The earliest time, or the smallest id.
    OldestFirst,
}

/// A place between two rows: right behind the row of this time and id. To be had from [`Page::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Nanoseconds since the Unix epoch; not looked at when sorting by id.
    pub ts: i64,
    /// The row's id.
    pub id: i64,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// What rows are ordered by.
    pub sort: Sort,
    /// Which end comes first.
    pub direction: Direction,
    /// Most rows; more than [`MAX_LIMIT`] is taken as that.
    pub limit: usize,
    /// Behind which row the page begins; `None` for the first page.
    pub after: Option<Cursor>,
    /// How many rows are passed over from there, at most [`MAX_OFFSET`]. Costs the more the greater it is, and shows a row
    /// twice or never when others come in meanwhile: for those who must jump to page 17.
    pub offset: usize,
}

impl Paging {
    /// Asks for the `limit` rows with the latest times, latest first.
    pub fn newest(limit: usize) -> Self {
        Self { sort: Sort::Time, direction: Direction::NewestFirst, limit, after: None, offset: 0 }
    }

    /// Asks for the same from another end, or in another order.
    pub fn ordered(self, sort: Sort, direction: Direction) -> Self {
        Self { sort, direction, ..self }
    }

    /// Asks for the rows behind `cursor`, at once.
    pub fn after(self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), offset: 0, ..self }
    }

    /// Asks for the rows behind `offset` others.
    pub fn skip(self, offset: usize) -> Self {
        Self { offset, ..self }
    }
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R> {
    /// The rows, in the order asked for.
    pub rows: Vec<Stored<R>>,
    /// Where the next page begins; `None` when this one is not full, and so the last. A full page may be the last too:
    /// then the next one is empty.
    pub next: Option<Cursor>,
}
