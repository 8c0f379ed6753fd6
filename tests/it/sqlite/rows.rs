//! Every byte comes back: what an attacker sends is stored as it was sent.

use forebay::backend::Backend as _;
use forebay::backend::sqlite::Sqlite;
use forebay::{Batch, Capture, Config, Event, Row, Timestamp};
use rusqlite::types::Value;

use super::{Database, LONG};

/// Texts that break careless code.
fn weird() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\0",
        "a\0b\0",
        "\x1b[2J\x1b]0;title\x07",
        "'); DROP TABLE events; --",
        "\" OR 1=1 /*",
        "%s%n%x ?1 :a @b $c",
        "\r\n\t\u{b}\u{85}\u{2028}",
        "NULL",
        "\u{feff}bom",
        "\u{202e}evil\u{202d}",
        "é e\u{301} \u{1f469}\u{200d}\u{1f469}",
    ]
    .map(str::to_owned)
    .into();
    // The first, a middle and the last character of each plane; the last two of a plane are no characters at all.
    for plane in 0..=16u32 {
        texts.push(
            [0, 0x100, 0xfffd, 0xfffe, 0xffff].iter().filter_map(|low| char::from_u32(plane << 16 | low)).collect(),
        );
    }
    texts.push("\u{10ffff}\0".repeat(10_000));
    texts
}

fn stored(database: &Database, sql: &str) -> Vec<Vec<Value>> {
    let reader = database.connect();
    let mut statement = reader.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
    rows.map(Result::unwrap).collect()
}

fn text(value: Option<&str>) -> Value {
    value.map_or(Value::Null, |text| Value::Text(text.into()))
}

fn number(value: Option<impl Into<i64>>) -> Value {
    value.map_or(Value::Null, |number| Value::Integer(number.into()))
}

#[test]
fn every_column_of_an_event_comes_back_byte_for_byte() {
    let database = Database::new();
    let mut rows = vec![Event::builder("", "", "").build().unwrap()];
    for text in &weird() {
        let fields = serde_json::json!({ text: text }).to_string();
        let builder = Event::builder(text, text, text).ts(Timestamp::from_nanos(i64::MIN));
        let builder = builder.src("2001:db8::1".parse().ok(), Some(65_535)).dst("1.2.3.4".parse().ok(), Some(0));
        let builder = builder.proto(text).session(text).msg(text).raw(text).fields(&fields).trace(text, text);
        rows.push(builder.build().unwrap());
    }
    let long = "x".repeat(1 << 20);
    rows.push(Event::builder("s", "v", "t").msg(&long).raw(&long).build().unwrap());
    // Enough of one sensor for statements of every size, with and without an address.
    rows.extend((0..230).map(|port| {
        let ip = (port % 3 > 0).then(|| [192, 0, 2, port as u8].into());
        Event::builder("tap", "v", "t").src(ip, Some(port)).msg(&port.to_string()).build().unwrap()
    }));
    let pipeline = database.open();
    pipeline.events().send_many_blocking(rows.clone()).unwrap().wait().unwrap();
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let columns = "ts, sensor, service, event_type, src_ip, src_port, dst_ip, dst_port, proto, session, msg, fields, \
                   raw, trace_id, span_id";
    let stored = stored(&database, &format!("SELECT {columns} FROM events ORDER BY id"));
    assert_eq!(stored.len(), rows.len());
    for (stored, row) in stored.iter().zip(&rows) {
        let expected = [
            Value::Integer(row.ts().as_nanos()),
            text(Some(row.sensor())),
            text(Some(row.service())),
            text(Some(row.event_type())),
            text(row.src_ip()),
            number(row.src_port()),
            text(row.dst_ip()),
            number(row.dst_port()),
            text(row.proto()),
            text(row.session()),
            text(row.msg()),
            text(row.fields()),
            text(row.raw()),
            text(row.trace_id()),
            text(row.span_id()),
        ];
        assert!(stored[..] == expected, "{row:?}");
    }
}

