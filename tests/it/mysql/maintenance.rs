//! `forebay db init`, `status`, `check` and `reset` on a server.

use super::program::Place;
use super::server::{SHARED, Server};
use super::{LONG, impatient, pipeline};

fn json(out: &str) -> serde_json::Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn init_makes_the_tables_once_and_says_at_once_when_the_server_is_away() {
    let (name, url) = SHARED.new_database();
    for _ in 0..2 {
        let (code, out, err) = Place::new().run(&["db", "init", "--json", "--db", &url]);
        assert!(code == 0 && json(&out)["schema"] == 2, "{out}{err}");
        assert!(!out.contains("p@ss") && !out.contains("p%40ss"), "{out}");
    }
    assert_eq!(SHARED.admin().number(&format!("SELECT count(*) FROM `{name}`.events")), 0);
    let (code, _, err) = Place::new().run(&["db", "init", "--db", "mysql://u:p%40ss@127.0.0.1:1/d"]);
    assert!(code == 3 && err.contains("refused"), "{err}");
}

#[test]
fn status_tells_version_tables_ledger_and_that_the_log_is_small() {
    let (name, url) = SHARED.new_database();
    let place = Place::new();
    let (code, out, err) = place.run(&["db", "status", "--json", "--db", &url]);
    assert!(code == 0 && json(&out)["schema"].is_null(), "{out}{err}");
    let tables = format!("SELECT count(*) FROM information_schema.tables WHERE table_schema = '{name}'");
    assert_eq!(SHARED.admin().number(&tables), 0, "asking makes nothing");
    assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0);
    let (code, out, err) = place.run(&["db", "status", "--json", "--db", &url]);
    assert_eq!(code, 0, "{err}");
    let status = json(&out);
    assert!(status["server"].as_str().unwrap().contains("MariaDB"), "{status}");
    assert_eq!((&status["backend"], &status["schema"]), (&"mysql".into(), &2.into()));
    assert_eq!((&status["tables"][1]["name"], &status["tables"][1]["rows"]), (&"events".into(), &2.into()), "{status}");
    assert!(status["tables"][1]["bytes"].as_u64() > Some(0), "{status}");
    assert_eq!((&status["ledger"]["sources"], &status["ledger"]["ephemeral"]), (&1.into(), &0.into()));
    assert_eq!(status["rejects"], 0);
    assert!(status["newest"]["events"].is_string(), "{status}");
    assert!(status["warnings"][0].as_str().unwrap().starts_with("innodb_log_file_size is 32 MiB"), "{status}");
    assert!(status["locks"].is_null(), "this user may not see them: {status}");
    let (code, out, _) = place.run(&["db", "status", "--db", &url]);
    for part in ["MariaDB", "events", "not to be seen", "innodb_log_file_size is 32 MiB"] {
        assert!(code == 0 && out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("p@ss") && !out.contains("p%40ss"), "{out}");
}

#[test]
fn status_shows_locks_to_who_may_see_them_and_reads_a_read_only_server() {
    let server = Server::start();
    let url = server.database("d");
    let place = Place::new();
    assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0);
    let mut admin = server.admin();
    admin.run("GRANT PROCESS ON *.* TO writer@'127.0.0.1'");
    let mut other = server.admin();
    other.run("BEGIN");
    other.run("SELECT * FROM d.events FOR UPDATE");
    admin.run("SET GLOBAL read_only = 1");
    let (code, out, err) = place.run(&["db", "status", "--json", "--db", &url]);
    assert_eq!(code, 0, "{err}");
    let status = json(&out);
    let locks = status["locks"].as_array().unwrap();
    assert!(locks.len() == 1 && locks[0].as_str().unwrap().contains("locks"), "{status}");
}

#[test]
fn check_finds_nothing_in_a_sound_database_and_each_harm_in_a_harmed_one() {
    let place = Place::new();
    for (harm, told) in [
        ("", "nothing was found"),
        ("UPDATE {}.ingest_ledger SET `rows` = `rows` + 1000, last = last + 100000", "rows are lost"),
        ("UPDATE {}.ingest_ledger SET last = first - 1", "ends before it begins"),
        ("INSERT INTO {}.ingest_ledger SELECT source, last, last, 1, at FROM {}.ingest_ledger", "twice"),
        ("DROP TABLE {}.captures", "captures: is not there"),
        ("DROP TABLE {}.forebay_schema", "schema"),
    ] {
        let (name, url) = SHARED.new_database();
        assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0);
        if !harm.is_empty() {
            SHARED.admin().run(&harm.replace("{}", &name));
        }
        let (code, out, err) = place.run(&["db", "check", "--db", &url]);
        assert!(code == i32::from(!harm.is_empty()) && out.contains(told), "{harm}: {code} {out}{err}");
    }
}

