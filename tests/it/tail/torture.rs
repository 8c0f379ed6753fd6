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

/// Without copies most lines are lost; those that come must have been lines, and come once. A file that was emptied was taken
/// for emptied once more at the next look, and its lines came twice.
#[test]
fn emptied_and_filled_anew_without_a_pause_it_never_mixes_two_files() {
    use std::collections::HashSet;
    use std::fs::OpenOptions;
    use std::io::Write;

    let place = Place::new();
    let path = place.path("x.log");
    let tail = place.follow_with(&settings(&[&path]));
    let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let mut written = HashSet::new();
    let until = Instant::now() + Duration::from_secs(10);
    let mut generation = 0;
    while Instant::now() < until {
        generation += 1;
        for number in 0..fastrand::usize(1..200) {
            let line = format!(
                r#"{{"generation":{generation},"n":{number},"text":"{}"}}"#,
                "x".repeat(fastrand::usize(0..90))
            );
            writeln!(file, "{line}").unwrap();
            written.insert(line);
        }
        file.set_len(0).unwrap();
    }
    tail.end();
    let stored = place.lines();
    assert!(!stored.is_empty());
    let strange: Vec<_> = stored.iter().filter(|line| !written.contains(*line)).take(5).collect();
    assert!(strange.is_empty(), "never written: {strange:?}");
    assert_eq!(stored.iter().collect::<HashSet<_>>().len(), stored.len(), "stored twice");
    assert_eq!(place.database.texts("SELECT reason || ': ' || row FROM ingest_rejects"), [] as [String; 0]);
}

/// Between the moment when its first bytes tell which file it is and the moment when it is read on, it is another file.
#[test]
fn emptied_and_outgrown_just_as_a_process_goes_on_with_it_its_copy_is_known_for_one() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    for _ in 0..100 {
        log.lines(3);
        let tail = place.follow();
        place.has(&log.written);
        tail.end();
        log.lines(50);
        let tail = place.follow();
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..6000)));
        log.copytruncate();
        log.lines(30);
        place.has(&log.written);
        tail.end();
        log.rename();
        log.reopen();
    }
}
