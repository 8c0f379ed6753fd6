//! Files that were made before there were segments: schema version 1, made here with that version's own statements.

use std::fs;

use forebay::ErrorKind;

use super::{Database, LONG, catalogue, impatient};
use crate::harness::{capture, event, eventually};

const VERSION_1: &str = include_str!("../../../src/backend/sqlite/migrations/2026-11-20-000001_rows/up.sql");
const VERSION_2: &str = include_str!("../../../src/backend/sqlite/migrations/2026-11-21-000001_segments/up.sql");
/// As diesel kept it.
const APPLIED: &str = "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
         run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
     INSERT INTO __diesel_schema_migrations (version) VALUES ('20261120000001');";

/// Makes a file of version 1 with so many events, and half as many captures, and what a user may have added.
fn old_file(rows: u64) -> Database {
    let database = Database::new();
    let made = database.connect();
    made.execute_batch("PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL").unwrap();
    made.execute_batch(&format!("BEGIN; {APPLIED} {VERSION_1} COMMIT")).unwrap();
    let numbers = |rows| format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})");
    if rows > 0 {
        made.execute_batch(&format!(
            "BEGIN;
             {} INSERT INTO events (ts, sensor, service, event_type, src_ip, msg)
                SELECT 1000000000 * i, 's' || i % 7, 'ssh', 'login', '10.0.0.' || i % 250, 'old ' || i FROM n;
             {} INSERT INTO captures (ts, sensor, kind, session, length, data)
                SELECT i, 's', 'payload', i, 9, CAST('old ' || i AS BLOB) FROM n;
             INSERT INTO ingest_ledger VALUES ('file:1', 0, {rows} - 1, {rows}, 1);
             COMMIT",
            numbers(rows),
            numbers(rows / 2)
        ))
        .unwrap();
    }
    made.execute_batch("CREATE INDEX theirs ON events (msg); CREATE VIEW their_view AS SELECT msg FROM events")
        .unwrap();
    database
}

fn plan(database: &Database, query: &str) -> String {
    let connection = database.connect();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
    let details = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
    details.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}

#[test]
fn an_older_files_rows_are_not_touched_and_become_the_first_segment() {
    let database = old_file(20_000);
    let page = database.number("SELECT rootpage FROM sqlite_schema WHERE name = 'events'");
    let old = database.texts("SELECT json_array(id, ts, sensor, src_ip, msg) FROM events ORDER BY id");
    let size = fs::metadata(database.path()).unwrap().len();
    let pipeline = database.open();
    assert_eq!(database.number("SELECT rootpage FROM sqlite_schema WHERE name = 'events_1'"), page);
    let written = fs::metadata(database.beside("-wal")).unwrap().len();
    assert!(written < 1 << 20, "{written} bytes were written to move {size}");
    assert_eq!(database.texts("SELECT json_array(id, ts, sensor, src_ip, msg) FROM events ORDER BY id"), old);
    catalogue::check(&database.connect());
    let used = plan(&database, "SELECT * FROM events WHERE src_ip = '10.0.0.7' AND ts > 5 ORDER BY ts DESC LIMIT 50");
    assert!(used.contains("events_1 USING INDEX events_src_ip_ts"), "{used}");
    let used = plan(&database, "SELECT * FROM events WHERE msg = 'old 7'");
    assert!(used.contains("events_1 USING INDEX theirs"), "{used}");
    pipeline.events().send_blocking(event("new")).unwrap().wait().unwrap();
    pipeline.captures().send_blocking(capture("new")).unwrap().wait().unwrap();
    assert_eq!(database.number("SELECT max(id) FROM events WHERE msg = 'new'"), 20_001);
    assert_eq!(database.number("SELECT max(id) FROM captures"), 10_001);
    assert_eq!(database.text("SELECT msg FROM their_view ORDER BY msg LIMIT 1"), "new");
    assert_eq!(database.text("SELECT time FROM events_view WHERE id = 1"), "1970-01-01T00:00:01.000000000Z");
    let ledger = database.texts("SELECT printf('%s %d %d', source, first, last) FROM ingest_ledger WHERE rows > 1");
    assert_eq!(ledger, ["file:1 0 19999"]);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn an_old_file_without_rows_ends_as_a_new_one() {
    let database = old_file(0);
    let pipeline = database.open();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('events_1', 'captures_1')";
    eventually("the empty tables go", || database.number(tables) == 0);
    pipeline.events().send_blocking(event("first")).unwrap().wait().unwrap();
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.texts("SELECT id || msg FROM events"), ["1first"]);
    catalogue::check(&database.connect());
}

