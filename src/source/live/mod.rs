//! Packets of an interface as they pass, by Linux's packet sockets (`AF_PACKET`), without libpcap.
//!
//! ```text
//!  Live::open    settings.rs   what to capture; filter/ reads and compiles the filter
//!    -> Taps     tap.rs        sockets, each with a ring (socket.rs: the system calls)
//!  Live::run                   a thread for each ring, and this one, which looks after them
//!    -> Reader   reader.rs     takes a block (block.rs), makes frames (frame.rs) and rows, sends them
//! ```
//!
//! Opening is a step of its own, since it alone needs a capability, CAP_NET_RAW: open every capture, call
//! [`drop_privileges`], start the rest.
//!
//! A packet that is not stored cannot be had again, so that there is nothing to go on from after a crash: what was in
//! memory then is lost. What the kernel drops since the ring is full is counted, and what the pipeline discards by its
//! policy `drop_newest` too; with `block` nothing else is lost.
//!
//! Rows are those of a capture file ([`Record::into_capture`](super::pcap::Record::into_capture)): link type 1 for
//! Ethernet and loopback, 101 for interfaces that carry IP only, 276 (Linux cooked) for `any` and the others. Times are the
//! kernel's, in nanoseconds; VLAN tags are put back into frames. On loopback each packet passes twice and is kept once.

mod block;
mod filter;
mod frame;
mod privileges;
mod reader;
mod settings;
mod socket;
mod tap;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub use privileges::drop_privileges;
pub use settings::LiveSettings;

use filter::Filter;
use frame::Framing;
use reader::Reader;
use tap::{Presence, Tap, Taps};

use super::{Meter, Source, SourceState, Stop};
use crate::error::{Error, ErrorKind};
use crate::pipeline::Pipeline;

/// How often the interface and the kernel's counters are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What a row has beside its data and the sensor's name, generously.
const ROW: usize = 1024;

/// A live capture.
pub struct Live {
    settings: LiveSettings,
    filter: Filter,
    sensor: String,
    most: usize,
    meter: Meter,
    taps: Taps,
    drops: u64,
}

/// How one round of reading ended.
enum Round {
    Stopped,
    /// The interface is another one now, and the sockets of several threads cannot move to it.
    Outdated,
}

impl Live {
    /// Opens a capture: from now on packets gather in the kernel's ring, until [`run`](Source::run) takes them.
    ///
    /// `name` is the source's name, `host` the sensor if the settings name none; packets are cut so that no row is larger
    /// than `max_row_bytes`, which is the pipeline's `batch.max_bytes`.
    ///
    /// ```no_run
    /// use forebay::source::live::{Live, LiveSettings, drop_privileges};
    /// use forebay::source::{Source, Stop};
    /// use forebay::{Config, Pipeline};
    ///
    /// let config = Config::default();
    /// let mut live = Live::open("eth0", LiveSettings::new("eth0"), "tap-0", config.batch.max_bytes.0 as usize)?;
    /// drop_privileges(Some("forebay"))?;
    /// let pipeline = Pipeline::builder().config(config).database("sqlite:packets.db").open()?;
    /// live.run(&pipeline, &Stop::new())?;
    /// # Ok::<(), forebay::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a setting that cannot be and an interface that is not there; [`ErrorKind::System`]
    /// for a lack of CAP_NET_RAW, with how to give it, and whatever else the system refuses.
    pub fn open(name: &str, settings: LiveSettings, host: &str, max_row_bytes: usize) -> Result<Self, Error> {
        settings.validate()?;
        let filter = Filter::parse(&settings.filter).map_err(|fault| Error::new(ErrorKind::Configuration, fault))?;
        let taps = Taps::open(&settings, &filter)?;
        let sensor = settings.sensor.clone().unwrap_or_else(|| host.to_owned());
        let room = max_row_bytes.saturating_sub(sensor.len() + ROW);
        let most = room.min(usize::try_from(settings.snap_length).unwrap_or(usize::MAX));
        Ok(Self { most, settings, filter, sensor, meter: Meter::new(name, "live"), taps, drops: 0 })
    }

