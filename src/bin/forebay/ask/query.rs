//! `forebay query`: rows that an expression leaves.

use clap::{Args, ValueEnum};
use forebay::repository::{Direction, Filter, Paging, Repository, Sort};
use forebay::{Capture, Event};

use super::row::{Column, Shown};
use super::sink::{Format, Sink};
use super::{Window, expression, expressions, pages};
use crate::Exit;
use crate::db::Place;
use crate::ingest::{Failure, refused};
use crate::kept::{Kept, usage};

pub const HELP: &str = concat!(
    "\
Examples:
  forebay query 'service:ssh event_type:login.failed' --since 2h
  forebay query 'src_ip:203.0.113.0/24' --columns ts,src_ip,fields.username,fields.password
  forebay query --captures kind:credential --limit 1000 --format csv > credentials.csv
  forebay query 'fields.username:root' --limit 1000000 | jq -r .src_ip | sort | uniq -c
  forebay query --order commit --oldest --json            in the order in which rows came in

",
    expressions!(),
    "

Without --format an answer is a table on a terminal, cut to its width with `…`, and NDJSON elsewhere. JSON has the exact text \
(bytes as base64), a table times to the millisecond. In the other forms characters that drive a terminal are escapes, like \\u{1b}; in CSV and TSV a text that \
a spreadsheet would run as a formula has an apostrophe before it.

Exit codes:
  0    something was found
  1    nothing was found
  2    wrong usage or configuration, or a mistake in the expression
  3    the database could not be read, or the answer not be written"
);

#[derive(Debug, Args)]
pub struct Query {
    /// Which rows; without one, all. Several words are joined with spaces.
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,
    #[command(flatten)]
    window: Window,
    /// Ask for captures instead of events.
    #[arg(long)]
    captures: bool,
    /// Most rows.
    #[arg(short = 'n', long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Columns in this order, like `ts,src_ip,fields.username`. Default: of a table the chief ones, else all
    #[arg(long, value_name = "LIST")]
    columns: Option<String>,
    /// Form of the answer. Default: table on a terminal, else ndjson
    #[arg(long, value_enum, conflicts_with = "json")]
    format: Option<Format>,
    /// By time, or as rows were committed.
    #[arg(long, value_enum, default_value = "time")]
    order: Order,
    /// The oldest first.
    #[arg(long)]
    oldest: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    Time,
    Commit,
}

impl Query {
    /// Asks and writes.
    ///
    /// # Errors
    /// [`Failure`], when it could not be asked, read or written.
    pub fn run(&self, kept: &Kept) -> Result<Exit, Failure> {
        if self.captures { self.ask::<Capture>(kept) } else { self.ask::<Event>(kept) }
    }

    fn ask<R: Shown>(&self, kept: &Kept) -> Result<Exit, Failure> {
        let filter = self.window.of(expression(&self.expression)?);
        let columns = self.columns.as_deref().map(Column::list::<R>).transpose().map_err(usage)?;
        let format = if kept.json { Some(Format::Json) } else { self.format };
        let repository = kept.open()?;
        let (sort, direction) = match (self.order, self.oldest) {
            (Order::Time, false) => (Sort::Time, Direction::NewestFirst),
            (Order::Time, true) => (Sort::Time, Direction::OldestFirst),
            (Order::Commit, false) => (Sort::Id, Direction::NewestFirst),
            (Order::Commit, true) => (Sort::Id, Direction::OldestFirst),
        };
        // What comes in meanwhile would never let it end.
        let filter = if self.oldest { up_to_now::<R>(filter, &repository)? } else { filter };
        let mut sink = Sink::<R>::new(Format::or_fitting(format), columns);
        let paging = Paging::newest(1).ordered(sort, direction);
        let found = pages(&repository, &filter, paging, self.limit, |rows| sink.page(rows))?;
        sink.finish()?;
        Ok(if found == 0 { Exit::Missing } else { Exit::Done })
    }
}

/// Leaves out what is committed from now on.
fn up_to_now<R: Shown>(filter: Filter<R::Column>, repository: &Repository) -> Result<Filter<R::Column>, Failure> {
    let newest = Paging::newest(1).ordered(Sort::Id, Direction::NewestFirst);
    let newest = R::table(repository).page(&Filter::new(), &newest).map_err(refused)?;
    Ok(filter.before(newest.rows.first().map_or(i64::MIN, |newest| newest.id.saturating_add(1))))
}
