//! The breaker's hard promises under many connections and several workers; and more requests at
//! once than a ring has places.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::document::{all_to, guarded, with};
use crate::kernel::{self, Signal};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, Gate, pass};

const CLIENTS: usize = 256;
const WORKERS: usize = 4;

/// The guarded route on so many workers.
fn crowded(origin: &Origin, breaker: serde_json::Value) -> Proxy {
    Proxy::start(&with(guarded(origin, breaker), "/workers", json!(WORKERS)))
}

/// Sends one request on each connection, all at once; returns their statuses.
fn at_once(clients: Vec<Client>) -> Vec<u16> {
    let barrier = Arc::new(Barrier::new(clients.len()));
    let ask = |mut client: Client| {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            barrier.wait();
            client.get("/guarded").status
        })
    };
    let asking: Vec<_> = clients.into_iter().map(ask).collect();
    asking.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Connections that the workers have taken over.
fn connected(proxy: &Proxy) -> Vec<Client> {
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/nowhere").status, 404);
    }
    clients
}

#[test]
fn half_open_lets_exactly_one_of_many_requests_through() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, nth| match nth {
        0 => Reply::text(500, "no"),
        1 => Reply::text(200, "probe").behind(&held),
        _ => Reply::text(200, "yes"),
    });
    let breaker = json!({ "maxFailures": 1, "resetTimeout": 150, "timeout": "1 minute" });
    let proxy = crowded(&origin, breaker);
    let clients = connected(&proxy);
    assert_eq!(proxy.get("/guarded").status, 500);
    pass(Duration::from_millis(160));
    let asking = thread::spawn(move || at_once(clients));
    wait::until("refusals beside the probe", || {
        proxy.breaker("GET /guarded")["counts"]["refused"].as_u64() >= Some(CLIENTS as u64 - 1)
    });
    origin.await_requests(2);
    assert_eq!(origin.count(), 2, "the failure and one probe");
    assert_eq!(proxy.state("GET /guarded"), "half_open");
    gate.open();
    let statuses = asking.join().unwrap();
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!((admitted, refused), (1, CLIENTS - 1));
    wait::until("closed", || proxy.state("GET /guarded") == "closed");
}

#[test]
fn after_the_kth_failure_no_worker_admits_another_request() {
    const K: usize = 10;
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let proxy = crowded(&origin, json!({ "maxFailures": K }));
    let mut clients = connected(&proxy);
    for client in clients.iter_mut().take(K) {
        assert_eq!(client.get("/guarded").status, 500);
    }
    assert_eq!(at_once(clients), [503; CLIENTS]);
    assert_eq!(origin.count(), K);
}

#[test]
fn requests_already_on_their_way_are_all_that_passes_a_trip() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, _| Reply::text(500, "no").behind(&held));
    let proxy = crowded(&origin, json!({ "maxFailures": 10 }));
    let clients = connected(&proxy);
    let asking = thread::spawn(move || at_once(clients));
    origin.await_requests(CLIENTS);
    gate.open();
    assert_eq!(asking.join().unwrap(), [500; CLIENTS]);
    assert_eq!(at_once(connected(&proxy)), [503; CLIENTS]);
    assert_eq!(origin.count(), CLIENTS);
}

#[test]
fn connections_that_hammer_a_failing_route_pass_at_most_their_own_number_beyond_the_threshold() {
    const K: usize = 10;
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let proxy = crowded(&origin, json!({ "maxFailures": K }));
    let hammer =
        |mut client: Client| thread::spawn(move || while client.get("/guarded").status == 500 {});
    let hammering: Vec<_> = connected(&proxy).into_iter().map(hammer).collect();
    for thread in hammering {
        thread.join().unwrap();
    }
    let passed = origin.count();
    assert!((K..K + CLIENTS).contains(&passed), "{passed} passed");
}

