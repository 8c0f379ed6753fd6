//! What sources share that peers send to: [`socket`](super::socket) and [`syslog`](super::syslog).
//!
//! ```text
//!  bind.rs        opens the socket; tls.rs reads the certificates
//!    -> serve.rs       a small runtime on the source's own thread: takes connections, ends them all
//!    -> connection.rs  one stream: reads a bounded amount a turn, so that peers take turns
//!       datagrams.rs   one socket of datagrams
//!         -> frames.rs     pure: bytes to records, in bounded memory
//!         -> record.rs     records to rows; message.rs (pure) reads what is said to us
//!    -> Producer       what nobody waits for
//!       peer.rs        a peer that is answered; ledger.rs asks for it what is committed, seats.rs has one of a name
//! ```
//!
//! One thread is enough: it parses some hundred thousand records a second, and the writer is one thread too. Everything
//! in it takes turns, so that no lock is needed, and no state is shared beyond it.
//!
//! **Bounds.** A connection holds at most one record above its limit's size, a chunk of 512 rows or 256 KiB, and what TLS
//! buffers; so a listener holds at most `limits.connections` times `limits.record` and some 400 KiB. Rows in the pipeline
//! are under its own bound. Without room there nothing is read: streams are slowed down by the kernel, datagrams dropped by
//! it (UDP, counted) or their senders blocked (Unix).

mod address;
mod bind;
mod connection;
mod datagrams;
mod frames;
mod ledger;
mod limits;
mod message;
mod peer;
mod record;
mod seats;
mod serve;
mod tls;

pub use address::{Listen, SocketMode};
pub use frames::Framing;
pub use limits::Limits;
pub use tls::TlsSettings;

pub(super) use frames::Cutting;
pub(super) use limits::{check_name, text};
pub(super) use record::Speech;
pub(super) use serve::{Listener, Plan};
