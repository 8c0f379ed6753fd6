//! Changes of state while rows come in as fast as they can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay::repository::{DeploymentKind, DeploymentPlan, Repository, Swap};

use crate::harness::{events, eventually_within};
use crate::sqlite::{Database, LONG, catalogue};

/// Sends rows until it is told to stop; returns how many were committed.
fn flood(pipeline: &forebay::Pipeline, stop: &AtomicBool) -> u64 {
    let producer = pipeline.events();
    let mut sent = 0;
    let mut last = None;
    while !stop.load(Ordering::Relaxed) {
        last = Some(producer.send_many_blocking(events((0..64).map(|row| row.to_string()))).unwrap());
        sent += 64;
    }
    last.map_or(Ok(()), |receipt| receipt.wait()).unwrap();
    sent
}

/// The same from a process of its own looks the same to SQLite: another connection, which shares no lock of ours.
#[test]
fn rows_and_changes_of_state_do_not_keep_each_other_out() {
    let database = Database::new();
    let pipeline = database.open_with(forebay::Config::default()).unwrap();
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&pipeline, &stop));
        let committed = || pipeline.status().lanes[0].events.committed;
        eventually_within(LONG, "rows come in", || committed() > 0);
        let changes = |repository: Repository, name: &'static str| {
            move || {
                let state = repository.state();
                repository.deployments().upsert(&DeploymentPlan::new(DeploymentKind::Sensor, name)).unwrap();
                let mut version = None;
                for step in 0..25 {
                    let swap = state.compare_and_set(name, version, &step.to_string()).unwrap();
                    let Swap::Done(now) = swap else { panic!("nobody else writes {name}: {swap:?}") };
                    version = Some(now);
                    repository.deployments().heartbeat(name).unwrap();
                }
            }
        };
        let within = scope.spawn(changes(pipeline.repository().unwrap(), "within"));
        let beside = scope.spawn(changes(Repository::open(&database.url()).unwrap(), "beside"));
        for thread in [within, beside] {
            thread.join().unwrap();
        }
        let before = committed();
        eventually_within(Duration::from_secs(60), "rows still come in", || committed() > before);
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap()
    });
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.number("SELECT count(*) FROM events"), sent as i64);
    assert_eq!(database.texts("SELECT `key` || value FROM state ORDER BY 1"), ["beside24", "within24"]);
    catalogue::check(&database.connect());
}

#[test]
fn a_repository_of_a_pipeline_goes_on_when_the_pipeline_has_ended_and_another_may_begin() {
    let database = Database::new();
    let pipeline = database.open();
    let repository = pipeline.repository().unwrap();
    repository.state().set("a", "1").unwrap();
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    repository.state().set("a", "2").unwrap();
    let next = database.open();
    repository.state().set("a", "3").unwrap();
    assert_eq!(next.repository().unwrap().state().get("a").unwrap().unwrap().value, "3");
    assert!(next.shutdown_blocking(LONG).is_complete());
}

#[test]
fn a_file_that_was_put_in_the_place_of_ours_is_neither_read_nor_written() {
    let database = Database::new();
    database.create();
    let repository = Repository::open(&database.url()).unwrap();
    repository.state().set("a", "1").unwrap();
    std::fs::rename(database.path(), database.beside("-old")).unwrap();
    std::fs::write(database.path(), "").unwrap();
    for error in
        [repository.state().set("a", "2").map(drop).unwrap_err(), repository.state().get("a").map(drop).unwrap_err()]
    {
        assert_eq!(error.kind(), forebay::ErrorKind::Unavailable);
    }
    assert_eq!(std::fs::metadata(database.path()).unwrap().len(), 0);
}
