//! Promise 5: an outage is back-pressure, not loss. Promise 4: memory is bounded.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use forebay::config::Policy;
use forebay::pipeline::LaneState;
use forebay::{Pipeline, ReceiptError, TrySendError};

use crate::harness::{
    Fault, Flaky, PausedClock, Recorder, advance_until, capture, config, counts, event, eventually, state,
};

#[test]
fn an_outage_makes_send_wait_and_try_send_refuse_and_afterwards_everything_goes_on_by_itself() {
    let (backend, clock) = (Flaky::new(Recorder::new(1)), PausedClock::new());
    let builder = Pipeline::builder().config(config(2)).shared_backend(backend.clone());
    let pipeline = builder.clock(clock.clone()).open().unwrap();
    backend.fail();
    let events = pipeline.events();
    let receipts: Vec<_> = (0..4).map(|n| events.try_send(event(&n.to_string())).unwrap()).collect();
    assert!(matches!(events.try_send(event("4")), Err(TrySendError::Full(row)) if row.msg() == Some("4")));
    let waiting = std::thread::spawn(move || events.send_blocking(event("4")).unwrap().wait());
    advance_until(&clock, "several attempts", || match state(&pipeline) {
        LaneState::Retrying { attempts, error, .. } => attempts >= 5 && error == "connection lost",
        _ => false,
    });
    let status = pipeline.status();
    assert!(status.lanes[0].writing_for > Some(Duration::from_millis(50)));
    assert_eq!(counts(&pipeline).committed + counts(&pipeline).failed + counts(&pipeline).rejected, 0);
    assert!(!waiting.is_finished());
    backend.recover();
    advance_until(&clock, "the waiting row is committed", || backend.inner.row_count() == 5);
    assert_eq!(waiting.join().unwrap(), Ok(()));
    assert!(receipts.into_iter().all(|receipt| receipt.wait() == Ok(())));
    eventually("the lane runs again", || state(&pipeline) == LaneState::Running);
    assert_eq!(backend.inner.kept().rows, ["0", "1", "2", "3", "4"], "in order");
    assert!(pipeline.shutdown_blocking(Duration::from_secs(20)).is_complete());
}

#[test]
fn a_queue_that_drops_discards_and_counts_and_never_takes_the_other_kinds_room() {
    let backend = Flaky::new(Recorder::new(1));
    let mut config = config(2);
    config.buffer.captures.policy = Policy::DropNewest;
    let pipeline = Pipeline::builder().config(config).shared_backend(backend.clone()).open().unwrap();
    backend.stall();
    let captures = pipeline.captures();
    let receipts: Vec<_> = (0..10).map(|n| captures.send_blocking(capture(&n.to_string())).unwrap()).collect();
    let event_receipt = pipeline.events().try_send(event("e")).expect("events have room of their own");
    assert_eq!(pipeline.status().discarded, [0, 6]);
    assert!(matches!(captures.try_send(capture("x")), Err(TrySendError::Full(_))), "try_send says so instead");
    backend.release();
    let verdicts: Vec<_> = receipts.into_iter().map(forebay::Receipt::wait).collect();
    assert_eq!(verdicts[..4], [const { Ok(()) }; 4]);
    assert_eq!(verdicts[4..], [const { Err(ReceiptError::Discarded) }; 6]);
    assert_eq!(event_receipt.wait(), Ok(()));
    let summary = pipeline.shutdown_blocking(Duration::from_secs(20));
    assert!(summary.is_complete());
    assert_eq!((summary.discarded, summary.lanes[0].captures.accepted), ([0, 6], 4));
}

#[test]
fn memory_is_given_back_when_rows_are_committed_refused_or_failed() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(4)).shared_backend(backend.clone()).open().unwrap();
    let events = pipeline.events();
    for text in ["a", "bad", "b"] {
        // The verdict of each is another test's claim.
        let _ = events.send_blocking(event(text)).unwrap().wait();
    }
    eventually("nothing is held", || pipeline.status().buffered_bytes == 0);
    backend.script([Fault::Fatal]);
    assert!(events.send_blocking(event("c")).unwrap().wait().is_err());
    eventually("nothing is held", || pipeline.status().buffered_bytes == 0);
}

#[test]
fn a_waiting_send_that_is_cancelled_holds_no_room_and_sends_nothing() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(2)).shared_backend(backend.clone()).open().unwrap();
    backend.stall();
    let events = pipeline.events();
    let first = events.send_many_blocking(vec![event("0"), event("1"), event("2")]).unwrap();
    for _ in 0..100 {
        let mut waiting = pin!(events.send_many(vec![event("cancelled"), event("cancelled")]));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let one = events.try_send(event("3")).expect("the one free place is free");
    backend.release();
    assert_eq!((first.wait(), one.wait()), (Ok(()), Ok(())));
    eventually("all room is back", || pipeline.status().buffered_bytes == 0);
    let all = events.try_send_many((4..8).map(|n| event(&n.to_string())).collect()).unwrap();
    assert_eq!(all.wait(), Ok(()));
    assert_eq!(backend.inner.kept().rows, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert!(pipeline.shutdown_blocking(Duration::from_secs(20)).is_complete());
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_repeated() {
    let (backend, clock) = (Flaky::new(Recorder::new(1)), PausedClock::new());
    let builder = Pipeline::builder().config(config(100)).shared_backend(backend.clone());
    let pipeline = builder.clock(clock.clone()).open().unwrap();
    backend.script([Fault::CommitThenTransient, Fault::CommitThenTransient, Fault::Transient]);
    let receipt = pipeline.events().send_many_blocking(vec![event("a"), event("b")]).unwrap();
    advance_until(&clock, "committed", || counts(&pipeline).committed == 2);
    assert_eq!(receipt.wait(), Ok(()));
    assert_eq!((backend.inner.kept().rows, backend.writes()), (vec!["a".into(), "b".into()], 4));
    let offered = backend.inner.kept().offered;
    assert!(offered.windows(2).all(|pair| pair[0].entries()[0].first() == pair[1].entries()[0].first()), "unchanged");
}
