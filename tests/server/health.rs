//! Red when rows do not land, and what for.

use std::sync::{Arc, Mutex};

use crate::client::wait_for;
use crate::stage::{Fault, Faulty, Stage, event};

fn faulty(lane: &'static str) -> (Stage, Arc<Mutex<Fault>>) {
    let fault = Arc::new(Mutex::new(Fault::None));
    let given = Arc::clone(&fault);
    (Stage::with(lane, |inner| Box::new(Faulty { inner: Box::new(inner), fault: given })), fault)
}

fn code(stage: &Stage, path: &str) -> u16 {
    stage.get(path).code
}

#[test]
fn a_failed_lane_turns_health_red_and_says_why_on_one_line() {
    let (stage, fault) = faulty("fatal");
    wait_for("it to be ready", || (code(&stage, "/readyz") == 200).then_some(()));
    *fault.lock().unwrap() = Fault::Fatal;
    let receipt = stage.pipeline.events().send_blocking(event("a")).unwrap();
    assert!(receipt.wait().is_err());
    let answer = stage.get("/healthz");
    let why = "unhealthy\nlane fatal has failed: the disk is gone [31m for good\n";
    assert_eq!((answer.code, answer.body.as_str()), (503, why));
    assert_eq!(code(&stage, "/readyz"), 503);
    assert_eq!(stage.metric("forebay_lane_state{lane=\"fatal\"}"), Some(2.0));
    assert_eq!(stage.metric("forebay_errors_total{lane=\"fatal\",kind=\"fatal\",stage=\"write\"}"), Some(1.0));
    wait_for("the report to say so", || (stage.get("/api/status").json()["healthy"] == false).then_some(()));
}

#[test]
fn a_writer_that_panicked_turns_health_red() {
    let (stage, fault) = faulty("panic");
    *fault.lock().unwrap() = Fault::Panic;
    assert!(stage.pipeline.events().send_blocking(event("a")).unwrap().wait().is_err());
    let answer = stage.get("/healthz");
    assert_eq!((answer.code, answer.body.contains("lane panic has failed")), (503, true), "{answer:?}");
}

#[test]
fn a_database_that_is_away_makes_it_unready_but_not_unwell_and_it_comes_back_by_itself() {
    let (stage, fault) = faulty("away");
    *fault.lock().unwrap() = Fault::Away;
    let receipt = stage.pipeline.events().send_blocking(event("a")).unwrap();
    let answer = wait_for("the outage to be seen", || Some(stage.get("/readyz")).filter(|answer| answer.code == 503));
    assert!(answer.body.contains("nobody is there"), "{answer:?}");
    assert_eq!(code(&stage, "/healthz"), 200);
    wait_for("the metric", || stage.metric("forebay_retries_total{lane=\"away\",reason=\"connection\"}"));
    *fault.lock().unwrap() = Fault::None;
    receipt.wait().unwrap();
    wait_for("it to be ready again", || (code(&stage, "/readyz") == 200).then_some(()));
}

#[test]
fn a_database_that_does_not_answer_while_nothing_is_written_makes_it_unready_and_holds_nothing_else() {
    let (stage, fault) = faulty("silent");
    *fault.lock().unwrap() = Fault::Silent;
    let answer = wait_for("the silence to be seen", || Some(stage.get("/readyz")).filter(|answer| answer.code == 503));
    assert!(answer.body.contains("lane silent has not answered for"), "{answer:?}");
    assert_eq!((code(&stage, "/healthz"), code(&stage, "/metrics"), code(&stage, "/api/status")), (200, 200, 200));
    *fault.lock().unwrap() = Fault::None;
    wait_for("it to be ready again", || (code(&stage, "/readyz") == 200).then_some(()));
}

#[test]
fn a_lock_that_another_program_holds_makes_it_unready_and_the_oldest_row_older() {
    let stage = Stage::new("locked");
    let other = rusqlite::Connection::open(stage.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = stage.pipeline.events().send_blocking(event("a")).unwrap();
    let age = || stage.metric("forebay_oldest_row_seconds{lane=\"locked\"}").filter(|age| *age > 0.0);
    let young = wait_for("the row to be seen", age);
    let answer = wait_for("it to be unready", || Some(stage.get("/readyz")).filter(|answer| answer.code == 503));
    assert!(answer.body.contains("lane locked has been writing one batch for"), "{answer:?}");
    assert_eq!(code(&stage, "/healthz"), 200, "a restart would lose what waits");
    wait_for("the row to be older", || age().filter(|age| *age > young + 1.0));
    assert_eq!(stage.metric("forebay_buffer_size_rows{lane=\"locked\",kind=\"events\"}"), Some(1.0));
    assert_eq!(stage.metric("forebay_in_flight_batches{lane=\"locked\"}"), Some(1.0));
    other.execute_batch("ROLLBACK").unwrap();
    receipt.wait().unwrap();
    wait_for("it to be ready again", || (code(&stage, "/readyz") == 200).then_some(()));
    wait_for("nothing to wait", || {
        stage.metric("forebay_oldest_row_seconds{lane=\"locked\"}").filter(|age| *age == 0.0)
    });
    let waits = stage.metric("forebay_sqlite_busy_wait_seconds_count{lane=\"sqlite\"}");
    assert!(waits.is_some_and(|waits| waits >= 1.0), "{waits:?}");
}
