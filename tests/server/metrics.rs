//! What Prometheus gets.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use forebay::telemetry::BUCKETS;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::client::wait_for;
use crate::stage::Stage;

#[test]
fn every_metric_has_a_help_text_a_histogram_its_buckets_and_none_is_a_summary() {
    let stage = Stage::new("names");
    stage.commit(&["a"]);
    stage.reject("bad_json", 1);
    // Gauges of what waits come a second later.
    wait_for("all of it", || stage.metric("forebay_buffer_size_rows{lane=\"names\",kind=\"events\"}"));
    let text = stage.get("/metrics").body;
    let types: BTreeMap<_, _> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let helps: BTreeSet<_> =
        text.lines().filter_map(|line| Some(line.strip_prefix("# HELP ")?.split_once(' ')?.0)).collect();
    for (name, kind) in &types {
        assert!(helps.contains(name), "{name} says what it is");
        assert_ne!(*kind, "summary", "{name}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        if *kind == "histogram" {
            let buckets = text.lines().filter(|line| line.starts_with(&format!("{name}_bucket{{")));
            assert!(buckets.count() > 5, "{name}");
        }
    }
    for name in [
        "forebay_batch_bytes",
        "forebay_batch_rows",
        "forebay_buffer_max_size_bytes",
        "forebay_buffer_max_size_rows",
        "forebay_buffer_size_bytes",
        "forebay_buffer_size_rows",
        "forebay_build_info",
        "forebay_committed_rows_total",
        "forebay_discarded_rows_total",
        "forebay_errors_total",
        "forebay_in_flight_batches",
        "forebay_lane_state",
        "forebay_last_commit_timestamp_seconds",
        "forebay_latency_seconds",
        "forebay_oldest_row_seconds",
        "forebay_queue_wait_seconds",
        "forebay_received_rows_total",
        "forebay_rejected_rows_total",
        "forebay_slots",
        "forebay_sqlite_disk_free_bytes",
        "forebay_sqlite_segments",
        "forebay_write_seconds",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_resident_memory_bytes",
    ] {
        assert!(types.contains_key(name), "{name}: {types:?}");
    }
    assert_eq!(stage.metric("forebay_committed_rows_total{lane=\"names\",kind=\"events\"}"), Some(1.0));
    let rejected = "forebay_rejected_rows_total{lane=\"names\",kind=\"events\",reason=\"bad_json\"}";
    assert_eq!(stage.metric(rejected), Some(1.0));
}

const WEEK: &str = "FOREBAY_TEST_WEEK";
/// A batch every eighth of a second.
const SAMPLES: u32 = 7 * 86_400 * 8;

/// A week's samples go into a histogram in seconds, with the upkeep that the server does each second. In a process of its
/// own, whose memory nobody else uses.
#[test]
fn histograms_do_not_grow_over_a_week() {
    if std::env::var_os(WEEK).is_some() {
        return print_growth();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--nocapture", "metrics::histograms_do_not_grow_over_a_week"]).env(WEEK, "1");
    let output = child.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let growth =
        text.lines().find_map(|line| line.split_once("@grown ")).map(|(_, kib)| kib.trim().parse::<i64>().unwrap());
    assert!(growth.is_some_and(|kib| kib < 4096), "{text}");
}

fn print_growth() {
    let mut builder = PrometheusBuilder::new();
    for (names_end, buckets) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Suffix(names_end.into()), buckets).unwrap();
    }
    let recorder = builder.build_recorder();
    let handle: PrometheusHandle = recorder.handle();
    let latency = ::metrics::with_local_recorder(&recorder, || ::metrics::histogram!("forebay_latency_seconds"));
    let mut after_a_day = None;
    for sample in 0..SAMPLES {
        latency.record(f64::from(sample % 1000) / 1000.0);
        if sample % 8 == 7 {
            handle.run_upkeep();
        }
        if sample == SAMPLES / 7 {
            after_a_day = Some((resident_kib(), handle.render().lines().count()));
        }
    }
    let (kib, lines) = after_a_day.unwrap();
    let text = handle.render();
    assert_eq!(text.lines().count(), lines);
    assert!(text.contains(&format!("forebay_latency_seconds_count {SAMPLES}")), "{text}");
    println!("@grown {}", resident_kib() - kib);
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
