//! Where the kernel tells nothing: no inotify is to be had, since its user has used all of it up.
//!
//! For real, in a user namespace whose limit of instances is nought. Files are then found by looking, and by nothing else.

use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags};

use super::{Log, Place, torture};
use crate::child::{self, Running, say};

/// The child: tells whether inotify is refused, and follows.
pub fn follow(url: &str) {
    say(match inotify::init(CreateFlags::CLOEXEC) {
        Ok(_) => "hears",
        Err(_) => "hears nothing",
    });
    torture::follow(url);
}

#[test]
fn without_inotify_every_line_lands_after_every_kind_of_rotation() {
    let place = Place::new();
    let mut log = Log::new(place.path("x.log"));
    let script = r#"echo 0 > /proc/sys/user/max_inotify_instances && exec "$0" "$@""#;
    let namespace = ["unshare", "--user", "--map-root-user"];
    let url = place.database.url();
    let mut command = child::command_in_shell(&namespace, script, "deaf", Path::new(&url));
    command.env(torture::LOGS, place.path("x.log*"));
    let mut process = Running::start(command);
    let told = process.next().expect("a user namespace: run the tests where `unshare --user --map-root-user` works");
    assert_eq!(told, "hears nothing");
    assert_eq!(process.next().as_deref(), Some("follows"));
    for _ in 0..4 {
        log.lines(20);
        place.has(&log.written);
        // Its writer goes on with the renamed file for a while.
        log.rename();
        log.lines(5);
        log.reopen();
        log.lines(5);
        place.has(&log.written);
        log.compress(1);
        log.half();
        log.copytruncate();
        log.lines(10);
        place.has(&log.written);
        log.compress(1);
        log.compress(2);
        std::fs::remove_file(place.path("x.log")).unwrap();
        log.lines(5);
        place.has(&log.written);
        log.reopen();
        log.lines(5);
        place.has(&log.written);
    }
    assert_eq!(place.database.number("SELECT count(*) FROM ingest_rejects"), 0);
}
