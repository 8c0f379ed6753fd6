//! A file lands once, whatever happens to its name; two files are two, however alike.

use std::fs;
use std::os::unix::fs::symlink;

use crate::place::Place;
use crate::samples::{self, gzip, line, lines};

/// The numbers of the lines that are in, in the order in which they came.
fn numbers(place: &Place) -> Vec<i64> {
    let database = place.database();
    let texts = database.texts("SELECT json_extract(raw, '$.n') || '' FROM events ORDER BY id");
    texts.iter().map(|text| text.parse().expect("a number")).collect()
}

#[test]
fn the_same_command_again_adds_nothing_and_says_so() {
    let place = Place::new();
    place.write("a.json", lines(0, 100));
    assert_eq!(place.ingest(&["a.json"]).counts(), (100, 0, 0));
    let again = place.ingest(&["a.json"]);
    assert_eq!((again.code, again.counts()), (0, (0, 100, 0)));
    assert_eq!(again.summary()["files"][0]["state"], "was in");
    let text = place.run(&["ingest", "a.json"]);
    assert!(text.out.contains("nothing new") && text.out.contains("100 records were in already"), "{text:?}");
    assert!(text.out.contains("--again"), "{text:?}");
    assert_eq!(numbers(&place).len(), 100);
}

#[test]
fn again_brings_a_file_in_as_if_it_were_new() {
    let place = Place::new();
    place.write("a.json", lines(0, 10));
    place.ingest(&["a.json"]);
    assert_eq!(place.ingest(&["--again", "a.json"]).counts(), (10, 0, 0));
    assert_eq!(place.ingest(&["a.json"]).counts(), (0, 10, 0), "what it is otherwise known as stays");
}

#[test]
fn a_renamed_file_is_the_same_file() {
    let place = Place::new();
    place.write("a.json", lines(0, 10));
    place.ingest(&["a.json"]);
    fs::rename(place.path("a.json"), place.path("a.json.1")).unwrap();
    place.append("a.json.1", lines(10, 12));
    assert_eq!(place.ingest(&["a.json.1"]).counts(), (2, 10, 0));
}

#[test]
fn of_an_append_only_what_is_new_comes_in() {
    let place = Place::new();
    place.write("a.json", lines(0, 10));
    place.ingest(&["a.json"]);
    for n in 1..6 {
        place.append("a.json", lines(n * 10, n * 10 + 10));
        assert_eq!(place.ingest(&["a.json"]).counts(), (10, n * 10, 0));
    }
    assert_eq!(numbers(&place), (0..60).collect::<Vec<_>>());
}

/// The line was in up to its last byte; its line end, which came later, made it another line: it landed twice.
#[test]
fn a_last_line_without_a_line_end_is_one_record_and_stays_one() {
    for end in ["\n", "\r\n", " \n", "\n\n\n"] {
        let place = Place::new();
        place.write("a.json", lines(0, 3).trim_end());
        assert_eq!(place.ingest(&["a.json"]).counts(), (3, 0, 0));
        place.append("a.json", end);
        assert_eq!(place.ingest(&["a.json"]).counts(), (0, 3, 0), "after {end:?}");
        place.append("a.json", lines(3, 5));
        assert_eq!(place.ingest(&["a.json"]).counts(), (2, 3, 0), "after {end:?}");
        assert_eq!(numbers(&place), [0, 1, 2, 3, 4]);
        let gaps = place.database().number("SELECT count(*) - 1 FROM ingest_ledger WHERE source LIKE 'file/%'");
        assert_eq!(gaps, 0, "the ledger knows of one stretch after {end:?}");
    }
}

