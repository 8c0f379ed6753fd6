//! What every database must answer: the same questions on SQLite and on a real MariaDB, the same answers.

use forebay::backend::Backend;
use forebay::backend::sqlite::Sqlite;
use forebay::repository::Repository;
use forebay::{Batch, Config, Pipeline, Row, RowType};

use crate::mysql::server::SHARED;
use crate::sqlite::Database;

mod contract;
mod counted;
mod known;
mod oracle;

/// A database of either kind, empty.
pub enum Place {
    Sqlite(Database),
    Mysql { name: String, url: String },
}

impl Place {
    pub fn both() -> [Self; 2] {
        [Self::sqlite(), Self::mysql()]
    }

    pub fn sqlite() -> Self {
        Self::Sqlite(Database::new())
    }

    pub fn mysql() -> Self {
        let (name, url) = SHARED.new_database();
        Self::Mysql { name, url }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(database) => database.url(),
            Self::Mysql { url, .. } => url.clone(),
        }
    }

    pub fn backend(&self, config: &Config) -> Box<dyn Backend> {
        match self {
            Self::Sqlite(database) => Box::new(Sqlite::open(database.path(), config).unwrap()),
            Self::Mysql { url, .. } => Box::new(crate::mysql::open(url)),
        }
    }

    pub fn pipeline(&self) -> Pipeline {
        Pipeline::builder().config(crate::sqlite::impatient()).database(self.url()).open().unwrap()
    }

    pub fn repository(&self) -> Repository {
        Repository::open(&self.url()).unwrap()
    }

    /// Runs SQL behind the back of everybody.
    pub fn execute(&self, sql: &str) {
        match self {
            Self::Sqlite(database) => database.execute(sql),
            Self::Mysql { name, .. } => {
                let mut admin = SHARED.admin();
                admin.run(&format!("USE `{name}`"));
                sql.split(';').filter(|sql| !sql.trim().is_empty()).for_each(|sql| admin.run(sql));
            }
        }
    }

    /// Writes rows, each of `batches` as one batch.
    pub fn write<R: RowType + Clone>(backend: &dyn Backend, source: &str, batches: &[Vec<R>]) {
        let mut position = 0;
        for rows in batches.iter().filter(|rows| !rows.is_empty()) {
            backend.write(&Batch::detached(source, position, rows.iter().cloned().map(Row::Keep).collect())).unwrap();
            position += rows.len() as u64;
        }
    }
}
