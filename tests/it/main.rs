//! The promises of the design as tests, in one binary.
//!
//! `harness` has the faults and the paused clock, `conformance` is what every backend must do alone, `model` plays
//! random programs against a pipeline, `promises` has one test for each promise, `sqlite` and `crash` do real harm to
//! real files, `mysql` to real servers, `wire` captures real packets, `tail` follows files that are rotated every way,
//! `socket` is who sends to us; `repository` asks every database the same questions, `kept` is what it must do beside rows,
//! `decnet` what DECNET asks. `child` is what this binary does when a test starts it again as another process.

mod conformance;
mod harness;
mod model;
mod promises;
mod runtimes;

#[cfg(all(any(feature = "mysql", feature = "source"), feature = "sqlite"))]
mod authority;
#[cfg(feature = "sqlite")]
mod child;
#[cfg(feature = "sqlite")]
mod crash;
#[cfg(all(feature = "mysql", feature = "sqlite"))]
mod decnet;
#[cfg(all(feature = "mysql", feature = "sqlite"))]
mod kept;
#[cfg(all(feature = "mysql", feature = "sqlite"))]
mod mysql;
#[cfg(all(feature = "mysql", feature = "sqlite"))]
mod repository;
#[cfg(all(feature = "source", feature = "sqlite"))]
mod socket;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(all(feature = "source", feature = "sqlite"))]
mod tail;
#[cfg(all(feature = "source", feature = "sqlite", target_os = "linux"))]
mod wire;
