//! One claim for each thing that happens to a log.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use forebay::config::Bytes;
use forebay::source::tail::Start;

use super::{Log, PATIENCE, Place, settings};
use crate::harness::eventually_within;

fn add(path: &Path, text: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text).unwrap();
}

#[test]
fn lines_come_in_as_they_are_written_and_the_meter_tells() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    let tail = place.follow();
    for _ in 0..20 {
        log.lines(3);
        place.has(&log.written);
    }
    // Rows are counted once they are sent: a moment after they may be committed.
    eventually_within(PATIENCE, "the count of all rows, and nothing left", || {
        let status = tail.meter.status();
        (status.rows, status.lag_bytes) == (60, Some(0))
    });
    let status = tail.meter.status();
    assert_eq!((status.malformed, status.state.word()), (0, "running"));
    assert!(status.latest.is_some());
    tail.end();
    assert_eq!(place.lines(), log.written, "in order");
}

#[test]
fn a_line_without_its_end_is_waited_for_also_over_a_restart() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    log.lines(2);
    log.half();
    let tail = place.follow();
    place.has(&log.written);
    tail.end();
    let tail = place.follow();
    eventually_within(PATIENCE, "half a line is there", || tail.meter.status().lag_bytes.is_some_and(|lag| lag > 0));
    log.other_half();
    place.has(&log.written);
    assert_eq!(tail.meter.status().malformed, 0);
    tail.end();
}

#[test]
fn after_a_restart_it_goes_on_where_it_was_and_ingest_knows_what_it_has_brought_in() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    for _ in 0..4 {
        let tail = place.follow();
        log.lines(50);
        place.has(&log.written);
        tail.end();
        log.lines(7);
    }
    use forebay::source::file::{FileOptions, Observer, OnMalformed, Repeat, SourceFile};
    struct Nobody;
    impl Observer for Nobody {}
    let options = FileOptions {
        kind: None,
        sensor: None,
        host: "here".into(),
        on_malformed: OnMalformed::SetAside,
        repeat: Repeat::Never,
        max_row_bytes: super::MAX_ROW,
    };
    let pipeline = place.database.open();
    let file = SourceFile::open(&place.path("x.log")).unwrap();
    let report = file.ingest(&pipeline, &options, &mut Nobody).unwrap();
    assert_eq!((report.rows, report.known), (7, 221));
    assert!(pipeline.shutdown_blocking(PATIENCE).is_complete());
    let tail = place.follow();
    log.lines(1);
    place.has(&log.written);
    tail.end();
}

#[test]
fn a_renamed_file_is_read_to_its_end_and_its_late_lines_come_too() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    let tail = place.follow();
    for _ in 0..5 {
        log.lines(10);
        log.rename();
        log.lines(10);
        log.reopen();
        log.lines(10);
    }
    place.has(&log.written);
    tail.end();
}

#[test]
fn a_file_whose_new_name_no_pattern_matches_is_read_while_its_writer_still_has_it() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    let tail = place.follow_with(&settings(&[&place.path("x.log")]));
    log.lines(10);
    place.has(&log.written);
    log.rename();
    log.lines(10);
    place.has(&log.written);
    log.reopen();
    log.lines(10);
    place.has(&log.written);
    tail.end();
}

#[test]
fn what_is_written_to_a_deleted_file_comes_in() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    let tail = place.follow();
    log.lines(10);
    place.has(&log.written);
    fs::remove_file(place.path("x.log")).unwrap();
    log.lines(10);
    place.has(&log.written);
    log.reopen();
    log.lines(10);
    place.has(&log.written);
    tail.end();
}

#[test]
fn a_file_that_is_emptied_begins_anew_and_its_copy_lands_only_with_what_was_not_read() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    let tail = place.follow();
    for _ in 0..10 {
        log.lines(30);
        log.copytruncate();
        log.lines(10);
    }
    place.has(&log.written);
    tail.end();
    let tail = place.follow();
    log.lines(1);
    place.has(&log.written);
    tail.end();
}

/// The copy is all that is left of the lines that came last.
#[test]
fn a_file_that_was_emptied_while_nobody_ran_is_brought_in_from_its_copy() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    log.lines(20);
    let tail = place.follow();
    place.has(&log.written);
    tail.end();
    log.lines(30);
    log.copytruncate();
    log.lines(60);
    log.compress(1);
    let tail = place.follow();
    place.has(&log.written);
    tail.end();
}

