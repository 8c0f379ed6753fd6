//! Ctrl-C, SIGTERM and SIGHUP: the first asks to stop, the second stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::terminal::Teller;

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
/// Those that whoever started the program has set to be ignored stay so: `nohup`, and Ctrl-C for a job in the
/// background of a script.
///
/// # Errors
/// When the operating system refuses the handlers or the thread.
pub fn watch(teller: Teller) -> io::Result<Arc<Stop>> {
    watch_and(move || teller.tell("writing what was read; once more to stop at once"))
}

/// As [`watch`], for who has nothing to bring to an end: says nothing.
///
/// # Errors
/// As [`watch`].
pub fn watch_quietly() -> io::Result<Arc<Stop>> {
    watch_and(|| {})
}

fn watch_and(tell: impl Fn() + Send + 'static) -> io::Result<Arc<Stop>> {
    let stop = Arc::new(Stop::default());
    let mut signals = Signals::new(not_ignored(&[SIGINT, SIGTERM, SIGHUP]))?;
    let seen = Arc::clone(&stop);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if seen.signal.swap(signal, Ordering::AcqRel) != 0 {
                // The second: at once. What is committed stays, and the next run goes on from there.
                std::process::exit(128 + signal);
            }
            seen.set();
            tell();
        }
    })?;
    Ok(stop)
}

/// Returns those of `signals` that whoever started the program has not set to be ignored.
pub fn not_ignored(signals: &[i32]) -> Vec<i32> {
    let ignored = ignored_signals();
    signals.iter().copied().filter(|signal| ignored & (1 << (signal - 1)) == 0).collect()
}

/// Returns the set of ignored signals, bit 0 for signal 1; empty where `/proc` does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
