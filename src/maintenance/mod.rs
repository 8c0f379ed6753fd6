//! Work on a database by hand, beside or instead of a running pipeline.
//!
//! Called by the program's `forebay db` commands; knows backends only through what each offers for it.

mod compat;
mod database;
mod migrate;
mod prune;
mod status;

pub use compat::{add_decnet_views, drop_decnet_views};
pub use database::{check, count, init, reset, status};
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use migrate::steps;
pub use migrate::{Migration, Run, migrate};
pub use prune::{Dropped, Progress, Pruned, plan_prune, prune};
pub use status::{DatabaseStatus, Finding, LedgerStatus, TableStatus};
