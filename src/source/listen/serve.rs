//! The source's thread: opens, takes connections, and ends.
//!
//! `run` drives a runtime of one thread and leaves when `stop` is said or the pipeline takes no more rows. Then nothing
//! is accepted any more, each connection reads what has arrived, sends it, and gives the answers that are due; what is not
//! done after [`FAREWELL`] is cut off.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::address::{Listen, SocketMode};
use super::bind::{self, Bound};
use super::connection::{self, Duplex};
use super::datagrams::{self, Datagrams};
use super::frames::{Cutting, Frames};
use super::ledger::{self, QUESTIONS, Question};
use super::limits::Limits;
use super::record::{Gathered, RecordReader, Speech};
use super::seats::Seats;
use super::tls::TlsSettings;
use crate::capture::Capture;
use crate::config::Bytes;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::pipeline::{Pipeline, Producer};
use crate::source::format::Parser;
use crate::source::{Meter, SourceState, Stop};

/// How long connections have, after `stop`, to send what they have read and to give the answers that are due.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long, after `stop`, what arrives is still read: from peers that never pause.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How long to wait when the system has no file descriptor left.
const BREATH: Duration = Duration::from_millis(200);
/// Shortest time between two warnings about peers, who must not fill the log.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Everything that a listener is told.
pub(in crate::source) struct Plan {
    pub(in crate::source) name: String,
    pub(in crate::source) kind: &'static str,
    pub(in crate::source) address: Listen,
    pub(in crate::source) mode: SocketMode,
    pub(in crate::source) receive_buffer: Option<Bytes>,
    pub(in crate::source) cutting: Cutting,
    pub(in crate::source) speech: Speech,
    /// For each peer a clone.
    pub(in crate::source) parser: Parser,
    pub(in crate::source) sensor: Option<String>,
    pub(in crate::source) host: String,
    pub(in crate::source) limits: Limits,
    pub(in crate::source) tls: Option<TlsSettings>,
    pub(in crate::source) allow_plaintext: bool,
    pub(in crate::source) max_row_bytes: usize,
}

impl Plan {
    /// Refuses what cannot be, or should not be.
    pub(in crate::source) fn validate(&self) -> Result<(), Error> {
        let is_local = self.address.is_local();
        let check = || {
            self.limits.validate()?;
            match &self.tls {
                Some(_) if !matches!(self.address, Listen::Tcp(_)) => return Err("tls needs `listen = \"tcp:...\"`"),
                Some(tls) => tls.validate(is_local)?,
                None if is_local || self.allow_plaintext => {}
                None => {
                    return Err(
                        "beyond loopback rows need `tls`, or `allow_plaintext = true` to take them from anyone",
                    );
                }
            }
            match self.address {
                _ if self.address.is_datagrams() && self.cutting == Cutting::Length => {
                    Err("datagrams need no `framing = \"length\"`: each holds lines")
                }
                _ => Ok(()),
            }
        };
        check().map_err(|why| Error::new(ErrorKind::Configuration, format!("source {}: {why}", self.name)))
    }
}

/// A source that peers send to.
pub(in crate::source) struct Listener {
    plan: Plan,
    meter: Meter,
    bound: Option<Bound>,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    pub(in crate::source) fn new(plan: Plan) -> Result<Self, Error> {
        plan.validate()?;
        let meter = Meter::new(plan.name.clone(), plan.kind);
        Ok(Self { plan, meter, bound: None, tls: None })
    }

    pub(in crate::source) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Reads the certificates and opens the socket, unless that is done.
    pub(in crate::source) fn bind(&mut self) -> Result<(), Error> {
        if self.bound.is_none() {
            self.tls = self.plan.tls.as_ref().map(TlsSettings::acceptor).transpose()?;
            self.bound = Some(bind::open(&self.plan.address, self.plan.mode.0, self.plan.receive_buffer)?);
        }
        Ok(())
    }

    /// Returns the TCP or UDP address that was opened: the port, if the system was to choose one.
    pub(in crate::source) fn local_address(&self) -> Option<std::net::SocketAddr> {
        match self.bound.as_ref()? {
            Bound::Tcp(listener) => listener.local_addr().ok(),
            Bound::Udp(socket) => socket.local_addr().ok(),
            Bound::Unix(..) | Bound::Unixgram(..) => None,
        }
    }

    pub(in crate::source) fn run(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<(), Error> {
        let ended = self.bind().and_then(|()| self.serve(pipeline, stop));
        self.meter.state(match &ended {
            Ok(()) => SourceState::Ended,
            Err(error) => SourceState::Failed { why: error.to_string() },
        });
        ended
    }

    fn serve(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| Error::new(ErrorKind::System, "start a runtime").because(error))?;
        let Some(bound) = self.bound.take() else { return Ok(()) };
        let (ask, questions) = mpsc::channel(QUESTIONS);
        let shared = Shared::new(&self.plan, self.meter.clone(), self.tls.clone(), pipeline, stop, ask);
        std::thread::scope(|scope| {
            // Said also when this thread unwinds.
            let done = Done(Stop::new());
            let asking = done.0.clone();
            scope.spawn(move || ledger::answer(pipeline, questions, &asking));
            // Everything that could ask is dropped with these two, and so the thread above ends.
            let (runtime, local) = (runtime, LocalSet::new());
            runtime.block_on(local.run_until(shared.serve(bound)))
        })
    }
}

