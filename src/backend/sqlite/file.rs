//! The open file: its writing connection, its segments, and the rule for errors: a connection that may have been left in
//! a state unknown to us is closed, and everything about the file is read anew with the next one.
//!
//! Shared by the backend (`mod.rs`), which writes batches, the housekeeper, which works on the segments in between, and
//! `store.rs`, which changes state.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error as DieselError;

use super::open::{self, Access, Identity, connect, identity};
use super::segments::{Limits, Segments, Step, Urgency};
use super::wal::{self, Log};
use super::{error, insert};
use crate::backend::WriteError;
use crate::batch::Batch;
use crate::chunk::RowKind;
use crate::config::{Config, SqliteConfig};
use crate::telemetry;
use crate::timestamp::Timestamp;

/// How long steps that are due may keep a batch waiting; one that is begun is finished.
const BETWEEN_BATCHES: Duration = Duration::from_millis(50);
/// How long after a write has ended the file counts as idle.
const IDLE_AFTER: Duration = Duration::from_millis(5);
/// How long no step is tried after one that failed.
const REST: Duration = Duration::from_secs(5);
/// How long a step waits for another program's lock; a batch that comes meanwhile waits behind it, and so does shutdown.
const STEP_PATIENCE: Duration = Duration::from_millis(50);
/// How often the file's size is looked at under full load.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An open file.
pub(super) struct File {
    writer: Mutex<Writer>,
    /// Writes that wait for the writer, or have it.
    writes: AtomicUsize,
    pub(super) path: PathBuf,
    /// A file that is moved or deleted must not be written any more.
    pub(super) identity: Identity,
    log: Arc<Log>,
    config: SqliteConfig,
    limits: Limits,
}

/// A connection with what it has read of the file.
pub(super) struct Open {
    pub(super) connection: SqliteConnection,
    pub(super) segments: Segments,
}

/// What belongs to whoever writes.
pub(super) struct Writer {
    /// `None` after an error that may have left it in a state unknown to us.
    open: Option<Open>,
    last_write: Instant,
    last_look: Instant,
    /// After a step that failed.
    rest_until: Option<Instant>,
    /// Whether it was a step that closed the connection: then the next step may open it again.
    closed_by_step: bool,
    is_closing: bool,
}

impl File {
    pub(super) fn new(
        (path, identity): (PathBuf, Identity),
        log: Arc<Log>,
        mut connection: SqliteConnection,
        config: &Config,
    ) -> QueryResult<Self> {
        let segments = Segments::read(&mut connection)?;
        telemetry::segments(segments.all().map(|segment| (segment.kind, segment.is_visible())));
        let writer = Writer {
            open: Some(Open { connection, segments }),
            last_write: Instant::now(),
            last_look: Instant::now(),
            rest_until: None,
            closed_by_step: false,
            is_closing: false,
        };
        let limits = Limits::of(config);
        let (writer, writes) = (Mutex::new(writer), AtomicUsize::new(0));
        Ok(Self { writer, writes, path, identity, log, config: config.sqlite.clone(), limits })
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the writing connection. A refused row leaves a transaction that is rolled back; after any other
    /// error the connection is closed, and opened anew next time: so whatever the error left behind is gone.
    pub(super) fn with_connection<T>(
        &self,
        writer: &mut Writer,
        work: impl FnOnce(&mut Open) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        self.check_present()?;
        let mut open = match writer.open.take() {
            Some(open) => open,
            None => self.reconnect().map_err(error::of_transaction)?,
        };
        let result = work(&mut open);
        let is_clean = match &result {
            Ok(_) => true,
            // Opening anew for each piece of a cut batch would make a flood of bad rows expensive.
            Err(WriteError::Rejected { .. }) => open.connection.batch_execute("ROLLBACK").is_ok(),
            // Refused before the transaction began, and soon again.
            Err(WriteError::Transient { reason: wal::FULL, .. }) => true,
            Err(_) => false,
        };
        if is_clean {
            writer.open = Some(open);
        }
        result
    }

    /// Finds out whether the path still names our file; another one that was put there is neither written nor read.
    pub(super) fn check_present(&self) -> Result<(), WriteError> {
        if identity(&self.path) == Some(self.identity) {
            return Ok(());
        }
        let source =
            format!("{} was moved or deleted; put it back, or restart to begin a new file", self.path.display());
        Err(WriteError::Transient { reason: "file_gone", source: source.into() })
    }

    fn reconnect(&self) -> Result<Open, DieselError> {
        let mut connection = connect(&self.path, Access::Write)?;
        open::configure(&mut connection, &self.config)?;
        let segments = Segments::read(&mut connection)?;
        Ok(Open { connection, segments })
    }

    /// Commits a batch, after whatever is due before it.
    pub(super) fn write(&self, batch: &Batch) -> Result<MutexGuard<'_, Writer>, WriteError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let mut writer = self.writer();
        self.make_room(&mut writer, batch);
        let written = self.with_connection(&mut writer, |Open { connection, segments }| {
            self.log.make_room(connection)?;
            self.log.locked(|| connection.batch_execute("BEGIN IMMEDIATE")).map_err(error::of_transaction)?;
            let added = insert::insert(connection, batch, &RowKind::ALL.map(|kind| segments.place(kind)))?;
            connection.batch_execute("COMMIT").map_err(error::of_transaction)?;
            for kind in RowKind::ALL {
                segments.committed(kind, added[kind.index()], batch.bytes_of(kind) as i64);
            }
            Ok(())
        });
        writer.last_write = Instant::now();
        writer.closed_by_step &= writer.open.is_some();
        self.writes.fetch_sub(1, Ordering::Relaxed);
        written.map(|()| writer)
    }

