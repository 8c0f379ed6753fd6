//! Rows that the backend refuses are set aside, alone, and everything else is committed.

use std::time::Duration;

use forebay::pipeline::LaneState;
use forebay::{Pipeline, ReceiptError};

use crate::harness::{
    Fault, Flaky, Naming, PausedClock, Recorder, adds_up, advance_until, config, counts, event, events, state,
};

const LONG: Duration = Duration::from_secs(20);
const NAMINGS: [Naming; 4] = [Naming::Exact, Naming::Statement(7), Naming::Statement(100), Naming::Unnamed];

#[test]
fn exactly_the_bad_rows_are_set_aside_however_the_backend_names_them() {
    for naming in NAMINGS {
        for bad in [vec![0], vec![99], vec![3, 4, 5, 50, 98], (0..100).collect(), vec![]] {
            let backend = Flaky::new(Recorder::new(1));
            let pipeline = Pipeline::builder().config(config(100)).shared_backend(backend.clone()).open().unwrap();
            backend.name_refused_rows(naming);
            let name = |row: usize| if bad.contains(&row) { format!("bad {row}") } else { format!("good {row}") };
            let receipt = pipeline.events().send_many_blocking(events((0..100).map(name))).unwrap();
            let verdict = receipt.wait();
            match verdict {
                Ok(()) => assert!(bad.is_empty()),
                Err(ReceiptError::Rejected { rows, reason }) => assert_eq!((rows, &*reason), (bad.len(), "it is bad")),
                Err(other) => panic!("{other}"),
            }
            let kept = backend.inner.kept();
            let good: Vec<_> = (0..100).filter(|row| !bad.contains(row)).map(name).collect();
            assert_eq!(kept.rows, good, "{naming:?} {bad:?}: all good rows, in their order");
            let positions: Vec<_> = kept.rejects.iter().map(|(_, position, ..)| *position as usize).collect();
            assert_eq!(positions, bad, "{naming:?}");
            for (_, position, reason, row) in &kept.rejects {
                assert_eq!(reason, "refused_by_database");
                assert!(row.contains(&format!("bad {position}")), "the whole row is kept: {row}");
            }
            let counts = counts(&pipeline);
            assert_eq!((counts.committed, counts.rejected), (100 - bad.len() as u64, bad.len() as u64));
            assert!(pipeline.shutdown_blocking(LONG).is_complete());
        }
    }
}

#[test]
fn a_refused_row_affects_no_other_sends_receipt() {
    let backend = Flaky::new(Recorder::new(1));
    backend.name_refused_rows(Naming::Statement(100));
    let mut config = config(100);
    config.batch.max_wait = LONG;
    let pipeline = Pipeline::builder().config(config).shared_backend(backend.clone()).open().unwrap();
    let sender = pipeline.events();
    let receipts = ["a", "bad", "b"].map(|text| sender.send_blocking(event(text)).unwrap());
    assert_eq!(pipeline.flush().wait(), Ok(()));
    let verdicts = receipts.map(forebay::Receipt::wait);
    assert_eq!((&verdicts[0], &verdicts[2]), (&Ok(()), &Ok(())));
    assert!(matches!(&verdicts[1], Err(ReceiptError::Rejected { rows: 1, .. })));
    pipeline.shutdown_blocking(LONG);
}

#[test]
fn refused_rows_and_lost_answers_together_still_store_each_row_once() {
    let (backend, clock) = (Flaky::new(Recorder::new(1)), PausedClock::new());
    let builder = Pipeline::builder().config(config(20)).shared_backend(backend.clone());
    let pipeline = builder.clock(clock.clone()).open().unwrap();
    backend.name_refused_rows(Naming::Statement(5));
    backend.script([Fault::Transient, Fault::CommitThenTransient].repeat(30));
    let name = |row: usize| if row % 6 == 2 { format!("bad {row}") } else { format!("good {row}") };
    let receipt = pipeline.events().send_many_blocking(events((0..20).map(name))).unwrap();
    advance_until(&clock, "all are settled", || counts(&pipeline).committed + counts(&pipeline).rejected == 20);
    assert!(matches!(receipt.wait(), Err(ReceiptError::Rejected { rows: 3, .. })));
    let kept = backend.inner.kept();
    assert_eq!(kept.rows, (0..20).filter(|row| row % 6 != 2).map(name).collect::<Vec<_>>());
    assert_eq!(kept.rejects.len(), 3);
    assert!(adds_up(&counts(&pipeline)));
    clock.advance(LONG);
    drop(pipeline);
}

#[test]
fn a_row_that_cannot_even_be_set_aside_fails_the_lane_instead_of_being_tried_for_ever() {
    for naming in NAMINGS {
        let backend = Flaky::new(Recorder::new(1));
        backend.name_refused_rows(naming);
        backend.refuse_rejects_too();
        let pipeline = Pipeline::builder().config(config(10)).shared_backend(backend.clone()).open().unwrap();
        let receipt = pipeline.events().send_many_blocking(events(["a", "b", "bad", "c", "d"])).unwrap();
        assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { .. })), "{naming:?}");
        let LaneState::Failed { reason } = state(&pipeline) else { panic!("failed") };
        assert!(reason.contains("could not be set aside"), "{reason}");
        let summary = pipeline.shutdown_blocking(LONG);
        let counts = summary.lanes[0].events;
        assert_eq!(counts.committed as usize, backend.inner.row_count());
        assert_eq!((counts.committed + counts.failed, counts.in_flight), (5, 0));
        assert!(summary.took < Duration::from_secs(10));
    }
}

/// A backend that named a row which the batch does not have made the writer cut nothing off, and so try the same batch
/// again for ever.
#[test]
fn a_backend_that_names_a_row_the_batch_does_not_have_is_served_by_halves() {
    use forebay::backend::{Backend, WriteError};
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;
    struct Confused(Recorder);
    impl Backend for Confused {
        fn name(&self) -> &'static str {
            "confused"
        }
        fn max_in_flight(&self) -> NonZeroUsize {
            NonZeroUsize::MIN
        }
        fn write(&self, batch: &forebay::Batch) -> Result<(), WriteError> {
            let rows = batch.entries().iter().flat_map(forebay::Entry::rows);
            if rows.filter_map(|row| crate::harness::text_of(&row)).any(|text| text == "bad") {
                return Err(WriteError::Rejected { rows: vec![3, 1, 1000], detail: "somewhere".into() });
            }
            self.0.write(batch)
        }
        fn ping(&self) -> Result<(), WriteError> {
            Ok(())
        }
        fn ledger(&self, prefix: &str) -> Result<BTreeMap<String, forebay::Ranges>, WriteError> {
            self.0.ledger(prefix)
        }
        fn close(&self, ephemeral: &str) -> Result<(), WriteError> {
            self.0.close(ephemeral)
        }
    }
    let backend = std::sync::Arc::new(Confused(Recorder::new(1)));
    let pipeline = Pipeline::builder().config(config(10)).shared_backend(backend.clone()).open().unwrap();
    let receipt = pipeline.events().send_many_blocking(events(["a", "b", "c", "bad", "d", "e"])).unwrap();
    assert!(matches!(receipt.wait(), Err(ReceiptError::Rejected { rows: 1, .. })));
    assert_eq!(backend.0.kept().rows, ["a", "b", "c", "d", "e"]);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}
