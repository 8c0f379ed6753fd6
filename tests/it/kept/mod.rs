//! State, deployments and users: one list of claims for every database, and for each way to it.
//!
//! Each claim is a function of a [`Site`]; [`claims!`] makes three tests of it: a SQLite file that nobody writes to, one that
//! a pipeline of this process writes to, and a MariaDB server.

use forebay::{DatabaseUrl, Pipeline, Repository, maintenance};

use crate::mysql::server::SHARED;
use crate::sqlite::Database;

mod busy;
mod deployments;
mod hostile;
mod state;
mod tokens;
mod users;

/// A database with tables, empty.
pub struct Site {
    url: String,
    pipeline: Option<Pipeline>,
    file: Option<Database>,
}

impl Site {
    pub fn file() -> Self {
        let database = Database::new();
        database.create();
        Self { url: database.url(), pipeline: None, file: Some(database) }
    }

    pub fn file_of_a_pipeline() -> Self {
        let database = Database::new();
        let pipeline = database.open();
        Self { url: database.url(), pipeline: Some(pipeline), file: Some(database) }
    }

    pub fn server() -> Self {
        let url = SHARED.new_database().1;
        maintenance::init(&DatabaseUrl::parse(&url).unwrap(), &crate::mysql::impatient()).unwrap();
        Self { url, pipeline: None, file: None }
    }

    /// Adds so many changes to a deployment's history, past the repository.
    pub fn add_history(&self, deployment: &str, rows: u64) {
        let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})");
        let select = format!("{numbers} SELECT '{deployment}', i, 'failed' FROM n");
        let into = "deployment_history (deployment, at, to_state)";
        match &self.file {
            Some(file) => file.execute(&format!("INSERT INTO {into} {select}")),
            None => {
                let name = self.url.rsplit('/').next().unwrap();
                SHARED.admin().run(&format!("INSERT INTO `{name}`.{into} {select}"));
            }
        }
    }

    /// Opens a repository; each call one of its own.
    pub fn open(&self) -> Repository {
        match &self.pipeline {
            Some(pipeline) => pipeline.repository().unwrap(),
            None => Repository::open_with(&self.url, &crate::mysql::impatient()).unwrap(),
        }
    }
}

/// Makes the tests of claims.
macro_rules! claims {
    ($($claim:ident),+ $(,)?) => {
        mod in_a_file {
            $(#[test] fn $claim() { super::$claim(&crate::kept::Site::file()); })+
        }
        mod in_a_file_of_a_pipeline {
            $(#[test] fn $claim() { super::$claim(&crate::kept::Site::file_of_a_pipeline()); })+
        }
        mod on_a_server {
            $(#[test] fn $claim() { super::$claim(&crate::kept::Site::server()); })+
        }
    };
}

use claims;