    /// One thread reads each ring; this one waits for the stop, and looks after the interface and the counters.
    fn round(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<Round, Error> {
        let Self { settings, sensor, most, meter, taps: Taps { taps, framing, bound }, drops, .. } = self;
        let reader = Reader { sensor, framing: *framing, most: *most, meter };
        let is_over = AtomicBool::new(false);
        let mut watch = Watch { settings, meter, framing: *framing, bound, drops };
        thread::scope(|scope| {
            // However this ends, the scope waits for the readers, and they for this.
            let _over = Over(&is_over);
            let mut readers = Vec::with_capacity(taps.len());
            let mut sockets = Vec::with_capacity(taps.len());
            for Tap { fd, ring } in taps {
                let (fd, producer, reader, is_over) = (&*fd, pipeline.captures(), &reader, &is_over);
                sockets.push(fd);
                let read = move || reader.read(fd, ring, &producer, is_over);
                let started = thread::Builder::new().name("live".into()).spawn_scoped(scope, read);
                readers.push(started.map_err(|error| {
                    Error::new(ErrorKind::System, "start a thread that reads packets").because(error)
                })?);
            }
            let round = loop {
                watch.count(&sockets);
                if watch.has_moved(&sockets)? {
                    break Round::Outdated;
                }
                if stop.wait(LOOK) || readers.iter().any(thread::ScopedJoinHandle::is_finished) {
                    break Round::Stopped;
                }
            };
            is_over.store(true, Ordering::Release);
            for reader in readers {
                match reader.join() {
                    Ok(Ok(())) => {}
                    // Whoever stops us may close the pipeline too.
                    Ok(Err(_)) if stop.is_stopped() => {}
                    Ok(Err(error)) => {
                        return Err(Error::new(ErrorKind::Unavailable, "send captured packets").because(error));
                    }
                    Err(_) => return Err(Error::new(ErrorKind::System, "a thread that reads packets has panicked")),
                }
            }
            watch.count(&sockets);
            Ok(round)
        })
    }

    /// Waits until the interface is there again, and opens new sockets on it.
    fn reopen(&mut self, stop: &Stop) -> Result<(), Error> {
        let name = &self.settings.interface;
        let is_up = |fd| matches!(tap::presence(fd, name), Presence::Up(_));
        while !stop.is_stopped() && self.taps.taps.first().is_some_and(|tap| !is_up(&tap.fd)) {
            self.meter.state(SourceState::Waiting { why: format!("{name} is down") });
            stop.wait(LOOK);
        }
        self.taps = Taps::open(&self.settings, &self.filter).map_err(|error| {
            let text = format!("{name} has come back as another interface, which several threads need new sockets for");
            Error::new(ErrorKind::System, text).because(error)
        })?;
        Ok(())
    }
}

/// Says that it is over when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Looks after the interface and the kernel's counters.
struct Watch<'a> {
    settings: &'a LiveSettings,
    meter: &'a Meter,
    framing: Framing,
    bound: &'a mut u32,
    drops: &'a mut u64,
}

impl Watch<'_> {
    fn count(&mut self, sockets: &[&OwnedFd]) {
        // A counter that cannot be read now is read at the next look.
        *self.drops += sockets.iter().filter_map(|fd| socket::drops(fd).ok()).sum::<u64>();
        self.meter.kernel_drops(*self.drops);
    }

    /// Shows how the interface is; a single socket follows its name to another interface. Returns whether several should.
    fn has_moved(&mut self, sockets: &[&OwnedFd]) -> Result<bool, Error> {
        let name = &self.settings.interface;
        let Some(first) = sockets.first() else { return Ok(false) };
        let presence = tap::presence(first, name);
        let state = match presence {
            Presence::Up(index) if index != *self.bound && sockets.len() > 1 => return Ok(true),
            Presence::Up(index) if index != *self.bound => {
                match tap::listen_again(first, self.settings, self.framing, index)? {
                    None => {
                        *self.bound = index;
                        SourceState::Running
                    }
                    Some(fault) => SourceState::Waiting { why: fault.to_string() },
                }
            }
            Presence::Up(_) => SourceState::Running,
            Presence::Down(_) => SourceState::Waiting { why: format!("{name} is down") },
            Presence::Absent => SourceState::Waiting { why: format!("no interface is named {name}") },
        };
        self.meter.state(state);
        Ok(false)
    }
}

impl Source for Live {
    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn run(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<(), Error> {
        loop {
            match self.round(pipeline, stop) {
                Ok(Round::Outdated) if !stop.is_stopped() => self.reopen(stop)?,
                Ok(_) => {
                    self.meter.state(SourceState::Ended);
                    return Ok(());
                }
                Err(error) => {
                    self.meter.state(SourceState::Failed { why: error.to_string() });
                    return Err(error);
                }
            }
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("settings", &self.settings).field("meter", &self.meter).finish_non_exhaustive()
    }
}
