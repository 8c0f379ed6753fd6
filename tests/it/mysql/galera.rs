//! A pipeline over a three-node cluster, of which nodes die, hang, return and fall out: the URL names all of them, and that
//! is all that anybody does about it. At the end every node has every row once.

use std::time::Duration;

use forebay::pipeline::{LaneState, ReplayRows};
use forebay::{Pipeline, Row};

use super::cluster::Cluster;
use super::exactly_once::{close, compare, small_batches, write_while};
use super::{LONG, pipeline};
use crate::harness::{event, eventually, eventually_within, state};

/// A cluster stands still until it has given up a node that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

fn after(committed: &dyn Fn() -> u64, more: u64) {
    let until = committed() + more;
    eventually_within(PATIENCE, "it goes on by itself", || committed() >= until);
}

fn is_retrying(pipeline: &Pipeline) -> bool {
    matches!(state(pipeline), LaneState::Retrying { .. })
}

#[test]
fn nodes_that_are_killed_come_back_and_hang_cost_no_row_and_the_pipeline_moves_by_itself() {
    let cluster = Cluster::take();
    let (name, url) = cluster.new_database();
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let sent = write_while(&pipeline, |committed| {
        after(committed, 300);
        assert_eq!(cluster.node_in_use(), 0);
        cluster.nodes[0].kill();
        eventually("the outage is seen", || is_retrying(&pipeline));
        after(committed, 300);
        cluster.rejoin(0);
        after(committed, 300);
        let used = cluster.node_in_use();
        cluster.nodes[used].freeze();
        eventually("the outage is seen", || is_retrying(&pipeline));
        after(committed, 300);
        cluster.nodes[used].resume();
        cluster.wait_until_whole();
        after(committed, 300);
    });
    close(pipeline, &sent);
    for node in 0..cluster.nodes.len() {
        compare(&mut cluster.reader(node), &name, &sent);
    }
}

#[test]
fn a_node_that_runs_but_fell_out_of_the_cluster_is_left_for_the_next() {
    let cluster = Cluster::take();
    let (name, url) = cluster.new_database();
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let sent = write_while(&pipeline, |committed| {
        after(committed, 300);
        cluster.isolate(0, 1);
        eventually_within(PATIENCE, "the node knows", || {
            cluster.status(0, "wsrep_cluster_status").as_deref() == Some("non-Primary")
        });
        eventually("the outage is seen", || is_retrying(&pipeline));
        after(committed, 300);
        assert_ne!(cluster.node_in_use(), 0);
        cluster.isolate(0, 0);
        cluster.wait_until_whole();
        after(committed, 300);
    });
    close(pipeline, &sent);
    for node in 0..cluster.nodes.len() {
        compare(&mut cluster.reader(node), &name, &sent);
    }
}

#[test]
fn without_a_majority_rows_wait_and_land_once_when_it_is_back() {
    let cluster = Cluster::take();
    let (name, url) = cluster.new_database();
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let sent = write_while(&pipeline, |committed| {
        after(committed, 300);
        cluster.nodes[1].freeze();
        cluster.nodes[2].freeze();
        eventually_within(PATIENCE, "the node that is left is no cluster", || {
            cluster.status(0, "wsrep_cluster_status").as_deref() == Some("non-Primary")
        });
        let refused = |state| matches!(state, LaneState::Retrying { attempts, .. } if attempts >= 3);
        eventually_within(PATIENCE, "rows wait", || refused(state(&pipeline)));
        cluster.nodes[1].resume();
        cluster.nodes[2].resume();
        cluster.wait_until_whole();
        after(committed, 300);
    });
    close(pipeline, &sent);
    for node in 0..cluster.nodes.len() {
        compare(&mut cluster.reader(node), &name, &sent);
    }
}

/// An earlier attempt at a batch lands over another node while this one is still at work: the cluster ends this one (1213),
/// and the next finds the batch in the ledger.
#[test]
fn a_batch_that_another_node_committed_first_is_ended_by_the_cluster_and_lands_once() {
    let cluster = Cluster::take();
    let (name, url) = cluster.new_database();
    let pipeline = pipeline(&url, small_batches()).unwrap();
    let mut blocker = cluster.nodes[0].admin();
    blocker.run("BEGIN");
    // The gap at the end of the table, where every new row goes.
    blocker.run(&format!("SELECT * FROM `{name}`.events FOR UPDATE"));
    let replay = pipeline.replay("source").unwrap();
    let receipt = replay.send_blocking(ReplayRows::numbered(0, vec![Row::Keep(event("a"))])).unwrap();
    let mut admin = cluster.nodes[0].admin();
    let waits = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status \
                 WHERE variable_name = 'Innodb_row_lock_current_waits'";
    eventually("our batch waits for the other's lock", || admin.number(waits) > 0);
    cluster.nodes[1].admin().run(&format!("INSERT INTO `{name}`.ingest_ledger VALUES ('source', 0, 0, 1, 0)"));
    let conflict = |state| matches!(state, LaneState::Retrying { error, .. } if error.contains("(1213)"));
    eventually("the cluster ends our batch", || conflict(state(&pipeline)));
    assert_eq!(receipt.wait(), Ok(()));
    blocker.run("ROLLBACK");
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let mut reader = cluster.reader(2);
    assert_eq!(
        reader.number(&format!("SELECT count(*) FROM `{name}`.events")),
        0,
        "the other attempt's rows are its own"
    );
    assert_eq!(reader.number(&format!("SELECT count(*) FROM `{name}`.ingest_ledger")), 1);
}
