//! kill -9 at random moments, fifty times over on the same file.
//!
//! A child writes from several producers and from a source that can be read again, and says each row whose receipt has
//! resolved. After each kill every row that was said is in the file once, no row is there twice, and the file is sound.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use forebay::pipeline::ReplayRows;
use forebay::{Pipeline, Row};

use crate::child::{self, Running};
use crate::harness::{capture, event};
use crate::sqlite::{Database, catalogue, segments};

const KILLS: u64 = 50;
/// Fewer where each run does hundreds of steps.
const KILLS_AMID_STEPS: u64 = 24;
const RUN: &str = "FOREBAY_TEST_RUN";
/// Set: segments of a few rows; `keep`: and retention.
const SEGMENTS: &str = "FOREBAY_TEST_SEGMENTS";
const KEPT: u64 = 400;

/// The child: writes until it is killed.
pub fn write(database: &Path) {
    let run = std::env::var(RUN).unwrap();
    let mut config = forebay::Config::default();
    config.batch.max_rows = 64;
    config.batch.max_wait = Duration::from_millis(1);
    if let Ok(segments) = std::env::var(SEGMENTS) {
        config.batch.max_rows = 16;
        config.sqlite.segment_rows = 8;
        config.sqlite.merged_rows = 100;
        config.sqlite.max_segments = 16;
        config.retention.max_rows = (segments == "keep").then_some(KEPT);
    }
    let builder = Pipeline::builder().config(config).database(format!("sqlite:{}", database.display()));
    let pipeline = builder.open().unwrap();
    std::thread::scope(|scope| {
        for producer in 0..3 {
            let (events, captures, run) = (pipeline.events(), pipeline.captures(), &run);
            scope.spawn(move || {
                for first in (0u64..).step_by(20) {
                    let names: Vec<_> = (first..first + 20).map(|row| format!("{run}:{producer}:{row}")).collect();
                    let receipts: Vec<_> = names
                        .iter()
                        .map(|name| match producer {
                            0 => captures.send_blocking(capture(name)).unwrap(),
                            _ => events.send_blocking(event(name)).unwrap(),
                        })
                        .collect();
                    for (name, receipt) in names.iter().zip(receipts) {
                        receipt.wait().unwrap();
                        child::say(name);
                    }
                }
            });
        }
        let replay = pipeline.replay("source").unwrap();
        scope.spawn(move || {
            for first in (0u64..).step_by(7) {
                // From the beginning each time: what is committed must be left out by itself.
                let rows = (first..first + 7).map(|row| Row::Keep(event(&format!("source:{row}"))));
                let receipt = replay.send_blocking(ReplayRows::numbered(first, rows.collect())).unwrap();
                receipt.wait().unwrap();
                child::say(&format!("source:{}", first + 6));
            }
        });
    });
}

/// Kills a child that does hundreds of steps, now and then with retention, on one file.
#[test]
fn killed_while_segments_are_closed_indexed_merged_and_dropped_a_file_goes_on_by_itself() {
    for keep in ["", "keep"] {
        let database = Database::new();
        let (mut said, mut steps) = (BTreeSet::new(), 0);
        for run in 0..KILLS_AMID_STEPS / 2 {
            let mut command = child::command("write", database.path());
            command.env(RUN, run.to_string()).env(SEGMENTS, keep);
            let mut child = Running::start(command);
            for _ in 0..fastrand::usize(0..250) {
                said.insert(child.next().expect("it writes until it is killed"));
            }
            child.kill();
            said.extend(std::iter::from_fn(|| child.next()));
            child.process.wait().unwrap();
            if !database.path().exists() || database.number("PRAGMA user_version") == 0 {
                continue;
            }
            match keep {
                "" => check(&database, &said, run),
                _ => check_kept(&database, &said),
            }
            catalogue::check(&database.connect());
            steps = steps.max(database.number("SELECT max(number) FROM segments"));
        }
        assert!(steps > 50, "{steps} segments: not much of a test");
        let mut config = segments::tiny();
        config.retention.max_rows = (keep == "keep").then_some(KEPT);
        let pipeline = database.open_with(config).unwrap();
        segments::settled(|sql| database.number(sql));
        assert!(pipeline.shutdown_blocking(Duration::from_secs(20)).is_complete());
        catalogue::check(&database.connect());
        assert_eq!(database.text("PRAGMA integrity_check"), "ok");
    }
}

