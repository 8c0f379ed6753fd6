//! What can be said of the files without a running pipeline.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

use crate::dashboards::{DASHBOARDS, metrics, names, path, queries, text};
use crate::place::Place;

/// Runs a command to its end; its program is one that `tests/run.sh` installs.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run.sh installs what is missing"))
}

#[track_caller]
pub fn passes(command: &mut Command) {
    let output = run(command);
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {out}{err}");
}

/// Names in the help texts and in the code that sets them.
fn known() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry");
    let files = std::fs::read_dir(folder).expect("src/telemetry").map(|entry| entry.expect("an entry").path());
    metrics(&files.map(|path| std::fs::read_to_string(path).expect("a source file")).collect::<String>())
}

#[test]
fn the_dashboards_are_what_their_source_makes() {
    passes(Command::new("python3").arg(path("make.py")).arg("--check"));
}

#[test]
fn every_metric_that_is_named_exists_and_every_metric_is_on_a_panel() {
    let (known, mut shown) = (known(), BTreeSet::new());
    assert!(known.len() > 40, "{known:?}");
    for query in queries("forebay-overview.json") {
        let named = metrics(&query.text("expr"));
        assert!(named.is_subset(&known), "{}: {named:?}", query.place);
        shown.extend(named);
    }
    for name in ["alerts.yml", "rules.yml"] {
        let text = text(name);
        let named = metrics(&text);
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
    let hidden: Vec<_> = known.difference(&shown).collect();
    assert!(hidden.is_empty(), "on no panel: {hidden:?}");
}

#[test]
fn prometheus_accepts_its_settings_and_rules() {
    passes(Command::new("promtool").args(["check", "config"]).arg(path("prometheus.yml")));
    passes(Command::new("promtool").args(["check", "rules"]).arg(path("rules.yml")).arg(path("alerts.yml")));
}

#[test]
fn every_recorded_name_is_recorded() {
    let rules = text("rules.yml");
    let recorded: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let alerts = text("alerts.yml");
    let asked = names(&alerts, &["instance_", "instance:"]);
    assert!(!asked.is_empty() && asked.iter().all(|name| recorded.contains(name.as_str())), "{asked:?}, {recorded:?}");
}

/// The written cases, against these alerts.
fn cases(alerts: &str) -> Output {
    let place = Place::new();
    place.write("alerts.yml", alerts);
    place.write("rules.yml", text("rules.yml"));
    let cases = include_str!("alerts.test.yml").replace("../../grafana/", "");
    let file = place.write("alerts.test.yml", cases);
    run(Command::new("promtool").args(["test", "rules"]).arg(file))
}

#[test]
fn every_alert_fires_in_its_failure_and_not_otherwise() {
    let alerts = text("alerts.yml");
    let output = cases(&alerts);
    assert!(output.status.success(), "{output:?}");
    // Each one has a case: without it, they fail.
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(names.len(), 12, "{names:?}");
    for name in names {
        let other = alerts.replace(&format!("alert: {name}\n"), "alert: Other\n");
        assert!(!cases(&other).status.success(), "{name} has no case in which it fires");
    }
}

#[test]
fn every_alert_leads_to_the_dashboard_by_variables_that_it_has() {
    let overview: Json = serde_json::from_str(&text("forebay-overview.json")).unwrap();
    let variables = overview["templating"]["list"].as_array().unwrap();
    let known: Vec<_> =
        variables.iter().map(|variable| format!("var-{}", variable["name"].as_str().unwrap())).collect();
    let alerts = text("alerts.yml");
    let links: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("dashboard: ")).collect();
    assert_eq!(links.len(), alerts.matches("- alert:").count());
    for link in links {
        let (dashboard, rest) = link.trim_matches('"').split_once('?').unwrap();
        assert_eq!(dashboard, format!("/d/{}", overview["uid"].as_str().unwrap()));
        for pair in rest.split('&') {
            assert!(known.contains(&pair.split_once('=').unwrap().0.to_owned()), "{link}");
        }
    }
}

/// Each panel has a question, a place of its own within 24 columns, and an id of its own.
#[test]
fn panels_do_not_overlap_and_say_what_they_answer() {
    for name in DASHBOARDS {
        let dashboard: Json = serde_json::from_str(&text(name)).unwrap();
        let mut ids = BTreeSet::new();
        let mut squares = BTreeSet::new();
        let mut see = |panel: &Json, squares: &mut BTreeSet<(u64, u64)>| {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {panel}");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{name}: {panel}");
            let own = (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)));
            let free = own.filter(|square| !squares.insert(*square)).count() == 0;
            assert!(free, "{name}: {} overlaps", panel["title"]);
            let is_asked = panel["description"].as_str().is_some_and(|question| question.contains('?'));
            assert!(panel["type"] == "row" || is_asked, "{name}: {}", panel["title"]);
        };
        for panel in dashboard["panels"].as_array().unwrap() {
            see(panel, &mut squares);
            // What is folded away takes no room.
            let mut inside = BTreeSet::new();
            panel["panels"].as_array().into_iter().flatten().for_each(|child| see(child, &mut inside));
        }
    }
}