#[test]
fn a_file_that_is_compressed_after_rotation_does_not_land_again() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    let mut tail = place.follow();
    for round in 0..6 {
        log.lines(30);
        log.rename();
        log.reopen();
        log.lines(5);
        log.compress(if round % 2 == 0 { 1 } else { 2 });
        if round % 3 == 2 {
            place.has(&log.written);
            tail.end();
            tail = place.follow();
        }
    }
    place.has(&log.written);
    tail.end();
    // Nothing is remembered but what the ledger has.
    let tail = place.follow();
    log.lines(1);
    place.has(&log.written);
    tail.end();
}

#[test]
fn a_file_that_was_rotated_and_compressed_while_nobody_ran_has_every_line_once() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    log.lines(40);
    let tail = place.follow();
    place.has(&log.written);
    tail.end();
    log.lines(40);
    log.rename();
    log.reopen();
    log.lines(40);
    log.compress(1);
    log.rename();
    log.reopen();
    log.compress(1);
    let tail = place.follow();
    place.has(&log.written);
    tail.end();
}

/// Both logs begin with the same line, so that this line tells nothing: better twice than not at all.
#[test]
fn logs_that_always_begin_alike_are_not_taken_for_each_other() {
    let place = Place::new();
    let begin = b"{\"log\":\"begins\"}\n";
    let tail = place.follow();
    let mut written = Vec::new();
    let mut line = |path: &Path, number: u64| {
        let line = format!(r#"{{"n":{number}}}"#);
        add(path, format!("{line}\n").as_bytes());
        written.push(line);
        written.clone()
    };
    let path = place.path("x.log");
    for round in 0..5u64 {
        add(&path, begin);
        let begun = || place.database.number("SELECT count(*) FROM events WHERE raw LIKE '%begins%'") as u64;
        eventually_within(PATIENCE, "it is named by its first line alone", || begun() == round + 1);
        line(&path, round * 2);
        let written = line(&path, round * 2 + 1);
        let others = || place.database.texts("SELECT raw FROM events WHERE raw NOT LIKE '%begins%'");
        eventually_within(PATIENCE, "the lines are in", || others().len() == written.len());
        super::same(others(), &written);
        let rotated = Log::new(path.clone());
        rotated.shift();
        fs::rename(&path, rotated.numbered(1)).unwrap();
        rotated.compress(1);
    }
    tail.end();
}

#[test]
fn files_and_directories_that_come_later_are_found_and_missing_ones_are_named() {
    let place = Place::new();
    let (pattern, single) = (place.path("hosts/*/eve.json"), place.path("later.json"));
    let tail = place.follow_with(&settings(&[&pattern, &single]));
    tail.waits_for("later.json is not there yet");
    let mut written = Vec::new();
    for host in 0..3 {
        let directory = place.path(&format!("hosts/{host}"));
        fs::create_dir_all(&directory).unwrap();
        let mut log = Log::new(directory.join("eve.json"));
        log.lines(5 + host);
        written.extend(log.written);
        place.has(&written);
    }
    let mut log = Log::new(single);
    log.lines(3);
    written.extend(log.written);
    place.has(&written);
    tail.runs();
    tail.end();
}

#[test]
fn a_file_that_cannot_be_read_or_is_no_log_is_named_and_the_others_come_in() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    fs::write(place.path("x.log.odd"), "what is this\nand this\nand that\n").unwrap();
    fs::create_dir(place.path("x.log.d")).unwrap();
    let tail = place.follow();
    tail.waits_for("x.log.odd: its first lines are of no known format");
    log.lines(5);
    place.has(&log.written);
    fs::remove_file(place.path("x.log.odd")).unwrap();
    tail.runs();
    let knot = place.path("x.log.knot");
    std::os::unix::fs::symlink(&knot, &knot).unwrap();
    tail.waits_for("x.log.knot: ");
    fs::remove_file(&knot).unwrap();
    let mut other = Log::new(knot);
    other.lines(3);
    log.written.extend(other.written);
    place.has(&log.written);
    tail.runs();
    tail.end();
}

