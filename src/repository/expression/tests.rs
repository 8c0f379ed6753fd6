use proptest::prelude::*;

use super::super::{CaptureColumn, EventColumn};
use super::*;

fn read(text: &str) -> Result<Filter<EventColumn>, ExpressionError> {
    text.parse()
}

#[test]
fn what_dashboards_write_is_read() {
    use EventColumn::{Sensor, Service, Session, SrcIp, SrcPort};
    let text = r#"sensor:web-1  service:ssh src_ip:10.1.0.0/8 fields.username:root port:22 "free text" -session:* decky:x
        -fields."a b".c:"" src_port:1..9 ip:::1 -word since:2026-11-20 until:2026-11-20T00:00:01+00:00 id:5.."#;
    let at = |text| Timestamp::parse(text).unwrap();
    let path = |keys: &[&str]| FieldPath::new(keys.iter().copied()).unwrap();
    let expected = Filter::new()
        .is(Sensor, "web-1")
        .is(Service, "ssh")
        .is(SrcIp, "10.0.0.0/8")
        .field(path(&["username"]), "root")
        .and(Test::Port(22, 22))
        .contains("free text")
        .and_not(Test::Present(Session))
        .is(Sensor, "x")
        .and_not(Test::Field(path(&["a b", "c"]), String::new()))
        .and(Test::Between(SrcPort, 1, 9))
        .and(Test::Peer("::1/128".parse().unwrap()))
        .and_not(Test::Contains("word".into()))
        .since(at("2026-11-20T00:00:00Z"))
        .until(at("2026-11-20T00:00:01Z"))
        .and(Test::Ids(5, i64::MAX));
    assert_eq!(read(text).unwrap(), expected);
    assert_eq!(read(" \t\n").unwrap(), Filter::new());
    let written = r#"since:2026-11-20T00:00:00.000000000Z until:2026-11-20T00:00:01.000000000Z id:5.. sensor:web-1 service:ssh src_ip:10.0.0.0/8 fields.username:root port:22 "free text" -session:* sensor:x -fields."a b".c:"" src_port:1..9 ip:::1/128 -"word""#;
    assert_eq!(read(text).unwrap().to_string(), written);
}

#[test]
fn what_is_not_understood_is_said_with_its_place() {
    for (text, offset, what) in [
        ("colour:red", 0, "there are sensor, service"),
        ("a  colour:red", 3, "quotation marks"),
        ("2001:db8::1", 0, "a text with a colon needs quotation marks"),
        ("src_ip:10.0.0", 7, "no address"),
        ("src_ip:10.0.0.0/33", 7, "no address"),
        ("ip:x", 3, "no address"),
        ("port:65536", 5, "0 to 65535"),
        ("port:1..x", 5, "range"),
        ("src_port:x", 9, "no number"),
        ("id:x", 3, "no id"),
        ("id:..", 3, "no id"),
        ("since:yesterday", 6, "no time"),
        ("time:2026-11-20..x", 5, "no time"),
        ("sensor:", 7, "a value is missing"),
        ("sensor: x", 7, "a value is missing"),
        ("\"abc", 0, "not closed"),
        ("sensor:\"abc", 7, "not closed"),
        ("\"a\"b", 3, "white space"),
        ("a\"b", 1, "quotation mark"),
        ("sensor:a\"b", 8, "quotation mark"),
        ("\"a\\x\"", 2, "backslash"),
        ("\"\\u{d800}\"", 1, "backslash"),
        ("-", 1, "behind `-`"),
        ("a - b", 3, "behind `-`"),
        ("a OR b", 2, "no operator"),
        ("fields.:x", 7, "1 to 255 bytes"),
        ("fields.a..b:x", 7, "1 to 255 bytes"),
        ("fields.a", 8, "needs a value"),
        ("fields.a b", 8, "needs a value"),
        ("fields.\"a:x", 7, "not closed"),
        ("kind:packet", 0, "no column"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.offset == offset && error.to_string().contains(what), "{text}: {error}");
        assert!(text.is_char_boundary(error.offset));
    }
    assert!("kind:packet length:64..".parse::<Filter<CaptureColumn>>().is_err());
    assert!("kind:packet length:64..1500".parse::<Filter<CaptureColumn>>().is_ok());
    assert!(read(&"a ".repeat(64)).is_ok());
    assert_eq!(read(&"a ".repeat(65)).unwrap_err().offset, 128);
    assert!(read(&"a".repeat(MOST_BYTES + 1)).is_err());
}

fn test() -> impl Strategy<Value = Test<EventColumn>> {
    let text = || prop_oneof![any::<String>(), "[\"\\\\* \\-:a]{0,4}".prop_map(|text| text)];
    let column = || prop::sample::select(EventColumn::ALL);
    let words = || prop::sample::select(vec![EventColumn::Sensor, EventColumn::Msg, EventColumn::Session]);
    let block = || {
        let v4 = (any::<[u8; 4]>(), 0..=32u8)
            .prop_map(|(octets, length)| IpNet::new(octets.into(), length).unwrap().trunc());
        let v6 = (any::<[u8; 16]>(), 0..=128u8)
            .prop_map(|(octets, length)| IpNet::new(octets.into(), length).unwrap().trunc());
        prop_oneof![v4, v6]
    };
    let keys = prop::collection::vec("[a-z.: *é]{1,4}", 1..4);
    prop_oneof![
        (words(), text()).prop_map(|(column, text)| Test::Is(column, text)),
        column().prop_map(Test::Present),
        block().prop_map(|block| Test::Within(EventColumn::DstIp, block)),
        block().prop_map(Test::Peer),
        any::<(u32, u32)>().prop_map(|(a, b)| Test::Between(EventColumn::SrcPort, a.into(), b.into())),
        any::<(u16, u16)>().prop_map(|(a, b)| Test::Port(a, b)),
        any::<(i64, i64)>().prop_map(|(a, b)| Test::Times(a, b)),
        any::<(i64, i64)>().prop_map(|(a, b)| Test::Ids(a, b)),
        text().prop_map(Test::Contains),
        (keys, text()).prop_map(|(keys, text)| Test::Field(FieldPath::new(keys).unwrap(), text)),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(tests in prop::collection::vec((test(), any::<bool>()), 0..6)) {
        let filter = tests.into_iter().fold(Filter::new(), |filter, (test, is_negated)| {
            if is_negated { filter.and_not(test) } else { filter.and(test) }
        });
        let written = filter.to_string();
        prop_assert!(!written.contains(|c: char| c.is_control()), "{}", written);
        prop_assert_eq!(read(&written).map_err(|error| format!("{written}: {error}")), Ok(filter));
    }

    #[test]
    fn no_text_makes_it_panic_and_every_error_has_a_place(text in "([a-z]{0,3}|sensor|port|fields\\.|since|[ :\"\\\\*./\\-\u{0}é{}u]|[0-9]){0,12}") {
        match read(&text) {
            Ok(filter) => prop_assert_eq!(read(&filter.to_string()), Ok(filter)),
            Err(error) => prop_assert!(text.is_char_boundary(error.offset), "{}", error),
        }
    }

    #[test]
    fn not_any_text_at_all(text in any::<String>()) {
        if let Err(error) = read(&text) {
            prop_assert!(error.offset <= text.len());
        }
    }
}
