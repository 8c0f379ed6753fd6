//! Signals, locks and outages: what was read is written, or the program says that it is not.

use crate::database::Database;
use crate::place::{Place, Running, wait_for};
use crate::samples::{self, lines};

const RECORDS: u64 = 5000;
/// So little room that the reader soon waits for the database.
const NARROW: &[&str] = &["--batch-size", "100", "--batch-bytes", "16KiB", "--buffer", "64KiB"];

/// A place with a database, and a log of more than a narrow pipeline holds.
fn place() -> (Place, Database) {
    let place = Place::new();
    place.write("a.json", lines(0, RECORDS));
    let database = place.make_database();
    (place, database)
}

/// Starts an ingest of `a.json` and waits until it has the database: from then on it can be stopped.
fn start(place: &Place, arguments: &[&str]) -> Running {
    let run = place.start_ingest(&[&["a.json"], arguments].concat());
    let pid = run.pid().to_string();
    wait_for("the writer's lock", || {
        (std::fs::read_to_string(place.path("forebay.db-forebay-lock")).ok()? == pid).then_some(())
    });
    run
}

fn every_line_is_in_once(place: &Place) {
    let raw = place.database().texts("SELECT raw FROM events ORDER BY id");
    assert!((0..RECORDS).map(samples::line).eq(raw.into_iter().map(|line| line + "\n")));
}

#[test]
fn the_first_signal_drains_and_the_same_command_goes_on() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (place, database) = place();
        let lock = database.lock();
        let mut run = start(&place, NARROW);
        run.signal(signal);
        run.wait_for_err("once more to stop at once");
        drop(lock);
        let outcome = run.finish();
        let (rows, ..) = outcome.counts();
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(rows < RECORDS, "it stopped before the end");
        assert_eq!(outcome.summary()["interrupted"], true);
        assert_eq!(database.number("SELECT count(*) FROM events") as u64, rows, "what it counts is in");
        assert_eq!(place.ingest(&["a.json"]).counts(), (RECORDS - rows, rows, 0));
        every_line_is_in_once(&place);
    }
}

#[test]
fn a_second_signal_stops_at_once_and_the_same_command_goes_on() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (place, database) = place();
        let lock = database.lock();
        let mut run = start(&place, NARROW);
        run.signal(signal);
        run.wait_for_err("once more to stop at once");
        run.signal(signal);
        // The lock is still held, so it cannot have drained.
        let outcome = run.finish();
        assert_eq!((outcome.code, outcome.out.as_str()), (code, ""));
        drop(lock);
        assert_eq!(place.ingest(&["a.json"]).counts(), (RECORDS, 0, 0));
        every_line_is_in_once(&place);
    }
}

#[test]
fn a_signal_in_full_flight_loses_and_doubles_nothing() {
    let (place, database) = place();
    place.write("a.json", lines(0, 20_000));
    let mut run = start(&place, &["--batch-size", "100"]);
    wait_for("some rows", || (database.number("SELECT count(*) FROM events") > 1000).then_some(()));
    run.signal("INT");
    wait_for("the end", || run.is_over());
    let outcome = run.finish();
    let (rows, ..) = outcome.counts();
    assert_eq!(outcome.code, 130, "{outcome:?}");
    assert_eq!(place.ingest(&["a.json"]).counts(), (20_000 - rows, rows, 0));
    assert_eq!(database.number("SELECT count(DISTINCT raw) FROM events"), 20_000);
    assert_eq!(database.number("SELECT count(*) FROM events"), 20_000);
}

/// The handlers of the program took the place of nohup's.
#[test]
fn signals_that_are_ignored_stay_ignored() {
    let (place, database) = place();
    let lock = database.lock();
    let mut command = std::process::Command::new("sh");
    let script = "trap '' HUP; exec \"$0\" ingest --json a.json";
    command.args(["-c", script, env!("CARGO_BIN_EXE_forebay")]);
    let run = place.start_command(command);
    let pid = run.pid().to_string();
    let path = place.path("forebay.db-forebay-lock");
    wait_for("the writer's lock", || (std::fs::read_to_string(&path).ok()? == pid).then_some(()));
    run.signal("HUP");
    drop(lock);
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.counts()), (0, (RECORDS, 0, 0)), "{outcome:?}");
    assert_eq!(outcome.err, "");
}

#[test]
fn a_locked_database_is_waited_for() {
    let (place, database) = place();
    place.write("patient.toml", "[sqlite]\nbusy_timeout = '20ms'\n[retry]\nmax = '50ms'");
    let lock = database.lock();
    let mut run = start(&place, &["--config", "patient.toml"]);
    run.wait_for_err("cannot write; rows wait until it works again");
    drop(lock);
    let outcome = run.finish();
    assert_eq!((outcome.code, outcome.counts()), (0, (RECORDS, 0, 0)));
    every_line_is_in_once(&place);
}

/// The limit was looked at only while there was something to read, and only between attempts.
#[test]
fn give_up_after_ends_a_wait_with_code_3_and_the_same_command_goes_on() {
    for narrow in [NARROW, &[]] {
        let (place, database) = place();
        let lock = database.lock();
        let run = start(&place, &[narrow, &["--give-up-after", "300ms"]].concat());
        let outcome = run.finish();
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.err.contains("gave up after"), "{outcome:?}");
        assert!(outcome.summary()["failed"].as_u64() > Some(0), "{outcome:?}");
        drop(lock);
        assert_eq!(place.ingest(&["a.json"]).counts(), (RECORDS, 0, 0));
        every_line_is_in_once(&place);
    }
}

#[test]
fn a_second_ingest_on_the_same_database_is_refused_and_told_by_whom() {
    let (place, database) = place();
    let lock = database.lock();
    let first = start(&place, &[]);
    let second = place.ingest(&["a.json"]);
    assert_eq!((second.code, second.out.as_str()), (3, ""));
    assert!(second.err.contains(&format!("is being written by process {}", first.pid())), "{second:?}");
    drop(lock);
    assert_eq!(first.finish().counts(), (RECORDS, 0, 0));
    assert_eq!(place.ingest(&["a.json"]).counts(), (0, RECORDS, 0));
}

#[test]
fn what_is_no_database_of_ours_is_refused_untouched() {
    let place = Place::new();
    place.write("a.json", lines(0, 3));
    place.write("notes.txt", "not a database, and longer than the header of one would be: ".repeat(20));
    let before = std::fs::read(place.path("notes.txt")).unwrap();
    let outcome = place.ingest(&["--db", "sqlite:notes.txt", "a.json"]);
    assert!(outcome.code == 3 && outcome.err.contains("is no SQLite database"), "{outcome:?}");
    assert_eq!(std::fs::read(place.path("notes.txt")).unwrap(), before);
    let outcome = place.ingest(&["--db", "sqlite:nowhere/a.db", "a.json"]);
    assert!(outcome.code == 3 && outcome.err.contains("nowhere is not there; create it first"), "{outcome:?}");
}
