//! Whether a file's catalogue says what is in the file: each segment's table, its extent and its indexes, and the views
//! over those in sight. Used by these tests and by the unit tests of the segments.

use std::collections::BTreeSet;

use rusqlite::Connection;

/// Each kind with its indexes, in the order in which they are built.
pub const KINDS: [(&str, &[&str]); 2] =
    [("events", &["src_ip_ts", "ts", "sensor_ts"]), ("captures", &["session", "ts"])];

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).unwrap().unwrap_or(0)
}

/// Panics if the catalogue says anything else than what there is.
#[track_caller]
pub fn check(connection: &Connection) {
    // One snapshot: the file may be written meanwhile.
    connection.execute_batch("BEGIN").unwrap();
    KINDS.iter().for_each(|(kind, indexes)| check_kind(connection, kind, indexes));
    connection.execute_batch("COMMIT").unwrap();
}

#[track_caller]
fn check_kind(connection: &Connection, kind: &str, indexes: &[&str]) {
    let listed = format!(
        "SELECT state || ' ' || number || ' ' || indexes FROM segments WHERE kind = '{kind}' ORDER BY first_id, \
         last_id IS NULL, number"
    );
    let (mut tables, mut visible) = (BTreeSet::new(), Vec::new());
    for line in texts(connection, &listed) {
        let [state, name, built] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let table = format!("{kind}_{name}");
        if matches!(state, "open" | "closed") {
            visible.push(table.clone());
        }
        if state != "open" {
            check_extent(connection, kind, name, &table, state);
        }
        let of_table = format!("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = '{table}'");
        let there: BTreeSet<_> = texts(connection, &of_table).into_iter().collect();
        let built = built.parse::<usize>().unwrap();
        // Those of a file that was made before there were segments have names without a number.
        let stated = |prefix: &str| indexes[..built].iter().map(|index| format!("{prefix}_{index}")).collect();
        assert!(
            BTreeSet::is_superset(&there, &stated(&format!("{kind}_{name}")))
                || BTreeSet::is_superset(&there, &stated(kind)),
            "{table} {state} has {there:?}, not {built}"
        );
        tables.insert(table);
    }
    let open = format!("SELECT count(*) FROM segments WHERE kind = '{kind}' AND state = 'open'");
    assert_eq!(number(connection, &open), 1, "one segment is open");
    let there = format!("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '{kind}_*'");
    assert_eq!(texts(connection, &there).into_iter().collect::<BTreeSet<_>>(), tables, "tables and catalogue");
    let views = format!(
        "SELECT sql FROM sqlite_schema WHERE type = 'view' AND (name = '{kind}' OR name GLOB '{kind}_part_*')
         ORDER BY name = '{kind}', length(name), name"
    );
    let views = texts(connection, &views).join(" ");
    let terms = views.split("FROM ").skip(1).map(|term| term.split_whitespace().next().unwrap().to_owned());
    let terms: Vec<_> = terms.filter(|term| !term.contains("_part_")).collect();
    assert_eq!(terms, visible, "what the view shows");
}

#[track_caller]
fn check_extent(connection: &Connection, kind: &str, name: &str, table: &str, state: &str) {
    // A table that is being taken down keeps the times that it had.
    let times = |first: &str, last: &str| match state {
        "dropping" => " || ''".to_owned(),
        _ => format!(" || ' ' || coalesce({first}, '-') || ' ' || coalesce({last}, '-')"),
    };
    let found = format!("SELECT count(*){} FROM {table}", times("min(ts)", "max(ts)"));
    let said =
        format!("SELECT rows{} FROM segments WHERE kind = '{kind}' AND number = {name}", times("first_ts", "last_ts"));
    assert_eq!(texts(connection, &found), texts(connection, &said), "{table} {state}");
    let outside = format!(
        "SELECT count(*) FROM {table}, segments WHERE segments.kind = '{kind}' AND number = {name} \
         AND NOT ({table}.id BETWEEN first_id AND last_id)"
    );
    assert_eq!(number(connection, &outside), 0, "ids of {table}");
}
