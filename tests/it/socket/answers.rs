//! What an answer promises.

use std::io::Write;

use forebay::pipeline::LaneState;

use super::{Station, acked, hello, record, soon, texts};
use crate::harness::{counts, state};

const CAPTURE: &str = r#"{"forebay":"capture","kind":"payload","data":"AP8="}"#;

fn start() -> Station {
    Station::start("unix:@/in.sock", "")
}

/// Waits until the lane has tried to write in vain.
fn wait_for_outage(station: &Station) {
    soon("it tries in vain", || matches!(state(&station.pipeline), LaneState::Retrying { .. }));
}

#[test]
fn an_answer_comes_only_after_the_commit() {
    let station = start();
    let mut peer = station.peer();
    assert_eq!(peer.hello("a", Some(1)), r#"{"ack":0,"next":1}"#);
    let other = station.database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    peer.send(1..=3);
    wait_for_outage(&station);
    soon("all three are read", || station.meter.status().rows == 3);
    assert!(peer.is_silent(), "nothing is committed");
    other.execute_batch("COMMIT").unwrap();
    peer.wait_for_ack(3);
    assert_eq!(station.messages(), texts(1..=3));
    station.end();
}

#[test]
fn records_that_are_sent_again_land_once() {
    let station = start();
    let mut peer = station.peer();
    peer.hello("a", Some(1));
    peer.send(1..=10);
    peer.wait_for_ack(10);
    // It lost the last answers, and begins with what it still has.
    let mut again = station.peer();
    assert_eq!(again.hello("a", Some(6)), r#"{"ack":10,"next":6}"#);
    again.send(6..=15);
    again.wait_for_ack(15);
    assert_eq!(station.messages(), texts(1..=15));
    assert_eq!(station.meter.status().skipped, 5);
    // Another peer has numbers of its own.
    let mut other = station.peer();
    assert_eq!(other.hello("b", Some(1)), r#"{"ack":0,"next":1}"#);
    other.send(16..=17);
    other.wait_for_ack(2);
    assert_eq!(station.messages(), texts(1..=17));
    station.end();
}

#[test]
fn numbers_go_on_where_they_ended_also_over_a_restart() {
    let station = start();
    let mut peer = station.peer();
    assert_eq!(peer.hello("a", None), r#"{"ack":0,"next":1}"#);
    peer.send(1..=4);
    peer.wait_for_ack(4);
    drop(peer);
    let station = Station::over(station.end(), "unix:@/in.sock", "");
    let mut peer = station.peer();
    assert_eq!(peer.hello("a", None), r#"{"ack":4,"next":5}"#);
    peer.send(5..=6);
    peer.wait_for_ack(6);
    assert_eq!(station.messages(), texts(1..=6));
    station.end();
}

#[test]
fn events_captures_and_bad_records_share_the_numbers_and_each_lands_once() {
    let station = start();
    let say = |first: u64, records: std::ops::Range<u64>| {
        let mut peer = station.peer();
        peer.hello("a", Some(first));
        let last = records.end - 1;
        for number in records {
            match number % 3 {
                0 => peer.say(&record(number)),
                1 => peer.say(CAPTURE),
                _ => peer.say("nonsense"),
            }
        }
        peer.wait_for_ack(last);
    };
    say(1, 1..20);
    say(5, 5..31);
    let number = |table: &str| station.database.number(&format!("SELECT count(*) FROM {table}"));
    assert_eq!([number("events"), number("captures"), number("ingest_rejects")], [10; 3]);
    station.end();
}

#[test]
fn a_record_that_is_set_aside_is_answered_and_the_answer_says_so() {
    let station = Station::start("unix:@/in.sock", r#","limits":{"record":"1 KiB"}"#);
    let mut peer = station.peer();
    peer.hello("a", Some(1));
    let other = station.database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // An empty line is nothing, and has no number.
    let lines = format!("nonsense\n\n{}\n{}\n{}\n", "x".repeat(9000), record(3), hello("b", None));
    peer.stream.write_all(lines.as_bytes()).unwrap();
    soon("all are read", || station.meter.status().rows == 4);
    other.execute_batch("COMMIT").unwrap();
    let mut rejected = 0;
    loop {
        let answer = peer.answer().unwrap();
        let json: serde_json::Value = serde_json::from_str(&answer).unwrap();
        rejected += json["rejected"].as_u64().unwrap_or(0);
        if acked(&answer) == 4 {
            break;
        }
    }
    assert_eq!((rejected, station.messages()), (3, texts([3])));
    let reasons = station.database.texts("SELECT reason FROM ingest_rejects ORDER BY rowid");
    assert_eq!(reasons, ["bad_json", "too_large", "bad_message"]);
    station.end();
}

#[test]
fn during_an_outage_a_peer_that_comes_back_takes_over_and_others_go_on() {
    let station = start();
    let mut first = station.peer();
    first.hello("a", Some(1));
    let lock = station.database.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    first.send(1..=5);
    wait_for_outage(&station);
    soon("all are read", || station.meter.status().rows == 5);
    // It has not noticed that its first connection stands, nor its second.
    let mut second = station.peer();
    second.say(&hello("a", Some(1)));
    assert_eq!(first.answer().as_deref(), Some(r#"{"error":"another connection of this peer has taken over"}"#));
    assert_eq!(first.answer(), None);
    let mut third = station.peer();
    third.say(&hello("a", Some(1)));
    third.send(1..=7);
    assert_eq!(second.answer().as_deref(), Some(r#"{"error":"another connection of this peer has taken over"}"#));
    // Who asks for no answers is read all the while.
    station.peer().send(100..101);
    soon("its row is taken", || counts(&station.pipeline).accepted == 6);
    assert!(third.is_silent(), "nobody can know yet what is committed");
    lock.execute_batch("COMMIT").unwrap();
    assert_eq!(third.answer().as_deref(), Some(r#"{"ack":5,"next":1}"#));
    third.wait_for_ack(7);
    let mut rows = station.messages();
    rows.sort_by_key(|row| row.parse::<u64>().unwrap());
    assert_eq!(rows, texts((1..=7).chain([100])));
    station.end();
}

#[test]
fn a_peer_that_ends_its_sending_gets_all_its_answers() {
    let station = start();
    let mut peer = station.peer();
    peer.say(&hello("a", Some(1)));
    peer.send(1..=2000);
    // Half a record is none: it has no number, and will come again.
    peer.stream.write_all(br#"{"msg":"half"#).unwrap();
    super::Stream::end_writing(&peer.stream);
    let mut last = 0;
    while let Some(answer) = peer.answer() {
        last = acked(&answer);
    }
    assert_eq!(last, 2000);
    assert_eq!(station.messages(), texts(1..=2000));
    let database = station.end();
    assert_eq!(database.number("SELECT count(*) FROM ingest_rejects"), 0);
}

#[test]
fn answers_are_framed_as_records_are() {
    use std::io::Read;
    let station = Station::start("unix:@/in.sock", r#","framing":"length""#);
    let mut peer = station.peer();
    let framed = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    peer.stream.write_all(&[framed(&hello("a", Some(7))), framed(&record(1))].concat()).unwrap();
    let mut next = || {
        let mut length = [0; 4];
        peer.stream.read_exact(&mut length).unwrap();
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        peer.stream.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    assert_eq!((next().as_str(), next().as_str()), (r#"{"ack":6,"next":7}"#, r#"{"ack":7}"#));
    station.end();
}

#[test]
fn a_source_that_is_started_again_while_rows_are_on_their_way_lands_them_once() {
    let station = start();
    let mut peer = station.peer();
    peer.hello("a", Some(1));
    let lock = station.database.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    peer.send(1..=5);
    soon("all are read", || station.meter.status().rows == 5);
    // The first source ends while the rows of its peer are on their way; the peer goes to a second one of the same name.
    let settings = format!(r#"{{"listen":"unix:{}/second.sock"}}"#, station.database.directory().display());
    let settings = serde_json::from_str(&settings).unwrap();
    let mut second = forebay::source::socket::Socket::new("in", &settings, "here", super::ROOM).unwrap();
    second.bind().unwrap();
    let path = station.database.directory().join("second.sock");
    station.stop.stop();
    let stop = forebay::source::Stop::new();
    std::thread::scope(|scope| {
        use forebay::source::Source;
        let running = scope.spawn(|| second.run(&station.pipeline, &stop));
        let mut again = super::Peer::new(std::os::unix::net::UnixStream::connect(&path).unwrap());
        again.say(&hello("a", Some(1)));
        again.send(1..=8);
        assert!(again.is_silent(), "the first one's rows are not settled");
        lock.execute_batch("COMMIT").unwrap();
        assert_eq!(again.answer().as_deref(), Some(r#"{"ack":5,"next":1}"#));
        again.wait_for_ack(8);
        stop.stop();
        running.join().unwrap().unwrap();
    });
    assert_eq!(station.messages(), texts(1..=8));
    station.end();
}
