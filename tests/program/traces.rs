//! Spans that the program sends by OTLP, through a real collector (`rotel`, from PyPI), which hands them on.
//!
//! [`Sink`] is where they end: it reads what comes over HTTP with the protocol's own types.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::place::{Place, Running, free_address, wait_for};
use crate::run::{settings, tail, wait_for_messages};

const SECRET: &str = "hunter2-canary";
const KEY: &str = "collector-key-canary";

/// A request as it came.
#[derive(Clone)]
struct Request {
    head: String,
    body: Vec<u8>,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<Request>>>);

impl Sink {
    /// Returns it and its address.
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let sink = Self::default();
        let taken = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let taken = taken.clone();
                std::thread::spawn(move || taken.attend(stream.unwrap()));
            }
        });
        (sink, address)
    }

    fn attend(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read(&mut reader) {
            self.0.lock().unwrap().push(request);
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    }

    fn requests(&self) -> Vec<Request> {
        self.0.lock().unwrap().clone()
    }
}

/// Reads a request; `None` when the peer has gone.
fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    reader.read_exact(&mut body).unwrap();
    if head.to_ascii_lowercase().contains("content-encoding: gzip\r\n") {
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        body = plain;
    }
    Some(Request { head, body })
}

fn start(place: &Place, variables: &[(&str, &str)]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["run", "--config", "forebay.toml", "--json"]).envs(variables.iter().copied());
    place.start_command(command)
}

fn lines(place: &Place) {
    let lines: String = (0..500).map(|n| format!("{{\"sensor\":\"{SECRET}\",\"msg\":\"{SECRET} {n}\"}}\n")).collect();
    place.write("a.json", lines);
    settings(place, &tail("log", "a.json"));
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?} in {attributes:?}"),
    }
}

/// Starts the collector, which hands on to `sink`; returns it and its address.
fn collector(place: &Place, sink: &str) -> (Running, String) {
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]);
    let installed = install.arg("--target").arg(place.path("rotel")).arg("rotel==0.0.1a15").output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let mut command = Command::new(place.path("rotel/rotel/rotel-agent"));
    let (http, grpc) = (free_address(), free_address());
    command.args(["start", "--otlp-http-endpoint", &http, "--otlp-grpc-endpoint", &grpc]);
    command.args(["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", sink]);
    command.args(["--batch-timeout", "100ms", "--pid-file", "rotel.pid", "--log-file", "rotel.log"]);
    let running = place.start_command(command);
    wait_for("the collector", || TcpStream::connect(&http).ok());
    (running, format!("http://{http}"))
}

fn spans(requests: &[Request]) -> Vec<Span> {
    let mut spans = Vec::new();
    for Request { head, body } in requests {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(!body.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()), "of a row");
        for of_resource in ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans {
            let resource = of_resource.resource.unwrap();
            assert_eq!(text(&resource.attributes, "service.name"), "forebay");
            assert_eq!(text(&resource.attributes, "service.version"), env!("CARGO_PKG_VERSION"));
            spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    spans
}

fn number(attributes: &[KeyValue], key: &str) -> i64 {
    match value(attributes, key) {
        Some(Value::IntValue(number)) => *number,
        other => panic!("{key}: {other:?} in {attributes:?}"),
    }
}

#[test]
fn spans_reach_the_collector_inside_one_another_and_with_nothing_of_a_row() {
    let (sink, behind) = Sink::start();
    let place = Place::new();
    let (_collector, address) = collector(&place, &behind);
    lines(&place);
    let mut run = start(&place, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    run.wait_for_err(" into sqlite:");
    wait_for_messages(&place, "forebay.db", 500);
    wait_for("the first spans, while it runs", || (!sink.requests().is_empty()).then_some(()));
    run.signal("TERM");
    let outcome = run.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");

    let of_all_batches = || {
        let spans = spans(&sink.requests());
        let rows = |span: &Span| number(&span.attributes, "rows");
        (spans.iter().filter(|span| span.name == "batch").map(rows).sum::<i64>() == 500).then_some(spans)
    };
    let spans = wait_for("the spans of 500 rows", of_all_batches);
    assert!(spans.iter().any(|span| span.name == "send"));
    let writes: Vec<_> = spans.iter().filter(|span| span.name == "write").collect();
    assert!(!writes.is_empty());
    for write in writes {
        let batch = spans.iter().find(|span| span.span_id == write.parent_span_id).expect("the batch of a write");
        assert_eq!((&*batch.name, &batch.trace_id), ("batch", &write.trace_id));
        assert_eq!(text(&batch.attributes, "lane"), "sqlite");
        assert!(batch.start_time_unix_nano <= write.start_time_unix_nano);
        assert!(write.end_time_unix_nano <= batch.end_time_unix_nano);
    }
}

#[test]
fn the_variables_headers_are_sent_and_never_logged() {
    let (sink, address) = Sink::start();
    let place = Place::new();
    lines(&place);
    let headers = format!("authorization=Bearer {KEY}");
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*address), ("OTEL_EXPORTER_OTLP_HEADERS", &headers)];
    let mut run = start(&place, &[&variables[..], &[("FOREBAY_LOG", "trace")]].concat());
    run.wait_for_err(" into sqlite:");
    wait_for_messages(&place, "forebay.db", 500);
    run.signal("TERM");
    let outcome = run.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let requests = sink.requests();
    assert!(!requests.is_empty());
    for Request { head, .. } in requests {
        assert!(head.contains(&format!("authorization: Bearer {KEY}\r\n")), "{head}");
    }
    assert!(!outcome.err.contains(KEY) && !outcome.out.contains(KEY), "{outcome:?}");
}

#[test]
fn rows_land_while_the_collector_is_away_or_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let never_answers = format!("http://{}", silent.local_addr().unwrap());
    let away = format!("http://{}", free_address());
    for address in [&away, &never_answers] {
        let place = Place::new();
        lines(&place);
        let mut run = start(&place, &[("OTEL_EXPORTER_OTLP_ENDPOINT", address)]);
        run.wait_for_err(" into sqlite:");
        wait_for_messages(&place, "forebay.db", 500);
        run.signal("TERM");
        let outcome = run.finish();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(outcome.summary()["complete"], true);
        assert!(outcome.err.contains("BatchSpanProcessor") || outcome.err.contains("the last spans"), "{outcome:?}");
    }
}

#[test]
fn settings_that_cannot_be_followed_are_named_and_passwords_in_them_are_not_repeated() {
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let place = Place::new();
    lines(&place);
    let good = (ENDPOINT, "http://127.0.0.1:1");
    for (variables, said) in [
        (vec![(ENDPOINT, "localhost:4318")], "OTEL_EXPORTER_OTLP_ENDPOINT: must begin with http://"),
        (vec![(ENDPOINT, "http://u:hunter2-canary@h:1")], "OTEL_EXPORTER_OTLP_ENDPOINT: takes no password"),
        (vec![(ENDPOINT, "http://[hunter2-canary")], "OTEL_EXPORTER_OTLP_ENDPOINT: is no URL: "),
        (vec![good, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "OTEL_EXPORTER_OTLP_PROTOCOL: "),
    ] {
        let outcome = start(&place, &variables).finish();
        assert_eq!(outcome.code, 2, "{variables:?}: {outcome:?}");
        assert!(outcome.err.contains(said) && !outcome.err.contains(SECRET), "{variables:?}: {outcome:?}");
    }
}
