//! Views in other programs' names over our tables, for whoever reads a database with those programs.

use crate::config::Config;
use crate::database_url::DatabaseUrl;
use crate::error::{Error, ErrorKind};

/// Makes the views `logs` and `bounty`, in the names and forms of DECNET's tables, or makes them anew. Writers may run
/// meanwhile; rows that come later show in the views too.
///
/// # Errors
/// [`ErrorKind::NotADatabase`] when something else has one of those names; what opening the database may say;
/// [`ErrorKind::Unsupported`] for one that keeps nothing.
pub fn add_decnet_views(url: &DatabaseUrl, config: &Config) -> Result<(), Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::add_decnet_views(path),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => crate::backend::mysql::add_decnet_views(url, &config.mysql),
        _ => Err(no_views()),
    }
}

/// Drops the views; returns whether there were any.
///
/// # Errors
/// As [`add_decnet_views`].
pub fn drop_decnet_views(url: &DatabaseUrl, config: &Config) -> Result<bool, Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::drop_decnet_views(path),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => crate::backend::mysql::drop_decnet_views(url, &config.mysql),
        _ => Err(no_views()),
    }
}

fn no_views() -> Error {
    let why = "`memory:` keeps nothing, or this build lacks that kind of database; name one like `sqlite:forebay.db`";
    Error::new(ErrorKind::Unsupported, why)
}