#[test]
fn a_half_written_last_line_waits_for_its_other_half() {
    let place = Place::new();
    let next = line(2);
    place.write("a.json", lines(0, 2) + &next[..next.len() / 2]);
    let first = place.ingest(&["a.json"]);
    assert_eq!((first.code, first.counts()), (1, (2, 0, 0)));
    assert_eq!(first.summary()["files"][0]["state"], "incomplete");
    assert!(first.err.contains("a.json") && first.err.contains("line 3"), "{first:?}");
    assert_eq!(place.ingest(&["a.json"]).counts(), (0, 2, 0), "nothing is set aside meanwhile");
    place.append("a.json", &next[next.len() / 2..]);
    let whole = place.ingest(&["a.json"]);
    assert_eq!((whole.code, whole.counts()), (0, (1, 2, 0)));
    assert_eq!(numbers(&place), [0, 1, 2]);
}

#[test]
fn a_truncated_capture_keeps_its_whole_packets_and_gets_the_others_later() {
    let whole = samples::pcap(10);
    // In the middle of a packet, of a record header, and of the file header.
    for cut in [whole.len() - 30, whole.len() - 70, 24 + 5 * 76 + 8, 24, 20] {
        let place = Place::new();
        place.write("a.pcap", &whole[..cut]);
        let packets = (cut.saturating_sub(24) / 76) as u64;
        let first = place.ingest(&["a.pcap"]);
        assert_eq!((first.code, first.counts()), (i32::from(cut != 24), (packets, 0, 0)), "cut at {cut}");
        place.append("a.pcap", &whole[cut..]);
        let second = place.ingest(&["a.pcap"]);
        assert_eq!((second.code, second.counts()), (0, (10 - packets, packets, 0)), "cut at {cut}");
        assert_eq!(place.database().number("SELECT count(DISTINCT data) FROM captures"), 10);
    }
}

#[test]
fn an_append_to_a_compressed_file_is_an_append() {
    let place = Place::new();
    place.write("a.json.gz", gzip(lines(0, 10)));
    place.ingest(&["a.json.gz"]);
    place.append("a.json.gz", gzip(lines(10, 15)));
    assert_eq!(place.ingest(&["a.json.gz"]).counts(), (5, 10, 0));
    assert_eq!(numbers(&place), (0..15).collect::<Vec<_>>());
}

#[test]
fn a_compressed_file_that_is_cut_gives_what_is_there_and_the_rest_later() {
    let place = Place::new();
    let whole = gzip(lines(0, 5000));
    let cut = whole.len() / 2;
    place.write("a.json.gz", &whole[..cut]);
    let first = place.ingest(&["a.json.gz"]);
    let (rows, ..) = first.counts();
    assert!(first.code == 1 && rows > 100 && rows < 5000, "{first:?}");
    assert!(first.err.contains("the gzip data ends in the middle"), "{first:?}");
    place.append("a.json.gz", &whole[cut..]);
    assert_eq!(place.ingest(&["a.json.gz"]).counts(), (5000 - rows, rows, 0));
    assert_eq!(numbers(&place), (0..5000).collect::<Vec<_>>());
}

#[test]
fn two_files_with_the_same_content_are_two_files() {
    let place = Place::new();
    place.write("a.json", lines(0, 10));
    fs::copy(place.path("a.json"), place.path("copy.json")).unwrap();
    fs::create_dir(place.path("elsewhere")).unwrap();
    place.write("elsewhere/a.json", lines(0, 10));
    assert_eq!(place.ingest(&["a.json"]).counts(), (10, 0, 0));
    assert_eq!(place.ingest(&["copy.json", "elsewhere/a.json"]).counts(), (20, 0, 0));
    assert_eq!(place.ingest(&["a.json", "copy.json", "elsewhere/a.json"]).counts(), (0, 30, 0));
}

#[test]
fn a_file_that_was_emptied_and_filled_anew_is_another_file() {
    let place = Place::new();
    let begin = "{\"log\":\"begins\"}\n";
    place.write("a.json", begin.to_owned() + &lines(0, 100));
    assert_eq!(place.ingest(&["a.json"]).counts(), (101, 0, 0));
    // As `copytruncate` does: the same inode.
    place.write("a.json", lines(100, 103));
    assert_eq!(place.ingest(&["a.json"]).counts(), (3, 0, 0));
    place.write("a.json", begin.to_owned() + &lines(200, 210));
    assert_eq!(place.ingest(&["a.json"]).counts(), (11, 0, 0));
}

