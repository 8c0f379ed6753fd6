//! A private Galera cluster of three nodes on 127.0.0.1, one for all tests that need it, one at a time.
//!
//! A node is a [`Server`] and dies as one. The cluster is started once, because the two state transfers are most of the
//! cost; a test takes it whole, and leaves it whole. Questions to a node have a time limit, since a node may hang.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::server::{Client, Server};
use crate::harness::eventually_within;

/// A state transfer takes seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(120);
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
const INSTALL: &str = "these tests need Galera: install the packages `mariadb-server`, `galera-4` and `rsync` (tests/run.sh does on Debian)";
const NODES: usize = 3;

static CLUSTER: LazyLock<Mutex<Cluster>> = LazyLock::new(|| Mutex::new(Cluster::start()));

pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Waits until no other test has it, and until it is whole.
    pub fn take() -> MutexGuard<'static, Self> {
        let cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
        cluster.wait_until_whole();
        cluster
    }

    fn start() -> Self {
        for needed in [PROVIDER, "/usr/bin/rsync"] {
            assert!(Path::new(needed).exists(), "there is no {needed}; {INSTALL}");
        }
        let ports = free_ports(3 * NODES);
        let (group, rest) = ports.split_at(NODES);
        let (transfer, increment) = rest.split_at(NODES);
        let members: Vec<_> = group.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let node = |node: usize| {
            let (base, increment, transfer) = (group[node], increment[node], transfer[node]);
            Server::prepare(vec![
                "--binlog-format=ROW".into(),
                "--wsrep-on=ON".into(),
                format!("--wsrep-provider={PROVIDER}"),
                "--wsrep-cluster-name=forebay-test".into(),
                format!("--wsrep-cluster-address=gcomm://{}", members.join(",")),
                format!("--wsrep-node-address=127.0.0.1:{base}"),
                "--wsrep-sst-method=rsync".into(),
                format!("--wsrep-sst-receive-address=127.0.0.1:{transfer}"),
                // A node that hangs is given up after two seconds instead of five.
                format!(
                    "--wsrep-provider-options=base_port={base};gmcast.listen_addr=tcp://127.0.0.1:{base};\
                     ist.recv_addr=127.0.0.1:{increment};ist.recv_bind=127.0.0.1:{increment};gcache.size=64M;\
                     evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;evs.suspect_timeout=PT2S;\
                     evs.inactive_timeout=PT6S"
                ),
            ])
        };
        let cluster = Self { nodes: (0..NODES).map(node).collect() };
        cluster.nodes[0].spawn(&["--wsrep-new-cluster"]);
        cluster.wait_for_node(0);
        // One after the other: a node gives its state to one other at a time.
        for node in 1..NODES {
            cluster.nodes[node].spawn(&[]);
            cluster.wait_for_node(node);
        }
        cluster
    }

    /// Starts a node that was killed, and waits until it has caught up.
    pub fn rejoin(&self, node: usize) {
        self.nodes[node].spawn(&[]);
        self.wait_until_whole();
    }

    pub fn wait_until_whole(&self) {
        let size = NODES.to_string();
        for node in 0..NODES {
            self.wait_for_node(node);
            eventually_within(PATIENCE, "the node sees all others", || {
                self.status(node, "wsrep_cluster_size").as_ref() == Some(&size)
            });
        }
    }

    fn wait_for_node(&self, node: usize) {
        eventually_within(PATIENCE, &format!("node {node} is synced"), || {
            self.status(node, "wsrep_local_state_comment").as_deref() == Some("Synced")
                && self.status(node, "wsrep_ready").as_deref() == Some("ON")
        });
    }

    /// Returns what a node says of itself; `None` when it says nothing.
    pub fn status(&self, node: usize, name: &str) -> Option<String> {
        let mut admin = self.nodes[node].try_admin()?;
        admin.shown(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))
    }

    /// Returns the node to which most of the pipeline's connections go, of those that answer.
    pub fn node_in_use(&self) -> usize {
        let connections = |node: &usize| {
            let query = "SELECT count(*) FROM information_schema.processlist WHERE user = 'writer'";
            self.nodes[*node].try_admin().map_or(0, |mut admin| admin.number(query))
        };
        (0..NODES).max_by_key(connections).unwrap()
    }

    /// Makes a database on all nodes; returns its name and a URL that names all nodes, the first node first.
    pub fn new_database(&self) -> (String, String) {
        let (name, url) = self.nodes[0].new_database();
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        (name, url.replace(&hosts[0], &hosts.join(",")))
    }

    /// Connects to a node as the administrator; what is read there has everything that was committed anywhere before.
    pub fn reader(&self, node: usize) -> Client {
        let mut admin = self.nodes[node].admin();
        admin.run("SET SESSION wsrep_sync_wait = 7");
        admin
    }

    /// Takes a node out of the cluster, although it runs and answers, or puts it back.
    pub fn isolate(&self, node: usize, isolate: u8) {
        self.nodes[node].admin().run(&format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={isolate}'"));
    }
}

/// Finds ports that nothing listens on, below those that the system gives to outgoing connections: a node comes back to
/// its port after it was killed. Single servers have theirs above 20,000.
fn free_ports(count: usize) -> Vec<u16> {
    let first = 10_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let listeners: Vec<_> = (first..20_000)
        .chain(10_000..first)
        .filter_map(|port| Some((TcpListener::bind(("127.0.0.1", port)).ok()?, port)))
        .take(count)
        .collect();
    assert_eq!(listeners.len(), count, "not enough free ports");
    listeners.into_iter().map(|(_, port)| port).collect()
}
