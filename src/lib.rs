//! The write path of network sensors.
pub mod backend;
mod batch;
mod budget;
mod capture;
mod chunk;
pub mod config;
mod database_url;
mod error;
mod event;
mod packed;
pub mod pipeline;
mod ranges;
mod receipt;
mod reject;
#[cfg(feature = "source")]
pub mod source;
pub mod telemetry;
mod timestamp;

pub use batch::{Batch, Entry, RowRef};
pub use capture::{Capture, CaptureBuilder};
pub use chunk::{Row, RowKind, RowType};
pub use config::Config;
pub use database_url::DatabaseUrl;
pub use error::{Error, ErrorKind};
pub use event::{Event, EventBuilder, InvalidRow};
pub use pipeline::{Pipeline, PipelineBuilder, Producer, SendError, TrySendError};
pub use ranges::Ranges;
pub use receipt::{Receipt, ReceiptError, Verdict};
pub use reject::{Reject, RejectedRow};
pub use timestamp::Timestamp;