/// Rows may be gone, but only from the oldest on, and never the last ones; and no row is there twice.
fn check_kept(database: &Database, said: &BTreeSet<String>) {
    assert_eq!(database.text("PRAGMA integrity_check"), "ok");
    for (table, text) in [("events", "msg"), ("captures", "CAST(data AS TEXT)")] {
        let rows = database.texts(&format!("SELECT {text} FROM {table}"));
        let distinct: BTreeSet<_> = rows.iter().cloned().collect();
        assert_eq!(distinct.len(), rows.len(), "rows of {table} are there twice");
        let extent = database.number(&format!("SELECT coalesce(max(id) - min(id) + 1, 0) FROM {table}"));
        assert_eq!(extent, rows.len() as i64, "{table}: only the oldest go");
        // Every id was once given to a row that was committed.
        let given = database.number(&format!("SELECT coalesce(max(id), 0) FROM {table}")) as u64;
        let is_ours = |name: &&String| name.contains(":0:") == (table == "captures");
        let acknowledged = said.iter().filter(is_ours).count() as u64;
        assert!(given >= acknowledged, "{table}: {acknowledged} acknowledged, {given} committed");
        assert!(rows.len() as u64 >= given.min(KEPT), "{table}: {} of {given} are kept", rows.len());
    }
    let positions = database.number("SELECT coalesce(sum(rows), 0) FROM ingest_ledger WHERE source = 'source'");
    let last = said.iter().filter_map(|name| name.strip_prefix("source:")?.parse::<i64>().ok()).max();
    assert!(positions > last.unwrap_or(-1), "the ledger has {positions} positions, {last:?} was acknowledged");
}

#[test]
fn every_row_whose_receipt_resolved_is_there_once_after_kill_minus_nine_at_any_moment() {
    let database = Database::new();
    let mut said = BTreeSet::new();
    for run in 0..KILLS {
        let mut command = child::command("write", database.path());
        command.env(RUN, run.to_string());
        let mut child = Running::start(command);
        if run % 5 == 4 {
            // While it opens, or soon after: this wait is the random moment itself.
            let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_micros(fastrand::u64(0..60_000)));
        } else {
            for _ in 0..fastrand::usize(0..600) {
                said.insert(child.next().expect("it writes until it is killed"));
            }
        }
        child.kill();
        // What it said before it died, and nobody has read yet.
        said.extend(std::iter::from_fn(|| child.next()));
        child.process.wait().unwrap();
        check(&database, &said, run);
    }
    assert!(said.len() > 1000, "{} rows", said.len());
    let pipeline = database.open();
    assert!(pipeline.shutdown_blocking(Duration::from_secs(20)).is_complete());
}

fn check(database: &Database, said: &BTreeSet<String>, run: u64) {
    if !database.path().exists() || database.number("SELECT count(*) FROM sqlite_schema") == 0 {
        assert!(said.is_empty(), "killed before there was anything to say");
        return;
    }
    assert_eq!(database.text("PRAGMA integrity_check"), "ok", "run {run}");
    if database.number("SELECT count(*) FROM sqlite_schema WHERE name = 'captures'") == 0 {
        assert!(said.is_empty());
        return;
    }
    let rows = database.texts("SELECT msg FROM events UNION ALL SELECT CAST(data AS TEXT) FROM captures");
    let distinct: BTreeSet<_> = rows.iter().cloned().collect();
    assert_eq!(distinct.len(), rows.len(), "run {run}: rows are there twice");
    let lost: Vec<_> = said.difference(&distinct).collect();
    assert!(lost.is_empty(), "run {run}: acknowledged and lost: {lost:?}");
    let source = rows.iter().filter(|row| row.starts_with("source:")).count();
    let last = rows.iter().filter_map(|row| row.strip_prefix("source:")?.parse::<usize>().ok()).max();
    assert_eq!(source, last.map_or(0, |last| last + 1), "run {run}: the source has no gap");
}
