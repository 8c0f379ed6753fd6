//! `forebay query`, `tail`, `stats` and `sessions`: what is in a database, for people and for other programs.
//!
//! All of it is asked through the library's `Repository`, so it is the same on SQLite and MySQL. `row` knows what rows have,
//! `sink` the forms in which they are written, `grid` and `chart` draw; each command is a file. Rows are read page by page and
//! written at once, so that no answer needs memory by its length. Exit code 1 is "nothing found", as of `grep`.

mod chart;
mod grid;
mod query;
mod row;
mod sessions;
mod sink;
mod stats;
mod tail;

pub use chart::{bar, is_unicode};
pub use query::Query;
pub use row::plain;
pub use sessions::Sessions;
pub use stats::Stats;
pub use tail::Tail;

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use clap::Args;
use forebay::Timestamp;
use forebay::config::parse_duration;
use forebay::repository::{Column, Filter, Paging, Repository, Stored};

use crate::ingest::{Failure, refused};
use crate::kept::usage;
use crate::terminal::{self, Harmless, width};
use row::Shown;

/// What the help of each command says about expressions.
macro_rules! expressions {
    () => {
        "\
An expression is of terms, all of which must hold: `sensor:web-1 service:ssh src_ip:10.0.0.0/8 dst_port:1..1023 \
fields.username:root -event_type:login.success \"free text\"`. `-` negates (put `--` before an expression that begins with one), \
`ip:` and `port:` mean either side, `session:*` says that there is one."
    };
}
pub(crate) use expressions;

pub const QUERY_HELP: &str = query::HELP;
pub const TAIL_HELP: &str = tail::HELP;
pub const STATS_HELP: &str = stats::HELP;
pub const SESSIONS_HELP: &str = sessions::HELP;

/// Rows of a page at most, and bytes that one should have at most: the next one has as many fewer rows.
const PAGE_ROWS: usize = 2048;
const PAGE_BYTES: usize = 8 << 20;

/// Which time is asked for.
#[derive(Debug, Args)]
pub struct Window {
    /// Leave out what happened before this: a time ago, like `2h` or `7d`, or a time like `2026-11-20` or `2026-11-20T08:15:00Z`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Leave out what happened then or later.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Timestamp>,
}

impl Window {
    pub fn of<C: Column>(&self, mut filter: Filter<C>) -> Filter<C> {
        if let Some(since) = self.since {
            filter = filter.since(since);
        }
        if let Some(until) = self.until {
            filter = filter.until(until);
        }
        filter
    }
}

/// Reads a time, or how long ago it is.
fn moment(text: &str) -> Result<Timestamp, String> {
    let day = || {
        text.parse::<jiff::civil::Date>().ok()?;
        Timestamp::parse(&format!("{text}T00:00:00Z"))
    };
    if let Some(time) = Timestamp::parse(text).or_else(day) {
        return Ok(time);
    }
    let advice = || "write it like `2h`, `7d`, `2026-11-20` or `2026-11-20T08:15:00Z`".to_owned();
    let ago = parse_duration(text).map_err(|_| advice())?;
    let ago = i64::try_from(ago.as_nanos()).map_err(|_| advice())?;
    Ok(Timestamp::from_nanos(Timestamp::now().as_nanos().saturating_sub(ago)))
}

/// Reads an expression, of which a shell may have made several words. On a terminal the place of a mistake is pointed at.
///
/// # Errors
/// [`Failure`] that says where and what could stand there.
fn expression<C: Column>(words: &[String]) -> Result<Filter<C>, Failure> {
    let text = words.join(" ");
    text.parse::<Filter<C>>().map_err(|error| {
        let mut err = io::stderr();
        if err.is_terminal() {
            let (before, behind) = text.split_at_checked(error.offset).unwrap_or((&text, ""));
            let before = terminal::tail(&Harmless(before, usize::MAX).to_string(), 60);
            let space = " ".repeat(width(&before));
            // Nobody is left to be told, if it fails.
            let _ = writeln!(err, "  {before}{}\n  {space}^", Harmless(behind, 40));
        }
        usage(error.to_string())
    })
}

/// Asks for at most `most` rows, page by page, until `take` breaks off. Returns how many there were.
fn pages<R: Shown>(
    repository: &Repository,
    filter: &Filter<R::Column>,
    mut paging: Paging,
    most: u64,
    mut take: impl FnMut(&[Stored<R>]) -> Result<ControlFlow<()>, Failure>,
) -> Result<u64, Failure> {
    let (mut told, mut fitting) = (0_u64, PAGE_ROWS / 8);
    while told < most {
        paging.limit = usize::try_from(most - told).unwrap_or(usize::MAX).min(fitting);
        let page = R::table(repository).page(filter, &paging).map_err(refused)?;
        told += page.rows.len() as u64;
        if !page.rows.is_empty() && take(&page.rows)?.is_break() {
            break;
        }
        let Some(next) = page.next else { break };
        paging = paging.after(next);
        let bytes = page.rows.iter().map(|stored| stored.row.bytes()).sum::<usize>();
        fitting = PAGE_BYTES / (bytes / page.rows.len().max(1)).max(1);
        fitting = fitting.clamp(1, PAGE_ROWS.min(2 * paging.limit));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_how_long_ago() {
        let nanos = |text| moment(text).map(Timestamp::as_nanos);
        assert_eq!(nanos("1970-01-02"), Ok(86_400_000_000_000));
        assert_eq!(nanos("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        let day = Timestamp::now().as_nanos() - nanos("1d").unwrap();
        assert!((86_390_000_000_000..86_500_000_000_000).contains(&day), "{day}");
        for wrong in ["", "yesterday", "2h ago", "-2h", "2026", "2026-13-01"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
