//! A service that is asked instead of what a breaker refuses.

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::document::routes;
use crate::origin::{Origin, Reply};
use crate::ports;
use crate::proxy::Proxy;

const STAND_IN: &str = "fusebox_fallback_total{service=\"ALL /it/:id#standby\"}";

fn sick() -> Origin {
    Origin::start(|_, _| Reply::text(500, "no"))
}

/// `ALL /it/:id` to `origin`, and to `standby` instead of what the route's breaker refuses.
fn document(origin: &Origin, standby: &Value) -> Value {
    routes(json!({ "/it/:id": { "ALL": {
        "services": { "standby": standby, "origin": { "url": origin.url("/first/:id") } },
        "circuitBreaker": {
            "maxFailures": 1, "resetTimeout": "1m", "fallback": { "service": "standby" },
        },
    } } }))
}

fn at(origin: &Origin) -> Value {
    json!({ "url": origin.url("/second/:id") })
}

fn post(proxy: &Proxy, body: &str) -> client::Response {
    let length = body.len();
    let head = format!("POST /it/7?q=1 HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
    client::once(proxy.address(), &format!("{head}{body}"))
}

#[test]
fn it_is_asked_only_for_what_the_route_s_breaker_refuses() {
    let (origin, standby) = (sick(), Origin::start(|_, _| Reply::text(200, "second best")));
    let proxy = Proxy::start(&document(&origin, &at(&standby)));
    assert_eq!(proxy.get("/it/7").text(), "no");
    assert_eq!(standby.count(), 0, "no part in what the breaker lets through");
    let mut client = Client::connect(proxy.address());
    for _ in 0..3 {
        let answer = client.get("/it/7?q=1");
        assert_eq!((answer.status, answer.text()), (200, "second best"));
        assert_eq!(answer.header("retry-after"), None);
    }
    assert_eq!((origin.count(), standby.count()), (1, 3));
    assert_eq!(standby.seen()[0].target, "/second/7?q=1");
    let shown = proxy.breaker("ALL /it/:id");
    assert_eq!((&shown["state"], &shown["counts"]["refused"]), (&json!("open"), &json!(3)));
    assert_eq!(shown["counts"]["success"], json!(0), "it teaches the breaker nothing");
    assert_eq!(proxy.metric(STAND_IN), 3);
}

#[test]
fn bodies_pass_both_ways() {
    let body = "x".repeat(3_000_000);
    let origin = sick();
    let standby = Origin::start(|request, _| Reply::bytes(&request.body));
    let proxy = Proxy::start(&document(&origin, &at(&standby)));
    assert_eq!(post(&proxy, "short").status, 500);
    let answer = post(&proxy, &body);
    assert!(answer.status == 200 && answer.text() == body, "{}", answer.body.len());
    let mut client = Client::connect(proxy.address());
    client.send(b"PUT /it/8 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(b"5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    assert_eq!(standby.seen()[1].method, "PUT");
}

#[test]
fn its_own_failures_are_told_as_they_are_and_leave_the_breaker_alone() {
    let origin = sick();
    let nowhere = format!("http://{}/", ports::hold());
    let standby = Origin::start(|_, _| Reply::text(503, "me too"));
    let slow = Origin::start(|_, _| Reply::nothing());
    for (service, status) in [
        (json!({ "url": nowhere }), 502),
        (at(&standby), 503),
        (json!({ "url": slow.url("/"), "timeout": "100ms" }), 504),
    ] {
        let proxy = Proxy::start(&document(&origin, &service));
        assert_eq!(proxy.get("/it/7").status, 500);
        assert_eq!(proxy.get("/it/7").status, status);
        let shown = proxy.breaker("ALL /it/:id");
        assert_eq!((&shown["state"], &shown["counts"]["failure"]), (&json!("open"), &json!(1)));
    }
}

#[test]
fn it_may_have_a_breaker_of_its_own_and_retries() {
    let origin = sick();
    let standby = Origin::start(|_, nth| match nth {
        0 => Reply::nothing().then_close(),
        1 => Reply::text(200, "second best"),
        _ => Reply::text(500, "worse"),
    });
    let service = json!({
        "url": [standby.url("/a"), standby.url("/b")], "retry": { "on": ["reset"] },
        "circuitBreaker": { "maxFailures": 2, "rejectStatusCode": 529, "scope": "service" },
    });
    let proxy = Proxy::start(&document(&origin, &service));
    let statuses: Vec<u16> = (0..5).map(|_| proxy.get("/it/7").status).collect();
    assert_eq!(statuses, [500, 200, 500, 529, 529]);
    assert_eq!((origin.count(), standby.count()), (1, 3));
    assert_eq!(proxy.breaker("ALL /it/:id")["counts"]["failure"], json!(1));
}

#[test]
fn it_stands_in_for_one_service_and_the_route_counts_the_outcome() {
    let (origin, standby) = (sick(), Origin::start(|_, _| Reply::text(200, "second best")));
    for scope in ["service", "target"] {
        let proxy = Proxy::start(&routes(json!({ "/it/:id": { "ALL": {
            "services": {
                "origin": {
                    "url": origin.url("/"),
                    "circuitBreaker": {
                        "maxFailures": 1, "scope": scope, "fallback": { "service": "standby" },
                    },
                },
                "standby": at(&standby),
            },
            "circuitBreaker": { "maxFailures": 5 },
        } } })));
        assert_eq!(proxy.get("/it/7").status, 500);
        for _ in 0..4 {
            assert_eq!(proxy.get("/it/7").text(), "second best");
        }
        let shown = proxy.breaker("ALL /it/:id");
        assert_eq!(shown["counts"]["success"], json!(4), "{scope}");
        assert_eq!(proxy.metric(STAND_IN), 4);
    }
}

#[test]
fn a_breaker_for_every_service_does_not_refuse_the_one_that_stands_in_for_it() {
    let (origin, standby) = (sick(), Origin::start(|_, _| Reply::text(500, "second best")));
    let mut document = document(&origin, &at(&standby));
    document["http"]["routes"]["/it/:id"]["ALL"]["circuitBreaker"]["scope"] = json!("service");
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/it/7").text(), "no");
    for _ in 0..5 {
        assert_eq!(proxy.get("/it/7").text(), "second best");
    }
    assert_eq!(proxy.ask("/breakers").json()["breakers"].as_array().unwrap().len(), 1);
}

#[test]
fn in_a_fan_out_its_answer_takes_the_place_of_the_refused_one() {
    let origin = sick();
    let other = Origin::start(|_, _| Reply::json(200, &json!({ "other": 1 })));
    let standby = Origin::start(|_, _| Reply::json(200, &json!({ "standby": 2 })));
    let proxy = Proxy::start(&routes(json!({ "/it/:id": { "ALL": { "services": {
        "origin": {
            "url": origin.url("/"),
            "circuitBreaker": { "maxFailures": 1, "fallback": { "service": "standby" } },
        },
        "other": { "url": other.url("/") },
        "standby": at(&standby),
    } } } })));
    assert_eq!(proxy.get("/it/7").status, 500);
    let answer = proxy.get("/it/7");
    assert_eq!((answer.status, answer.json()), (200, json!({ "other": 1, "standby": 2 })));
    assert_eq!((origin.count(), other.count(), standby.count()), (1, 2, 1));
}
