//! Every query of the overview, asked of a real Prometheus while `forebay run` works and while it is disturbed.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use crate::dashboards::{names, queries};
use crate::files::run;
use crate::place::wait_for;
use crate::prometheus::{Prometheus, get};
use crate::server::Server;
use crate::station::Station;

/// A query as Grafana sends it when everything is chosen.
fn filled_in(expression: &str) -> String {
    // An hour in steps of half a minute would need a minute.
    let filled = expression.replace("$__rate_interval", "30s").replace("[1h:30s]", "[1h:1s]");
    ["$instance", "$backend", "$kind"].iter().fold(filled, |text, name| text.replace(name, ".*"))
}

/// What the disturbances move.
const MOVED: [&str; 13] = [
    "forebay_received_rows_total",
    "forebay_committed_rows_total",
    "forebay_rejected_rows_total",
    "forebay_discarded_rows_total",
    "forebay_retries_total",
    "forebay_errors_total",
    "forebay_retention_rows_total",
    "forebay_retention_segments_total",
    "forebay_mysql_pool_gets_total",
    "forebay_mysql_connections_opened_total",
    "forebay_source_rows_total",
    "forebay_source_malformed_records_total",
    "process_cpu_seconds_total",
];

/// What is shown as nought here, since what moves it is a claim elsewhere or would not be cheap.
const STILL: [(&str, &str); 6] = [
    ("forebay_failed_rows_total", "a lane must fail for good: tests/it/promises"),
    ("forebay_derived_rows_total", "only logins of Cowrie and DECNET bring credentials"),
    ("forebay_query_errors_total", "a question waits for a lock, it does not fail"),
    ("forebay_mysql_connections_closed_total", "a server must end, or a connection be half an hour old"),
    ("forebay_source_skipped_records_total", "a source must begin again: tests/program/run.rs"),
    ("forebay_source_kernel_drops_total", "a ring of 16 MiB must be full"),
];

/// One process with SQLite and MariaDB, and one that is disturbed: another program holds its database, its queues are
/// short, lines are malformed, and it keeps few rows.
#[test]
fn every_panel_of_the_overview_shows_data() {
    let server = Server::start();
    let (_, url) = server.new_database();
    let calm = Station::start(&format!("[run]\nalso = [\"central\"]\n[databases.central]\nurl = \"{url}\"\n"));
    let disturbed = Station::start(
        "[batch]\nmax_rows = 100\n[buffer.events]\nmax_rows = 200\n[buffer.captures]\nmax_rows = 100\npolicy = \"drop_newest\"\n\
         [sqlite]\nbusy_timeout = \"100ms\"\nsegment_rows = 100\nmerged_rows = 200\n[retry]\nmax = \"200ms\"\n[retention]\nmax_rows = 300\n",
    );
    let prometheus = Prometheus::start(&[calm.port, disturbed.port], &[]);
    let loads = [calm.load(), disturbed.load()];
    let has = |expression: &str| prometheus.ask(expression).iter().any(|(_, value)| !value.is_nan());
    wait_for("rows of both", || {
        (prometheus.ask("forebay_committed_rows_total{kind=\"events\"} > 100").len() == 3).then_some(())
    });
    let mut wanted: Vec<_> = queries("forebay-overview.json");
    wanted.retain(|query| !has(&filled_in(&query.text("expr"))));

    let database = disturbed.place.database();
    let here = format!("instance=\"127.0.0.1:{}\",kind=\"events\"", disturbed.port);
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    wait_for("data on every panel", || {
        // Until a batch was tried again, producers wait and packets are discarded.
        let full = format!("forebay_buffer_size_rows{{{here}}} >= 0.9 * forebay_buffer_max_size_rows{{{here}}}");
        let sum = |name: &str| prometheus.ask(&format!("sum({name})")).first().map_or(0.0, |(_, value)| *value);
        let both = || ["forebay_retries_total", "forebay_discarded_rows_total"].map(sum);
        let before = both();
        let lock = database.lock();
        wait_for("full queues and an attempt that failed", || {
            (0..200).for_each(|_| drop(flood.send_to(b"flood", ("127.0.0.1", disturbed.packets))));
            let moved = both().iter().zip(before).all(|(now, before)| *now > before);
            (moved && !prometheus.ask(&full).is_empty()).then_some(())
        });
        drop(lock);
        // Whoever waited goes on: an attempt comes before the next lock.
        let landed = sum(&format!("forebay_committed_rows_total{{{here}}}"));
        wait_for("rows that land again", || {
            (sum(&format!("forebay_committed_rows_total{{{here}}}")) > landed + 200.0).then_some(())
        });
        disturbed.malformed(3);
        wanted.retain(|query| !has(&filled_in(&query.text("expr"))));
        let missing: Vec<_> = wanted.iter().map(|query| query.place.as_str()).collect();
        if !missing.is_empty() {
            eprintln!("not yet: {missing:?}");
        }
        missing.is_empty().then_some(())
    });
    drop(loads);
    for name in MOVED {
        wait_for(name, || (prometheus.ask(&format!("sum({name})"))[0].1 > 0.0).then_some(()));
    }
    let counters: BTreeSet<_> = queries("forebay-overview.json")
        .iter()
        .flat_map(|query| names(&query.text("expr"), &["forebay_", "process_"]))
        .filter(|name| name.ends_with("_total"))
        .collect();
    let told = MOVED.into_iter().chain(STILL.map(|(name, _)| name)).map(str::to_owned);
    assert_eq!(counters, told.collect());

    for (label, expected) in [("instance", 2), ("lane", 2), ("kind", 2)] {
        let metric = if label == "instance" { "forebay_build_info" } else { "forebay_committed_rows_total" };
        let values = prometheus.ask(&format!("group by ({label}) ({metric})"));
        assert_eq!(values.len(), expected, "choices of {label}: {values:?}");
    }
    for station in [&calm, &disturbed] {
        promtool_accepts(&get(station.port, "/metrics").expect("metrics"));
    }
}

/// `promtool check metrics` knows Prometheus' rules for names and help texts.
fn promtool_accepts(answer: &str) {
    let (_, metrics) = answer.split_once("\r\n\r\n").expect("a body");
    let mut check = Command::new("promtool");
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(metrics.as_bytes()).unwrap();
    let input = std::fs::File::open(file.path()).unwrap();
    let output = run(check.args(["check", "metrics"]).stdin(Stdio::from(input)));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
