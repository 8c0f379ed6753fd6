//! `forebay user`, `state` and `deployments`, beside a writer and alone.

use std::process::Command;

use forebay::repository::{DeploymentKind, DeploymentPlan, DeploymentState, Password, Repository};

use crate::place::{Outcome, Place, Running, wait_for};
use crate::run;

fn with_environment(place: &Place, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(arguments).envs(variables.iter().copied());
    place.start_command(command).finish()
}

fn repository(place: &Place) -> Repository {
    Repository::open(&format!("sqlite:{}", place.path("forebay.db").display())).unwrap()
}

#[track_caller]
fn says(outcome: &Outcome, code: i32, part: &str) {
    assert!(outcome.code == code && format!("{}{}", outcome.out, outcome.err).contains(part), "{part}: {outcome:?}");
}

#[test]
fn a_user_is_added_changed_and_kept_out_and_no_password_is_ever_an_argument() {
    let place = Place::new();
    place.write("one", "correct horse\nsecond line\n");
    place.write("two", "battery staple\r\n");
    place.write("short", "short\n");
    let user = |arguments: &[&str]| place.run(&[&["user"], arguments].concat());
    says(&user(&["add", "Ann", "--role", "admin", "--password-file", "one"]), 0, "created ann (admin)");
    says(&user(&["add", "ann", "--password-file", "one"]), 1, "there is a user ann already");
    says(&user(&["add", "bob", "--password-file", "short"]), 2, "at least 8 characters");
    says(&user(&["add", "bob"]), 2, "at least 8 characters");
    says(&user(&["add", "b b", "--password-file", "one"]), 2, "a user's name has");
    says(&user(&["add", "bob", "--password", "correct horse"]), 2, "unexpected argument");
    says(&user(&["add", "bob", "--password-file", "nothing"]), 2, "read nothing");
    let bob = user(&["add", "bob", "--password-file", "one", "--must-change", "--json"]);
    assert_eq!((&bob.summary()["role"], &bob.summary()["must_change"]), (&"viewer".into(), &true.into()), "{bob:?}");
    says(&user(&["disable", "ann"]), 1, "ann is the last admin");
    says(&user(&["role", "bob", "admin"]), 0, "changed bob (admin, must change the password)");
    says(&user(&["role", "bob", "king"]), 2, "one of: admin, viewer");
    says(&user(&["disable", "ann"]), 0, "changed ann (admin, disabled)");
    says(&user(&["passwd", "bob", "--password-file", "two"]), 0, "changed bob (admin)");
    says(&user(&["logout", "bob"]), 0, "changed bob");
    says(&user(&["enable", "carl"]), 1, "there is no user carl");
    let listed = user(&["list", "--json"]).summary();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ann", "bob"]);
    let table = user(&["list"]);
    assert!(table.out.contains("disabled") && !table.out.contains("argon2"), "{table:?}");
    let repository = repository(&place);
    let fits = |name, password: &str| repository.users().verify(name, &Password::new(password)).unwrap().is_some();
    assert!(fits("bob", "battery staple") && !fits("bob", "correct horse") && !fits("ann", "correct horse"));
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&place.path("forebay.db").metadata().unwrap().permissions()) & 0o777,
        0o600
    );
}

#[test]
fn the_first_admin_is_seeded_once_by_however_many_processes() {
    let place = Place::new();
    assert_eq!(place.run(&["db", "init"]).code, 0);
    place.write("admin", "file password\n");
    let start = |variable: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(["user", "seed-admin", "--json"]).env(variable, value);
        place.start_command(command)
    };
    let running = [
        start("FOREBAY_ADMIN_PASSWORD", "from variable"),
        start("FOREBAY_ADMIN_PASSWORD_FILE", "admin"),
        start("FOREBAY_ADMIN_PASSWORD", "from variable"),
        start("FOREBAY_ADMIN_PASSWORD_FILE", "admin"),
    ];
    let outcomes = running.map(|one| one.finish());
    assert!(outcomes.iter().all(|one| one.code == 0), "{outcomes:?}");
    let seeded = outcomes.iter().filter(|one| one.summary()["seeded"] == true).count();
    assert_eq!(seeded, 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|one| !format!("{one:?}").contains("from variable")), "{outcomes:?}");
    let users = repository(&place).users().list(0, 10).unwrap();
    assert!(users.len() == 1 && users[0].name == "admin" && users[0].must_change, "{users:?}");
    says(&place.run(&["user", "seed-admin"]), 2, "set FOREBAY_ADMIN_PASSWORD or FOREBAY_ADMIN_PASSWORD_FILE");
    let fresh = Place::new();
    let short = with_environment(&fresh, &[("FOREBAY_ADMIN_PASSWORD", "s3cret")], &["user", "seed-admin"]);
    says(&short, 2, "at least 8 characters");
    assert!(!short.err.contains("s3cret"), "{short:?}");
    let seeded = with_environment(
        &fresh,
        &[("FOREBAY_ADMIN_PASSWORD", "correct horse")],
        &["user", "seed-admin", "--name", "root"],
    );
    says(&seeded, 0, "the first admin is created");
}

