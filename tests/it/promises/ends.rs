//! Promise 7: shutdown is explicit and bounded, and `Drop` never blocks.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use forebay::pipeline::LaneState;
use forebay::{Pipeline, ReceiptError, SendError};

use crate::harness::{Fault, Flaky, Recorder, adds_up, capture, config, counts, event, events, eventually};

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

#[test]
fn shutdown_writes_everything_that_was_taken_and_says_so() {
    let backend = Arc::new(Recorder::new(1));
    let mut config = config(1000);
    config.batch.max_wait = Duration::from_secs(3600);
    let pipeline = Pipeline::builder().config(config).shared_backend(backend.clone()).open().unwrap();
    let receipt = pipeline.events().send_many_blocking(events(["a", "b"])).unwrap();
    drop(pipeline.captures().send_blocking(capture("c")).unwrap());
    let late = pipeline.events();
    let summary = pipeline.shutdown_blocking(LONG);
    assert!(summary.is_complete() && summary.took < Duration::from_secs(10));
    assert_eq!(receipt.wait(), Ok(()));
    assert_eq!(backend.row_count(), 3);
    assert_eq!(summary.lanes[0].state, LaneState::Closed);
    assert!(matches!(late.try_send(event("late")), Err(forebay::TrySendError::Closed(_))));
    assert!(matches!(late.send_blocking(event("late")), Err(SendError::Closed(_))));
    let closed = backend.kept().closed;
    assert!(matches!(&closed[..], [ephemeral] if ephemeral.starts_with("memory/") && ephemeral.ends_with('/')));
}

/// The deadline passed while one batch was in the backend's hands and a second, complete, stood ready behind it. The
/// second was neither failed nor in anybody's hands: its receipt stayed open, and it was written whenever the first
/// returned, long after shutdown had reported.
#[test]
fn with_a_stuck_backend_shutdown_is_bounded_and_only_what_is_in_its_hands_is_left_open() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(2)).shared_backend(backend.clone()).open().unwrap();
    backend.stall();
    let in_hand = pipeline.events().send_many_blocking(events(["0", "1"])).unwrap();
    eventually("the first batch is in the backend's hands", || backend.inside() == 1);
    let ready = pipeline.events().send_many_blocking(events(["2", "3"])).unwrap();
    let queued = pipeline.captures().send_blocking(capture("4")).unwrap();
    eventually("the second batch stands ready", || counts(&pipeline).queued <= 1);
    let began = Instant::now();
    let summary = pipeline.shutdown_blocking(SOON);
    assert!(began.elapsed() < SOON + Duration::from_secs(1), "{:?}", began.elapsed());
    let all = summary.lanes[0].events.plus(summary.lanes[0].captures);
    assert_eq!((all.accepted, all.in_flight, all.failed, all.queued), (5, 2, 3, 0), "{summary:?}");
    for receipt in [ready, queued] {
        assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { .. })));
    }
    backend.release();
    assert_eq!(in_hand.wait(), Ok(()), "what was in its hands is answered for when it returns");
    assert_eq!(backend.inner.kept().rows, ["0", "1"]);
}

/// One of two writes had failed the lane, the other was still stuck when shutdown gave up waiting. All rows that were
/// not settled were counted as failed, those in the backend's hands with them; when that write returned they were
/// counted a second time.
#[test]
fn after_a_failure_what_is_still_in_the_backends_hands_is_not_counted_as_failed() {
    let backend = Flaky::new(Recorder::new(2));
    let pipeline = Pipeline::builder().config(config(1)).shared_backend(backend.clone()).open().unwrap();
    backend.stall();
    let stuck = pipeline.events().send_blocking(event("one")).unwrap();
    eventually("one is in its hands", || backend.inside() == 1);
    let fatal = pipeline.captures().send_blocking(capture("other")).unwrap();
    eventually("two are in its hands", || backend.inside() == 2);
    backend.release_one_with(Fault::Fatal);
    let (verdict, other) = pollster::block_on(first_of(stuck, fatal));
    assert!(matches!(verdict, Err(ReceiptError::Failed { .. })));
    let summary = pipeline.shutdown_blocking(SOON);
    let all = summary.lanes[0].events.plus(summary.lanes[0].captures);
    assert_eq!((all.accepted, all.in_flight, all.failed), (2, 1, 1), "{summary:?}");
    assert!(adds_up(&all));
    backend.release();
    assert_eq!(other.wait(), Ok(()));
}

