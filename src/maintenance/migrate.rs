//! Brings the tables of a database to a version, or tells what that would take.
//!
//! Every writer does so by itself when it opens a database; this is for doing it at a chosen time, by a user who may, up to
//! a version that an older forebay still knows. There is no way back: a step down would have to drop what the step up
//! made, with what is in it. Whoever must go back restores a backup that was made before.

use crate::config::Config;
use crate::database_url::DatabaseUrl;
use crate::error::{Error, ErrorKind};

/// One step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The version that it leads to.
    pub version: i64,
    /// What it is called.
    pub name: String,
}

/// What is to be done with the steps that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Take them.
    Now,
    /// Tell of them, and change nothing.
    Dry,
}

/// Takes the steps up to the version `to` (`None`: the latest), or tells which they are. Returns them, with the version
/// before: 0 when there were no tables.
///
/// # Errors
/// [`ErrorKind::Configuration`] for a version below what is there, or that this forebay does not know;
/// [`ErrorKind::NewerSchema`] when the tables are newer than that; [`ErrorKind::InUse`] while a pipeline writes to a file;
/// and what opening the database may say.
pub fn migrate(url: &DatabaseUrl, config: &Config, to: Option<i64>, run: Run) -> Result<(i64, Vec<Migration>), Error> {
    config.validate()?;
    match url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => crate::backend::sqlite::migrate(path, config, to, run),
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(url) => crate::backend::mysql::migrate(url, &config.mysql, to, run),
        _ => {
            let _ = (to, run);
            Err(super::database::nothing_kept())
        }
    }
}

/// Returns which of the steps `all` lead from the version `from` to `to`. Pure.
#[cfg_attr(not(any(feature = "mysql", feature = "sqlite")), allow(dead_code))]
pub(crate) fn steps(all: &[&str], from: i64, to: Option<i64>) -> Result<Vec<Migration>, Error> {
    let wrong = |why: String| Err(Error::new(ErrorKind::Configuration, why));
    let latest = all.len() as i64;
    let to = to.unwrap_or(latest);
    if to > latest {
        return wrong(format!("this forebay knows schema versions up to {latest}, not {to}; use a newer one"));
    }
    if to < from {
        let why = format!("the tables have schema version {from}, and there is no way back to {to}");
        return wrong(format!("{why}; restore a backup that was made before"));
    }
    let named = all.iter().zip(1..).map(|(name, version)| Migration { version, name: (*name).to_owned() });
    Ok(named.filter(|step| step.version > from && step.version <= to).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_forward_only() {
        let all = ["a", "b", "c"];
        let versions = |from, to| -> Result<Vec<i64>, String> {
            let steps = steps(&all, from, to).map_err(|error| error.to_string())?;
            Ok(steps.into_iter().map(|step| step.version).collect())
        };
        assert_eq!(versions(0, None).unwrap(), [1, 2, 3]);
        assert_eq!(versions(1, Some(2)).unwrap(), [2]);
        assert_eq!(versions(3, None).unwrap(), [0; 0]);
        assert!(versions(2, Some(1)).unwrap_err().contains("no way back to 1"));
        assert!(versions(0, Some(-1)).unwrap_err().contains("no way back"));
        assert!(versions(0, Some(4)).unwrap_err().contains("versions up to 3, not 4"));
    }
}
