//! Reads what pipelines have written: pages, counts, tops and histograms of events and captures, in any database.
//!
//! [`Repository::open`] is the one way in: a host names a URL, never a backend. Events and captures are asked the same
//! questions, so there is one trait, [`Table`], over the row type, and one [`Filter`] over the type's columns, which has a
//! text form too. Both are implemented once, for all SQL databases (`backend/sql/query`), where every call is measured and
//! traced; `open.rs` alone knows which databases there are. Every value of a filter is bound, and column names come from
//! enums, so nothing that a user writes becomes SQL. [`Sessions`] and [`Tail`] are made of the same.
//!
//! [`State`], [`Deployments`], [`Users`] and [`Tokens`] keep what hosts of sensors need beside rows; their statements are
//! shared by the SQL backends (`backend/sql/store.rs` says how), and `kept.rs` hands them out.
//!
//! Calls block, for as long as the database takes: async hosts call them from a thread for blocking work. The one thing
//! that waits for long, a [`Tail`], has an async form. Turned down: async calls, which for SQLite would be the same threads
//! behind a mask.

use std::sync::Arc;

use crate::capture::Capture;
use crate::config::Config;
use crate::database_url::{self, DatabaseUrl};
use crate::error::{Error, ErrorKind};
use crate::event::Event;

mod buckets;
mod columns;
mod deployments;
mod expression;
mod field;
mod filter;
mod kept;
mod open;
mod page;
mod password;
mod sessions;
mod state;
mod table;
mod tail;
mod users;

pub use buckets::Buckets;
pub use columns::{CaptureColumn, Column, ColumnKind, EventColumn, Record};
pub use deployments::{
    Change, Deployment, DeploymentFilter, DeploymentKind, DeploymentPlan, DeploymentState, Deployments, MAX_HISTORY,
    MAX_REASON, MAX_SERVICES, Swept, Transition,
};
pub use expression::{ExpressionError, MOST_BYTES, MOST_TERMS};
pub use field::FieldPath;
pub use filter::{Condition, Filter, Test};
pub use page::{Cursor, Direction, MAX_LIMIT, MAX_OFFSET, Page, Paging, Sort, Stored};
pub use password::{MAX_PASSWORD, MIN_PASSWORD, Password};
pub use sessions::{MOST_SESSIONS, Session, SessionRows, Sessions};
pub use state::{Entry, Key, MAX_KEY, MAX_VALUE, State, Swap};
pub use table::{Bucket, Source, Summary, Table, Tally};
pub use tail::{Tail, TailStream};
pub use users::{MAX_NAME, NewUser, Role, Tokens, User, UserChange, Users};

use kept::Kept;
pub(crate) use tail::Settled;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use users::user_name;

/// A database, open for reading. Cloning is cheap; any number of threads may ask at once.
#[derive(Clone)]
pub struct Repository {
    events: Arc<dyn Table<Event>>,
    captures: Arc<dyn Table<Capture>>,
    sessions: Arc<dyn Sessions>,
    settled: Arc<dyn Settled>,
    kept: Kept,
}

impl Repository {
    /// Opens the database that `url` names, which must exist; never creates or changes anything. A server is connected to
    /// with the first question: until then nothing is known of it.
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
    /// see [`ErrorKind`].
    pub fn open(url: &str) -> Result<Self, Error> {
        Self::open_with(url, &Config::default())
    }

    /// As [`open`](Self::open), with settings: those of `config.mysql` and `config.sqlite.readers` matter.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(url: &str, config: &Config) -> Result<Self, Error> {
        config.validate()?;
        open::open(&DatabaseUrl::parse(url)?, config)
    }

    /// As [`open`](Self::open), of the database that the environment names: `FOREBAY_DB_URL`, else its parts, `FOREBAY_DB_TYPE`,
    /// `_HOST`, `_PORT`, `_NAME`, `_USER` and `_PASSWORD`. `environment` returns a variable's text, and `None` for an empty one;
    /// the library itself reads no environment, so a host may look elsewhere.
    ///
    /// ```no_run
    /// # use forebay::Repository;
    /// let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    /// let repository = Repository::from_env(variable)?;
    /// # Ok::<(), forebay::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Configuration`](crate::ErrorKind::Configuration) when no database is named.
    pub fn from_env(environment: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let none = || Error::new(ErrorKind::Configuration, "no database is named; set FOREBAY_DB_URL");
        let url = database_url::named_by(&environment)?.ok_or_else(none)?;
        let mut config = Config::default();
        let may_be_empty = environment("FOREBAY_DB_ALLOW_EMPTY_PASSWORD");
        config.mysql.allow_empty_password = matches!(may_be_empty.as_deref(), Some("true" | "1"));
        Self::open_with(&url, &config)
    }

    /// The events.
    pub fn events(&self) -> &dyn Table<Event> {
        &*self.events
    }

    /// The captures.
    pub fn captures(&self) -> &dyn Table<Capture> {
        &*self.captures
    }

    /// Follows the events that `filter` leaves, from the id `after` on; without one, from now on.
    ///
    /// # Errors
    /// As [`Table::page`].
    pub fn tail_events(&self, filter: Filter<EventColumn>, after: Option<i64>) -> Result<Tail<Event>, Error> {
        Tail::new(self.events.clone(), self.settled.clone(), filter, after)
    }

    /// As [`tail_events`](Self::tail_events), for captures.
    ///
    /// # Errors
    /// As [`Table::page`].
    pub fn tail_captures(&self, filter: Filter<CaptureColumn>, after: Option<i64>) -> Result<Tail<Capture>, Error> {
        Tail::new(self.captures.clone(), self.settled.clone(), filter, after)
    }

    /// The sessions of both.
    pub fn sessions(&self) -> &dyn Sessions {
        &*self.sessions
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").finish_non_exhaustive()
    }
}