#[test]
fn more_requests_at_once_than_a_ring_has_places_are_all_served_by_one_worker() {
    const MANY: usize = 1_100;
    kernel::raise_file_limit();
    let origin = Origin::start(|request, _| Reply::text(200, &request.target));
    let document = with(all_to(&origin), "/workers", json!(1));
    let document = with(document, "/http/limits/upstreamConnections", json!(MANY));
    let proxy = Proxy::start(&document);
    let mut clients: Vec<_> = (0..MANY).map(|_| Client::connect(proxy.address())).collect();
    // The first round opens as many connections to the origin, the second uses them again.
    for round in 0..2 {
        // What arrives while the proxy stands still, it finds in one turn of its loop.
        proxy.signal(Signal::Stop);
        for (nth, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /{round}/{nth} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        }
        proxy.signal(Signal::Continue);
        for (nth, client) in clients.iter_mut().enumerate() {
            let response = client.response();
            assert_eq!((response.status, response.text()), (200, &*format!("/{round}/{nth}")));
        }
    }
    assert_eq!(origin.count(), 2 * MANY);
}

/// A failure is recorded before its answer is sent: who sends a request after K answers have
/// arrived anywhere is refused, on whichever worker.
#[test]
fn no_request_that_starts_after_the_kth_failure_is_forwarded() {
    const K: usize = 20;
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let proxy = crowded(&origin, json!({ "maxFailures": K, "resetTimeout": "1 minute" }));
    let failed = Arc::new(AtomicUsize::new(0));
    let hammer = |mut client: Client| {
        let failed = Arc::clone(&failed);
        thread::spawn(move || {
            for _ in 0..20 {
                let tripped = failed.load(Ordering::SeqCst) >= K;
                let status = client.get("/guarded").status;
                assert!(status == 503 || !tripped, "{status} after the trip");
                failed.fetch_add(usize::from(status == 500), Ordering::SeqCst);
            }
        })
    };
    let hammering: Vec<_> = connected(&proxy).into_iter().map(hammer).collect();
    hammering.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(failed.load(Ordering::SeqCst), origin.count());
}

#[test]
fn half_open_lets_exactly_its_permits_of_many_requests_through() {
    const PERMITS: usize = 3;
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, nth| match nth {
        0 => Reply::text(500, "no"),
        1..=PERMITS => Reply::text(200, "probe").behind(&held),
        _ => Reply::text(200, "yes"),
    });
    let half_open = json!({ "requests": PERMITS, "successes": PERMITS });
    let breaker = json!({ "maxFailures": 1, "resetTimeout": 150, "halfOpen": half_open });
    let proxy = crowded(&origin, breaker);
    let clients = connected(&proxy);
    assert_eq!(proxy.get("/guarded").status, 500);
    pass(Duration::from_millis(160));
    let asking = thread::spawn(move || at_once(clients));
    wait::until("refusals beside the probes", || {
        let refused = proxy.breaker("GET /guarded")["counts"]["refused"].as_u64();
        refused >= Some((CLIENTS - PERMITS) as u64)
    });
    // The last of them may have been let through a moment ago.
    origin.await_requests(1 + PERMITS);
    assert_eq!(origin.count(), 1 + PERMITS, "the failure and the probes");
    gate.open();
    let statuses = asking.join().unwrap();
    let of = |status| statuses.iter().filter(|&&it| it == status).count();
    assert_eq!((of(200), of(503)), (PERMITS, CLIENTS - PERMITS));
    wait::until("closed", || proxy.state("GET /guarded") == "closed");
}

#[test]
fn a_storm_of_clients_that_leave_trips_nothing() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, nth| match nth {
        0..CLIENTS => Reply::text(500, "nobody waits for it").behind(&held),
        _ => Reply::text(200, "well"),
    });
    let proxy = crowded(&origin, json!({ "maxFailures": 1, "consecutiveFailures": 1 }));
    let mut clients = connected(&proxy);
    for client in &mut clients {
        client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    origin.await_requests(CLIENTS);
    clients.into_iter().for_each(Client::abort);
    wait::until("every exchange is given up", || {
        gate.open();
        proxy.breaker("GET /guarded")["counts"]["neutral"] == json!(CLIENTS)
    });
    assert_eq!(proxy.get("/guarded").status, 200);
    assert_eq!(proxy.breaker("GET /guarded")["counts"]["failure"], json!(0));
}

