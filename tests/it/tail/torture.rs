//! kill -9 of the process that follows, again and again, while a writer rotates its log every way at random.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay::Config;

use super::{Following, Log, Place, settings};
use crate::child::{self, Running};
use crate::harness::pause;

pub const LOGS: &str = "FOREBAY_TEST_LOGS";

/// The child: follows until it is killed, or its parent ends.
pub fn follow(url: &str) {
    let pattern = PathBuf::from(std::env::var_os(LOGS).unwrap());
    let following = Following::start(url, config(), &settings(&[&pattern]));
    child::say("follows");
    child::wait_for_the_parent();
    following.end();
}

/// Small batches, so that several are on their way.
pub fn config() -> Config {
    let mut config = crate::sqlite::impatient();
    config.batch.max_rows = 50;
    config.batch.max_wait = Duration::from_millis(1);
    config.buffer.events.max_rows = 1000;
    config.buffer.captures.max_rows = 1000;
    config
}

/// Writes and rotates at random, while a process that follows is killed `kills` times.
pub fn torture(url: &str, pattern: &Path, log: &mut Log, kills: usize) {
    for kill in 0..kills {
        let mut command = child::command("tail", Path::new(url));
        command.env(LOGS, pattern);
        let mut process = Running::start(command);
        if kill % 4 != 3 {
            assert_eq!(process.next().as_deref(), Some("follows"));
        }
        let until = Instant::now() + Duration::from_millis(fastrand::u64(0..300));
        while Instant::now() < until {
            write(log);
            pause();
        }
        process.kill();
        process.process.wait().unwrap();
        for _ in 0..fastrand::usize(0..4) {
            write(log);
        }
    }
    log.other_half();
}

fn write(log: &mut Log) {
    match fastrand::u8(0..150) {
        0 => {
            log.rename();
            log.lines(fastrand::usize(0..5));
            log.reopen();
        }
        1 => log.copytruncate(),
        2 | 3 => log.compress(fastrand::usize(1..4)),
        4 => log.half(),
        _ => log.lines(fastrand::usize(1..20)),
    }
}

#[test]
fn killed_again_and_again_while_its_log_is_rotated_every_way_it_has_each_line_once() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    torture(&place.database.url(), &place.path("x.log*"), &mut log, 30);
    let tail = place.follow();
    place.has(&log.written);
    tail.end();
    let tail = place.follow();
    log.lines(1);
    place.has(&log.written);
    tail.end();
    assert_eq!(place.database.number("SELECT count(*) FROM ingest_rejects"), 0);
    assert_eq!(place.database.text("PRAGMA integrity_check"), "ok");
}
