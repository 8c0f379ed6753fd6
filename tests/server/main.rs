//! The HTTP server as Prometheus, probes, browsers and attackers meet it: real sockets, a real browser, real locks.
//!
//! `stage` has a pipeline and a server for one test, `client` speaks HTTP to it over a plain socket, `browser` drives
//! Chromium. Each other module is a list of claims. The recorder of metrics is one for all tests of this process, so a
//! claim about a lane's metrics has a lane of its own name.
#![cfg(all(feature = "server", feature = "sqlite"))]

mod browser;
mod client;
mod stage;

mod access;
mod endpoints;
mod health;
mod limits;
mod metrics;
mod page;
