//! Where the runs write: files that are not there yet, and tables without rows. So all that is there later is ours, and only
//! that is deleted between two runs.
//!
//! Files that nobody has named are deleted at the end; a file or tables that somebody has named keep the last run's rows.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use forebay::{DatabaseUrl, Error, maintenance};

use super::load::{Contender, Load};

pub struct Rooms {
    unnamed: Vec<PathBuf>,
    /// Rows that our last run has left in the tables of a server, by its URL.
    filled: HashMap<String, u64>,
}

impl Rooms {
    /// Gives a file to each load that names no database, and looks whether there is anything in the others.
    ///
    /// # Errors
    /// When there is.
    pub fn prepare(loads: &mut [Load]) -> Result<Self, String> {
        let mut rooms = Self { unnamed: Vec::new(), filled: HashMap::new() };
        for load in loads {
            let is_unnamed = load.url.is_empty();
            if is_unnamed {
                let yardstick = if load.contender == Contender::SqliteC { ".sqlite-c" } else { "" };
                load.url = format!("sqlite:forebay-bench-{}.db{yardstick}", std::process::id());
            }
            if let Some(url) = load.server()? {
                let rows = maintenance::count(&url, &load.config).map_err(told)?;
                if rows > 0 {
                    let advice =
                        "a benchmark writes into empty tables: name another database, or see `forebay db reset`";
                    return Err(format!("{url} holds {rows} rows; {advice}"));
                }
            }
            let Some(path) = load.file()? else { continue };
            if path.exists() {
                return Err(format!("{} exists already; a benchmark writes into a new file", path.display()));
            }
            if is_unnamed {
                rooms.unnamed.push(path);
            }
        }
        Ok(rooms)
    }

    /// Deletes what an earlier run has left where this load writes.
    ///
    /// # Errors
    /// When tables hold other rows than that run has written: somebody else writes there.
    pub fn make(&self, load: &Load) -> Result<(), String> {
        load.file()?.iter().for_each(|path| delete(path));
        let Some(url) = load.server()? else { return Ok(()) };
        let rows = maintenance::count(&url, &load.config).map_err(told)?;
        let ours = self.filled.get(&load.url).copied().unwrap_or(0);
        if rows != ours {
            return Err(format!("{url} holds {rows} rows, of which {ours} are ours; nothing was deleted"));
        }
        if rows > 0 {
            maintenance::reset(&url, &load.config, &url.name()).map_err(told)?;
        }
        Ok(())
    }

    /// Notes what a run has written.
    pub fn filled(&mut self, load: &Load, rows: u64) {
        self.filled.insert(load.url.clone(), rows);
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        self.unnamed.iter().for_each(|path| delete(path));
    }
}

impl Load {
    /// Returns the server that is written to, if it is one.
    pub fn server(&self) -> Result<Option<DatabaseUrl>, String> {
        let url = DatabaseUrl::parse(&self.url).map_err(|error| error.to_string())?;
        Ok(matches!(url, DatabaseUrl::Mysql(_)).then_some(url))
    }
}

fn told(error: Error) -> String {
    let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!("{error}{cause}")
}

fn delete(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // The log's files are mostly gone already.
        let _ = std::fs::remove_file(name);
    }
}
