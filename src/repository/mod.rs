//! Reads what pipelines have written: pages, counts, tops and histograms of events and captures, in any database.
//!
//! [`Repository::open`] is the one way in: a host names a URL, never a backend. Events and captures are asked the same
//! questions, so there is one trait, [`Table`], over the row type, and one [`Filter`] over the type's columns. What a
//! database does to answer is under `backend/<name>/`; `open.rs` alone knows which there are. Every value of a filter
//! is bound, and column names come from enums, so nothing that a user writes becomes SQL.
//!
//! [`State`], [`Deployments`], [`Users`] and [`Tokens`] keep what hosts of sensors need beside rows; their statements are
//! shared by the SQL backends (`backend/sql/store.rs` says how), and `kept.rs` hands them out.
//!
//! Calls block, for as long as the database takes: async hosts call them from a thread for blocking work. Whether there
//! will be an async form too is decided with the first backend whose driver is async.

use std::sync::Arc;

use crate::capture::Capture;
use crate::config::Config;
use crate::database_url::DatabaseUrl;
use crate::error::Error;
use crate::event::Event;

mod columns;
mod deployments;
mod filter;
mod kept;
mod open;
mod page;
mod password;
mod state;
mod table;
mod users;

pub use columns::{CaptureColumn, Column, EventColumn, Record};
pub use deployments::{
    Change, Deployment, DeploymentFilter, DeploymentKind, DeploymentPlan, DeploymentState, Deployments, MAX_HISTORY,
    MAX_REASON, MAX_SERVICES, Swept, Transition,
};
pub use filter::Filter;
pub use page::{Cursor, Direction, MAX_LIMIT, Page, Paging, Sort, Stored};
pub use password::{MAX_PASSWORD, MIN_PASSWORD, Password};
pub use state::{Entry, Key, MAX_KEY, MAX_VALUE, State, Swap};
pub use table::{Bucket, Table, Tally};
pub use users::{MAX_NAME, NewUser, Role, Tokens, User, UserChange, Users};

use kept::Kept;

/// A database, open for reading. Cloning is cheap; any number of threads may ask at once.
#[derive(Clone)]
pub struct Repository {
    events: Arc<dyn Table<Event>>,
    captures: Arc<dyn Table<Capture>>,
    kept: Kept,
}

impl Repository {
    /// Opens the database that `url` names, which must exist; never creates or changes anything.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(&dir)?;
    /// use forebay::repository::{EventColumn, Filter, Paging, Repository};
    /// # forebay::Pipeline::open("sqlite:sensor.db")?.shutdown_blocking(std::time::Duration::from_secs(10));
    ///
    /// let repository = Repository::open("sqlite:sensor.db")?;
    /// let failures = Filter::new().is(EventColumn::EventType, "login.failed");
    /// for stored in repository.events().page(&failures, &Paging::newest(50))?.rows {
    ///     println!("{} {:?}", stored.row.ts(), stored.row.src_ip());
    /// }
    /// let attackers = repository.events().count_by(EventColumn::SrcIp, &failures, 10)?;
    /// # assert!(attackers.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) for a text that is no URL,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a database that cannot be read, else what stands in the way:
    /// see [`ErrorKind`](crate::ErrorKind).
    pub fn open(url: &str) -> Result<Self, Error> {
        Self::open_with(url, &Config::default())
    }

    /// As [`open`](Self::open), with settings: those of `config.mysql` matter.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(url: &str, config: &Config) -> Result<Self, Error> {
        config.validate()?;
        open::open(&DatabaseUrl::parse(url)?, config)
    }

    /// The events.
    pub fn events(&self) -> &dyn Table<Event> {
        &*self.events
    }

    /// The captures.
    pub fn captures(&self) -> &dyn Table<Capture> {
        &*self.captures
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").finish_non_exhaustive()
    }
}
