//! Moves the write-ahead log into the database file beside the writer, not inside its commits.
//!
//! A second connection runs a pass (a PASSIVE checkpoint, which waits for nobody) every 100 ms while the log changes or
//! a reader holds it. `wal.rs` says when the writer helps, and what happens when readers do not let go.
//!
//! SQLite's own checkpoint inside commits is off. As a backstop at 16,384 pages it was skipped whenever this thread had
//! the checkpoint lock, and after a long reader it would move gigabytes within one commit. Now the thread does that
//! beside the writer. Should the thread be gone, the writer still helps, and `sqlite.max_wal` bounds the log.
//!
//! It opens the file anew only while the path still names the writer's file: to another one there the log that lies
//! beside it would be applied.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use diesel::sqlite::SqliteConnection;

use super::open::{Access, Identity, connect, identity};
use super::wal::{Alarm, Log};

const EVERY: Duration = Duration::from_millis(100);
/// How often the room on the disk is looked at, in looks at the log.
const DISK_EVERY: u32 = 10;
/// With more than this in the log behind a reader the thread catches up alone, pass after pass, as long as each finds
/// less than half of what the one before found.
const MUCH: u64 = 128 << 20;

/// A thread with a connection of its own; ends on drop.
#[derive(Debug)]
pub(super) struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread for the database at `path`, which is the file `own`.
    pub(super) fn start(path: PathBuf, own: Identity, log: Arc<Log>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::Builder::new().name("forebay-checkpoint".into()).spawn(move || {
            Rounds { path, own, log, connection: None, length: 0, alarm: Alarm::default() }.run(&stopped);
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

struct Rounds {
    path: PathBuf,
    own: Identity,
    log: Arc<Log>,
    connection: Option<SqliteConnection>,
    /// What the last pass found.
    length: u64,
    alarm: Alarm,
}

impl Rounds {
    fn run(mut self, stopped: &Receiver<()>) {
        let (mut seen, mut held) = (None, false);
        let mut looks = (0..DISK_EVERY).cycle();
        self.log.look_at_disk();
        while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
            if looks.next() == Some(DISK_EVERY - 1) {
                self.log.look_at_disk();
            }
            // The log's length is its content only after a restart of the log; its change time always tells.
            let changed = change_time(self.log.path());
            if changed.is_none() || (changed == seen && !held) {
                continue;
            }
            seen = changed;
            held = self.round();
        }
    }

    /// Moves what can be moved; returns whether a reader kept some of it.
    fn round(&mut self) -> bool {
        if self.connection.is_none() && identity(&self.path) == Some(self.own) {
            self.connection = connect(&self.path, Access::Checkpoint).ok();
        }
        let Some(connection) = &mut self.connection else { return false };
        let mut last = u64::MAX;
        loop {
            let pass = match self.log.pass(connection) {
                Ok(Some(pass)) => pass,
                Ok(None) => return false,
                Err(error) => {
                    tracing::debug!(%error, "checkpoint");
                    self.connection = None;
                    self.log.let_writer_help();
                    return false;
                }
            };
            self.log.look(&pass, &mut self.alarm);
            let before = std::mem::replace(&mut self.length, pass.bytes);
            if pass.held > 0 {
                if pass.held > MUCH {
                    self.log.leave_to_thread();
                }
                return true;
            }
            let more = pass.bytes.saturating_sub(before);
            if more <= MUCH || more > last / 2 {
                self.log.let_writer_help();
                return false;
            }
            last = more;
        }
    }
}

fn change_time(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has lost nothing but checkpoints.
            let _ = thread.join();
        }
    }
}
