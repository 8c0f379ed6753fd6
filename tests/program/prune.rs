//! `forebay db prune`: by hand, or only told.

use std::fs;

use crate::database::Database;
use crate::place::{Place, wait_for};
use crate::samples::lines;

const SMALL: &str = "[sqlite]\nsegment_rows = 100\nmerged_rows = 200\n[batch]\nmax_rows = 100\n";

/// A database of 2000 events in segments of at most 200 rows.
fn filled() -> Place {
    let place = Place::new();
    place.write("small.toml", SMALL);
    place.write("a.json", lines(0, 2000));
    assert_eq!(place.ingest(&["--config", "small.toml", "a.json"]).counts().0, 2000);
    place
}

#[test]
fn the_oldest_rows_go_and_what_goes_is_told_beforehand() {
    let place = filled();
    let before = fs::read(place.path("forebay.db")).unwrap();
    let prune = ["db", "prune", "--max-rows", "500", "--json"];
    let planned = place.run(&[&prune[..], &["--dry-run"]].concat());
    assert_eq!(planned.code, 0, "{planned:?}");
    assert!(before == fs::read(place.path("forebay.db")).unwrap(), "a dry run changes nothing");
    let left = fs::read_dir(place.path("."))
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("forebay.db"));
    assert_eq!(left.count(), 1, "and leaves nothing beside the file");
    let done = place.run(&prune);
    assert_eq!(done.code, 0, "{done:?}");
    let (planned, done) = (planned.summary(), done.summary());
    // Bytes are said to be about right.
    let told = |outcome: &serde_json::Value| -> Vec<String> {
        let dropped = outcome["dropped"].as_array().expect("a list").iter();
        dropped
            .map(|one| ["table", "reason", "rows", "first", "last"].map(|key| one[key].to_string()).join(" "))
            .collect()
    };
    assert_eq!((told(&planned), &planned["kept"]), (told(&done), &done["kept"]));
    let database = place.database();
    let kept = database.number("SELECT count(*) FROM events");
    assert!((500..=700).contains(&kept), "{kept}");
    assert_eq!(done["kept"]["events"], kept);
    assert_eq!(database.number("SELECT min(id) FROM events"), 2001 - kept, "the newest stay");
    assert_eq!(database.number("PRAGMA freelist_count"), 0, "all space is given back");
    assert!(fs::metadata(place.path("forebay.db")).unwrap().len() < before.len() as u64);
    let again = place.run(&prune).summary();
    assert_eq!(again["dropped"], serde_json::json!([]), "nothing is left to do");
    assert_eq!(place.ingest(&["a.json"]).counts(), (0, 2000, 0), "dropped rows do not come back");
}

#[test]
fn a_database_that_is_being_written_can_be_planned_for_but_not_pruned() {
    let place = Place::new();
    let running = place.start(&["bench", "sqlite:b.db", "--rate", "2000", "--duration", "60s"]);
    let database = wait_for("rows", || {
        let database = place.path("b.db").exists().then(|| Database::open(&place.path("b.db")))?;
        let has_table = database.number("SELECT count(*) FROM sqlite_schema WHERE name = 'events_0'") == 1;
        (has_table && database.number("SELECT count(*) FROM events") > 0).then_some(database)
    });
    let refused = place.run(&["db", "prune", "--db", "sqlite:b.db", "--max-rows", "500"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.err.contains("is being written by process") && refused.err.contains("retention"), "{refused:?}");
    let planned = place.run(&["db", "prune", "--db", "sqlite:b.db", "--max-rows", "500", "--dry-run"]);
    assert!(planned.code == 0 && planned.out.contains("would drop"), "{planned:?}");
    drop(database);
    running.kill();
}

#[test]
fn without_a_limit_or_a_database_it_says_what_is_missing() {
    let place = Place::new();
    let no_limit = place.run(&["db", "prune"]);
    assert!(no_limit.code == 2 && no_limit.err.contains("--max-age"), "{no_limit:?}");
    for flags in [&["--dry-run"][..], &[]] {
        let no_file = place.run(&[&["db", "prune", "--max-age", "90d"], flags].concat());
        assert!(no_file.code == 3 && no_file.err.contains("forebay.db is not there"), "{no_file:?}");
    }
    assert!(!place.path("forebay.db").exists());
    place.write("keep.toml", "[retention]\nmax_age = '36500d'\n");
    place.write("a.json", lines(0, 10));
    place.ingest(&["a.json"]);
    let by_file = place.run(&["db", "prune", "--config", "keep.toml"]);
    assert!(by_file.code == 0 && by_file.out.contains("dropped 0 rows; 10 events"), "{by_file:?}");
}
