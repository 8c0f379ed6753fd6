//! `forebay tail`: the newest rows, and then what comes.
//!
//! Rows come in the order of their commits, and those of writers in other processes too: the database is asked twice a second.
//! Between, it looks whether somebody still reads: `forebay tail -f | head -1` ends with `head`, not with the next row.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::Args;
use forebay::repository::{Direction, Paging, Sort, Stored, Tail as Following};
use forebay::{Capture, ErrorKind, Event};
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::row::{Column, Shown};
use super::sink::{Format, Sink};
use super::{expression, expressions, pages};
use crate::db::Place;
use crate::ingest::{Failure, refused};
use crate::kept::{Kept, usage};
use crate::signals::Stop;
use crate::terminal::Teller;
use crate::{Exit, signals};

pub const HELP: &str = concat!(
    "\
Examples:
  forebay tail -f                                         the newest 10 events, and what comes
  forebay tail -f 'service:ssh event_type:login.failed'
  forebay tail -f -n 0 --captures kind:credential --columns ts,src_ip,fields.username,data
  forebay tail -f --format ndjson | my-alarm

",
    expressions!(),
    " Rows come as they were committed, the oldest first. While the database does not answer it is asked again. Forms as of \
`forebay query`.

Exit codes:
  0    something was found; with -f: stopped by Ctrl-C or SIGTERM, or nobody reads any more
  1    nothing was found (without -f)
  2    wrong usage or configuration, or a mistake in the expression
  3    the database could not be read, or the answer not be written"
);

/// How long until the database is asked again, how often it looks whether to end, and how often people are told of an outage.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
const TELL_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct Tail {
    /// Which rows; without one, all. Several words are joined with spaces.
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,
    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest rows come first.
    #[arg(short = 'n', long, value_name = "ROWS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=10_000))]
    limit: u32,
    /// Show captures instead of events.
    #[arg(long)]
    captures: bool,
    /// Columns in this order, like `ts,src_ip,fields.username`. Default: of a table the chief ones, else all
    #[arg(long, value_name = "LIST")]
    columns: Option<String>,
    /// Form of the answer. Default: table on a terminal, else ndjson
    #[arg(long, value_enum, conflicts_with = "json")]
    format: Option<Format>,
    #[command(flatten)]
    pub place: Place,
}

impl Tail {
    /// Shows, and follows.
    ///
    /// # Errors
    /// [`Failure`], when it could not be asked, read or written.
    pub fn run(&self, kept: &Kept) -> Result<Exit, Failure> {
        if self.captures { self.show::<Capture>(kept) } else { self.show::<Event>(kept) }
    }

    fn show<R: Shown>(&self, kept: &Kept) -> Result<Exit, Failure> {
        let filter = expression(&self.expression)?;
        let columns = self.columns.as_deref().map(Column::list::<R>).transpose().map_err(usage)?;
        // What has no end is no array.
        let format = if kept.json { Some(Format::Ndjson) } else { self.format };
        if self.follow && format == Some(Format::Json) {
            return Err(usage("an array has an end, and what is followed has none: take --format ndjson"));
        }
        let repository = kept.open()?;
        let stop = signals::watch_quietly().map_err(|error| usage(format!("watch for signals: {error}")))?;
        // Before the newest are read, so that nothing falls between.
        let following = R::tail(&repository, filter.clone()).map_err(refused)?;
        let before = filter.before(following.position().saturating_add(1));
        let newest = Paging::newest(1).ordered(Sort::Id, Direction::NewestFirst);
        let mut rows: Vec<Stored<R>> = Vec::new();
        pages(&repository, &before, newest, self.limit.into(), |page| {
            rows.extend_from_slice(page);
            Ok(if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        rows.reverse();
        let found = if rows.is_empty() { Exit::Missing } else { Exit::Done };
        let mut sink = Sink::new(Format::or_fitting(format), columns);
        let reads = sink.page(&rows)?;
        drop(rows);
        if !self.follow {
            sink.finish()?;
            return Ok(found);
        }
        if reads.is_continue() {
            follow(following, &mut sink, &stop)?;
        }
        sink.finish()?;
        Ok(Exit::Done)
    }
}

fn follow<R: Shown>(mut following: Following<R>, sink: &mut Sink<R>, stop: &Stop) -> Result<(), Failure> {
    let teller = Teller(ProgressBar::hidden());
    let mut told: Option<Instant> = None;
    while !stop.is_set() {
        match following.poll() {
            Ok(rows) if rows.is_empty() => {
                if rest(stop).is_break() {
                    break;
                }
            }
            Ok(rows) => {
                if sink.page(&rows)?.is_break() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
                    told = Some(Instant::now());
                    teller.tell(&format!("the database is asked again: {error}"));
                }
                if rest(stop).is_break() {
                    break;
                }
            }
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(())
}

/// Waits until the database should be asked again; breaks off when nobody reads any more.
fn rest(stop: &Stop) -> ControlFlow<()> {
    let (began, out) = (Instant::now(), io::stdout());
    while began.elapsed() < ASK_AGAIN && !stop.is_set() {
        // Asked for nothing, it tells only of a reader that has gone; for anything else it is a wait. A signal ends it early.
        let mut polled = [PollFd::new(&out, PollFlags::empty())];
        let _ = poll(&mut polled, Some(&GLANCE));
        let [polled] = polled;
        if polled.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}
