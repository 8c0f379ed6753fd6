//! Flags, environment, the settings file, and help.

use std::process::Command;

use crate::database::Database;
use crate::place::{Outcome, Place};
use crate::samples::{line, lines};

fn with_environment(place: &Place, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("ingest").args(arguments).envs(variables.iter().copied());
    place.start_command(command).finish()
}

#[test]
fn flags_go_before_the_environment_the_environment_before_the_file() {
    let place = Place::new();
    place.write("a.json", line(0));
    place.write("a.toml", "sensor = 'by file'\n[database]\nurl = 'sqlite:file.db'");
    let (config, sensor) = (("FOREBAY_CONFIG", "a.toml"), ("FOREBAY_SENSOR", "by environment"));
    let url = ("FOREBAY_DB_URL", "sqlite:environment.db");
    let parts = [("FOREBAY_DB_TYPE", "sqlite"), ("FOREBAY_DB_NAME", "parts.db")];
    let check = |outcome: Outcome, database: &str, sensor: &str| {
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let sensors = Database::open(&place.path(database)).texts("SELECT sensor FROM events ORDER BY id DESC LIMIT 1");
        assert_eq!(sensors, [sensor], "{database}");
    };
    check(with_environment(&place, &[config], &["a.json"]), "file.db", "by file");
    check(with_environment(&place, &[config, parts[0], parts[1]], &["a.json"]), "parts.db", "by file");
    let all = [config, sensor, url, parts[0], parts[1]];
    check(with_environment(&place, &all, &["a.json"]), "environment.db", "by environment");
    let flags = ["--db", "sqlite:flag.db", "--sensor", "by flag", "a.json"];
    check(with_environment(&place, &all, &flags), "flag.db", "by flag");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    check(with_environment(&place, &[], &["a.json"]), "forebay.db", host.trim());
}

#[test]
fn a_database_may_be_named_by_a_variable_of_its_own() {
    let place = Place::new();
    place.write("a.json", line(0));
    let named = [("FOREBAY_DB_URL_FIELD_7", "sqlite:seven.db"), ("FOREBAY_DB_URL_B", "sqlite:b.db")];
    assert_eq!(with_environment(&place, &named, &["--db", "field-7", "a.json"]).code, 0);
    let all = [named[0], named[1], ("FOREBAY_DB_URL", "b")];
    assert_eq!(with_environment(&place, &all, &["a.json"]).code, 0);
    assert!(place.path("seven.db").exists() && place.path("b.db").exists() && !place.path("forebay.db").exists());
}

#[test]
fn an_empty_variable_is_none_and_an_empty_flag_is_refused() {
    let place = Place::new();
    place.write("a.json", line(0));
    let empty = ["FOREBAY_CONFIG", "FOREBAY_SENSOR", "FOREBAY_DB_URL", "FOREBAY_BATCH_SIZE", "FOREBAY_DB_TYPE"];
    let outcome = with_environment(&place, &empty.map(|name| (name, "")), &["a.json"]);
    assert!(outcome.code == 0 && place.path("forebay.db").exists(), "{outcome:?}");
    assert_ne!(place.database().texts("SELECT sensor FROM events"), [""]);
    for flags in [["--sensor", ""], ["--db", ""]] {
        assert_eq!(with_environment(&place, &[], &[&flags[..], &["a.json"]].concat()).code, 2, "{flags:?}");
    }
}

#[test]
fn a_sensor_that_a_record_names_wins_over_the_host_and_a_named_one_over_all() {
    let place = Place::new();
    place.write("a.json", "{\"sensor\":\"by record\"}\n");
    place.run(&["ingest", "a.json"]);
    place.run(&["ingest", "--again", "--sensor", "by flag", "a.json"]);
    assert_eq!(place.database().texts("SELECT sensor FROM events ORDER BY id"), ["by record", "by flag"]);
}

