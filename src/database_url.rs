//! The one parser for the name of a database.
//!
//! `sqlite:relative.db`, `sqlite:///absolute.db`, `memory:`. A driver suffix (`sqlite+aiosqlite:`) is accepted and
//! ignored, since deployments that we replace write it. Paths may be percent-encoded. Nothing here ever prints a
//! password: errors name the scheme and the fault, never the text.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind};

/// A database, named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseUrl {
    /// `memory:` counts rows and keeps none: for tests and benchmarks.
    Memory,
    /// `sqlite:PATH`, one file.
    Sqlite(PathBuf),
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when it is none; [`ErrorKind::Unsupported`] for a scheme that this build cannot
    /// write to.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| {
            let shown = if url.is_empty() { "an empty text" } else { "a text without a scheme" };
            wrong(format!("{shown} is no database URL; write `sqlite:PATH`, for example `sqlite:forebay.db`"))
        })?;
        match scheme.split('+').next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err(wrong("`memory:` takes nothing after the colon; for a file write `sqlite:PATH`".into())),
            "sqlite" => sqlite(rest),
            "mysql" | "mariadb" | "postgres" | "postgresql" => Err(Error::new(
                ErrorKind::Unsupported,
                format!("this build cannot write to `{}` databases; it can to `sqlite:PATH`", scheme.escape_default()),
            )),
            _ => Err(wrong("unknown kind of database; write `sqlite:PATH` or `memory:`".into())),
        }
    }
}

fn sqlite(rest: &str) -> Result<DatabaseUrl, Error> {
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    if query.is_some() {
        return Err(wrong("a sqlite URL takes no options after `?`; write a literal `?` in the path as %3F".into()));
    }
    // As SQLAlchemy writes it: `sqlite:///x.db` is meant to be relative there, `sqlite:////x.db` absolute. Here three
    // slashes are an absolute path, as in every other URL, and four come to the same.
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => format!("/{}", absolute.trim_start_matches('/')),
        Some(_) => {
            return Err(wrong("write `sqlite:relative.db` or `sqlite:///absolute.db` (one or three slashes)".into()));
        }
        None => path.to_owned(),
    };
    let path = percent_decoded(&path).ok_or_else(|| wrong("the path of the sqlite URL has a bad % escape".into()))?;
    if path.is_empty() || path == ":memory:" {
        return Err(wrong(
            "a sqlite URL needs a path, for example `sqlite:forebay.db`; to keep nothing use `memory:`".into(),
        ));
    }
    if path.contains('\0') {
        return Err(wrong("the path of the sqlite URL has a NUL".into()));
    }
    Ok(DatabaseUrl::Sqlite(path.into()))
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::Configuration, what)
}

/// Decodes `%41`; returns `None` for a broken escape and for bytes that are not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
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
            "mysql://u:secret@h/db",
            "mysqlx://u:secret@h/db",
            "secret",
        ] {
            let error = DatabaseUrl::parse(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("secret"), "{url}: {error}");
            assert!(error.to_string().contains("sqlite"), "{url}: {error}");
        }
    }
}
