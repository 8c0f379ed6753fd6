//! JSON values by key.

use std::sync::Barrier;

use forebay::ErrorKind;
use forebay::repository::{MAX_VALUE, Repository, Swap};

use super::Site;
use crate::mysql::server::{SHARED, Server};

super::claims!(
    a_value_is_read_back_byte_for_byte_and_its_version_grows,
    a_swap_happens_only_if_nothing_has_changed,
    a_key_that_is_made_again_has_a_greater_version,
    keys_are_listed_by_prefix_in_the_order_of_their_bytes,
    eight_threads_count_together_and_no_step_is_lost,
    what_cannot_be_a_key_or_a_value_is_refused_and_changes_nothing,
);

fn a_value_is_read_back_byte_for_byte_and_its_version_grows(site: &Site) {
    let repository = site.open();
    let state = repository.state();
    assert_eq!(state.get("a").unwrap(), None);
    let mut last = 0;
    let large = format!("\"{}\"", "ü".repeat(500_000));
    for value in
        ["{}", " {\"b\" : 1,\n\"a\":1e999,\"a\":2} ", r#""\u0000\ud83d\ude00""#, "\"日本 ' \\\" % _ ?\"", &large]
    {
        let version = state.set("a", value).unwrap();
        assert!(version > last && version < 1 << 53, "{version}");
        last = version;
        let entry = site.open().state().get("a").unwrap().unwrap();
        assert_eq!((entry.key.as_str(), entry.version), ("a", version));
        assert!(entry.value == value, "{value:.50}");
        assert!(entry.updated <= forebay::Timestamp::now());
    }
    assert!(state.delete("a").unwrap());
    assert!(!state.delete("a").unwrap());
    assert_eq!(state.get("a").unwrap(), None);
}

fn a_swap_happens_only_if_nothing_has_changed(site: &Site) {
    let repository = site.open();
    let state = repository.state();
    assert_eq!(state.compare_and_set("k", Some(7), "1").unwrap(), Swap::Changed(None));
    let Swap::Done(first) = state.compare_and_set("k", None, "1").unwrap() else { panic!("it was not there") };
    assert_eq!(state.compare_and_set("k", None, "2").unwrap(), Swap::Changed(Some(first)));
    let Swap::Done(second) = state.compare_and_set("k", Some(first), "2").unwrap() else { panic!("it was the same") };
    assert!(second > first);
    assert_eq!(state.compare_and_set("k", Some(first), "3").unwrap(), Swap::Changed(Some(second)));
    assert_eq!(state.get("k").unwrap().unwrap().value, "2");
}

fn a_key_that_is_made_again_has_a_greater_version(site: &Site) {
    let repository = site.open();
    let state = repository.state();
    let mut last = 0;
    for _ in 0..5 {
        let version = state.set("k", "1").unwrap();
        assert!(version > last);
        last = version;
        state.delete("k").unwrap();
    }
    state.set("k", "1").unwrap();
    assert!(matches!(state.compare_and_set("k", Some(last), "2").unwrap(), Swap::Changed(Some(_))));
}

fn keys_are_listed_by_prefix_in_the_order_of_their_bytes(site: &Site) {
    let repository = site.open();
    let state = repository.state();
    let mut keys = ["a", "a ", "A", "ab", "a%", "a_", "a\\", "ä", "á", "a/1", "a/10", "a/2", "b", "日", "😀"];
    for key in keys {
        state.set(key, "\"ü\"").unwrap();
    }
    keys.sort_unstable();
    let names = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        state.list(prefix, after, limit).unwrap().into_iter().map(|key| key.key).collect()
    };
    assert_eq!(names("", None, 100), keys);
    assert_eq!(names("a/", None, 100), ["a/1", "a/10", "a/2"]);
    assert_eq!(names("a%", None, 100), ["a%"]);
    assert_eq!(names("ä", None, 100), ["ä"]);
    assert_eq!(names("a/", Some("a/1"), 1), ["a/10"]);
    assert_eq!(names("a/", Some("a"), 100), ["a/1", "a/10", "a/2"]);
    assert_eq!(names("a/", Some("b"), 100), [""; 0]);
    assert_eq!(names("nothing", None, 100), [""; 0]);
    assert_eq!(names("", None, 0), [""; 0]);
    assert_eq!(state.list("A", None, 1).unwrap()[0].bytes, 4, "bytes, not characters");
    let mut paged: Vec<String> = Vec::new();
    loop {
        let page = names("", paged.last().map(String::as_str), 4);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, keys);
}

fn eight_threads_count_together_and_no_step_is_lost(site: &Site) {
    const STEPS: usize = 20;
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let repository = site.open();
                let state = repository.state();
                start.wait();
                for _ in 0..STEPS {
                    loop {
                        let entry = state.get("count").unwrap();
                        let (version, count) =
                            entry.map_or((None, 0), |entry| (Some(entry.version), entry.value.parse::<u64>().unwrap()));
                        let swap = state.compare_and_set("count", version, &(count + 1).to_string()).unwrap();
                        if matches!(swap, Swap::Done(_)) {
                            break;
                        }
                    }
                }
            });
        }
    });
    assert_eq!(site.open().state().get("count").unwrap().unwrap().value, (8 * STEPS).to_string());
}

fn what_cannot_be_a_key_or_a_value_is_refused_and_changes_nothing(site: &Site) {
    let repository = site.open();
    let state = repository.state();
    let refused = |error: forebay::Error| assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    for key in ["", "a\0b", "a\nb", &"x".repeat(256)] {
        refused(state.set(key, "1").unwrap_err());
        refused(state.get(key).unwrap_err());
        refused(state.delete(key).unwrap_err());
        refused(state.compare_and_set(key, None, "1").unwrap_err());
    }
    for value in ["", "{", "nul", "\"\u{1}\"", &"[".repeat(200)] {
        refused(state.set("a", value).unwrap_err());
        refused(state.compare_and_set("a", None, value).unwrap_err());
    }
    refused(state.set("a", &format!("\"{}\"", "x".repeat(MAX_VALUE - 1))).unwrap_err());
    assert!(state.list("", None, 10).unwrap().is_empty());
}

fn largest() -> String {
    format!("\"{}\"", "x".repeat(MAX_VALUE - 2))
}

#[test]
fn the_largest_value_goes_into_a_file_and_comes_back() {
    for site in [Site::file(), Site::file_of_a_pipeline()] {
        let repository = site.open();
        repository.state().set("large", &largest()).unwrap();
        assert!(site.open().state().get("large").unwrap().unwrap().value == largest());
    }
}

#[test]
fn the_largest_value_goes_to_a_server_that_takes_such_packets_and_another_says_what_to_raise() {
    let small = Repository::open(&SHARED.new_database().1).unwrap();
    let error = small.state().set("large", &largest()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.to_string().contains("the database takes 16777216; a server's bound is its max_allowed_packet"),
        "{error}"
    );
    small.state().set("small", "1").unwrap();
    let server = Server::start_with(["--max-allowed-packet=64M".into(), "--innodb-log-file-size=256M".into()]);
    let large = Repository::open(&server.database("large")).unwrap();
    large.state().set("large", &largest()).unwrap();
    assert!(large.state().get("large").unwrap().unwrap().value == largest());
}
