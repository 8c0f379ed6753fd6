//! `forebay sessions`: what sensors have put under one name each, and one of them whole.

use clap::Args;
use forebay::repository::{
    CaptureColumn, EventColumn, Filter, MOST_SESSIONS, Repository, Session, SessionRows, Stored,
};
use forebay::{Capture, Event, Timestamp};
use serde_json::{Value, json};

use super::grid::{Grid, Title};
use super::row::{Cell, Column, Shown, moment, plain, preview};
use super::{Window, expression, expressions, sink};
use crate::Exit;
use crate::db::Place;
use crate::ingest::{Failure, refused};
use crate::kept::{Kept, missing, usage, word};
use crate::terminal::{self, thousands};

pub const HELP: &str = concat!(
    "\
Examples:
  forebay sessions --since 24h
  forebay sessions --since 24h --where 'service:ssh event_type:login.success'
  forebay sessions 5c1d0a2b --sensor web-1                everything that belongs to it, in the order of time
  forebay sessions 5c1d0a2b --json | jq -c .rows[]

",
    expressions!(),
    "

A session's name is its sensor's: two sensors may use the same one. A list has the sessions with the latest events first; their \
events are counted that the expression leaves, and all captures. Without --since every event is looked at.

Exit codes:
  0    something was found
  1    nothing was found
  2    wrong usage or configuration, a mistake in the expression, or several sensors have such a session
  3    the database could not be read, or the answer not be written"
);

/// Most characters of what is shown of captured bytes and messages.
const TEXT: usize = 200;

#[derive(Debug, Args)]
pub struct Sessions {
    /// The session that is to be shown whole; without one, they are listed.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only those of this sensor.
    #[arg(long, value_name = "NAME")]
    sensor: Option<String>,
    /// Only sessions with events that this expression leaves.
    #[arg(long = "where", value_name = "EXPR", conflicts_with = "id")]
    expression: Option<String>,
    #[command(flatten)]
    window: Window,
    /// Most sessions; of one session, most events and most captures. Default: 50; of one session 1000
    #[arg(short = 'n', long, value_name = "ROWS", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: Option<u16>,
    #[command(flatten)]
    pub place: Place,
}

impl Sessions {
    /// Lists them, or shows one.
    ///
    /// # Errors
    /// [`Failure`], when it could not be asked, read or written, or is not there.
    pub fn run(&self, kept: &Kept) -> Result<Exit, Failure> {
        match &self.id {
            Some(id) => self.show(id, kept),
            None => self.list(kept),
        }
    }

    fn filter(&self) -> Result<Filter<EventColumn>, Failure> {
        let filter = expression(self.expression.as_slice())?;
        let filter = match &self.sensor {
            Some(sensor) => filter.is(EventColumn::Sensor, sensor.as_str()),
            None => filter,
        };
        Ok(self.window.of(filter))
    }

    fn list(&self, kept: &Kept) -> Result<Exit, Failure> {
        let limit = usize::from(self.limit.unwrap_or(50));
        if limit > MOST_SESSIONS {
            return Err(usage(format!("at most {MOST_SESSIONS} sessions are listed: name a range of time")));
        }
        let filter = self.filter()?;
        let sessions = kept.open()?.sessions().list(&filter, limit).map_err(refused)?;
        let text = if kept.json { line(&Value::Array(sessions.iter().map(told).collect())) } else { listed(&sessions) };
        sink::write(&text).map(drop)?;
        Ok(if sessions.is_empty() { Exit::Missing } else { Exit::Done })
    }

    fn show(&self, id: &str, kept: &Kept) -> Result<Exit, Failure> {
        let filter = self.filter()?.is(EventColumn::Session, id);
        let repository = kept.open()?;
        let found = repository.sessions().list(&filter, MOST_SESSIONS).map_err(refused)?;
        let sensor = self.sensor_of(id, &found, &repository)?;
        let session = found.iter().find(|session| session.sensor == sensor);
        let between = session.map(|session| (session.first, session.last));
        let limit = usize::from(self.limit.unwrap_or(1000));
        let rows = repository.sessions().rows(&sensor, id, between, limit).map_err(refused)?;
        let text = if kept.json { whole_json(&sensor, id, session, &rows) } else { whole(&sensor, id, session, &rows) };
        sink::write(&text).map(|_| Exit::Done)
    }

    /// Returns the one sensor that has a session of this name; of some there are captures only.
    fn sensor_of(&self, id: &str, found: &[Session], repository: &Repository) -> Result<String, Failure> {
        let mut captures = Filter::new().is(CaptureColumn::Session, id);
        if let Some(sensor) = &self.sensor {
            captures = captures.is(CaptureColumn::Sensor, sensor.as_str());
        }
        let tallies = repository.captures().count_by(CaptureColumn::Sensor, &captures, MOST_SESSIONS);
        let with_captures = tallies.map_err(refused)?.into_iter().filter_map(|tally| tally.key);
        let mut sensors: Vec<String> =
            found.iter().map(|session| session.sensor.clone()).chain(with_captures).collect();
        sensors.sort();
        sensors.dedup();
        match sensors.as_slice() {
            [] => Err(missing(format!("there is no session {}", word(id)))),
            [sensor] => Ok(sensor.clone()),
            [first, second, ..] => {
                let count = sensors.len();
                let (first, second) = (word(first), word(second));
                let why =
                    format!("{count} sensors have a session {}: add --sensor {first}, --sensor {second} ...", word(id));
                Err(usage(why))
            }
        }
    }
}

