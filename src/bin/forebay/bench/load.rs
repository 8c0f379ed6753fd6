//! One run: producers send as fast as they can, or at a rate, while a sampler looks on.
//!
//! With a rate the load is an open loop: each send has its moment in a schedule, and its latency counts from that
//! moment, not from when the producer got round to it; so a stall shows in all the sends that it delayed
//! (no "coordinated omission").

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use forebay::backend::Backend;
use forebay::backend::memory::Memory;
use forebay::pipeline::Pipeline;
use forebay::{Config, DatabaseUrl, Receipt};
use indicatif::ProgressBar;

use super::latency::{Latencies, Percentiles};
use super::rows::RowMaker;
use super::timed::Timed;
use crate::terminal::thousands;

/// What to run.
#[derive(Clone, Debug)]
pub struct Load {
    pub label: String,
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
}

/// One moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub seconds: f64,
    pub rows: u64,
    pub rows_per_second: f64,
    pub send: Percentiles,
    pub commit: Percentiles,
    pub end_to_end: Percentiles,
}

/// What came of a run.
pub struct Outcome {
    pub label: String,
    pub rows: u64,
    pub seconds: f64,
    pub samples: Vec<Sample>,
    pub send: Percentiles,
    pub commit: Percentiles,
    pub end_to_end: Percentiles,
    pub file_bytes: Option<u64>,
    pub cpu_seconds: f64,
    pub complete: bool,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.rows as f64 / self.seconds.max(1e-9)
    }
}

#[derive(Default)]
struct Meters {
    send: Mutex<Latencies>,
    commit: Arc<Mutex<Latencies>>,
    end_to_end: Mutex<Latencies>,
    /// Rows that producers have claimed to send.
    claimed: AtomicU64,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the load to its end.
pub fn run(load: &Load, stop: &crate::signals::Stop, bar: &ProgressBar) -> Result<Outcome, String> {
    let meters = Meters::default();
    let file = file_of(&load.url)?;
    let pipeline = open(load, file.as_ref(), Arc::clone(&meters.commit))?;
    let cpu_before = cpu_seconds();
    let began = Instant::now();
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let mut producers = Vec::new();
        for producer in 0..load.producers {
            let (receipts, collected) = channel();
            let (meters, pipeline) = (&meters, &pipeline);
            producers.push(scope.spawn(move || produce(load, producer, pipeline, meters, &receipts, began)));
            scope.spawn(move || collect(collected, meters));
        }
        while producers.iter().any(|producer| !producer.is_finished()) {
            if stop.is_set() || (load.rows.is_none() && began.elapsed() >= load.duration) {
                meters.over.store(true, Ordering::Release);
            }
            thread::park_timeout(Duration::from_millis(50));
            sample(&mut samples, &pipeline, &meters, began, bar);
        }
    });
    // All producers have sent; what they sent is committed when this resolves.
    let flushed = pipeline.flush().wait();
    let seconds = began.elapsed().as_secs_f64();
    let summary = pipeline.shutdown_blocking(Duration::from_secs(60));
    let rows = summary.lanes.iter().map(|lane| lane.events.committed + lane.captures.committed).sum();
    let (send, commit, end_to_end) =
        (lock(&meters.send).whole(), lock(&meters.commit).whole(), lock(&meters.end_to_end).whole());
    Ok(Outcome {
        label: load.label.clone(),
        rows,
        seconds,
        samples,
        send,
        commit,
        end_to_end,
        file_bytes: file.and_then(|path| path.metadata().ok()).map(|metadata| metadata.len()),
        cpu_seconds: cpu_seconds() - cpu_before,
        complete: flushed.is_ok() && summary.is_complete(),
    })
}

fn file_of(url: &str) -> Result<Option<PathBuf>, String> {
    match DatabaseUrl::parse(url).map_err(|error| error.to_string())? {
        DatabaseUrl::Sqlite(path) => Ok(Some(path)),
        _ => Ok(None),
    }
}

fn open(load: &Load, file: Option<&PathBuf>, writes: Arc<Mutex<Latencies>>) -> Result<Pipeline, String> {
    let backend: Box<dyn Backend> = match file {
        None => Box::new(Memory::default()),
        #[cfg(feature = "sqlite")]
        Some(path) => {
            let opened = forebay::backend::sqlite::Sqlite::open(path, &load.config);
            Box::new(opened.map_err(|error| error.to_string())?)
        }
        #[cfg(not(feature = "sqlite"))]
        Some(_) => return Err("this build has no SQLite; build it with the feature `sqlite`".into()),
    };
    let builder = Pipeline::builder().config(load.config.clone()).backend(Timed::new(backend, writes));
    builder.open().map_err(|error| error.to_string())
}

