//! The same into MariaDB, with four connections that commit out of order.

use std::time::Instant;

use forebay::Config;

use super::{Following, Log, PATIENCE, same, settings, torture};
use crate::harness::eventually_within;
use crate::mysql::impatient;
use crate::mysql::server::SHARED;

fn config() -> Config {
    let mut config = torture::config();
    config.mysql = impatient().mysql;
    config.mysql.pool_size = 4;
    config.retry = impatient().retry;
    config
}

#[test]
fn with_four_connections_a_log_that_is_rotated_under_kill_minus_nine_has_each_line_once() {
    let (name, url) = SHARED.new_database();
    let logs = tempfile::tempdir().unwrap();
    let pattern = logs.path().join("x.log*");
    let mut log = Log::new(logs.path().join("x.log"));
    torture::torture(&url, &pattern, &mut log, 15);
    let mut admin = SHARED.admin();
    let tail = Following::start(&url, config(), &settings(&[&pattern]));
    let count = format!("SELECT count(*) FROM `{name}`.events");
    let written = log.written.len() as i64;
    let until = Instant::now() + PATIENCE;
    eventually_within(2 * PATIENCE, "a count", || admin.number(&count) >= written || Instant::now() > until);
    tail.end();
    same(admin.texts(&format!("SELECT raw FROM `{name}`.events")), &log.written);
    let tail = Following::start(&url, config(), &settings(&[&pattern]));
    log.lines(1);
    eventually_within(PATIENCE, "the last line is in", || admin.number(&count) > written);
    tail.end();
    same(admin.texts(&format!("SELECT raw FROM `{name}`.events")), &log.written);
}
