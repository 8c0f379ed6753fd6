//! Works on the segments while nothing is being written: a thread that asks for one step at a time.
//!
//! A step never begins while a batch waits or was written within the last milliseconds; a batch that comes meanwhile
//! waits for the step's end, which is why `segments/plan.rs` keeps steps short.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::file::File;

/// How often is asked while there is nothing to do.
const EVERY: Duration = Duration::from_millis(100);
/// How long is waited between two steps.
const PAUSE: Duration = Duration::from_millis(5);

/// The thread; ends on drop, after the step that it is at.
#[derive(Debug)]
pub(super) struct Housekeeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeper {
    pub(super) fn start(file: Arc<File>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::Builder::new().name("forebay-segments".into()).spawn(move || {
            let mut wait = EVERY;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = if file.idle() { PAUSE } else { EVERY };
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has lost nothing: every step is a transaction.
            let _ = thread.join();
        }
    }
}