#[test]
fn a_wrong_setting_is_named_with_its_place_and_nothing_is_begun() {
    let place = Place::new();
    place.write("a.json", lines(0, 3));
    for (toml, error) in [
        ("[batch]\nmax_row = 1", "a.toml: unknown key `batch.max_row`; the nearest is `batch.max_rows`"),
        ("[database]\nulr = 'x'", "a.toml: unknown key `database.ulr`; the nearest is `database.url`"),
        ("[batch]\nmax_wait = 'soon'", "a.toml: `batch.max_wait`: `soon` is no duration"),
        ("[sqlite]\nsynchronous = 'off'", "a.toml: `sqlite.synchronous`: unknown variant"),
        ("batch = 5", "a.toml: `batch`: invalid type"),
        ("[batch", "a.toml: TOML parse error at line 1"),
        ("[batch]\nmax_rows = 0", "batch.max_rows is 0; it must be between 1 and 1000000"),
        ("sensor = ''", "`sensor` is empty"),
        ("[database]\nurl = 'forebay.db'", "is no database URL"),
    ] {
        place.write("a.toml", toml);
        let outcome = place.run(&["ingest", "--config", "a.toml", "a.json"]);
        assert!(outcome.code == 2 && outcome.err.contains(error), "{toml}: {outcome:?}");
    }
    let missing = place.run(&["ingest", "--config", "none.toml", "a.json"]);
    assert!(missing.code == 2 && missing.err.contains("read none.toml: No such file"), "{missing:?}");
    for (variable, value, error) in [
        ("FOREBAY_BATCH_SIZE", "many", "FOREBAY_BATCH_SIZE is no number of rows"),
        ("FOREBAY_BATCH_MAX_WAIT_MS", "1s", "FOREBAY_BATCH_MAX_WAIT_MS is no number of milliseconds"),
        ("FOREBAY_DB_TYPE", "oracle", "FOREBAY_DB_TYPE: the database's type is none that forebay can write to"),
        ("FOREBAY_DB_TYPE", "mysql", "a mysql database needs a name; set FOREBAY_DB_NAME"),
        ("FOREBAY_DB_URL", "postgres://u:secret@h/d", "forebay cannot write to `postgres` databases"),
        (
            "FOREBAY_DB_URL",
            "mysql://u:secret@h/d?sslmode=on",
            "unknown option in the mysql URL; the nearest is `ssl-mode`",
        ),
        ("FOREBAY_DB_URL", "nowhere", "no database is named `nowhere`; set FOREBAY_DB_URL_NOWHERE"),
        ("FOREBAY_DB_POOL_SIZE", "many", "FOREBAY_DB_POOL_SIZE is no number of connections"),
        ("FOREBAY_DB_POOL_SIZE", "0", "mysql.pool_size is 0; it must be between 1 and 64"),
        ("FOREBAY_DB_POOL_PRE_PING", "maybe", "FOREBAY_DB_POOL_PRE_PING is neither true nor false"),
        ("FOREBAY_LOG", "forebay=loud", "FOREBAY_LOG: "),
    ] {
        let outcome = with_environment(&place, &[(variable, value)], &["a.json"]);
        assert!(outcome.code == 2 && outcome.err.contains(error), "{variable}: {outcome:?}");
        assert!(!outcome.err.contains("secret"), "{outcome:?}");
    }
    assert!(!place.path("forebay.db").exists());
}

#[test]
fn a_wrong_flag_is_refused_with_code_2() {
    let place = Place::new();
    place.write("a.json", lines(0, 3));
    for flags in [
        &["ingest"][..],
        &["ingest", "--no-such-flag", "a.json"],
        &["ingest", "--batch-size", "-1", "a.json"],
        &["ingest", "--batch-size", "0", "a.json"],
        &["ingest", "--batch-bytes", "12 parsecs", "a.json"],
        &["ingest", "--buffer", "1KiB", "a.json"],
        &["ingest", "--give-up-after", "soon", "a.json"],
        &["ingest", "--synchronous", "off", "a.json"],
        &["ingest", "--metrics", "localhost", "a.json"],
        &["completions", "tcsh"],
        &["no-such-command"],
        &[],
    ] {
        let outcome = place.run(flags);
        assert!(outcome.code == 2 && !outcome.err.is_empty(), "{flags:?}: {outcome:?}");
    }
    assert!(!place.path("forebay.db").exists());
    let large = place.ingest(&["--batch-size", "500000", "a.json"]);
    assert_eq!((large.code, large.counts()), (0, (3, 0, 0)), "queues make room for a large batch");
}

#[test]
fn help_has_examples_and_exit_codes() {
    let place = Place::new();
    let top = place.run(&["--help"]);
    assert_eq!(top.code, 0);
    let ingest = place.run(&["ingest", "--help"]);
    for part in ["Examples:", "forebay ingest capture.pcapng eve.json.gz", "--again", "[env: FOREBAY_DB_URL]"] {
        assert!(ingest.out.contains(part), "{part}: {}", ingest.out);
    }
    for text in [&top.out, &ingest.out] {
        assert!(text.contains("Exit codes:"), "{text}");
        for code in ["0  ", "1  ", "2  ", "3  ", "130"] {
            assert!(text.lines().any(|line| line.trim_start().starts_with(code)), "{code}: {text}");
        }
    }
    assert!(place.run(&["--version"]).out.starts_with("forebay "));
}

#[test]
fn completions_know_the_commands_and_flags() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let outcome = place.run(&["completions", shell]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
        for word in ["ingest", "completions", "again", "give-up-after"] {
            assert!(outcome.out.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            place.write("forebay.bash", &outcome.out);
            let read = Command::new("bash").arg("-n").arg(place.path("forebay.bash")).status();
            assert!(read.is_ok_and(|status| status.success()), "bash reads it");
        }
    }
}

#[test]
fn logs_go_to_standard_error_as_much_as_is_asked_for() {
    let place = Place::new();
    place.write("a.json", lines(0, 3));
    assert_eq!(place.ingest(&["a.json"]).err, "");
    let loud = with_environment(&place, &[("FOREBAY_LOG", "forebay=trace")], &["--again", "--json", "a.json"]);
    assert!(serde_json::from_str::<serde_json::Value>(&loud.out).is_ok(), "standard output is the summary alone");
}

#[test]
fn a_database_may_be_named_in_the_settings_file() {
    let place = Place::new();
    place.write("a.json", line(0));
    place.write("a.toml", "[databases.north]\nurl = 'sqlite:north.db'\n[databases.south]\nurl = 'sqlite:south.db'");
    let named = |name| with_environment(&place, &[("FOREBAY_CONFIG", "a.toml")], &["--db", name, "a.json"]);
    assert_eq!((named("north").code, named("south").code), (0, 0));
    assert!(place.path("north.db").exists() && place.path("south.db").exists() && !place.path("forebay.db").exists());
    let unknown = named("west");
    let advice = "no database is named `west`; set FOREBAY_DB_URL_WEST or `[databases.west]`, or name a URL";
    assert!(unknown.code == 2 && unknown.err.contains(advice), "{unknown:?}");
}
