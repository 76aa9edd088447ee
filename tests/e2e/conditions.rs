//! What opens a breaker, as clients meet it, and what they get meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use crate::document::{guarded, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait;

const NAME: &str = "GET /guarded";

fn sick() -> Origin {
    Origin::start(|_, _| Reply::text(500, "no"))
}

fn reason(proxy: &Proxy) -> Value {
    proxy.breaker(NAME)["transitions"][0]["reason"].clone()
}

#[test]
fn a_share_of_failures_opens_once_there_are_enough_requests() {
    let origin = Origin::start(|_, nth| Reply::text(if nth % 2 == 1 { 500 } else { 200 }, "so so"));
    let breaker = json!({ "failureRate": "50%", "minRequests": 10, "timeWindow": "1 minute" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    for nth in 0..10 {
        assert_eq!(proxy.get("/guarded").status, if nth % 2 == 1 { 500 } else { 200 });
    }
    assert_eq!(proxy.get("/guarded").status, 503);
    assert_eq!(origin.count(), 10);
    wait::until("the reason is told", || reason(&proxy) == "failure_rate");
    let moved = &proxy.breaker(NAME)["transitions"][0];
    assert_eq!((&moved["failures"], &moved["requests"]), (&json!(5), &json!(10)));
}

#[test]
fn slow_exchanges_open_though_none_fails() {
    let origin = Origin::start(|_, _| Reply::text(200, "late").after(Duration::from_millis(80)));
    let slow = json!({ "after": "50ms", "rate": "100%" });
    let breaker = json!({ "slowCall": slow, "minRequests": 3, "timeWindow": "1 minute" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    for _ in 0..3 {
        assert_eq!(proxy.get("/guarded").status, 200);
    }
    assert_eq!(proxy.get("/guarded").status, 503);
    wait::until("the reason is told", || reason(&proxy) == "slow_calls");
    assert_eq!(proxy.breaker(NAME)["counts"]["failure"], json!(0));
}

#[test]
fn failures_in_a_row_open_and_a_success_breaks_the_row() {
    let origin = Origin::start(|_, nth| Reply::text(if nth == 2 { 200 } else { 500 }, "well"));
    let proxy = Proxy::start(&guarded(&origin, json!({ "consecutiveFailures": 3 })));
    for status in [500, 500, 200, 500, 500, 500, 503] {
        assert_eq!(proxy.get("/guarded").status, status);
    }
    wait::until("the reason is told", || reason(&proxy) == "consecutive_failures");
}

#[test]
fn a_sliding_window_counts_across_what_a_fixed_one_cuts() {
    let origin = sick();
    let breaker = json!({ "maxFailures": 2, "timeWindow": "1 minute", "window": "sliding" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    for status in [500, 500, 503] {
        assert_eq!(proxy.get("/guarded").status, status);
    }
}

#[test]
fn a_fallback_stands_in_for_the_refusal() {
    let origin = sick();
    let headers = json!({ "Cache-Control": "no-store", "x-why": "open" });
    let body = json!({ "users": [], "exact": 1.50 });
    let fallback = json!({ "body": body, "headers": headers });
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "fallback": fallback })));
    assert_eq!(proxy.get("/guarded").status, 500);
    let stand_in = proxy.get("/guarded");
    assert_eq!((stand_in.status, stand_in.json()), (200, body));
    assert_eq!(stand_in.header("content-type"), Some("application/json"));
    assert_eq!(stand_in.header("cache-control"), Some("no-store"));
    assert_eq!((stand_in.header("x-why"), stand_in.header("retry-after")), (Some("open"), None));
    assert_eq!(proxy.breaker(NAME)["counts"]["refused"], json!(1));
}

#[test]
fn a_fallback_may_name_its_own_type_and_be_an_error_that_says_when_to_come_back() {
    let origin = sick();
    let headers = json!({ "content-type": "text/csv" });
    let fallback = json!({ "status": 529, "body": "a,b", "headers": headers });
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "fallback": fallback })));
    assert_eq!(proxy.get("/guarded").status, 500);
    let stand_in = proxy.get("/guarded");
    assert_eq!((stand_in.status, stand_in.text()), (529, "a,b"));
    assert_eq!(stand_in.header("content-type"), Some("text/csv"));
    assert_eq!(stand_in.header("retry-after"), Some("120"));
}

#[test]
fn in_the_shadow_everything_passes_and_what_would_have_been_refused_is_counted() {
    let origin = sick();
    let breaker = json!({ "maxFailures": 2, "mode": "shadow", "resetTimeout": "1 minute" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    for _ in 0..6 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    let shown = proxy.breaker(NAME);
    assert_eq!((&shown["state"], &shown["effective"]), (&json!("open"), &json!("closed")));
    assert_eq!((&shown["mode"], &shown["counts"]["refused"]), (&json!("shadow"), &json!(0)));
    let metrics = String::from_utf8(proxy.ask("/metrics").body).unwrap();
    let would = "fusebox_breaker_would_reject_total{breaker=\"GET /guarded\",reason=\"open\"} 4";
    assert!(metrics.lines().any(|line| line == would), "{metrics}");
}

#[test]
fn switched_off_a_breaker_does_nothing() {
    let origin = sick();
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "mode": "off" })));
    for _ in 0..4 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    let shown = proxy.breaker(NAME);
    assert_eq!((&shown["state"], &shown["counts"]["failure"]), (&json!("closed"), &json!(0)));
}

#[test]
fn a_reload_keeps_what_was_counted_and_asks_again() {
    let origin = sick();
    let document = guarded(&origin, json!({ "maxFailures": 9, "resetTimeout": "1 minute" }));
    let proxy = Proxy::start(&document);
    for _ in 0..3 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    let breaker = "/http/routes/~1guarded/GET/circuitBreaker";
    proxy.write(&with(document, breaker, json!({ "maxFailures": 3, "resetTimeout": "1 minute" })));
    assert_eq!(proxy.post("/reload").status, 200);
    wait::until("three are enough now", || proxy.state(NAME) == "open");
    assert_eq!((proxy.get("/guarded").status, origin.count()), (503, 3));
}