#[test]
fn every_column_of_a_capture_comes_back_byte_for_byte() {
    let database = Database::new();
    let mut rows = vec![Capture::builder("", "").build().unwrap()];
    for text in &weird() {
        let builder = Capture::builder(text, text).session(text).proto(text).link_type(65_535).length(i64::MAX as u64);
        rows.push(builder.data(text.as_bytes()).dst("::".parse().ok(), None).build().unwrap());
    }
    rows.push(Capture::builder("s", "k").data((0..=255).cycle().take(70_000).collect::<Vec<u8>>()).build().unwrap());
    // Enough packets for statements of every size.
    rows.extend((0..230).map(|port| {
        let packet = Capture::builder("tap", "packet").link_type(1).proto(if port % 2 > 0 { "tcp" } else { "udp" });
        packet.src(None, Some(port)).data(port.to_be_bytes()).build().unwrap()
    }));
    let pipeline = database.open();
    pipeline.captures().send_many_blocking(rows.clone()).unwrap().wait().unwrap();
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let columns =
        "ts, sensor, kind, session, src_ip, src_port, dst_ip, dst_port, proto, link_type, length, fields, data";
    let stored = stored(&database, &format!("SELECT {columns} FROM captures ORDER BY id"));
    assert_eq!(stored.len(), rows.len());
    for (stored, row) in stored.iter().zip(&rows) {
        let expected = [
            Value::Integer(row.ts().as_nanos()),
            text(Some(row.sensor())),
            text(Some(row.kind())),
            text(row.session()),
            text(row.src_ip()),
            number(row.src_port()),
            text(row.dst_ip()),
            number(row.dst_port()),
            text(row.proto()),
            number(row.link_type()),
            Value::Integer(row.length() as i64),
            text(row.fields()),
            Value::Blob(row.data().to_vec()),
        ];
        assert!(stored[..] == expected, "{row:?}");
    }
}

#[test]
fn a_refused_batch_leaves_neither_rows_nor_ledger_behind() {
    let database = Database::new();
    database.create();
    database.execute(
        "CREATE TRIGGER theirs BEFORE INSERT ON events_0 WHEN NEW.msg = 'bad' BEGIN SELECT RAISE(FAIL, 'no'); END",
    );
    let backend = Sqlite::open(database.path(), &Config::default()).unwrap();
    let names = |bad: usize| (0..250).map(move |row| if row == bad { "bad".into() } else { row.to_string() });
    for bad in [0, 120, 249] {
        let rows = names(bad).map(|name: String| Row::Keep(crate::harness::event(&name))).collect();
        let error = backend.write(&Batch::detached("s", 0, rows)).unwrap_err();
        let forebay::backend::WriteError::Rejected { rows, .. } = error else { panic!("{error}") };
        assert!(rows.contains(&bad) && rows.len() <= 100, "{rows:?}");
        assert_eq!(database.number("SELECT count(*) FROM events"), 0);
        assert!(backend.ledger("").unwrap().is_empty());
    }
    let good = names(1000).map(|name: String| Row::Keep(crate::harness::event(&name))).collect();
    backend.write(&Batch::detached("s", 0, good)).unwrap();
    assert_eq!(database.number("SELECT count(*) FROM events"), 250);
}

#[test]
fn what_killed_processes_left_in_the_ledger_is_gone_after_a_day_and_nothing_else() {
    let database = Database::new();
    assert!(database.open().shutdown_blocking(LONG).is_complete());
    let other = rusqlite::Connection::open(database.path()).unwrap();
    let rows = [("memory/killed/0", 25), ("memory/lately/0", 23), ("file/old", 9999)];
    for (source, hours) in rows {
        let at = "(unixepoch() - ?2 * 3600) * 1000000000";
        other.execute(&format!("INSERT INTO ingest_ledger VALUES (?1, 0, 0, 1, {at})"), (source, hours)).unwrap();
    }
    drop(other);
    assert!(database.open().shutdown_blocking(LONG).is_complete());
    assert_eq!(database.texts("SELECT source FROM ingest_ledger ORDER BY 1"), ["file/old", "memory/lately/0"]);
}
