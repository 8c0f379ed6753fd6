//! Standard input, FIFOs, and what they bring: it comes once, so nothing of it may be lost or waited for.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use crate::place::{Outcome, Place, wait_for};
use crate::samples::{self, gzip, line, lines};

fn piped(place: &Place, arguments: &[&str], content: &[u8]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["ingest", "--json", "--sensor", "here"]).args(arguments).stdin(Stdio::piped());
    let mut run = place.start_command(command);
    let mut input = run.child.stdin.take().expect("a pipe");
    // The program may end before it has read everything.
    let _ = input.write_all(content);
    drop(input);
    run.finish()
}

/// Makes a FIFO.
pub fn fifo(place: &Place, name: &str) {
    let status = Command::new("mkfifo").arg(place.path(name)).status().expect("run mkfifo");
    assert!(status.success());
}

/// Opens a FIFO for writing, when somebody reads it.
pub fn open_fifo(place: &Place, name: &str) -> File {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag");
    let open = || OpenOptions::new().write(true).custom_flags(flags).open(place.path(name)).ok();
    wait_for("a reader of the FIFO", open)
}

#[test]
fn what_is_piped_in_lands_plain_or_compressed_whatever_it_is() {
    let place = Place::new();
    let eve: String = (0..100).map(samples::eve).collect();
    for (content, kind, rows) in [
        (lines(0, 5000).into_bytes(), "ndjson", 5000),
        (gzip(lines(0, 5000)), "ndjson", 5000),
        (eve.clone().into_bytes(), "eve", 100),
        (samples::pcap(2000), "pcap", 2000),
        (gzip(samples::pcap(2000)), "pcap", 2000),
    ] {
        let outcome = piped(&place, &["-"], &content);
        assert_eq!((outcome.code, outcome.counts()), (0, (rows, 0, 0)));
        assert_eq!(outcome.summary()["files"][0]["kind"], kind);
    }
    let outcome = piped(&place, &["--format", "ndjson", "-"], eve.as_bytes());
    assert_eq!(outcome.summary()["files"][0]["kind"], "ndjson");
}

#[test]
fn what_is_piped_twice_lands_twice() {
    let place = Place::new();
    assert_eq!(piped(&place, &["-"], line(0).as_bytes()).counts(), (1, 0, 0));
    assert_eq!(piped(&place, &["-"], line(0).as_bytes()).counts(), (1, 0, 0));
    assert_eq!(piped(&place, &["-", "-"], line(0).as_bytes()).counts(), (1, 0, 0), "but it is one input");
}

#[test]
fn an_empty_pipe_is_nothing() {
    let place = Place::new();
    let outcome = piped(&place, &["-"], b"");
    assert_eq!((outcome.code, outcome.counts()), (0, (0, 0, 0)));
}

/// It was left alone, as that of a file is: but a pipe cannot be read again.
#[test]
fn the_half_last_line_of_a_pipe_is_set_aside() {
    let place = Place::new();
    let outcome = piped(&place, &["-"], (line(0) + "{\"half").as_bytes());
    assert_eq!((outcome.code, outcome.counts()), (1, (1, 0, 1)));
    assert_eq!(place.database().texts("SELECT row FROM ingest_rejects"), ["{\"raw\":\"{\\\"half\"}"]);
}

#[test]
fn a_cut_capture_from_a_pipe_gives_its_whole_packets() {
    let place = Place::new();
    let capture = samples::pcap(10);
    let outcome = piped(&place, &["-"], &capture[..capture.len() - 5]);
    assert_eq!((outcome.code, outcome.counts()), (1, (9, 0, 0)));
    assert!(outcome.err.contains("in the middle of the record at byte"), "{outcome:?}");
}

#[test]
fn a_fifo_is_read_to_its_end() {
    let place = Place::new();
    fifo(&place, "events.json");
    let run = place.start_ingest(&["events.json"]);
    let mut writer = open_fifo(&place, "events.json");
    writer.write_all(lines(0, 1000).as_bytes()).unwrap();
    drop(writer);
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.counts()), (0, (1000, 0, 0)));
}

/// They waited for 511 others.
#[test]
fn lines_of_a_slow_pipe_are_stored_when_they_come() {
    let place = Place::new();
    fifo(&place, "events.json");
    let database = place.make_database();
    let run = place.start_ingest(&["events.json"]);
    let mut writer = open_fifo(&place, "events.json");
    for n in 0..3 {
        writer.write_all(line(n).as_bytes()).unwrap();
        wait_for("the line in the database", || {
            (database.number("SELECT count(*) FROM events") == n as i64 + 1).then_some(())
        });
    }
    drop(writer);
    assert_eq!(run.finish().counts(), (3, 0, 0));
}

#[test]
fn a_pipe_that_is_silent_and_a_fifo_without_a_writer_do_not_hold_up_a_stop() {
    let place = Place::new();
    fifo(&place, "silent.json");
    place.write("b.json", lines(0, 3));
    // Nobody has opened it.
    let mut run = place.start_ingest(&["silent.json", "b.json"]);
    wait_for("the database", || place.path("forebay.db-forebay-lock").exists().then_some(()));
    run.signal("TERM");
    run.wait_for_err("once more to stop at once");
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.counts()), (143, (0, 0, 0)));
    assert_eq!(outcome.summary()["files"][1]["note"], "not begun");

    // Its writer has written one line and a half, and keeps it open.
    let mut run = place.start_ingest(&["silent.json", "b.json"]);
    let mut writer = open_fifo(&place, "silent.json");
    writer.write_all((line(0) + "{\"half").as_bytes()).unwrap();
    let database = place.database();
    wait_for("the line in the database", || (database.number("SELECT count(*) FROM events") == 1).then_some(()));
    run.signal("INT");
    run.wait_for_err("once more to stop at once");
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.counts()), (130, (1, 0, 0)));
    assert_eq!(outcome.summary()["files"][0]["state"], "stopped");
}
