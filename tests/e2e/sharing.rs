//! Several proxies on one Redis: what one sees, all know.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::{self, Asked, Client};
use crate::deployment::cluster;
use crate::document::{guarded, with};
use crate::fleet::{Fleet, NAME, failing, order, redis, settle, standing};
use crate::kernel::{self, Signal};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::server::{self, Server};
use crate::wait;

#[test]
fn failures_spread_over_three_processes_open_the_breaker_of_each() {
    let (server, origin) = (Server::start(), failing());
    let breaker = json!({ "maxFailures": 6, "timeWindow": "1 minute", "resetTimeout": "1 minute" });
    let fleet = Fleet::start(3, &origin, &breaker, &redis(server.port(), json!({})));
    for proxy in fleet.0.iter().cycle().take(5) {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    settle();
    assert_eq!(fleet.states(), ["closed"; 3], "one failure too few");
    assert_eq!(fleet.0[2].get("/guarded").status, 500);
    fleet.await_state("open");
    let origin_saw = origin.count();
    for proxy in &fleet.0 {
        let refused = proxy.get("/guarded");
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(refused.status == 503 && (50..=60).contains(&seconds), "{seconds}");
    }
    assert_eq!(origin.count(), origin_saw);
    let opened = |proxy: &Proxy| {
        let text = proxy.ask("/metrics");
        let moves = text.text().lines().filter(|line| {
            line.starts_with("fusebox_breaker_transitions_total")
                && line.contains("to=\"open\"")
                && !line.ends_with(" 0")
        });
        moves.map(str::to_owned).collect::<Vec<_>>()
    };
    let moves: Vec<_> = fleet.0.iter().flat_map(opened).collect();
    assert_eq!(moves.len(), 3, "each opened once: {moves:#?}");
}

#[test]
fn without_hints_they_agree_all_the_same() {
    let (server, origin) = (Server::start(), failing());
    let breaker = json!({ "maxFailures": 3, "resetTimeout": "1 minute" });
    let state = redis(server.port(), json!({ "hints": false }));
    let fleet = Fleet::start(3, &origin, &breaker, &state);
    for proxy in &fleet.0 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    fleet.await_state("open");
}

#[test]
fn one_that_comes_later_learns_what_the_others_know() {
    let (server, origin) = (Server::start(), failing());
    let breaker = json!({ "maxFailures": 2, "resetTimeout": "1 minute" });
    let state = redis(server.port(), json!({}));
    let mut fleet = Fleet::start(1, &origin, &breaker, &state);
    assert_eq!(fleet.0[0].get("/guarded").status, 500);
    assert_eq!(fleet.0[0].get("/guarded").status, 500);
    fleet.await_state("open");
    fleet.0.push(Proxy::start(&with(guarded(&origin, breaker), "/state", state)));
    fleet.await_whole();
    fleet.await_state("open");
    assert_eq!(fleet.0[1].get("/guarded").status, 503);
    assert_eq!(origin.count(), 2);
}

#[test]
fn an_operator_s_orders_hold_everywhere() {
    let (server, origin) = (Server::start(), Origin::saying("well"));
    let fleet = Fleet::start(2, &origin, &json!({}), &redis(server.port(), json!({})));
    let shut = json!({ "state": "force_open", "ttl": "1 minute", "reason": "drill" });
    assert_eq!(order(&fleet.0[0], "override", &shut).status, 200);
    let effective = |nth: usize| fleet.0[nth].breaker(NAME)["effective"].clone();
    wait::until("the other refuses", || effective(1) == json!("open"));
    assert_eq!(fleet.0[1].get("/guarded").status, 503);
    assert_eq!(order(&fleet.0[1], "override", &json!({ "state": "none" })).status, 200);
    wait::until("the first one admits", || effective(0) == json!("closed"));
    assert_eq!(fleet.0[0].get("/guarded").status, 200);
}

#[test]
fn a_reset_of_one_closes_all() {
    let (server, origin) = (Server::start(), failing());
    let breaker = json!({ "maxFailures": 2, "resetTimeout": "1 minute" });
    let fleet = Fleet::start(2, &origin, &breaker, &redis(server.port(), json!({})));
    for proxy in &fleet.0 {
        proxy.get("/guarded");
    }
    fleet.await_state("open");
    assert_eq!(order(&fleet.0[1], "reset", &json!({})).status, 200);
    fleet.await_state("closed");
    assert_eq!(fleet.0[0].get("/guarded").status, 500);
    settle();
    assert_eq!(fleet.states(), ["closed"; 2], "what was before the reset counts no more");
}

/// 64 clients of each of three press on while the breaker probes; the origin counts who comes
/// through, and Redis the rounds: every failed one is agreed on as a new epoch.
#[test]
fn a_round_of_probes_is_shared_by_all() {
    const ROUND: usize = 2;
    const ROUNDS: usize = 3;
    let server = Server::start();
    let sick = Arc::new(AtomicBool::new(true));
    let seen = Arc::new(AtomicUsize::new(0));
    let (is_sick, count) = (Arc::clone(&sick), Arc::clone(&seen));
    let origin = Origin::start(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        let status = if is_sick.load(Ordering::SeqCst) { 500 } else { 200 };
        Reply::text(status, "so").after(Duration::from_millis(100))
    });
    let breaker = json!({
        "maxFailures": 3, "resetTimeout": "2s",
        "halfOpen": { "requests": ROUND, "successes": ROUND },
    });
    // Who is lost decides alone, and on a busy machine a second is soon over.
    let state = redis(server.port(), json!({ "interval": "1s" }));
    let fleet = Fleet::start(3, &origin, &breaker, &state);
    for proxy in &fleet.0 {
        proxy.get("/guarded");
    }
    fleet.await_state("open");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for address in fleet.0.iter().flat_map(|proxy| [proxy.address(); 64]) {
            let done = &done;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                while !done.load(Ordering::SeqCst) {
                    client.get("/guarded");
                    // All of them ask some thousand times a second.
                    wait::pass(Duration::from_millis(25));
                }
            });
        }
        let (mut epoch, mut before) = (agreed(&server), seen.load(Ordering::SeqCst));
        let mut rounds = Vec::new();
        while rounds.len() < ROUNDS {
            wait::until("a round has failed", || agreed(&server) > epoch);
            // Until the probes that were under way have arrived; open for two seconds.
            wait::pass(Duration::from_millis(500));
            let (now, probes) = (agreed(&server), seen.load(Ordering::SeqCst));
            rounds.push((now - epoch, probes - before));
            (epoch, before) = (now, probes);
        }
        sick.store(false, Ordering::SeqCst);
        wait::until("all have healed", || fleet.states().iter().all(|it| it == "closed"));
        done.store(true, Ordering::SeqCst);
        for (epochs, probes) in &rounds {
            assert!((1..=epochs * ROUND).contains(probes), "epochs and probes: {rounds:?}");
        }
    });
    assert_eq!(fleet.0[1].get("/guarded").status, 200);
}

