//! Takes rows from other processes, in any language: over a Unix socket, or TCP.
//!
//! So that processes that would fight for one SQLite file feed one writer. A peer connects and writes records of a
//! [`Format`], one a line (or each behind its length, four bytes, the highest first); a datagram holds one or several
//! lines. What cannot be read is set aside in `ingest_rejects`, and the next record is read. An empty line is nothing.
//!
//! Records that begin with `{"forebay":` are for forebay itself:
//!
//! * `{"forebay":"capture","kind":"payload","data":"<base64>"}` is a row of `captures`. Its other keys are the columns
//!   `ts` (nanoseconds since 1970, or ISO 8601 text; default now), `sensor`, `session`, `src_ip`, `src_port`, `dst_ip`,
//!   `dst_port`, `proto`, `link_type`, `length` (default that of `data`), and `fields` (an object). An unknown key is an error.
//! * `{"forebay":"hello","peer":"sensor-7","first":42}`, as the first record of a stream, asks for answers, see below.
//!
//! # Without answers
//!
//! What was written is sent on in order. Rows that were not committed when forebay is killed are lost, as in any pipe.
//!
//! # With answers
//!
//! After the hello each further record has a number, from `first` on: line 42, 43, 44 ... Answers are JSON objects, framed
//! as the records are:
//!
//! * `{"ack":41,"next":42}` once, to the hello: up to 41 everything is committed (of what the peer still has, from `first`
//!   on), and 42 is the number of its next record. Without `first` that is one above the highest committed.
//! * `{"ack":57}`: up to 57 everything is committed. `{"ack":58,"rejected":1}`: of it so many records were set aside.
//! * `{"error":"..."}`, and the end: what is above the last `ack` is to be sent again.
//!
//! A peer keeps what is not acknowledged, and after a reconnect sends it again with the same numbers; what is committed
//! lands once. So neither kill -9 of forebay, of the peer nor of both loses or doubles a record that the peer still has. A
//! peer may send ahead as far as it likes; one `ack` answers for many records.
//!
//! The name of a peer (letters, digits, `._:-`, at most 128) and that of this source make its name in the ledger:
//! `peer/<source>/<peer>`. A second connection with the name takes over, and the first is closed: a broken connection must
//! not lock its own peer out. So peers of one source can take each other's names: they must trust each other as far as
//! permissions or the client certificates' authority tell who they are. With `tls.own_names` a peer's name must be one of
//! its certificate, and nobody can take another's. What a record says (its `sensor`, too) is the peer's own word all the same.
//!
//! While the database is away, records are read until the pipeline is full, and then wait with their senders; a hello is
//! answered when it is back.
//!
//! The README has an example in Python.

use serde::{Deserialize, Serialize};

use super::format::{Format, Mapping, Parser};
use super::listen::{Framing, Limits, Listen, Listener, Plan, SocketMode, Speech, TlsSettings, check_name, text};
use super::{Meter, Source, Stop};
use crate::error::{Error, ErrorKind};
use crate::pipeline::Pipeline;

/// Where and how a [`Socket`] listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SocketSettings {
    /// Where to listen. Default `unix:/run/forebay/in.sock`; see [`Listen`]. UDP is possible, and loses rows in a flood.
    #[serde(with = "text")]
    pub listen: Listen,
    /// Permissions of a Unix socket. Default `0600`: processes of the same user.
    #[serde(with = "text")]
    pub mode: SocketMode,
    /// How records are told apart. Default `lines`; datagrams always hold lines.
    pub framing: Framing,
    /// What a record is. Default `ndjson`.
    #[serde(with = "text")]
    pub format: Format,
    /// Which columns come from where in records of format `ndjson`. Default none: by common names of keys.
    pub mapping: Option<Mapping>,
    /// Sensor of every row, whatever the record says. Default none: the record's, else the peer's name in its hello, else
    /// the peer's address if it is another host, else this host's name.
    pub sensor: Option<String>,
    /// What peers may take.
    pub limits: Limits,
    /// TLS, for TCP. Default none.
    pub tls: Option<TlsSettings>,
    /// Whether anyone who reaches an address beyond loopback may send rows, unprotected. Default false: then such an
    /// address needs `tls`.
    pub allow_plaintext: bool,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self {
            listen: Listen::Unix("/run/forebay/in.sock".into()),
            mode: SocketMode::default(),
            framing: Framing::default(),
            format: Format::Ndjson,
            mapping: None,
            sensor: None,
            limits: Limits::default(),
            tls: None,
            allow_plaintext: false,
        }
    }
}

impl SocketSettings {
    /// Checks every bound, and that nobody is let in who was not meant to. Reads no file.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], with what to change.
    pub fn validate(&self) -> Result<(), Error> {
        self.plan("socket", "host", usize::MAX)?.validate()
    }

