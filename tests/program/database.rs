//! Reads and locks a SQLite file, as another program would.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use rusqlite::types::Value;

/// A connection to a database file.
pub struct Database(Connection);

impl Database {
    /// Opens an existing file.
    pub fn open(path: &Path) -> Self {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        connection.busy_timeout(Duration::from_secs(10)).expect("a time");
        Self(connection)
    }

    /// Returns all rows of a query.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        let mut statement = self.0.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        let rows = statement.query_map([], row).and_then(Iterator::collect);
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Returns the one number that a query gives.
    pub fn number(&self, sql: &str) -> i64 {
        match self.rows(sql).as_slice() {
            [row] => match row.as_slice() {
                [Value::Integer(number)] => *number,
                other => panic!("{sql}: {other:?}"),
            },
            other => panic!("{sql}: {} rows", other.len()),
        }
    }

    /// Returns the first column of a query as text.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let text = |row: Vec<Value>| match row.into_iter().next() {
            Some(Value::Text(text)) => text,
            other => panic!("{sql}: {other:?}"),
        };
        self.rows(sql).into_iter().map(text).collect()
    }

    /// Takes the write lock, until the lock is dropped.
    pub fn lock(&self) -> Lock<'_> {
        self.0.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
        Lock(self)
    }
}

/// The write lock of a database.
pub struct Lock<'a>(&'a Database);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        self.0.0.execute_batch("ROLLBACK").expect("the write lock given back");
    }
}
