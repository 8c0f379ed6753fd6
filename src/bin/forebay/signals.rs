//! Ctrl-C and SIGTERM: the first asks to stop, the second stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Whether the program was asked to stop, and by which signal.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicBool,
    signal: AtomicI32,
}

impl Stop {
    pub fn set(&self) {
        self.asked.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Returns the signal's number, if it was one.
    pub fn signal(&self) -> Option<u8> {
        u8::try_from(self.signal.load(Ordering::Acquire)).ok().filter(|signal| *signal > 0)
    }
}

/// Starts waiting for signals.
///
/// # Errors
/// When the operating system refuses the handlers or the thread.
pub fn watch() -> io::Result<Arc<Stop>> {
    let stop = Arc::new(Stop::default());
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let seen = Arc::clone(&stop);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if seen.signal.swap(signal, Ordering::AcqRel) != 0 {
                // The second: at once. What is committed stays, and the next run goes on from there.
                std::process::exit(128 + signal);
            }
            seen.set();
            eprintln!("\nforebay: writing what was read; once more to stop at once");
        }
    })?;
    Ok(stop)
}
