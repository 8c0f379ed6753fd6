//! What a producer may rely on: order, sizes, flush, and that clones and pipelines do not mix.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use forebay::config::Bytes;
use forebay::{Pipeline, SendError, TrySendError};

use crate::harness::{Flaky, Recorder, capture, config, counts, event, events, eventually};

const LONG: Duration = Duration::from_secs(20);

/// Returns `prefix0`, `prefix1` ...
fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

#[test]
fn a_row_above_the_limit_comes_back_and_nothing_that_was_sent_with_it_is_taken() {
    let backend = Arc::new(Recorder::new(1));
    let mut config = config(10);
    config.batch.max_bytes = Bytes(1024);
    let pipeline = Pipeline::builder().config(config).shared_backend(backend.clone()).open().unwrap();
    let large = event(&"x".repeat(2000));
    let sender = pipeline.events();
    assert_eq!(sender.send_blocking(large.clone()).map(drop), Err(SendError::TooLarge(large.clone())));
    assert_eq!(sender.try_send(large.clone()).map(drop), Err(TrySendError::TooLarge(large.clone())));
    let many = vec![event("a"), event("b"), large];
    assert_eq!(sender.send_many_blocking(many.clone()).map(drop), Err(SendError::TooLarge(many.clone())));
    assert_eq!(sender.try_send_many(many.clone()).map(drop), Err(TrySendError::TooLarge(many)));
    let edge = event(&"x".repeat(1024 - event("").weight()));
    assert_eq!(sender.send_blocking(edge).unwrap().wait(), Ok(()));
    assert_eq!(counts(&pipeline).accepted, 1);
    pipeline.shutdown_blocking(LONG);
    assert_eq!(backend.row_count(), 1);
}

#[test]
fn more_rows_than_a_batch_or_the_queue_can_hold_go_in_one_send_and_have_one_receipt() {
    let backend = Arc::new(Recorder::new(1));
    let mut config = config(7);
    config.batch.max_bytes = Bytes(2048);
    let pipeline = Pipeline::builder().config(config).shared_backend(backend.clone()).open().unwrap();
    let texts = names("row ", 1000);
    let receipt = pipeline.events().send_many_blocking(events(&texts)).unwrap();
    assert_eq!(receipt.wait(), Ok(()));
    let kept = backend.kept();
    assert_eq!(kept.rows, texts);
    assert!(kept.offered.iter().all(|batch| batch.len() <= 7 && batch.bytes() <= 2048));
    pipeline.shutdown_blocking(LONG);
}

#[test]
fn no_rows_at_all_are_settled_at_once() {
    let pipeline = Pipeline::open("memory:").unwrap();
    assert_eq!(pipeline.events().send_many_blocking(Vec::new()).unwrap().wait(), Ok(()));
    assert_eq!(pipeline.events().try_send_many(Vec::new()).unwrap().wait(), Ok(()));
    assert_eq!(pipeline.flush().wait(), Ok(()));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}

#[test]
fn rows_that_were_not_taken_when_the_pipeline_closed_come_back_in_their_order() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(2)).shared_backend(backend.clone()).open().unwrap();
    backend.stall();
    let (sender, texts) = (pipeline.events(), names("", 11));
    let rows = events(&texts);
    let waiting = std::thread::spawn(move || sender.send_many_blocking(rows));
    eventually("four of them are taken", || counts(&pipeline).accepted == 4);
    let ending = std::thread::spawn(move || pipeline.shutdown_blocking(LONG));
    let Err(SendError::Closed(back)) = waiting.join().unwrap() else { panic!("closed") };
    assert_eq!(back, events(&texts[4..]));
    backend.release();
    assert!(ending.join().unwrap().is_complete());
    assert_eq!(backend.inner.kept().rows, texts[..4]);
}

#[test]
fn flush_covers_every_earlier_send_of_every_thread_without_waiting_for_batches_to_fill() {
    for slots in [1, 4] {
        let backend = Arc::new(Recorder::new(slots));
        let mut config = config(64);
        config.batch.max_wait = Duration::from_secs(3600);
        config.buffer.events.max_rows = 10_000;
        let pipeline = Pipeline::builder().config(config).shared_backend(backend.clone()).open().unwrap();
        const THREADS: usize = 4;
        for round in 1..=20 {
            let sent = Barrier::new(THREADS + 1);
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    let (sent, sender) = (&sent, pipeline.events());
                    scope.spawn(move || {
                        for _ in 0..25 {
                            drop(sender.send_blocking(event("x")).unwrap());
                        }
                        sent.wait();
                    });
                }
                sent.wait();
                assert_eq!(pipeline.flush().wait(), Ok(()));
                assert_eq!(backend.row_count(), round * THREADS * 25, "{slots} slots, round {round}");
            });
        }
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
    }
}

