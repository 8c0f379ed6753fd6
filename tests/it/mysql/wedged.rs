//! One connection of four hangs: the others go on, and what hangs is given up at its time limit and lands once.

use std::time::Duration;

use forebay::pipeline::LaneState;

use super::exactly_once::{close, compare, small_batches, write_while};
use super::pipeline;
use super::proxy::Proxy;
use super::server::SHARED;
use crate::harness::{counts, event, eventually, state};

/// The answer to one COMMIT never comes, and the connection stays open: the batch is there, and nobody says so.
#[test]
fn a_connection_whose_answer_never_comes_blocks_no_other_and_its_batch_lands_once() {
    let (name, url) = SHARED.new_database();
    let proxy = Proxy::start(SHARED.port);
    let url = url.replace(&SHARED.port.to_string(), &proxy.port.to_string());
    let mut config = small_batches();
    assert_eq!(config.mysql.pool_size, 4);
    config.mysql.statement_timeout = Duration::from_secs(8);
    let pipeline = pipeline(&url, config).unwrap();
    let sent = write_while(&pipeline, |committed| {
        let after = |more: u64| {
            let until = committed() + more;
            eventually("the others go on", || committed() >= until);
        };
        after(300);
        let left = proxy.left();
        proxy.wedge_one();
        eventually("one connection hangs", || proxy.count() == 1);
        after(1000);
        assert_eq!(proxy.left(), left, "it still hangs");
        assert!(matches!(state(&pipeline), LaneState::Running));
        eventually("it is given up", || proxy.left() > left);
        after(300);
    });
    assert_eq!(proxy.count(), 1);
    close(pipeline, &sent);
    compare(&mut SHARED.admin(), &name, &sent);
}

/// Another session holds the lock that one batch needs, for longer than the time limit.
#[test]
fn a_batch_that_waits_for_a_lock_blocks_no_other() {
    let (name, url) = SHARED.new_database();
    let mut config = small_batches();
    config.mysql.statement_timeout = Duration::from_secs(2);
    let pipeline = pipeline(&url, config).unwrap();
    let mut other = SHARED.admin();
    other.run(&format!("CREATE TABLE `{name}`.theirs (n INT PRIMARY KEY)"));
    other.run(&format!("INSERT INTO `{name}`.theirs VALUES (1)"));
    other.run(&format!(
        "CREATE TRIGGER `{name}`.waits BEFORE INSERT ON `{name}`.events FOR EACH ROW \
         IF NEW.msg = 'stuck' THEN UPDATE `{name}`.theirs SET n = n; END IF"
    ));
    other.run("BEGIN");
    other.run(&format!("SELECT n FROM `{name}`.theirs FOR UPDATE"));
    let stuck = pipeline.events().send_blocking(event("stuck")).unwrap();
    let is_stuck = || matches!(state(&pipeline), LaneState::Retrying { attempts, .. } if attempts >= 2);
    eventually("it is tried again and again", is_stuck);
    let sender = pipeline.events();
    for row in 0..500 {
        assert_eq!(sender.send_blocking(event(&row.to_string())).unwrap().wait(), Ok(()));
    }
    assert_eq!(counts(&pipeline).committed, 500, "the one still waits");
    other.run("ROLLBACK");
    assert_eq!(stuck.wait(), Ok(()));
    assert!(pipeline.shutdown_blocking(super::LONG).is_complete());
    assert_eq!(other.number(&format!("SELECT count(*) FROM `{name}`.events WHERE msg = 'stuck'")), 1);
    assert_eq!(other.number(&format!("SELECT count(*) FROM `{name}`.events")), 501);
}
