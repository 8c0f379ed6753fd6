//! `forebay bench` on a server.

use super::program::Place;
use super::server::SHARED;

const SMALL: [&str; 7] = ["--json", "--rows", "700", "--send-rows", "7", "--verify", "--producers"];

#[test]
fn a_comparison_on_a_server_begins_each_run_with_empty_tables_and_counts_what_is_there() {
    let (name, url) = SHARED.new_database();
    let runs = ["2", "--compare", "mysql.pool_size=1", "--rounds", "2", "--captures", "30"];
    let (code, out, err) = Place::new().run(&[&["bench", &url][..], &SMALL, &runs].concat());
    assert_eq!(code, 0, "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for (run, connections) in runs.iter().zip([4, 1]) {
        assert_eq!((&run["rows"], &run["counted_rows"]), (&700.into(), &700.into()), "{run}");
        assert_eq!(run["settings"]["config"]["mysql"]["pool_size"], connections);
        assert!(run["bytes_per_row"].is_null() && run["file_bytes"].is_null(), "{run}");
        let database = run["settings"]["database"].as_str().unwrap();
        assert!(database.starts_with("mysql://writer:...@127.0.0.1") && !out.contains("p%40ss"), "{database}");
    }
    let rows = format!("SELECT (SELECT count(*) FROM `{name}`.events) + (SELECT count(*) FROM `{name}`.captures)");
    assert_eq!(SHARED.admin().number(&rows), 700, "the last run's rows stay");
}

#[test]
fn tables_that_hold_rows_are_not_written_to_by_a_benchmark() {
    let (name, url) = SHARED.new_database();
    let place = Place::new();
    assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0);
    let (code, _, err) = place.run(&[&["bench", &url][..], &SMALL, &["1"]].concat());
    assert!(code == 2 && err.contains("holds 2 rows; a benchmark writes into empty tables"), "{err}");
    assert_eq!(SHARED.admin().texts(&format!("SELECT msg FROM `{name}`.events ORDER BY id")), ["one", "two"]);
}
