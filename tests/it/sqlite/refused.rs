//! Rows that a schema refuses: a user's trigger, a user's CHECK, a user's unique index.

use forebay::pipeline::{LaneState, ReplayRows};
use forebay::{Capture, ReceiptError, Row};
use serde_json::{Value, json};

use super::{Database, LONG};
use crate::harness::{capture, counts, event, events, state};

const TRIGGER: &str = "CREATE TRIGGER theirs BEFORE INSERT ON events_0 WHEN NEW.msg LIKE 'bad%'
     BEGIN SELECT RAISE(ABORT, 'we do not take this'); END";

#[test]
fn bad_rows_all_over_a_large_batch_are_set_aside_and_the_rest_is_stored_in_order() {
    let database = Database::new();
    database.create();
    database.execute(TRIGGER);
    let pipeline = database.open();
    let bad = [0, 1, 99, 100, 777, 1234, 1235, 2999];
    let name = |row: usize| if bad.contains(&row) { format!("bad {row}") } else { format!("{row}") };
    let replay = pipeline.replay("file:1").unwrap();
    let rows = (0..3000).map(|row| Row::Keep(event(&name(row)))).collect();
    let receipt = replay.send_blocking(ReplayRows::numbered(10_000, rows)).unwrap();
    let beside = pipeline.captures().send_blocking(capture("beside")).unwrap();
    assert_eq!(receipt.wait(), Err(ReceiptError::Rejected { rows: bad.len(), reason: "we do not take this".into() }));
    assert_eq!(beside.wait(), Ok(()));
    assert_eq!((counts(&pipeline).committed, counts(&pipeline).rejected), (2993, 8));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let good: Vec<_> = (0..3000).filter(|row| !bad.contains(row)).map(name).collect();
    assert_eq!(database.texts("SELECT msg FROM events ORDER BY id"), good);
    let set_aside = database.texts(
        "SELECT json_array(table_name, source, position, reason, detail, json(row) ->> 'msg', at > 0) \
         FROM ingest_rejects ORDER BY id",
    );
    let expected: Vec<_> = bad
        .iter()
        .map(|row| {
            json!(["events", "file:1", 10_000 + row, "refused_by_database", "we do not take this", name(*row), 1])
                .to_string()
        })
        .collect();
    assert_eq!(set_aside, expected);
    let ledger = database.texts("SELECT printf('%d %d %d', first, last, rows) FROM ingest_ledger");
    assert_eq!(ledger, ["10000 12999 3000"], "refused rows are committed positions too");
}

/// A user had a trigger that skips rows with `RAISE(IGNORE)`. SQLite reports no error then, only fewer rows; they were
/// counted as committed, their receipts said so, and they were nowhere.
#[test]
fn a_row_that_a_trigger_skips_without_a_word_is_set_aside_too() {
    let database = Database::new();
    database.create();
    database.execute(
        "CREATE TRIGGER theirs BEFORE INSERT ON events_0 WHEN NEW.msg = 'skip' BEGIN SELECT RAISE(IGNORE); END",
    );
    let pipeline = database.open();
    let name = |row: usize| if row == 137 { "skip".to_owned() } else { row.to_string() };
    let receipt = pipeline.events().send_many_blocking(events((0..250).map(name))).unwrap();
    assert!(matches!(receipt.wait(), Err(ReceiptError::Rejected { rows: 1, .. })));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.number("SELECT count(*) FROM events"), 249);
    assert_eq!(database.texts("SELECT json(row) ->> 'msg' FROM ingest_rejects"), ["skip"]);
}

#[test]
fn a_batch_of_bad_rows_only_is_set_aside_whole() {
    let database = Database::new();
    database.create();
    database.execute(TRIGGER);
    let pipeline = database.open();
    let receipt = pipeline.events().send_many_blocking(events((0..250).map(|row| format!("bad {row}")))).unwrap();
    assert!(matches!(receipt.wait(), Err(ReceiptError::Rejected { rows: 250, .. })));
    assert_eq!(pipeline.events().send_blocking(event("good")).unwrap().wait(), Ok(()));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.number("SELECT count(DISTINCT position) FROM ingest_rejects"), 250);
    assert_eq!(database.texts("SELECT msg FROM events"), ["good"]);
}