/// Sends until enough is sent or the time is over.
fn produce(
    load: &Load,
    producer: usize,
    pipeline: &Pipeline,
    meters: &Meters,
    receipts: &Sender<(Instant, Receipt)>,
    began: Instant,
) {
    let (events, captures) = (pipeline.events(), pipeline.captures());
    let mut maker = RowMaker::new(load.seed, producer as u64, load.row_bytes);
    let mut dice = fastrand::Rng::with_seed(load.seed ^ producer as u64);
    let mut mine = Latencies::default();
    let interval =
        load.rate.map(|rate| Duration::from_secs_f64((load.send_rows * load.producers) as f64 / rate.max(1e-3)));
    // Producers begin one after the other, so that they do not all send at once.
    let offset = interval.map(|interval| interval.mul_f64(producer as f64 / load.producers as f64));
    for turn in 0u32.. {
        let claimed = meters.claimed.fetch_add(load.send_rows as u64, Ordering::Relaxed);
        if meters.over.load(Ordering::Acquire) || load.rows.is_some_and(|rows| claimed >= rows) {
            break;
        }
        let rows = load.rows.map_or(load.send_rows, |rows| load.send_rows.min((rows - claimed) as usize));
        let is_capture = dice.f64() < load.capture_share;
        let (mut some_events, mut some_captures) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            if is_capture { some_captures.push(maker.capture()) } else { some_events.push(maker.event()) }
        }
        let due = match interval.zip(offset) {
            None => Instant::now(),
            Some((interval, offset)) => wait_until(began + offset + interval * turn, meters),
        };
        let sent = if is_capture {
            captures.send_many_blocking(some_captures).ok()
        } else {
            events.send_many_blocking(some_events).ok()
        };
        mine.record(due.elapsed());
        let Some(receipt) = sent else { break };
        // The collector lives until this end is dropped.
        let _ = receipts.send((due, receipt));
        if turn % 64 == 63 {
            lock(&meters.send).take_from(&mut mine);
        }
    }
    lock(&meters.send).take_from(&mut mine);
}

/// Waits for a moment of the schedule, which may be past; returns it.
fn wait_until(due: Instant, meters: &Meters) -> Instant {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() || meters.over.load(Ordering::Acquire) {
            return due;
        }
        thread::park_timeout(left.min(Duration::from_millis(100)));
    }
}

/// Waits for one producer's receipts in their order, which is that of their commits.
fn collect(receipts: Receiver<(Instant, Receipt)>, meters: &Meters) {
    let mut mine = Latencies::default();
    for (turn, (due, receipt)) in receipts.into_iter().enumerate() {
        if receipt.wait().is_ok() {
            mine.record(due.elapsed());
        }
        if turn % 64 == 63 {
            lock(&meters.end_to_end).take_from(&mut mine);
        }
    }
    lock(&meters.end_to_end).take_from(&mut mine);
}

/// Takes a sample if a second has passed since the last one.
fn sample(samples: &mut Vec<Sample>, pipeline: &Pipeline, meters: &Meters, began: Instant, bar: &ProgressBar) {
    let seconds = began.elapsed().as_secs_f64();
    let last = samples.last().map_or((0.0, 0), |sample: &Sample| (sample.seconds, sample.rows));
    let status = pipeline.status();
    let rows: u64 = status.lanes.iter().map(|lane| lane.events.committed + lane.captures.committed).sum();
    bar.set_position(rows);
    if seconds - last.0 < 1.0 {
        return;
    }
    let rows_per_second = (rows - last.1) as f64 / (seconds - last.0);
    bar.set_message(format!("{} rows/s", thousands(rows_per_second as u64)));
    samples.push(Sample {
        seconds,
        rows,
        rows_per_second,
        send: lock(&meters.send).interval(),
        commit: lock(&meters.commit).interval(),
        end_to_end: lock(&meters.end_to_end).interval(),
    });
}

/// User and system time of this process so far (`proc(5)`, in ticks of 1/100 s); 0 where there is no such file.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / 100.0
}

/// Most memory that this process had so far, in bytes (`VmHWM`).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}
