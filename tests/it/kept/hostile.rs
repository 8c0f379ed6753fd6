//! Text that would be something else if it were ever spliced into a statement, through every argument that takes text.

use forebay::Timestamp;
use forebay::repository::{
    DeploymentFilter, DeploymentKind, DeploymentPlan, DeploymentState, NewUser, Password, Role, Swap, Transition,
    UserChange,
};

use super::Site;

super::claims!(no_text_ever_becomes_a_part_of_a_statement);

const CORPUS: [&str; 16] = [
    "'",
    "''",
    "\"",
    "`",
    "\\",
    "\\'",
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    "\"; DROP TABLE state; #",
    "` FROM users -- ",
    "1 UNION SELECT password_hash FROM users",
    "%' OR 1=1 /*",
    "?",
    "$1 :name @x",
    "x' || (SELECT password_hash FROM users) || '",
    "\u{ff07}\u{2019}\u{bf27} OR 1=1",
];

fn no_text_ever_becomes_a_part_of_a_statement(site: &Site) {
    let repository = site.open();
    let (state, deployments) = (repository.state(), repository.deployments());
    let (users, tokens) = (repository.users(), repository.tokens());
    let password = Password::new("correct horse");
    let ann =
        users.create(&NewUser { name: "ann", role: Role::Viewer, password: &password, must_change: false }).unwrap();
    for text in CORPUS {
        let json = serde_json::to_string(text).unwrap();
        let version = state.set(text, &json).unwrap();
        assert_eq!(state.get(text).unwrap().unwrap().value, json);
        assert!(matches!(state.compare_and_set(text, Some(version), &json).unwrap(), Swap::Done(_)));
        assert_eq!(state.list(text, None, 100).unwrap()[0].key, text);
        assert!(state.list("", Some(text), 100).unwrap().iter().all(|key| key.key.as_str() > text));

        let mut plan = DeploymentPlan::new(DeploymentKind::Sensor, text);
        (plan.host, plan.hash) = (Some(text.into()), Some(text.into()));
        (plan.services, plan.config) = (vec![text.into()], json.clone());
        deployments.upsert(&plan).unwrap();
        deployments.upsert(&plan).unwrap();
        assert_eq!(deployments.get(text).unwrap().unwrap().plan, plan);
        assert_eq!(deployments.heartbeat(text).unwrap(), Some(DeploymentState::Pending));
        let (from, to) = (DeploymentState::Pending, DeploymentState::Failed);
        assert_eq!(deployments.transition(text, from, to, Some(text)).unwrap(), Transition::Done);
        assert_eq!(deployments.history(text, 10).unwrap()[0].reason.as_deref(), Some(text));
        let of_host = DeploymentFilter { host: Some(text.into()), ..DeploymentFilter::default() };
        assert_eq!(deployments.list(&of_host, None, 10).unwrap().len(), 1, "{text}");
        assert!(deployments.list(&DeploymentFilter::default(), Some(text), 100).unwrap().len() < CORPUS.len());

        let new = NewUser { name: text, role: Role::Admin, password: &password, must_change: false };
        assert!(users.create(&new).is_err() && users.find(text).is_err() && users.seed_admin(text, &password).is_err());
        assert!(users.change(text, &UserChange::default()).is_err());
        assert_eq!(users.verify(text, &password).unwrap(), None);
        assert_eq!(users.verify("ann", &Password::new(text)).unwrap(), None);
        let now = Timestamp::now();
        assert!(tokens.holder(ann.id, text, now).unwrap().is_some());
        tokens.revoke(ann.id, text, Timestamp::from_nanos(i64::MAX)).unwrap();
        assert_eq!(tokens.holder(ann.id, text, now).unwrap(), None);
    }
    assert_eq!(state.list("", None, 100).unwrap().len(), CORPUS.len());
    assert_eq!(users.list(0, 100).unwrap(), [ann]);
    for text in CORPUS {
        assert!(state.delete(text).unwrap());
    }
    assert!(state.list("", None, 100).unwrap().is_empty());
}
