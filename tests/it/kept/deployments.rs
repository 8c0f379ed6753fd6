//! Sensors and hosts, and how each of them is.

use std::sync::Barrier;
use std::time::Duration;

use forebay::ErrorKind;
use forebay::repository::DeploymentState::{Degraded, Failed, Pending, Running, TornDown};
use forebay::repository::{
    DeploymentFilter, DeploymentKind, DeploymentPlan, DeploymentState, MAX_HISTORY, MAX_REASON, Repository, Swept,
    Transition,
};

use super::Site;

super::claims!(
    a_plan_is_stored_and_replaced_and_its_state_stays,
    a_transition_names_the_state_that_it_expects,
    of_eight_who_want_the_same_transition_one_has_it,
    a_sign_of_life_changes_nothing_else,
    deployments_are_listed_by_name_and_filtered,
    what_is_silent_is_swept_and_what_lives_is_not,
    the_history_is_bounded,
);

const NEVER: Duration = Duration::from_secs(3600);

fn sensor(name: &str) -> DeploymentPlan {
    DeploymentPlan::new(DeploymentKind::Sensor, name)
}

#[track_caller]
fn move_to(repository: &Repository, name: &str, from: DeploymentState, to: DeploymentState) {
    assert_eq!(repository.deployments().transition(name, from, to, None).unwrap(), Transition::Done);
}

fn names(repository: &Repository, filter: &DeploymentFilter) -> Vec<String> {
    repository.deployments().list(filter, None, 100).unwrap().into_iter().map(|one| one.plan.name).collect()
}

fn a_plan_is_stored_and_replaced_and_its_state_stays(site: &Site) {
    let repository = site.open();
    let deployments = repository.deployments();
    assert_eq!(deployments.get("s").unwrap(), None);
    let mut plan = sensor("s");
    deployments.upsert(&plan).unwrap();
    let first = deployments.get("s").unwrap().unwrap();
    assert_eq!((&first.plan, first.state, &first.last_error, first.last_seen), (&plan, Pending, &None, None));
    move_to(&repository, "s", Pending, Running);
    plan.host = Some("ü host".into());
    plan.services = vec!["ssh".into(), "日本 \"x\" '".into()];
    plan.config = " {\"b\": [1, 2.50],\n \"a\": null} ".into();
    plan.address = Some("2001:db8::1".parse().unwrap());
    plan.hash = Some("sha256:ab".into());
    deployments.upsert(&plan).unwrap();
    let second = site.open().deployments().get("s").unwrap().unwrap();
    assert_eq!((&second.plan, second.state, second.created), (&plan, Running, first.created));
    assert!(second.updated > first.updated);
    for bad in [
        sensor(""),
        sensor("a\0"),
        DeploymentPlan { config: "{".into(), ..sensor("x") },
        DeploymentPlan { host: Some(String::new()), ..sensor("x") },
        DeploymentPlan { services: vec!["\u{1b}[31m".into()], ..sensor("x") },
    ] {
        assert_eq!(deployments.upsert(&bad).unwrap_err().kind(), ErrorKind::Configuration, "{bad:?}");
    }
    assert_eq!(names(&repository, &DeploymentFilter::default()), ["s"]);
}

