//! Sessions: events grouped by sensor and name, and the captures of those that are shown.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::record::Fetch;
use super::tally::from;
use super::{Database, Dialect, Snapshot, page};
use crate::capture::Capture;
use crate::error::Error;
use crate::event::Event;
use crate::repository::{
    CaptureColumn, Direction, EventColumn, Filter, MOST_SESSIONS, Paging, Session, SessionRows, Sort, Test,
};
use crate::timestamp::Timestamp;

/// Sessions whose captures one statement counts: always so many, so that it is prepared once.
const AT_ONCE: usize = 100;

pub(super) fn list<D: Database>(
    snapshot: &mut D::Snapshot,
    filter: &Filter<EventColumn>,
    limit: usize,
) -> Result<Vec<Session>, Error> {
    let mut found: HashMap<(String, String), Session> = HashMap::new();
    for arm in D::arms::<Event>(snapshot, filter)? {
        let sql = from::<Event, D>(WHAT.into(), &arm, filter).and().own("session IS NOT NULL").own(grouping::<D>());
        for (sensor, name, rows, first, last) in snapshot.grouped(sql)? {
            let (Some(sensor), Some(name)) = (sensor, name) else { continue };
            let (first, last) = (Timestamp::from_nanos(first), Timestamp::from_nanos(last));
            let new = || Session { sensor: sensor.clone(), name: name.clone(), events: 0, first, last, captures: 0 };
            let session = found.entry((sensor.clone(), name.clone())).or_insert_with(new);
            session.events += rows as u64;
            (session.first, session.last) = (session.first.min(first), session.last.max(last));
        }
    }
    let mut sessions: Vec<_> = found.into_values().collect();
    sessions.sort_unstable_by(|a, b| {
        let key = |session: &Session| Reverse(session.last);
        key(a).cmp(&key(b)).then_with(|| (&a.sensor, &a.name).cmp(&(&b.sensor, &b.name)))
    });
    sessions.truncate(limit.min(MOST_SESSIONS));
    for sessions in sessions.chunks_mut(AT_ONCE) {
        count_captures::<D>(snapshot, sessions)?;
    }
    Ok(sessions)
}

const WHAT: &str = "sensor, session, count(*), min(ts), max(ts)";

fn grouping<D: Database>() -> String {
    format!(" GROUP BY {}, {}", D::Dialect::group("sensor"), D::Dialect::group("session"))
}

fn count_captures<D: Database>(snapshot: &mut D::Snapshot, sessions: &mut [Session]) -> Result<(), Error> {
    let everything = Filter::new();
    let mut counts: HashMap<(String, String), u64> = HashMap::new();
    for arm in D::arms::<Capture>(snapshot, &everything)? {
        let mut sql = from::<Capture, D>(WHAT.into(), &arm, &everything).and().own("session IN (");
        let names = sessions.iter().chain(std::iter::repeat(&sessions[0])).take(AT_ONCE);
        for (place, session) in names.enumerate() {
            sql = sql.own(if place == 0 { "" } else { "," }).text(&session.name);
        }
        for (sensor, name, rows, ..) in snapshot.grouped(sql.own(")").own(grouping::<D>()))? {
            let (Some(sensor), Some(name)) = (sensor, name) else { continue };
            *counts.entry((sensor, name)).or_default() += rows as u64;
        }
    }
    for session in sessions {
        let key = (session.sensor.clone(), session.name.clone());
        session.captures = counts.get(&key).copied().unwrap_or(0);
    }
    Ok(())
}

pub(super) fn rows<D: Database>(
    snapshot: &mut D::Snapshot,
    sensor: &str,
    name: &str,
    between: Option<(Timestamp, Timestamp)>,
    limit: usize,
) -> Result<SessionRows, Error>
where
    Event: Fetch<Column = EventColumn>,
    Capture: Fetch<Column = CaptureColumn>,
{
    let paging = Paging::newest(limit).ordered(Sort::Time, Direction::OldestFirst);
    let events = Filter::new().is(EventColumn::Sensor, sensor).is(EventColumn::Session, name);
    let events = match between {
        Some((first, last)) => events.and(Test::Times(first.as_nanos(), last.as_nanos())),
        None => events,
    };
    let captures = Filter::new().is(CaptureColumn::Sensor, sensor).is(CaptureColumn::Session, name);
    Ok(SessionRows {
        events: page::page::<Event, D>(snapshot, &events, &paging)?,
        captures: page::page::<Capture, D>(snapshot, &captures, &paging)?,
    })
}
