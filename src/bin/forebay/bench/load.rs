//! One run: producers send as fast as they can, or at a rate, while a sampler looks on.
//!
//! With a rate the load is an open loop: each send has its moment in a schedule, and its latency counts from that
//! moment, not from when the producer got round to it; so a stall shows in all the sends that it delayed
//! (no "coordinated omission"). What is kept of a run does not grow with it: histograms, counters, a thinned course.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use forebay::{Config, DatabaseUrl, maintenance};
use indicatif::ProgressBar;

use super::baseline::Connection;
use super::course::{Course, Figures};
use super::latency::Lot;
use super::machine;
use super::meters::Meters;
use super::rows::{RowMaker, Rows};
use super::target::{Lane, Sent, Target};
use crate::terminal::{Teller, thousands};

/// What to run.
#[derive(Clone, Debug)]
pub struct Load {
    pub label: String,
    pub contender: Contender,
    pub url: String,
    pub config: Config,
    pub rows: Option<u64>,
    pub duration: Duration,
    pub producers: usize,
    pub send_rows: usize,
    pub capture_share: f64,
    pub row_bytes: usize,
    /// Rows a second of all producers together.
    pub rate: Option<f64>,
    pub seed: u64,
    pub verify: bool,
}

/// Who writes the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Forebay,
    SqliteC,
}

impl Load {
    /// Returns the file that is written, if it is one.
    pub fn file(&self) -> Result<Option<PathBuf>, String> {
        match DatabaseUrl::parse(&self.url).map_err(|error| error.to_string())? {
            DatabaseUrl::Sqlite(path) => Ok(Some(path)),
            _ => Ok(None),
        }
    }
}

/// What came of a run.
pub struct Outcome {
    /// Rows that producers have sent, and those of them that were confirmed as stored.
    pub sent: u64,
    pub rows: u64,
    /// From the first send to the last confirmation.
    pub seconds: f64,
    /// To close the database, after that.
    pub close_seconds: f64,
    pub course: Course,
    pub figures: Figures,
    /// Size of the file, closed. A server tells the size of its tables only roughly, and late: it is left out.
    pub file_bytes: Option<u64>,
    /// Largest size of the write-ahead log.
    pub wal_peak_bytes: Option<u64>,
    /// Processor time of the process, the making of rows included.
    pub cpu_seconds: f64,
    pub peak_memory_bytes: Option<u64>,
    /// Rows that the database had, if it was asked.
    pub counted: Option<u64>,
    pub complete: bool,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.rows as f64 / self.seconds.max(1e-9)
    }

    /// Returns whether all went well: everything taken is stored, and the database has what was confirmed.
    pub fn is_sound(&self) -> bool {
        self.complete && self.counted.is_none_or(|counted| counted == self.rows)
    }
}

/// Runs the load to its end.
pub fn run(load: &Load, stop: &crate::signals::Stop, bar: &ProgressBar) -> Result<Outcome, String> {
    machine::forget_peak_memory();
    let file = load.file()?;
    let meters = Arc::new(Meters::new());
    let mut target = Target::open(load, &meters)?;
    let cpu_before = machine::cpu_seconds();
    let mut sampler = Sampler {
        counts_rows: load.rows.is_some(),
        course: Course::default(),
        wal: file.as_deref().map(wal),
        wal_peak: 0,
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for producer in 0..load.producers {
            let Some((lane, receipts)) = target.lane() else { break };
            let meters = &*meters;
            threads.push(scope.spawn(move || produce(load, producer, &lane, meters, began)));
            threads.extend(receipts.map(|receipts| scope.spawn(move || collect(receipts, meters))));
        }
        while threads.iter().any(|thread| !thread.is_finished()) || target.is_busy() {
            if stop.is_set() || (load.rows.is_none() && began.elapsed() >= load.duration) {
                meters.end();
            }
            thread::park_timeout(Duration::from_millis(20));
            sampler.look(&meters, began, bar);
        }
    });
    let (sent, rows) = (meters.sent.load(Ordering::Relaxed), meters.confirmed.load(Ordering::Relaxed));
    let seconds = meters.confirmed_at().saturating_duration_since(began).as_secs_f64();
    sampler.course.close(seconds, rows, meters.interval());
    let closing = Instant::now();
    let mut complete = target.close()?;
    let close_seconds = closing.elapsed().as_secs_f64();
    let cpu_seconds = machine::cpu_seconds() - cpu_before;
    if let Some(fault) = meters.fault() {
        Teller(bar.clone()).tell(&fault);
        complete = false;
    }
    let counted = match (file.as_deref(), load.server()?) {
        (Some(file), _) if load.verify => Some(count(file)?),
        (None, Some(url)) if load.verify => {
            Some(maintenance::count(&url, &load.config).map_err(|error| error.to_string())?)
        }
        _ => None,
    };
    Ok(Outcome {
        sent,
        rows,
        seconds,
        close_seconds,
        course: sampler.course,
        figures: meters.whole(),
        wal_peak_bytes: file.as_ref().map(|_| sampler.wal_peak),
        file_bytes: file.and_then(|path| path.metadata().ok()).map(|metadata| metadata.len()),
        cpu_seconds,
        peak_memory_bytes: machine::peak_memory(),
        counted,
        complete,
    })
}

