//! The write path of network sensors.
mod capture;
mod event;
mod packed;
#[cfg(feature = "source")]
pub mod source;
mod timestamp;

pub use capture::{Capture, CaptureBuilder};
pub use event::{Event, EventBuilder, InvalidRow};
pub use timestamp::Timestamp;
