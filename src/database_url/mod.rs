//! The one parser for the name of a database.
//!
//! `sqlite:relative.db`, `sqlite:///absolute.db`, `mysql://user:password@host:3306/name`, `memory:`. A driver suffix
//! (`sqlite+aiosqlite:`, `mysql+asyncmy:`) is accepted and ignored, since deployments that we replace write it. `mysql`
//! reads servers, `parts` makes a URL of a database that is named in parts, `environment` finds its name, `percent` knows the escapes, `secret` keeps a
//! password out of every text. Errors name the scheme and the fault, never the text that was read: wherever a URL is
//! misspelt, a piece of the password may stand.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind};

mod environment;
mod mysql;
mod parts;
mod percent;
mod secret;

pub use environment::named_by;
pub use mysql::{Host, MysqlUrl, Tls, TlsMode};
pub use parts::DatabaseParts;
pub use secret::Secret;

use percent::decoded;

/// A database, named. `Display` and `Debug` never show its password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseUrl {
    /// `memory:` counts rows and keeps none: for tests and benchmarks.
    Memory,
    /// `sqlite:PATH`, one file.
    Sqlite(PathBuf),
    /// `mysql://...` or `mariadb://...`: one or several servers.
    Mysql(Box<MysqlUrl>),
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when it is none; [`ErrorKind::Unsupported`] for a kind of database that forebay
    /// cannot write to.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| {
            let shown = if url.is_empty() { "an empty text" } else { "a text without a scheme" };
            wrong(&format!("{shown} is no database URL; write `sqlite:PATH`, for example `sqlite:forebay.db`"))
        })?;
        match scheme.split('+').next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err(wrong("`memory:` takes nothing after the colon; for a file write `sqlite:PATH`")),
            "sqlite" => sqlite(rest),
            "mysql" | "mariadb" => MysqlUrl::parse(rest).map(|url| Self::Mysql(Box::new(url))),
            known @ ("postgres" | "postgresql") => {
                let why =
                    format!("forebay cannot write to `{known}` databases; it can to `sqlite:PATH` and `mysql://...`");
                Err(Error::new(ErrorKind::Unsupported, why))
            }
            _ => Err(wrong("unknown kind of database; write `sqlite:PATH`, `mysql://...` or `memory:`")),
        }
    }

    /// Returns the name of the database alone: the file's, or the one on its server.
    pub fn name(&self) -> String {
        match self {
            Self::Memory => "memory".into(),
            Self::Sqlite(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Mysql(url) => url.database.clone(),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Mysql(url) => write!(f, "{url}"),
        }
    }
}

fn sqlite(rest: &str) -> Result<DatabaseUrl, Error> {
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    if query.is_some() {
        return Err(wrong("a sqlite URL takes no options after `?`; write a literal `?` in the path as %3F"));
    }
    // As SQLAlchemy writes it: `sqlite:///x.db` is meant to be relative there, `sqlite:////x.db` absolute. Here three
    // slashes are an absolute path, as in every other URL, and four come to the same.
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => format!("/{}", absolute.trim_start_matches('/')),
        Some(_) => {
            return Err(wrong("write `sqlite:relative.db` or `sqlite:///absolute.db` (one or three slashes)"));
        }
        None => path.to_owned(),
    };
    let path = decoded(&path).ok_or_else(|| wrong("the path of the sqlite URL has a bad % escape"))?;
    if path.is_empty() || path == ":memory:" {
        return Err(wrong("a sqlite URL needs a path, for example `sqlite:forebay.db`; to keep nothing use `memory:`"));
    }
    if path.contains('\0') {
        return Err(wrong("the path of the sqlite URL has a NUL"));
    }
    Ok(DatabaseUrl::Sqlite(path.into()))
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Configuration, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_file_gives_its_path() {
        let path = |url| match DatabaseUrl::parse(url) {
            Ok(DatabaseUrl::Sqlite(path)) => path.to_str().map(str::to_owned),
            _ => None,
        };
        for (url, expected) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite:dir/a.db", "dir/a.db"),
            ("sqlite:/abs/a.db", "/abs/a.db"),
            ("sqlite:///abs/a.db", "/abs/a.db"),
            ("sqlite:////abs/a.db", "/abs/a.db"),
            ("SQLite+aiosqlite:///abs/a.db", "/abs/a.db"),
            ("sqlite:with%20space%3F.db", "with space?.db"),
            ("sqlite:ü%C3%BC.db", "üü.db"),
        ] {
            assert_eq!(path(url).as_deref(), Some(expected), "{url}");
        }
        assert_eq!(DatabaseUrl::parse("memory:").unwrap(), DatabaseUrl::Memory);
    }

    #[test]
    fn what_is_no_url_gets_a_hint_and_never_shows_a_password() {
        for url in [
            "",
            "forebay.db",
            "sqlite:",
            "sqlite::memory:",
            "sqlite://host/x",
            "sqlite:a?mode=ro",
            "sqlite:%zz",
            "sqlite:%ff",
            "sqlite:a%00",
            "memory:x",
            "postgres://u:secret@h/db",
            "mysqlx://u:secret@h/db",
            "secret",
        ] {
            let error = DatabaseUrl::parse(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("secret"), "{url}: {error}");
            assert!(error.to_string().contains("sqlite"), "{url}: {error}");
        }
    }
}
