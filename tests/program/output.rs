//! What people, machines and Prometheus get to see.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::pipes::{fifo, open_fifo};
use crate::place::{Place, free_address, wait_for};
use crate::samples::{line, lines};

/// Runs a command line of a shell in a terminal of its own, by `script` of bsdutils. Its output stays escape and all.
fn in_terminal(place: &Place, line: &str) -> crate::place::Running {
    let mut command = Command::new("script");
    let line = format!("stty cols 120; {line}");
    command.args(["-qec", &line, "/dev/null"]).env("FOREBAY", env!("CARGO_BIN_EXE_forebay"));
    place.start_command(command)
}

fn script_is_there() {
    let there = Command::new("script").arg("--version").stdout(Stdio::null()).status();
    assert!(there.is_ok_and(|status| status.success()), "please install bsdutils: `script` is missing");
}

#[test]
fn on_a_terminal_a_bar_shows_how_far_it_is_and_what_it_waits_for() {
    script_is_there();
    let place = Place::new();
    place.write("a.json", lines(0, 3000));
    let database = place.make_database();
    let lock = database.lock();
    let run = in_terminal(&place, "$FOREBAY ingest a.json");
    wait_for("the bar to say that it waits", || run.out().contains("waiting ").then_some(()));
    drop(lock);
    let outcome = run.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for part in ["a.json", "KiB/", " left", "the database does not answer", "3,000 rows in", "\u{1b}["] {
        assert!(outcome.out.contains(part), "{part}: {}", outcome.out);
    }
    let quiet = in_terminal(&place, "$FOREBAY ingest --quiet --again a.json").finish();
    assert_eq!((quiet.code, quiet.out.as_str()), (0, ""));
}

#[test]
fn without_a_terminal_there_is_no_bar_and_no_escape_sequence() {
    let place = Place::new();
    place.write("a.json", lines(0, 3000));
    let outcome = place.run(&["ingest", "-vv", "a.json"]);
    assert_eq!(outcome.code, 0);
    assert!(!outcome.out.contains(['\u{1b}', '\r']) && !outcome.err.contains(['\u{1b}', '\r']), "{outcome:?}");
    assert_eq!(place.run(&["ingest", "--again", "a.json"]).err, "");
}

#[test]
fn nothing_in_the_data_reaches_the_terminal_as_an_escape_sequence() {
    script_is_there();
    let place = Place::new();
    let escape = "\u{1b}]0;owned\u{7}\u{1b}[31mred\u{9b}5n\u{202e}";
    let json = serde_json::to_string(escape).unwrap();
    let record = format!("{{\"event_type\":{json},\"msg\":{json},\"session\":{json}}}\n");
    let malformed = format!("{{\"timestamp\":{json},\"event_type\":\"dns\",\"src_ip\":\"192.0.2.1\"}}\n{escape}\n");
    let name = "a\u{1b}[31m\u{202e}.json";
    place.write(name, record.repeat(20) + &malformed);
    let shown = |place: &Place, format: &str| {
        let plain = place.run(&["ingest", "-vv", "--again", "--format", format, name]);
        let mut command = Command::new("script");
        let line = format!("stty cols 120; $FOREBAY ingest -vv --again --format {format} a*.json");
        command.args(["-qec", &line, "/dev/null"]).env("FOREBAY", env!("CARGO_BIN_EXE_forebay"));
        let terminal = place.start_command(command).finish();
        assert_eq!((plain.code, terminal.code), (1, 1), "{plain:?} {terminal:?}");
        (plain.out + &plain.err, terminal.out)
    };
    for format in ["ndjson", "eve"] {
        let (plain, terminal) = shown(&place, format);
        assert!(plain.contains("\\u{1b}") && plain.contains("a\\u{1b}[31m\\u{202e}.json"), "{plain}");
        let is_harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(plain.chars().all(is_harmless), "{plain:?}");
        // The bar and the log have escape sequences of their own there.
        for part in ["\u{1b}]", "\u{1b}[31mred", "\u{7}", "\u{9b}", "\u{202e}", "a\u{1b}"] {
            assert!(!terminal.contains(part), "{part:?}: {terminal:?}");
        }
    }
    let missing = place.run(&["ingest", "no\u{1b}[31mne.json"]);
    assert!(missing.code == 2 && !missing.err.contains('\u{1b}'), "{missing:?}");
}