fn line(json: &Value) -> String {
    let mut text = String::new();
    plain(&json.to_string(), &mut text);
    text.push('\n');
    text
}

fn told(session: &Session) -> Value {
    json!({
        "sensor": session.sensor, "session": session.name, "events": session.events, "captures": session.captures,
        "first": session.first.to_string(), "last": session.last.to_string(),
    })
}

fn listed(sessions: &[Session]) -> String {
    let titles = vec![
        Title::text("session"),
        Title::text("sensor"),
        Title::number("events"),
        Title::number("captures"),
        Title::time("first"),
        Title::time("last"),
    ];
    let cells = |session: &Session| {
        vec![
            sink::cell(&session.name),
            sink::cell(&session.sensor),
            thousands(session.events),
            thousands(session.captures),
            moment(session.first),
            moment(session.last),
        ]
    };
    let mut text = String::new();
    let rows: Vec<Vec<String>> = sessions.iter().map(cells).collect();
    Grid::new(titles, terminal::columns()).write(&rows, &mut text);
    text
}

/// One row of a session, of whichever kind.
enum Row<'a> {
    Event(&'a Stored<Event>),
    Capture(&'a Stored<Capture>),
}

impl Row<'_> {
    fn ts(&self) -> Timestamp {
        match self {
            Self::Event(stored) => stored.row.ts(),
            Self::Capture(stored) => stored.row.ts(),
        }
    }

    /// Returns the row as a JSON object, which begins with the name of its table.
    fn json(&self) -> String {
        let mut object = String::new();
        let table = match self {
            Self::Event(stored) => {
                sink::object(&Column::named(Event::COLUMNS), stored, &mut object);
                "events"
            }
            Self::Capture(stored) => {
                sink::object(&Column::named(Capture::COLUMNS), stored, &mut object);
                "captures"
            }
        };
        format!("{{\"table\":\"{table}\",{}", &object[1..])
    }

    fn cells(&self) -> Vec<String> {
        match self {
            Self::Event(stored) => {
                let event = &stored.row;
                let text = event.msg().or(event.fields()).or(event.raw()).map_or(Cell::Nothing, Cell::Text);
                let what = format!("{} {}", event.service(), event.event_type());
                vec![moment(event.ts()), "event".into(), sink::cell(&what), text.shown(TEXT)]
            }
            Self::Capture(stored) => {
                let capture = &stored.row;
                let text =
                    format!("{} bytes: {}", thousands(capture.data().len() as u64), preview(capture.data(), TEXT));
                vec![moment(capture.ts()), "capture".into(), sink::cell(capture.kind()), text]
            }
        }
    }
}

/// Returns both kinds in the order of time; of the same time events are first.
fn in_order(rows: &SessionRows) -> Vec<Row<'_>> {
    let events = rows.events.rows.iter().map(Row::Event);
    let mut all: Vec<Row<'_>> = events.chain(rows.captures.rows.iter().map(Row::Capture)).collect();
    all.sort_by_key(Row::ts);
    all
}

fn is_cut(rows: &SessionRows) -> bool {
    rows.events.next.is_some() || rows.captures.next.is_some()
}

fn whole(sensor: &str, id: &str, session: Option<&Session>, rows: &SessionRows) -> String {
    let (events, captures) =
        session.map_or((0, rows.captures.rows.len() as u64), |session| (session.events, session.captures));
    let mut text = format!(
        "session {} of {}: {} events, {} captures\n",
        sink::cell(id),
        sink::cell(sensor),
        thousands(events),
        thousands(captures)
    );
    let titles = vec![Title::time("ts"), Title::text("row"), Title::text("what"), Title::text("text")];
    let cells: Vec<Vec<String>> = in_order(rows).iter().map(Row::cells).collect();
    Grid::new(titles, terminal::columns()).write(&cells, &mut text);
    if is_cut(rows) {
        text.push_str("there are more: raise --limit\n");
    }
    text
}

fn whole_json(sensor: &str, id: &str, session: Option<&Session>, rows: &SessionRows) -> String {
    let head = json!({
        "sensor": sensor, "session": id, "is_cut": is_cut(rows),
        "first": session.map(|session| session.first.to_string()),
        "last": session.map(|session| session.last.to_string()),
    });
    let rows: Vec<String> = in_order(rows).iter().map(Row::json).collect();
    let head = line(&head);
    // The closing bracket comes behind the rows.
    format!("{},\"rows\":[{}]}}\n", head.trim_end().strip_suffix('}').unwrap_or_default(), rows.join(","))
}
