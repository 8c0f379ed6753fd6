//! The program `forebay` as its users meet it: real processes, real files, real signals, a real database.
//!
//! `place` gives each test a directory of its own and runs the program there, `database` reads and locks what it wrote,
//! `samples` makes captures and logs. Each other module is a list of claims. Nothing is slept for: events are waited for,
//! with a deadline. Sample data is in `tests/data`; more may be in the folder of `FOREBAY_SHARED_DATA`, by default
//! `../shared/data`, and the claims about it say so when it is missing.
#![cfg(all(feature = "cli", feature = "sqlite"))]

mod database;
mod place;
mod samples;

mod ask;
mod bench;
mod db;
mod export;
mod faults;
mod identity;
mod kept;
mod kill;
mod kinds;
mod output;
mod permission;
mod pipes;
mod prune;
mod run;
mod settings;
mod stops;
mod top;
#[cfg(feature = "otlp")]
mod traces;
