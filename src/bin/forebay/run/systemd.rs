//! What systemd is told (sd_notify(3), `Type=notify`): ready, reloading, stopping, and that we are alive. Elsewhere all of
//! this does nothing.

use std::time::{Duration, Instant};

use forebay::pipeline::{LaneState, Status};
use forebay::source::SourceStatus;
use sd_notify::NotifyState;

use crate::terminal::thousands;

/// How often the line that `systemctl status` shows is written anew.
const TELL_EVERY: Duration = Duration::from_secs(10);

fn notify(states: &[NotifyState<'_>]) {
    // Not run by systemd, or its socket is gone: nobody is to be told.
    let _ = sd_notify::notify(false, states);
}

/// Says that rows are taken now.
pub fn ready(sources: usize) {
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("{sources} sources"))]);
}

/// Says that the settings are being read again.
pub fn reloading() {
    // Since systemd 253 a reload is only believed with the time at which it began.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Says that the last rows are being written.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Says that we are alive, if systemd wants to hear it (`WatchdogSec=`).
///
/// A lane that waits for its database is alive: a restart would mend nothing.
pub struct Watchdog {
    every: Option<Duration>,
    told: Option<Instant>,
}

impl Watchdog {
    pub fn new() -> Self {
        let mut micros = 0;
        let is_wanted = sd_notify::watchdog_enabled(false, &mut micros) && micros > 0;
        Self { every: is_wanted.then(|| Duration::from_micros(micros) / 3), told: None }
    }

    /// Returns how long the next call may be away.
    pub fn patience(&self) -> Duration {
        self.every.unwrap_or(Duration::MAX)
    }

    /// Is called once a loop.
    pub fn tell(&mut self, status: &Status, sources: &[SourceStatus]) {
        if self.every.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            notify(&[NotifyState::Status(&line(status, sources))]);
        }
    }
}

fn line(status: &Status, sources: &[SourceStatus]) -> String {
    let lanes = status.lanes.iter().map(|lane| {
        let rows = thousands(lane.events.committed + lane.captures.committed);
        match &lane.state {
            LaneState::Retrying { since, .. } => {
                format!("{}: waits for {} s, {rows} rows", lane.backend, since.as_secs())
            }
            _ => format!("{}: {rows} rows", lane.backend),
        }
    });
    let troubled = sources.iter().filter(|source| !matches!(source.state.word(), "running" | "starting"));
    let lanes: Vec<_> =
        lanes.chain(troubled.map(|source| format!("{} {}", source.name, source.state.word()))).collect();
    lanes.join(", ")
}
