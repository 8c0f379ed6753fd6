//! The table `segments`, as rows in memory, and what each kind's segments are made of.
//!
//! Read after every step, not kept in step by hand: what is in memory is what the file says.

use diesel::prelude::*;
use diesel::result::QueryResult;

use crate::chunk::RowKind;

diesel::table! {
    segments (kind, number) {
        kind -> Text,
        number -> BigInt,
        state -> Text,
        indexes -> BigInt,
        first_id -> BigInt,
        last_id -> Nullable<BigInt>,
        rows -> BigInt,
        bytes -> BigInt,
        first_ts -> Nullable<BigInt>,
        last_ts -> Nullable<BigInt>,
        opened_at -> BigInt,
        closed_at -> Nullable<BigInt>,
        target -> Nullable<BigInt>,
    }
}

/// What a segment is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Rows go in.
    Open,
    /// Full, and in sight.
    Closed,
    /// Being filled from others; not in sight.
    Merging,
    /// Not in sight any more.
    Dropping,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Merging => "merging",
            Self::Dropping => "dropping",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Open, Self::Closed, Self::Merging, Self::Dropping].into_iter().find(|state| state.name() == name)
    }
}

/// One row of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) kind: RowKind,
    pub(crate) number: i64,
    pub(crate) state: State,
    pub(crate) indexes: usize,
    pub(crate) first_id: i64,
    /// Of the open segment: of its last row, or one less than `first_id`.
    pub(crate) last_id: i64,
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
    pub(crate) first_ts: Option<i64>,
    pub(crate) last_ts: Option<i64>,
    pub(crate) opened_at: i64,
    /// Of the open segment: far away.
    pub(crate) closed_at: i64,
    pub(crate) target: Option<i64>,
}

/// Earliest and latest time, in nanoseconds since the Unix epoch; `None` of no rows.
pub(super) type Times = (Option<i64>, Option<i64>);

/// Returns the times of all rows of two.
pub(super) fn covering(one: Times, other: Times) -> Times {
    (one.0.into_iter().chain(other.0).min(), one.1.into_iter().chain(other.1).max())
}

impl Segment {
    pub(super) fn times(&self) -> Times {
        (self.first_ts, self.last_ts)
    }

    pub(crate) fn is_visible(&self) -> bool {
        matches!(self.state, State::Open | State::Closed)
    }

    pub(crate) fn is_indexed(&self) -> bool {
        self.indexes >= indexes(self.kind).len()
    }

    /// Returns the name of its table.
    pub(crate) fn table(&self) -> String {
        table(self.kind, self.number)
    }
}

/// Returns the table of the segment of that number.
pub(crate) fn table(kind: RowKind, number: i64) -> String {
    format!("{}_{number}", kind.table())
}

/// Name and columns of each index, in the order in which they are built: the one that spares most comes first.
pub(super) fn indexes(kind: RowKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        RowKind::Event => &[("src_ip_ts", "(src_ip, ts)"), ("ts", "(ts)"), ("sensor_ts", "(sensor, ts)")],
        RowKind::Capture => &[("session", "(session) WHERE session IS NOT NULL"), ("ts", "(ts)")],
    }
}

/// The columns of a kind's tables, all of them, in their order.
pub(super) fn columns(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Event => {
            "id,ts,sensor,service,event_type,src_ip,src_port,dst_ip,dst_port,proto,session,msg,fields,raw,trace_id,span_id"
        }
        RowKind::Capture => {
            "id,ts,sensor,kind,session,src_ip,src_port,dst_ip,dst_port,proto,link_type,length,fields,data"
        }
    }
}

/// The columns with which a kind's tables are made. Equal in every segment: then SQLite merges them by copying records.
pub(super) fn definition(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Event => {
            "(id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, sensor TEXT NOT NULL, service TEXT NOT NULL, \
             event_type TEXT NOT NULL, src_ip TEXT, src_port INTEGER, dst_ip TEXT, dst_port INTEGER, proto TEXT, \
             session TEXT, msg TEXT, fields TEXT, raw TEXT, trace_id TEXT, span_id TEXT)"
        }
        RowKind::Capture => {
            "(id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, sensor TEXT NOT NULL, kind TEXT NOT NULL, session TEXT, \
             src_ip TEXT, src_port INTEGER, dst_ip TEXT, dst_port INTEGER, proto TEXT, link_type INTEGER, \
             length INTEGER NOT NULL, fields TEXT, data BLOB NOT NULL)"
        }
    }
}

/// SQL for about the bytes of a row, from its long columns.
pub(super) fn weight(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Event => "200 + coalesce(length(msg), 0) + coalesce(length(fields), 0) + coalesce(length(raw), 0)",
        RowKind::Capture => "150 + coalesce(length(fields), 0) + length(data)",
    }
}

type Stored =
    (String, i64, String, i64, i64, Option<i64>, i64, i64, Option<i64>, Option<i64>, i64, Option<i64>, Option<i64>);

/// Reads the catalogue: each kind's segments in order of their ids, the open one last. The open one's rows are not
/// counted here.
pub(crate) fn load(connection: &mut SqliteConnection) -> QueryResult<[Vec<Segment>; 2]> {
    use segments::dsl;
    let order = (dsl::first_id, dsl::last_id.is_null(), dsl::number);
    let stored: Vec<Stored> = dsl::segments.order(order).load(connection)?;
    let mut catalogue = [Vec::new(), Vec::new()];
    for row in stored {
        // A kind or state that a later version made would have raised the schema's version as well.
        let Some(kind) = RowKind::ALL.into_iter().find(|kind| kind.table() == row.0) else { continue };
        let Some(state) = State::named(&row.2) else { continue };
        let (first_id, last_id, closed_at) = (row.4, row.5.unwrap_or(row.4 - 1), row.11.unwrap_or(i64::MAX));
        catalogue[kind.index()].push(Segment {
            kind,
            number: row.1,
            state,
            indexes: usize::try_from(row.3).unwrap_or(0),
            first_id,
            last_id,
            rows: row.6,
            bytes: row.7,
            first_ts: row.8,
            last_ts: row.9,
            opened_at: row.10,
            closed_at,
            target: row.12,
        });
    }
    Ok(catalogue)
}