/// Somebody had added a column to the old table. The new view took all columns of both tables, which were not the same
/// number then: nobody could read `events` until the first segment closed, a day later.
#[test]
fn a_column_that_somebody_had_added_to_the_old_table_keeps_nobody_from_reading() {
    let database = old_file(100);
    database.execute("ALTER TABLE events ADD COLUMN theirs; ALTER TABLE captures ADD COLUMN theirs");
    let pipeline = database.open();
    assert_eq!(database.number("SELECT count(*) FROM events_view"), 100);
    assert_eq!(database.number("SELECT count(*) FROM captures_view"), 50);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}

/// The old tables' bytes were stated as 0. With `retention.max_bytes` the events that came later had to go before
/// gigabytes of old captures.
#[test]
fn old_tables_count_with_the_bytes_that_they_have() {
    let database = old_file(100);
    database.execute("UPDATE captures SET data = zeroblob(100000)");
    database.create();
    let bytes = |kind| database.number(&format!("SELECT bytes FROM segments WHERE kind = '{kind}' AND number = 1"));
    assert_eq!(bytes("captures"), 50 * (150 + 100_000));
    assert!((20_000..22_000).contains(&bytes("events")), "{}", bytes("events"));
}

#[test]
fn killed_while_it_is_being_moved_a_file_is_what_it_was_and_is_moved_the_next_time() {
    let database = old_file(1000);
    let mover = database.connect();
    mover.execute_batch("PRAGMA legacy_alter_table=ON; PRAGMA cache_size=2").unwrap();
    mover.execute_batch(&format!("BEGIN IMMEDIATE; {VERSION_2}")).unwrap();
    let killed = Database::new();
    for suffix in ["", "-wal"] {
        fs::copy(database.beside(suffix), killed.beside(suffix)).unwrap();
    }
    drop(mover);
    assert_eq!(killed.number("PRAGMA user_version"), 1);
    assert_eq!(killed.number("SELECT count(*) FROM events"), 1000);
    for moved in [killed, database] {
        let pipeline = moved.open();
        pipeline.events().send_blocking(event("new")).unwrap().wait().unwrap();
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
        assert_eq!(moved.number("SELECT count(*) FROM events"), 1001);
        assert_eq!(moved.number("PRAGMA user_version"), 4);
        catalogue::check(&moved.connect());
        assert_eq!(moved.text("PRAGMA integrity_check"), "ok");
    }
}

/// Of version 2, whose open segments had names without a number.
#[test]
fn a_file_with_open_segments_of_the_old_name_goes_on_with_its_rows() {
    let database = old_file(1000);
    database.execute(&format!(
        "PRAGMA legacy_alter_table=ON; BEGIN IMMEDIATE; {VERSION_2}
         INSERT INTO __diesel_schema_migrations (version) VALUES ('20261121000001');
         INSERT INTO events_open (id, ts, sensor, service, event_type, msg) VALUES (1001, 5, 's', 'v', 't', 'second');
         COMMIT; CREATE VIEW broken AS SELECT a FROM nowhere"
    ));
    let old = database.texts("SELECT id || msg FROM events ORDER BY id");
    let pipeline = database.open();
    assert_eq!(database.texts("SELECT id || msg FROM events ORDER BY id"), old);
    pipeline.events().send_blocking(event("third")).unwrap().wait().unwrap();
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.texts("SELECT id || msg FROM events ORDER BY id DESC LIMIT 2"), ["1002third", "1001second"]);
    assert_eq!(database.number("SELECT count(*) FROM sqlite_schema WHERE name GLOB '*_open'"), 0);
    catalogue::check(&database.connect());
    assert_eq!(database.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn the_next_version_is_refused_by_its_number() {
    let database = old_file(1);
    database.create();
    database.execute("PRAGMA user_version = 5");
    let error = database.open_with(impatient()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerSchema);
    assert!(error.to_string().contains("has schema version 5, this forebay knows 4"), "{error}");
}
