//! `forebay db init`, `status`, `check` and `reset` on a file.

use std::fs;

use rusqlite::Connection;

use crate::place::{Place, wait_for};
use crate::samples::lines;

const SMALL: &str = "[sqlite]\nsegment_rows = 100\nmerged_rows = 200\n[batch]\nmax_rows = 100\n";

/// A database of 1000 events in small segments.
fn filled() -> Place {
    let place = Place::new();
    place.write("small.toml", SMALL);
    place.write("a.json", lines(0, 1000));
    assert_eq!(place.ingest(&["--config", "small.toml", "a.json"]).counts().0, 1000);
    place
}

/// Harms the file as nobody but an attacker or a defect would.
fn harm(place: &Place, sql: &str) {
    let connection = Connection::open(place.path("forebay.db")).unwrap();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Names of what is in the directory and belongs to the database.
fn left(place: &Place) -> Vec<String> {
    let names = fs::read_dir(place.path(".")).unwrap().map(|file| file.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with("forebay.db")).collect()
}

#[test]
fn init_makes_the_tables_and_a_second_time_changes_nothing() {
    let place = Place::new();
    let first = place.run(&["db", "init", "--json"]);
    assert_eq!((first.code, &first.summary()["database"]), (0, &"sqlite:forebay.db".into()), "{first:?}");
    let before = fs::read(place.path("forebay.db")).unwrap();
    assert_eq!(place.database().number("SELECT count(*) FROM events"), 0);
    let second = place.run(&["db", "init"]);
    assert!(second.code == 0 && second.out.contains("the tables are there, schema version"), "{second:?}");
    assert!(before == fs::read(place.path("forebay.db")).unwrap());
    assert_eq!(left(&place), ["forebay.db"]);
    assert_eq!(place.run(&["db", "init", "--db", "memory:"]).code, 2);
    assert_eq!(place.run(&["db", "init", "--db", "sqlite:nowhere/a.db"]).code, 3);
}

#[test]
fn status_tells_what_is_in_a_file_and_leaves_no_trace() {
    let place = filled();
    let before = fs::read(place.path("forebay.db")).unwrap();
    let outcome = place.run(&["db", "status", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let status = outcome.summary();
    assert_eq!(status["backend"], "sqlite");
    assert!(status["server"].as_str().unwrap().starts_with("SQLite 3."), "{status}");
    assert_eq!(status["schema"], status["known_schema"]);
    let tables = status["tables"].as_array().unwrap();
    let rows: Vec<_> =
        tables.iter().map(|table| (table["name"].as_str().unwrap(), table["rows"].as_u64().unwrap())).collect();
    assert_eq!(rows, [("events", 1000), ("captures", 0)]);
    assert!(tables[0]["bytes"].as_u64() > Some(100_000), "{status}");
    let ledger = place.database().number("SELECT count(*) FROM ingest_ledger");
    assert_eq!((&status["ledger"]["sources"], &status["ledger"]["ranges"]), (&1.into(), &ledger.into()));
    assert_eq!(
        (&status["rejects"], &status["locks"], &status["warnings"]),
        (&0.into(), &serde_json::json!([]), &serde_json::json!([]))
    );
    assert!(status["newest"]["events"].is_string() && status["newest"]["captures"].is_null(), "{status}");
    let text = place.run(&["db", "status"]);
    for part in ["sqlite:forebay.db", "SQLite 3.", "1,000", "none", "newest event"] {
        assert!(text.out.contains(part), "{part}: {text:?}");
    }
    assert!(before == fs::read(place.path("forebay.db")).unwrap());
    assert_eq!(left(&place), ["forebay.db"]);
}

#[test]
fn beside_a_writer_status_names_it_check_finds_nothing_and_reset_is_refused() {
    let place = Place::new();
    let running = place.start(&["bench", "sqlite:forebay.db", "--rate", "2000", "--duration", "60s"]);
    let status = wait_for("rows", || {
        let outcome = place.path("forebay.db").exists().then(|| place.run(&["db", "status", "--json"]))?;
        let rows = (outcome.code == 0).then(|| outcome.summary()["tables"][0]["rows"].as_u64())?;
        (rows > Some(0)).then(|| outcome.summary())
    });
    assert_eq!(status["locks"], serde_json::json!([format!("process {} writes to it", running.pid())]));
    let check = place.run(&["db", "check"]);
    assert_eq!((check.code, check.out.as_str()), (0, "sqlite:forebay.db: nothing was found\n"), "{check:?}");
    let reset = place.run(&["db", "reset", "--yes-destroy", "forebay.db"]);
    assert!(reset.code == 3 && reset.err.contains("is being written by process"), "{reset:?}");
    assert!(place.database().number("SELECT count(*) FROM events") > 0);
    running.kill();
}

#[test]
fn check_finds_nothing_in_a_sound_file_and_each_harm_in_a_harmed_one() {
    let sound = filled().run(&["db", "check", "--json"]);
    assert_eq!((sound.code, &sound.summary()["findings"]), (0, &serde_json::json!([])), "{sound:?}");
    let closed = "(SELECT min(number) FROM segments WHERE kind = 'events' AND state = 'closed')";
    for (sql, told) in [
        ("DELETE FROM events_1 WHERE id = (SELECT max(id) FROM events_1)".to_owned(), "and had"),
        ("UPDATE ingest_ledger SET rows = rows + 100000, last = last + 10000000".to_owned(), "rows are lost"),
        ("UPDATE ingest_ledger SET last = first - 1".to_owned(), "ends before it begins"),
        ("INSERT INTO ingest_ledger SELECT source, last, last, 1, at FROM ingest_ledger".to_owned(), "twice"),
    ] {
        let place = filled();
        // The first segment's number depends on how the others were merged.
        let number = place.database().number(&format!("SELECT {closed}"));
        harm(&place, &sql.replace("events_1", &format!("events_{number}")));
        let outcome = place.run(&["db", "check"]);
        assert!(outcome.code == 1 && outcome.out.contains(told), "{sql}: {outcome:?}");
        let json = place.run(&["db", "check", "--json"]);
        let findings = json.summary()["findings"].as_array().unwrap().len();
        assert!(json.code == 1 && findings > 0, "{json:?}");
    }
}

#[test]
fn check_finds_a_damaged_index() {
    let place = filled();
    let index = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%(src_ip, ts)%' LIMIT 1";
    let index = place.database().texts(index).remove(0);
    // The index is told to be one of another column, so that its content is wrong.
    harm(
        &place,
        &format!(
            "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, '(src_ip, ts)', '(session, ts)') \
             WHERE name = '{index}'; PRAGMA writable_schema=RESET"
        ),
    );
    let outcome = place.run(&["db", "check"]);
    assert!(outcome.code == 1 && outcome.out.contains(&index), "{outcome:?}");
}

#[test]
fn a_file_that_is_missing_or_no_database_cannot_be_described_checked_or_reset() {
    let place = Place::new();
    place.write("text.db", "no database at all, and long enough to be looked at as one".repeat(100));
    for command in [&["db", "status"][..], &["db", "check"], &["db", "reset", "--yes-destroy", "forebay.db"]] {
        let outcome = place.run(command);
        assert!(outcome.code == 3 && outcome.err.contains("forebay.db is not there"), "{outcome:?}");
        let name = if command[1] == "reset" { &["--yes-destroy", "text.db"][..] } else { &[] };
        let outcome = place.run(&[&command[..2], &["--db", "sqlite:text.db"], name].concat());
        assert!(outcome.code == 3 && outcome.err.contains("is no SQLite database"), "{outcome:?}");
    }
    assert!(left(&place).is_empty());
}

#[test]
fn reset_drops_everything_of_ours_once_the_name_was_given() {
    let place = filled();
    let count = || place.database().number("SELECT count(*) FROM events");
    for (flags, told) in [
        (&[][..], "add --yes-destroy forebay.db"),
        (&["--yes-destroy", "other.db"], "is named \"forebay.db\", not \"other.db\""),
        (&["--yes-destroy", ""], "nothing was dropped"),
    ] {
        let outcome = place.run(&[&["db", "reset"], flags].concat());
        assert!(outcome.code == 2 && outcome.err.contains(told), "{told}: {outcome:?}");
    }
    assert_eq!(count(), 1000);
    let before = fs::metadata(place.path("forebay.db")).unwrap().len();
    let done = place.run(&["db", "reset", "--yes-destroy", "forebay.db", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.summary()["dropped"].as_array().unwrap().iter().any(|name| name == "ingest_ledger"), "{done:?}");
    assert_eq!(place.database().number("SELECT count(*) FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'"), 0);
    assert!(fs::metadata(place.path("forebay.db")).unwrap().len() < before / 10, "its space is given back");
    assert_eq!(place.ingest(&["a.json"]).counts(), (1000, 0, 0), "it can be filled anew");
    assert_eq!(place.run(&["db", "check"]).code, 0);
}

#[test]
fn reset_refuses_a_file_with_tables_of_somebody_else() {
    let place = filled();
    harm(&place, "CREATE TABLE notes (text); INSERT INTO notes VALUES ('precious')");
    let outcome = place.run(&["db", "reset", "--yes-destroy", "forebay.db"]);
    assert!(outcome.code == 3 && outcome.err.contains("not ours (notes); nothing was dropped"), "{outcome:?}");
    assert_eq!(place.database().texts("SELECT text FROM notes"), ["precious"]);
    assert_eq!(place.database().number("SELECT count(*) FROM events"), 1000);
}

#[test]
fn migrate_tells_and_takes_the_steps_up_to_a_version_and_never_back() {
    let place = Place::new();
    let missing = place.run(&["db", "migrate"]);
    assert!(missing.code == 3 && missing.err.contains("forebay.db is not there"), "{missing:?}");
    let first = include_str!("../../src/backend/sqlite/migrations/2026-11-20-000001_rows/up.sql");
    let applied = "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, \
                   run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
                   INSERT INTO __diesel_schema_migrations (version) VALUES ('20261120000001');";
    harm(&place, &format!("PRAGMA journal_mode=WAL; BEGIN; {applied} {first} COMMIT;"));
    let version = || place.database().number("PRAGMA user_version");
    let migrate = |flags: &[&str]| place.run(&[&["db", "migrate"], flags].concat());
    let dry = migrate(&["--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("would go from schema version 1 to 4\n  2 segments\n"), "{dry:?}");
    assert_eq!(version(), 1);
    let json = migrate(&["--to", "2", "--json"]).summary();
    assert_eq!(json["steps"], serde_json::json!([{ "version": 2, "name": "segments" }]), "{json}");
    assert_eq!((version(), place.database().number("SELECT count(*) FROM events")), (2, 0));
    for (flags, told) in
        [(["--to", "1"], "no way back to 1; restore a backup"), (["--to", "9"], "versions up to 4, not 9")]
    {
        let refused = migrate(&flags);
        assert!(refused.code == 2 && refused.err.contains(told), "{refused:?}");
    }
    let done = migrate(&[]);
    assert!(done.code == 0 && done.out.contains("went from schema version 2 to 4"), "{done:?}");
    assert_eq!((version(), place.database().number("SELECT count(*) FROM users")), (4, 0));
    assert!(migrate(&[]).out.contains("schema version 4, nothing to do"));
    assert_eq!(place.run(&["db", "check"]).code, 0);
    harm(&place, "PRAGMA user_version = 9");
    let newer = migrate(&[]);
    assert!(newer.code == 3 && newer.err.contains("has schema version 9, this forebay knows 4"), "{newer:?}");
}