#[test]
fn lines_that_are_too_long_are_set_aside_with_their_first_bytes_and_their_neighbours_come_in() {
    let place = Place::new();
    let path = place.path("x.log");
    let mut settings = place.settings();
    settings.max_line = Bytes(4096);
    let tail = place.follow_with(&settings);
    let short = |n: u64| format!(r#"{{"n":{n}}}"#);
    let mut written = Vec::new();
    for (n, length) in (0..).zip([4090, 5000, 300_000, 3_000_000]) {
        written.extend([short(2 * n), short(2 * n + 1)]);
        let long = format!(r#"{{"text":"{}"}}"#, "y".repeat(length - 11));
        assert_eq!(long.len(), length);
        if length <= 4096 {
            written.push(long.clone());
        }
        add(&path, format!("{}\n", short(2 * n)).as_bytes());
        // In pieces, so that it is seen without its end.
        for piece in format!("{long}\n").as_bytes().chunks(100_000) {
            add(&path, piece);
            eventually_within(PATIENCE, "a look", || tail.meter.status().lag_bytes.is_some());
        }
        add(&path, format!("{}\n", short(2 * n + 1)).as_bytes());
        place.has(&written);
    }
    tail.end();
    let rejects =
        "SELECT reason || ' ' || json_extract(row, '$.raw') || ' ' || detail FROM ingest_rejects ORDER BY position";
    let rejects = place.database.texts(rejects);
    assert_eq!(rejects.len(), 3, "{}", rejects.len());
    assert!(
        rejects.iter().all(|text| text.starts_with(r#"too_large {"text":"yyy"#) && text.contains("more than max_line"))
    );
    let tail = place.follow_with(&settings);
    add(&path, b"{\"n\":99}\n");
    written.push(short(99));
    place.has(&written);
    tail.end();
    assert_eq!(place.database.number("SELECT count(*) FROM ingest_rejects"), 3);
}

#[test]
fn beginning_at_the_end_leaves_out_what_was_there_and_nothing_that_comes() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    log.lines(10);
    log.half();
    log.written.clear();
    let mut old = Log::new(place.path("x.log.7"));
    old.lines(5);
    fs::rename(place.path("x.log.7"), place.path("x.log.7.0")).unwrap();
    old.compress(0);
    let mut settings = place.settings();
    settings.start = Start::End;
    let tail = place.follow_with(&settings);
    eventually_within(PATIENCE, "it looks", || tail.meter.status().lag_bytes.is_some());
    log.lines(3);
    place.has(&log.written);
    log.rename();
    log.reopen();
    log.lines(4);
    place.has(&log.written);
    tail.end();
    log.lines(5);
    let tail = place.follow_with(&settings);
    place.has(&log.written);
    tail.end();
}

/// What the header lines say was not known after a restart, in a compressed file, and when it began at the end.
#[test]
fn header_lines_hold_for_later_lines_also_after_a_restart_and_in_a_compressed_file() {
    let place = Place::new();
    let header = |field: &str| {
        format!("#separator \\x09\n#path\tconn\n#fields\tts\tuid\t{field}\n#types\ttime\tstring\tcount\n")
    };
    let path = place.path("x.log");
    let mut written = Vec::new();
    let mut lines = |count: u64| {
        for _ in 0..count {
            let n = written.len();
            let line = format!("1521911721.{n:06}\tC{n}\t{n}");
            add(&path, format!("{line}\n").as_bytes());
            written.push(line);
        }
        written.clone()
    };
    for round in 0..3 {
        add(&path, header("a").as_bytes());
        lines(5);
        add(&path, header("b").as_bytes());
        let written = lines(5);
        let mut settings = place.settings();
        let tail = place.follow_with(&settings);
        place.has(&written);
        tail.end();
        lines(5);
        settings.start = Start::End;
        let tail = place.follow_with(&settings);
        place.has(&lines(2));
        if round > 0 {
            let rotated = Log::new(path.clone());
            rotated.shift();
            fs::rename(&path, rotated.numbered(1)).unwrap();
            rotated.compress(1);
        }
        tail.end();
    }
    let rows = "SELECT count(*) FROM events WHERE json_extract(fields, '$.b') IS NOT NULL";
    assert_eq!(place.database.number("SELECT count(*) FROM ingest_rejects"), 0);
    assert_eq!(place.database.number(rows), 3 * 12);
    let tail = place.follow();
    add(&path, header("a").as_bytes());
    place.has(&lines(3));
    tail.end();
}

#[test]
fn hundreds_of_files_are_followed_with_few_of_them_open() {
    let place = Place::new();
    let mut logs: Vec<_> = (0..300).map(|n| Log::new(place.path(&format!("x.log.of-{n:03}a")))).collect();
    let mut settings = place.settings();
    settings.max_open = 4;
    let directory = place.path("").canonicalize().unwrap();
    let open = move || {
        let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        links.filter(|path| path.starts_with(&directory)).count()
    };
    logs.iter_mut().for_each(|log| log.lines(2));
    let writers = open();
    let tail = place.follow_with(&settings);
    for _ in 0..3 {
        let written: Vec<_> = logs.iter().flat_map(|log| log.written.clone()).collect();
        let count = || place.database.number("SELECT count(*) FROM events") as usize;
        eventually_within(PATIENCE, "all files are read", || {
            assert!(open() <= writers + 5, "{} are open", open() - writers);
            count() >= written.len()
        });
        super::same(place.lines(), &written);
        logs.iter_mut().for_each(|log| log.lines(1));
    }
    tail.end();
}
