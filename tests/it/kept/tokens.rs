//! Tokens that are refused.

use std::time::Duration;

use forebay::repository::{Role, UserChange};
use forebay::{ErrorKind, Timestamp};

use super::Site;
use super::users::create;

super::claims!(a_token_is_taken_until_it_is_revoked_or_its_users_rights_change, what_has_expired_is_forgotten,);

fn later(by: Duration) -> Timestamp {
    Timestamp::from_nanos(Timestamp::now().as_nanos() + by.as_nanos() as i64)
}

const HOUR: Duration = Duration::from_secs(3600);

fn a_token_is_taken_until_it_is_revoked_or_its_users_rights_change(site: &Site) {
    let repository = site.open();
    let tokens = repository.tokens();
    let ann = create(&repository, "ann", Role::Viewer);
    let before = Timestamp::from_nanos(ann.tokens_valid_from.as_nanos() - 1);
    let now = Timestamp::now();
    let holds = |token: &str, issued| tokens.holder(ann.id, token, issued).unwrap().is_some();
    assert!(holds("t1", now) && holds("t2", ann.tokens_valid_from) && !holds("t1", before));
    assert_eq!(tokens.holder(ann.id + 1, "t1", now).unwrap(), None);
    for _ in 0..2 {
        tokens.revoke(ann.id, "t1", later(HOUR)).unwrap();
    }
    assert!(!holds("t1", now) && holds("T1", now) && holds("t1 ", now) && holds("t2", now));
    let change = UserChange { tokens_valid_from: Some(later(HOUR)), ..UserChange::default() };
    repository.users().change("ann", &change).unwrap();
    assert!(!holds("t2", later(Duration::ZERO)) && holds("t2", later(2 * HOUR)));
    let disable = UserChange { is_disabled: Some(true), ..UserChange::default() };
    repository.users().change("ann", &disable).unwrap();
    assert!(!holds("t2", later(2 * HOUR)));
    for token in ["", "a\0", &"x".repeat(256)] {
        assert_eq!(tokens.revoke(1, token, now).unwrap_err().kind(), ErrorKind::Configuration);
        assert_eq!(tokens.holder(1, token, now).unwrap_err().kind(), ErrorKind::Configuration);
    }
}

fn what_has_expired_is_forgotten(site: &Site) {
    let repository = site.open();
    let tokens = repository.tokens();
    let ann = create(&repository, "ann", Role::Viewer);
    for (token, expires) in [("a", HOUR), ("b", 2 * HOUR), ("c", 3 * HOUR)] {
        tokens.revoke(ann.id, token, later(expires)).unwrap();
    }
    assert_eq!(tokens.prune(Timestamp::now()).unwrap(), 0);
    assert_eq!(tokens.prune(later(150 * HOUR / 60)).unwrap(), 2);
    let now = Timestamp::now();
    let refused = |token: &str| tokens.holder(ann.id, token, now).unwrap().is_none();
    assert_eq!(["a", "b", "c"].map(refused), [false, false, true]);
    tokens.revoke(ann.id, "old", Timestamp::from_nanos(1)).unwrap();
    tokens.revoke(ann.id, "new", later(HOUR)).unwrap();
    assert_eq!(["old", "new"].map(refused), [false, true], "the next one takes it away");
}