/// See the same claim in `source::identity`: here through the program and its ledger.
#[test]
fn a_log_that_always_begins_alike_is_another_one_when_it_was_emptied() {
    let place = Place::new();
    let begin = "{\"log\":\"begins\"}\n";
    place.write("a.json", begin);
    place.ingest(&["a.json"]);
    place.append("a.json", lines(0, 100));
    assert_eq!(place.ingest(&["a.json"]).counts(), (100, 1, 0));
    place.write("a.json", begin.to_owned() + &lines(500, 510));
    assert_eq!(place.ingest(&["a.json"]).counts(), (11, 0, 0));
    place.append("a.json", lines(510, 520));
    assert_eq!(place.ingest(&["a.json"]).counts(), (10, 11, 0));
}

/// Whether the inode comes again is the file system's affair; it often does on ext4.
#[test]
fn a_new_file_in_a_deleted_ones_inode_is_another_file() {
    let place = Place::new();
    for n in 1..=5 {
        place.write("a.json", lines(0, 10));
        assert_eq!(place.ingest(&["a.json"]).counts(), (10, 0, 0), "file {n}");
        fs::remove_file(place.path("a.json")).unwrap();
    }
}

#[test]
fn a_file_named_twice_in_one_command_is_read_once() {
    let place = Place::new();
    place.write("a.json", lines(0, 10));
    symlink(place.path("a.json"), place.path("symlink.json")).unwrap();
    fs::hard_link(place.path("a.json"), place.path("hard.json")).unwrap();
    let outcome = place.ingest(&["a.json", "./a.json", "symlink.json", "hard.json", "a.json"]);
    assert_eq!((outcome.code, outcome.counts()), (0, (10, 0, 0)));
    assert_eq!(place.ingest(&["hard.json"]).counts(), (0, 10, 0));
    assert_eq!(place.ingest(&["symlink.json"]).counts(), (0, 10, 0));
    assert_eq!(place.ingest(&["--again", "a.json", "hard.json"]).counts(), (10, 0, 0));
}

#[test]
fn more_files_than_a_process_can_open_can_be_named() {
    let place = Place::new();
    let names: Vec<_> = (0..150).map(|n| format!("{n}.json")).collect();
    for (n, name) in (0..).zip(&names) {
        place.write(name, line(n));
    }
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "ulimit -n 64 && exec \"$0\" ingest --json \"$@\"", env!("CARGO_BIN_EXE_forebay")])
        .args(&names);
    let outcome = place.start_command(command).finish();
    assert_eq!((outcome.code, outcome.counts()), (0, (150, 0, 0)));
    let text = place.run(&[&["ingest", "--again"], &names.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    assert!(text.out.contains("150 files") && text.out.lines().count() < 30, "{}", text.out);
}

/// The bytes of a capture that was read as lines were set aside under positions that the right reading took for packets:
/// it found everything in already.
#[test]
fn a_capture_that_is_named_as_a_log_is_refused_and_can_be_read_rightly_after() {
    let place = Place::new();
    place.write("a.pcap", samples::pcap(10));
    let wrong = place.ingest(&["--format", "eve", "a.pcap"]);
    assert_eq!((wrong.code, wrong.counts()), (1, (0, 0, 0)));
    assert!(wrong.err.contains("is a capture"), "{wrong:?}");
    assert_eq!(place.ingest(&["a.pcap"]).counts(), (10, 0, 0));
    place.write("a.json", lines(0, 3));
    let wrong = place.ingest(&["--format", "pcap", "a.json"]);
    assert!(wrong.code == 1 && wrong.err.contains("not a pcap or pcapng file"), "{wrong:?}");
    assert_eq!(place.ingest(&["a.json"]).counts(), (3, 0, 0));
}
