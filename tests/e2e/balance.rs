//! Several URLs per service: who is asked, who is passed over, and what is written to each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::document::{routes, with};
use crate::origin::{Origin, Reply};
use crate::ports;
use crate::proxy::Proxy;
use crate::wait::{self, Gate};

/// `path` to a service of these keys, any method; one worker, so that counts are exact.
pub(crate) fn service(path: &str, service: Value) -> Value {
    let route = json!({ "services": { "it": service } });
    with(routes(json!({ path: { "ALL": route } })), "/workers", json!(1))
}

/// The URLs of `origins` with this path.
pub(crate) fn urls(origins: &[Origin], path: &str) -> Value {
    origins.iter().map(|origin| origin.url(path)).collect()
}

/// Three origins that say who they are.
fn three() -> [Origin; 3] {
    ["a", "b", "c"].map(Origin::saying)
}

#[test]
fn round_robin_asks_each_in_its_turn() {
    let origins = three();
    let proxy =
        Proxy::start(&service("/", json!({ "url": urls(&origins, "/"), "balance": "roundRobin" })));
    let mut client = Client::connect(proxy.address());
    let said: Vec<String> = (0..9).map(|_| client.get("/").text().to_owned()).collect();
    assert_eq!(said[..3], said[3..6]);
    assert_eq!(said[..3], said[6..]);
    assert_eq!(origins.each_ref().map(Origin::count), [3, 3, 3]);
}

#[test]
fn random_asks_all_about_as_often() {
    let origins = three();
    let proxy =
        Proxy::start(&service("/", json!({ "url": urls(&origins, "/"), "balance": "random" })));
    let mut client = Client::connect(proxy.address());
    (0..300).for_each(|_| assert_eq!(client.get("/").status, 200));
    // Below 60 of 100 expected is five standard deviations away.
    assert!(origins.iter().all(|origin| origin.count() > 60), "{:?}", origins.map(|o| o.count()));
}

#[test]
fn least_requests_is_the_default_and_avoids_the_busy_one() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let busy = Origin::start(move |_, _| Reply::text(200, "busy").behind(&held));
    let free = Origin::saying("free");
    let proxy = Proxy::start(&service("/", json!({ "url": [busy.url("/"), free.url("/")] })));
    let address = proxy.address();
    let mut waiting = Vec::new();
    while busy.count() == 0 {
        let (before, done) = (busy.count() + free.count(), Arc::new(AtomicBool::new(false)));
        let said = Arc::clone(&done);
        waiting.push(thread::spawn(move || {
            let response = client::get(address, "/");
            said.store(true, Ordering::SeqCst);
            response
        }));
        wait::until("the request somewhere", || busy.count() + free.count() > before);
        wait::until("an answer, or the gate", || busy.count() > 0 || done.load(Ordering::SeqCst));
    }
    let mut client = Client::connect(address);
    (0..50).for_each(|_| assert_eq!(client.get("/").text(), "free"));
    gate.open();
    for request in waiting {
        assert_eq!(request.join().unwrap().status, 200);
    }
    assert_eq!(busy.count(), 1);
}

#[test]
fn each_url_has_a_template_of_its_own() {
    let [one, two] = ["one", "two"].map(Origin::saying);
    let urls = json!([one.url("/v1/:id"), two.url("/v2?id=:id")]);
    let proxy =
        Proxy::start(&service("/users/:id", json!({ "url": urls, "balance": "roundRobin" })));
    let mut client = Client::connect(proxy.address());
    (0..2).for_each(|_| assert_eq!(client.get("/users/7?x=1").status, 200));
    assert_eq!(
        (one.only().target.as_str(), two.only().target.as_str()),
        ("/v1/7?x=1", "/v2?id=7&x=1")
    );
    for origin in [&one, &two] {
        assert_eq!(origin.only().values("host"), [origin.address().to_string()]);
    }
}

