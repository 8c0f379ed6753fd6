//! Sessions: what a sensor gave one name, with its events and captures.
//!
//! A session's name is its sensor's: two sensors may use the same one, so a session is known by both.

use super::columns::EventColumn;
use super::filter::Filter;
use super::page::Page;
use crate::capture::Capture;
use crate::error::Error;
use crate::event::Event;
use crate::timestamp::Timestamp;

/// Most sessions of a list.
pub const MOST_SESSIONS: usize = 1000;

/// One session, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its sensor.
    pub sensor: String,
    /// Its sensor's name for it.
    pub name: String,
    /// How many of its events the filter leaves.
    pub events: u64,
    /// When the first of them happened.
    pub first: Timestamp,
    /// When the last of them happened.
    pub last: Timestamp,
    /// How many captures it has, whatever the filter says.
    pub captures: u64,
}

/// The rows of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRows {
    /// Its events, earliest first.
    pub events: Page<Event>,
    /// Its captures, earliest first.
    pub captures: Page<Capture>,
}

/// All sessions.
pub trait Sessions: Send + Sync {
    /// Returns the sessions with events that `filter` leaves, those with the latest event first, equals in the order of
    /// their bytes: `limit` of them, at most [`MOST_SESSIONS`]. Each that has such an event is in memory for a while, so
    /// name a range of time.
    ///
    /// # Errors
    /// As [`Table::page`](super::Table::page).
    fn list(&self, filter: &Filter<EventColumn>, limit: usize) -> Result<Vec<Session>, Error>;

    /// Returns a session's rows, `limit` of each kind, at most [`MAX_LIMIT`](super::MAX_LIMIT). Of events those between the
    /// two moments, both within, which [`Session`] has: there is no index for their sessions, and without the moments every
    /// event of the sensor is looked at.
    ///
    /// # Errors
    /// As [`Table::page`](super::Table::page).
    fn rows(
        &self,
        sensor: &str,
        name: &str,
        between: Option<(Timestamp, Timestamp)>,
        limit: usize,
    ) -> Result<SessionRows, Error>;
}
