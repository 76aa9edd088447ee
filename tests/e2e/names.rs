//! Targets behind names, and what this process runs out of.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::balance::service;
use crate::client::{Asked, Client};
use crate::document::{routes, with};
use crate::kernel;
use crate::network;
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::resolver::{Resolver, Says};
use crate::wait;

#[test]
fn a_name_that_does_not_resolve_is_down_and_everything_else_goes_on() {
    let origin = Origin::saying("well");
    let port = origin.address().port();
    let document = routes(json!({
        "/here": { "GET": { "services": { "it": {
            "url": format!("http://localhost:{port}/") } } } },
        "/lost": { "GET": { "services": { "it": { "url": "http://nobody.invalid/" } } } },
        "/both": { "GET": { "services": { "it": {
            "url": ["http://nobody.invalid/", origin.url("/")], "retry": { "attempts": 0 } } } } }
    }));
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/here").text(), "well");
    let began = Instant::now();
    assert_eq!(proxy.get("/lost").status, 502);
    assert!(began.elapsed() < Duration::from_secs(1), "at once: {:?}", began.elapsed());
    (0..20).for_each(|_| assert_eq!(proxy.get("/both").text(), "well", "it is passed over"));
    proxy.lines().await_line("nobody.invalid does not resolve, requests to it fail");
    let metrics = proxy.ask("/metrics").text().to_owned();
    for line in [
        "fusebox_target_addresses{target=\"nobody.invalid:80\"} 0",
        "fusebox_target_connect_failures_total{target=\"nobody.invalid:80\"} 1",
        &format!("fusebox_target_addresses{{target=\"127.0.0.1:{port}\"}} 1"),
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in {metrics}");
    }
    let failures = "fusebox_dns_failures_total{name=\"nobody.invalid\"} ";
    assert!(metrics.contains(failures), "{metrics}");
    assert!(metrics.contains("fusebox_dns_failures_total{name=\"localhost\"} 0"), "{metrics}");
    assert_eq!(proxy.post("/reload").status, 200, "a reload goes on too");
    assert_eq!(proxy.get("/here").text(), "well");
}

/// Four names: one that is not there yet, one that moves, one that vanishes, and one of which the
/// name server says nothing. No request waits for any of them, and there is no reload.
#[test]
fn names_come_up_move_and_vanish_and_no_request_waits_for_them() {
    network::own(|| {
        let [one, two] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
        kernel::give_address("lo:1", one).unwrap();
        kernel::give_address("lo:2", two).unwrap();
        let resolver = Resolver::start();
        let at = |address: Ipv4Addr, text: &'static str| {
            let place = SocketAddr::from((address, 8000));
            Origin::start_at(place, move |_, _| Reply::text(200, text))
        };
        let _origins = (at(one, "one"), at(two, "two"));
        for name in ["moves.test", "gone.test"] {
            resolver.says(name, Says::Leads(vec![one]));
        }
        resolver.says("mute.test", Says::Silence);
        let route = |name: &str| {
            let url = format!("http://{name}.test:8000/");
            json!({ "GET": { "services": { "it": { "url": url } } } })
        };
        let proxy = Proxy::start(&routes(json!({
            "/late": route("late"), "/moves": route("moves"),
            "/gone": route("gone"), "/mute": route("mute"),
        })));
        // Half of the time a look-up of five seconds is under way; a busy machine is slow at times.
        let (asked, slow) = (Cell::new(0), Cell::new(0));
        let ask = |path: &str| {
            let began = Instant::now();
            let answer = proxy.get(path);
            asked.set(asked.get() + 1);
            slow.set(slow.get() + i32::from(began.elapsed() > Duration::from_millis(500)));
            (answer.status, answer.text().to_owned())
        };
        let says = |text: &str| (200, text.to_owned());
        assert_eq!((ask("/late").0, ask("/mute").0), (502, 502));
        assert_eq!((ask("/moves"), ask("/gone")), (says("one"), says("one")));

        resolver.says("late.test", Says::Leads(vec![two]));
        resolver.says("moves.test", Says::Leads(vec![two]));
        resolver.says("gone.test", Says::Unknown);
        let soon = Duration::from_secs(25);
        wait::until_at_most(soon, "a name that was not there", || match ask("/late") {
            (502, _) => false,
            answer => answer == says("two"),
        });
        // Looked up every thirty seconds, give or take a tenth.
        let later = Duration::from_secs(60);
        wait::until_at_most(later, "a name to move", || {
            let answer = ask("/moves");
            assert!(answer == says("one") || answer == says("two"), "{answer:?}");
            answer == says("two")
        });
        let lost = "fusebox_dns_failures_total{name=\"gone.test\"}";
        wait::until_at_most(later, "a name to vanish", || {
            assert_eq!(ask("/gone"), says("one"), "the last good answer holds");
            proxy.metric(lost) > 0
        });
        assert_eq!(ask("/gone"), says("one"));
        assert_eq!(ask("/mute").0, 502);
        for (name, count) in [("late", 1), ("moves", 1), ("gone", 1), ("mute", 0)] {
            let known = format!("fusebox_target_addresses{{target=\"{name}.test:8000\"}}");
            assert_eq!(proxy.metric(&known), count, "{name}");
        }
        assert!(slow.get() * 20 < asked.get(), "{} of {} were slow", slow.get(), asked.get());
    });
}