#[test]
fn a_storm_of_answers_below_500_trips_nothing() {
    let origin = Origin::start(|_, nth| Reply::text([400, 404, 429, 499][nth % 4], "no"));
    let shares = json!({ "failureRate": "1%", "minRequests": 1, "timeWindow": "1 minute" });
    let mut breaker = json!({ "maxFailures": 1, "consecutiveFailures": 1 });
    breaker.as_object_mut().unwrap().extend(shares.as_object().unwrap().clone());
    let proxy = crowded(&origin, breaker);
    for _ in 0..4 {
        assert!(at_once(connected(&proxy)).iter().all(|status| (400..500).contains(status)));
    }
    let shown = proxy.breaker("GET /guarded");
    assert_eq!((&shown["state"], &shown["counts"]["failure"]), (&json!("closed"), &json!(0)));
    assert_eq!(shown["counts"]["requests"], json!(4 * CLIENTS));
}

/// A service that failures have opened, and thousands of refusals on every worker: neither its
/// breaker nor the route's above it counts any of them, and it heals as if nobody had asked.
#[test]
fn a_storm_of_refusals_counts_nowhere() {
    const K: usize = 3;
    const ROUNDS: usize = 8;
    let origin = Origin::start(|_, nth| match nth {
        0..K => Reply::text(500, "no"),
        _ => Reply::text(200, "yes"),
    });
    // The route's opens as soon as two more of anything but a success are counted.
    let breaker = |more: usize| {
        json!({
            "maxFailures": K + more, "consecutiveFailures": K + more, "failureRate": "10%",
            "minRequests": K + more, "timeWindow": "1 minute", "resetTimeout": "5s",
        })
    };
    let service = "/http/routes/~1guarded/GET/services/origin/circuitBreaker";
    let document = with(guarded(&origin, breaker(2)), service, breaker(0));
    let proxy = Proxy::start(&with(document, "/workers", json!(WORKERS)));
    let counts = |name| {
        let shown = proxy.breaker(name);
        let counts = &shown["counts"];
        let of = |key: &str| counts[key].as_u64().unwrap();
        let windows = ["failures", "consecutive", "requests", "failed", "failure"].map(of);
        (shown["state"].as_str().unwrap().to_owned(), windows, of("success"))
    };
    let (own, route) = ("GET /guarded#origin", "GET /guarded");
    let tripped = |state: &str| (state.to_owned(), [K as u64; 5], 0);
    let opened = |state: &str| (state.to_owned(), [0, 0, 0, 0, K as u64], 0);
    let clients = connected(&proxy);
    for _ in 0..K {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    assert_eq!((counts(own), counts(route)), (opened("open"), tripped("closed")));
    let storm = |mut client: Client| {
        thread::spawn(move || (0..ROUNDS).all(|_| client.get("/guarded").status == 503))
    };
    let storming: Vec<_> = clients.into_iter().map(storm).collect();
    assert!(storming.into_iter().all(|thread| thread.join().unwrap()), "all are refused");
    let refused = (CLIENTS * ROUNDS) as u64;
    let shown = proxy.breaker(own);
    assert_eq!((counts(own), counts(route)), (opened("open"), tripped("closed")));
    assert_eq!(shown["counts"]["refused"], json!(refused));
    assert_eq!(shown["transitions"].as_array().unwrap().len(), 1);
    assert_eq!(proxy.breaker(route)["counts"]["neutral"], json!(refused));
    assert_eq!(origin.count(), K);

    wait::until("the probe ends well", || proxy.get("/guarded").status == 200);
    let (state, windows, successes) = counts(own);
    assert_eq!((state.as_str(), windows, successes), ("closed", [0, 0, 0, 0, K as u64], 1));
    let (state, windows, successes) = counts(route);
    assert_eq!((state.as_str(), windows[0], windows[1]), ("closed", K as u64, 0));
    assert_eq!((windows[2], successes), (K as u64 + 1, 1));
}
