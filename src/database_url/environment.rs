//! The database that an environment names, by the names of the deployments that forebay replaces, with our prefix.

use super::{DatabaseParts, wrong};
use crate::error::Error;

/// Returns the URL of the database that variables name: `FOREBAY_DB_URL`, else in parts `FOREBAY_DB_TYPE`, `_HOST`, `_PORT`,
/// `_NAME`, `_USER` and `_PASSWORD`; `None` when there is neither a URL nor a type. `environment` returns a variable's text, and
/// `None` for an empty one. The URL may hold a password: keep it out of logs.
///
/// # Errors
/// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for parts that make no database.
pub fn named_by(environment: impl Fn(&str) -> Option<String>) -> Result<Option<String>, Error> {
    if let Some(url) = environment("FOREBAY_DB_URL") {
        return Ok(Some(url));
    }
    let Some(kind) = environment("FOREBAY_DB_TYPE") else { return Ok(None) };
    let number = |text: String| text.trim().parse().map_err(|_| wrong("FOREBAY_DB_PORT is no number of a port"));
    let parts = DatabaseParts {
        kind,
        host: environment("FOREBAY_DB_HOST"),
        port: environment("FOREBAY_DB_PORT").map(number).transpose()?,
        name: environment("FOREBAY_DB_NAME"),
        user: environment("FOREBAY_DB_USER"),
        password: environment("FOREBAY_DB_PASSWORD").map(Into::into),
    };
    parts.url().map(Some).map_err(|error| wrong(&format!("FOREBAY_DB_TYPE: {error}")))
}