#[test]
fn the_table_tells_rows_by_file_table_and_kind_and_what_to_try_next() {
    let place = Place::new();
    place.write("a.json", lines(0, 1234) + "x\n");
    place.write("日本.pcap", crate::samples::pcap(5));
    let outcome = place.run(&["ingest", "--db", "sqlite:my own.db", "a.json", "日本.pcap"]);
    assert_eq!(outcome.code, 1);
    let text: Vec<_> = outcome.out.lines().collect();
    assert_eq!(
        text[..8],
        [
            "file       kind     rows  already in  set aside",
            "a.json     ndjson  1,234           0          1",
            "日本.pcap  pcap        5           0          0",
            "",
            "table     kind     rows  already in  set aside",
            "captures  pcap        5           0          0",
            "events    ndjson  1,234           0          1",
            "",
        ]
    );
    let has = |part: &str| assert!(outcome.out.contains(part), "{part}: {}", outcome.out);
    has("1,239 rows in ");
    has(" rows/s) into sqlite:my own.db (");
    has("1 records set aside in the table ingest_rejects");
    has("when  2023-11-14T22:13:20 to 2023-11-14T22:33:53 (UTC)");
    let hint = text.last().unwrap().strip_prefix("try:  sqlite3 -box 'my own.db' ").expect("what to try next");
    let query = hint.trim_matches('"');
    assert_eq!(crate::database::Database::open(&place.path("my own.db")).rows(query).len(), 1, "{query}");
}

#[test]
fn json_is_one_line_with_the_same_keys_always() {
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let place = Place::new();
    place.write("a.json", lines(0, 3));
    place.write("b.txt", "nothing known");
    for run in 0..2 {
        let outcome = place.ingest(&["a.json", "b.txt"]);
        assert_eq!(outcome.out.lines().count(), 1);
        let summary = outcome.summary();
        assert_eq!(
            keys(&summary),
            "already_in database derived failed files interrupted rejected rows rows_per_second seconds tables"
        );
        assert_eq!(keys(&summary["tables"]), "captures events");
        assert_eq!(keys(&summary["tables"]["events"]), "rejected rows");
        for file in summary["files"].as_array().unwrap() {
            assert_eq!(keys(file), "already_in complete kind malformed note path rows state", "run {run}");
        }
        assert_eq!(summary["database"], "sqlite:forebay.db");
    }
}

/// It panicked, after everything had been done.
#[test]
fn output_that_nobody_takes_is_no_fault() {
    let place = Place::new();
    place.write("a.json", lines(0, 3) + "x\n");
    for (arguments, code) in [
        (&["ingest", "-vv", "a.json"][..], "1\n"),
        (&["ingest", "--json", "a.json"], "0\n"),
        (&["ingest", "none.json"], "2\n"),
        (&["completions", "bash"], "0\n"),
    ] {
        let mut command = Command::new("sh");
        let script = "exec 3>&1; \"$0\" \"$@\" >/dev/full 2>/dev/full; echo $? >&3";
        command.args(["-c", script, env!("CARGO_BIN_EXE_forebay")]).args(arguments);
        assert_eq!(place.start_command(command).finish().out, code, "{arguments:?}");
    }
    assert_eq!(place.ingest(&["a.json"]).counts(), (0, 4, 0));
}

fn scrape(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    Some(body.to_owned())
}

