//! What operators order of breakers over the admin API.

use serde_json::{Value, json};

use crate::client::{self, Response};
use crate::document::{guarded, with};
use crate::origin::{Origin, Reply};
use crate::proxy::{Proxy, percent};
use crate::wait;

const NAME: &str = "GET /guarded";

fn order(proxy: &Proxy, what: &str, body: &Value) -> Response {
    let (admin, body) = (proxy.admin(), body.to_string());
    let path = format!("/breakers/{}/{what}", percent(NAME));
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {length}\r\n\r\n");
    client::once(admin, &format!("{head}{body}"))
}

#[test]
fn an_operator_opens_and_closes_a_breaker_whatever_it_thinks() {
    let origin = Origin::start(|_, nth| Reply::text(if nth == 0 { 200 } else { 500 }, "so"));
    let document = guarded(&origin, json!({ "maxFailures": 1, "resetTimeout": "1 minute" }));
    let proxy = Proxy::start(&document);
    let shut = json!({ "state": "force_open", "ttl": "30s", "reason": "maintenance" });
    let shown = order(&proxy, "override", &shut).json();
    assert_eq!((&shown["state"], &shown["effective"]), (&json!("closed"), &json!("open")));
    let refused = proxy.get("/guarded");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(refused.status == 503 && (1..=30).contains(&seconds), "{seconds}");
    order(&proxy, "override", &json!({ "state": "force_open" }));
    assert_eq!(proxy.get("/guarded").header("retry-after"), None, "nobody knows");
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(proxy.get("/guarded").status, 503, "a reload takes no order back");

    order(&proxy, "override", &json!({ "state": "force_closed", "reason": "let it through" }));
    assert_eq!(proxy.get("/guarded").status, 200);
    for _ in 0..3 {
        assert_eq!(proxy.get("/guarded").status, 500, "though it has tripped");
    }
    let shown = proxy.breaker(NAME);
    assert_eq!((&shown["state"], &shown["effective"]), (&json!("open"), &json!("closed")));
    assert_eq!(shown["override_reason"], json!("let it through"));
    order(&proxy, "override", &json!({ "state": "none" }));
    assert_eq!(proxy.get("/guarded").status, 503);
    assert_eq!(origin.count(), 4);
    assert_eq!(proxy.lines().count("override force_open for 30s: maintenance"), 1);
}

#[test]
fn an_override_ends_by_itself() {
    let origin = Origin::saying("well");
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1 })));
    order(&proxy, "override", &json!({ "state": "force_open", "ttl": 300 }));
    assert_eq!(proxy.get("/guarded").status, 503);
    wait::until("the override is over", || proxy.get("/guarded").status == 200);
    assert_eq!(proxy.breaker(NAME)["override"], json!("none"));
}

#[test]
fn a_reset_closes_at_once_and_begins_anew() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    for breaker in [
        json!({ "maxFailures": 2, "resetTimeout": "1 minute" }),
        json!({ "maxErrors": 2, "duration": "1 minute" }),
    ] {
        let handled =
            with(guarded(&origin, breaker), "/http/handlers/tell", json!({ "type": "log" }));
        let breaker = "/http/routes/~1guarded/GET/circuitBreaker/onClose";
        let proxy = Proxy::start(&with(handled, breaker, json!({ "name": "tell" })));
        for status in [500, 500, 503] {
            assert_eq!(proxy.get("/guarded").status, status);
        }
        assert_eq!(order(&proxy, "reset", &json!({})).json()["state"], json!("closed"));
        for status in [500, 500, 503] {
            assert_eq!(proxy.get("/guarded").status, status, "two count again");
        }
        proxy.lines().await_line("open → closed  reset by an operator");
        assert_eq!(proxy.lines().count("handler tell"), 1);
    }
}

#[test]
fn a_storm_of_refusals_trips_nothing() {
    let origin = Origin::saying("well");
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxErrors": 1, "duration": "1 minute" })));
    order(&proxy, "override", &json!({ "state": "force_open" }));
    let mut client = client::Client::connect(proxy.address());
    for _ in 0..500 {
        assert_eq!(client.get("/guarded").status, 503);
    }
    order(&proxy, "override", &json!({ "state": "none" }));
    assert_eq!(client.get("/guarded").status, 200);
    let shown = proxy.breaker(NAME);
    assert_eq!((&shown["state"], &shown["counts"]["failure"]), (&json!("closed"), &json!(0)));
}
