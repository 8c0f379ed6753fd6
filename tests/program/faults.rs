//! Records that cannot be stored, and bytes that attackers choose.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::database::Value;
use crate::place::Place;
use crate::samples::{self, line, lines, packet};

fn rejects(place: &Place) -> Vec<(String, Json)> {
    let rows = place.database().rows("SELECT reason, row FROM ingest_rejects ORDER BY id");
    let pair = |row: Vec<Value>| match <[Value; 2]>::try_from(row) {
        Ok([Value::Text(reason), Value::Text(row)]) => (reason, serde_json::from_str(&row).expect("JSON")),
        other => panic!("{other:?}"),
    };
    rows.into_iter().map(pair).collect()
}

#[test]
fn a_malformed_line_is_told_with_its_place_set_aside_and_passed_over() {
    let place = Place::new();
    place.write("a.json", format!("{}not json\n{}[1,2]\n{}", line(0), line(1), line(2)));
    let outcome = place.ingest(&["a.json"]);
    assert_eq!((outcome.code, outcome.counts()), (1, (3, 0, 2)));
    assert!(outcome.err.contains("a.json: line 2: bad_json: "), "{outcome:?}");
    assert!(outcome.err.contains("a.json: line 4: not_an_object: "), "{outcome:?}");
    assert_eq!(outcome.err.lines().count(), 2, "{outcome:?}");
    let expected = [("bad_json", "not json"), ("not_an_object", "[1,2]")];
    let expected = expected.map(|(reason, raw)| (reason.to_owned(), serde_json::json!({ "raw": raw })));
    assert_eq!(rejects(&place), expected);
    let again = place.ingest(&["a.json"]);
    assert_eq!((again.code, again.counts()), (0, (0, 5, 0)), "what is set aside is in, too");
}

#[test]
fn of_many_faults_of_one_kind_ten_are_told_and_the_others_counted() {
    let place = Place::new();
    place.write("a.json", lines(0, 20) + &"x\n".repeat(1234) + "[]\n");
    let outcome = place.ingest(&["a.json"]);
    assert_eq!(outcome.counts(), (20, 0, 1235));
    assert_eq!(outcome.err.lines().filter(|line| line.contains(": bad_json: expected")).count(), 10, "{}", outcome.err);
    assert!(outcome.err.contains("bad_json: 1,224 more like these"), "{}", outcome.err);
    assert_eq!(outcome.err.lines().count(), 12, "{}", outcome.err);
}

#[test]
fn strict_stops_at_the_first_and_goes_on_from_there_without() {
    let place = Place::new();
    place.write("a.json", lines(0, 3) + "not json\n" + &lines(3, 5));
    place.write("b.json", lines(5, 6));
    let outcome = place.ingest(&["--strict", "a.json", "b.json"]);
    assert_eq!((outcome.code, outcome.counts()), (1, (3, 0, 0)));
    assert!(outcome.err.contains("a.json: line 4: bad_json"), "{outcome:?}");
    assert_eq!(outcome.summary()["files"][0]["state"], "stopped");
    assert_eq!(outcome.summary()["files"][1]["state"], "not read");
    assert!(rejects(&place).is_empty(), "nothing is set aside");
    assert_eq!(place.ingest(&["a.json", "b.json"]).counts(), (3, 3, 1));
}

#[test]
fn a_malformed_packet_is_told_with_its_offset_and_what_is_behind_it_each_time() {
    let place = Place::new();
    let mut capture = samples::pcap(3);
    let offset = capture.len();
    capture.extend(packet(1, b"a lie"));
    capture[offset + 8..offset + 12].fill(0xff);
    capture.extend(packet(2, b"out of reach"));
    place.write("a.pcap", capture);
    let outcome = place.ingest(&["a.pcap"]);
    assert_eq!((outcome.code, outcome.counts()), (1, (3, 0, 1)));
    assert!(outcome.err.contains(&format!("a.pcap: byte {offset}: malformed_packet: ")), "{outcome:?}");
    assert_eq!(outcome.summary()["files"][0]["state"], "damaged");
    let again = place.ingest(&["a.pcap"]);
    assert_eq!((again.code, again.counts()), (1, (0, 4, 0)), "packets behind it are still not in");
    assert!(again.err.contains(&format!("nothing after byte {offset} can be read")), "{again:?}");
}

