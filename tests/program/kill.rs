//! kill -9, again and again, until it ends: every record exactly once, in the order of the file.

use crate::database::{Database, Value};
use crate::place::{Place, wait_for};
use crate::samples;

const RECORDS: u64 = 20_000;

/// Bytes of the database and its log: they grow when something is committed.
fn size(place: &Place) -> u64 {
    let length = |name| place.path(name).metadata().map_or(0, |metadata| metadata.len());
    length("forebay.db") + length("forebay.db-wal")
}

/// What the ledger says was committed equals what is in the tables, at every moment.
fn check_ledger(database: &Database, table: &str) {
    let rows = database.number(&format!("SELECT count(*) FROM {table}"));
    let entries = database.number("SELECT coalesce(sum(rows), 0) FROM ingest_ledger WHERE source LIKE 'file/%'");
    assert_eq!(rows, entries, "rows of {table} and of the ledger");
}

/// Ingests the file and kills the program whenever the database has grown by some 100 KB, until it is done.
fn kill_until_done(place: &Place, file: &str, table: &str) {
    let mut kills = 0;
    loop {
        let before = size(place);
        let mut run = place.start_ingest(&[file, "--batch-size", "200"]);
        // A different moment each time, also before the first commit.
        let enough = before + (kills * 37_123) % 250_000;
        let ended = wait_for("growth or the end", || match run.is_over() {
            Some(_) => Some(true),
            None => (size(place) > enough && kills < 40).then_some(false),
        });
        if ended {
            let outcome = run.finish();
            assert_eq!(outcome.code, 0, "{outcome:?}");
            break;
        }
        let outcome = run.kill();
        assert_eq!(outcome.code, 137, "{outcome:?}");
        kills += 1;
        // Every other time the program itself finds the log of the killed one.
        if kills % 2 == 0 && place.path("forebay.db").metadata().is_ok_and(|file| file.len() > 0) {
            let database = place.database();
            if database.number("SELECT count(*) FROM sqlite_schema WHERE name = 'ingest_ledger'") == 1 {
                check_ledger(&database, table);
            }
        }
    }
    assert!(kills >= 5, "killed only {kills} times: not much of a test");
    let again = place.ingest(&[file]);
    assert_eq!((again.code, again.counts()), (0, (0, RECORDS, 0)));
    check_ledger(&place.database(), table);
}

#[test]
fn every_packet_of_a_capture_lands_once_however_often_it_is_killed() {
    let place = Place::new();
    place.write("a.pcap", samples::pcap(RECORDS));
    kill_until_done(&place, "a.pcap", "captures");
    let rows = place.database().rows("SELECT data, ts FROM captures ORDER BY id");
    assert_eq!(rows.len() as u64, RECORDS);
    for (n, row) in (0..RECORDS).zip(rows) {
        let [Value::Blob(data), Value::Integer(ts)] = row.as_slice() else { panic!("{row:?}") };
        assert_eq!((&data[..8], data.len()), (&n.to_be_bytes()[..], 60));
        assert_eq!(*ts, (1_700_000_000 + n as i64) * 1_000_000_000);
    }
}

#[test]
fn every_line_of_a_log_lands_once_however_often_it_is_killed() {
    let place = Place::new();
    place.write("a.json", samples::lines(0, RECORDS));
    kill_until_done(&place, "a.json", "events");
    let raw = place.database().texts("SELECT raw FROM events ORDER BY id");
    assert!((0..RECORDS).map(samples::line).eq(raw.into_iter().map(|line| line + "\n")));
}

#[test]
fn every_line_of_a_compressed_log_lands_once_however_often_it_is_killed() {
    let place = Place::new();
    // Blank lines and three gzip members, as a rotation that appends would write them.
    let lines: String = (0..RECORDS).map(|n| samples::eve(n) + if n % 7 == 0 { "\r\n\n" } else { "" }).collect();
    let third = lines.len() / 3;
    let members = [&lines[..third], &lines[third..2 * third], &lines[2 * third..]].map(samples::gzip);
    place.write("eve.json.gz", members.concat());
    kill_until_done(&place, "eve.json.gz", "events");
    let raw = place.database().texts("SELECT raw FROM events ORDER BY id");
    assert!((0..RECORDS).map(samples::eve).eq(raw.into_iter().map(|line| line + "\n")));
}

#[test]
fn records_that_are_set_aside_are_set_aside_once_however_often_it_is_killed() {
    let place = Place::new();
    let lines: String = (0..5000).map(|n| samples::line(n) + &format!("no record {n}\n")).collect();
    place.write("a.json", lines);
    for _ in 0..8 {
        let before = size(&place);
        let mut run = place.start_ingest(&["a.json", "--batch-size", "100"]);
        wait_for("a commit or the end", || (size(&place) > before + 60_000 || run.is_over().is_some()).then_some(()));
        run.kill();
    }
    assert_eq!(place.ingest(&["a.json"]).summary()["failed"], 0);
    let database = place.database();
    assert_eq!(database.number("SELECT count(*) FROM events"), 5000);
    let rows = database.texts("SELECT row FROM ingest_rejects ORDER BY position");
    assert!((0..5000).map(|n| format!("{{\"raw\":\"no record {n}\"}}")).eq(rows));
}
