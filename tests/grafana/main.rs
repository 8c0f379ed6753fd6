//! The folder `grafana/`, by what reads it: a real Prometheus with its `promtool`, Grafana's published schema, databases.
//!
//! `dashboards` reads the generated files, `prometheus` starts a private server, `station` runs `forebay` under load beside
//! it. Each other module is a list of claims. Grafana itself is not in Debian, so no dashboard is rendered here.
#![cfg(all(feature = "cli", feature = "mysql", feature = "sqlite"))]

#[path = "../program/database.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod database;
#[path = "../program/place.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod place;
#[path = "../it/mysql/server.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod server;

/// How `server` waits.
mod harness {
    #[track_caller]
    pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
        crate::place::wait_for(what, || condition().then_some(()));
    }
}

mod dashboards;
mod prometheus;
mod station;

mod alarms;
mod files;
mod panels;
mod schema;
mod sql;
