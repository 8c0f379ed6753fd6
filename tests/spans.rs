//! The spans that `forebay::telemetry` promises, as a host's subscriber gets them.
//!
//! A binary of its own: the writers are threads of the pipeline, which only a subscriber of the whole process hears, and
//! the other tests need not pay for that.
#![cfg(feature = "sqlite")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay::repository::{Filter, Paging};
use forebay::{Capture, Config, Event, Pipeline};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

const LONG: Duration = Duration::from_secs(60);
const SECRET: &str = "hunter2-canary";
/// Those of the W3C's own example.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

thread_local! {
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Debug)]
struct Span {
    name: &'static str,
    level: Level,
    parent: Option<u64>,
    fields: Fields,
}

#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// Keeps every span and event of forebay's own; a span's id is its place and one.
#[derive(Clone, Default)]
struct Recorder {
    spans: Arc<Mutex<Vec<Span>>>,
    events: Arc<Mutex<Vec<Fields>>>,
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("forebay")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = INSIDE.with_borrow(|inside| inside.last().copied());
        let (name, level) = (attributes.metadata().name(), *attributes.metadata().level());
        let mut spans = self.spans.lock().unwrap();
        spans.push(Span { name, level, parent, fields });
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(&mut self.spans.lock().unwrap()[span.into_u64() as usize - 1].fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.events.lock().unwrap().push(fields);
    }

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.pop());
    }
}

impl Recorder {
    fn all(&self, name: &str) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }

    fn get(&self, id: Option<u64>) -> Span {
        self.spans.lock().unwrap()[id.expect("a parent") as usize - 1].clone()
    }
}

fn names(span: &Span) -> Vec<&'static str> {
    span.fields.0.keys().copied().collect()
}

#[test]
fn every_span_comes_with_its_fields_and_none_with_anything_of_a_row() {
    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("a.db").display());
    let pipeline = Pipeline::builder().config(Config::default()).database(url).open().unwrap();

    let event = |number: usize| {
        let fields = format!(r#"{{"password":"{SECRET}","number":{number}}}"#);
        let event = Event::builder(SECRET, "ssh", "login.failed").msg(SECRET).raw(SECRET).fields(&fields);
        event.trace(TRACE, SPAN).build().unwrap()
    };
    pipeline.events().send_many_blocking((0..1000).map(event).collect::<Vec<_>>()).unwrap().wait().unwrap();
    let capture = Capture::builder(SECRET, "payload").data(SECRET.as_bytes().to_vec()).build().unwrap();
    pipeline.captures().send_blocking(capture).unwrap().wait().unwrap();
    let page = pipeline.repository().unwrap().events().page(&Filter::new(), &Paging::newest(10)).unwrap();
    let row = &page.rows[0].row;
    assert_eq!((row.trace_id(), row.span_id()), (Some(TRACE), Some(SPAN)));
    let begun = Instant::now();
    while recorder.all("checkpoint").is_empty() {
        assert!(begun.elapsed() < LONG, "no checkpoint");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(pipeline.shutdown_blocking(LONG).is_complete());

    let sends = recorder.all("send");
    assert!(sends.len() < 100, "a span a row: {}", sends.len());
    let sent: usize = sends.iter().map(|span| span.fields.0["rows"].parse::<usize>().unwrap()).sum();
    assert_eq!(sent, 1001);
    assert!(sends.iter().all(|span| names(span) == ["kind", "rows"]));

    let (batches, writes) = (recorder.all("batch"), recorder.all("write"));
    assert!(batches.len() >= 2 && writes.len() >= batches.len());
    assert!(batches.iter().all(|span| names(span) == ["id", "lane", "rows"] && span.fields.0["lane"] == "sqlite"));
    for write in &writes {
        assert_eq!(names(write), ["attempt", "batch", "lane", "rows"]);
        let batch = recorder.get(write.parent);
        assert_eq!((batch.name, &batch.fields.0["id"]), ("batch", &write.fields.0["batch"]));
        assert_eq!(batch.fields.0["lane"], write.fields.0["lane"]);
    }
    let ids: std::collections::BTreeSet<_> = batches.iter().map(|span| span.fields.0["id"].clone()).collect();
    assert_eq!(ids.len(), batches.len(), "two batches of one lane have the same id");

    assert!(recorder.all("checkpoint").iter().all(|span| span.fields.0["lane"] == "sqlite"));
    let queries = recorder.all("query");
    let page = queries.iter().find(|span| span.fields.0["op"] == "page").expect("the query's span");
    assert_eq!((&*page.fields.0["table"], &*page.fields.0["backend"]), ("events", "sqlite"));

    let spans = recorder.spans.lock().unwrap().clone();
    assert!(spans.iter().all(|span| span.level == Level::DEBUG));
    let events = recorder.events.lock().unwrap().clone();
    for fields in spans.iter().map(|span| &span.fields).chain(&events) {
        assert!(!fields.0.values().any(|value| value.contains(SECRET)), "{fields:?}");
    }
}