/// A deployment had its first admin in the environment of the service, and nobody to run a command by hand.
#[test]
fn a_running_service_creates_the_first_admin_once_over_its_own_writer() {
    let place = Place::new();
    run::settings(&place, &run::tail("log", "a.json"));
    place.write("a.json", "");
    place.write("secret", "correct horse\nsecond line\n");
    let start = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(["run", "--config", "forebay.toml", "-vvv"]).envs(variables.iter().copied());
        let mut running = place.start_command(command);
        running.wait_for_err(" into sqlite:");
        running
    };
    let end = |running: Running| {
        running.signal("TERM");
        let outcome = running.finish();
        assert!(outcome.code == 0 && !format!("{outcome:?}").contains("horse"), "{outcome:?}");
        outcome
    };
    let mut running = start(&[("FOREBAY_ADMIN_USER", "Root"), ("FOREBAY_ADMIN_PASSWORD_FILE", "secret")]);
    running.wait_for_err("the first admin, Root, is created; the password must be changed");
    let users = repository(&place).users().list(0, 10).unwrap();
    assert!(users.len() == 1 && users[0].name == "root" && users[0].must_change, "{users:?}");
    // Rows go on, and a reload does not look for the file again.
    std::fs::remove_file(place.path("secret")).unwrap();
    running.signal("HUP");
    running.wait_for_err("settings read again");
    place.append("a.json", run::line(1));
    run::wait_for_messages(&place, "forebay.db", 1);
    end(running);
    let running = start(&[("FOREBAY_ADMIN_PASSWORD", "another horse")]);
    place.append("a.json", run::line(2));
    run::wait_for_messages(&place, "forebay.db", 2);
    let outcome = end(running);
    assert!(!outcome.err.contains("first admin"), "{outcome:?}");
    let repository = repository(&place);
    let fits =
        |name: &str, password: &str| repository.users().verify(name, &Password::new(password)).unwrap().is_some();
    assert!(fits("root", "correct horse") && !fits("admin", "another horse"));
    assert_eq!(repository.users().list(0, 10).unwrap().len(), 1);
}

#[test]
fn an_admin_that_cannot_be_is_a_mistake_in_the_settings_and_nothing_is_opened() {
    let place = Place::new();
    run::settings(&place, &run::tail("log", "a.json"));
    place.write("short", "s3cret\nlong enough\n");
    let file = ("FOREBAY_ADMIN_PASSWORD_FILE", "nothing");
    for (variables, told) in [
        (vec![("FOREBAY_ADMIN_PASSWORD", "s3cret")], "FOREBAY_ADMIN_PASSWORD: a password has at least 8 characters"),
        (vec![("FOREBAY_ADMIN_PASSWORD_FILE", "short")], "FOREBAY_ADMIN_PASSWORD_FILE: a password has at least"),
        (vec![file], "FOREBAY_ADMIN_PASSWORD_FILE: read nothing: "),
        (vec![("FOREBAY_ADMIN_USER", "ann")], "FOREBAY_ADMIN_USER names an admin without a password"),
        (
            vec![("FOREBAY_ADMIN_USER", "a b"), ("FOREBAY_ADMIN_PASSWORD", "correct horse")],
            "FOREBAY_ADMIN_USER: a user's",
        ),
        (vec![("FOREBAY_ADMIN_PASSWORD", "correct horse"), ("FOREBAY_DB_URL", "memory:")], "`memory:` keeps no users"),
    ] {
        for arguments in [&["config", "check", "--config", "forebay.toml"][..], &["run", "--config", "forebay.toml"]] {
            let outcome = with_environment(&place, &variables, arguments);
            says(&outcome, 2, told);
            assert!(!format!("{outcome:?}").contains("s3cret") && !place.path("forebay.db").exists(), "{outcome:?}");
        }
    }
    says(
        &with_environment(
            &place,
            &[("FOREBAY_ADMIN_PASSWORD", "correct horse")],
            &["config", "check", "--config", "forebay.toml"],
        ),
        0,
        "right: log (tail)",
    );
}