#[test]
fn flush_waits_for_every_lane() {
    let (fast, slow) = (Arc::new(Recorder::new(1)), Flaky::new(Recorder::new(1)));
    let builder = Pipeline::builder().config(config(10)).shared_backend(fast.clone()).shared_backend(slow.clone());
    let pipeline = builder.open().unwrap();
    slow.stall();
    let mut receipt = pipeline.events().send_blocking(event("a")).unwrap();
    eventually("one lane has it", || fast.row_count() == 1);
    let mut flush = pipeline.flush();
    for open in [&mut receipt, &mut flush] {
        let waker = std::task::Waker::noop();
        let poll = std::future::Future::poll(std::pin::Pin::new(open), &mut std::task::Context::from_waker(waker));
        assert!(poll.is_pending());
    }
    slow.release();
    assert_eq!((receipt.wait(), flush.wait()), (Ok(()), Ok(())));
    assert_eq!(slow.inner.row_count(), 1);
    pipeline.shutdown_blocking(LONG);
}

#[test]
fn each_clone_keeps_its_order_and_no_row_of_any_is_lost_or_doubled() {
    let backend = Arc::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(50)).shared_backend(backend.clone()).open().unwrap();
    let original = pipeline.events();
    std::thread::scope(|scope| {
        for clone in 0..8 {
            let sender = original.clone();
            scope.spawn(move || {
                for text in names(&format!("{clone}:"), 200) {
                    drop(sender.send_blocking(event(&text)).unwrap());
                }
            });
        }
    });
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let rows = backend.kept().rows;
    assert_eq!(rows.len(), 1600);
    for clone in 0..8 {
        let prefix = format!("{clone}:");
        let own: Vec<_> = rows.iter().filter(|row| row.starts_with(&prefix)).cloned().collect();
        assert_eq!(own, names(&prefix, 200));
    }
}

#[test]
fn one_producer_shared_by_threads_loses_and_doubles_nothing() {
    let backend = Arc::new(Recorder::new(2));
    let pipeline = Pipeline::builder().config(config(50)).shared_backend(backend.clone()).open().unwrap();
    let sender = pipeline.captures();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sender = &sender;
            scope.spawn(move || {
                for number in 0..300 {
                    drop(sender.send_blocking(capture(&format!("{thread}:{number}"))).unwrap());
                }
            });
        }
    });
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let mut rows = backend.kept().rows;
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), 1200);
}

#[test]
fn two_pipelines_in_one_process_do_not_mix_even_into_one_backend() {
    let backend = Arc::new(Recorder::new(1));
    let open = || Pipeline::builder().config(config(10)).shared_backend(backend.clone()).open().unwrap();
    let (one, two) = (open(), open());
    for text in names("", 50) {
        drop(one.events().send_blocking(event(&format!("one {text}"))).unwrap());
        drop(two.events().send_blocking(event(&format!("two {text}"))).unwrap());
    }
    assert_eq!(counts(&one).accepted, 50);
    assert!(one.shutdown_blocking(LONG).is_complete());
    drop(two.events().send_blocking(event("two goes on")).unwrap());
    assert!(two.shutdown_blocking(LONG).is_complete());
    assert_eq!(backend.row_count(), 101);
    let closed = backend.kept().closed;
    assert_ne!(closed[0], closed[1]);
}

#[test]
fn a_batch_waits_for_company_no_longer_than_it_may() {
    let (backend, clock) = (Arc::new(Recorder::new(1)), crate::harness::PausedClock::new());
    let mut config = config(1000);
    config.batch.max_wait = Duration::from_millis(50);
    let builder = Pipeline::builder().config(config).shared_backend(backend.clone());
    let pipeline = builder.clock(clock.clone()).open().unwrap();
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    for _ in 0..20 {
        crate::harness::pause();
    }
    clock.advance(Duration::from_millis(49));
    for _ in 0..20 {
        crate::harness::pause();
    }
    assert_eq!(backend.row_count(), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(receipt.wait(), Ok(()));
    drop(pipeline);
}
