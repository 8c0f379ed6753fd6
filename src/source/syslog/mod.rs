//! Takes syslog messages: RFC 5424 and RFC 3164, over UDP (RFC 5426), TCP (RFC 6587), TLS (RFC 5425) or a Unix socket.
//!
//! A datagram is a message. On a stream each message says for itself how it ends: `LENGTH SPACE MESSAGE`, as RFC 5425 wants
//! it and RFC 6587 recommends, or a line. A message that begins with a number and a space is taken for a counted one.
//! [`Format::Syslog`] says which column comes from where.
//!
//! Syslog has no answers: what forebay has not committed when it is killed is lost, and what does not fit into the socket's
//! receive buffer while the database is away is dropped by the kernel, for UDP, and counted. Who must lose nothing sends to a
//! [`socket`](super::socket) with answers, or has a file tailed.

use serde::{Deserialize, Serialize};

use super::format::{Format, Parser};
use super::listen::{Cutting, Limits, Listen, Listener, Plan, SocketMode, Speech, TlsSettings, check_name, text};
use super::{Meter, Source, Stop};
use crate::config::Bytes;
use crate::error::{Error, ErrorKind};
use crate::pipeline::Pipeline;

/// Where and how a [`Syslog`] listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SyslogSettings {
    /// Where to listen. Default `udp:127.0.0.1:5514`; see [`Listen`]. For both UDP and TCP have two sources.
    #[serde(with = "text")]
    pub listen: Listen,
    /// Permissions of a Unix socket. Default `0600`; as `/dev/log` it needs `0666`.
    #[serde(with = "text")]
    pub mode: SocketMode,
    /// Room for datagrams in the kernel. Default 4 MiB; 4 KiB to 1 GiB. Without CAP_NET_ADMIN at most `net.core.rmem_max`;
    /// less than asked for is logged.
    pub receive_buffer: Bytes,
    /// Sensor of every row, whatever the message says. Default none: the message's host, else the sender's address if it is
    /// another host, else this host's name.
    pub sensor: Option<String>,
    /// What peers may take.
    pub limits: Limits,
    /// TLS, for TCP. Default none.
    pub tls: Option<TlsSettings>,
    /// Whether anyone who reaches an address beyond loopback may send rows, unprotected. Default false: then such an
    /// address needs `tls`.
    pub allow_plaintext: bool,
}

impl Default for SyslogSettings {
    fn default() -> Self {
        Self {
            listen: Listen::Udp(([127, 0, 0, 1], 5514).into()),
            mode: SocketMode::default(),
            receive_buffer: Bytes::mib(4),
            sensor: None,
            limits: Limits::default(),
            tls: None,
            allow_plaintext: false,
        }
    }
}

impl SyslogSettings {
    /// Checks every bound, and that nobody is let in who was not meant to. Reads no file.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], with what to change.
    pub fn validate(&self) -> Result<(), Error> {
        if !(Bytes(4 << 10)..=Bytes::mib(1024)).contains(&self.receive_buffer) {
            return Err(Error::new(ErrorKind::Configuration, "receive_buffer must be from 4 KiB to 1 GiB"));
        }
        self.plan("syslog", "host", usize::MAX).validate()
    }

    fn plan(&self, name: &str, host: &str, max_row_bytes: usize) -> Plan {
        Plan {
            name: name.to_owned(),
            kind: "syslog",
            address: self.listen.clone(),
            mode: self.mode,
            receive_buffer: Some(self.receive_buffer),
            cutting: Cutting::Syslog,
            speech: Speech::Records,
            parser: Parser::new(Format::Syslog),
            sensor: self.sensor.clone(),
            host: host.to_owned(),
            limits: self.limits.clone(),
            tls: self.tls.clone(),
            allow_plaintext: self.allow_plaintext,
            max_row_bytes,
        }
    }
}

/// A source that syslog senders send to.
pub struct Syslog(Listener);

impl Syslog {
    /// Makes a source with the name that its operator gave it: letters, digits, `._-`, at most 64. `host` is the sensor of
    /// messages that name none; `max_row_bytes` is `batch.max_bytes` of the pipeline.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for settings that cannot be.
    pub fn new(name: &str, settings: &SyslogSettings, host: &str, max_row_bytes: usize) -> Result<Self, Error> {
        check_name(name)?;
        settings.validate()?;
        Listener::new(settings.plan(name, host, max_row_bytes)).map(Self)
    }

    /// Opens the socket and reads the certificates: before privileges are dropped (port 514 needs them), and to show errors
    /// early. Does nothing if that is done; [`run`](Source::run) does it else.
    ///
    /// # Errors
    /// As [`Socket::bind`](super::socket::Socket::bind).
    pub fn bind(&mut self) -> Result<(), Error> {
        self.0.bind()
    }

    /// Returns the TCP or UDP address that [`bind`](Self::bind) has opened: with the port, if 0 was asked for.
    pub fn local_address(&self) -> Option<std::net::SocketAddr> {
        self.0.local_address()
    }
}

impl Source for Syslog {
    fn meter(&self) -> &Meter {
        self.0.meter()
    }

    /// Reads until `stop` is said, then what has arrived, and returns within ten seconds.
    fn run(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<(), Error> {
        self.0.run(pipeline, stop)
    }
}
