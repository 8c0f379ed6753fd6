//! What a running pipeline keeps and drops, seen from outside, with small limits.

use std::time::Duration;

use forebay::config::Bytes;
use forebay::{Capture, Config, Event, Timestamp};

use super::{Database, LONG};
use crate::harness::eventually;

fn small() -> Config {
    let mut config = Config::default();
    config.batch.max_rows = 200;
    (config.sqlite.segment_rows, config.sqlite.merged_rows) = (500, 2000);
    config
}

fn rows(from: usize, count: usize) -> Vec<Event> {
    let row = |n: usize| Event::builder("s", "ssh", "login").msg(&format!("{n} {}", "x".repeat(300))).build().unwrap();
    (from..from + count).map(row).collect()
}

/// A sensor's disk was full after a month, since nobody had thought of deleting.
#[test]
fn under_full_load_no_more_rows_stay_than_were_asked_for_and_a_segment_and_the_newest_are_all_there() {
    let database = Database::new();
    let mut config = small();
    config.retention.max_rows = Some(5000);
    let pipeline = database.open_with(config).unwrap();
    let sender = pipeline.events();
    let mut most_pages = 0;
    for turn in 0..300 {
        sender.send_many_blocking(rows(turn * 200, 200)).unwrap().wait().unwrap();
        if turn > 100 {
            let pages = database.number("PRAGMA page_count");
            most_pages = if turn < 150 { pages.max(most_pages) } else { most_pages };
            assert!(pages <= most_pages * 3 / 2, "free pages are used again: {pages} of {most_pages}");
        }
    }
    let (rows, first, last) = (
        database.number("SELECT count(*) FROM events"),
        database.number("SELECT min(id) FROM events"),
        database.number("SELECT max(id) FROM events"),
    );
    // Two segments of 1024 rows (the least that is cut for retention), or one that is merged, and one open.
    assert!((5000..=5000 + 2 * 1024 + 2000).contains(&rows), "{rows}");
    assert_eq!((last, last - first + 1), (60_000, rows), "an oldest part is gone, and nothing else");
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}

#[test]
fn the_file_shrinks_on_disk_while_it_is_open_and_nothing_is_vacuumed_whole() {
    let database = Database::new();
    let pipeline = database.open_with(small()).unwrap();
    // More than the pages that are kept for the next merge (16 MiB).
    for turn in 0..400 {
        pipeline.events().send_many_blocking(rows(turn * 200, 200)).unwrap().wait().unwrap();
    }
    pipeline.shutdown_blocking(LONG);
    let before = std::fs::metadata(database.path()).unwrap().len();
    let mut config = small();
    config.retention.max_rows = Some(1000);
    let pipeline = database.open_with(config).unwrap();
    let is_small = || database.number("PRAGMA page_count") * 8192 < 20 << 20;
    eventually("most of the file is given back", is_small);
    eventually("it is gone from the disk too", || std::fs::metadata(database.path()).unwrap().len() < before / 2);
    assert!(before > 30 << 20, "{before}");
    pipeline.shutdown_blocking(LONG);
}

/// Whoever sends rows chooses their time: one row of the year 2200 would have kept its neighbours for ever, and a row of
/// 1970 would have gone at once.
#[test]
fn rows_live_by_the_time_of_their_commit_whatever_time_they_name() {
    let database = Database::new();
    let mut config = small();
    config.sqlite.segment_age = Duration::from_secs(1);
    let event = |nanos| Event::builder("s", "ssh", "login").ts(Timestamp::from_nanos(nanos)).build().unwrap();
    config.retention.max_age = Some(Duration::from_secs(3600));
    let pipeline = database.open_with(config.clone()).unwrap();
    pipeline.events().send_many_blocking(vec![event(0), event(i64::MAX - 1)]).unwrap().wait().unwrap();
    pipeline.shutdown_blocking(LONG);
    assert_eq!(database.number("SELECT count(*) FROM events"), 2, "the old one stays");
    config.retention.max_age = Some(Duration::from_secs(1));
    let pipeline = database.open_with(config).unwrap();
    eventually("both go", || database.number("SELECT count(*) FROM events") == 0);
    pipeline.events().send_blocking(event(7)).unwrap().wait().unwrap();
    pipeline.shutdown_blocking(LONG);
}

#[test]
fn a_flood_of_captures_does_not_push_events_out() {
    let database = Database::new();
    let mut config = small();
    config.retention.max_bytes = Some(Bytes::mib(8));
    let pipeline = database.open_with(config).unwrap();
    pipeline.events().send_many_blocking(rows(0, 200)).unwrap().wait().unwrap();
    let capture = |n: usize| Capture::builder("s", "packet").data(vec![n as u8; 4000]).build().unwrap();
    for _ in 0..100 {
        pipeline.captures().send_many_blocking((0..200).map(capture).collect()).unwrap().wait().unwrap();
    }
    let used = || 8192 * (database.number("PRAGMA page_count") - database.number("PRAGMA freelist_count"));
    eventually("the bound holds but for a segment and the open one", || used() < (8 << 20) + (4 << 20));
    assert_eq!(database.number("SELECT count(*) FROM events"), 200);
    let captures = database.number("SELECT count(*) FROM captures");
    assert!((500..20_000).contains(&captures), "{captures}");
    pipeline.shutdown_blocking(LONG);
}
