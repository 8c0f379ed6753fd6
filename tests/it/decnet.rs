//! DECNET's read queries on what a pipeline has written, through Python's SQLAlchemy: the same answers on every database.

use std::process::Command;
use std::time::Duration;

use forebay::{Capture, Config, DatabaseUrl, ErrorKind, Event, Pipeline, Timestamp, maintenance};
use serde_json::{Value, json};

/// 2026-03-01T12:00:00Z.
const NOON: i64 = 1_772_366_400;

fn at(seconds: i64, nanos: i64) -> Timestamp {
    Timestamp::from_nanos((NOON + seconds) * 1_000_000_000 + nanos)
}

fn fill(url: &str, config: &Config) {
    let pipeline = Pipeline::builder().config(config.clone()).database(url).open().unwrap();
    let event = |sensor, kind, seconds, nanos| {
        Event::builder(sensor, "ssh", kind).ts(at(seconds, nanos)).raw("raw hunter2 line")
    };
    let attacker = |last: u8| (Some([203, 0, 113, last].into()), Some(40_000));
    let (ip, port) = attacker(9);
    let first = event("web-1", "login", 0, 1_999).src(ip, port).fields(r#"{"username":"root","password":"hunter2"}"#);
    let second = event("web-1", "login", 60, 999_999_999).msg("ü' OR 1=1").trace("t1", "s1");
    // As DECNET's own lines have it: members of the event below `fields`.
    let third =
        event("db-1", "query", 1000, 0).src(ip, port).fields(r#"{"fields":{"username":"root"},"attacker":"x"}"#);
    let (ip, port) = attacker(10);
    let fourth = Event::builder("db-1", "http", "get").ts(at(-3600, 500_000_000)).src(ip, port);
    for event in [first, second, third, fourth] {
        pipeline.events().send_blocking(event.build().unwrap()).unwrap().wait().unwrap();
    }
    let credential = Capture::builder("web-1", "credential").ts(at(0, 1_999)).src(ip, port);
    let credential = credential.fields(r#"{"service":"ssh","username":"root"}"#).build().unwrap();
    let packet = Capture::builder("web-1", "packet").data(vec![1, 2, 3]).build().unwrap();
    pipeline.captures().send_many_blocking(vec![credential, packet]).unwrap().wait().unwrap();
    assert!(pipeline.shutdown_blocking(Duration::from_secs(30)).is_complete());
}

/// Debian's own Python has Debian's SQLAlchemy; another one that comes first in the path may have none.
fn ask(sqlalchemy_url: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/decnet.py");
    let has_it = |python: &&str| {
        Command::new(python)
            .args(["-c", "import sqlalchemy, pymysql"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let python = ["/usr/bin/python3", "python3"].into_iter().find(has_it);
    let python =
        python.expect("Python with SQLAlchemy and PyMySQL: `apt-get install python3-sqlalchemy python3-pymysql`");
    let output = Command::new(python).args([script, sqlalchemy_url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn expected() -> Value {
    json!({
        "total": 4,
        "max_id": 4,
        "page": [
            [2, "2026-03-01T12:01:00.999999", "web-1", "login", "Unknown", "ü' OR 1=1", "t1"],
            [1, "2026-03-01T12:00:00.000001", "web-1", "login", "203.0.113.9", null, null],
        ],
        "fields": [{"username": "root", "password": "hunter2"}, {}, {"username": "root"}, {}],
        "decky": [1, 2],
        "service_attacker": [1, 3],
        "unknown": [2],
        "json": [1, 3],
        "free": [1, 2, 3],
        "since": [3],
        "after": [3, 4],
        "histogram": [["2026-03-01 11:00:00", 1], ["2026-03-01 12:00:00", 2], ["2026-03-01 12:15:00", 1]],
        "attackers": 3,
        "bounty": [
            ["2026-03-01T12:00:00.000001", "web-1", "ssh", "203.0.113.10", "credential", {"service": "ssh", "username": "root"}],
        ],
    })
}

#[test]
fn decnets_queries_work_on_a_file_and_the_views_go_with_the_tables() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let url = DatabaseUrl::parse(&format!("sqlite://{}", path.display())).unwrap();
    let config = Config::default();
    let missing = maintenance::add_decnet_views(&url, &config).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotADatabase, "a file that is not there is not made");
    fill(&format!("sqlite://{}", path.display()), &config);
    maintenance::add_decnet_views(&url, &config).unwrap();
    maintenance::add_decnet_views(&url, &config).unwrap();
    assert_eq!(ask(&format!("sqlite:///{}", path.display())), expected());
    assert!(maintenance::drop_decnet_views(&url, &config).unwrap());
    assert!(!maintenance::drop_decnet_views(&url, &config).unwrap());
    maintenance::add_decnet_views(&url, &config).unwrap();
    assert!(maintenance::check(&url, &config).unwrap().is_empty());
    let dropped = maintenance::reset(&url, &config, "a.db").unwrap();
    assert!(dropped.iter().any(|name| name == "logs"), "{dropped:?}");
}

#[test]
fn views_follow_rows_that_come_later_and_segments_that_are_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let text = format!("sqlite://{}", path.display());
    let mut config = Config::default();
    config.sqlite.segment_rows = 2;
    fill(&text, &config);
    maintenance::add_decnet_views(&DatabaseUrl::parse(&text).unwrap(), &config).unwrap();
    fill(&text, &config);
    let answers = ask(&format!("sqlite:///{}", path.display()));
    assert_eq!((&answers["total"], &answers["attackers"]), (&json!(8), &json!(3)));
}

#[test]
fn a_table_of_such_a_name_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let text = format!("sqlite://{}", path.display());
    fill(&text, &Config::default());
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE logs (mine); INSERT INTO logs VALUES (1)")
        .unwrap();
    let url = DatabaseUrl::parse(&text).unwrap();
    let error = maintenance::add_decnet_views(&url, &Config::default()).unwrap_err();
    assert!(error.to_string().contains("`logs` that is not ours"), "{error}");
    assert!(maintenance::drop_decnet_views(&url, &Config::default()).is_err());
    assert!(maintenance::reset(&url, &Config::default(), "a.db").is_err());
}

#[test]
fn decnets_queries_have_the_same_answers_on_a_server() {
    let (_, url) = crate::mysql::server::SHARED.new_database();
    let config = crate::mysql::impatient();
    let parsed = DatabaseUrl::parse(&url).unwrap();
    fill(&url, &config);
    maintenance::add_decnet_views(&parsed, &config).unwrap();
    maintenance::add_decnet_views(&parsed, &config).unwrap();
    assert_eq!(ask(&format!("{}?charset=utf8mb4", url.replacen("mysql://", "mysql+pymysql://", 1))), expected());
    let dropped = maintenance::reset(&parsed, &config, &parsed.name()).unwrap();
    assert!(dropped.iter().any(|name| name == "bounty"), "{dropped:?}");
}