/// The epoch that the only breaker is agreed on, as Redis holds it.
fn agreed(server: &Server) -> usize {
    let keys = server.keys();
    let data = keys.iter().find(|key| key.ends_with(":data")).expect("a shard");
    let server::Reply::List(held) = server.tell(&["HGETALL", data]) else { panic!("{data}") };
    let held: Vec<String> = held.iter().map(server::Reply::text).collect();
    let record = held.chunks(2).find(|pair| pair[0].starts_with("r:")).expect("a record");
    record[1].split(' ').next().unwrap().parse().unwrap()
}

/// How long each key lives on, by its name.
fn lives(server: &Server) -> Vec<(String, Duration)> {
    let life = |key: String| {
        let left = server.tell(&["PTTL", &key]).text().parse::<i64>().unwrap();
        let left = u64::try_from(left).unwrap_or_else(|_| panic!("{key} never expires"));
        (key, Duration::from_millis(left))
    };
    let mut keys = server.keys();
    keys.sort();
    keys.into_iter().map(life).collect()
}

#[test]
fn a_fleet_that_ends_leaves_only_keys_that_expire() {
    let (server, origin) = (Server::start(), failing());
    let breaker = json!({ "maxFailures": 2, "timeWindow": "1s", "resetTimeout": "500ms" });
    let state = redis(server.port(), json!({ "prefix": "shop" }));
    let fleet = Fleet::start(2, &origin, &breaker, &state);
    for proxy in &fleet.0 {
        proxy.get("/guarded");
    }
    fleet.await_state("open");
    let during = lives(&server);
    assert!(!during.is_empty() && during.iter().all(|(key, _)| key.starts_with("{shop:")));
    let living = |key: &str| key.ends_with(":living");
    let counted = during.iter().filter(|(key, _)| living(key));
    let counted: Vec<String> =
        counted.map(|(key, _)| server.tell(&["ZCARD", key]).text()).collect();
    assert_eq!(counted, ["2"], "both count as alive");
    fleet.end();
    let most = lives(&server);
    assert!(!most.iter().any(|(key, _)| living(key)), "nobody counts as alive: {most:?}");
    // What is agreed is kept for ten minutes, and the keys a moment longer than what they hold.
    assert!(most.iter().all(|(_, left)| *left <= Duration::from_secs(605)), "{most:?}");
    wait::pass(Duration::from_millis(200));
    let later = lives(&server);
    assert_eq!(later.len(), most.len(), "{later:?}");
    for ((key, now), (_, then)) in later.iter().zip(&most) {
        assert!(now < then, "{key} was put again");
    }
}

