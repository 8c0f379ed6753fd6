//! Makes, describes, counts, checks and drops the tables of a database: the same questions to every backend.

use super::{DatabaseStatus, Finding};
use crate::config::Config;
use crate::database_url::DatabaseUrl;
use crate::error::{Error, ErrorKind};

/// Makes the tables, or brings them up to date; returns the version of the schema. Done twice it changes nothing.
///
/// # Errors
/// What opening the database may say; [`ErrorKind::Unavailable`] when its server does not answer.
pub fn init(url: &DatabaseUrl, config: &Config) -> Result<i64, Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::init(path, config),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => crate::backend::mysql::init(url, &config.mysql),
        _ => Err(nothing_kept()),
    }
}

/// Describes the database; changes nothing, and may run beside a writer.
///
/// # Errors
/// As [`init`].
pub fn status(url: &DatabaseUrl, config: &Config) -> Result<DatabaseStatus, Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::status(path),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => crate::backend::mysql::status(url, &config.mysql),
        _ => Err(nothing_kept()),
    }
}

/// Counts events and captures, exactly, which may take as long as reading an index; 0 when there are no tables yet.
///
/// # Errors
/// As [`init`].
pub fn count(url: &DatabaseUrl, config: &Config) -> Result<u64, Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => {
            let status = crate::backend::sqlite::status(path)?;
            Ok(status.tables.iter().map(|table| table.rows).sum())
        }
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => crate::backend::mysql::count(url, &config.mysql),
        _ => Err(nothing_kept()),
    }
}

/// Reads everything and returns what is wrong: the database's own check of its pages and indexes, the segments against
/// their catalogue, the ledger against itself and the tables. May take as long as reading the whole database; changes
/// nothing, and may run beside a writer.
///
/// # Errors
/// As [`init`], when it could not be checked.
pub fn check(url: &DatabaseUrl, config: &Config) -> Result<Vec<Finding>, Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::check(path),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => crate::backend::mysql::check(url, &config.mysql),
        _ => Err(nothing_kept()),
    }
}

/// Drops our tables with all rows, and nothing else; returns the names of what was dropped. `name` confirms that this
/// database is meant: see [`DatabaseUrl::name`].
///
/// # Errors
/// Before anything is dropped: [`ErrorKind::Configuration`] for another name, [`ErrorKind::NotADatabase`] when there are
/// tables that are not ours, [`ErrorKind::InUse`] while somebody else has the database open; and as [`init`].
pub fn reset(url: &DatabaseUrl, config: &Config, name: &str) -> Result<Vec<String>, Error> {
    config.validate()?;
    if url.name() != name {
        let why = format!("the database is named {:?}, not {name:?}; nothing was dropped", url.name());
        return Err(Error::new(ErrorKind::Configuration, why));
    }
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::reset(path, config),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => crate::backend::mysql::reset(url, &config.mysql),
        _ => Err(nothing_kept()),
    }
}

pub(super) fn nothing_kept() -> Error {
    let why = "`memory:` keeps nothing, or this build lacks that kind of database; name one like `sqlite:forebay.db`";
    Error::new(ErrorKind::Unsupported, why)
}
