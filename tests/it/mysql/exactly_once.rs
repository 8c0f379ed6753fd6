//! Faults of a real server and of the way there. After each: every acknowledged row is there once, none twice, the ledger
//! agrees with the tables, and the pipeline goes on by itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay::pipeline::{LaneState, ReplayRows};
use forebay::{Config, Pipeline, Receipt, Row};

use super::proxy::Proxy;
use super::server::{Client, SHARED, Server};
use super::{LONG, impatient, pipeline};
use crate::harness::{adds_up, capture, counts, event, eventually, pause, state};

pub fn small_batches() -> Config {
    let mut config = impatient();
    config.batch.max_rows = 50;
    config.buffer.events.max_rows = 400;
    config.buffer.captures.max_rows = 400;
    config
}

/// Sends from four producers and one source that can be read again, while `harm` is done; then waits for every receipt.
/// Returns the names of all rows, each of which was acknowledged.
pub fn write_while(pipeline: &Pipeline, harm: impl FnOnce(&dyn Fn() -> u64)) -> BTreeSet<String> {
    let is_over = AtomicBool::new(false);
    let committed = || counts(pipeline).committed;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for producer in 0..4 {
            let (events, captures, is_over) = (pipeline.events(), pipeline.captures(), &is_over);
            threads.push(scope.spawn(move || {
                let mut sent: Vec<(String, Receipt)> = Vec::new();
                for row in 0.. {
                    let name = format!("{producer}:{row}");
                    let receipt = match producer {
                        0 => captures.send_blocking(capture(&name)).unwrap(),
                        _ => events.send_blocking(event(&name)).unwrap(),
                    };
                    sent.push((name, receipt));
                    if row % 20 == 0 {
                        pause();
                    }
                    if is_over.load(Ordering::Relaxed) {
                        return sent;
                    }
                }
                unreachable!()
            }));
        }
        let (replay, is_over_too) = (pipeline.replay("source").unwrap(), &is_over);
        threads.push(scope.spawn(move || {
            let mut sent: Vec<(String, Receipt)> = Vec::new();
            for row in 0u64.. {
                let name = format!("source:{row}");
                let rows = ReplayRows::numbered(row, vec![Row::Keep(event(&name))]);
                sent.push((name, replay.send_blocking(rows).unwrap()));
                pause();
                if is_over_too.load(Ordering::Relaxed) {
                    return sent;
                }
            }
            unreachable!()
        }));
        let end = AtEnd { is_over: &is_over, pipeline };
        harm(&committed);
        drop(end);
        let sent: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        sent.into_iter()
            .map(|(name, receipt)| {
                assert_eq!(receipt.wait(), Ok(()), "{name}");
                name
            })
            .collect()
    })
}

/// Lets the producers end, also when the harm has failed: then the server may still be away, and whoever waits for room
/// would wait for ever.
struct AtEnd<'a> {
    is_over: &'a AtomicBool,
    pipeline: &'a Pipeline,
}

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            self.pipeline.close();
        }
    }
}

/// A restarted server had not got its port; the test's failure was never seen, because its producers waited for the server.
#[test]
fn a_test_that_fails_while_the_server_is_away_ends() {
    let server = Server::start();
    let (_, url) = server.new_database();
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        write_while(&pipeline, |committed| {
            after(committed, 100);
            server.kill();
            let full = |pipeline: &Pipeline| counts(pipeline).queued >= 200;
            eventually("producers wait", || full(&pipeline));
            panic!("as the test has told it to");
        })
    }));
    assert!(failed.is_err());
}

/// Ends the pipeline and compares what is stored with what was sent.
fn check(pipeline: Pipeline, admin: &mut Client, database: &str, sent: &BTreeSet<String>) {
    close(pipeline, sent);
    compare(admin, database, sent);
}

