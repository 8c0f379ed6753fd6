//! What a list in memory knows of a row, and what is true of it: written again, and plainly.

use std::net::IpAddr;

use forebay::repository::{CaptureColumn, Column, Condition, EventColumn, Record, Test};
use forebay::{Capture, Event};

/// Objects for `fields`, and which texts they have where: all of them. Half surrogate pairs, more levels than MariaDB reads,
/// and keys that are written with escapes are among them.
pub static FIELDS: &[(&str, &[(&str, &str)])] = &[
    ("{}", &[]),
    (r#"{"a":"root"}"#, &[("a", "root")]),
    (r#"{"a":"ROOT","b":{"a":"root"}}"#, &[("a", "ROOT"), ("b.a", "root")]),
    (r#" { "a" : 1.0 , "b":{"a":true,"c d":null} } "#, &[("a", "1.0"), ("b.a", "true"), ("b.\"c d\"", "null")]),
    (r#"{"a":1}"#, &[("a", "1")]),
    (r#"{"a":"1","a":2}"#, &[("a", "1")]),
    (r#"{"b":1,"b":{"a":"it's"}}"#, &[("b", "1"), ("b.a", "it's")]),
    (r#"{"\u0061":"r\u006fot"}"#, &[("a", "root")]),
    (r#"{"\u0061":"1","a":"root"}"#, &[("a", "1")]),
    (r#"{"b":{},"b":{"\u0061":"root"},"x":"a"}"#, &[("b.a", "root")]),
    (r#"{"a\/b":"root","c":"\\u0061"}"#, &[("\"a/b\"", "root")]),
    (r#"{"a":"\udcff","b":{"a":"root"}}"#, &[("a", "\u{fffd}"), ("b.a", "root")]),
    (r#"{"a":"a\u0000\n\"\\\/é\ud83d\ude00"}"#, &[("a", "a\0\n\"\\/é😀")]),
    (r#"{"a":["root"],"b":{"a":{"x":"root"}}}"#, &[]),
    (r#"{"a":"","é":"É","a.b":"dot"}"#, &[("a", ""), ("é", "É"), ("\"a.b\"", "dot")]),
    (r#"{"a":"a ","b":{"a":"%"}}"#, &[("a", "a "), ("b.a", "%")]),
    (
        r#"{"x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],"a":"root"}"#,
        &[("a", "root")],
    ),
];
/// Places that are asked for, and what may stand there.
pub const PATHS: [&str; 7] = ["a", "b", "b.a", "b.\"c d\"", "é", "\"a.b\"", "\"a/b\""];
pub const VALUES: [&str; 16] = [
    "root",
    "ROOT",
    "1.0",
    "1",
    "true",
    "null",
    "it's",
    "\u{fffd}",
    "a\0\n\"\\/é😀",
    "",
    "É",
    "é",
    "dot",
    "a ",
    "a",
    "%",
];

/// What the list knows of a row.
pub trait Known: Record + PartialEq {
    fn nanos(&self) -> i64;
    fn text(&self, column: Self::Column) -> Option<String>;
    fn ips(&self) -> [Option<IpAddr>; 2];
    fn ports(&self) -> [Option<u16>; 2];
    fn prose(&self) -> Vec<Option<&str>>;
    fn json(&self) -> Option<&str>;

    fn satisfies(&self, id: i64, test: &Test<Self::Column>) -> bool {
        let within = |number: i64, first: i64, last: i64| first <= number && number <= last;
        match test {
            Test::Is(column, text) => self.text(*column).as_ref() == Some(text),
            Test::Present(column) => self.text(*column).is_some(),
            Test::Within(column, block) => {
                self.text(*column).is_some_and(|text| block.contains(&text.parse::<IpAddr>().unwrap()))
            }
            Test::Between(column, first, last) => {
                self.text(*column).is_some_and(|text| within(text.parse().unwrap(), *first, *last))
            }
            Test::Peer(block) => self.ips().into_iter().flatten().any(|address| block.contains(&address)),
            Test::Port(first, last) => self.ports().into_iter().flatten().any(|port| (first..=last).contains(&&port)),
            Test::Times(first, last) => within(self.nanos(), *first, *last),
            Test::Ids(first, last) => within(id, *first, *last),
            Test::Contains(text) => {
                let small = text.to_ascii_lowercase();
                self.prose().into_iter().flatten().any(|prose| prose.to_ascii_lowercase().contains(&small))
            }
            Test::Field(path, text) => self.json().is_some_and(|json| {
                let (_, there) = FIELDS.iter().find(|(known, _)| *known == json).expect("one of ours");
                there.contains(&(path.to_string().as_str(), text))
            }),
        }
    }

    fn meets(&self, id: i64, condition: &Condition<Self::Column>) -> bool {
        self.satisfies(id, &condition.test) != condition.is_negated
    }
}

fn parsed(text: Option<&str>) -> Option<IpAddr> {
    text.map(|text| text.parse().unwrap())
}

fn digits(number: Option<impl ToString>) -> Option<String> {
    number.map(|number| number.to_string())
}

impl Known for Event {
    fn nanos(&self) -> i64 {
        self.ts().as_nanos()
    }

    fn text(&self, column: EventColumn) -> Option<String> {
        match column {
            EventColumn::Sensor => Some(self.sensor()),
            EventColumn::Service => Some(self.service()),
            EventColumn::EventType => Some(self.event_type()),
            EventColumn::SrcIp => self.src_ip(),
            EventColumn::DstIp => self.dst_ip(),
            EventColumn::Proto => self.proto(),
            EventColumn::Session => self.session(),
            EventColumn::Msg => self.msg(),
            EventColumn::Raw => self.raw(),
            EventColumn::TraceId => self.trace_id(),
            EventColumn::SpanId => self.span_id(),
            EventColumn::SrcPort => return digits(self.src_port()),
            EventColumn::DstPort => return digits(self.dst_port()),
            other => panic!("{other:?} is new: add it here"),
        }
        .map(str::to_owned)
    }

    fn ips(&self) -> [Option<IpAddr>; 2] {
        [self.src_ip(), self.dst_ip()].map(parsed)
    }

    fn ports(&self) -> [Option<u16>; 2] {
        [self.src_port(), self.dst_port()]
    }

    fn prose(&self) -> Vec<Option<&str>> {
        vec![self.msg(), self.raw()]
    }

    fn json(&self) -> Option<&str> {
        self.fields()
    }
}

impl Known for Capture {
    fn nanos(&self) -> i64 {
        self.ts().as_nanos()
    }

    fn text(&self, column: CaptureColumn) -> Option<String> {
        match column {
            CaptureColumn::Sensor => Some(self.sensor()),
            CaptureColumn::Kind => Some(self.kind()),
            CaptureColumn::SrcIp => self.src_ip(),
            CaptureColumn::DstIp => self.dst_ip(),
            CaptureColumn::Proto => self.proto(),
            CaptureColumn::Session => self.session(),
            CaptureColumn::SrcPort => return digits(self.src_port()),
            CaptureColumn::DstPort => return digits(self.dst_port()),
            CaptureColumn::LinkType => return digits(self.link_type()),
            CaptureColumn::Length => return digits(Some(self.length())),
            other => panic!("{other:?} is new: add it here"),
        }
        .map(str::to_owned)
    }

    fn ips(&self) -> [Option<IpAddr>; 2] {
        [self.src_ip(), self.dst_ip()].map(parsed)
    }

    fn ports(&self) -> [Option<u16>; 2] {
        [self.src_port(), self.dst_port()]
    }

    fn prose(&self) -> Vec<Option<&str>> {
        vec![self.fields()]
    }

    fn json(&self) -> Option<&str> {
        self.fields()
    }
}

/// Columns by a number that need not be in range.
pub fn column<C: Column>(number: usize) -> C {
    C::ALL[number % C::ALL.len()]
}