/// Waits for whichever of two receipts resolves first; returns its verdict and the other.
async fn first_of(a: forebay::Receipt, b: forebay::Receipt) -> (Result<(), ReceiptError>, forebay::Receipt) {
    let mut open = vec![a, b];
    std::future::poll_fn(move |context| {
        for index in 0..open.len() {
            if let Poll::Ready(verdict) = Pin::new(&mut open[index]).poll(context) {
                return Poll::Ready((verdict, open.swap_remove(1 - index)));
            }
        }
        Poll::Pending
    })
    .await
}

#[test]
fn a_shutdown_during_an_outage_fails_what_could_not_be_written_at_its_deadline() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(2)).shared_backend(backend.clone()).open().unwrap();
    backend.fail();
    let receipts = pipeline.events().send_many_blocking(events(["0", "1", "2"])).unwrap();
    let summary = pipeline.shutdown_blocking(SOON);
    assert!(summary.took < SOON + Duration::from_secs(1));
    let ReceiptError::Failed { rows, .. } = receipts.wait().unwrap_err() else { panic!("failed") };
    assert_eq!((rows, summary.lanes[0].events.failed), (3, 3));
    assert!(!summary.is_complete());
}

/// `shutdown(Duration::MAX)`, which says "however long it takes", added it to the present moment and panicked; the rows
/// were given up as if the pipeline had been dropped.
#[test]
fn a_shutdown_without_a_practical_deadline_waits_as_long_as_it_takes() {
    let backend = Arc::new(Recorder::new(1));
    let pipeline = Pipeline::builder().shared_backend(backend.clone()).open().unwrap();
    drop(pipeline.events().send_blocking(event("a")).unwrap());
    assert!(pipeline.shutdown_blocking(Duration::MAX).is_complete());
    assert_eq!(backend.row_count(), 1);
}

#[test]
fn dropping_a_pipeline_with_a_stuck_backend_does_not_block_and_answers_every_waiting_row() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(1)).shared_backend(backend.clone()).open().unwrap();
    backend.stall();
    let in_hand = pipeline.events().send_blocking(event("0")).unwrap();
    eventually("it is in the backend's hands", || backend.inside() == 1);
    let queued = pipeline.events().send_blocking(event("1")).unwrap();
    let began = Instant::now();
    drop(pipeline);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(matches!(queued.wait(), Err(ReceiptError::Failed { .. })));
    backend.release();
    assert_eq!(in_hand.wait(), Ok(()));
}

#[test]
fn a_shutdown_whose_future_is_dropped_goes_on() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(1)).shared_backend(backend.clone()).open().unwrap();
    backend.stall();
    let receipt = pipeline.events().send_blocking(event("0")).unwrap();
    eventually("it is in the backend's hands", || backend.inside() == 1);
    {
        let mut ending = pin!(pipeline.shutdown(LONG));
        assert!(ending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    backend.release();
    assert_eq!(receipt.wait(), Ok(()));
    eventually("the backend is closed", || backend.inner.kept().closed.len() == 1);
}

/// A task kept a `send` that waited for room while it shut its pipeline down: `select!` drops only what it owns. The
/// room that the send had been given so far never came back, and shutdown sat out its whole deadline with nothing left
/// to do.
#[test]
fn a_send_that_nobody_polls_any_more_does_not_keep_shutdown_waiting() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(2)).shared_backend(backend.clone()).open().unwrap();
    backend.stall();
    let events_in = pipeline.events();
    let first = events_in.send_many_blocking(events(["0", "1", "2"])).unwrap();
    let mut forgotten = pin!(events_in.send_many(events(["x", "y"])));
    assert!(forgotten.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    backend.release();
    assert_eq!(first.wait(), Ok(()));
    let summary = pipeline.shutdown_blocking(LONG);
    assert!(summary.took < Duration::from_secs(5), "{:?}", summary.took);
    assert!(summary.is_complete());
    let rows = match pollster::block_on(forgotten) {
        Err(SendError::Closed(rows)) => rows,
        other => panic!("{other:?}"),
    };
    assert_eq!(rows, events(["x", "y"]));
}

#[test]
fn the_backend_is_let_go_when_shutdown_returns_even_while_a_producer_lives_on() {
    let backend = Arc::new(Recorder::new(3));
    let pipeline = Pipeline::builder().shared_backend(backend.clone()).open().unwrap();
    let producer = pipeline.events();
    assert!(Arc::strong_count(&backend) > 1);
    pipeline.shutdown_blocking(LONG);
    assert_eq!(Arc::strong_count(&backend), 1);
    drop(producer);
}
