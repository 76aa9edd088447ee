//! Several servers that are one Redis: a pair that Sentinel watches, three nodes of a Cluster.
//!
//! What an operator does to them: a failover, and a slot that is moved from node to node.

use tempfile::TempDir;

use crate::ports;
use crate::server::{Reply, Server, until};

/// Slots of a Cluster.
const SLOTS: usize = 16_384;

/// A master, a replica of it, and the sentinel that watches them by the name `shop`.
pub(crate) struct Watched {
    pub(crate) master: Server,
    pub(crate) replica: Server,
    pub(crate) sentinel: Server,
}

impl Watched {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let master = Server::start();
        let port = master.port().to_string();
        let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
        let linked = || replica.info("replication", "master_link_status").as_deref() == Some("up");
        until("the replica follows", linked);
        let sentinel = sentinel(master.port());
        let watched = Self { master, replica, sentinel };
        until("the sentinel knows the replica", || {
            let Reply::List(known) = watched.sentinel.tell(&["SENTINEL", "REPLICAS", "shop"])
            else {
                return false;
            };
            !known.is_empty()
        });
        watched
    }

    /// Waits until the replica has become the master.
    #[track_caller]
    pub(crate) fn await_failover(&self) {
        let is_master = || self.replica.info("replication", "role").as_deref() == Some("master");
        until("the replica is the master", is_master);
    }
}

/// A sentinel that watches the master at `port` by the name `shop`.
#[track_caller]
pub(crate) fn sentinel(port: u16) -> Server {
    let directory = TempDir::new().unwrap();
    let config = format!(
        "sentinel monitor shop 127.0.0.1 {port} 1\nsentinel down-after-milliseconds shop 300\n\
         sentinel failover-timeout shop 3000\n"
    );
    std::fs::write(directory.path().join("sentinel.conf"), config).unwrap();
    Server::start_in(directory, &["{dir}/sentinel.conf", "--sentinel"])
}

/// Three nodes that hold a third of the slots each.
#[track_caller]
pub(crate) fn cluster() -> [Server; 3] {
    cluster_where(|slot| slot * 3 / SLOTS)
}

/// Three nodes; each slot lies at the one of this number.
#[track_caller]
pub(crate) fn cluster_where(held_by: impl Fn(usize) -> usize) -> [Server; 3] {
    let nodes = [(); 3].map(|()| {
        let bus = ports::hold().port().to_string();
        Server::start_with(&[
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            "{dir}/nodes.conf",
            "--cluster-node-timeout",
            "1000",
            "--cluster-port",
            &bus,
            "--cluster-require-full-coverage",
            "no",
        ])
    });
    for (nth, node) in nodes.iter().enumerate() {
        let own = (0..SLOTS).filter(|slot| held_by(*slot) == nth).map(|slot| slot.to_string());
        let own: Vec<String> = own.collect();
        let words: Vec<&str> =
            ["CLUSTER", "ADDSLOTS"].into_iter().chain(own.iter().map(String::as_str)).collect();
        assert_eq!(node.tell(&words), Reply::Text("OK".to_owned()));
        let epoch = (nth + 1).to_string();
        node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
    }
    for node in &nodes[1..] {
        let bus = node.tell(&["CONFIG", "GET", "cluster-port"]);
        let Reply::List(bus) = bus else { panic!("{bus:?}") };
        let (port, bus) = (node.port().to_string(), bus[1].text());
        nodes[0].tell(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }
    until("the cluster is whole", || {
        nodes.iter().all(|node| {
            let Reply::Text(told) = node.tell(&["CLUSTER", "INFO"]) else { return false };
            let has = |what: &str| told.contains(what);
            has("cluster_state:ok") && has("known_nodes:3") && has("slots_assigned:16384")
        })
    });
    nodes
}

/// Says at both nodes that the slot of `key` is on its way to `heir`. From now on its owner makes
/// no new key in it.
#[track_caller]
pub(crate) fn send_on_its_way(nodes: &[Server; 3], heir: usize, key: &str) {
    let owner = nodes.iter().position(|node| node.keys().iter().any(|it| it == key));
    let owner = owner.expect("a node that holds it");
    let id = |nth: usize| nodes[nth].tell(&["CLUSTER", "MYID"]).text();
    let slot = nodes[0].tell(&["CLUSTER", "KEYSLOT", key]).text();
    nodes[heir].tell(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(owner)]);
    nodes[owner].tell(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(heir)]);
}

/// Moves keys.
#[track_caller]
pub(crate) fn send(from: &Server, to: &Server, keys: &[&str]) {
    let port = to.port().to_string();
    let words: Vec<&str> = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"]
        .into_iter()
        .chain(keys.iter().copied())
        .collect();
    let said = from.tell(&words);
    assert!(matches!(said, Reply::Text(_)), "{said:?}");
}

/// Says everywhere that the slot of `key` is `heir`'s.
#[track_caller]
pub(crate) fn let_arrive(nodes: &[Server; 3], heir: usize, key: &str) {
    let id = nodes[heir].tell(&["CLUSTER", "MYID"]).text();
    let slot = nodes[0].tell(&["CLUSTER", "KEYSLOT", key]).text();
    // The heir first: it must be the last that believes another.
    for step in 0..3 {
        let said = nodes[(heir + step) % 3].tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        assert_eq!(said, Reply::Text("OK".to_owned()));
    }
}
