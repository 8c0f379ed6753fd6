//! The write-ahead log of one file: how long it is, who holds it, and when there is no room in it.
//!
//! Shared by the writer, which calls [`Log::make_room`] before each transaction, and by the thread in `checkpoint.rs`,
//! which calls [`Log::pass`] and [`Log::look`]. A *pass* is one PASSIVE checkpoint: it waits for nobody and moves what no
//! reader needs in the log any more. SQLite begins the log anew only when a write finds all of it moved and no reader in
//! it, and a pass beside a busy writer never moves all: meanwhile a batch was added. So above [`SOFT_LIMIT`] the writer
//! runs one itself before its next transaction, when nothing can be added; the thread has moved most of it by then. The
//! writer looks for itself (NOOP, which takes no lock) rather than being told by the thread: the two share no turn, and
//! while the thread has SQLite's checkpoint lock the writer simply goes on and looks again at the next batch.
//!
//! Measured on an AMD EPYC with 2 cores, ext4 on a virtual disk, against SQLite's own checkpoint in commits above 64 MiB:
//! `forebay bench --duration 7s`, five interleaved runs of each, medians: 111 instead of 115 thousand rows/s, worst commit
//! 152 (145 to 158) instead of 156 ms (152 to 397), log at most 80 instead of 93 MiB. At 240 MB/s of captures
//! (`--captures 100 --row-bytes 4000`, three runs, a noisy disk) a limit of 32 MiB had 56 instead of 58 thousand rows/s,
//! worst commits of 212 to 414 instead of 360 to 612 ms and 66 to 100 instead of 107 to 149 MiB of log; one of 64 MiB 58
//! thousand, 522 to 628 ms, 124 to 142 MiB. 48 MiB was not measured there.
//!
//! Turned down: the thread asking the writer by a flag, after passes of its own. In the flood that had 12 % more rows, but
//! up to 280 MiB of log and commits of 277 to 846 ms where SQLite's own way had 160 to 254: passes beside a flood do not
//! converge.
//!
//! A reader's open transaction holds everything behind its snapshot. Then the log grows, as it must, and says so: gauges
//! at each pass, a warning at [`WARN_AT`] and at each doubling. At `sqlite.max_wal` writing waits. That limit is compared
//! with the file's length, which is never less than the content and costs one `stat` a batch. It may be more (the file
//! keeps its length when the log begins anew), so at the limit the writer first tries to empty it (TRUNCATE, waiting for
//! nobody): if that works, nobody was in it. So the file is at most `max_wal` and one transaction long, whatever the
//! thread does.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::Integer;

use super::error;
use super::open::{pragma_number, set_busy_timeout};
use crate::backend::WriteError;
use crate::config::{Bytes, SqliteConfig};
use crate::telemetry::WalMetrics;

/// Length above which the writer helps before a transaction.
const SOFT_LIMIT: u64 = 48 << 20;
/// Length from which on there is a warning.
const WARN_AT: u64 = 256 << 20;
/// Why a write was refused at `sqlite.max_wal`: the metric's label.
pub(super) const FULL: &str = "wal_full";
/// Bytes of a frame beside its page (<https://www.sqlite.org/fileformat2.html#wal_file_format>).
const FRAME_HEADER: u64 = 24;

/// What the writer and the checkpointer share.
pub(super) struct Log {
    path: PathBuf,
    max: Bytes,
    busy_timeout: Duration,
    frame: u64,
    /// See [`Log::leave_to_thread`].
    thread_alone: AtomicBool,
    metrics: WalMetrics,
}

/// The answer to `PRAGMA wal_checkpoint`.
#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Integer)]
    busy: i32,
    /// Frames in the log at the beginning of the checkpoint.
    #[diesel(sql_type = Integer)]
    log: i32,
    /// Those of them that are in the database file now.
    #[diesel(sql_type = Integer)]
    checkpointed: i32,
}

/// The log after a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// Length of the log at the beginning of the pass.
    pub(super) bytes: u64,
    /// What a reader's open transaction kept from being moved.
    pub(super) held: u64,
}

