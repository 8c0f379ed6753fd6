//! Every byte comes back, and rows that the server refuses are set aside, whatever their size.

use forebay::pipeline::ReplayRows;
use forebay::{Capture, Event, ReceiptError, Row, Timestamp};
use mysql_async::Value;

use super::server::{SHARED, Server};
use super::{LONG, impatient, pipeline};
use crate::harness::{counts, event, events};

fn weird() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "a ",
        "\0",
        "a\0b\0",
        "'); DROP TABLE events; --",
        "\\' \\\\ \\0",
        "%s ?1 :a",
        "\r\n\t\u{2028}",
        "NULL",
        "\u{feff}é e\u{301}",
    ]
    .map(str::to_owned)
    .into();
    for plane in 0..=16u32 {
        texts.push([0, 0x100, 0xfffd, 0xffff].iter().filter_map(|low| char::from_u32(plane << 16 | low)).collect());
    }
    texts
}

fn text(value: Option<&str>) -> Value {
    value.map_or(Value::NULL, |text| Value::Bytes(text.into()))
}

fn number(value: Option<impl Into<i64>>) -> Value {
    value.map_or(Value::NULL, |number| Value::Int(number.into()))
}

#[test]
fn every_column_of_an_event_comes_back_byte_for_byte() {
    let (name, url) = SHARED.new_database();
    let mut rows = vec![Event::builder("", "", "").build().unwrap()];
    for text in &weird() {
        let fields = format!("{{ \"a\" :1.0,{}:\"\\u0041\" }}", serde_json::json!(text));
        let builder = Event::builder(text, text, text).ts(Timestamp::from_nanos(i64::MIN));
        let builder = builder.src("2001:db8::1".parse().ok(), Some(65_535)).dst("1.2.3.4".parse().ok(), Some(0));
        let builder = builder.proto(text).session(text).msg(text).raw(text).fields(&fields).trace(text, text);
        rows.push(builder.build().unwrap());
    }
    let long = "\u{10ffff}\0".repeat(200_000);
    rows.push(Event::builder(&"ü".repeat(255), "v", "t").msg(&long).raw(&long).build().unwrap());
    let pipeline = pipeline(&url, impatient()).unwrap();
    pipeline.events().send_many_blocking(rows.clone()).unwrap().wait().unwrap();
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let columns = "ts, sensor, service, event_type, src_ip, src_port, dst_ip, dst_port, proto, session, msg, fields, \
                   raw, trace_id, span_id";
    let stored = SHARED.admin().rows(&format!("SELECT {columns} FROM `{name}`.events ORDER BY id"));
    assert_eq!(stored.len(), rows.len());
    for (stored, row) in stored.iter().zip(&rows) {
        let expected = [
            Value::Int(row.ts().as_nanos()),
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
    let (name, url) = SHARED.new_database();
    let mut rows = vec![Capture::builder("", "").build().unwrap()];
    for text in &weird() {
        let builder = Capture::builder(text, text).session(text).proto(text).link_type(65_535).length(i64::MAX as u64);
        rows.push(builder.data(text.as_bytes()).dst("::".parse().ok(), None).build().unwrap());
    }
    rows.push(Capture::builder("s", "k").data((0..=255).cycle().take(70_000).collect::<Vec<u8>>()).build().unwrap());
    let pipeline = pipeline(&url, impatient()).unwrap();
    pipeline.captures().send_many_blocking(rows.clone()).unwrap().wait().unwrap();
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let columns = "sensor, kind, session, dst_ip, proto, link_type, length, data";
    let stored = SHARED.admin().rows(&format!("SELECT {columns} FROM `{name}`.captures ORDER BY id"));
    assert_eq!(stored.len(), rows.len());
    for (stored, row) in stored.iter().zip(&rows) {
        let expected = [
            text(Some(row.sensor())),
            text(Some(row.kind())),
            text(row.session()),
            text(row.dst_ip()),
            text(row.proto()),
            number(row.link_type()),
            Value::Int(row.length() as i64),
            Value::Bytes(row.data().to_vec()),
        ];
        assert!(stored[..] == expected, "{row:?}");
    }
}

#[test]
fn the_view_shows_times_that_people_read_also_before_1970() {
    let (name, url) = SHARED.new_database();
    let pipeline = pipeline(&url, impatient()).unwrap();
    let at = |nanos| Event::builder("s", "v", "t").ts(Timestamp::from_nanos(nanos)).build().unwrap();
    let rows = [0, 1_700_000_000_123_456_789, -1, -1_000_000_000, i64::MIN, i64::MAX].map(at).into();
    pipeline.events().send_many_blocking(rows).unwrap().wait().unwrap();
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let times = SHARED.admin().texts(&format!("SELECT time FROM `{name}`.events_view ORDER BY id"));
    let expected = [
        "1970-01-01T00:00:00.000000000Z",
        "2023-11-14T22:13:20.123456789Z",
        "1969-12-31T23:59:59.999999999Z",
        "1969-12-31T23:59:59.000000000Z",
        "1677-09-21T00:12:43.145224192Z",
        "2262-04-11T23:47:16.854775807Z",
    ];
    assert_eq!(times, expected);
}

#[test]
fn bad_rows_all_over_a_large_batch_are_set_aside_and_the_rest_is_stored() {
    let (name, url) = SHARED.new_database();
    let pipeline = pipeline(&url, impatient()).unwrap();
    SHARED.admin().run(&format!(
        "CREATE TRIGGER `{name}`.theirs BEFORE INSERT ON `{name}`.events FOR EACH ROW \
         IF NEW.msg LIKE 'bad%' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'we do not take this'; END IF"
    ));
    let bad = [0, 1, 999, 1000, 1234, 2999];
    let row = |row: usize| match row {
        _ if bad.contains(&row) => event(&format!("bad {row}")),
        77 => Event::builder(&"long".repeat(100), "v", "t").msg("77").build().unwrap(),
        _ => event(&row.to_string()),
    };
    let replay = pipeline.replay("file:1").unwrap();
    let rows = (0..3000).map(|number| Row::Keep(row(number))).collect();
    let receipt = replay.send_blocking(ReplayRows::numbered(10_000, rows)).unwrap();
    assert!(matches!(receipt.wait(), Err(ReceiptError::Rejected { rows: 7, .. })));
    assert_eq!((counts(&pipeline).committed, counts(&pipeline).rejected), (2993, 7));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let mut admin = SHARED.admin();
    assert_eq!(admin.number(&format!("SELECT count(DISTINCT msg) FROM `{name}`.events")), 2993);
    let query = format!("SELECT CAST(position AS CHAR) FROM `{name}`.ingest_rejects ORDER BY position");
    assert_eq!(admin.texts(&query), ["10000", "10001", "10077", "10999", "11000", "11234", "12999"]);
    let details = admin.texts(&format!("SELECT DISTINCT LEFT(detail, 33) FROM `{name}`.ingest_rejects ORDER BY 1"));
    assert_eq!(details, ["Data too long for column 'sensor'", "we do not take this (1644)"]);
    let ledger = format!("SELECT CONCAT_WS(' ', first, last, `rows`) FROM `{name}`.ingest_ledger");
    assert_eq!(admin.texts(&ledger), ["10000 12999 3000"]);
}

/// A row larger than `max_allowed_packet` cannot be set aside in one piece either; the lane must not end there.
#[test]
fn a_row_larger_than_the_servers_packet_is_set_aside_in_parts_and_the_lane_goes_on() {
    let server = Server::start();
    server.admin().run("SET GLOBAL max_allowed_packet = 1048576");
    let (name, url) = server.new_database();
    let pipeline = pipeline(&url, impatient()).unwrap();
    let large = "\u{1}".repeat(3 << 20);
    let receipt = pipeline.events().send_blocking(event(&large)).unwrap();
    let Err(ReceiptError::Rejected { rows: 1, reason }) = receipt.wait() else { panic!("it does not fit") };
    assert!(reason.contains("max_allowed_packet"), "{reason}");
    let many = (0..5000).map(|row| format!("{row} {}", "x".repeat(1000)));
    assert_eq!(pipeline.events().send_many_blocking(events(many)).unwrap().wait(), Ok(()));
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let mut admin = server.admin();
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.events")), 5000);
    let parts = admin.texts(&format!("SELECT `row` FROM `{name}`.ingest_rejects ORDER BY id"));
    assert!(parts.len() > 10);
    let whole: serde_json::Value = serde_json::from_str(&parts.concat()).unwrap();
    assert!(whole["msg"] == large);
}
