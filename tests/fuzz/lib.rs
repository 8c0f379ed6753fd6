//! The crate that cargo-fuzz builds: the same targets as the ordinary test `fuzz`, for libFuzzer to drive.

pub mod pieces;
pub mod source;
pub mod targets;

// What files of the library call these modules.
pub use source::{capture, timestamp};