#[test]
fn every_byte_of_a_line_that_is_not_utf8_can_be_had_back() {
    let place = Place::new();
    let weird: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').chain([0xff, 0xfe, 0, 0x1b, b'[']).collect();
    place.write("a.json", [line(0).as_bytes(), &weird, b"\n", line(1).as_bytes()].concat());
    assert_eq!(place.ingest(&["a.json"]).counts(), (2, 0, 1));
    let rejects = rejects(&place);
    assert_eq!(rejects[0].0, "invalid_utf8");
    assert_eq!(STANDARD.decode(rejects[0].1["raw_base64"].as_str().unwrap()).unwrap(), weird);
}

#[test]
fn nul_escapes_quotes_and_sql_are_stored_as_they_are() {
    let place = Place::new();
    let values = [
        "nul \u{0} in the middle",
        "'; DROP TABLE events; --",
        "\" OR 1=1",
        "%s%n%d ?1 :name @p $x",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{202e}gnp.exe\u{feff}\u{0}",
        "𝕬 日本 é e\u{301}",
        "",
    ];
    let lines: String = values
        .iter()
        .map(|value| {
            let value = serde_json::to_string(value).unwrap();
            format!("{{\"msg\":{value},\"event_type\":{value},\"user\":{value},\"session\":{value}}}\n")
        })
        .collect();
    place.write("a.json", &lines);
    assert_eq!(place.ingest(&["a.json"]).counts(), (values.len() as u64, 0, 0));
    let database = place.database();
    for (value, row) in values.iter().zip(database.rows("SELECT msg, fields, session FROM events ORDER BY id")) {
        let [msg, Value::Text(fields), session] = row.as_slice() else { panic!("{row:?}") };
        let fields: Json = serde_json::from_str(fields).unwrap();
        assert_eq!(fields["user"], *value);
        let column = if value.is_empty() { Value::Null } else { Value::Text((*value).into()) };
        assert_eq!((msg, session), (&column, &column));
    }
    assert_eq!(database.texts("SELECT raw FROM events ORDER BY id").join("\n") + "\n", lines);
}

#[test]
fn a_nul_or_an_escape_outside_a_string_is_malformed_and_kept() {
    let place = Place::new();
    place.write(
        "a.json",
        [lines(0, 3).as_bytes(), b"\0\0\0{\"n\":1}\n\x1b[31m{}\n{\"a\":\"raw \x01 control\"}\n"].concat(),
    );
    assert_eq!(place.ingest(&["a.json"]).counts(), (3, 0, 3));
    let raw: Vec<_> = rejects(&place).into_iter().map(|(_, row)| row["raw"].as_str().unwrap().to_owned()).collect();
    assert_eq!(raw, ["\0\0\0{\"n\":1}", "\x1b[31m{}", "{\"a\":\"raw \x01 control\"}"]);
}

#[test]
fn a_line_of_a_megabyte_is_an_event_and_one_of_ten_is_told_and_passed_over() {
    let place = Place::new();
    let long = |bytes: usize| format!("{{\"user\":\"{}\"}}\n", "x".repeat(bytes));
    place.write("a.json", format!("{}{}{}{}", long(1 << 20), line(1), long(10_000_000), line(2)));
    let outcome = place.ingest(&["a.json"]);
    assert_eq!(outcome.counts(), (3, 0, 1));
    assert!(outcome.err.contains("a.json: line 3: too_large: "), "{}", outcome.err);
    let database = place.database();
    assert_eq!(database.number("SELECT length(raw) FROM events ORDER BY id LIMIT 1"), (1 << 20) + 11);
    let (reason, row) = &rejects(&place)[0];
    assert_eq!((reason.as_str(), row["raw"].as_str().unwrap().len()), ("too_large", 64 << 10));
    let detail = database.texts("SELECT detail FROM ingest_rejects").remove(0);
    assert!(detail.contains("10000012 bytes") && detail.contains("first 65536 bytes are kept"), "{detail}");
    let larger = place.ingest(&["--again", "--batch-bytes", "32MiB", "a.json"]);
    assert_eq!(larger.counts(), (4, 0, 0), "with a larger limit it is a row");
}

/// What was kept of a long line was larger than a small batch may be: the pipeline refused it, and the program ended as if
/// the database were gone.
#[test]
fn with_the_smallest_batches_long_records_are_set_aside_and_the_rest_comes_in() {
    let place = Place::new();
    let long = format!("{{\"user\":\"{}\"}}\n", "x".repeat(100_000));
    place.write("a.json", format!("{}{long}{}{}\n{}", line(0), "y".repeat(700) + "\n", "z".repeat(5000), line(1)));
    let mut capture = samples::pcap(2);
    capture.extend(packet(3, &[0xcd; 3000]));
    capture.extend(packet(4, b"last"));
    place.write("b.pcap", capture);
    let outcome = place.ingest(&["--batch-bytes", "1KiB", "a.json", "b.pcap"]);
    assert_eq!((outcome.code, outcome.counts()), (1, (5, 0, 4)), "{outcome:?}");
    let rows = rejects(&place);
    assert_eq!(rows[1].1["raw"].as_str().unwrap(), "y".repeat(700), "what fits is kept whole");
    let kept = STANDARD.decode(rows[3].1["raw_base64"].as_str().unwrap()).unwrap();
    assert!(kept.len() > 500 && kept.iter().all(|byte| *byte == 0xcd), "{} bytes", kept.len());
    assert_eq!(place.ingest(&["a.json", "b.pcap"]).counts(), (0, 9, 0), "with other limits it is still in");
}

#[test]
fn a_directory_and_a_missing_file_are_refused_before_anything_is_written() {
    let place = Place::new();
    place.write("a.json", lines(0, 3));
    std::fs::create_dir(place.path("logs")).unwrap();
    let directory = place.ingest(&["a.json", "logs"]);
    assert!(directory.code == 2 && directory.err.contains("logs is a directory"), "{directory:?}");
    let missing = place.ingest(&["a.json", "b.json"]);
    assert!(missing.code == 2 && missing.err.contains("b.json: No such file"), "{missing:?}");
    assert!(!place.path("forebay.db").exists(), "nothing was begun");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    place.write("a.json", lines(0, 3));
    // It can be opened; its first bytes cannot be had.
    let outcome = place.ingest(&["/proc/self/mem", "a.json"]);
    assert_eq!((outcome.code, outcome.counts()), (1, (3, 0, 0)), "{outcome:?}");
    assert!(outcome.err.contains("/proc/self/mem: cannot be read: "), "{outcome:?}");
}

#[test]
fn a_file_without_permission_is_refused_before_anything_is_written() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let place = Place::new();
    let mode = |name: &str, mode| set_permissions(place.path(name), Permissions::from_mode(mode)).unwrap();
    // Root may read everything, so root becomes somebody else, who may run the program only where it can be reached.
    // Copied by another process: a copy that is open for writing here, in a thread's child, could not be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_forebay")).arg(place.path("forebay")).status().unwrap();
    assert!(copied.success());
    place.write("secret.json", lines(0, 3));
    mode("secret.json", 0o000);
    mode(".", 0o777);
    let mut command = Command::new(place.path("forebay"));
    command.args(["ingest", "secret.json"]);
    if std::fs::read(place.path("secret.json")).is_ok() {
        command.uid(65_534).gid(65_534);
    }
    let outcome = place.start_command(command).finish();
    assert!(outcome.code == 2 && outcome.err.contains("secret.json: Permission denied"), "{outcome:?}");
    assert!(!place.path("forebay.db").exists());
}
