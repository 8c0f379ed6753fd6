//! The SQL of the events dashboard, asked of the databases that forebay writes to.

use rusqlite::types::Value;

use crate::dashboards::queries;
use crate::place::Place;
use crate::server::{Client, Server};

/// 2026-01-02T03:04:05Z, in milliseconds; an event each minute from there on.
const FROM: i64 = 1_767_323_045_000;
const EVENTS: i64 = 120;

fn place() -> Place {
    let place = Place::new();
    let line = |number: i64| {
        let time = (FROM + number * 60_000) as f64 / 1000.0;
        format!(
            "{{\"ts\":{time:.3},\"sensor\":\"s{}\",\"service\":\"ssh\",\"event_type\":\"login\",\"src_ip\":\"192.0.2.{}\"}}\n",
            number % 3,
            number % 50
        )
    };
    place.write("a.json", (0..EVENTS).map(line).collect::<String>());
    place
}

/// As Grafana fills them in: the first hour, in steps of ten minutes.
fn filled_in(sql: &str) -> String {
    let sql = sql.replace("$__from", &FROM.to_string()).replace("$__to", &(FROM + 3_600_000).to_string());
    sql.replace("$__interval_ms", "600000")
}

/// Of each query the place, and as rows of text what it gives.
type Answers = Vec<(String, Vec<Vec<String>>)>;

/// What must come, of whatever database.
fn claim(answers: Answers) {
    assert_eq!(answers.len(), 7);
    for (place, rows) in answers {
        assert!(!rows.is_empty(), "{place}");
        let number = |text: &str| text.parse::<i64>().unwrap_or_else(|_| panic!("{place}: {rows:?}"));
        match rows[0].len() {
            // Seconds, a series, a count.
            3 => {
                let counted: i64 = rows.iter().map(|row| number(&row[2])).sum();
                assert_eq!(counted, 60, "{place}: of an hour");
                let within = |time: i64| (FROM / 1000 - 600..FROM / 1000 + 3600).contains(&time) && time % 600 == 0;
                assert!(rows.iter().all(|row| within(number(&row[0]))), "{place}: {rows:?}");
                assert!(rows.is_sorted_by_key(|row| number(&row[0])));
            }
            // A value, a count, the most frequent first and twenty at most.
            2 => {
                assert!(rows.len() <= 20 && rows.is_sorted_by_key(|row| -number(&row[1])), "{place}: {rows:?}");
            }
            // The newest events, times in milliseconds.
            9 => {
                assert_eq!(rows.len(), 60);
                assert_eq!(number(&rows[0][0]), FROM + 59 * 60_000);
            }
            columns => panic!("{place}: {columns} columns"),
        }
    }
}

#[test]
fn the_queries_of_events_are_answered_by_sqlite() {
    let place = place();
    assert_eq!(place.ingest(&["a.json"]).code, 0);
    let database = place.database();
    let text = |value: Value| match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    let queries = queries("forebay-events.json").into_iter();
    let ours = queries.filter(|query| query.target["datasource"]["type"] == "frser-sqlite-datasource");
    claim(
        ours.map(|query| {
            let rows = database.rows(&filled_in(&query.text("queryText")));
            (query.place, rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect())
        })
        .collect(),
    );
}

#[test]
fn the_queries_of_events_are_answered_by_mariadb() {
    let server = Server::start();
    let (name, url) = server.new_database();
    let place = place();
    assert_eq!(place.ingest(&["--db", &url, "a.json"]).code, 0);
    let mut client = Client::connect(server.port, "root", "", Some(&name));
    let text = |value: mysql_async::Value| match value {
        mysql_async::Value::Bytes(bytes) => String::from_utf8(bytes).expect("text"),
        mysql_async::Value::Int(number) => number.to_string(),
        mysql_async::Value::UInt(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let queries = queries("forebay-events.json").into_iter();
    let ours = queries.filter(|query| query.target["datasource"]["type"] == "mysql");
    claim(
        ours.map(|query| {
            let rows = client.rows(&filled_in(&query.text("rawSql")));
            (query.place, rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect())
        })
        .collect(),
    );
}