#[test]
fn one_of_three_that_refuses_costs_no_request_and_is_passed_over_once_its_breaker_opens() {
    let origins = [Origin::saying("a"), Origin::saying("b")];
    let dead = format!("http://{}", ports::hold());
    let urls = json!([dead, origins[0].url("/"), origins[1].url("/")]);
    let breaker = json!({ "maxFailures": 2, "timeWindow": "1m", "scope": "target" });
    let proxy = Proxy::start(&service(
        "/",
        json!({ "url": urls, "balance": "roundRobin", "circuitBreaker": breaker }),
    ));
    let mut client = Client::connect(proxy.address());
    (0..60).for_each(|_| assert_eq!(client.get("/").status, 200));
    let state = proxy.breaker(&format!("ALL /#it@{dead}"));
    assert_eq!((&state["state"], &state["scope"]), (&json!("open"), &json!("target")));
    assert_eq!((&state["counts"]["failure"], &state["counts"]["refused"]), (&2.into(), &0.into()));
    for origin in &origins {
        let state = proxy.breaker(&format!("ALL /#it@{}", origin.url("")));
        assert_eq!((&state["state"], &state["counts"]["failure"]), (&json!("closed"), &0.into()));
    }
    let metrics = proxy.ask("/metrics").text().to_owned();
    assert!(metrics.contains("\nfusebox_retries_total{service=\"ALL /#it\"} 2\n"), "{metrics}");
    let (dead, counted) = (dead.trim_start_matches("http://"), "connect_failures_total");
    assert!(metrics.contains(&format!("\nfusebox_target_{counted}{{target=\"{dead}\"}} 2\n")));
    assert_eq!(origins[0].count() + origins[1].count(), 60);
    assert!(origins.iter().all(|origin| origin.count() >= 29), "they share evenly");
}

#[test]
fn when_all_targets_are_open_the_refusal_is_theirs_and_each_gets_its_probe() {
    let healthy = Arc::new(AtomicBool::new(false));
    let origin = || {
        let healthy = Arc::clone(&healthy);
        Origin::start(move |_, _| match healthy.load(Ordering::SeqCst) {
            true => Reply::text(200, "well"),
            false => Reply::text(500, "ill"),
        })
    };
    let origins = [origin(), origin()];
    let breaker = json!({
        "maxFailures": 1, "timeWindow": "1m", "resetTimeout": "500ms", "scope": "target",
        "rejectStatusCode": 529, "rejectMessage": "all busy"
    });
    let proxy = Proxy::start(&service(
        "/",
        json!({ "url": urls(&origins, "/"), "circuitBreaker": breaker }),
    ));
    let mut client = Client::connect(proxy.address());
    (0..2).for_each(|_| assert_eq!(client.get("/").status, 500));
    let refused = client.get("/");
    assert_eq!((refused.status, refused.header("retry-after")), (529, Some("1")));
    assert!(refused.text().contains("all busy"), "{refused:?}");
    assert_eq!(origins.each_ref().map(Origin::count), [1, 1]);
    healthy.store(true, Ordering::SeqCst);
    wait::until("both to be probed and healed", || {
        let status = client.get("/").status;
        assert!(matches!(status, 200 | 529), "{status}");
        let names = origins.each_ref().map(|it| format!("ALL /#it@{}", it.url("")));
        names.iter().all(|name| proxy.state(name) == "closed")
    });
}

