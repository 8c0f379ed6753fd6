//! `forebay stats`: what rows come to, in figures and as a histogram.

use std::fmt::Write;

use clap::Args;
use forebay::repository::{Bucket, Buckets, Column, EventColumn, Filter, Repository, Summary, Table as Rows, Tally};
use forebay::{Error, Timestamp};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Window, chart, expression, expressions, sink};
use crate::Exit;
use crate::db::Place;
use crate::ingest::{Failure, refused};
use crate::kept::{Kept, usage};
use crate::table::{Side, Table};
use crate::terminal::thousands;

pub const HELP: &str = concat!(
    "\
Examples:
  forebay stats --since 24h
  forebay stats 'service:ssh event_type:login.failed' --since 7d --bucket day --zone Europe/Berlin
  forebay stats --json | jq .events.last_hour

",
    expressions!(),
    "

With an expression only events are counted. The last minute and hour are those before now, by the times of rows.

Exit codes:
  0    told
  2    wrong usage or configuration, or a mistake in the expression
  3    the database could not be read, or the answer not be written"
);

const TOPS: [EventColumn; 4] = [EventColumn::Sensor, EventColumn::Service, EventColumn::EventType, EventColumn::SrcIp];
const NANOS: i64 = 1_000_000_000;

#[derive(Debug, Args)]
pub struct Stats {
    /// Of which events; without one, all. Several words are joined with spaces.
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,
    #[command(flatten)]
    window: Window,
    /// How many of the most frequent sensors, services, kinds of event and source addresses.
    #[arg(long, value_name = "ROWS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(..=1000))]
    top: u16,
    /// Pieces of the histogram: `5m`, `1h`, `day`, `week`, `month`, `quarter`, `year`. Default: as long as some dozen need
    #[arg(long, value_name = "LENGTH")]
    bucket: Option<Buckets>,
    /// Time zone of the histogram, like `Europe/Berlin`.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    #[command(flatten)]
    pub place: Place,
}

/// What one kind of rows comes to.
struct Figures {
    summary: Summary,
    last_minute: u64,
    last_hour: u64,
}

impl Figures {
    fn ask<R: forebay::repository::Record>(rows: &dyn Rows<R>, filter: &Filter<R::Column>) -> Result<Self, Error> {
        let now = Timestamp::now().as_nanos();
        let last = |seconds: i64| {
            let since = Timestamp::from_nanos(now.saturating_sub(seconds * NANOS));
            rows.count(&filter.clone().since(since).until(Timestamp::from_nanos(now)))
        };
        Ok(Self { summary: rows.summary(filter)?, last_minute: last(60)?, last_hour: last(3600)? })
    }

    fn json(&self) -> Value {
        let times = self.summary.times.map(|(first, last)| [first.to_string(), last.to_string()]);
        let [first, last] = times.map_or([None, None], |times| times.map(Some));
        json!({
            "rows": self.summary.rows, "first": first, "last": last, "sensors": self.summary.sensors,
            "sources": self.summary.sources, "last_minute": self.last_minute, "last_hour": self.last_hour,
        })
    }

    fn cells(&self, name: &str) -> [String; 8] {
        let times = self.summary.times.map(|(first, last)| [first, last].map(super::row::moment));
        let [first, last] = times.unwrap_or_else(|| ["-", "-"].map(Into::into));
        // Rows a second, to a thousandth, without floating point.
        let rate = |rows: u64, seconds: u64| {
            let thousandths = rows.saturating_mul(1000) / seconds;
            format!("{} ({}.{:03}/s)", thousands(rows), thousands(thousandths / 1000), thousandths % 1000)
        };
        let numbers = [self.summary.rows, self.summary.sensors, self.summary.sources].map(thousands);
        let [rows, sensors, sources] = numbers;
        [name.into(), rows, rate(self.last_minute, 60), rate(self.last_hour, 3600), sensors, sources, first, last]
    }
}

