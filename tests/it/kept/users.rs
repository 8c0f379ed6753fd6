//! Who may sign in.

use std::sync::Barrier;

use forebay::ErrorKind;
use forebay::repository::{NewUser, Password, Repository, Role, User, UserChange};

use super::Site;

super::claims!(
    a_user_is_created_once_and_found_whatever_the_case,
    only_the_right_password_signs_in_and_nothing_tells_why_another_does_not,
    a_user_is_changed_and_what_is_not_named_stays,
    the_last_admin_stays_one,
    two_admins_cannot_take_each_others_rights_away,
    of_eight_who_seed_the_first_admin_one_does,
    no_password_and_no_hash_is_shown,
    users_sign_in_from_async_code_without_a_runtime,
);

const FIRST: &str = "correct horse";

pub fn create(repository: &Repository, name: &str, role: Role) -> User {
    let user = NewUser { name, role, password: &Password::new(FIRST), must_change: false };
    repository.users().create(&user).unwrap()
}

#[track_caller]
fn signs_in(repository: &Repository, name: &str, password: &str) -> bool {
    let user = repository.users().verify(name, &Password::new(password)).unwrap();
    assert!(user.as_ref().is_none_or(|user| user.name == name.to_ascii_lowercase()));
    user.is_some()
}

fn a_user_is_created_once_and_found_whatever_the_case(site: &Site) {
    let repository = site.open();
    let users = repository.users();
    let ann = create(&repository, "Ann@Example.org", Role::Viewer);
    assert_eq!(
        (ann.name.as_str(), ann.role, ann.must_change, ann.is_disabled),
        ("ann@example.org", Role::Viewer, false, false)
    );
    let again =
        NewUser { name: "ANN@example.org", role: Role::Admin, password: &Password::new(FIRST), must_change: true };
    let error = users.create(&again).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(users.find("ann@EXAMPLE.org").unwrap().as_ref(), Some(&ann));
    assert_eq!(users.find("bob").unwrap(), None);
    let bob = create(&repository, "bob", Role::Admin);
    assert!(bob.id > ann.id);
    assert_eq!(users.list(0, 10).unwrap(), [ann.clone(), bob.clone()]);
    assert_eq!(users.list(ann.id, 10).unwrap(), [bob]);
    assert_eq!(users.list(0, 1).unwrap(), [ann]);
    for (name, password) in [("", FIRST), ("a b", FIRST), ("ü", FIRST), ("carl", "short"), ("carl", &"x".repeat(1025))]
    {
        let user = NewUser { name, role: Role::Viewer, password: &Password::new(password), must_change: false };
        assert_eq!(users.create(&user).unwrap_err().kind(), ErrorKind::Configuration, "{name}");
    }
}

fn only_the_right_password_signs_in_and_nothing_tells_why_another_does_not(site: &Site) {
    let repository = site.open();
    create(&repository, "ann", Role::Viewer);
    assert!(signs_in(&repository, "ann", FIRST) && signs_in(&repository, "ANN", FIRST));
    for (name, password) in [
        ("ann", "Correct horse"),
        ("ann", "correct horse "),
        ("ann", ""),
        ("ann", &"x".repeat(100_000)),
        ("bob", FIRST),
        ("a b", FIRST),
        ("", ""),
    ] {
        assert!(!signs_in(&repository, name, password), "{name}");
    }
    let disable = UserChange { is_disabled: Some(true), ..UserChange::default() };
    repository.users().change("ann", &disable).unwrap();
    assert!(!signs_in(&repository, "ann", FIRST));
}

