//! Where rows come from: capture files and logs.

pub mod file;
pub mod format;
pub mod identity;
pub mod lines;
pub mod link;
pub mod pcap;

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