fn a_transition_names_the_state_that_it_expects(site: &Site) {
    let repository = site.open();
    let deployments = repository.deployments();
    deployments.upsert(&sensor("s")).unwrap();
    let long = "ü".repeat(MAX_REASON);
    let cut = "ü".repeat(MAX_REASON / 2);
    for (from, to, error, outcome, last) in [
        (Running, Failed, None, Transition::Conflict(Pending), None),
        (Pending, Failed, Some("no such image"), Transition::Done, Some("no such image")),
        (Failed, TornDown, None, Transition::Done, Some("no such image")),
        (TornDown, Pending, None, Transition::Done, None),
        (Pending, Running, None, Transition::Done, None),
        (Running, Degraded, Some(long.as_str()), Transition::Done, Some(cut.as_str())),
        (Running, Failed, None, Transition::Conflict(Degraded), Some(cut.as_str())),
    ] {
        assert_eq!(deployments.transition("s", from, to, error).unwrap(), outcome, "{from} {to}");
        assert_eq!(deployments.get("s").unwrap().unwrap().last_error.as_deref(), last, "{from} {to}");
    }
    assert_eq!(deployments.transition("t", Pending, Running, None).unwrap(), Transition::Missing);
    for (from, to) in [(TornDown, Running), (Running, Running)] {
        let error = deployments.transition("s", from, to, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    }
    let history = deployments.history("s", 100).unwrap();
    let moves: Vec<_> = history.iter().map(|change| (change.from, change.to)).collect();
    let expected = [
        (Some(Running), Degraded),
        (Some(Pending), Running),
        (Some(TornDown), Pending),
        (Some(Failed), TornDown),
        (Some(Pending), Failed),
        (None, Pending),
    ];
    assert_eq!(moves, expected);
    assert_eq!(history[4].reason.as_deref(), Some("no such image"));
    assert!(history.iter().zip(&history[1..]).all(|(newer, older)| newer.at >= older.at));
    assert_eq!(deployments.history("s", 2).unwrap(), history[..2]);
    assert!(deployments.history("t", 2).unwrap().is_empty());
}

fn of_eight_who_want_the_same_transition_one_has_it(site: &Site) {
    site.open().deployments().upsert(&sensor("s")).unwrap();
    let start = Barrier::new(8);
    let done: usize = std::thread::scope(|scope| {
        let one = || {
            let repository = site.open();
            start.wait();
            let outcome = repository.deployments().transition("s", Pending, Running, None).unwrap();
            assert!(matches!(outcome, Transition::Done | Transition::Conflict(Running)), "{outcome:?}");
            usize::from(outcome == Transition::Done)
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(done, 1);
    assert_eq!(site.open().deployments().history("s", 100).unwrap().len(), 2);
}

fn a_sign_of_life_changes_nothing_else(site: &Site) {
    let repository = site.open();
    let deployments = repository.deployments();
    assert_eq!(deployments.heartbeat("s").unwrap(), None);
    deployments.upsert(&sensor("s")).unwrap();
    let before = deployments.get("s").unwrap().unwrap();
    assert_eq!(deployments.heartbeat("s").unwrap(), Some(Pending));
    let seen = deployments.get("s").unwrap().unwrap();
    assert!(seen.last_seen >= Some(before.updated));
    assert_eq!(deployments.heartbeat("s").unwrap(), Some(Pending));
    let again = deployments.get("s").unwrap().unwrap();
    assert!(again.last_seen >= seen.last_seen);
    assert_eq!((again.updated, again.state, &again.plan), (before.updated, before.state, &before.plan));
    assert_eq!(deployments.history("s", 100).unwrap().len(), 1);
}

fn deployments_are_listed_by_name_and_filtered(site: &Site) {
    let repository = site.open();
    let deployments = repository.deployments();
    for (name, kind, host) in [
        ("web", DeploymentKind::Sensor, Some("h1")),
        ("Web", DeploymentKind::Sensor, Some("h2")),
        ("web ", DeploymentKind::Sensor, Some("h1 ")),
        ("h1", DeploymentKind::Host, None),
        ("ä", DeploymentKind::Host, None),
    ] {
        let plan = DeploymentPlan { host: host.map(str::to_owned), ..DeploymentPlan::new(kind, name) };
        deployments.upsert(&plan).unwrap();
    }
    move_to(&repository, "web", Pending, Running);
    let all = DeploymentFilter::default();
    assert_eq!(names(&repository, &all), ["Web", "h1", "web", "web ", "ä"]);
    let host = |host: &str| DeploymentFilter { host: Some(host.into()), ..all.clone() };
    assert_eq!(names(&repository, &host("h1")), ["web"]);
    let running = DeploymentFilter { state: Some(Running), ..all.clone() };
    assert_eq!(names(&repository, &running), ["web"]);
    let pending_sensors = DeploymentFilter { state: Some(Pending), kind: Some(DeploymentKind::Sensor), ..all.clone() };
    assert_eq!(names(&repository, &pending_sensors), ["Web", "web "]);
    assert_eq!(names(&repository, &DeploymentFilter { state: Some(Failed), ..all.clone() }), [""; 0]);
    let page = |after: Option<&str>| {
        let page = deployments.list(&all, after, 2).unwrap();
        page.into_iter().map(|one| one.plan.name).collect::<Vec<_>>()
    };
    assert_eq!([page(None), page(Some("h1")), page(Some("web ")), page(Some("ä"))].concat(), names(&repository, &all));
}

fn what_is_silent_is_swept_and_what_lives_is_not(site: &Site) {
    let repository = site.open();
    let deployments = repository.deployments();
    for name in ["pending", "running", "degraded", "failed", "torn down"] {
        deployments.upsert(&sensor(name)).unwrap();
    }
    move_to(&repository, "running", Pending, Running);
    move_to(&repository, "degraded", Pending, Degraded);
    move_to(&repository, "failed", Pending, Failed);
    move_to(&repository, "torn down", Pending, TornDown);
    assert_eq!(deployments.sweep(NEVER, NEVER).unwrap(), []);
    assert_eq!(deployments.sweep(Duration::MAX, Duration::MAX).unwrap(), []);
    let swept = |name: &str, from, to| Swept { name: name.into(), from, to };
    assert_eq!(deployments.sweep(Duration::ZERO, NEVER).unwrap(), [swept("running", Running, Degraded)]);
    let degraded = deployments.get("running").unwrap().unwrap();
    assert_eq!(degraded.last_error.as_deref(), Some("no sign of life for 0ns"));
    deployments.heartbeat("running").unwrap();
    let failed = deployments.sweep(NEVER, Duration::ZERO).unwrap();
    assert_eq!(
        failed,
        [swept("pending", Pending, Failed), swept("degraded", Degraded, Failed), swept("running", Degraded, Failed)]
    );
    assert_eq!(deployments.sweep(Duration::ZERO, Duration::ZERO).unwrap(), []);
    let change = &deployments.history("running", 1).unwrap()[0];
    assert_eq!((change.from, change.to), (Some(Degraded), Failed));
}

fn the_history_is_bounded(site: &Site) {
    let repository = site.open();
    let deployments = repository.deployments();
    deployments.upsert(&sensor("other")).unwrap();
    deployments.upsert(&sensor("s")).unwrap();
    // Each step is a commit, and the disk of a busy machine is slow: all but the last few are made by hand.
    site.add_history("s", MAX_HISTORY as u64);
    for (from, to) in [(Pending, Running), (Running, Degraded), (Degraded, Running)] {
        move_to(&repository, "s", from, to);
    }
    let history = deployments.history("s", usize::MAX).unwrap();
    assert_eq!(history.len(), MAX_HISTORY);
    assert_eq!((history[0].from, history[0].to), (Some(Degraded), Running));
    assert_eq!(history.last().map(|change| change.to), Some(Failed), "the first ones went");
    assert_eq!(deployments.history("other", 10).unwrap().len(), 1);
}