    /// Runs `work` in a transaction of its own, between two batches: `work` ends what is begun for it.
    pub(super) fn transact(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let mut writer = self.writer();
        let written = self.with_connection(&mut writer, |Open { connection, .. }| {
            self.log.make_room(connection)?;
            connection.batch_execute("BEGIN IMMEDIATE").map_err(error::of_transaction)?;
            work(connection)
        });
        writer.last_write = Instant::now();
        writer.closed_by_step &= writer.open.is_some();
        self.writes.fetch_sub(1, Ordering::Relaxed);
        written
    }

    /// Closes what the batch would fill beyond its limits, then does what is due. A failure of either is no reason not
    /// to take the rows.
    fn make_room(&self, writer: &mut Writer, batch: &Batch) {
        for kind in RowKind::ALL {
            let (rows, bytes) = (batch.stored_count(kind) as i64, batch.bytes_of(kind) as i64);
            let is_full = |open: &mut Open| open.segments.is_full(kind, rows, bytes, &self.limits);
            if rows > 0 && writer.open.as_mut().is_some_and(is_full) {
                self.step(writer, Some(Step::Close(kind)), Urgency::Due);
            }
        }
        let until = Instant::now() + BETWEEN_BATCHES;
        while self.step(writer, None, Urgency::Due) && Instant::now() < until {}
    }

    /// Does one step while nobody writes. Returns whether there may be more to do now.
    pub(super) fn idle(&self) -> bool {
        let mut writer = self.writer();
        let is_idle = self.writes.load(Ordering::Relaxed) == 0 && writer.last_write.elapsed() >= IDLE_AFTER;
        is_idle && self.step(&mut writer, None, Urgency::Idle)
    }

    /// Carries out `step`, or the next one; returns whether one was done.
    fn step(&self, writer: &mut Writer, step: Option<Step>, urgency: Urgency) -> bool {
        if writer.is_closing || writer.rest_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let look = writer.last_look.elapsed() >= LOOK_EVERY;
        if look {
            writer.last_look = Instant::now();
        }
        // A file that a write has closed is opened by the next write, and by nobody else: it may be damaged.
        if writer.open.is_none() && !writer.closed_by_step {
            return false;
        }
        let (now, patience) = (Timestamp::now().as_nanos(), self.config.busy_timeout);
        let done = self.with_connection(writer, |Open { connection, segments }| {
            if look {
                segments.look(connection).map_err(error::of_transaction)?;
                let space = segments.space();
                telemetry::file(space.file as f64, space.free as f64);
            }
            let Some(step) = step.or_else(|| segments.next(&self.limits, now, urgency)) else { return Ok(false) };
            let rows = segments.rows(&step);
            self.log.make_room(connection)?;
            let began = Instant::now();
            open::set_busy_timeout(connection, STEP_PATIENCE.min(patience)).map_err(error::of_transaction)?;
            segments.carry_out(connection, &step, now).map_err(error::of_transaction)?;
            open::set_busy_timeout(connection, patience).map_err(error::of_transaction)?;
            tracing::trace!(?step, elapsed = ?began.elapsed(), "segments");
            telemetry::segment_step(step.name(), began.elapsed());
            telemetry::segments(segments.all().map(|segment| (segment.kind, segment.is_visible())));
            if let Step::Retire(kind, number, reason) = step {
                telemetry::retired(kind, reason, rows);
                let segment = format!("{}_{number}", kind.table());
                tracing::info!(segment, reason, rows, "dropped by retention");
            }
            Ok(true)
        });
        writer.rest_until = None;
        writer.closed_by_step = matches!(done, Err(WriteError::Transient { .. }));
        done.unwrap_or_else(|error| {
            tracing::warn!(%error, "work on the segments failed; it is tried again, and rows are taken meanwhile");
            writer.rest_until = Some(Instant::now() + REST);
            false
        })
    }

    /// Ends the work on segments.
    pub(super) fn rest(&self, writer: &mut Writer) {
        writer.is_closing = true;
    }
}
