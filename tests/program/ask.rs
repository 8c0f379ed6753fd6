//! `forebay query`, `tail`, `stats` and `sessions` over what was really brought in; hostile text in every form.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::place::{Outcome, Place, wait_for};
use crate::samples::{eve, line, lines, own};

/// What a terminal, a spreadsheet or a reader of lines would act on.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}a\0b\r\nnext,\"row\"";

fn samples(place: &Place) {
    for name in ["cowrie.json", "eve.json", "loopback.pcapng"] {
        let outcome = place.run(&["ingest", "--quiet", &own(name).to_string_lossy()]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
}

/// One event whose every text is hostile, and one whose texts are formulas.
fn hostile() -> Place {
    let place = Place::new();
    let row = |text: &str, n: u32| {
        let fields = serde_json::json!({
            "sensor": text, "service": text, "event_type": text, "msg": text, "session": text,
            "ts": 1_700_000_000 + n, "key": text,
        });
        format!("{fields}\n")
    };
    place.write("evil.json", row(EVIL, 0) + &row("=cmd|'/c calc'!A0", 1) + &row("@SUM(1)", 2));
    let outcome = place.run(&["ingest", "--quiet", "evil.json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    place
}

fn objects(outcome: &Outcome) -> Vec<Value> {
    outcome
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[track_caller]
fn is_harmless(text: &str, kept: &[char]) {
    let acts = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.chars().any(|c| acts(c) && !kept.contains(&c)), "{text:?}");
}

/// Runs a line of shell in which `$0` is the program.
fn shell(place: &Place, script: &str) -> Outcome {
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", script, env!("CARGO_BIN_EXE_forebay")]).stdin(Stdio::null());
    place.start_command(command).finish()
}

#[test]
fn every_form_has_the_same_rows_and_json_has_every_column() {
    let place = Place::new();
    samples(&place);
    let query = |flags: &[&str]| place.run(&[&["query", "service:ssh", "-n", "1000"], flags].concat());
    let lines = query(&[]);
    assert_eq!((lines.code, lines.err.as_str()), (0, ""), "{lines:?}");
    let rows = objects(&lines);
    let count = place.database().number("SELECT count(*) FROM events WHERE service = 'ssh'");
    assert!(rows.len() as i64 == count && count > 40, "{count}");
    assert!(rows.is_sorted_by(|a, b| a["ts"].as_str() >= b["ts"].as_str()), "the newest first");
    assert!(rows.iter().all(|row| row["fields"].is_object() || row["fields"].is_null()));
    assert_eq!(query(&["--json"]).summary(), Value::Array(rows.clone()));
    assert_eq!(query(&["--format", "json"]).summary(), Value::Array(rows));
    let columns = ["--columns", "id,src_ip,fields.username"];
    for (format, separator) in [("csv", ','), ("tsv", '\t')] {
        let out = query(&[&columns[..], &["--format", format]].concat()).out;
        assert_eq!(out.lines().count() as i64, count + 1);
        assert_eq!(out.lines().next(), Some(format!("id{separator}src_ip{separator}fields.username").as_str()));
    }
    let table = query(&["--format", "table"]);
    assert!(table.out.starts_with("ts ") && table.out.lines().count() as i64 == count + 1, "{table:?}");
    let oldest = objects(&query(&["--oldest", "--order", "commit", "--columns", "id"]));
    assert!(oldest.is_sorted_by_key(|row| row["id"].as_i64()) && oldest.len() as i64 == count);
}

#[test]
fn captures_times_and_limits_are_chosen() {
    let place = Place::new();
    samples(&place);
    let packet = place.run(&["query", "--captures", "kind:packet", "--limit", "1"]);
    let row = &objects(&packet)[0];
    let expected = place
        .database()
        .texts("SELECT hex(data) FROM captures WHERE kind = 'packet' ORDER BY ts DESC, id DESC LIMIT 1");
    let data = base64(row["data"].as_str().unwrap());
    assert_eq!(data.iter().map(|byte| format!("{byte:02X}")).collect::<String>(), expected[0]);
    let secrets = place.run(&[
        "query",
        "--captures",
        "kind:credential",
        "--columns",
        "fields.username,data",
        "--format",
        "table",
    ]);
    assert!(secrets.out.contains("root") && !secrets.out.contains("cm9vd"), "text is shown as text: {secrets:?}");
    place.write("now.json", format!("{{\"msg\":\"now\",\"ts\":{}}}\n", jiff::Timestamp::now().as_second()));
    assert_eq!(place.run(&["ingest", "--quiet", "now.json"]).code, 0);
    assert_eq!(
        objects(&place.run(&["query", "--since", "2h", "--columns", "msg"])),
        [serde_json::json!({ "msg": "now" })]
    );
    let none = place.run(&["query", "msg:now", "--until", "2h"]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (1, "", ""), "{none:?}");
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[test]
fn hostile_text_drives_no_terminal_and_no_spreadsheet_and_json_has_it_exactly() {
    let place = hostile();
    let query =
        |format: &str| place.run(&["query", "--oldest", "--format", format, "--columns", "sensor,msg,fields.key,raw"]);
    for (format, kept) in
        [("table", &['\n'][..]), ("ndjson", &['\n']), ("json", &['\n']), ("csv", &['\n', '\r']), ("tsv", &['\n', '\t'])]
    {
        let out = query(format).out;
        is_harmless(&out, kept);
        assert!(out.contains("[2J"), "{format}: {out}");
        let lines = out.lines().count();
        assert_eq!(
            lines,
            match format {
                "table" | "tsv" => 4,
                "ndjson" => 3,
                "json" => 5,
                _ => lines,
            },
            "{out}"
        );
    }
    let rows = objects(&query("ndjson"));
    assert_eq!((&rows[0]["msg"], &rows[0]["fields.key"]), (&EVIL.into(), &EVIL.into()));
    assert_eq!(rows[1]["msg"], "=cmd|'/c calc'!A0");
    let csv = query("csv").out;
    assert!(csv.contains("'=cmd|'/c calc'!A0,'=cmd") && csv.contains("'@SUM(1)"), "{csv}");
    assert!(csv.contains("\r\nnext,\"\"row\"\"\""), "{csv}");
    assert!(!csv.contains(",=") && !csv.contains("\n="), "{csv}");
    let tsv = query("tsv").out;
    assert!(tsv.lines().all(|line| line.split('\t').count() == 4) && tsv.contains("\t'=cmd"), "{tsv}");
    for arguments in [&["stats"][..], &["sessions"], &["sessions", "=cmd|'/c calc'!A0"], &["tail", "--format", "table"]]
    {
        let outcome = place.run(arguments);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        is_harmless(&outcome.out, &['\n']);
    }
    for arguments in [&["stats", "--json"][..], &["sessions", "--json"], &["sessions", "@SUM(1)", "--json"]] {
        let outcome = place.run(arguments);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.summary();
        is_harmless(&outcome.out, &['\n']);
    }
}

#[test]
fn a_mistake_is_told_with_its_place_and_codes_are_those_of_the_help() {
    let place = Place::new();
    place.write("a.json", line(0));
    place.ingest(&["a.json"]);
    for (arguments, code, told) in [
        (&["query", "msg:\"line 0\""][..], 0, ""),
        (&["query", "msg:nothing"], 1, ""),
        (&["query", "sensor:here colour:red"], 2, "at byte 12: no column has this name"),
        (&["query", "sensor:here", "colour:red"], 2, "at byte 12: no column has this name"),
        (&["query", "--captures", "service:ssh"], 2, "at byte 0"),
        (&["query", "--columns", "colour"], 2, "there is no column `colour`; there are id, ts"),
        (&["query", "--columns", "ts,ts"], 2, "stands twice"),
        (&["query", "--since", "yesterday"], 2, "write it like `2h`"),
        (&["query", "--limit", "0"], 2, "0 is not in"),
        (&["query", "--json", "--format", "csv"], 2, "cannot be used with"),
        (&["query", "--db", "sqlite:nowhere.db"], 3, "nowhere.db"),
        (&["query", "--db", "nowhere"], 2, "no database is named `nowhere`"),
        (&["query", "--", "-sensor:here"], 1, ""),
        (&["tail", "msg:nothing"], 1, ""),
        (&["tail", "-f", "--format", "json"], 2, "take --format ndjson"),
        (&["stats", "a:"], 2, "at byte 0"),
        (&["stats", "--zone", "Europe/Nowhere"], 2, "Europe/Nowhere"),
        (&["stats", "--bucket", "fortnight"], 2, "is no bucket"),
        (&["sessions"], 1, ""),
        (&["sessions", "nobody"], 1, "there is no session nobody"),
    ] {
        let outcome = place.run(arguments);
        assert!(outcome.code == code && outcome.err.contains(told), "{arguments:?}: {outcome:?}");
    }
    for command in ["query", "tail", "stats", "sessions"] {
        let help = place.run(&[command, "--help"]).out;
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    }
}

#[test]
fn on_a_terminal_a_table_fits_and_a_caret_points_at_a_mistake() {
    let place = Place::new();
    place.write("a.json", format!("{{\"msg\":\"{}\",\"sensor\":\"s\"}}\n", "long ".repeat(60)));
    assert_eq!(place.run(&["ingest", "--quiet", "a.json"]).code, 0);
    let terminal = |command: &str| {
        let script = format!("stty cols 70; {} {command}", env!("CARGO_BIN_EXE_forebay"));
        let mut command = Command::new("script");
        command.args(["-qec", &script, "/dev/null"]);
        place.start_command(command).finish()
    };
    let table = terminal("query --columns sensor,msg");
    let row = table.out.lines().nth(1).unwrap_or_else(|| panic!("{table:?}"));
    assert!(row.ends_with('…') && row.chars().count() == 70, "{table:?}");
    let wrong = terminal("query 'sensor:s colour:red'");
    assert!(wrong.out.contains("  sensor:s colour:red\r\n           ^"), "{wrong:?}");
    assert_eq!(wrong.code, 2);
}

#[test]
fn a_reader_that_goes_ends_it_quietly() {
    let place = Place::new();
    place.write("a.json", lines(0, 20_000));
    place.ingest(&["a.json"]);
    for format in ["ndjson", "json", "csv", "tsv", "table"] {
        let outcome = shell(&place, &format!("\"$0\" query --limit 1000000 --format {format} | head -1"));
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{format}");
    }
    let all = shell(&place, "\"$0\" query --limit 1000000 --columns id | wc -l");
    assert_eq!(all.out.trim(), "20000");
    let outcome = shell(&place, "\"$0\" tail -f | head -1");
    assert_eq!((outcome.code, outcome.out.lines().count()), (0, 1), "{outcome:?}");
    let full = shell(&place, "\"$0\" query > /dev/full");
    assert!(full.code == 3 && full.err.contains("write the answer"), "{full:?}");
}

#[test]
fn tail_shows_what_another_process_commits_and_ends_by_ctrl_c() {
    let place = Place::new();
    place.write("a.json", lines(0, 30));
    place.ingest(&["a.json"]);
    let seen = |out: &str| -> Vec<i64> {
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["fields.n"].as_i64().unwrap()).collect()
    };
    let mut tail = place.start(&["tail", "-f", "-n", "3", "sensor:here", "--columns", "fields.n"]);
    wait_for("the newest", || (tail.out().lines().count() == 3).then_some(()));
    assert_eq!(seen(&tail.out()), [27, 28, 29]);
    place.write("b.json", lines(30, 40));
    place.write("eve.json", eve(0));
    place.run(&["ingest", "--quiet", "--sensor", "elsewhere", "eve.json"]);
    place.ingest(&["b.json"]);
    wait_for("what came", || {
        assert!(tail.is_over().is_none(), "{}", tail.err());
        (tail.out().lines().count() == 13).then_some(())
    });
    tail.signal("INT");
    let outcome = tail.finish();
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(seen(&outcome.out), (27..40).collect::<Vec<_>>());
}

#[test]
fn stats_add_up() {
    let place = Place::new();
    samples(&place);
    let stats = place.run(&["stats", "--json", "--bucket", "day", "--zone", "Europe/Berlin"]).summary();
    let number = |sql: &str| place.database().number(sql);
    assert_eq!(stats["events"]["rows"], number("SELECT count(*) FROM events"));
    assert_eq!(stats["captures"]["rows"], number("SELECT count(*) FROM captures"));
    let buckets = stats["histogram"]["buckets"].as_array().unwrap();
    assert_eq!(
        buckets.iter().filter_map(|bucket| bucket["rows"].as_i64()).sum::<i64>(),
        number("SELECT count(*) FROM events")
    );
    assert_eq!(stats["top"]["service"].as_array().unwrap().len(), 5);
    let draw = |locale: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(["stats", "service:ssh", "--bucket", "day"]).env("LC_ALL", locale);
        let outcome = place.start_command(command).finish();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.out
    };
    assert!(draw("C.UTF-8").contains("events per day UTC\n") && draw("C.UTF-8").contains('█'));
    assert!(draw("C").is_ascii() && draw("C").contains("####"), "{}", draw("C"));
    assert!(!draw("C").contains("captures "), "an expression is about events");
    let many = place.run(&["stats", "--bucket", "100ms"]);
    assert!(many.code == 2 && many.err.contains("choose a longer --bucket"), "{many:?}");
    let empty = Place::new();
    empty.make_database();
    assert_eq!(empty.run(&["stats"]).code, 0);
}

#[test]
fn a_session_is_listed_and_shown_whole_in_the_order_of_time() {
    let place = Place::new();
    samples(&place);
    let list = place.run(&["sessions", "--json", "--where", "event_type:cowrie.login.success"]).summary();
    let first = &list[0];
    let (id, sensor) = (first["session"].as_str().unwrap(), first["sensor"].as_str().unwrap());
    assert!(place.run(&["sessions"]).out.contains(id), "{first}");
    let whole = place.run(&["sessions", id, "--json"]).summary();
    let rows = whole["rows"].as_array().unwrap();
    let count = |table: &str| rows.iter().filter(|row| row["table"] == table).count() as i64;
    let stored = |table: &str| place.database().number(&format!("SELECT count(*) FROM {table} WHERE session = '{id}'"));
    assert_eq!((count("events"), count("captures")), (stored("events"), stored("captures")));
    assert!(count("events") > 1 && count("captures") > 0, "{whole}");
    assert!(rows.is_sorted_by_key(|row| row["ts"].as_str()));
    let shown = place.run(&["sessions", id, "--sensor", sensor]);
    assert!(
        shown.out.starts_with(&format!("session {id} of {sensor}: ")) && shown.out.contains("  capture  "),
        "{shown:?}"
    );
    place.write("other.json", format!("{{\"session\":\"{id}\",\"sensor\":\"other\",\"msg\":\"x\"}}\n"));
    assert_eq!(place.run(&["ingest", "--quiet", "other.json"]).code, 0);
    let two = place.run(&["sessions", id]);
    assert!(two.code == 2 && two.err.contains("add --sensor"), "{two:?}");
}
