//! Opens what a live capture listens with: sockets on an interface, each with its ring.
//!
//! Of several sockets none may see a packet before all are in their group, or it would come twice. So each is opened with
//! a filter that refuses everything, joins, and gets the real filter then. None sees a packet before its filter.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netdevice::name_to_index;

use super::filter::{Filter, Instruction};
use super::frame::Framing;
use super::settings::LiveSettings;
use super::socket::{self, Header, Ring};
use crate::error::{Error, ErrorKind};

/// Every interface at once.
pub(super) const ANY: &str = "any";

/// One socket with its ring.
pub(super) struct Tap {
    pub(super) fd: OwnedFd,
    pub(super) ring: Ring,
}

/// The sockets of one capture.
pub(super) struct Taps {
    pub(super) taps: Vec<Tap>,
    pub(super) framing: Framing,
    /// Index of the interface they are bound to; 0 for all.
    pub(super) bound: u32,
}

/// How an interface is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Up(u32),
    Down(u32),
    Absent,
}

/// Looks whether an interface of this name is there.
pub(super) fn presence(fd: &OwnedFd, name: &str) -> Presence {
    if name == ANY {
        return Presence::Up(0);
    }
    match (name_to_index(fd, name), socket::traits(fd, name)) {
        (Ok(index), Ok(traits)) if traits.is_up => Presence::Up(index),
        (Ok(index), Ok(_)) => Presence::Down(index),
        _ => Presence::Absent,
    }
}

impl Taps {
    /// Opens all sockets; from then on packets gather in the rings.
    pub(super) fn open(settings: &LiveSettings, filter: &Filter) -> Result<Self, Error> {
        let name = &settings.interface;
        let probe = socket::open(Header::Link).map_err(|error| refused(name, error))?;
        let (bound, framing) = if name == ANY {
            (0, Framing::Cooked)
        } else {
            let index = name_to_index(&probe, name).map_err(|error| absent(name, error.into()))?;
            let traits = socket::traits(&probe, name).map_err(|error| absent(name, error))?;
            (index, Framing::of(traits.hardware))
        };
        let loopback = name_to_index(&probe, "lo").ok();
        let program = filter.program(framing.start(), settings.snap_length, loopback);
        let program = program.map_err(|fault| {
            Error::new(ErrorKind::Configuration, format!("filter of the capture on {name}: {fault}"))
        })?;
        let mut taps = Vec::with_capacity(settings.threads);
        let mut group = None;
        for _ in 0..settings.threads {
            let tap = Tap::open(settings, framing, bound)?;
            if settings.threads > 1 {
                let joined = socket::join(&tap.fd, group).map_err(|error| {
                    failed(
                        &format!("share out the packets of {name} to {} threads (is it up?)", settings.threads),
                        error,
                    )
                })?;
                group = Some(joined);
            }
            taps.push(tap);
        }
        for tap in &taps {
            let attached = socket::attach(&tap.fd, &program);
            attached.map_err(|error| {
                // The kernel checks a program as a whole: a listing can be wrong in ways that we do not see.
                let kind = ErrorKind::Configuration;
                Error::new(kind, format!("the kernel does not take the filter of the capture on {name}")).because(error)
            })?;
        }
        Ok(Self { taps, framing, bound })
    }
}

/// Has a single socket listen to the interface that has the name now; needs no privilege.
///
/// Returns why not, if that may pass.
///
/// # Errors
/// When that one is of another kind, whose packets the filter was not made for.
pub(super) fn listen_again(
    fd: &OwnedFd,
    settings: &LiveSettings,
    framing: Framing,
    index: u32,
) -> Result<Option<Error>, Error> {
    let name = &settings.interface;
    let traits = match socket::traits(fd, name) {
        Ok(traits) => traits,
        Err(error) => return Ok(Some(absent(name, error))),
    };
    if Framing::of(traits.hardware) != framing {
        let text = format!("{name} has come back as an interface of another kind; start the capture anew");
        return Err(Error::new(ErrorKind::System, text));
    }
    Ok(listen(fd, settings, index).err())
}

impl Tap {
    fn open(settings: &LiveSettings, framing: Framing, index: u32) -> Result<Self, Error> {
        const NOTHING: [Instruction; 1] = [Instruction { code: 6, yes: 0, no: 0, k: 0 }];
        let name = &settings.interface;
        let header = if framing == Framing::Cooked { Header::Network } else { Header::Link };
        let fd = socket::open(header).map_err(|error| refused(name, error))?;
        let ring = Ring::open(&fd, settings.ring.0, settings.snap_length).map_err(|error| {
            failed(&format!("make a ring of {} for {name}; a smaller `ring` may do", settings.ring), error)
        })?;
        socket::attach(&fd, &NOTHING).map_err(|error| failed(&format!("filter packets of {name}"), error))?;
        listen(&fd, settings, index)?;
        Ok(Self { fd, ring })
    }
}

fn listen(fd: &OwnedFd, settings: &LiveSettings, index: u32) -> Result<(), Error> {
    let name = &settings.interface;
    socket::bind(fd, index).map_err(|error| failed(&format!("listen to {name}"), error))?;
    if settings.promiscuous && index != 0 {
        let done = socket::promiscuous(fd, index);
        done.map_err(|error| failed(&format!("have {name} take all packets; set `promiscuous = false`"), error))?;
    }
    Ok(())
}

/// A socket was refused: nearly always for want of the capability.
fn refused(name: &str, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return failed(&format!("open a packet socket for {name}"), error);
    }
    let text = format!(
        "capture packets of {name}: this process lacks the capability CAP_NET_RAW; give it by `setcap cap_net_raw=ep` on \
         the program's file, by `AmbientCapabilities=CAP_NET_RAW` in its systemd unit, or start it as root"
    );
    Error::new(ErrorKind::System, text).because(error)
}

fn absent(name: &str, error: io::Error) -> Error {
    // Without the list the message says enough.
    let there: Vec<_> = fs::read_dir("/sys/class/net").into_iter().flatten().flatten().collect();
    let mut there: Vec<_> = there.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    there.sort();
    let text = format!("no interface is named {name}; there are: {}, and `{ANY}`", there.join(", "));
    Error::new(ErrorKind::Configuration, text).because(error)
}

fn failed(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::System, what).because(error)
}
