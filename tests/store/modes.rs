//! Every way to reach a Redis.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fusebox::cluster::store::{Failure, Kind};
use serde_json::json;

use crate::bench::Bench;
use crate::deployment::{
    Watched, cluster, cluster_where, let_arrive, send, send_on_its_way, sentinel,
};
use crate::ports;
use crate::server::{Reply, Server};

#[test]
fn a_script_is_told_once_and_again_where_the_server_has_forgotten_it() {
    let server = Server::start();
    let mut bench = Bench::of(json!({ "type": "redis", "port": server.port() }));
    assert_eq!(bench.answered("{a}"), "0");
    assert_eq!(bench.add(&["{a}", "{b}"], 5), [Ok("5".to_owned()), Ok("5".to_owned())]);
    server.tell(&["SCRIPT", "FLUSH"]);
    assert_eq!(bench.add(&["{a}"], 2), [Ok("7".to_owned())]);
    assert_eq!(bench.add(&["{a}"], 0), [Ok("7".to_owned())]);
    let told = server.info("commandstats", "cmdstat_eval").unwrap();
    assert!(told.starts_with("calls=2,"), "{told}");
    assert_eq!(bench.store().connected(), [server.url()]);
}

#[test]
fn many_calls_travel_together() {
    let server = Server::start();
    let mut bench = Bench::of(json!({ "type": "redis", "port": server.port() }));
    bench.answered("{a}");
    let keys: Vec<String> = (0..200).map(|nth| format!("{{{nth}}}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let answers = bench.add(&keys, 3);
    assert!(answers.iter().all(|answer| *answer == Ok("3".to_owned())), "{answers:?}");
}

#[test]
fn a_socket_and_a_database_are_reached() {
    let server = Server::start_with(&["--unixsocket", "{dir}/socket"]);
    let socket = server.directory().join("socket");
    let url = format!("unix:{}", socket.display());
    let mut bench = Bench::of(json!({ "type": "redis", "url": url, "db": 3 }));
    bench.answered("{a}");
    assert_eq!(server.info("keyspace", "db3").map(|told| told.contains("keys=1")), Some(true));
    assert_eq!(server.keys(), [""; 0], "database 0");
}

#[test]
fn a_user_needs_few_rights_and_the_right_password() {
    let server = Server::start_with(&["--requirepass", "of-the-default-user"]);
    let admin = |words: &[&str]| {
        let mut talk = server.talk();
        talk.ask(&["AUTH", "of-the-default-user"]);
        assert_eq!(talk.ask(words), Reply::Text("OK".to_owned()));
    };
    admin(&[
        "ACL",
        "SETUSER",
        "proxy",
        "on",
        ">s3cret",
        "~{*",
        "&hints",
        "+eval",
        "+evalsha",
        "+incrby",
        "+pexpire",
        "+publish",
        "+subscribe",
        "+hello",
    ]);
    let state = |user: &str, password: &str| {
        let port = server.port();
        json!({ "type": "redis", "port": port, "username": user, "password": password })
    };
    let mut bench = Bench::of(state("proxy", "s3cret"));
    assert_eq!(bench.answered("{a}"), "0");
    assert_eq!(bench.store().deaf(), None);

    let failure = Bench::of(state("proxy", "wrong")).refused("{a}", Kind::Denied);
    assert!(failure.text.contains("WRONGPASS") && !failure.text.contains("wrong "), "{failure}");
    assert!(failure.to_string().contains("`state.password`"), "{failure}");
    let bare = json!({ "type": "redis", "port": server.port() });
    let failure = Bench::of(bare).refused("{a}", Kind::Denied);
    assert!(failure.text.contains("NOAUTH"), "{failure}");

    admin(&["ACL", "SETUSER", "proxy", "resetchannels"]);
    let mut bench = Bench::of(state("proxy", "s3cret"));
    bench.answered("{a}");
    let deaf = bench.store().deaf().expect("a reason");
    assert_eq!(deaf.kind, Kind::Denied, "{deaf}");

    admin(&["ACL", "SETUSER", "proxy", "-incrby"]);
    let failure = bench.refused("{a}", Kind::Denied);
    assert!(failure.text.contains("script"), "{failure}");
}

#[test]
fn a_password_file_that_was_replaced_counts_at_the_next_connection() {
    let server = Server::start_with(&["--requirepass", "first"]);
    let file = server.directory().join("password");
    std::fs::write(&file, "wrong").unwrap();
    let state = json!({ "type": "redis", "port": server.port(), "password": { "file": file } });
    let mut bench = Bench::of(state);
    bench.refused("{a}", Kind::Denied);
    std::fs::write(&file, "first").unwrap();
    assert_eq!(bench.answered("{a}"), "0");
}

#[test]
fn hints_arrive_and_arrive_again_after_a_reconnect() {
    let mut server = Server::start();
    let mut bench = Bench::of(json!({ "type": "redis", "port": server.port() }));
    bench.answered("{a}");
    assert_eq!(bench.hint(), "0");
    server.tell(&["PUBLISH", "hints", "elsewhere"]);
    assert_eq!(bench.hint(), "elsewhere");
    server.tell(&["PUBLISH", "other", "not for us"]);
    server.restart();
    bench.answered("{a}");
    assert_eq!(bench.hint(), "0");
}

#[test]
fn sentinel_names_the_master_and_after_a_failover_the_next_one() {
    let mut watched = Watched::start();
    let state = json!({
        "type": "redis", "sentinel": { "nodes": [watched.sentinel.url()], "master": "shop" },
    });
    let mut bench = Bench::of(state);
    bench.answered("{a}");
    assert_eq!(bench.store().connected(), [watched.master.url()]);
    watched.master.kill();
    watched.await_failover();
    bench.answered("{a}");
    assert_eq!(bench.store().connected(), [watched.replica.url()]);
}

#[test]
fn sentinel_that_does_not_know_the_name_is_told_of() {
    let watched = Watched::start();
    let state = json!({
        "type": "redis",
        "sentinel": { "nodes": ["redis://127.0.0.1:1", watched.sentinel.url()], "master": "shoe" },
    });
    let failure = Bench::of(state).refused("{a}", Kind::Misconfigured);
    assert!(failure.text.contains("watches no master called `shoe`"), "{failure}");
}

/// Cut off from the others, it has heard of no failover: it names a master that is none, for ever.
#[test]
fn a_sentinel_that_is_wrong_does_not_keep_the_others_from_being_asked() {
    let (watched, astray) = (Watched::start(), sentinel(ports::hold().port()));
    let nodes = [astray.url(), watched.sentinel.url()];
    let state = json!({ "type": "redis", "sentinel": { "nodes": nodes, "master": "shop" } });
    let mut bench = Bench::of(state);
    bench.answered("{a}");
    assert_eq!(bench.store().connected(), [watched.master.url()]);
}

#[test]
fn a_sentinel_that_is_silent_is_not_waited_for_again_and_again() {
    let (watched, (port, asked)) = (Watched::start(), silent());
    let nodes = [format!("redis://127.0.0.1:{port}"), watched.sentinel.url()];
    let state = json!({ "type": "redis", "sentinel": { "nodes": nodes, "master": "shop" } });
    let mut bench = Bench::of(state);
    bench.answered("{a}");
    for _ in 0..3 {
        // Who hears hints is of this type.
        watched.master.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        bench.refused("{a}", Kind::Unreachable);
        bench.answered("{a}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// A server that says nothing, and how many connections it has taken.
fn silent() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            open.push(stream);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, taken)
}

#[test]
fn a_cluster_is_spoken_to_at_the_node_of_each_key() {
    let mut nodes = cluster();
    let seed = nodes[2].url();
    let mut bench = Bench::of(json!({ "type": "redis", "cluster": [seed] }));
    // One key in each third of the slots.
    let keys = ["{06}", "{00}", "{01}"];
    let held =
        |node: &Server| keys.iter().filter(|key| node.keys().contains(&(**key).into())).count();
    for key in keys {
        bench.answered(key);
    }
    let spread: Vec<usize> = nodes.iter().map(held).collect();
    assert!(spread.iter().all(|held| *held < 3), "all keys lie at one node: {spread:?}");

    // A slot that has moved is followed at once.
    let owner = nodes.iter().position(|node| node.keys().contains(&keys[0].to_owned())).unwrap();
    let heir = (owner + 1) % 3;
    nodes[owner].tell(&["DEL", keys[0]]);
    let_arrive(&nodes, heir, keys[0]);
    assert_eq!(bench.add(&[keys[0]], 4), [Ok("4".to_owned())]);
    assert_eq!(nodes[heir].keys().iter().filter(|key| **key == keys[0]).count(), 1);

    // A node that is gone takes its own slots with it, and no others.
    let lost = keys.into_iter().find(|key| !nodes[heir].keys().contains(&(*key).into())).unwrap();
    let gone = nodes.iter().position(|node| node.keys().contains(&lost.to_owned())).unwrap();
    let went = nodes[gone].keys();
    nodes[gone].kill();
    bench.refused(lost, Kind::Unreachable);
    for key in keys.into_iter().filter(|key| !went.contains(&(*key).into())) {
        assert!(bench.add(&[key], 0)[0].is_ok(), "{key}");
    }
}

/// As a tool that moves slots does it, key by key: for a while the keys of one call lie at two
/// nodes, then all at one that is not yet said to have the slot.
#[test]
fn a_slot_that_is_on_its_way_is_waited_for() {
    let nodes = cluster();
    let mut bench = Bench::of(json!({ "type": "redis", "cluster": [nodes[0].url()] }));
    let (pair, other) = (["{06}:a", "{06}:b"], "{00}");
    bench.answered(pair[0]);
    assert_eq!(bench.add_together(&pair, 1), Ok("1".to_owned()));
    let owner = nodes.iter().position(|node| !node.keys().is_empty()).unwrap();
    let heir = (owner + 1) % 3;
    let why = |answer: Result<String, Failure>| {
        let failure = answer.unwrap_err();
        assert_eq!(failure.kind, Kind::NotReady, "{failure}");
        failure.text
    };

    send_on_its_way(&nodes, heir, pair[1]);
    send(&nodes[owner], &nodes[heir], &[pair[1]]);
    // No slot but this one is on its way.
    bench.answered(other);
    for _ in 0..3 {
        assert!(why(bench.add_together(&pair, 1)).starts_with("TRYAGAIN"));
        assert!(bench.add(&[pair[0]], 1)[0].is_ok(), "this one has not moved yet");
    }
    send(&nodes[owner], &nodes[heir], &[pair[0]]);
    for _ in 0..3 {
        assert!(why(bench.add_together(&pair, 1)).starts_with("ASK"));
    }
    assert!(bench.store().connected().contains(&nodes[owner].url()), "no connection is blamed");
    let_arrive(&nodes, heir, pair[0]);
    let began = Instant::now();
    while bench.add_together(&pair, 0) != Ok("1".to_owned()) {
        assert!(began.elapsed() < Duration::from_secs(20), "it has arrived");
        bench.pass(Duration::from_millis(5));
    }
    assert_eq!(bench.add(&[pair[0]], 0), [Ok("4".to_owned())], "what was refused was not done");
}

#[test]
fn the_map_of_a_cluster_whose_slots_are_scattered_is_read() {
    // Every slot is a range of its own: a megabyte and a half of map.
    let nodes = cluster_where(|slot| slot % 3);
    let mut bench = Bench::of(json!({ "type": "redis", "cluster": [nodes[1].url()] }));
    for key in ["{06}", "{00}", "{01}", "{02}"] {
        assert_eq!(bench.answered(key), "0");
    }
}

#[test]
fn a_server_that_is_no_cluster_is_told_of() {
    let server = Server::start();
    let mut bench = Bench::of(json!({ "type": "redis", "cluster": [server.url()] }));
    let failure = bench.refused("{a}", Kind::Misconfigured);
    assert!(failure.text.contains("cluster support disabled"), "{failure}");
}