/// Ends the pipeline, whose ledger has what was sent.
pub fn close(pipeline: Pipeline, sent: &BTreeSet<String>) {
    assert!(adds_up(&counts(&pipeline)));
    let source_rows = sent.iter().filter(|name| name.starts_with("source:")).count();
    let committed = pipeline.committed("source").unwrap();
    let ranges: Vec<_> = committed["source"].iter().collect();
    assert_eq!(ranges, [0..=source_rows as u64 - 1], "the ledger agrees");
    let summary = pipeline.shutdown_blocking(LONG);
    assert!(summary.is_complete(), "{summary:?}");
}

/// Compares what a server has with what was sent: each row once, and a ledger that agrees.
pub fn compare(admin: &mut Client, database: &str, sent: &BTreeSet<String>) {
    let source_rows = sent.iter().filter(|name| name.starts_with("source:")).count();
    let stored = admin.texts(&format!(
        "SELECT msg FROM `{database}`.events UNION ALL SELECT CONVERT(data USING utf8mb4) FROM `{database}`.captures"
    ));
    let distinct: BTreeSet<_> = stored.iter().cloned().collect();
    assert_eq!(distinct.len(), stored.len(), "rows are there twice");
    assert!(distinct == *sent, "sent {}, stored {}", sent.len(), distinct.len());
    let ledger = format!("SELECT CAST(COALESCE(SUM(`rows`), 0) AS SIGNED) FROM `{database}`.ingest_ledger");
    assert_eq!(admin.number(&ledger), source_rows as i64, "nothing of in-memory producers is left");
}

/// Waits until `more` rows have been committed since now.
fn after(committed: &dyn Fn() -> u64, more: u64) {
    let until = committed() + more;
    eventually("it goes on by itself", || committed() >= until);
}

/// The connection is cut between COMMIT and its answer: the batch is there, and nobody has said so.
#[test]
fn a_batch_whose_commit_was_not_answered_lands_once() {
    let (name, url) = SHARED.new_database();
    let proxy = Proxy::start(SHARED.port);
    let url = url.replace(&SHARED.port.to_string(), &proxy.port.to_string());
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let sent = write_while(&pipeline, |committed| {
        for round in 1..=10 {
            after(committed, 100);
            proxy.cut(round);
            eventually("it was cut", || proxy.count() >= (1..=round).sum());
        }
        after(committed, 500);
    });
    assert_eq!(proxy.count(), 55);
    check(pipeline, &mut SHARED.admin(), &name, &sent);
}

#[test]
fn a_server_that_is_killed_in_mid_stream_and_comes_back_has_every_row_once() {
    let server = Server::start();
    let (name, url) = server.new_database();
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let sent = write_while(&pipeline, |committed| {
        for _ in 0..3 {
            after(committed, 300);
            server.kill();
            eventually("the outage is seen", || matches!(state(&pipeline), LaneState::Retrying { .. }));
            server.run();
        }
        after(committed, 300);
    });
    check(pipeline, &mut server.admin(), &name, &sent);
}

#[test]
fn connections_that_an_administrator_kills_cost_no_row() {
    let server = Server::start();
    let (name, url) = server.new_database();
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let mut admin = server.admin();
    let sent = write_while(&pipeline, |committed| {
        for _ in 0..30 {
            after(committed, 50);
            let query = "SELECT CAST(id AS CHAR) FROM information_schema.processlist WHERE user = 'writer'";
            for id in admin.texts(query) {
                // It may have ended by itself.
                let _ = admin.try_run(&format!("KILL {id}"));
            }
        }
        after(committed, 300);
    });
    check(pipeline, &mut admin, &name, &sent);
}

#[test]
fn a_server_that_hangs_for_longer_than_every_time_limit_has_every_row_once() {
    let server = Server::start();
    let (name, url) = server.new_database();
    let mut config = small_batches();
    config.mysql.connect_timeout = Duration::from_millis(500);
    config.mysql.ping_timeout = Duration::from_millis(200);
    config.mysql.statement_timeout = Duration::from_millis(500);
    let pipeline = pipeline(&url, config).unwrap();
    let sent = write_while(&pipeline, |committed| {
        for _ in 0..3 {
            after(committed, 300);
            server.freeze();
            let several = |state| matches!(state, LaneState::Retrying { attempts, .. } if attempts >= 3);
            eventually("it is tried again and again", || several(state(&pipeline)));
            server.resume();
        }
        after(committed, 300);
    });
    check(pipeline, &mut server.admin(), &name, &sent);
}