#[test]
fn a_users_check_and_a_users_unique_index_refuse_single_rows() {
    let database = Database::new();
    database.create();
    let table = database.text("SELECT sql FROM sqlite_schema WHERE name = 'captures_0'");
    let table = table.replace("data      BLOB NOT NULL", "data      BLOB NOT NULL CHECK (length(data) < 5)");
    assert!(table.contains("CHECK"));
    database.execute(&format!("DROP TABLE captures_0; {table}; CREATE UNIQUE INDEX theirs ON captures_0 (session)"));
    let pipeline = database.open();
    let row =
        |session: &str, data: &str| Capture::builder("s", "k").session(session).data(data.as_bytes()).build().unwrap();
    let rows = vec![row("1", "a"), row("2", "too long"), row("1", "b"), row("3", "c"), row("3", "d"), row("4", "e")];
    let receipt = pipeline.captures().send_many_blocking(rows).unwrap();
    assert!(matches!(receipt.wait(), Err(ReceiptError::Rejected { rows: 3, .. })));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(database.texts("SELECT CAST(data AS TEXT) FROM captures ORDER BY id"), ["a", "c", "e"]);
    let details = database.texts("SELECT detail FROM ingest_rejects ORDER BY position");
    assert!(
        details[0].contains("CHECK") && details[1].contains("UNIQUE") && details[2].contains("UNIQUE"),
        "{details:?}"
    );
    let rows = database.texts("SELECT row FROM ingest_rejects ORDER BY position");
    let first: Value = serde_json::from_str(&rows[0]).unwrap();
    assert_eq!((&first["session"], &first["data_base64"]), (&json!("2"), &json!("dG9vIGxvbmc=")), "every byte is kept");
}

#[test]
fn a_row_that_cannot_even_be_set_aside_fails_the_lane() {
    let database = Database::new();
    database.create();
    database.execute(TRIGGER);
    database.execute("CREATE TRIGGER hard BEFORE INSERT ON ingest_rejects BEGIN SELECT RAISE(ABORT, 'nor this'); END");
    let pipeline = database.open();
    let receipt = pipeline.events().send_many_blocking(events(["a", "bad", "b"])).unwrap();
    assert!(matches!(receipt.wait(), Err(ReceiptError::Failed { .. })));
    let LaneState::Failed { reason } = state(&pipeline) else { panic!("failed") };
    assert!(reason.contains("ingest_rejects") && reason.contains("nor this"), "{reason}");
    let summary = pipeline.shutdown_blocking(LONG);
    assert_eq!(summary.lanes[0].events.in_flight + summary.lanes[0].events.queued, 0);
}

/// SQLite's own messages were known by their beginnings. A trigger that said `table is closed to this sensor` was taken
/// for a broken schema and failed the lane; one that said `database is locked by policy` was tried again for ever. Both
/// times one row had stopped all the others.
#[test]
fn a_triggers_own_words_are_not_taken_for_sqlites() {
    for words in [
        "table is closed to this sensor",
        "database is locked by policy",
        "interrupted by policy",
        "no such table may be written",
        "out of memory quota",
    ] {
        let database = Database::new();
        database.create();
        database.execute(&TRIGGER.replace("we do not take this", words));
        let pipeline = database.open();
        let receipt = pipeline.events().send_many_blocking(events(["a", "bad", "b"])).unwrap();
        assert_eq!(receipt.wait(), Err(ReceiptError::Rejected { rows: 1, reason: words.into() }));
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
        assert_eq!(database.texts("SELECT msg FROM events ORDER BY id"), ["a", "b"]);
    }
}
