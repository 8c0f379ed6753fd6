//! Where rows come from: capture files and logs, growing files, sockets, live packets.
//!
//! A source reads on a thread of its own, for as long as its [`Stop`] is not said; it borrows a
//! [`Pipeline`], asks it what is committed, sends rows, and never sees a database. A [`Meter`] tells how
//! it is.

pub mod file;
pub mod format;
mod gathering;
pub mod identity;
pub mod lines;
pub mod link;
pub mod listen;
#[cfg(target_os = "linux")]
pub mod live;
mod meter;
pub mod pcap;
pub mod socket;
mod stop;
pub mod syslog;
pub mod tail;

pub use meter::{Meter, SourceState, SourceStatus};
pub use stop::Stop;

use crate::error::Error;
use crate::pipeline::Pipeline;

/// Something that rows come from for as long as it is not stopped.
pub trait Source: Send {
    /// Returns its counters.
    fn meter(&self) -> &Meter;

    /// Reads and sends until `stop` is said; then sends what it has read, and returns.
    ///
    /// Blocks; it is called from a thread of its own, and again after an error. What may pass (a file that is not there
    /// yet, a full pipeline) is waited for inside, and shown by the meter. When it returns the rows are sent, not yet
    /// committed: [`Pipeline::flush`].
    ///
    /// # Errors
    /// What keeps it from going on, that waiting alone will hardly mend.
    fn run(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<(), Error>;
}

/// Why one record of a source cannot become a row.
///
/// The record is set aside with both texts; the rest of the source goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// One of a small set of words that the parser chooses (`bad_json`, `no_timestamp` ...): safe as a metric label.
    pub reason: &'static str,
    /// What exactly is wrong, for people; may quote the record.
    pub detail: String,
}