    fn plan(&self, name: &str, host: &str, max_row_bytes: usize) -> Result<Plan, Error> {
        let parser = match &self.mapping {
            None => Parser::new(self.format),
            Some(mapping) if self.format == Format::Ndjson => Parser::with_mapping(mapping)?,
            Some(_) => {
                let why = format!("source {name}: `mapping` needs `format = \"ndjson\"`");
                return Err(Error::new(ErrorKind::Configuration, why));
            }
        };
        Ok(Plan {
            name: name.to_owned(),
            kind: "socket",
            address: self.listen.clone(),
            mode: self.mode,
            receive_buffer: None,
            cutting: self.framing.into(),
            speech: Speech::Messages,
            parser,
            sensor: self.sensor.clone(),
            host: host.to_owned(),
            limits: self.limits.clone(),
            tls: self.tls.clone(),
            allow_plaintext: self.allow_plaintext,
            max_row_bytes,
        })
    }
}

/// A source that other processes send rows to.
pub struct Socket(Listener);

impl Socket {
    /// Makes a source with the name that its operator gave it, which is part of its peers' names in the ledger: letters,
    /// digits, `._-`, at most 64. Of two with one name only one may run at a time. `host` is the sensor of records that name none; `max_row_bytes` is `batch.max_bytes` of
    /// the pipeline.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for settings that cannot be.
    pub fn new(name: &str, settings: &SocketSettings, host: &str, max_row_bytes: usize) -> Result<Self, Error> {
        check_name(name)?;
        Listener::new(settings.plan(name, host, max_row_bytes)?).map(Self)
    }

    /// Opens the socket and reads the certificates: before privileges are dropped, and to show errors early. Does nothing
    /// if that is done; [`run`](Source::run) does it else.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] when somebody listens there, or a file that is no socket is in the
    /// way; [`ErrorKind::Configuration`] for a certificate that cannot be used;
    /// [`ErrorKind::System`].
    pub fn bind(&mut self) -> Result<(), Error> {
        self.0.bind()
    }

    /// Returns the TCP or UDP address that [`bind`](Self::bind) has opened: with the port, if 0 was asked for.
    pub fn local_address(&self) -> Option<std::net::SocketAddr> {
        self.0.local_address()
    }
}

impl Source for Socket {
    fn meter(&self) -> &Meter {
        self.0.meter()
    }

    /// Takes connections and reads them. Within ten seconds of `stop` it has sent what had arrived, given the answers that
    /// could be given, and returned.
    fn run(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<(), Error> {
        self.0.run(pipeline, stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_beyond_this_host_is_let_in_by_oversight() {
        let refused = |change: &str| {
            let settings: SocketSettings = serde_json::from_str(change).unwrap();
            settings.validate().map_err(|error| error.to_string()).err()
        };
        assert_eq!(refused("{}"), None);
        assert_eq!(refused(r#"{"listen":"tcp:127.0.0.1:0"}"#), None);
        assert_eq!(refused(r#"{"listen":"tcp:0.0.0.0:1","allow_plaintext":true}"#), None);
        let tls = |rest: &str| format!(r#"{{"listen":"tcp:0.0.0.0:1","tls":{{"cert":"c","key":"k"{rest}}}}}"#);
        assert_eq!(refused(&tls(r#","client_ca":"a""#)), None);
        assert_eq!(refused(&tls(r#","any_client":true"#)), None);
        for (change, hint) in [
            (r#"{"listen":"tcp:0.0.0.0:1"}"#.to_owned(), "allow_plaintext"),
            (r#"{"listen":"udp:[::]:1"}"#.to_owned(), "allow_plaintext"),
            (tls(""), "client_ca"),
            (tls(r#","client_ca":"a","any_client":true"#), "only one"),
            (tls(r#","own_names":true,"any_client":true"#), "`own_names` needs"),
            (r#"{"listen":"unix:/a","tls":{"cert":"c","key":"k"}}"#.to_owned(), "tcp:"),
            (r#"{"tls":{}}"#.to_owned(), "tcp:"),
            (r#"{"listen":"unixgram:/a","framing":"length"}"#.to_owned(), "framing"),
            (r#"{"limits":{"connections":0}}"#.to_owned(), "limits.connections"),
            (r#"{"limits":{"record":"1 GiB"}}"#.to_owned(), "limits.record"),
            (r#"{"limits":{"idle":"0s"}}"#.to_owned(), "limits.idle"),
        ] {
            assert!(refused(&change).is_some_and(|why| why.contains(hint)), "{change}");
        }
        let settings = SocketSettings::default();
        let again: SocketSettings = serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
        assert!(Socket::new("a/b", &settings, "h", 1).is_err());
    }
}
