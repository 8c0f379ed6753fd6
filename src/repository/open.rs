//! Opens repositories: the only place here that knows which backends exist.

use super::Repository;
use crate::config::Config;
use crate::database_url::DatabaseUrl;
use crate::error::{Error, ErrorKind};

pub(super) fn open(url: &DatabaseUrl, config: &Config) -> Result<Repository, Error> {
    let unsupported = |why: &str| Err(Error::new(ErrorKind::Unsupported, why));
    let _ = config;
    match url {
        DatabaseUrl::Memory => unsupported("`memory:` keeps nothing that could be read; name a file, `sqlite:PATH`"),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => {
            use crate::backend::mysql::MysqlStore;
            let desk = crate::backend::sql::store::Desk::new(MysqlStore::new((**url).clone(), &config.mysql));
            let unread = std::sync::Arc::new(unread::Unread);
            Ok(Repository { events: unread.clone(), captures: unread, kept: kept(desk) })
        }
        #[cfg(not(feature = "mysql"))]
        DatabaseUrl::Mysql(_) => unsupported("this build has no MySQL; build it with the feature `mysql`"),
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => of_sqlite(path, std::sync::Weak::new()),
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

/// Opens a file that a pipeline of this process may be writing to.
#[cfg(feature = "sqlite")]
fn of_sqlite(
    path: &std::path::Path,
    pipeline: std::sync::Weak<crate::backend::sqlite::Sqlite>,
) -> Result<Repository, Error> {
    use crate::backend::sqlite::{Reader, SqliteStore};
    let reader = std::sync::Arc::new(Reader::open(path)?);
    let desk = crate::backend::sql::store::Desk::new(SqliteStore::open(path, pipeline)?);
    Ok(Repository { events: reader.clone(), captures: reader, kept: kept(desk) })
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
        pipeline: std::sync::Weak<crate::backend::sqlite::Sqlite>,
    ) -> Result<Self, Error> {
        of_sqlite(path, pipeline)
    }
}

/// In place of a reader of MySQL's rows.
#[cfg(feature = "mysql")]
mod unread {
    use std::time::Duration;

    use crate::error::{Error, ErrorKind};
    use crate::repository::{Bucket, Filter, Page, Paging, Record, Table, Tally};

    pub(super) struct Unread;

    fn unsupported<T>() -> Result<T, Error> {
        Err(Error::new(ErrorKind::Unsupported, "reading rows of MySQL databases through a repository is not built yet"))
    }

    impl<R: Record> Table<R> for Unread {
        fn page(&self, _: &Filter<R::Column>, _: &Paging) -> Result<Page<R>, Error> {
            unsupported()
        }

        fn count(&self, _: &Filter<R::Column>) -> Result<u64, Error> {
            unsupported()
        }

        fn count_by(&self, _: R::Column, _: &Filter<R::Column>, _: usize) -> Result<Vec<Tally>, Error> {
            unsupported()
        }

        fn histogram(&self, _: &Filter<R::Column>, _: Duration) -> Result<Vec<Bucket>, Error> {
            unsupported()
        }
    }
}