fn a_user_is_changed_and_what_is_not_named_stays(site: &Site) {
    let repository = site.open();
    let users = repository.users();
    create(&repository, "root", Role::Admin);
    let ann = create(&repository, "ann", Role::Viewer);
    let change = |change: UserChange<'_>| users.change("Ann", &change).unwrap().unwrap();
    let mut same = change(UserChange::default());
    same.updated = ann.updated;
    assert_eq!(same, ann);
    let must = change(UserChange { must_change: Some(true), ..UserChange::default() });
    assert!(must.must_change && must.tokens_valid_from == ann.tokens_valid_from);
    let second = Password::new("battery staple");
    let changed = change(UserChange { password: Some(&second), ..UserChange::default() });
    assert!(!changed.must_change && changed.tokens_valid_from > ann.tokens_valid_from);
    assert!(!signs_in(&repository, "ann", FIRST) && signs_in(&repository, "ann", "battery staple"));
    let admin = change(UserChange { role: Some(Role::Admin), ..UserChange::default() });
    assert!(admin.role == Role::Admin && admin.tokens_valid_from > changed.tokens_valid_from);
    let back = change(UserChange { tokens_valid_from: Some(ann.created), ..UserChange::default() });
    assert_eq!(back.tokens_valid_from, admin.tokens_valid_from, "it never moves back");
    assert_eq!(users.find("ann").unwrap(), Some(back));
    assert!(signs_in(&repository, "ann", "battery staple"));
    assert_eq!(users.change("bob", &UserChange::default()).unwrap(), None);
    let short = Password::new("short");
    let error = users.change("ann", &UserChange { password: Some(&short), ..UserChange::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

const NO_ADMIN: UserChange<'_> = UserChange {
    role: Some(Role::Viewer),
    password: None,
    must_change: None,
    is_disabled: None,
    tokens_valid_from: None,
};

fn the_last_admin_stays_one(site: &Site) {
    let repository = site.open();
    let users = repository.users();
    create(&repository, "root", Role::Admin);
    create(&repository, "ann", Role::Viewer);
    let disable = UserChange { is_disabled: Some(true), ..UserChange::default() };
    for change in [&disable, &NO_ADMIN] {
        let error = users.change("root", change).unwrap_err();
        assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("root is the last admin"), "{error}");
    }
    users.change("ann", &UserChange { role: Some(Role::Admin), ..UserChange::default() }).unwrap();
    assert!(users.change("root", &disable).unwrap().unwrap().is_disabled);
    assert!(users.change("ann", &NO_ADMIN).is_err(), "a disabled admin is none");
}

fn two_admins_cannot_take_each_others_rights_away(site: &Site) {
    let repository = site.open();
    for name in ["ann", "bob"] {
        create(&repository, name, Role::Admin);
    }
    for _ in 0..5 {
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            for name in ["ann", "bob"] {
                let (start, repository) = (&start, site.open());
                scope.spawn(move || {
                    start.wait();
                    // One of them is refused.
                    let _ = repository.users().change(name, &NO_ADMIN);
                });
            }
        });
        let users = repository.users().list(0, 10).unwrap();
        let admins: Vec<_> = users.iter().filter(|user| user.role == Role::Admin).collect();
        assert_eq!(admins.len(), 1, "{users:?}");
        for name in ["ann", "bob"] {
            let admin = UserChange { role: Some(Role::Admin), ..UserChange::default() };
            repository.users().change(name, &admin).unwrap();
        }
    }
}

fn of_eight_who_seed_the_first_admin_one_does(site: &Site) {
    let start = Barrier::new(8);
    let seeded: usize = std::thread::scope(|scope| {
        let seed = |number: usize| {
            let (repository, start) = (site.open(), &start);
            scope.spawn(move || {
                start.wait();
                let name = if number.is_multiple_of(2) { "admin".to_owned() } else { format!("admin{number}") };
                usize::from(repository.users().seed_admin(&name, &Password::new(FIRST)).unwrap())
            })
        };
        let all: Vec<_> = (0..8).map(seed).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(seeded, 1);
    let users = site.open().users().list(0, 10).unwrap();
    assert_eq!(users.len(), 1);
    assert!(users[0].role == Role::Admin && users[0].must_change);
    let repository = site.open();
    assert!(!repository.users().seed_admin("again", &Password::new(FIRST)).unwrap());
    assert!(repository.users().seed_admin("again", &Password::new("short")).is_err(), "a bad password is told always");
}

fn no_password_and_no_hash_is_shown(site: &Site) {
    let repository = site.open();
    let secret = Password::new("hunter2hunter2");
    let new = NewUser { name: "ann", role: Role::Viewer, password: &secret, must_change: true };
    let change = UserChange { password: Some(&secret), ..UserChange::default() };
    let shown = [
        format!("{secret:?} {new:?} {change:?} {repository:?}"),
        format!("{:?}", repository.users().create(&new)),
        format!("{:?}", repository.users().create(&new)),
        format!("{:?}", repository.users().change("ann", &change)),
        format!("{:?}", repository.users().verify("ann", &secret)),
        format!("{:?}", repository.users().list(0, 10)),
    ]
    .concat();
    for part in ["hunter2", "argon2", "$m=", "password_hash"] {
        assert!(!shown.contains(part), "{part}: {shown}");
    }
}

fn users_sign_in_from_async_code_without_a_runtime(site: &Site) {
    let repository = site.open();
    create(&repository, "ann", Role::Viewer);
    let user = pollster(repository.sign_in("ann", Password::new(FIRST))).unwrap();
    assert_eq!(user.map(|user| user.name).as_deref(), Some("ann"));
    assert_eq!(pollster(repository.sign_in("ann", Password::new("x"))).unwrap(), None);
    // Whoever comes when all places are taken is told so at once; dropped ones give theirs back.
    let mut waiting: Vec<_> = (0..80).map(|_| Box::pin(repository.sign_in("ann", Password::new(FIRST)))).collect();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut refused = 0;
    for one in &mut waiting {
        if let std::task::Poll::Ready(Err(error)) = one.as_mut().poll(&mut context) {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            refused += 1;
        }
    }
    assert!(refused > 0, "80 at once were let in");
    drop(waiting);
    crate::harness::eventually_within(std::time::Duration::from_secs(60), "places are given back", || {
        pollster(repository.sign_in("ann", Password::new(FIRST))).is_ok()
    });
}

/// Waits for a future on this thread.
fn pollster<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}