/// Counts the rows in a database that is closed.
fn count(path: &Path) -> Result<u64, String> {
    Connection::open(path)?.number("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM captures)")
}

fn wal(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

/// Sends until enough is sent or the time is over.
fn produce(load: &Load, producer: usize, lane: &Lane, meters: &Meters, began: Instant) {
    let mut maker = RowMaker::new(load.seed, producer as u64, load.row_bytes);
    let mut dice = fastrand::Rng::with_seed(load.seed ^ producer as u64);
    let mut latencies = Lot::new(&meters.send);
    let interval =
        load.rate.map(|rate| Duration::from_secs_f64((load.send_rows * load.producers) as f64 / rate.max(1e-3)));
    // Producers begin one after the other, so that they do not all send at once.
    let offset = interval.map(|interval| interval.mul_f64(producer as f64 / load.producers as f64));
    for turn in 0u32.. {
        let Some(count) = meters.claim(load.send_rows, load.rows) else { break };
        let rows = if dice.f64() < load.capture_share {
            Rows::Captures((0..count).map(|_| maker.capture()).collect())
        } else {
            Rows::Events((0..count).map(|_| maker.event()).collect())
        };
        let due = match interval.zip(offset) {
            None => Instant::now(),
            Some((interval, offset)) => {
                let due = began + offset + interval * turn;
                if !wait_until(due, meters) {
                    break;
                }
                due
            }
        };
        // Before the send: its confirmation may come before it returns.
        meters.sent.fetch_add(count as u64, Ordering::Relaxed);
        if let Err(why) = lane.send(rows, due) {
            return meters.fail(why);
        }
        latencies.record_since(due);
    }
}

/// Waits for a moment of the schedule, which may be past; returns false if the run is over first.
fn wait_until(due: Instant, meters: &Meters) -> bool {
    loop {
        if meters.is_over() {
            return false;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::park_timeout(left.min(Duration::from_millis(100)));
    }
}

/// Waits for one producer's receipts in their order, which is that of their commits.
fn collect(receipts: Receiver<Sent>, meters: &Meters) {
    let mut latencies = Lot::new(&meters.end_to_end);
    for (due, rows, receipt) in receipts {
        // What was not stored shows in the difference to what was sent.
        if receipt.wait().is_ok() {
            latencies.record_since(due);
            meters.confirm(rows);
        }
    }
}

struct Sampler {
    /// The bar goes by rows, not by seconds.
    counts_rows: bool,
    course: Course,
    wal: Option<PathBuf>,
    wal_peak: u64,
}

impl Sampler {
    /// Takes a point when it is time, and shows where the run is.
    fn look(&mut self, meters: &Meters, began: Instant, bar: &ProgressBar) {
        let seconds = began.elapsed().as_secs_f64();
        let rows = meters.stored.load(Ordering::Relaxed);
        let wal = self.wal.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.len());
        self.wal_peak = self.wal_peak.max(wal);
        bar.set_position(if self.counts_rows { rows } else { seconds as u64 });
        if !self.course.is_due(seconds) {
            return;
        }
        self.course.add(seconds, rows, meters.interval());
        if let Some(point) = self.course.points().last() {
            let (rate, commit) = (thousands(point.rows_per_second as u64), point.figures.commit.max);
            bar.set_message(format!("{} rows, {rate} rows/s, worst commit {commit:.0} ms", thousands(rows)));
        }
    }
}
