//! Promise 6: no producer hangs for ever.

use std::sync::Arc;
use std::time::Duration;

use forebay::pipeline::{LaneState, Status};
use forebay::{Pipeline, ReceiptError, SendError, TrySendError};

use crate::harness::{Fault, Flaky, Recorder, config, counts, event, eventually, state};

/// Fails a pipeline whose queues are full and on whose room a producer waits; returns what its status was in the end.
fn fail_with(fault: Fault) -> Status {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(1)).shared_backend(backend.clone()).open().unwrap();
    backend.script([fault]);
    backend.stall();
    let events = pipeline.events();
    let receipts = [0, 1].map(|number| events.send_blocking(event(&number.to_string())).unwrap());
    assert!(matches!(events.try_send(event("2")), Err(TrySendError::Full(_))));
    let waiting = std::thread::spawn(move || (events.send_blocking(event("waits")).map(drop), events));
    eventually("the first batch is in the backend's hands", || backend.inside() == 1);
    let flush = pipeline.flush();
    backend.release();
    for receipt in receipts {
        assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { .. })));
    }
    assert!(flush.wait().is_err());
    let (waited, events) = waiting.join().unwrap();
    assert_eq!(waited, Err(SendError::Closed(event_of(&waited))), "the row comes back");
    assert!(matches!(events.try_send(event("3")), Err(TrySendError::Closed(row)) if row.msg() == Some("3")));
    assert!(pipeline.flush().wait().is_err());
    assert!(matches!(state(&pipeline), LaneState::Failed { .. }));
    assert_eq!((counts(&pipeline).failed, counts(&pipeline).accepted), (2, 2));
    assert_eq!(backend.writes(), 1, "what has failed for good is not tried again");
    assert_eq!(backend.inner.row_count(), 0);
    let status = pipeline.status();
    let summary = pipeline.shutdown_blocking(Duration::from_secs(20));
    assert!(!summary.is_complete() && summary.took < Duration::from_secs(10));
    status
}

fn event_of(sent: &Result<(), SendError<forebay::Event>>) -> forebay::Event {
    match sent {
        Err(SendError::Closed(row)) => row.clone(),
        other => panic!("{other:?}"),
    }
}

/// One slot had failed its batch for good and the lane was failed; the complete batch that stood ready for the slot was
/// written all the same, after a gap in its producer's order and although the backend had called itself beyond repair.
#[test]
fn a_fatal_error_fails_every_receipt_closes_every_send_and_ends_the_writing() {
    let status = fail_with(Fault::Fatal);
    let LaneState::Failed { reason } = &status.lanes[0].state else { panic!("{status:?}") };
    assert!(reason.contains("beyond repair"));
}

#[test]
fn a_panicking_backend_fails_every_receipt_and_closes_every_send() {
    let status = fail_with(Fault::Panic);
    let LaneState::Failed { reason } = &status.lanes[0].state else { panic!("{status:?}") };
    assert!(reason.contains("panicked"));
}

#[test]
fn a_failed_lane_closes_the_pipeline_and_the_other_lane_writes_what_it_has() {
    let (sick, well) = (Flaky::new(Recorder::new(1)), Arc::new(Recorder::new(1)));
    let builder = Pipeline::builder().config(config(10)).shared_backend(sick.clone());
    let pipeline = builder.shared_backend(well.clone()).open().unwrap();
    sick.script([Fault::Fatal]);
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { rows: 1, .. })), "one of two lanes has not stored it");
    eventually("sends are refused", || pipeline.events().try_send(event("b")).is_err());
    let summary = pipeline.shutdown_blocking(Duration::from_secs(20));
    assert!(matches!(summary.lanes[0].state, LaneState::Failed { .. }));
    assert_eq!(summary.lanes[1].state, LaneState::Closed);
    assert_eq!((summary.lanes[0].events.failed, summary.lanes[0].events.committed), (1, 0));
    assert_eq!(summary.lanes[1].events.committed as usize, well.row_count());
    assert_eq!(summary.lanes[1].events.accepted, summary.lanes[1].events.committed);
}

#[test]
fn a_backend_that_panics_while_closing_does_not_keep_shutdown_waiting() {
    struct Rude(Recorder);
    impl forebay::backend::Backend for Rude {
        fn name(&self) -> &'static str {
            "rude"
        }
        fn max_in_flight(&self) -> std::num::NonZeroUsize {
            self.0.max_in_flight()
        }
        fn write(&self, batch: &forebay::Batch) -> Result<(), forebay::backend::WriteError> {
            self.0.write(batch)
        }
        fn ping(&self) -> Result<(), forebay::backend::WriteError> {
            Ok(())
        }
        fn ledger(
            &self,
            prefix: &str,
        ) -> Result<std::collections::BTreeMap<String, forebay::Ranges>, forebay::backend::WriteError> {
            self.0.ledger(prefix)
        }
        fn close(&self, _: &str) -> Result<(), forebay::backend::WriteError> {
            panic!("as the test has told it to")
        }
    }
    let pipeline = Pipeline::builder().backend(Rude(Recorder::new(1))).open().unwrap();
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    let summary = pipeline.shutdown_blocking(Duration::from_secs(20));
    assert!(summary.is_complete() && summary.took < Duration::from_secs(10));
    assert_eq!(receipt.wait(), Ok(()));
}