#[test]
fn reset_drops_our_tables_once_the_name_was_given_and_only_when_nobody_is_connected() {
    let (name, url) = SHARED.new_database();
    let place = Place::new();
    assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0);
    let mut admin = SHARED.admin();
    let mut rows = || admin.number(&format!("SELECT count(*) FROM `{name}`.events"));
    let reset = ["db", "reset", "--db", &url];
    let (code, _, err) = place.run(&reset);
    assert!(code == 2 && err.contains(&format!("add --yes-destroy {name}")), "{err}");
    let (code, _, err) = place.run(&[&reset[..], &["--yes-destroy", "other"]].concat());
    assert!(code == 2 && err.contains("nothing was dropped"), "{err}");
    let running = pipeline(&url, impatient()).unwrap();
    let (code, _, err) = place.run(&[&reset[..], &["--yes-destroy", &name]].concat());
    assert!(code == 3 && err.contains("others are connected"), "{err}");
    assert_eq!(rows(), 2);
    assert!(running.shutdown_blocking(LONG).is_complete());
    let (code, out, err) = place.run(&[&reset[..], &["--yes-destroy", &name, "--json"]].concat());
    assert!(code == 0 && json(&out)["dropped"].as_array().unwrap().len() == 12, "{out}{err}");
    let (code, out, _) = place.run(&[&reset[..], &["--yes-destroy", &name]].concat());
    assert!(code == 0 && out.contains("nothing to drop"), "{out}");
    assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0, "it can be filled anew");
    assert_eq!(rows(), 2);
}

#[test]
fn reset_refuses_a_database_with_tables_of_somebody_else() {
    let (name, url) = SHARED.new_database();
    let place = Place::new();
    let mut admin = SHARED.admin();
    let reset = ["db", "reset", "--db", &url, "--yes-destroy", &name];
    admin.run(&format!("CREATE TABLE `{name}`.events (theirs INT)"));
    let (code, _, err) = place.run(&reset);
    assert!(code == 3 && err.contains("another program's"), "{err}");
    admin.run(&format!("DROP TABLE `{name}`.events"));
    assert_eq!(place.run(&["ingest", "--db", &url, "a.json"]).0, 0);
    admin.run(&format!("CREATE TABLE `{name}`.notes (text TEXT)"));
    let (code, _, err) = place.run(&reset);
    assert!(code == 3 && err.contains("not ours (notes); nothing was dropped"), "{err}");
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.events")), 2);
}

#[test]
fn migrate_takes_a_database_of_the_first_version_forward_and_leaves_another_programs_tables_alone() {
    let (name, url) = SHARED.new_database();
    let place = Place::new();
    let migrate = |flags: &[&str]| place.run(&[&["db", "migrate", "--db", &url], flags].concat());
    let (code, out, err) = migrate(&["--to", "1"]);
    assert!(code == 0 && out.contains("went from schema version 0 to 1\n  1 rows\n"), "{out}{err}");
    let mut admin = SHARED.admin();
    let tables = format!(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = '{name}' AND table_name = 'users'"
    );
    assert_eq!(admin.number(&tables), 0);
    let (code, out, _) = migrate(&["--dry-run", "--json"]);
    assert!(code == 0 && json(&out)["from"] == 1 && json(&out)["steps"][0]["name"] == "state", "{out}");
    admin.run(&format!("CREATE TABLE `{name}`.users (theirs INT)"));
    let (code, _, err) = migrate(&[]);
    assert!(code == 3 && err.contains("that is another program's; use another database"), "{err}");
    let (code, _, err) = place.run(&["ingest", "--db", &url, "a.json"]);
    assert!(code == 3 && err.contains("another program's"), "{err}");
    admin.run(&format!("DROP TABLE `{name}`.users"));
    let (code, out, err) = migrate(&[]);
    assert!(code == 0 && out.contains("went from schema version 1 to 2"), "{out}{err}");
    let (code, _, err) = migrate(&["--to", "1"]);
    assert!(code == 2 && err.contains("no way back to 1"), "{err}");
    admin.run(&format!("INSERT INTO `{name}`.forebay_schema (version, at) VALUES (3, 0)"));
    let (code, _, err) = migrate(&[]);
    assert!(code == 3 && err.contains("has schema version 3, this forebay knows 2"), "{err}");
    assert_eq!(place.run(&["state", "get", "a", "--db", &url]).0, 3);
}

#[test]
fn users_and_state_are_kept_on_a_server_by_the_program_too() {
    let (_, url) = SHARED.new_database();
    let place = Place::new();
    let file = std::env::temp_dir().join(format!("forebay-test-password-{}", std::process::id()));
    std::fs::write(&file, "correct horse\n").unwrap();
    let (code, out, err) = place.run(&["user", "add", "ann", "--password-file", &file.to_string_lossy(), "--db", &url]);
    std::fs::remove_file(&file).unwrap();
    assert!(code == 0 && out.contains("created ann (viewer)"), "{out}{err}");
    let (code, out, err) = place.run(&["state", "set", "a", "[1]", "--db", &url]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(place.run(&["state", "get", "a", "--db", &url]).1, "[1]\n");
    assert_eq!(place.run(&["deployments", "list", "--db", &url]).0, 0);
}