/// Another session holds what our batch waits for, and then asks for what our batch holds. Its transaction is the larger
/// one, so the server ends ours.
#[test]
fn a_batch_that_loses_a_deadlock_is_written_again() {
    let server = Server::start();
    let (name, url) = server.new_database();
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let mut admin = server.admin();
    let mut other = server.admin();
    admin.run(&format!("CREATE TABLE `{name}`.heavy (n INT PRIMARY KEY)"));
    other.run("BEGIN");
    for n in 0..200 {
        other.run(&format!("INSERT INTO `{name}`.heavy VALUES ({n})"));
    }
    // The gap at the end of the table, where every new row goes.
    other.run(&format!("SELECT * FROM `{name}`.events FOR UPDATE"));
    let status = |admin: &mut Client, name: &str| {
        let query = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status WHERE variable_name =";
        admin.number(&format!("{query} '{name}'"))
    };
    let replay = pipeline.replay("source").unwrap();
    let receipt = replay.send_blocking(ReplayRows::numbered(0, vec![Row::Keep(event("a"))])).unwrap();
    eventually("our batch waits for the other's lock", || status(&mut admin, "Innodb_row_lock_current_waits") > 0);
    other.run(&format!("INSERT INTO `{name}`.ingest_ledger VALUES ('source', 0, 0, 1, 0)"));
    assert_eq!(status(&mut admin, "Innodb_deadlocks"), 1, "ours was the victim");
    let retrying = |state| matches!(state, LaneState::Retrying { error, .. } if error.contains("(1213)"));
    eventually("the lane says so", || retrying(state(&pipeline)));
    other.run("ROLLBACK");
    assert_eq!(receipt.wait(), Ok(()));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(admin.texts(&format!("SELECT msg FROM `{name}`.events")), ["a"]);
}

#[test]
fn while_a_table_is_locked_rows_wait_and_then_everything_goes_on_by_itself() {
    let (name, url) = SHARED.new_database();
    let mut config = small_batches();
    config.mysql.statement_timeout = Duration::from_secs(2);
    let pipeline = pipeline(&url, config).unwrap();
    let mut other = SHARED.admin();
    other.run(&format!("LOCK TABLES `{name}`.events WRITE"));
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    eventually("it is tried again", || matches!(state(&pipeline), LaneState::Retrying { .. }));
    let captures = pipeline.captures().send_blocking(capture("not stuck behind it")).unwrap();
    assert_eq!(captures.wait(), Ok(()), "a batch that waits does not block the others");
    other.run("UNLOCK TABLES");
    assert_eq!(receipt.wait(), Ok(()));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(other.number(&format!("SELECT count(*) FROM `{name}`.events")), 1);
}

#[test]
fn two_pipelines_write_to_the_same_database_and_one_that_closes_leaves_the_other_alone() {
    let (name, url) = SHARED.new_database();
    let pipelines: Vec<_> = (0..2).map(|_| pipeline(&url, small_batches()).unwrap()).collect();
    std::thread::scope(|scope| {
        for (number, pipeline) in pipelines.into_iter().enumerate() {
            scope.spawn(move || {
                let sender = pipeline.events();
                let receipts: Vec<_> =
                    (0..3000).map(|row| sender.send_blocking(event(&format!("{number}:{row}"))).unwrap()).collect();
                assert!(receipts.into_iter().all(|receipt| receipt.wait() == Ok(())));
                assert!(pipeline.shutdown_blocking(LONG).is_complete());
            });
        }
    });
    let mut admin = SHARED.admin();
    assert_eq!(admin.number(&format!("SELECT count(DISTINCT msg) FROM `{name}`.events")), 6000);
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.events")), 6000);
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.ingest_ledger")), 0);
}
