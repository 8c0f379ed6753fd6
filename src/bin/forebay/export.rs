//! `forebay export`: captured packets out of a database, into a capture file.
//!
//! Page by page, so that memory stays bounded, and up to the row that was the newest when it began, so that it ends beside
//! a writer. In the order of ids, which is that of commits, unless told to go by time: a file that was brought in comes
//! out in its own order even where its clock went back.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use forebay::repository::{CaptureColumn, Direction, Filter, Paging, Repository, Sort};
use forebay::source::pcap::{PcapWriteError, PcapngWriter};
use forebay::{Capture, Config, Timestamp};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ingest::{self, Failure};
use crate::terminal::{self, Teller};
use crate::{Exit, signals};

pub const HELP: &str = "\
Examples:
  forebay export --output all.pcapng                            every packet of ./forebay.db
  forebay export --since 2026-11-20T08:00:00Z --until 2026-11-20T09:00:00Z --sensor tap-0 --output hour.pcapng
  forebay export --src 203.0.113.9 | tcpdump -nr -              to another program

Bytes, times to the nanosecond, lengths and comments are those that were captured. Each link type of each sensor is an \
interface of the file, with the sensor as its name. A new file can be read by its owner only.

Exit codes:
  0    every row that was asked for is in the file
  1    some rows are no packets that a capture file can hold; all others are in
  2    wrong usage or configuration; nothing was written
  3    the database could not be read, or the file not be written; what is in the file up to there can be read
  130  stopped by Ctrl-C (143 by SIGTERM); likewise";

/// Rows of a page, and bytes that one should have at most: the next one has as many fewer rows.
const PAGE_ROWS: usize = 1024;
const PAGE_BYTES: usize = 8 << 20;

#[derive(Debug, Args)]
pub struct Export {
    /// Database to read. Default: sqlite:forebay.db [env: FOREBAY_DB_URL]
    #[arg(long, value_name = "URL")]
    pub db: Option<String>,
    /// File to write; `-` for standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Form of the file.
    #[arg(long, value_enum, default_value = "pcapng")]
    pub format: Format,
    /// Write over a file that is there.
    #[arg(long)]
    pub force: bool,
    /// Leave out packets before this time, like `2026-11-20T08:15:00Z`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Leave out packets of this time or later.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only those of this sensor.
    #[arg(long, value_name = "NAME")]
    pub sensor: Option<String>,
    /// Only those of this session.
    #[arg(long, value_name = "SESSION")]
    pub session: Option<String>,
    /// Only those from this address.
    #[arg(long, value_name = "ADDRESS")]
    pub src: Option<std::net::IpAddr>,
    /// Only those to this address.
    #[arg(long, value_name = "ADDRESS")]
    pub dst: Option<std::net::IpAddr>,
    /// In which order: as they were committed, or by time.
    #[arg(long, value_enum, default_value = "commit")]
    pub order: Order,
    /// Print the outcome as JSON; not with the file on standard output.
    #[arg(long)]
    pub json: bool,
    /// Print nothing but faults.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Pcapng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    Commit,
    Time,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "write it like 2026-11-20T08:15:00Z".into())
}

/// What became of the rows.
#[derive(Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    left_out: u64,
    /// Why the first one was left out, and which it was.
    why: Option<(i64, &'static str)>,
}

