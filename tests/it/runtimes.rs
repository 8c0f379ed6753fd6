//! A pipeline works in any async runtime and in none.

use std::sync::Arc;
use std::time::Duration;

use forebay::Pipeline;

use crate::harness::{Flaky, Recorder, config, event, events};

const LONG: Duration = Duration::from_secs(20);

/// Sends enough that `send` must wait for room, awaits a receipt and a flush, and shuts down.
async fn use_it() {
    let backend = Arc::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(2)).shared_backend(backend.clone()).open().unwrap();
    let sender = pipeline.events();
    let mut receipts = Vec::new();
    for number in 0..50 {
        receipts.push(sender.send(event(&number.to_string())).await.unwrap());
    }
    let many = sender.send_many(events((50..100).map(|n| n.to_string()))).await.unwrap();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    many.await.unwrap();
    pipeline.flush().await.unwrap();
    assert!(pipeline.shutdown(LONG).await.is_complete());
    assert_eq!(backend.kept().rows, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn without_a_runtime_on_plain_threads() {
    let backend = Arc::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(2)).shared_backend(backend.clone()).open().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let sender = pipeline.events();
            std::thread::spawn(move || {
                (0..100).for_each(|_| sender.send_blocking(event("x")).unwrap().wait().unwrap());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(backend.row_count(), 400);
}

#[tokio::test]
async fn in_a_tokio_runtime_with_one_thread() {
    use_it().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_tokio_runtime_with_several_threads() {
    tokio::join!(use_it(), use_it());
}

#[test]
fn in_an_executor_that_is_not_tokio() {
    pollster::block_on(use_it());
}

#[test]
fn a_receipt_and_a_producer_may_move_from_one_runtime_to_another() {
    let pipeline = Pipeline::builder().backend(Recorder::new(1)).open().unwrap();
    let sender = pipeline.events();
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let receipt = runtime().block_on(sender.send(event("a"))).unwrap();
    assert_eq!(runtime().block_on(receipt), Ok(()));
    assert_eq!(pollster::block_on(pollster::block_on(sender.send(event("b"))).unwrap()), Ok(()));
    assert!(runtime().block_on(pipeline.shutdown(LONG)).is_complete());
}

#[tokio::test]
async fn a_host_runtime_that_is_starved_does_not_stall_the_writer() {
    let backend = Flaky::new(Recorder::new(1));
    let pipeline = Pipeline::builder().config(config(10)).shared_backend(backend.clone()).open().unwrap();
    drop(pipeline.events().send(event("a")).await.unwrap());
    // This blocks the runtime's only thread.
    crate::harness::eventually("it is written all the same", || backend.inner.row_count() == 1);
    assert!(pipeline.shutdown(LONG).await.is_complete());
}
