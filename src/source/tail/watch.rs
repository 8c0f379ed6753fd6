//! Hears from the kernel that something happened in a directory (inotify), so that nobody has to look all the time.
//!
//! It only makes things prompt: whatever is not heard (no watches left, a network file system, a full queue, a directory
//! that is not there yet) is found by the regular look at all files. Directories are watched, not files: one watch for
//! hundreds of logs, and a rotation is heard too. Events of one file that follow each other are one event in the kernel's
//! queue, so a log that is written ten thousand times a second costs as much as the number of times that we look.
//!
//! Through `rustix`, which the crate has anyway; `notify` brings a thread of its own, wakes it for every opening of a file
//! (ours too), and allocates for each event.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::super::Stop;

/// After news, what comes right behind is waited for, to hear of it at once.
const LULL: Duration = Duration::from_millis(5);
/// A wait for the kernel cannot be woken by [`Stop`]: it looks so often.
const GLANCE: Duration = Duration::from_millis(50);

/// What happened since the last time.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Files that were written to.
    pub(super) written: HashSet<PathBuf>,
    /// Whether names came, went or changed, or anything may have happened.
    pub(super) names: bool,
}

pub(super) struct Watch {
    kernel: Option<OwnedFd>,
    by_number: HashMap<i32, PathBuf>,
    by_path: HashMap<PathBuf, i32>,
    is_told: bool,
}

impl Watch {
    /// Never fails: without inotify nothing is heard.
    pub(super) fn new() -> Self {
        let kernel = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let mut watch = Self { kernel: None, by_number: HashMap::new(), by_path: HashMap::new(), is_told: false };
        match kernel {
            Ok(kernel) => watch.kernel = Some(kernel),
            Err(error) => watch.tell(Path::new("inotify"), error),
        }
        watch
    }

    /// Watches these directories from now on, and no others.
    pub(super) fn set(&mut self, directories: &HashSet<PathBuf>) {
        let Some(kernel) = &self.kernel else { return };
        let gone: Vec<_> = self.by_path.keys().filter(|path| !directories.contains(*path)).cloned().collect();
        for path in gone {
            if let Some(number) = self.by_path.remove(&path) {
                self.by_number.remove(&number);
                // Gone already with its directory.
                let _ = inotify::remove_watch(kernel, number);
            }
        }
        let mut refused = None;
        for path in directories {
            if self.by_path.contains_key(path) {
                continue;
            }
            let what = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            match inotify::add_watch(kernel, path, what) {
                // Two paths of one directory share a number.
                Ok(number) => {
                    self.by_number.insert(number, path.clone());
                    self.by_path.insert(path.clone(), number);
                }
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => refused = Some((path.clone(), error)),
            }
        }
        if let Some((path, error)) = refused {
            self.tell(&path, error);
        }
    }

    fn tell(&mut self, what: &Path, error: rustix::io::Errno) {
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(?what, %error, "not told of changes by the kernel; files are looked at every `poll` instead");
        }
    }

    /// Waits until something happens, `stop` is said, or `patience` is over; returns what happened.
    pub(super) fn wait(&mut self, patience: Duration, stop: &Stop) -> News {
        let Some(kernel) = &self.kernel else {
            stop.wait(patience);
            return News::default();
        };
        let until = Instant::now() + patience;
        while !stop.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let glance = Timespec::try_from(left.min(GLANCE)).ok();
            match poll(&mut [PollFd::new(kernel, PollFlags::IN)], glance.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {
                    stop.wait(LULL.min(left));
                    break;
                }
                Err(_) => {
                    stop.wait(left);
                    break;
                }
            }
        }
        self.read()
    }

    /// Returns what has happened, without waiting.
    pub(super) fn read(&mut self) -> News {
        let mut news = News::default();
        let Some(kernel) = &self.kernel else { return news };
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut events = inotify::Reader::new(kernel, &mut buffer);
        // Ends with `WOULDBLOCK`; after any other fault the regular look finds what was not heard.
        while let Ok(event) = events.next() {
            let (what, number) = (event.events(), event.wd());
            if !what.difference(ReadFlags::MODIFY).is_empty() {
                news.names = true;
            }
            if what.contains(ReadFlags::IGNORED) {
                if let Some(path) = self.by_number.remove(&number) {
                    self.by_path.remove(&path);
                }
            } else if let (Some(name), Some(directory)) = (event.file_name(), self.by_number.get(&number)) {
                news.written.insert(directory.join(OsStr::from_bytes(name.to_bytes())));
            }
        }
        news
    }
}