impl Stats {
    /// Asks and tells.
    ///
    /// # Errors
    /// [`Failure`], when it could not be asked, read or written.
    pub fn run(&self, kept: &Kept) -> Result<Exit, Failure> {
        let filter: Filter<EventColumn> = self.window.of(expression(&self.expression)?);
        let zone = TimeZone::get(&self.zone).map_err(|error| usage(error.to_string()))?;
        let bucket = self.bucket.clone().map(|bucket| bucket.in_zone(&self.zone)).transpose().map_err(refused)?;
        let repository = kept.open()?;
        let events = Figures::ask(repository.events(), &filter).map_err(refused)?;
        let captures = if self.expression.is_empty() { Some(self.captures(&repository)?) } else { None };
        let buckets = match (bucket, events.summary.times) {
            (Some(bucket), _) => bucket,
            (None, times) => {
                let length = times.map_or("1h", |(first, last)| chart::fitting(first, last));
                let buckets: Buckets = length.parse().map_err(usage)?;
                // A piece of several years has no place in a calendar.
                buckets.clone().in_zone(&self.zone).unwrap_or(buckets)
            }
        };
        let counted = repository.events().histogram(&filter, &buckets).map_err(refused)?;
        let mut tops = Vec::new();
        for column in TOPS.into_iter().filter(|_| self.top > 0) {
            tops.push((column, repository.events().count_by(column, &filter, self.top.into()).map_err(refused)?));
        }
        let text = if kept.json {
            told(&events, captures.as_ref(), &tops, &buckets, &counted)
        } else {
            let pieces = chart::whole(&counted, &buckets).ok_or_else(|| {
                let most = chart::MOST_LINES;
                usage(format!("there are more than {most} pieces of `{buckets}`: choose a longer --bucket, or --since"))
            })?;
            shown(&events, captures.as_ref(), &tops, &buckets, &pieces, &zone)
        };
        sink::write(&text).map(|_| Exit::Done)
    }

    fn captures(&self, repository: &Repository) -> Result<Figures, Failure> {
        Figures::ask(repository.captures(), &self.window.of(Filter::new())).map_err(refused)
    }
}

fn told(
    events: &Figures,
    captures: Option<&Figures>,
    tops: &[(EventColumn, Vec<Tally>)],
    buckets: &Buckets,
    counted: &[Bucket],
) -> String {
    let top = |(column, tallies): &(EventColumn, Vec<Tally>)| {
        let tallies: Vec<Value> =
            tallies.iter().map(|tally| json!({ "value": tally.key, "rows": tally.rows })).collect();
        (column.name().to_owned(), Value::Array(tallies))
    };
    let counted: Vec<Value> =
        counted.iter().map(|bucket| json!({ "from": bucket.from.to_string(), "rows": bucket.rows })).collect();
    let told = json!({
        "events": events.json(), "captures": captures.map(Figures::json),
        "top": Value::Object(tops.iter().map(top).collect()),
        "histogram": { "bucket": buckets.to_string(), "buckets": counted },
    });
    let mut text = String::new();
    super::row::plain(&told.to_string(), &mut text);
    text.push('\n');
    text
}

fn shown(
    events: &Figures,
    captures: Option<&Figures>,
    tops: &[(EventColumn, Vec<Tally>)],
    buckets: &Buckets,
    pieces: &[Bucket],
    zone: &TimeZone,
) -> String {
    let right = |title| (title, Side::Right);
    let mut table = Table::new([
        ("", Side::Left),
        right("rows"),
        right("last minute"),
        right("last hour"),
        right("sensors"),
        right("sources"),
        ("first", Side::Left),
        ("last", Side::Left),
    ]);
    table.push(events.cells("events"));
    if let Some(captures) = captures {
        table.push(captures.cells("captures"));
    }
    let mut text = table.to_string();
    for (column, tallies) in tops {
        let mut top = Table::new([(column.name(), Side::Left), right("events")]);
        for tally in tallies {
            top.push([tally.key.as_deref().map_or_else(|| "-".into(), sink::cell), thousands(tally.rows)]);
        }
        // Writing to a text cannot fail.
        let _ = write!(text, "\n{top}");
    }
    if !pieces.is_empty() {
        let label = |from: Timestamp| match jiff::Timestamp::from_nanosecond(from.as_nanos().into()) {
            Ok(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => from.to_string(),
        };
        let drawn = chart::draw(pieces, chart::is_unicode(crate::variable), label);
        // As above.
        let _ = write!(text, "\nevents per {buckets}\n{drawn}");
    }
    text
}
