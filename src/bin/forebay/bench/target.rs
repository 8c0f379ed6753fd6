//! What takes the rows of a run: a pipeline, or the yardstick. Producers send the same rows to both in the same way.
//!
//! Before the yardstick stands one bounded channel with as much room as a pipeline has, and it writes in transactions of
//! the pipeline's limits; so send, commit and end-to-end mean the same for both.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay::backend::Backend;
use forebay::backend::memory::Memory;
use forebay::config::BatchConfig;
use forebay::{Capture, DatabaseUrl, Event, Pipeline, Producer, Receipt};

use super::baseline::{Connection, Inserts, SCHEMA};
use super::latency::Lot;
use super::load::{Contender, Load};
use super::meters::Meters;
use super::rows::Rows;
use super::timed::Timed;

/// A send on its way to be confirmed: when it was due, its rows, their receipt.
pub type Sent = (Instant, usize, Receipt);

pub enum Target {
    Pipeline(Pipeline),
    Baseline { writer: JoinHandle<Result<Connection, String>>, lanes: Vec<Lane>, checkpoints: Checkpoints },
}

/// One producer's way into the target.
pub enum Lane {
    Pipeline { events: Producer<Event>, captures: Producer<Capture>, receipts: Sender<Sent> },
    Baseline(SyncSender<Chunk>),
}

/// Rows of one send to the yardstick.
pub struct Chunk {
    rows: Rows,
    bytes: usize,
    due: Instant,
}

impl Lane {
    /// Sends; waits while there is no room.
    ///
    /// # Errors
    /// Why nothing more will be taken.
    pub fn send(&self, rows: Rows, due: Instant) -> Result<(), String> {
        match self {
            Self::Pipeline { events, captures, receipts } => {
                let count = rows.len();
                let receipt = match rows {
                    Rows::Events(rows) => events.send_many_blocking(rows).map_err(|error| error.to_string())?,
                    Rows::Captures(rows) => captures.send_many_blocking(rows).map_err(|error| error.to_string())?,
                };
                receipts.send((due, count, receipt)).map_err(|_| "nobody waits for receipts".to_owned())
            }
            Self::Baseline(intake) => {
                let bytes = rows.weight();
                intake.send(Chunk { rows, bytes, due }).map_err(|_| "the yardstick has ended".to_owned())
            }
        }
    }
}

impl Target {
    /// Opens what the load is for.
    pub fn open(load: &Load, meters: &Arc<Meters>) -> Result<Self, String> {
        let url = DatabaseUrl::parse(&load.url).map_err(|error| error.to_string())?;
        if load.contender == Contender::SqliteC {
            let DatabaseUrl::Sqlite(path) = &url else { return Err("the yardstick writes SQLite files only".into()) };
            return open_baseline(load, path, meters);
        }
        let backend: Box<dyn Backend> = match &url {
            DatabaseUrl::Memory => Box::new(Memory::default()),
            #[cfg(feature = "sqlite")]
            DatabaseUrl::Sqlite(path) => {
                let opened = forebay::backend::sqlite::Sqlite::open(path, &load.config);
                Box::new(opened.map_err(|error| error.to_string())?)
            }
            #[cfg(feature = "mysql")]
            DatabaseUrl::Mysql(url) => {
                let opened = forebay::backend::mysql::Mysql::open(url, &load.config.mysql);
                Box::new(opened.map_err(|error| error.to_string())?)
            }
            _ => return Err("this build cannot measure that kind of database".into()),
        };
        let backend = Timed::new(backend, Arc::clone(meters));
        let pipeline = Pipeline::builder().config(load.config.clone()).backend(backend).open();
        pipeline.map(Self::Pipeline).map_err(|error| error.to_string())
    }

    /// Returns the way of one of `load.producers` producers, and the receipts to wait for.
    pub fn lane(&mut self) -> Option<(Lane, Option<Receiver<Sent>>)> {
        match self {
            Self::Pipeline(pipeline) => {
                let (receipts, sent) = channel();
                let lane = Lane::Pipeline { events: pipeline.events(), captures: pipeline.captures(), receipts };
                Some((lane, Some(sent)))
            }
            Self::Baseline { lanes, .. } => lanes.pop().map(|lane| (lane, None)),
        }
    }

