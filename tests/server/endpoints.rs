//! What is answered.

use std::time::SystemTime;

use forebay::Pipeline;
use forebay::server::{Server, View};
use forebay::telemetry::SourceFigures;

use crate::client::{ask, get, stream, wait_for};
use crate::stage::{Stage, anywhere, exporter};

#[test]
fn every_path_answers_with_its_kind_and_the_strict_policy() {
    let stage = Stage::new("kinds");
    for (path, code, kind) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/page.css", 200, "text/css; charset=utf-8"),
        ("/page.js", 200, "text/javascript; charset=utf-8"),
        ("/icon.svg", 200, "image/svg+xml"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", 200, "text/plain; charset=utf-8"),
        ("/api/status", 200, "application/json"),
        ("/nothing", 404, ""),
        ("/../../etc/passwd", 404, ""),
        ("/page.js/", 404, ""),
    ] {
        let answer = stage.get(path);
        assert_eq!((answer.code, answer.header("content-type").unwrap_or_default()), (code, kind), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let page = stage.get("/").body;
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("style="), "nothing from outside");
}

#[test]
fn only_reading_is_possible_and_no_body_is_taken() {
    let stage = Stage::new("reading");
    let address = stage.server.address();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = ask(address, method, "/api/status", &["Host: localhost"], "");
        assert_eq!((answer.code, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(ask(address, "GET", "/", &["Host: localhost"], "a body").code, 413);
    assert_eq!(ask(address, "GET", "/", &["Host: localhost", "Content-Length: 99999999999"], "").code, 413);
    assert_eq!(ask(address, "GET", "/", &["Host: localhost", "Transfer-Encoding: chunked"], "").code, 413);
}

#[test]
fn the_status_tells_lanes_rejects_latencies_segments_and_the_newest_events() {
    let stage = Stage::new("status");
    stage.commit(&["one", "two", "three"]);
    stage.reject("bad_json", 2);
    let status = wait_for("everything to be in the report", || {
        let status = stage.get("/api/status").json();
        let is_complete = status["events"].as_array().is_some_and(|events| events.len() == 3)
            && status["lanes"][0]["rejects"][0]["rows"] == 2
            && status["lanes"][0]["latency"]["p99"].is_number();
        is_complete.then_some(status)
    });
    assert_eq!((&status["healthy"], &status["ready"]), (&true.into(), &true.into()));
    let lane = &status["lanes"][0];
    assert_eq!((lane["lane"].as_str(), lane["state"].as_str()), (Some("status"), Some("running")));
    assert_eq!((&lane["events"]["committed"], &lane["events"]["rejected"]), (&3.into(), &2.into()));
    assert_eq!(lane["rejects"][0]["reason"], "bad_json");
    assert_eq!((&lane["slots"], &lane["oldest_seconds"]), (&1.into(), &serde_json::Value::Null));
    assert!(lane["last_commit"].as_f64().unwrap() <= status["at"].as_f64().unwrap());
    assert_eq!(status["events"][0]["msg"], "three");
    assert_eq!(status["events"][0]["src"], "203.0.113.9:51022");
    let figures: Vec<_> = status["backends"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    for figure in ["forebay_sqlite_segments", "forebay_sqlite_wal_bytes", "forebay_sqlite_disk_free_bytes"] {
        assert!(figures.contains(&figure), "{figure}: {figures:?}");
    }
}

#[test]
fn the_stream_brings_a_new_report_each_second() {
    let stage = Stage::new("stream");
    let mut reports = stream(stage.server.address()).filter(|report| report["lanes"].is_array());
    let first = reports.next().unwrap();
    stage.commit(&["a"]);
    let later = reports.find(|report| report["lanes"][0]["events"]["committed"] == 1).unwrap();
    assert!(later["at"].as_f64() > first["at"].as_f64());
    let history = later["lanes"][0]["history"].as_array().unwrap();
    assert!(!history.is_empty() && history.len() <= 300);
}

#[test]
fn sources_are_in_the_status_and_in_the_metrics_under_clean_names() {
    let pipeline = Pipeline::open("memory:").unwrap();
    let now = SystemTime::now();
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let source = SourceFigures {
        name: "taps\"} 1\nevil".to_owned(),
        kind: "live",
        state: "waiting",
        why: Some("<b>\u{1b}[31m".to_owned()),
        since: now,
        rows: 7,
        malformed: 1,
        skipped: 0,
        lag_bytes: Some(4096),
        latest: Some(nanos - 30_000_000_000),
        peers: None,
        kernel_drops: Some(5),
    };
    let view = View::new(pipeline.observer()).exporter(exporter()).sources(move || vec![source.clone()]);
    let server = Server::start(&anywhere(), view).unwrap();
    let status = wait_for("a report", || {
        let status = get(server.address(), "/api/status").json();
        status["sources"][0].is_object().then_some(status)
    });
    let source = &status["sources"][0];
    assert_eq!(
        (&source["rows"], &source["lag_bytes"], &source["why"]),
        (&7.into(), &4096.into(), &"<b>\u{1b}[31m".into())
    );
    assert!((29.0..3600.0).contains(&source["lag_seconds"].as_f64().unwrap()));
    assert!((29.0..3600.0).contains(&(status["at"].as_f64().unwrap() - source["latest"].as_f64().unwrap())));
    let metrics = get(server.address(), "/metrics").body;
    let labels = "{source=\"taps__ 1_evil\",kind=\"live\"}";
    for line in
        ["source_rows_total{} 7", "source_kernel_drops_total{} 5", "source_lag_bytes{} 4096", "source_state{} 2"]
    {
        let line = format!("\nforebay_{}\n", line.replace("{}", labels));
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    server.shutdown();
}

#[test]
fn a_server_ends_at_once_with_open_streams_and_an_observer_outlives_its_pipeline() {
    let stage = Stage::new("ends");
    let mut reports = stream(stage.server.address());
    reports.next().unwrap();
    let Stage { server, pipeline, .. } = stage;
    assert!(pipeline.shutdown_blocking(std::time::Duration::from_secs(60)).is_complete());
    assert!(get(server.address(), "/healthz").code == 200, "closed is not unwell");
    assert!(get(server.address(), "/readyz").body.contains("lane ends is closed"));
    let address = server.address();
    server.shutdown();
    // What was on its way may still come; then it ends.
    reports.for_each(drop);
    assert!(std::net::TcpStream::connect(address).is_err());
}
