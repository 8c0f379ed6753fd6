//! The write path of network sensors.
//!
//! Honeypots, packet sniffers and log readers push [`Event`]s and [`Capture`]s from many tasks and threads. A
//! [`Pipeline`] takes them over bounded channels and feeds one batching writer per database: SQLite by default, with its
//! writes serialized, so that "database is locked" never reaches a sensor. Rows, rejected rows and the position of the
//! source are committed in one transaction; a [`Receipt`] resolves only after the commit; a bad row is set aside instead
//! of blocking its batch; memory is bounded.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # std::env::set_current_dir(&dir)?;
//! use forebay::{Event, Pipeline};
//! use std::time::Duration;
//!
//! let pipeline = Pipeline::open("sqlite:sensor.db")?;
//! let events = pipeline.events(); // clone it for each task or thread
//! let event = Event::builder("web-1", "ssh", "login.failed")
//!     .src("203.0.113.9".parse().ok(), Some(51022))
//!     .fields(r#"{"username":"root"}"#)
//!     .build()?;
//! let receipt = events.send_blocking(event)?; // in async code: events.send(event).await?
//! receipt.wait()?; // committed; in async code: receipt.await?
//! let summary = pipeline.shutdown_blocking(Duration::from_secs(10));
//! assert!(summary.is_complete());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where things are
//!
//! | module | what |
//! |---|---|
//! | [`pipeline`] | **start reading here**: producers, queues, batcher, writer, status |
//! | [`repository`] | reading: pages, filters with a text form, counts, histograms, sessions, new rows; state, deployments, users |
//! | [`backend`] | the trait that a database stands behind, and the databases |
//! | [`config`] | every setting, with default and bounds |
//! | [`maintenance`] | work on a database by hand: tables, checks, pruning, views for other programs |
//! | [`database_url`] | every way to name a database |
//! | `source` | capture files, followed logs, sockets, syslog, live packets (feature `source`) |
//! | `server` | metrics, health and a status page over HTTP (feature `server`) |
//! | [`telemetry`] | every metric |
//!
//! # Features
//!
//! `sqlite` (default): the SQLite backend, its C source bundled. `mysql` (default): the MySQL and MariaDB backend, in pure
//! Rust, with TLS. `source`: where rows come from. `server`: metrics, health and a status page. `cli` (default): the
//! program `forebay`; an embedding host takes `default-features = false, features = ["sqlite"]`. Without any, there is
//! the backend that counts rows and keeps none, `memory:`.

pub mod backend;
mod batch;
mod budget;
mod capture;
mod chunk;
mod commits;
pub mod config;
pub mod database_url;
mod error;
mod event;
pub mod maintenance;
mod packed;
pub mod pipeline;
mod ranges;
mod receipt;
mod reject;
pub mod repository;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "source")]
pub mod source;
pub mod telemetry;
mod timestamp;

pub use batch::{Batch, Entry, RowRef};
pub use capture::{Capture, CaptureBuilder};
pub use chunk::{Row, RowKind, RowType};
pub use commits::Commits;
pub use config::Config;
pub use database_url::DatabaseUrl;
pub use error::{Error, ErrorKind};
pub use event::{Event, EventBuilder, InvalidRow};
pub use pipeline::{Pipeline, PipelineBuilder, Producer, SendError, TrySendError};
pub use ranges::Ranges;
pub use receipt::{Receipt, ReceiptError, Verdict};
pub use reject::{Reject, RejectedRow};
pub use repository::Repository;
pub use timestamp::Timestamp;

/// The README's code, run as tests.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
