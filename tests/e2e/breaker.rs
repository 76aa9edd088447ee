//! The breaker as clients meet it: refusals, what counts, probes, healing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::client::{self, Client};
use crate::document::guarded;
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, Gate, pass};

const NAME: &str = "GET /guarded";

/// An origin that fails its first `failures` calls.
fn failing(failures: usize) -> Origin {
    Origin::start(move |_, nth| match nth {
        nth if nth < failures => Reply::text(500, "no"),
        _ => Reply::text(200, "yes"),
    })
}

#[test]
fn an_open_breaker_refuses_without_asking_the_origin_and_says_when_to_come_back() {
    let origin = failing(usize::MAX);
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 2, "resetTimeout": "7s" })));
    assert_eq!(proxy.state(NAME), "closed");
    for _ in 0..2 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    let mut client = Client::connect(proxy.address());
    for _ in 0..5 {
        let refused = client.get("/guarded");
        assert_eq!(refused.status, 503);
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=7).contains(&seconds), "{seconds}");
    }
    assert_eq!((origin.count(), proxy.state(NAME).as_str()), (2, "open"));
}

#[test]
fn retry_after_is_a_whole_second_at_least_even_for_a_short_duration() {
    let origin = failing(usize::MAX);
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxErrors": 1, "duration": "900ms" })));
    assert_eq!(proxy.get("/guarded").status, 500);
    assert_eq!(proxy.get("/guarded").header("retry-after"), Some("1"));
}

#[test]
fn retry_after_can_be_left_out() {
    let origin = failing(usize::MAX);
    let breaker = json!({ "maxFailures": 1, "retryAfter": false });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 500);
    let refused = proxy.get("/guarded");
    assert_eq!((refused.status, refused.header("retry-after")), (503, None));
}

#[test]
fn a_refusal_is_json_unless_the_client_prefers_text() {
    let origin = failing(usize::MAX);
    let breaker = json!({ "maxFailures": 1, "rejectStatusCode": 529, "rejectMessage": "Not now" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 500);
    for (accept, is_text) in [
        ("", false),
        ("Accept: */*\r\n", false),
        ("Accept: application/json\r\n", false),
        ("Accept: text/plain\r\n", true),
        ("Accept: text/*\r\n", true),
        ("Accept: text/plain;q=0.1, application/json\r\n", false),
        ("Accept: application/json;q=0.1, text/plain\r\n", true),
    ] {
        let request = format!("GET /guarded HTTP/1.1\r\nHost: test\r\n{accept}\r\n");
        let refused = client::once(proxy.address(), &request);
        assert_eq!(refused.status, 529, "{accept:?}");
        let kind = refused.header("content-type").unwrap();
        assert_eq!(kind.starts_with("text/plain"), is_text, "{accept:?}: {kind}");
        let expected = if is_text { "Not now" } else { "{\"error\":\"Not now\"}" };
        assert_eq!(refused.text(), expected, "{accept:?}");
    }
}

#[test]
fn a_body_of_seed_a_is_sent_as_configured_whatever_the_client_prefers() {
    let origin = failing(usize::MAX);
    let breaker = json!({
        "maxErrors": 1, "duration": "1 minute", "errorStatus": 429, "errorBody": { "busy": true }
    });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 500);
    let request = "GET /guarded HTTP/1.1\r\nHost: test\r\nAccept: text/plain\r\n\r\n";
    let refused = client::once(proxy.address(), request);
    assert_eq!((refused.status, refused.json()), (429, json!({ "busy": true })));
}

#[test]
fn a_good_probe_closes_the_breaker_and_a_failed_one_opens_it_again() {
    let origin = failing(2);
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "resetTimeout": 100 })));
    assert_eq!(proxy.get("/guarded").status, 500);
    assert_eq!(proxy.get("/guarded").status, 503);
    pass(Duration::from_millis(110));
    assert_eq!(proxy.get("/guarded").status, 500, "the probe");
    assert_eq!(proxy.get("/guarded").status, 503, "open again");
    pass(Duration::from_millis(110));
    assert_eq!(proxy.get("/guarded").status, 200, "the second probe");
    wait::until("closed", || proxy.state(NAME) == "closed");
    assert_eq!(proxy.get("/guarded").status, 200);
    assert_eq!(origin.count(), 4);
}

