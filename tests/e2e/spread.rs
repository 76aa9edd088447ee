//! Failures spread over three proxies while their Redis fails: each decides alone meanwhile, and on
//! return what all of them saw counts, and counts once.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deployment::{Watched, cluster, let_arrive, send, send_on_its_way};
use crate::document::{guarded, with};
use crate::fleet::{Fleet, failing, redis, settle, standing};
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::relay::Relay;
use crate::server::Server;
use crate::wait;

/// The breaker that one of them opens while it decides alone.
const OWN: &str = "GET /own";

/// And so long an answer is waited for: on a busy machine some take their time.
const INTERVAL: &str = "100ms";

/// Three proxies with two breakers: `/guarded` opens at seven failures, `/own` at two.
fn fleet(origin: &Origin, state: &Value) -> Fleet {
    let breaker = |failures: u32| json!({ "maxFailures": failures, "resetTimeout": "1 minute" });
    let own = json!({ "GET": {
        "services": { "origin": { "url": origin.url("/own") } }, "circuitBreaker": breaker(2),
    } });
    let document = with(guarded(origin, breaker(7)), "/http/routes/~1own", own);
    Fleet::of(3, &with(document, "/state", state.clone()))
}

/// Plays `fault`, and `end` which ends it, between the failures of a fleet on the Redis of `state`.
fn outlives(state: &Value, fault: impl FnOnce(), end: impl FnOnce()) {
    let origin = failing();
    let fleet = fleet(&origin, state);
    let one_each = || {
        let fails = |proxy: &Proxy| assert_eq!(proxy.get("/guarded").status, 500);
        fleet.0.iter().for_each(fails);
    };
    one_each();
    settle();
    fault();
    let is_lost = |proxy: &Proxy| standing(proxy)["up"] == json!(false);
    wait::until("all have lost it", || fleet.0.iter().all(is_lost));
    one_each();
    let own = |nth: usize| fleet.0[nth].get("/own").status;
    assert_eq!([own(0), own(0), own(0)], [500, 500, 503], "one opens by what it sees itself");
    assert_eq!(own(1), 500, "and no other does");
    assert_eq!(fleet.states(), ["closed"; 3]);
    end();
    fleet.await_whole();
    let is_open = |proxy: &Proxy| proxy.state(OWN) == "open";
    wait::until("all have heard of it", || fleet.0.iter().all(is_open));
    settle();
    assert_eq!(fleet.states(), ["closed"; 3], "six failures, and none counts twice");
    assert_eq!(fleet.0[1].get("/guarded").status, 500);
    fleet.await_state("open");
}

#[test]
fn a_redis_that_stands_still() {
    let server = Server::start();
    outlives(
        &redis(server.port(), json!({ "interval": INTERVAL })),
        || server.stall(),
        || server.resume(),
    );
}

#[test]
fn a_redis_that_is_killed_and_comes_back_empty() {
    let server = RefCell::new(Server::start());
    let state = redis(server.borrow().port(), json!({ "interval": INTERVAL }));
    outlives(&state, || server.borrow_mut().kill(), || server.borrow_mut().restart());
}

#[test]
fn a_redis_that_is_killed_and_comes_back_with_what_it_had() {
    // What it has written outlives its process, whatever lies on the disk.
    let server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "no"]);
    let server = RefCell::new(server);
    let state = redis(server.borrow().port(), json!({ "interval": INTERVAL }));
    let end = || {
        server.borrow_mut().restart();
        assert!(!server.borrow().keys().is_empty(), "it kept them");
    };
    outlives(&state, || server.borrow_mut().kill(), end);
}

#[test]
fn a_redis_that_is_slow_by_two_seconds() {
    let server = Server::start();
    let relay = Relay::to(server.port());
    let state = json!({ "type": "redis", "url": relay.url(), "interval": INTERVAL });
    let late = Duration::from_secs(2);
    outlives(&state, || relay.delay(late), || relay.delay(Duration::ZERO));
}

#[test]
fn a_redis_that_fails_over() {
    let watched = RefCell::new(Watched::start());
    let state = json!({
        "type": "redis", "interval": INTERVAL,
        "sentinel": { "nodes": [watched.borrow().sentinel.url()], "master": "shop" },
    });
    let fault = || {
        let mut watched = watched.borrow_mut();
        // Not by itself: failures are to fall between the loss and the heir.
        let never = ["SENTINEL", "SET", "shop", "down-after-milliseconds", "600000"];
        assert_eq!(watched.sentinel.tell(&never).text(), "OK");
        watched.master.kill();
    };
    let end = || {
        let watched = watched.borrow();
        assert_eq!(watched.sentinel.tell(&["SENTINEL", "FAILOVER", "shop"]).text(), "OK");
        watched.await_failover();
    };
    outlives(&state, fault, end);
}

#[test]
fn a_cluster_whose_slots_are_moved() {
    let nodes = cluster();
    let state = json!({ "type": "redis", "interval": INTERVAL, "cluster": [nodes[1].url()] });
    let moved = RefCell::new(Vec::new());
    let fault = || {
        let held: Vec<Vec<String>> = nodes.iter().map(Server::keys).collect();
        for (nth, (node, mut keys)) in nodes.iter().zip(held).enumerate() {
            let heir = (nth + 1) % 3;
            keys.sort();
            for shard in keys.chunk_by(|one, other| tag(one) == tag(other)) {
                send_on_its_way(&nodes, heir, &shard[0]);
                // There may be more of them by now.
                let mut all = node.keys();
                all.retain(|key| tag(key) == tag(&shard[0]));
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                send(node, &nodes[heir], &all);
                moved.borrow_mut().push((heir, shard[0].clone()));
            }
        }
    };
    let end = || moved.borrow().iter().for_each(|(heir, key)| let_arrive(&nodes, *heir, key));
    outlives(&state, fault, end);
}

/// What its slot is made of.
fn tag(key: &str) -> &str {
    key.split('}').next().unwrap()
}
