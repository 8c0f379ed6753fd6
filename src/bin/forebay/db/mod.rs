//! `forebay db init`, `migrate`, `status`, `check`, `reset` and `compat`: work on the tables of a database by hand. (`prune` is older, and a
//! file beside this folder.)

mod check;
mod compat;
mod flags;
mod init;
mod migrate;
mod reset;
mod status;

pub use flags::{
    CHECK_HELP, COMPAT_HELP, Compat, INIT_HELP, MIGRATE_HELP, Migrate, Place, RESET_HELP, Reset, STATUS_HELP,
};

use forebay::{Config, DatabaseUrl};

use crate::Exit;
use crate::ingest::Failure;

/// What is to be done, and told.
pub enum Task<'a> {
    Init(&'a Place),
    Status(&'a Place),
    Check(&'a Place),
    Reset(&'a Reset),
    Compat(&'a Compat),
    Migrate(&'a Migrate),
}

impl Task<'_> {
    /// Returns the database that the command line names.
    pub fn database(&self) -> Option<&str> {
        match self {
            Self::Init(place) | Self::Status(place) | Self::Check(place) => place.db.as_deref(),
            Self::Reset(flags) => flags.place.db.as_deref(),
            Self::Compat(flags) => flags.place.db.as_deref(),
            Self::Migrate(flags) => flags.place.db.as_deref(),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// [`Failure`] when it could not be done.
    pub fn run(&self, config: &Config, url: &str) -> Result<Exit, Failure> {
        let usage = |error: forebay::Error| Failure { exit: Exit::Usage, message: error.to_string() };
        let url = DatabaseUrl::parse(url).map_err(usage)?;
        match self {
            Self::Init(place) => init::run(place, config, &url),
            Self::Status(place) => status::run(place, config, &url),
            Self::Check(place) => check::run(place, config, &url),
            Self::Reset(flags) => reset::run(flags, config, &url),
            Self::Compat(flags) => compat::run(flags, config, &url),
            Self::Migrate(flags) => migrate::run(flags, config, &url),
        }
    }
}