/// The same to the end: with nothing agreed on that would be kept for minutes.
#[test]
fn a_fleet_that_ends_leaves_nothing() {
    let (server, origin) = (Server::start(), failing());
    let breaker = json!({ "maxFailures": 9, "timeWindow": "1s" });
    let fleet = Fleet::start(2, &origin, &breaker, &redis(server.port(), json!({})));
    for proxy in &fleet.0 {
        proxy.get("/guarded");
    }
    settle();
    assert!(server.keys().len() >= 4, "{:?}", server.keys());
    fleet.end();
    // Counters live for five seconds more than their window.
    wait::until("every key has expired", || server.keys().is_empty());
}

#[test]
fn a_cluster_serves_a_fleet() {
    let (nodes, origin) = (cluster(), failing());
    let state = json!({ "type": "redis", "interval": "50ms", "cluster": [nodes[1].url()] });
    let breaker = json!({ "maxFailures": 3, "resetTimeout": "1 minute" });
    let fleet = Fleet::start(3, &origin, &breaker, &state);
    for proxy in &fleet.0 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    fleet.await_state("open");
    assert_eq!(fleet.0[0].lines().count("state is not shared"), 0);
}

#[test]
fn the_rights_that_the_manual_lists_are_enough() {
    let manual = include_str!("../../README.md");
    let line = manual.lines().find(|line| line.trim().starts_with("ACL SETUSER")).unwrap();
    let line = line.replace(">PASSWORD", ">s3cret");
    let (server, origin) = (Server::start(), failing());
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(server.tell(&words).text(), "OK");
    let state = redis(server.port(), json!({ "username": "fusebox", "password": "s3cret" }));
    let breaker = json!({ "maxFailures": 3, "resetTimeout": "500ms" });
    let fleet = Fleet::start(3, &origin, &breaker, &state);
    for proxy in &fleet.0 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    fleet.await_state("open");
    wait::until("a probe is made", || {
        fleet.0.iter().for_each(|proxy| drop(proxy.get("/guarded")));
        origin.count() > 3
    });
    let state = standing(&fleet.0[0]);
    assert_eq!((&state["errors"]["denied"], &state["hints_failure"]), (&json!(0), &json!(null)));
}

#[test]
fn the_packaged_script_starts_three_that_share() {
    let origin = failing();
    // Ports in a row may be taken: then it says so and ends.
    let started = (0..10).find_map(|nth| started(&origin, nth));
    let (mut child, first) = started.expect("seven free ports in a row");
    let proxy = |nth: u16| SocketAddr::from(([127, 0, 0, 1], first + nth));
    let get = |nth| client::get(proxy(nth), "/x").status;
    for failure in 0..6 {
        assert_eq!(get(failure % 3), 500);
    }
    wait::until("all refuse", || (0..3).all(|nth| get(nth) == 503));
    kernel::signal(child.id(), Signal::Terminate);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("drained"), "{said}");
}

/// The packaged script, and the first of its ports, if all three serve.
fn started(origin: &Origin, nth: u32) -> Option<(Child, u16)> {
    // Below those that the system gives away, of which seven in a row are never free for long.
    let row = (std::process::id() * 31 + nth * 97) % 1_000;
    let first = u16::try_from(20_000 + row * 10).unwrap();
    let (admin, redis) = (first + 3, first + 6);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/three-proxies");
    let mut child = Command::new(script)
        .arg(origin.url("/"))
        .env("FUSEBOX", env!("CARGO_BIN_EXE_fusebox"))
        .env("FIRST_PORT", first.to_string())
        .env("FIRST_ADMIN", admin.to_string())
        .env("REDIS_PORT", redis.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ready = |nth: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], admin + nth));
        if TcpStream::connect(address).is_err() {
            return false;
        }
        let mut client = Client::connect(address);
        client.offer(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.try_response(Asked::Other).is_ok_and(|answer| answer.status == 200)
    };
    let mut ended = false;
    wait::until("three serve, or none", || {
        ended = child.try_wait().unwrap().is_some();
        ended || (0..3).all(ready)
    });
    (!ended).then_some((child, first))
}
