//! Parsers that no public function reaches by itself, compiled from their own files: nothing is made public in the library
//! to be fuzzed. They know only what the library shows, under the names that it has there; that is what stands here.

pub use forebay::source::{Malformed, format, pcap};

pub mod file;
pub mod listen;

pub mod capture {
    pub use forebay::Capture;
}

pub mod timestamp {
    pub use forebay::Timestamp;
}
