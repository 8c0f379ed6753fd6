//! `events` and `captures` as segments: why the file does not slow down as it grows.
//!
//! A segment is a table, `events_<number>` or `captures_<number>`. Rows go into the open one of each kind, which has no
//! secondary index and stays small. A full one is closed, indexed, and later merged with its neighbours; `events` and
//! `captures` are views over all of them; retention drops whole segments. `plan` decides what comes next, `steps` does it in one transaction each, `catalogue` is the table
//! that says what there is, `view` makes the views. Called by the writing connection's owner (`sqlite/mod.rs`), between
//! batches, and by its housekeeper (`housekeeper.rs`), when nothing is being written.
//!
//! Ids are given here, from one counter for each kind that goes up in the order of commits. The counter is read from the
//! file when a connection is opened: so after an unknown outcome it is what the file says.
//!
//! Turned down: one name for the open table, which is renamed when it closes. `ALTER TABLE RENAME` reads all of the
//! schema: with 300 segments 22 of the 27 ms of a close, a fifth of what their rows take to be written (SQLite 3.40).

use diesel::connection::CacheSize;
use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable};

use crate::chunk::RowKind;

mod catalogue;
mod plan;
mod rehearse;
mod steps;
mod view;

pub(crate) use catalogue::{Segment, State, load, table};
use catalogue::{Times, covering};
pub(crate) use plan::{Limits, Space, Step, Urgency};
pub(crate) use view::make_views;

/// Returns how many indexes a kind's finished segments have.
pub(super) fn index_count(kind: RowKind) -> usize {
    catalogue::indexes(kind).len()
}

/// Returns the columns that have an index which goes on with the time.
#[cfg(test)]
pub(super) fn timed_columns(kind: RowKind) -> Vec<&'static str> {
    let column = |(_, columns): &(&'static str, &'static str)| columns.strip_prefix('(')?.strip_suffix(", ts)");
    catalogue::indexes(kind).iter().filter_map(column).collect()
}

/// The segments of an open file, with what the open ones hold.
pub(super) struct Segments {
    catalogue: [Vec<Segment>; 2],
    space: Space,
}

/// Where rows go.
pub(super) struct Place {
    pub(super) table: String,
    /// The first row's id; the others' go on from it.
    pub(super) first_id: i64,
}

/// Rows that a batch adds to the open segment: how many, and of what times.
#[derive(Clone, Copy, Default)]
pub(super) struct Added {
    pub(super) rows: i64,
    times: Times,
}

impl Added {
    /// Counts one more, of that time in nanoseconds since the Unix epoch.
    pub(super) fn push(&mut self, ts: i64) {
        self.rows += 1;
        self.times = covering(self.times, (Some(ts), Some(ts)));
    }
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    first_ts: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_ts: Option<i64>,
}

impl Segments {
    /// Reads the catalogue and what the open segments hold.
    pub(super) fn read(connection: &mut SqliteConnection) -> QueryResult<Self> {
        let mut catalogue = load(connection)?;
        for open in catalogue.iter_mut().flatten().filter(|segment| segment.state == State::Open) {
            let weight = catalogue::weight(open.kind);
            let held = format!(
                "SELECT count(*) AS rows, max(id) AS last_id, sum({weight}) AS bytes, min(ts) AS first_ts, max(ts) AS last_ts \
                 FROM {}",
                open.table()
            );
            let held: Held = diesel::sql_query(held).get_result(connection)?;
            open.rows = held.rows;
            open.bytes = held.bytes.unwrap_or(0);
            open.last_id = held.last_id.unwrap_or(open.last_id);
            (open.first_ts, open.last_ts) = (held.first_ts, held.last_ts);
        }
        let space = Self::measured(connection)?;
        Ok(Self { catalogue, space })
    }

    fn open(&mut self, kind: RowKind) -> Option<&mut Segment> {
        self.catalogue[kind.index()].iter_mut().find(|segment| segment.state == State::Open)
    }

