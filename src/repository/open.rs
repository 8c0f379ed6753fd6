//! Opens repositories: the only place here that knows which backends exist.

use super::Repository;
use crate::database_url::DatabaseUrl;
use crate::error::{Error, ErrorKind};

pub(super) fn open(url: &str) -> Result<Repository, Error> {
    let unsupported = |why: &str| Err(Error::new(ErrorKind::Unsupported, why));
    match DatabaseUrl::parse(url)? {
        DatabaseUrl::Mysql(_) => unsupported("reading MySQL databases through a repository is not built yet"),
        DatabaseUrl::Memory => unsupported("`memory:` keeps no rows that could be read; name a file, `sqlite:PATH`"),
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => {
            let reader = std::sync::Arc::new(crate::backend::sqlite::Reader::open(&path)?);
            Ok(Repository { events: reader.clone(), captures: reader })
        }
        #[cfg(not(feature = "sqlite"))]
        DatabaseUrl::Sqlite(_) => unsupported("this build has no SQLite; build it with the feature `sqlite`"),
    }
}
