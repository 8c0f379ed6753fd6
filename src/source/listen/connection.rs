//! One stream: reads a bounded amount, makes rows of it, sends them, and lets the others have their turn.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::frames::{Cutting, Frames};
use super::peer;
use super::record::{Gathered, Record, RecordReader};
use super::serve::{Closed, Place, Shared};
use super::tls;

/// Most bytes read in one turn.
const TURN: usize = 16 << 10;
/// How long, after `stop`, a stream must be quiet for it to hold nothing more that has arrived.
const QUIET: Duration = Duration::from_millis(50);
/// How long a peer may take to hear that its connection ends.
const PARTING: Duration = Duration::from_secs(1);

/// A stream in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// The reading half of a connection.
pub(super) struct Incoming<'a> {
    pub(super) shared: &'a Rc<Shared>,
    pub(super) reader: RecordReader,
    pub(super) frames: Frames,
    stream: ReadHalf<Box<dyn Duplex>>,
    buffer: Box<[u8]>,
    place: &'a Place,
    /// What the peer has shown, over TLS.
    certificate: Option<CertificateDer<'static>>,
}

/// The writing half.
pub(super) struct Outgoing {
    stream: WriteHalf<Box<dyn Duplex>>,
    patience: Duration,
    cutting: Cutting,
}

/// When a peer last did what counts, and whether it waits for us.
pub(super) struct Activity {
    last: Cell<Instant>,
    pub(super) is_due: Cell<bool>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { last: Cell::new(Instant::now()), is_due: Cell::new(false) }
    }

    pub(super) fn touch(&self) {
        self.last.set(Instant::now());
    }
}

/// Reads a connection to its end.
pub(super) async fn attend(
    shared: &Rc<Shared>,
    stream: Box<dyn Duplex>,
    from: Option<IpAddr>,
    certificate: Option<CertificateDer<'static>>,
    place: &Place,
) {
    let (stream, writing) = tokio::io::split(stream);
    let mut reader = shared.reader();
    if let Some(from) = from {
        reader.call_host(from.to_string());
    }
    let buffer = vec![0; TURN].into_boxed_slice();
    let mut incoming = Incoming { shared, reader, frames: shared.frames(), stream, buffer, place, certificate };
    let mut outgoing = Outgoing { stream: writing, patience: shared.limits.idle, cutting: shared.cutting };
    // A pipeline that is closed ends the whole source; here is nothing more to do.
    if let Ok(Some(hello)) = read(&mut incoming).await {
        peer::attend(&mut incoming, &mut outgoing, hello).await;
    }
    // Also tells TLS that this is the end; a peer that has gone does not hear it.
    let _ = timeout(PARTING, outgoing.stream.shutdown()).await;
}

/// Sends what comes, until the end or until the peer says that it wants answers.
async fn read(incoming: &mut Incoming<'_>) -> Result<Option<super::message::Hello>, Closed> {
    let activity = Activity::new();
    let mut gathered = Gathered::new();
    loop {
        let is_over = incoming.turn(&activity).await.is_none();
        while let Some(frame) = incoming.frames.next() {
            let record = incoming.reader.read(frame);
            activity.touch();
            match record {
                Record::Empty => continue,
                Record::Hello(hello) => return Ok(Some(hello)),
                record => gathered.add(record),
            }
            incoming.has_spoken();
            if gathered.is_full() {
                incoming.shared.send(gathered.take()).await?;
            }
        }
        if is_over && let Some(rest) = incoming.frames.rest() {
            gathered.add(incoming.reader.read(rest));
        }
        if gathered.len() > 0 {
            incoming.shared.send(gathered.take()).await?;
            // The peer is not idle while we wait for room.
            activity.touch();
        }
        if is_over {
            return Ok(None);
        }
        tokio::task::yield_now().await;
    }
}

impl Incoming<'_> {
    /// Reads once, at most [`TURN`] bytes; `None` at the end, which is also when the peer was idle for too long.
    pub(super) async fn turn(&mut self, activity: &Activity) -> Option<()> {
        let read = loop {
            if self.shared.last_call_is_over() {
                return None;
            }
            let idle_at = activity.last.get() + self.shared.limits.idle;
            let reading = timeout_at(idle_at, self.stream.read(&mut self.buffer));
            let read = if self.shared.stop.is_stopped() {
                timeout(QUIET, self.stream.read(&mut self.buffer)).await
            } else {
                tokio::select! {
                    read = reading => read,
                    () = self.shared.stop.stopped() => continue,
                }
            };
            match read {
                Ok(read) => break read,
                Err(_) if self.shared.stop.is_stopped() => return None,
                // Something happened meanwhile, or something is due from us.
                Err(_) if activity.is_due.get() => activity.touch(),
                Err(_) if activity.last.get() + self.shared.limits.idle > Instant::now() => {}
                Err(_) => return None,
            }
        };
        match read {
            // A connection that breaks ends, like one that is closed: what came is there.
            Ok(0) | Err(_) => None,
            Ok(bytes) => {
                self.frames.push(&self.buffer[..bytes]);
                Some(())
            }
        }
    }

    /// Returns whether the peer may have this name.
    pub(super) fn may_be(&self, peer: &str) -> bool {
        !self.shared.own_names || self.certificate.as_ref().is_some_and(|shown| tls::is_of(shown, peer))
    }

    pub(super) fn has_spoken(&self) {
        self.place.has_spoken.set(true);
    }
}

impl Outgoing {
    /// Writes one answer, framed as the peer's records are.
    pub(super) async fn answer(&mut self, json: &str) -> io::Result<()> {
        let framed = match self.cutting {
            Cutting::Length => [&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat(),
            Cutting::Lines | Cutting::Syslog => format!("{json}\n").into_bytes(),
        };
        let written = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        };
        timeout(self.patience, written).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