/// One descriptor too few is this process's own trouble: 503, and no breaker learns of it.
#[test]
fn running_out_of_descriptors_is_503_and_blames_nobody() {
    let origin = Origin::saying("ok");
    let breaker = json!({ "maxFailures": 1, "timeWindow": "1m" });
    let document = service("/", json!({ "url": origin.url("/"), "circuitBreaker": breaker }));
    let limits = json!({ "connections": 1000 });
    let document = with(with(document, "/http/circuitBreaker", breaker), "/http/limits", limits);
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64:64", "--", env!("CARGO_BIN_EXE_fusebox")]);
    let proxy = Proxy::start_as(command, &document);
    let mut clients = Vec::new();
    // Each has begun another head, so none is at rest and makes room for the next one.
    loop {
        assert!(clients.len() < 64, "there is no end of descriptors");
        let mut client = Client::connect(proxy.address());
        client.offer(b"GET /none HTTP/1.1\r\nHost: test\r\n\r\nG");
        match client.try_response(Asked::Other) {
            Ok(response) if response.status == 404 => clients.push(client),
            _ => break,
        }
    }
    let mut last = clients.pop().unwrap();
    last.send(b"ET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(last.response().status, 503);
    drop(clients);
    wait::until("descriptors", || last.get("/").status == 200);
    for name in ["ALL /", "ALL /#it"] {
        let state = proxy.breaker(name);
        assert_eq!((&state["state"], &state["counts"]["failure"]), (&json!("closed"), &0.into()));
    }
    let metrics = proxy.ask("/metrics").text().to_owned();
    assert!(!metrics.contains("fusebox_upstream_no_room_total 0\n"), "{metrics}");
}

#[test]
fn a_pooled_connection_is_closed_after_about_ten_thousand_exchanges() {
    const BATCH: usize = 100;
    let origin = Origin::saying("ok");
    let limits = json!({ "requestsPerConnection": "unlimited" });
    let proxy = Proxy::start(&with(
        service("/", json!({ "url": origin.url("/") })),
        "/http/limits",
        limits,
    ));
    let mut client = Client::connect(proxy.address());
    let batch = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(BATCH);
    let mut served = 0;
    while origin.connections() < 2 {
        assert!(served <= 11_100, "it goes on for ever");
        client.send(batch.as_bytes());
        (0..BATCH).for_each(|_| assert_eq!(client.response().status, 200));
        served += BATCH;
    }
    assert!(served >= 9_000, "{served}");
    assert_eq!(origin.count(), served, "none was lost, none came twice");
}