impl Log {
    /// The log of the database at `path`, to which `connection` is open.
    pub(super) fn new(path: &Path, config: &SqliteConfig, connection: &mut SqliteConnection) -> QueryResult<Self> {
        let page = pragma_number(connection, "page_size")?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self {
            path: log.into(),
            max: config.max_wal,
            busy_timeout: config.busy_timeout,
            frame: u64::try_from(page).unwrap_or(0) + FRAME_HEADER,
            thread_alone: AtomicBool::new(false),
            metrics: WalMetrics::new("sqlite"),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves what no reader needs in the log. `None` if another connection is doing so.
    pub(super) fn pass(&self, connection: &mut SqliteConnection) -> QueryResult<Option<Pass>> {
        let _checkpoint = tracing::debug_span!("checkpoint", lane = "sqlite").entered();
        let began = Instant::now();
        let answer: Answer = diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection)?;
        if answer.busy != 0 {
            return Ok(None);
        }
        self.metrics.checkpointed(began.elapsed());
        let held = self.bytes(answer.log.saturating_sub(answer.checkpointed));
        let pass = Pass { bytes: self.bytes(answer.log), held };
        self.metrics.log(pass.bytes, pass.held);
        Ok(Some(pass))
    }

    /// Runs `lock`, which waits for the lock on the file, and notes for how long.
    pub(super) fn locked(&self, lock: impl FnOnce() -> QueryResult<()>) -> QueryResult<()> {
        let began = Instant::now();
        let locked = lock();
        self.metrics.locked_after(began.elapsed());
        locked
    }

    /// Notes how much room the file system has. Also while nothing can be written: that may be why.
    pub(super) fn look_at_disk(&self) {
        if let Ok(disk) = rustix::fs::statvfs(self.path.parent().unwrap_or(&self.path)) {
            self.metrics.disk(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        }
    }

    /// The writer helps no more: a long reader has left so much that it would be held up for seconds.
    pub(super) fn leave_to_thread(&self) {
        self.thread_alone.store(true, Ordering::Release);
    }

    /// The writer helps again.
    pub(super) fn let_writer_help(&self) {
        self.thread_alone.store(false, Ordering::Release);
    }

    /// Makes sure that there is room for a transaction. To be called on the writer's connection, outside of one.
    ///
    /// # Errors
    /// [`WriteError::Transient`] with the reason [`FULL`] while the log is at its limit and a reader holds it.
    pub(super) fn make_room(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        if let Err(error) = self.help(connection) {
            // No harm: the next write tries again.
            tracing::debug!(%error, "checkpoint");
        }
        let length = std::fs::metadata(&self.path).map_or(0, |log| log.len());
        if length <= self.max.0 || self.empty(connection).map_err(error::of_transaction)? {
            return Ok(());
        }
        let source = format!(
            "{} is {} long, and sqlite.max_wal is {}: it is emptied when no reader's open transaction holds it; \
             end that transaction (`fuser -v` with the database's name lists who has it open), or raise the limit",
            self.path.display(),
            mebibytes(length),
            self.max
        );
        Err(WriteError::Transient { reason: FULL, source: source.into() })
    }

    /// Moves all of a log that is above the soft limit, so that the transaction that follows begins it anew.
    fn help(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        if self.thread_alone.load(Ordering::Acquire) {
            return Ok(());
        }
        let answer: Answer = diesel::sql_query("PRAGMA wal_checkpoint(NOOP)").get_result(connection)?;
        if self.bytes(answer.log) > SOFT_LIMIT && answer.checkpointed < answer.log {
            self.pass(connection)?;
        }
        Ok(())
    }

    fn bytes(&self, frames: i32) -> u64 {
        u64::try_from(frames).unwrap_or(0) * self.frame
    }

    /// Moves everything and cuts the file to nothing, waiting for nobody; returns whether that was possible.
    fn empty(&self, connection: &mut SqliteConnection) -> QueryResult<bool> {
        set_busy_timeout(connection, Duration::ZERO)?;
        let answer = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result::<Answer>(connection);
        set_busy_timeout(connection, self.busy_timeout)?;
        answer.map(|answer| answer.busy == 0)
    }

    /// Says in the log of the program when this log has grown, and when that is over.
    pub(super) fn look(&self, pass: &Pass, alarm: &mut Alarm) {
        let (path, bytes) = (self.path.display(), mebibytes(pass.bytes));
        let why = match pass.held {
            0 => {
                "either readers take turns in it without a pause, or the disk is too slow; end the readers or send less"
            }
            _ => {
                "some reader's open transaction holds it; end that transaction (`fuser -v` with the database's name \
                 lists who has it open)"
            }
        };
        match alarm.look(pass.bytes) {
            None => {}
            Some(Growth::Grown) => tracing::warn!(
                held = mebibytes(pass.held),
                limit = %self.max,
                "{path} has grown to {bytes}: {why}. At sqlite.max_wal writing waits"
            ),
            Some(Growth::Over) => tracing::info!("{path} is short again: {bytes}"),
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Decides when the log's length is worth a line: at [`WARN_AT`], at each doubling, and once when it is over. Pure.
pub(super) struct Alarm {
    next: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Growth {
    Grown,
    Over,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { next: WARN_AT }
    }
}

impl Alarm {
    fn look(&mut self, bytes: u64) -> Option<Growth> {
        if bytes >= self.next {
            self.next = WARN_AT << ((bytes / WARN_AT).ilog2() + 1);
            return Some(Growth::Grown);
        }
        if bytes < WARN_AT && self.next > WARN_AT {
            self.next = WARN_AT;
            return Some(Growth::Over);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_log_is_told_of_at_each_doubling_and_once_when_it_is_over() {
        use Growth::{Grown, Over};
        let mut alarm = Alarm::default();
        let said: Vec<_> = [0, 255, 256, 511, 300, 512, 513, 5000, 8191, 8192, 256, 600, 255, 0, 300]
            .map(|mebibytes: u64| alarm.look(mebibytes << 20))
            .into();
        let expected = [
            None,
            None,
            Some(Grown),
            None,
            None,
            Some(Grown),
            None,
            Some(Grown),
            None,
            Some(Grown),
            None,
            None,
            Some(Over),
            None,
            Some(Grown),
        ];
        assert_eq!(said, expected);
    }
}
