//! One writer per file, by construction: a lock that dies with its holder.
//!
//! The lock is an advisory `flock` on a file of its own beside the database, with the holder's process id in it for the
//! error message of whoever comes second. Not on the database file: closing any descriptor of that one would drop the
//! POSIX locks that SQLite holds on it in the same process. The kernel releases the lock when its holder ends, however
//! it ends, so a file left behind is no obstacle. It is removed on close; since a waiting opener may hold the removed
//! file, an opener checks that what it locked is still what the path names.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a held lock is tried.
const GLANCE: Duration = Duration::from_millis(20);

/// The exclusive right to write to a database file; given up on drop.
#[derive(Debug)]
pub(super) struct WriterLock {
    path: PathBuf,
    _file: File,
}

/// Why the lock cannot be had.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another pipeline has it: its process id, if it could be read.
    Held(Option<u32>),
    Io(PathBuf, io::Error),
}

impl WriterLock {
    /// Takes the lock for the database at `database`, an absolute path without symbolic links; waits up to `patience`
    /// for another holder to let go.
    pub(super) fn acquire(database: &Path, patience: Duration) -> Result<Self, LockError> {
        let until = Instant::now() + patience;
        let mut path = database.as_os_str().to_owned();
        path.push("-forebay-lock");
        let path = PathBuf::from(path);
        let failed = |error| LockError::Io(path.clone(), error);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(GLANCE);
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(read_pid(&mut file))),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            let is_current = match std::fs::metadata(&path) {
                Ok(named) => named.ino() == file.metadata().map_err(failed)?.ino(),
                Err(_) => false,
            };
            if is_current {
                file.set_len(0).map_err(failed)?;
                write!(file, "{}", std::process::id()).map_err(failed)?;
                return Ok(Self { path, _file: file });
            }
        }
    }
}

/// Returns the process that writes to the database, if one does; 0 if it is not known which. Keeps nobody out: a lock that
/// is shared for a moment is waited for.
pub(super) fn holder(database: &Path) -> Option<u32> {
    let mut path = database.as_os_str().to_owned();
    path.push("-forebay-lock");
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_pid(&mut file).unwrap_or(0)),
        _ => None,
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // While still locked, so that nobody can have locked the file in between. A file that cannot be removed is
        // no obstacle to the next opener.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_in_the_same_process_learns_who_holds_it_and_a_leftover_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a.db");
        std::fs::write(dir.path().join("a.db-forebay-lock"), "999999").unwrap();
        let lock = WriterLock::acquire(&database, Duration::ZERO).unwrap();
        let second = WriterLock::acquire(&database, Duration::ZERO);
        assert!(matches!(second, Err(LockError::Held(Some(pid))) if pid == std::process::id()), "{second:?}");
        drop(lock);
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is left behind");
        WriterLock::acquire(&database, Duration::ZERO).unwrap();
    }

    /// A process was killed with -9 and started again at once. The kernel had not closed its files yet, so the second
    /// was refused as another writer, and a supervisor without a pause would have given up.
    #[test]
    fn a_holder_that_is_just_ending_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a.db");
        let lock = WriterLock::acquire(&database, Duration::ZERO).unwrap();
        let second = std::thread::spawn({
            let database = database.clone();
            move || WriterLock::acquire(&database, Duration::from_secs(60)).map(drop)
        });
        drop(lock);
        second.join().unwrap().unwrap();
    }
}