#[test]
fn answers_below_500_are_no_failures() {
    let origin = Origin::start(|_, nth| Reply::text([400, 404, 429, 499][nth % 4], "no"));
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1 })));
    for status in [400, 404, 429, 499] {
        assert_eq!(proxy.get("/guarded").status, status);
    }
    assert_eq!((origin.count(), proxy.state(NAME).as_str()), (4, "closed"));
}

#[test]
fn listed_statuses_are_failures() {
    let origin = Origin::start(|_, _| Reply::text(429, "slow down"));
    let breaker = json!({ "maxFailures": 1, "failureStatuses": [429, "500-599"] });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 429);
    assert_eq!(proxy.get("/guarded").status, 503);
}

#[test]
fn a_client_that_leaves_before_the_answer_blames_nobody() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, nth| match nth {
        0 => Reply::text(500, "too late").behind(&held),
        _ => Reply::text(200, "yes"),
    });
    let breaker = json!({ "maxFailures": 1, "timeout": "300ms" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(1);
    client.abort();
    pass(Duration::from_millis(400)); // beyond the breaker's own timeout
    gate.open();
    assert_eq!(proxy.get("/guarded").text(), "yes");
    assert_eq!(proxy.state(NAME), "closed");
}

#[test]
fn a_client_that_leaves_within_the_body_blames_nobody() {
    let body = vec![b'x'; 64 * 1024 * 1024];
    let origin = Origin::start(move |_, nth| match nth {
        0 => Reply::bytes(&body),
        _ => Reply::text(200, "yes"),
    });
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "timeout": "10s" })));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    client.exactly(100_000).unwrap();
    client.abort();
    wait::until("a neutral end", || proxy.breaker(NAME)["counts"]["neutral"] == json!(1));
    assert_eq!(proxy.breaker(NAME)["counts"]["failure"], json!(0));
    assert_eq!(proxy.get("/guarded").text(), "yes");
}

#[test]
fn a_client_that_breaks_the_rules_blames_nobody() {
    let origin = Origin::saying("yes");
    let breaker = json!({ "circuitBreaker": { "maxFailures": 1 } });
    let proxy = Proxy::start(&crate::document::all_to_with(&origin, breaker));
    for junk in ["zz\r\n", "3\r\nabcd\r\n0\r\n\r\n", "0\r\nno trailer\r\n\r\n"] {
        let mut client = Client::connect(proxy.address());
        let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.offer(format!("{head}{junk}").as_bytes());
        client.finish_sending();
        drop(client.try_response(client::Asked::Other));
        assert_eq!(proxy.get("/").status, 200, "{junk:?} opened the breaker");
    }
    assert_eq!(proxy.breaker("ALL /*rest")["counts"]["failure"], json!(0));
}

#[test]
fn a_route_opts_out_of_the_breaker_of_all() {
    let origin = failing(usize::MAX);
    let document = guarded(&origin, json!("none"));
    let document = crate::document::with(
        document,
        "/http/circuitBreaker",
        json!({ "maxErrors": 1, "duration": "1 minute" }),
    );
    let proxy = Proxy::start(&document);
    for _ in 0..4 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    assert_eq!(origin.count(), 4);
}

#[test]
fn a_tripped_route_leaves_its_neighbours_alone() {
    let (sick, well) = (failing(usize::MAX), Origin::saying("well"));
    let route =
        |origin: &Origin| json!({ "GET": { "services": { "o": { "url": origin.url("/") } } } });
    let document = crate::document::with(
        crate::document::routes(json!({ "/sick": route(&sick), "/well": route(&well) })),
        "/http/circuitBreaker",
        json!({ "maxErrors": 2, "duration": "1 minute" }),
    );
    let proxy = Proxy::start(&document);
    for status in [500, 500, 503, 503] {
        assert_eq!(proxy.get("/sick").status, status);
        assert_eq!(proxy.get("/well").text(), "well");
    }
    assert_eq!(
        (proxy.state("GET /sick"), proxy.state("GET /well")),
        ("open".into(), "closed".into())
    );
}