    /// Returns whether rows of producers that have ended may still be on their way.
    pub fn is_busy(&self) -> bool {
        match self {
            // There somebody waits for each receipt.
            Self::Pipeline(_) => false,
            Self::Baseline { writer, .. } => !writer.is_finished(),
        }
    }

    /// Closes the database; returns whether all that was taken is in it.
    pub fn close(self) -> Result<bool, String> {
        match self {
            Self::Pipeline(pipeline) => Ok(pipeline.shutdown_blocking(Duration::from_secs(600)).is_complete()),
            Self::Baseline { writer, lanes, checkpoints } => {
                drop(lanes);
                let connection = writer.join().map_err(|_| "the yardstick panicked".to_owned())?;
                checkpoints.stop();
                drop(connection?);
                Ok(true)
            }
        }
    }
}

fn open_baseline(load: &Load, path: &Path, meters: &Arc<Meters>) -> Result<Target, String> {
    let connection = Connection::open(path)?;
    connection.configure(&load.config.sqlite)?;
    connection.execute(SCHEMA)?;
    let (buffer, send_rows) = (&load.config.buffer, load.send_rows.max(1));
    let bytes = (load.row_bytes.max(1) * send_rows) as u64;
    let room = (buffer.events.max_rows / send_rows).min((buffer.max_bytes.0 / bytes) as usize).max(1);
    let (sender, intake) = sync_channel(room);
    let lanes = vec![sender; load.producers].into_iter().map(Lane::Baseline).collect();
    let (limits, meters) = (load.config.batch.clone(), Arc::clone(meters));
    let checkpoints = Checkpoints::start(path)?;
    let writer = std::thread::Builder::new().name("sqlite-c".into());
    let writer = writer.spawn(move || write_all(&connection, &intake, &limits, &meters).map(|()| connection));
    let writer = writer.map_err(|error| format!("start the yardstick's thread: {error}"))?;
    Ok(Target::Baseline { writer, lanes, checkpoints })
}

/// Writes until all senders are gone: transactions as large as the limits allow, or as `max_wait` brings together.
fn write_all(
    connection: &Connection,
    intake: &Receiver<Chunk>,
    limits: &BatchConfig,
    meters: &Meters,
) -> Result<(), String> {
    let mut inserts = Inserts::prepare(connection)?;
    let mut end_to_end = Lot::new(&meters.end_to_end);
    let mut left_over = None;
    while let Some(first) = left_over.take().or_else(|| intake.recv().ok()) {
        let (mut rows, mut bytes, until) = (first.rows.len(), first.bytes, Instant::now() + limits.max_wait);
        let mut batch = vec![first];
        while rows < limits.max_rows {
            let Ok(next) = intake.recv_timeout(until.saturating_duration_since(Instant::now())) else { break };
            (rows, bytes) = (rows + next.rows.len(), bytes + next.bytes);
            if rows > limits.max_rows || bytes as u64 > limits.max_bytes.0 {
                left_over = Some(next);
                break;
            }
            batch.push(next);
        }
        let began = Instant::now();
        connection.execute("BEGIN IMMEDIATE")?;
        batch.iter().try_for_each(|chunk| inserts.insert(&chunk.rows))?;
        connection.execute("COMMIT")?;
        meters.wrote(began, batch.iter().map(|chunk| chunk.rows.len()).sum());
        for chunk in batch {
            end_to_end.record_since(chunk.due);
            meters.confirm(chunk.rows.len());
        }
    }
    Ok(())
}

/// A second connection that checkpoints every 100 ms, as our writer has one.
pub struct Checkpoints {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Checkpoints {
    fn start(path: &Path) -> Result<Self, String> {
        let connection = Connection::open(path)?;
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name("sqlite-c-checkpoint".into()).spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                // A checkpoint that cannot be made now is made by a later one, or by the writer's own limit.
                let _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)");
            }
        });
        let thread = thread.map_err(|error| format!("start the yardstick's thread: {error}"))?;
        Ok(Self { stop, thread })
    }

    fn stop(self) {
        drop(self.stop);
        // A panic there has lost nothing but checkpoints.
        let _ = self.thread.join();
    }
}
