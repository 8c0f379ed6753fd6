//! The load generator: what it measures is what is stored. No claim here is about a time.

use serde_json::Value;

use crate::database::Database;
use crate::place::{Outcome, Place};

fn bench(place: &Place, arguments: &[&str]) -> Outcome {
    let small = ["bench", "--json", "--send-rows", "7", "--row-bytes", "300"];
    place.run(&[&small, arguments].concat())
}

fn runs(outcome: &Outcome) -> Vec<Value> {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.summary()["runs"].as_array().expect("runs").clone()
}

fn rows(database: &Database) -> i64 {
    database.number("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM captures)")
}

#[test]
fn the_baseline_stores_the_same_rows_in_the_same_tables() {
    let place = Place::new();
    // Of several producers it is chance which sends how many rows; one sends the same rows each time.
    let load = ["sqlite:a.db", "--rows", "3000", "--captures", "30", "--producers", "1"];
    let outcome = bench(&place, &[&load[..], &["--rounds", "2", "--baseline", "sqlite-c", "--verify"]].concat());
    let runs = runs(&outcome);
    let [ours, baseline] = runs.as_slice() else { panic!("{outcome:?}") };
    for (run, writer) in [(ours, "forebay"), (baseline, "sqlite-c")] {
        assert_eq!((run["writer"].as_str(), run["rows"].as_u64()), (Some(writer), Some(3000)));
        assert_eq!((run["sent"].as_u64(), run["counted_rows"].as_u64()), (Some(3000), Some(3000)));
        assert_eq!(run["rows_per_second_of_rounds"].as_array().map(Vec::len), Some(2));
        let commits = &run["commit"];
        assert!(commits["max_ms"].as_f64() >= commits["p50_ms"].as_f64() && commits["p50_ms"].as_f64() > Some(0.0));
    }
    assert_eq!((&baseline["ratio"], &outcome.summary()["reference"]), (&Value::from(1.0), &"sqlite-c".into()));
    assert_eq!(ours["settings"]["config"], baseline["settings"]["config"]);
    let (ours, baseline) = (Database::open(&place.path("a.db")), Database::open(&place.path("a.db.sqlite-c")));
    assert_eq!((rows(&ours), rows(&baseline)), (3000, 3000));
    for table in ["events", "captures"] {
        let columns = format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid");
        assert_eq!(ours.texts(&columns), baseline.texts(&columns));
        let all = format!("SELECT * FROM {table} ORDER BY id");
        // How ids are counted is each one's own affair.
        let without_id = |database: &Database| {
            database.rows(&all).into_iter().map(|row| row.into_iter().skip(1).collect()).collect::<Vec<Vec<_>>>()
        };
        assert!(without_id(&ours) == without_id(&baseline), "{table}");
    }
    assert_eq!(baseline.number("PRAGMA user_version"), 0, "it is a file of its own kind");
}

#[test]
fn a_file_that_nobody_named_is_gone_afterwards_and_one_that_is_there_is_not_touched() {
    let place = Place::new();
    runs(&bench(&place, &["--rows", "500", "--baseline", "sqlite-c", "--rounds", "1"]));
    let left = || {
        let names = std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains(".db")).collect::<Vec<_>>()
    };
    assert_eq!(left(), [""; 0]);
    for (url, there) in [("sqlite:a.db", "a.db"), ("sqlite:b.db", "b.db.sqlite-c")] {
        place.write(there, "precious");
        let outcome = bench(&place, &[url, "--rows", "500", "--baseline", "sqlite-c"]);
        assert!(outcome.code == 2 && outcome.err.contains(&format!("{there} exists already")), "{outcome:?}");
        assert_eq!(std::fs::read(place.path(there)).unwrap(), b"precious");
    }
}