/// Ends the thread that asks the ledger.
struct Done(Stop);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What all connections of a listener have in common.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) cutting: Cutting,
    pub(super) limits: Limits,
    pub(super) meter: Meter,
    pub(super) stop: Stop,
    pub(super) seats: Rc<Seats>,
    pub(super) ask: mpsc::Sender<Question>,
    pub(super) places: Places,
    tls: Option<TlsAcceptor>,
    /// Whether a peer's name must be one of its certificate.
    pub(super) own_names: bool,
    events: Producer<Event>,
    captures: Producer<Capture>,
    speech: Speech,
    parser: Parser,
    sensor: Option<String>,
    host: String,
    max_row_bytes: usize,
    kind: &'static str,
    closed: watch::Sender<bool>,
    warned: Cell<Option<Instant>>,
    /// When somebody first saw that `stop` was said.
    stopped_at: Cell<Option<Instant>>,
}

/// The pipeline takes no more rows.
#[derive(Debug)]
pub(super) struct Closed;

impl Shared {
    fn new(
        plan: &Plan,
        meter: Meter,
        tls: Option<TlsAcceptor>,
        pipeline: &Pipeline,
        stop: &Stop,
        ask: mpsc::Sender<Question>,
    ) -> Rc<Self> {
        Rc::new(Self {
            name: plan.name.clone(),
            cutting: plan.cutting,
            limits: plan.limits.clone(),
            places: Places::new(&plan.limits, meter.clone()),
            meter,
            stop: stop.clone(),
            seats: Rc::default(),
            ask,
            tls,
            own_names: plan.tls.as_ref().is_some_and(|tls| tls.own_names),
            events: pipeline.events(),
            captures: pipeline.captures(),
            speech: plan.speech,
            parser: plan.parser.clone(),
            sensor: plan.sensor.clone(),
            host: plan.host.clone(),
            max_row_bytes: plan.max_row_bytes,
            kind: plan.kind,
            closed: watch::channel(false).0,
            warned: Cell::new(None),
            stopped_at: Cell::new(None),
        })
    }

    pub(super) fn frames(&self) -> Frames {
        Frames::new(self.cutting, self.max_record())
    }

    pub(super) fn max_record(&self) -> usize {
        self.limits.record.as_usize()
    }

    /// Returns a reader for one peer.
    pub(super) fn reader(&self) -> RecordReader {
        let (sensor, host) = (self.sensor.clone(), self.host.clone());
        let meter = self.meter.clone();
        RecordReader::new(self.parser.clone(), self.speech, sensor, host, self.kind.into(), self.max_row_bytes, meter)
    }

    /// Sends rows that nobody is answered for.
    pub(super) async fn send(&self, rows: Gathered) -> Result<(), Closed> {
        let sent = rows.len() as u64;
        // Dropped receipts lose nothing but the answer, see above.
        if !rows.events.is_empty() && self.events.send_rows(rows.events).await.is_err() {
            return Err(self.pipeline_closed());
        }
        if !rows.captures.is_empty() && self.captures.send_rows(rows.captures).await.is_err() {
            return Err(self.pipeline_closed());
        }
        self.meter.rows(sent);
        Ok(())
    }

    pub(super) fn pipeline_closed(&self) -> Closed {
        self.closed.send_replace(true);
        Closed
    }

    /// Resolves when the pipeline takes no more rows.
    async fn closed(&self) {
        // The sender is in `self`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Returns whether `stop` was said so long ago that nothing more is to be read.
    pub(super) fn last_call_is_over(&self) -> bool {
        if self.stop.is_stopped() && self.stopped_at.get().is_none() {
            self.stopped_at.set(Some(Instant::now()));
        }
        self.stopped_at.get().is_some_and(|at| at.elapsed() >= LAST_CALL)
    }

    /// Tells the operator of a peer that did not get through; seldom enough that no peer can fill the log.
    pub(super) fn warn(&self, what: &'static str, error: &dyn std::fmt::Display) {
        if self.warned.get().is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS) {
            self.warned.set(Some(Instant::now()));
            tracing::warn!(source = self.name, %error, "{what}; further warnings in a minute");
        }
    }