#[test]
fn a_services_breaker_counts_attempts_and_its_refusal_teaches_the_route_nothing() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let breaker = json!({ "maxFailures": 2, "timeWindow": "1m", "rejectMessage": "service open" });
    let document = service("/", json!({ "url": origin.url("/"), "circuitBreaker": breaker }));
    let own = json!({ "maxFailures": 9, "timeWindow": "1m" });
    let proxy = Proxy::start(&with(document, "/http/circuitBreaker", own));
    let mut client = Client::connect(proxy.address());
    (0..2).for_each(|_| assert_eq!(client.get("/").status, 500));
    for _ in 0..3 {
        let refused = client.get("/");
        assert_eq!((refused.status, origin.count()), (503, 2));
        assert!(refused.text().contains("service open"), "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }
    let (service, route) = (proxy.breaker("ALL /#it"), proxy.breaker("ALL /"));
    assert_eq!((&service["scope"], &service["state"]), (&json!("service"), &json!("open")));
    assert_eq!(service["counts"]["refused"], 3);
    assert_eq!((&route["scope"], &route["state"]), (&json!("route"), &json!("closed")));
    assert_eq!((&route["counts"]["failure"], &route["counts"]["neutral"]), (&2.into(), &3.into()));
    let listed = proxy.ask("/breakers").json();
    let names: Vec<&str> = listed["breakers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert_eq!(names, ["ALL /", "ALL /#it"]);
}

#[test]
fn a_breaker_above_with_the_scope_of_targets_is_that_of_each_service() {
    let [one, two] = ["one", "two"].map(Origin::saying);
    let services = json!({ "a": { "url": one.url("/") }, "b": { "url": two.url("/") } });
    let opted_out = json!({ "c": { "url": two.url("/"), "circuitBreaker": "none" } });
    let document = routes(json!({
        "/both": { "GET": { "services": services } },
        "/none": { "GET": { "services": opted_out } }
    }));
    let breaker = json!({ "maxFailures": 2, "timeWindow": "1m", "scope": "target" });
    let proxy = Proxy::start(&with(document, "/http/circuitBreaker", breaker));
    let listed = proxy.ask("/breakers").json();
    let mut names: Vec<&str> = listed["breakers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    names.sort_unstable();
    let [a, b] = [("a", &one), ("b", &two)]
        .map(|(name, origin)| format!("GET /both#{name}@{}", origin.url("")));
    assert_eq!(names, [a.as_str(), b.as_str()]);
}

#[test]
fn a_reload_keeps_the_state_of_every_target_that_stays() {
    let dead = format!("http://{}", ports::hold());
    let [one, two] = ["one", "two"].map(Origin::saying);
    let breaker = json!({ "maxFailures": 1, "timeWindow": "1m", "scope": "target" });
    let document = |urls: Value| {
        service("/", json!({ "url": urls, "balance": "roundRobin", "circuitBreaker": breaker }))
    };
    let proxy = Proxy::start(&document(json!([dead, one.url("/")])));
    (0..2).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    let name = format!("ALL /#it@{dead}");
    assert_eq!(proxy.state(&name), "open");
    proxy.write(&document(json!([two.url("/"), dead])));
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(proxy.state(&name), "open");
    (0..4).for_each(|_| assert_eq!(proxy.get("/").text(), "two"));
    let gone = proxy.ask(&format!("/breakers/{}", crate::proxy::percent(&one.url(""))));
    assert_eq!(gone.status, 404);
}

#[test]
fn in_a_fan_out_an_open_service_stands_for_its_refusal_and_is_ignored_where_it_may_be() {
    let well = Origin::start(|_, _| Reply::json(200, &json!({ "well": true })));
    let ill = Origin::start(|_, _| Reply::json(500, &json!({ "ill": true })));
    let breaker = json!({ "maxFailures": 1, "timeWindow": "1m", "rejectStatusCode": 530 });
    let fan = |merge: bool| {
        json!({ "GET": { "services": {
            "well": { "url": well.url("/") },
            "ill": { "url": ill.url("/"), "circuitBreaker": breaker, "merge": merge }
        } } })
    };
    let document = routes(json!({ "/needed": fan(true), "/spared": fan(false) }));
    let route = json!({ "maxFailures": 9, "timeWindow": "1m" });
    let proxy = Proxy::start(&with(document, "/http/circuitBreaker", route));
    assert_eq!(proxy.get("/needed").status, 500);
    assert_eq!(proxy.state("GET /needed#ill"), "open");
    let refused = proxy.get("/needed");
    assert_eq!((refused.status, refused.header("retry-after")), (530, Some("120")));
    assert_eq!(ill.count(), 1, "it has its quiet");
    let counts = &proxy.breaker("GET /needed")["counts"];
    assert_eq!((&counts["failure"], &counts["neutral"]), (&1.into(), &1.into()));
    for _ in 0..2 {
        assert_eq!(proxy.get("/spared").json(), json!({ "well": true }));
    }
    assert_eq!(proxy.state("GET /spared#ill"), "open");
}

#[test]
fn each_service_of_a_fan_out_is_balanced_and_tried_again() {
    let dead = format!("http://{}/x", ports::hold());
    let [one, two] = [1, 2].map(|nth| {
        Origin::start(move |request, _| {
            Reply::json(200, &json!({ format!("from{nth}"): request.target }))
        })
    });
    let balanced = json!("roundRobin");
    let proxy = Proxy::start(&with(
        routes(json!({ "/users/:id": { "POST": { "services": {
            "first": { "url": [dead, one.url("/one/:id")], "balance": balanced },
            "second": { "url": [two.url("/two/:id"), dead], "balance": balanced }
        } } } })),
        "/workers",
        json!(1),
    ));
    let mut client = Client::connect(proxy.address());
    for _ in 0..4 {
        client.send(b"POST /users/7 HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc");
        let merged = client.response();
        assert_eq!(merged.json(), json!({ "from1": "/one/7", "from2": "/two/7" }), "{merged:?}");
    }
    for origin in [&one, &two] {
        let seen = origin.seen();
        assert_eq!(seen.len(), 4);
        assert!(seen.iter().all(|it| it.body == b"abc" && it.method == "POST"));
        assert_eq!(seen[0].values("host"), [origin.address().to_string()]);
    }
}
