//! SQLite as it is met in the field: what stands in the way of opening, what happens to the file while it is written,
//! rows that the schema refuses, and what readers see.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay::{Config, Error, Pipeline};
use rusqlite::Connection;
use tempfile::TempDir;

pub mod catalogue;
pub mod disk;
mod file;
mod migration;
mod open;
mod outage;
mod readers;
mod reading;
mod refused;
mod retention;
mod rows;
pub mod segments;
mod tools;
mod wal;

pub const LONG: Duration = Duration::from_secs(20);

/// A path for a database, in a directory of its own that goes with it.
pub struct Database {
    directory: TempDir,
    path: PathBuf,
}

impl Database {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        Self { directory, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// Opens a pipeline with settings that make faults show soon.
    #[track_caller]
    pub fn open(&self) -> Pipeline {
        self.open_with(impatient()).unwrap()
    }

    pub fn open_with(&self, config: Config) -> Result<Pipeline, Error> {
        Pipeline::builder().config(config).database(self.url()).open()
    }

    /// Creates the tables.
    pub fn create(&self) {
        assert!(self.open().shutdown_blocking(LONG).is_complete());
    }

    /// Opens a plain connection, as another program would.
    pub fn connect(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    pub fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub fn text(&self, sql: &str) -> String {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub fn texts(&self, sql: &str) -> Vec<String> {
        let connection = self.connect();
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// Returns the path of a file that belongs to the database, like `-wal`.
    pub fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }
}

/// Settings with which a locked or failing database is tried again soon, and batches are written at once.
pub fn impatient() -> Config {
    let mut config = Config::default();
    config.batch.max_wait = Duration::ZERO;
    config.sqlite.busy_timeout = Duration::from_millis(10);
    config.retry.initial = Duration::from_millis(1);
    config.retry.max = Duration::from_millis(20);
    config
}