#[test]
fn prometheus_can_ask_while_it_runs_and_no_value_of_an_attacker_is_in_the_answer() {
    let place = Place::new();
    fifo(&place, "evil-name.json");
    let address = free_address();
    let run = place.start(&["ingest", "--json", "--metrics", &address, "--sensor", "evil-sensor", "evil-name.json"]);
    let mut writer = open_fifo(&place, "evil-name.json");
    let evil = "{\"src_ip\":\"203.0.113.66\",\"user\":\"evil-user\",\"event_type\":\"evil-type\",\"session\":\"evil-session\"}\n";
    writer.write_all((line(0) + evil + "evil-line\n").as_bytes()).unwrap();
    // Not read to its end: the run cannot be over.
    let metrics = wait_for("the rows to be counted", || {
        scrape(&address).filter(|text| text.contains("forebay_committed_rows_total{lane=\"sqlite\",kind=\"events\"} 2"))
    });
    drop(writer);
    let outcome = run.finish();
    assert_eq!(outcome.counts(), (2, 0, 1));
    assert!(metrics.contains("forebay_rejected_rows_total{lane=\"sqlite\",kind=\"events\",reason=\"bad_json\"} 1"));
    for evil in ["evil", "203.0.113", "line 0", ".json"] {
        assert!(!metrics.contains(evil), "{evil}: {metrics}");
    }
    let names: BTreeSet<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in [
        "forebay_received_rows_total",
        "forebay_committed_rows_total",
        "forebay_buffer_size_bytes",
        "forebay_buffer_max_size_bytes",
        "forebay_in_flight_batches",
        "forebay_lane_state",
        "forebay_last_commit_timestamp_seconds",
        "forebay_batch_rows",
        "forebay_write_seconds",
        "forebay_latency_seconds",
    ] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    for name in names {
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} says what it is");
    }
}

#[test]
fn metrics_are_served_on_loopback_only_and_where_nobody_else_does() {
    let place = Place::new();
    place.write("a.json", lines(0, 3));
    for address in ["0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464"] {
        let outcome = place.ingest(&["--metrics", address, "a.json"]);
        assert!(outcome.code == 2 && outcome.err.contains("only loopback addresses"), "{outcome:?}");
    }
    place.write("open.toml", "[metrics]\nlisten = '0.0.0.0:9464'");
    assert_eq!(place.ingest(&["--config", "open.toml", "a.json"]).code, 2);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let outcome = place.ingest(&["--metrics", &address, "a.json"]);
    assert!(outcome.code == 2 && outcome.err.contains(&format!("metrics at {address}")), "{outcome:?}");
    assert!(!place.path("forebay.db").exists());
}

#[test]
fn with_a_token_in_the_environment_only_its_bearer_is_told_anything() {
    let place = Place::new();
    fifo(&place, "a.json");
    let address = free_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command
        .args(["ingest", "--json", "--metrics", &address, "a.json"])
        .env("FOREBAY_METRICS_TOKEN", "a-token-of-some-length");
    let run = place.start_command(command);
    let mut writer = open_fifo(&place, "a.json");
    writer.write_all(line(0).as_bytes()).unwrap();
    let code = |header: &str| {
        let mut stream = TcpStream::connect(&address).ok()?;
        stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{header}\r\n").as_bytes()).ok()?;
        let mut code = [0; 12];
        stream.read_exact(&mut code).ok()?;
        Some(String::from_utf8_lossy(&code[9..]).into_owned())
    };
    assert_eq!(wait_for("an answer", || code("")), "401");
    assert_eq!(code("Authorization: Bearer a-token-of-some-lengtH\r\n").as_deref(), Some("401"));
    assert_eq!(code("Authorization: Bearer a-token-of-some-length\r\n").as_deref(), Some("200"));
    drop(writer);
    let outcome = run.finish();
    assert_eq!(outcome.counts(), (1, 0, 0));
    assert!(!outcome.err.contains("a-token"), "{outcome:?}");
}