/// Returns the progress bar: on a terminal only.
pub fn bar(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_bar} {human_pos}/{human_len} packets, {eta} left")
    {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Exports and reports.
///
/// # Errors
/// [`Failure`] when nothing could be begun, or the database or the file failed on the way.
pub fn run(flags: &Export, url: &str, config: &Config, bar: &ProgressBar) -> Result<Exit, Failure> {
    let usage = |message: String| Failure { exit: Exit::Usage, message };
    let Format::Pcapng = flags.format;
    let is_stdout = flags.output.as_os_str() == "-";
    if is_stdout && flags.json {
        return Err(usage("--json goes to standard output, and so does the file: add --output FILE".into()));
    }
    if is_stdout && io::stdout().is_terminal() {
        return Err(usage("a capture file is nothing for a terminal: add --output FILE, or pipe it".into()));
    }
    let repository = Repository::open_with(url, config).map_err(ingest::refused)?;
    let teller = Teller(bar.clone());
    let stop = signals::watch(teller.clone()).map_err(|error| usage(format!("watch for signals: {error}")))?;
    let filter = filter(flags, &repository)?;
    if !bar.is_hidden() {
        bar.set_length(repository.captures().count(&filter).map_err(ingest::refused)?);
    }
    let mut tally = Tally::default();
    let file = open(flags, is_stdout)?;
    let written = write(&repository, &filter, flags.order, file, &mut tally, bar, || stop.is_set());
    bar.finish_and_clear();
    if let Some((id, why)) = tally.why {
        teller.tell(&format!("{} rows are not in the file, the first with the id {id}: {why}", tally.left_out));
    }
    written?;
    if flags.json {
        terminal::print(&format!("{}\n", json(flags, &tally)));
    } else if !is_stdout && !flags.quiet {
        let (packets, mib) = (terminal::thousands(tally.packets), tally.bytes >> 20);
        let name = flags.output.to_string_lossy();
        terminal::print(&format!("{packets} packets, {mib} MiB, in {}\n", terminal::Harmless(&name, 4000)));
    }
    Ok(match stop.signal() {
        Some(signal) => Exit::Signal(signal),
        None if tally.left_out > 0 => Exit::SomeRejected,
        None => Exit::Done,
    })
}

/// What is asked for, up to the row that is the newest now.
fn filter(flags: &Export, repository: &Repository) -> Result<Filter<CaptureColumn>, Failure> {
    let newest = Paging::newest(1).ordered(Sort::Id, Direction::NewestFirst);
    let newest = repository.captures().page(&Filter::new(), &newest).map_err(ingest::refused)?;
    let mut filter = Filter::new().is(CaptureColumn::Kind, "packet");
    filter = filter.before(newest.rows.first().map_or(i64::MIN, |newest| newest.id.saturating_add(1)));
    if let Some(since) = flags.since {
        filter = filter.since(since);
    }
    if let Some(until) = flags.until {
        filter = filter.until(until);
    }
    let [src, dst] = [flags.src, flags.dst].map(|address| address.map(|address| address.to_string()));
    for (column, value) in [
        (CaptureColumn::Sensor, flags.sensor.clone()),
        (CaptureColumn::Session, flags.session.clone()),
        (CaptureColumn::SrcIp, src),
        (CaptureColumn::DstIp, dst),
    ] {
        if let Some(value) = value {
            filter = filter.is(column, value);
        }
    }
    Ok(filter)
}

fn open(flags: &Export, is_stdout: bool) -> Result<Box<dyn Write>, Failure> {
    if is_stdout {
        return Ok(Box::new(io::stdout().lock()));
    }
    let path = &flags.output;
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    // A pipe or a device is written to, not over.
    let may_exist = flags.force || path.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir());
    let options = if may_exist { options.create(true).truncate(true) } else { options.create_new(true) };
    let file = options.open(path).map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::AlreadyExists { "; add --force to write over it" } else { "" };
        Failure { exit: Exit::Usage, message: format!("{}: {error}{hint}", path.display()) }
    })?;
    Ok(Box::new(file))
}

fn write(
    repository: &Repository,
    filter: &Filter<CaptureColumn>,
    order: Order,
    file: Box<dyn Write>,
    tally: &mut Tally,
    bar: &ProgressBar,
    is_stopped: impl Fn() -> bool,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure { exit: Exit::NotWritten, message: format!("write the file: {error}") };
    let mut writer = PcapngWriter::open(BufWriter::with_capacity(256 << 10, file)).map_err(failed)?;
    let sort = match order {
        Order::Commit => Sort::Id,
        Order::Time => Sort::Time,
    };
    let mut paging = Paging::newest(PAGE_ROWS / 8).ordered(sort, Direction::OldestFirst);
    while !is_stopped() {
        let page = repository.captures().page(filter, &paging).map_err(|error| {
            let Failure { message, .. } = ingest::refused(error);
            Failure { exit: Exit::NotWritten, message }
        })?;
        let (rows, bytes) = (page.rows.len(), page.rows.iter().map(|stored| stored.row.weight()).sum::<usize>());
        for stored in &page.rows {
            count(tally, stored.id, &stored.row, writer.write(&stored.row)).map_err(failed)?;
        }
        bar.inc(rows as u64);
        let Some(next) = page.next else { break };
        paging = paging.after(next);
        let fitting = PAGE_BYTES / (bytes / rows.max(1)).max(1);
        paging.limit = fitting.clamp(1, PAGE_ROWS.min(2 * paging.limit));
    }
    writer.finish().map(drop).map_err(failed)
}

fn count(tally: &mut Tally, id: i64, row: &Capture, written: Result<(), PcapWriteError>) -> io::Result<()> {
    match written {
        Ok(()) => {
            tally.packets += 1;
            tally.bytes += row.data().len() as u64;
        }
        Err(PcapWriteError::Write(error)) => return Err(error),
        Err(PcapWriteError::NotAPacket(why)) => {
            tally.left_out += 1;
            tally.why = tally.why.or(Some((id, why)));
        }
        Err(other) => return Err(io::Error::other(other)),
    }
    Ok(())
}

fn json(flags: &Export, tally: &Tally) -> serde_json::Value {
    let name = |path: &Path| path.to_string_lossy().into_owned();
    serde_json::json!({
        "file": name(&flags.output), "packets": tally.packets, "bytes": tally.bytes, "left_out": tally.left_out,
    })
}
