//! What each SQLite error means for the writer.
//!
//! diesel gives the message of `sqlite3_errmsg` and, for some constraints, a kind; the code is lost. SQLite's standard
//! messages (`sqlite3ErrStr`, <https://www.sqlite.org/rescode.html>) are fixed, and the library is bundled, so the table
//! below goes by them. What is not in it came from a statement about a row (a trigger's `RAISE`, a constraint): see
//! [`Meaning::Row`].

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::backend::WriteError;
use crate::chunk::RowKind;

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A state that passes: try again. The word is the metric's label.
    Passing(&'static str),
    /// The row cannot be stored.
    Row,
    /// The file or its schema is beyond repair by waiting.
    Broken,
    /// Nothing known: about a row if one was being inserted, else passing.
    Unknown,
}

/// Messages, and what they mean. Some go on, after a colon or in brackets, with a name.
const MESSAGES: [(&str, Meaning); 18] = [
    ("database is locked", Meaning::Passing("locked")),
    ("database table is locked", Meaning::Passing("locked")),
    ("database schema is locked", Meaning::Passing("locked")),
    ("locking protocol", Meaning::Passing("locked")),
    ("database or disk is full", Meaning::Passing("disk_full")),
    ("disk I/O error", Meaning::Passing("io")),
    ("unable to open database file", Meaning::Passing("io")),
    ("large file support is disabled", Meaning::Passing("io")),
    ("attempt to write a readonly database", Meaning::Passing("read_only")),
    ("out of memory", Meaning::Passing("memory")),
    ("interrupted", Meaning::Passing("interrupted")),
    ("database schema has changed", Meaning::Passing("schema_changed")),
    ("string or blob too big", Meaning::Row),
    ("datatype mismatch", Meaning::Row),
    ("database disk image is malformed", Meaning::Broken),
    ("file is not a database", Meaning::Broken),
    ("malformed database schema", Meaning::Broken),
    ("no such table", Meaning::Broken),
];

pub(super) fn meaning(error: &DieselError) -> Meaning {
    let DieselError::DatabaseError(kind, information) = error else { return Meaning::Unknown };
    match kind {
        DatabaseErrorKind::UniqueViolation
        | DatabaseErrorKind::ForeignKeyViolation
        | DatabaseErrorKind::NotNullViolation
        | DatabaseErrorKind::CheckViolation => return Meaning::Row,
        _ => {}
    }
    let message = information.message();
    if message.starts_with("table ") && message.contains(" has no column named ") {
        return Meaning::Broken;
    }
    let known = MESSAGES.iter().find(|(known, _)| is_or_names(message, known));
    known.map_or(Meaning::Unknown, |(_, meaning)| *meaning)
}

/// Whether `message` is `known`, alone or with a name behind it. Not merely its beginning: a trigger's own words may
/// begin in the same way.
fn is_or_names(message: &str, known: &str) -> bool {
    message.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(": ") || rest.starts_with(" ("))
}

/// Classifies an error of a statement that is not about a single row: BEGIN, the ledger, COMMIT, a PRAGMA.
pub(super) fn of_transaction(error: DieselError) -> WriteError {
    match meaning(&error) {
        Meaning::Passing(reason) => WriteError::Transient { reason, source: error.into() },
        Meaning::Broken => WriteError::Fatal { source: error.into() },
        Meaning::Row | Meaning::Unknown => WriteError::Transient { reason: "unknown", source: error.into() },
    }
}

/// Whether the constraint that a message names at its end is the id of a segment: `events_17.id`.
fn is_id_of_segment(message: &str) -> bool {
    let column = message.rsplit(' ').next().unwrap_or_default();
    let number = |kind: RowKind| column.strip_prefix(kind.table())?.strip_prefix('_')?.strip_suffix(".id");
    RowKind::ALL.into_iter().filter_map(number).any(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Classifies an error of the statement that inserted `rows` (of the batch).
pub(super) fn of_rows(error: DieselError, rows: Vec<usize>) -> WriteError {
    // Not the row's fault: somebody else wrote to the open segment, and took the id that was counted on. The next
    // connection counts on from there.
    if let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, information) = &error
        && is_id_of_segment(information.message())
    {
        return WriteError::Transient { reason: "foreign_row", source: error.into() };
    }
    match meaning(&error) {
        Meaning::Row | Meaning::Unknown => WriteError::Rejected { rows, detail: error.to_string() },
        Meaning::Passing(_) | Meaning::Broken => of_transaction(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: DatabaseErrorKind, message: &str) -> DieselError {
        DieselError::DatabaseError(kind, Box::new(message.to_owned()))
    }

    #[test]
    fn every_message_has_its_meaning() {
        use Meaning::{Broken, Passing, Row, Unknown};
        let unknown = || DatabaseErrorKind::Unknown;
        for (kind, message, expected) in [
            (unknown(), "database is locked", Passing("locked")),
            (unknown(), "database table is locked: events", Passing("locked")),
            (unknown(), "database or disk is full", Passing("disk_full")),
            (unknown(), "disk I/O error", Passing("io")),
            (unknown(), "attempt to write a readonly database", Passing("read_only")),
            (unknown(), "string or blob too big", Row),
            (DatabaseErrorKind::CheckViolation, "CHECK constraint failed: x", Row),
            (DatabaseErrorKind::UniqueViolation, "UNIQUE constraint failed: events.id", Row),
            (DatabaseErrorKind::NotNullViolation, "NOT NULL constraint failed: events.sensor", Row),
            (unknown(), "database disk image is malformed", Broken),
            (unknown(), "file is not a database", Broken),
            (unknown(), "no such table: events", Broken),
            (unknown(), "table events has no column named span_id", Broken),
            (unknown(), "malformed database schema (events_ts)", Broken),
            (unknown(), "a trigger's own words", Unknown),
            (unknown(), "table is closed", Unknown),
            (unknown(), "interrupted by policy", Unknown),
        ] {
            assert_eq!(meaning(&error(kind, message)), expected, "{message}");
        }
    }

    #[test]
    fn an_unknown_error_is_never_dropped_and_never_fatal() {
        let strange = || error(DatabaseErrorKind::Unknown, "?");
        assert!(matches!(of_transaction(strange()), WriteError::Transient { .. }));
        assert!(matches!(of_rows(strange(), vec![3]), WriteError::Rejected { rows, .. } if rows == [3]));
    }
}
