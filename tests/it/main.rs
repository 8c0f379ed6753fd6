//! Smoke.
use forebay::{Capture, Event, Pipeline};
use std::time::Duration;

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/a.db", dir.path().display());
    let pipeline = Pipeline::open(&url).unwrap();
    let events = pipeline.events();
    let captures = pipeline.captures();
    for i in 0..1000 {
        let _ = events.send_blocking(Event::builder("s", "ssh", "x").msg(&i.to_string()).build().unwrap()).unwrap();
        let _ = captures.send_blocking(Capture::builder("s", "packet").data(vec![1; i]).build().unwrap()).unwrap();
    }
    let receipt = events.send_blocking(Event::builder("s", "ssh", "x").build().unwrap()).unwrap();
    assert_eq!(receipt.wait(), Ok(()));
    pipeline.flush().wait().unwrap();
    println!("{:#?}", pipeline.status());
    let second = Pipeline::open(&url);
    println!("{}", second.err().unwrap());
    let summary = pipeline.shutdown_blocking(Duration::from_secs(5));
    println!("{summary:#?}");
    assert!(summary.is_complete());
    for e in std::fs::read_dir(dir.path()).unwrap() {
        println!("{:?}", e.unwrap().path());
    }
}
