//! Promise 3: a source that can be read again goes on where its commits end, in each lane.

use std::sync::Arc;
use std::time::Duration;

use forebay::pipeline::{Replay, ReplayRows};
use forebay::{Event, Pipeline, Row};

use crate::harness::{Flaky, Recorder, config, event};

const LONG: Duration = Duration::from_secs(20);

fn packets(first: u64, count: u64) -> ReplayRows<Event> {
    let rows = (first..first + count).map(|number| Row::Keep(event(&number.to_string())));
    ReplayRows::numbered(first, rows.collect())
}

fn pipeline(backends: &[&Arc<Recorder>]) -> (Pipeline, Replay<Event>) {
    let builder = Pipeline::builder().config(config(10));
    let builder = backends.iter().fold(builder, |builder, backend| builder.shared_backend((*backend).clone()));
    let pipeline = builder.open().unwrap();
    let replay = pipeline.replay("packets").unwrap();
    (pipeline, replay)
}

#[test]
fn a_source_that_is_sent_again_from_its_start_lands_once() {
    let backend = Arc::new(Recorder::new(1));
    for run in 0..3 {
        let (pipeline, replay) = pipeline(&[&backend]);
        assert_eq!(replay.committed().first_missing(0), [0, 20, 40][run]);
        let receipt = replay.send_blocking(packets(0, 20 * (run as u64 + 1))).unwrap();
        assert_eq!(receipt.wait(), Ok(()));
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
    }
    assert_eq!(backend.kept().rows, (0..60).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn each_lane_gets_just_what_it_lacks() {
    let (a, b) = (Arc::new(Recorder::new(1)), Arc::new(Recorder::new(1)));
    for (backend, first, count) in [(&a, 0, 7), (&b, 5, 8)] {
        let (pipeline, replay) = pipeline(&[backend]);
        replay.send_blocking(packets(first, count)).unwrap().wait().unwrap();
        pipeline.shutdown_blocking(LONG);
    }
    let (pipeline, replay) = pipeline(&[&a, &b]);
    let common: Vec<_> = replay.committed().iter().collect();
    assert_eq!(common, [5..=6]);
    assert_eq!(replay.send_blocking(packets(0, 15)).unwrap().wait(), Ok(()));
    let accepted: Vec<_> = pipeline.status().lanes.iter().map(|lane| lane.events.accepted).collect();
    assert_eq!(accepted, [8, 7]);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    for backend in [a, b] {
        let mut rows: Vec<u64> = backend.kept().rows.iter().map(|row| row.parse().unwrap()).collect();
        rows.sort();
        assert_eq!(rows, (0..15).collect::<Vec<_>>());
    }
}

#[test]
fn lines_are_known_by_their_bytes_even_if_they_are_cut_otherwise_the_second_time() {
    let backend = Arc::new(Recorder::new(1));
    let lines = |numbers: std::ops::Range<u64>| {
        let rows = numbers.clone().map(|number| Row::Keep(event(&number.to_string())));
        ReplayRows::spanning(numbers.start * 10, numbers.map(|number| number * 10 + 10).collect(), rows.collect())
    };
    for chunks in [&[0..3, 3..4, 7..9][..], &[0..1, 1..12]] {
        let (pipeline, replay) = pipeline(&[&backend]);
        for chunk in chunks {
            assert_eq!(replay.send_blocking(lines(chunk.clone())).unwrap().wait(), Ok(()));
        }
        pipeline.shutdown_blocking(LONG);
    }
    let mut rows: Vec<u64> = backend.kept().rows.iter().map(|row| row.parse().unwrap()).collect();
    rows.sort();
    assert_eq!(rows, (0..12).collect::<Vec<_>>());
}

#[test]
fn what_is_all_committed_is_settled_at_once_even_in_an_outage() {
    let backend = Flaky::new(Recorder::new(1));
    let open = || Pipeline::builder().config(config(10)).shared_backend(backend.clone()).open().unwrap();
    let first = open();
    first.replay("packets").unwrap().send_blocking(packets(0, 5)).unwrap().wait().unwrap();
    first.shutdown_blocking(LONG);
    backend.fail();
    let second = open();
    assert_eq!(second.replay("packets").unwrap().send_blocking(packets(0, 5)).unwrap().wait(), Ok(()));
    assert_eq!(second.status().buffered_bytes, 0);
    second.shutdown_blocking(LONG);
}

#[test]
fn a_name_that_could_collide_is_refused() {
    let pipeline = Pipeline::open("memory:").unwrap();
    for name in ["", "memory/x", "a\0b", &"x".repeat(256)] {
        let error = pipeline.replay::<Event>(name).map(drop).unwrap_err();
        assert_eq!(error.kind(), forebay::ErrorKind::Configuration, "{name:?}");
    }
    pipeline.replay::<Event>(&"x".repeat(255)).unwrap();
    drop(pipeline);
}

/// Positions are signed 64-bit columns. Two rows above the largest were both stored at it, so the second was taken for
/// already committed: its receipt said `Ok` and the row was nowhere.
#[test]
fn a_position_that_no_ledger_can_hold_is_refused() {
    const LAST: u64 = i64::MAX as u64;
    let row = || vec![Row::Keep(event("x"))];
    let refused = |make: fn(u64, Vec<Row<Event>>) -> ReplayRows<Event>, first: u64| {
        std::panic::catch_unwind(|| make(first, row())).is_err()
    };
    let spanning = |first: u64, rows| ReplayRows::spanning(first, vec![first + 1], rows);
    assert!(!refused(ReplayRows::numbered, LAST) && refused(ReplayRows::numbered, LAST + 1));
    assert!(refused(ReplayRows::numbered, u64::MAX));
    assert!(!refused(spanning, LAST) && refused(spanning, LAST + 1));
}