    async fn serve(self: Rc<Self>, bound: Bound) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let failed = |error| Error::new(ErrorKind::System, "use the socket that was opened").because(error);
        self.meter.state(SourceState::Running);
        let _file = match bound {
            Bound::Unix(listener, file) => {
                self.accept(Accept::Unix(UnixListener::from_std(listener).map_err(failed)?), &mut tasks).await;
                Some(file)
            }
            Bound::Tcp(listener) => {
                self.accept(Accept::Tcp(TcpListener::from_std(listener).map_err(failed)?), &mut tasks).await;
                None
            }
            Bound::Unixgram(socket, file) => {
                tasks.spawn_local(datagrams::read(Rc::clone(&self), Datagrams::unix(socket).map_err(failed)?));
                Some(file)
            }
            Bound::Udp(socket) => {
                tasks.spawn_local(datagrams::read(Rc::clone(&self), Datagrams::udp(socket).map_err(failed)?));
                None
            }
        };
        tokio::select! {
            biased;
            () = self.closed() => {}
            () = self.stop.stopped() => {}
        }
        let farewell = timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }).await;
        if farewell.is_err() {
            tracing::warn!(
                source = self.name,
                connections = tasks.len(),
                "cut off: the pipeline took their rows too slowly"
            );
        }
        if *self.closed.borrow() && !self.stop.is_stopped() {
            return Err(Error::new(ErrorKind::Database, "the pipeline takes no more rows; its status tells why"));
        }
        Ok(())
    }

    /// Takes connections until it is told to stop.
    async fn accept(self: &Rc<Self>, listener: Accept, tasks: &mut JoinSet<()>) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.closed() => return,
                () = self.stop.stopped() => return,
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.warn("a connection cannot be taken", &error);
                    sleep(BREATH).await;
                    continue;
                }
            };
            let place = tokio::select! {
                biased;
                () = self.closed() => return,
                () = self.stop.stopped() => return,
                place = self.places.take() => place,
            };
            let shared = Rc::clone(self);
            tasks.spawn_local(async move {
                let lost = Rc::clone(&place.0);
                tokio::select! {
                    biased;
                    () = lost.lost.notified() => {}
                    () = shared.attend(stream, from, &place.0) => {}
                }
            });
        }
    }

    async fn attend(self: &Rc<Self>, stream: Box<dyn Duplex>, from: Option<std::net::IpAddr>, place: &Place) {
        let Some(acceptor) = &self.tls else {
            connection::attend(self, stream, from, None, place).await;
            return;
        };
        match timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
                connection::attend(self, Box::new(stream), from, shown, place).await;
            }
            Ok(Err(error)) => self.warn("a TLS handshake failed", &error),
            Err(_) => self.warn("a TLS handshake failed", &"it took too long"),
        }
    }
}

enum Accept {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Accept {
    /// Takes a connection; also tells the address of a peer that is another host.
    async fn accept(&self) -> std::io::Result<(Box<dyn Duplex>, Option<std::net::IpAddr>)> {
        match self {
            Self::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| (Box::new(stream) as Box<dyn Duplex>, None))
            }
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Answers are small and should not wait for each other; without it they only come later.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), datagrams::other_host(from.ip())))
            }
        }
    }
}

/// The places for connections.
pub(super) struct Places {
    max: usize,
    patience: Duration,
    taken: Rc<RefCell<Vec<Rc<Place>>>>,
    freed: Rc<Notify>,
    meter: Meter,
}

/// A connection's place, as others see it.
pub(super) struct Place {
    began: Instant,
    /// Whether it has sent a record.
    pub(super) has_spoken: Cell<bool>,
    lost: Notify,
}

/// A connection's place; free again when it is dropped.
struct Taken(Rc<Place>, Rc<RefCell<Vec<Rc<Place>>>>, Rc<Notify>, Meter);

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.1.borrow_mut();
        taken.retain(|place| !Rc::ptr_eq(place, &self.0));
        self.3.peers(taken.len() as u64);
        self.2.notify_one();
    }
}

impl Places {
    fn new(limits: &Limits, meter: Meter) -> Self {
        meter.peers(0);
        Self { max: limits.connections, patience: limits.handshake, taken: Rc::default(), freed: Rc::default(), meter }
    }

    /// Waits for a place. Without one, the oldest connection that has not sent a record in time must leave.
    async fn take(&self) -> Taken {
        while self.taken.borrow().len() >= self.max {
            let silent = |place: &&Rc<Place>| !place.has_spoken.get() && place.began.elapsed() >= self.patience;
            // Ascending by age: they are pushed as they come.
            if let Some(place) = self.taken.borrow().iter().find(silent) {
                place.lost.notify_one();
            }
            // A silent one may become old enough in the meantime.
            let _ = timeout(self.patience.min(Duration::from_secs(1)), self.freed.notified()).await;
        }
        let place = Rc::new(Place { began: Instant::now(), has_spoken: Cell::new(false), lost: Notify::new() });
        let mut taken = self.taken.borrow_mut();
        taken.push(Rc::clone(&place));
        self.meter.peers(taken.len() as u64);
        Taken(place, Rc::clone(&self.taken), Rc::clone(&self.freed), self.meter.clone())
    }
}