#[test]
fn a_value_is_set_swapped_listed_and_deleted() {
    let place = Place::new();
    let state = |arguments: &[&str]| place.run(&[&["state"], arguments].concat());
    let missing = state(&["get", "a"]);
    assert!(missing.code == 3 && !place.path("forebay.db").exists(), "reading makes nothing: {missing:?}");
    let first = state(&["set", "a/1", r#"{"b": [1,  2]}"#]);
    says(&first, 0, "");
    assert_eq!(state(&["get", "a/1"]).out, "{\"b\": [1,  2]}\n");
    let version = first.out.trim();
    says(&state(&["set", "a/1", "2", "--if-absent"]), 1, &format!("a/1 has version {version}; nothing was changed"));
    let second = state(&["set", "a/1", "-2", "--if-version", version, "--json"]);
    assert!(second.summary()["version"].as_i64() > version.parse().ok(), "{second:?}");
    says(&state(&["set", "a/1", "3", "--if-version", version]), 1, "nothing was changed");
    says(&state(&["set", "a/3", "3", "--if-version", version]), 1, "there is no key a/3");
    place.write("value.json", "[\"ü\"]");
    says(&state(&["set", "a/2", "--file", "value.json"]), 0, "");
    says(&state(&["set", "a/2", "{"]), 2, "the value is not valid JSON");
    says(&state(&["set", "a/2"]), 2, "");
    let shown = state(&["get", "a/2", "--json"]).summary();
    assert_eq!((&shown["key"], &shown["value"]), (&"a/2".into(), &serde_json::json!(["ü"])));
    let listed = state(&["list", "a/", "--json"]).summary();
    assert_eq!((listed.as_array().unwrap().len(), &listed[1]["bytes"]), (2, &6.into()));
    says(&state(&["list"]), 0, "a/1");
    says(&state(&["delete", "a/1"]), 0, "deleted a/1");
    says(&state(&["delete", "a/1"]), 1, "there is no key a/1");
    says(&state(&["get", "a/1"]), 1, "there is no key a/1");
}

#[test]
fn deployments_are_shown_moved_and_swept_and_no_escape_reaches_the_terminal() {
    let place = Place::new();
    assert_eq!(place.run(&["db", "init"]).code, 0);
    let repository = repository(&place);
    let mut plan = DeploymentPlan::new(DeploymentKind::Sensor, "web-1");
    (plan.host, plan.services) = (Some("h1".into()), vec!["ssh".into(), "http".into()]);
    plan.config = "{\"banner\": \"\u{9b}31m\u{202e}x\"}".into();
    repository.deployments().upsert(&plan).unwrap();
    repository.deployments().upsert(&DeploymentPlan::new(DeploymentKind::Host, "h1")).unwrap();
    let deployments = |arguments: &[&str]| place.run(&[&["deployments"], arguments].concat());
    says(&deployments(&["set-state", "web-1", "running", "failed"]), 1, "web-1 is pending, not running");
    says(&deployments(&["set-state", "web-2", "running", "failed"]), 1, "there is no deployment web-2");
    says(&deployments(&["set-state", "web-1", "torn_down", "failed"]), 2, "cannot become failed");
    says(&deployments(&["set-state", "web-1", "pending", "gone"]), 2, "one of: pending, running");
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}";
    says(&deployments(&["set-state", "web-1", "pending", "degraded", "--error", evil]), 0, "web-1 is degraded");
    let list = deployments(&["list", "--state", "degraded"]);
    says(&list, 0, "ssh,http");
    assert!(!list.out.contains("\nh1"), "only what was asked for: {list:?}");
    let show = deployments(&["show", "web-1"]);
    for text in [&list.out, &show.out] {
        assert!(text.contains("\\u{1b}[2J"), "{text}");
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    }
    let json = deployments(&["show", "web-1", "--json"]).summary();
    assert_eq!((&json["last_error"], &json["history"][0]["from"]), (&evil.into(), &"pending".into()));
    says(&deployments(&["sweep", "--degraded-after", "1h", "--failed-after", "0s"]), 0, "web-1: degraded to failed");
    says(&deployments(&["sweep", "--degraded-after", "1h", "--failed-after", "0s", "--json"]), 0, "[]");
    assert_eq!(repository.deployments().get("web-1").unwrap().unwrap().state, DeploymentState::Failed);
    says(&deployments(&["show", "web-2"]), 1, "there is no deployment web-2");
    assert_eq!(deployments(&["list", "--host", "h1", "--json"]).summary().as_array().unwrap().len(), 1);
}

#[test]
fn all_of_it_works_beside_a_writer_at_full_speed() {
    let place = Place::new();
    place.write("one", "correct horse\n");
    let running = place.start(&["bench", "sqlite:forebay.db", "--duration", "600s"]);
    wait_for("rows", || {
        let status = place.path("forebay.db").exists().then(|| place.run(&["db", "status", "--json"]))?;
        (status.code == 0 && status.summary()["tables"][0]["rows"].as_u64() > Some(0)).then_some(())
    });
    says(&place.run(&["user", "add", "ann", "--password-file", "one"]), 0, "created ann");
    for version in 0..5 {
        says(&place.run(&["state", "set", "k", &version.to_string()]), 0, "");
    }
    assert_eq!(place.run(&["state", "get", "k"]).out, "4\n");
    says(&place.run(&["deployments", "list"]), 0, "last seen");
    running.kill();
    assert_eq!(place.run(&["db", "check"]).code, 0);
}

#[test]
fn help_has_examples_and_exit_codes() {
    let place = Place::new();
    for command in ["user", "state", "deployments"] {
        let help = place.run(&[command, "--help"]).out;
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    }
}