#[test]
fn compared_runs_differ_in_what_was_named_and_each_round_begins_anew() {
    let place = Place::new();
    let compared = ["--compare", "batch.max_rows=10,sqlite.synchronous=full", "--compare", "url=memory:,producers=1"];
    let arguments = ["sqlite:a.db", "--rows", "600", "--rounds", "2", "--set", "batch.max_rows=50"];
    let outcome = bench(&place, &[&arguments[..], &compared].concat());
    let runs = runs(&outcome);
    let batches = |run: &Value| run["settings"]["config"]["batch"]["max_rows"].as_u64();
    assert_eq!(runs.iter().map(batches).collect::<Vec<_>>(), [Some(50), Some(10), Some(50)]);
    let labels: Vec<_> = runs.iter().map(|run| run["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["forebay", compared[1], compared[3]]);
    assert_eq!(runs[1]["settings"]["config"]["sqlite"]["synchronous"], "full");
    assert_eq!((runs[2]["settings"]["producers"].as_u64(), &runs[2]["file_bytes"]), (Some(1), &Value::Null));
    assert!(runs.iter().all(|run| run["rows"] == 600), "{outcome:?}");
    assert_eq!(rows(&Database::open(&place.path("a.db"))), 600);
}

#[test]
fn the_json_tells_machine_settings_points_sizes_and_worst_commit() {
    let place = Place::new();
    let outcome = bench(&place, &["sqlite:a.db", "--rows", "2000"]);
    let summary = outcome.summary();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&summary), "commit format machine reference rounds runs version");
    assert_eq!(keys(&summary["machine"]), "cores debug_build memory_bytes processor system");
    let run = &runs(&outcome)[0];
    assert_eq!(
        keys(run),
        "bytes_per_row close_seconds commit complete counted_rows cpu_seconds end_to_end file_bytes label \
         peak_memory_bytes points ratio rows rows_per_second rows_per_second_of_rounds seconds send sent settings \
         wal_peak_bytes writer"
    );
    assert_eq!(keys(&run["commit"]), "max_ms p50_ms p999_ms p99_ms");
    let points = run["points"].as_array().unwrap();
    assert_eq!(keys(&points[0]), "commit end_to_end rows rows_per_second seconds send");
    assert_eq!(points.last().unwrap()["rows"], 2000);
    assert_eq!(run["file_bytes"].as_u64(), std::fs::metadata(place.path("a.db")).ok().map(|file| file.len()));
    assert!(!place.path("a.db-wal").exists(), "it is measured when it is closed");
}

#[test]
fn the_picture_has_a_line_for_each_run_and_names_it() {
    let place = Place::new();
    let runs = ["--compare", "batch.max_rows=10<&>", "--baseline", "sqlite-c", "--rounds", "1"];
    let refused = bench(&place, &[&["--rows", "700", "--plot", "a.svg"], &runs[..]].concat());
    assert_eq!(refused.code, 2, "{refused:?}");
    let runs = ["--compare", "batch.max_rows=10", "--baseline", "sqlite-c", "--rounds", "1"];
    let outcome = bench(&place, &[&["--rows", "700", "--plot", "a.svg"], &runs[..]].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let picture = std::fs::read_to_string(place.path("a.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    for part in ["forebay: ", "batch.max_rows=10: ", "sqlite-c: ", "rows stored", "seconds", "commit", "latency"] {
        assert!(picture.contains(part), "{part}");
    }
}

#[test]
fn the_text_tells_the_same_to_people() {
    let place = Place::new();
    let small = ["bench", "--rows", "2000", "--producers", "1", "--baseline", "sqlite-c", "--rounds", "1", "--verify"];
    let outcome = place.run(&small);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    let parts = ["rows/s", "ratio", "bytes/row", "largest WAL", "counted rows", "peak memory", "CPU us/row", "p99.9"];
    for part in parts.into_iter().chain(["end to end", "rows/s over time", "ratio: rows/s to those of sqlite-c"]) {
        assert!(outcome.out.contains(part), "{part}: {}", outcome.out);
    }
    assert!(outcome.out.lines().filter(|line| line.starts_with("sqlite-c ")).count() >= 6, "{}", outcome.out);
}

#[test]
fn the_settings_file_counts_and_a_wrong_setting_begins_nothing() {
    let place = Place::new();
    place.write("a.toml", "[database]\nurl = 'sqlite:precious.db'\n[batch]\nmax_rows = 33");
    let runs = runs(&bench(&place, &["--config", "a.toml", "memory:", "--rows", "100"]));
    assert_eq!(runs[0]["settings"]["config"]["batch"]["max_rows"], 33);
    for flags in [
        &["--set", "colour=red"][..],
        &["--compare", "batch.max_rows=0"],
        &["--baseline", "python"],
        &["--rate", "0"],
        &["--rows", "0"],
        &["mysql://u:secret@127.0.0.1:1/d"],
        &["--config", "none.toml"],
    ] {
        let outcome = bench(&place, &[&["--rows", "100"], flags].concat());
        assert!(outcome.code == 2 && !outcome.err.is_empty() && !outcome.err.contains("secret"), "{outcome:?}");
    }
    assert!(!place.path("precious.db").exists());
}

#[test]
fn a_stopped_run_still_tells_what_it_measured() {
    let place = Place::new();
    let run = place.start(&["bench", "sqlite:a.db", "--json", "--duration", "1h", "--rate", "1000", "--verify"]);
    crate::place::wait_for("rows in the file", || {
        // Until it is made, it cannot be read.
        place.path("a.db-wal").metadata().is_ok_and(|wal| wal.len() > 300_000).then_some(())
    });
    run.signal("INT");
    let outcome = run.finish();
    assert_eq!(outcome.code, 130, "{outcome:?}");
    let run = &outcome.summary()["runs"][0];
    assert!(run["rows"].as_u64() > Some(0) && run["counted_rows"] == run["rows"], "{outcome:?}");
}