    /// Returns where a kind's next row goes.
    pub(super) fn place(&self, kind: RowKind) -> Place {
        let open = self.catalogue[kind.index()].iter().find(|segment| segment.state == State::Open);
        // None is there if somebody has deleted it: then the name is that of no table, and the insert says so.
        let table = open.map_or_else(|| format!("{}_open", kind.table()), Segment::table);
        Place { table, first_id: self.next_id(kind) }
    }

    /// Returns the id for a kind's next row.
    pub(super) fn next_id(&self, kind: RowKind) -> i64 {
        self.catalogue[kind.index()].iter().map(|segment| segment.last_id).max().unwrap_or(0) + 1
    }

    /// Notes rows that were committed to the open segment.
    pub(super) fn committed(&mut self, kind: RowKind, added: Added, bytes: i64) {
        let last_id = self.next_id(kind) + added.rows - 1;
        if let Some(open) = self.open(kind) {
            open.rows += added.rows;
            open.bytes += bytes;
            open.last_id = last_id;
            (open.first_ts, open.last_ts) = covering(open.times(), added.times);
        }
    }

    /// Returns whether the open segment must be closed before so many more rows and bytes.
    pub(super) fn is_full(&mut self, kind: RowKind, rows: i64, bytes: i64, limits: &Limits) -> bool {
        self.open(kind).is_some_and(|open| plan::is_full(open, rows, bytes, limits))
    }

    /// Returns what should be done next.
    pub(super) fn next(&self, limits: &Limits, now: i64, urgency: Urgency) -> Option<Step> {
        plan::next(&self.catalogue, self.space, limits, now, urgency)
    }

    /// Carries a step out.
    pub(super) fn carry_out(&mut self, connection: &mut SqliteConnection, step: &Step, now: i64) -> QueryResult<()> {
        steps::carry_out(connection, &self.catalogue, step, now)?;
        if matches!(step, Step::Close(_)) {
            // Statements are kept by the shape of their rows: those at hand go on writing to the table just closed.
            connection.set_prepared_statement_cache_size(CacheSize::Disabled);
            connection.set_prepared_statement_cache_size(CacheSize::Unbounded);
        }
        // What the open segments hold is not in the table; a step that closes one leaves an empty one behind.
        let held = self.catalogue.clone();
        self.catalogue = load(connection)?;
        for open in self.catalogue.iter_mut().flatten().filter(|segment| segment.state == State::Open) {
            let same = |old: &&Segment| old.state == State::Open && old.kind == open.kind && old.number == open.number;
            if let Some(old) = held.iter().flatten().find(same) {
                (open.rows, open.bytes, open.last_id) = (old.rows, old.bytes, old.last_id);
                (open.first_ts, open.last_ts) = old.times();
            }
        }
        self.space = Self::measured(connection)?;
        Ok(())
    }

    /// Looks again how large the file is.
    pub(super) fn look(&mut self, connection: &mut SqliteConnection) -> QueryResult<()> {
        self.space = Self::measured(connection)?;
        Ok(())
    }

    /// Returns how many rows the segment has that a step is about to retire; 0 for other steps.
    pub(super) fn rows(&self, step: &Step) -> i64 {
        let Step::Retire(kind, number, _) = *step else { return 0 };
        self.catalogue[kind.index()].iter().find(|segment| segment.number == number).map_or(0, |segment| segment.rows)
    }

    /// Returns the segments of both kinds.
    pub(super) fn all(&self) -> impl Iterator<Item = &Segment> {
        self.catalogue.iter().flatten()
    }

    pub(super) fn space(&self) -> Space {
        self.space
    }

    fn measured(connection: &mut SqliteConnection) -> QueryResult<Space> {
        let number = |connection: &mut SqliteConnection, name| super::open::pragma_number(connection, name);
        let page = number(connection, "page_size")?;
        Ok(Space {
            file: page * number(connection, "page_count")?,
            free: page * number(connection, "freelist_count")?,
            is_incremental: number(connection, "auto_vacuum")? != 0,
        })
    }
}

#[cfg(test)]
mod tests;
