//! Opens repositories: the only place here that knows which backends exist.

use super::Repository;
use crate::config::Config;
use crate::database_url::DatabaseUrl;
use crate::error::{Error, ErrorKind};

/// How many questions about rows a server is asked at once; who comes then waits.
#[cfg(feature = "mysql")]
const CONNECTIONS: usize = 4;

pub(super) fn open(url: &DatabaseUrl, config: &Config) -> Result<Repository, Error> {
    let unsupported = |why: &str| Err(Error::new(ErrorKind::Unsupported, why));
    let _ = config;
    match url {
        DatabaseUrl::Memory => unsupported("`memory:` keeps nothing that could be read; name a file, `sqlite:PATH`"),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => {
            use crate::backend::mysql::{MysqlStore, Reader};
            let desk = crate::backend::sql::store::Desk::new(MysqlStore::new((**url).clone(), &config.mysql));
            Ok(of(Reader::new(url, &config.mysql, CONNECTIONS)?, kept(desk)))
        }
        #[cfg(not(feature = "mysql"))]
        DatabaseUrl::Mysql(_) => unsupported("this build has no MySQL; build it with the feature `mysql`"),
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => of_sqlite(path, config, std::sync::Weak::new()),
        #[cfg(not(feature = "sqlite"))]
        DatabaseUrl::Sqlite(_) => unsupported("this build has no SQLite; build it with the feature `sqlite`"),
    }
}

#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn kept(desk: impl super::State + super::Deployments + super::Users + super::Tokens + 'static) -> super::Kept {
    let desk = std::sync::Arc::new(desk);
    super::Kept {
        state: desk.clone(),
        deployments: desk.clone(),
        users: desk.clone(),
        tokens: desk,
        sign_ins: std::sync::Arc::default(),
    }
}

#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn of(reader: impl crate::backend::sql::query::Database, kept: super::Kept) -> Repository {
    let tables = std::sync::Arc::new(crate::backend::sql::query::Tables::new(reader));
    Repository { events: tables.clone(), captures: tables.clone(), sessions: tables.clone(), settled: tables, kept }
}

/// Opens a file that a pipeline of this process may be writing to.
#[cfg(feature = "sqlite")]
fn of_sqlite(
    path: &std::path::Path,
    config: &Config,
    pipeline: std::sync::Weak<crate::backend::sqlite::Sqlite>,
) -> Result<Repository, Error> {
    use crate::backend::sqlite::{Reader, SqliteStore};
    let reader = Reader::open(path, config.sqlite.readers)?;
    let desk = crate::backend::sql::store::Desk::new(SqliteStore::open(path, pipeline)?);
    Ok(of(reader, kept(desk)))
}

impl Repository {
    /// As [`open_with`](Self::open_with), without validating the settings.
    pub(crate) fn at(url: &DatabaseUrl, config: &Config) -> Result<Self, Error> {
        open(url, config)
    }

    /// Opens the file that `pipeline` writes to, and changes state through it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn beside(
        path: &std::path::Path,
        config: &Config,
        pipeline: std::sync::Weak<crate::backend::sqlite::Sqlite>,
    ) -> Result<Self, Error> {
        of_sqlite(path, config, pipeline)
    }
}
