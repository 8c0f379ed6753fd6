//! What people do with `events` as if it were a table, from SQLite's own shell, from Python and from Rust.
//!
//! Python's SQLite is the system's, years older than the one that writes: the views must serve it too, those with more
//! segments than a view has terms included. `tests/run.sh` installs both tools where it can.

use std::process::Command;

use forebay::backend::Backend as _;
use forebay::backend::sqlite::Sqlite;
use forebay::config::Bytes;
use forebay::{Batch, Capture, Config, Event, Row, Timestamp};

use super::{Database, catalogue};

/// Rows of the sample: one per segment, more segments than a view has terms.
const ROWS: i64 = 470;

/// Makes a file of one row a segment, too large to be merged.
fn many_segments() -> Database {
    let database = Database::new();
    let mut config = Config::default();
    config.sqlite.segment_bytes = Bytes(1 << 10);
    config.sqlite.merged_bytes = Bytes(2 << 10);
    config.sqlite.max_segments = 100_000;
    let backend = Sqlite::open(database.path(), &config).unwrap();
    let raw = "x".repeat(5000);
    for number in 0..ROWS {
        let ip = format!("192.0.2.{}", number % 10).parse().ok();
        let event = Event::builder(["a", "b"][number as usize % 2], "ssh", "login").src(ip, None).raw(&raw);
        let session = format!("s{}", number % 5);
        let event = event.session(&session).ts(Timestamp::from_nanos(number * 1_000_000_000));
        backend.write(&Batch::detached("e", number as u64, vec![Row::Keep(event.build().unwrap())])).unwrap();
    }
    let captures = (0..5).map(|number| Capture::builder("a", "credential").session(&format!("s{number}")).build());
    backend
        .write(&Batch::detached("e", 1 << 20, captures.map(|capture| Row::Keep(capture.unwrap())).collect()))
        .unwrap();
    drop(backend);
    catalogue::check(&database.connect());
    let segments = "SELECT count(*) FROM segments WHERE kind = 'events' AND state = 'closed' AND indexes = 3";
    assert!(database.number(segments) > 450, "as many as need views of views");
    database
}

/// What people ask, and the answer as the shell prints it.
const QUESTIONS: [(&str, &str); 9] = [
    ("SELECT count(*) FROM events", "470"),
    ("SELECT id FROM events ORDER BY ts DESC LIMIT 3", "470\n469\n468"),
    ("SELECT id FROM events WHERE src_ip = '192.0.2.7' ORDER BY ts DESC LIMIT 2", "468\n458"),
    ("SELECT id FROM events WHERE id BETWEEN 7 AND 8 ORDER BY id", "7\n8"),
    ("SELECT count(*) FROM events WHERE ts >= 10000000000 AND ts < 20000000000", "10"),
    ("SELECT sensor, count(*) FROM events WHERE ts >= 100000000000 GROUP BY 1 ORDER BY 1", "a|185\nb|185"),
    (
        "SELECT e.session, count(*) FROM events e JOIN captures c ON c.session = e.session WHERE e.sensor = 'a' \
         GROUP BY 1 ORDER BY 1 LIMIT 2",
        "s0|47\ns1|47",
    ),
    ("SELECT time, service FROM events_view WHERE id = 2", "1970-01-01T00:00:01.000000000Z|ssh"),
    ("SELECT max(ts), min(src_ip), count(DISTINCT src_ip) FROM events", "469000000000|192.0.2.0|10"),
];

/// Filters, and the index by which each closed segment must be read.
const BY_INDEX: [(&str, &str); 4] = [
    ("SELECT * FROM events ORDER BY ts DESC LIMIT 50", "_ts"),
    ("SELECT * FROM events WHERE src_ip = '192.0.2.7' ORDER BY ts DESC LIMIT 50", "_src_ip_ts"),
    ("SELECT * FROM events WHERE sensor = 'a' AND ts > 7 ORDER BY ts DESC LIMIT 50", "_sensor_ts"),
    ("SELECT count(*) FROM events WHERE ts >= 10000000000 AND ts < 20000000000", "_ts"),
];

/// Checks a query plan, one step a line: every closed segment by the index, none by a scan of its rows.
#[track_caller]
fn check_plan(tool: &str, tables: &[String], sql: &str, index: &str, plan: &str) {
    for table in tables {
        let index = format!("{table}{index}");
        let step = plan.lines().find(|line| line.split([' ', '(', ')']).any(|word| word == *table));
        let step = step.unwrap_or_else(|| panic!("{tool}: {table} is not in the plan of {sql}"));
        assert!(step.split([' ', '(', ')']).any(|word| word == index), "{tool}: {sql}: {step}");
    }
}

/// Runs a tool that must be there, and returns what it prints.
#[track_caller]
fn output(command: &mut Command, package: &str) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}; install {package}"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn the_views_are_tables_to_every_tool() {
    let database = many_segments();
    let path = database.path().to_str().unwrap();
    let closed = database.texts("SELECT 'events_' || number FROM segments WHERE kind = 'events' AND state = 'closed'");
    let python = "import sqlite3, sys\n\
                  for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]):\n    print(*row, sep='|')";
    type Ask<'a> = &'a dyn Fn(&str) -> String;
    let tools: [(&str, Ask<'_>); 3] = [
        ("rusqlite", &|sql| through_rusqlite(&database, sql)),
        ("python3", &|sql| output(Command::new("python3").args(["-c", python, path, sql]), "python3")),
        // Without its settings file; plans as rows, not as a drawing.
        ("sqlite3", &|sql| output(Command::new("sqlite3").args(["-init", "/dev/null", "-list", path, sql]), "sqlite3")),
    ];
    for (tool, ask) in tools {
        for (sql, answer) in QUESTIONS {
            assert_eq!(ask(sql), answer, "{tool}: {sql}");
        }
        for (sql, index) in BY_INDEX {
            check_plan(tool, &closed, sql, index, &ask(&format!("EXPLAIN QUERY PLAN {sql}")));
        }
    }
}

fn through_rusqlite(database: &Database, sql: &str) -> String {
    use rusqlite::types::ValueRef;
    let reader = database.connect();
    let mut statement = reader.prepare(sql).unwrap();
    let columns = statement.column_count();
    let line = |row: &rusqlite::Row<'_>| {
        let cell = |column| match row.get_ref(column).unwrap() {
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        };
        Ok((0..columns).map(cell).collect::<Vec<_>>().join("|"))
    };
    let lines: Result<Vec<String>, _> = statement.query_map([], line).unwrap().collect();
    lines.unwrap().join("\n")
}
