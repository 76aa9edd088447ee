//! How often breakers opened, closed and refused, over time: `GET /stats/circuitbreaker/…`.

use serde_json::{Value, json};

use crate::document::{guarded, with};
use crate::origin::{Origin, Reply};
use crate::proxy::{Proxy, percent};
use crate::wait;

const NAME: &str = "GET /guarded";
const BREAKER: &str = "/http/routes/~1guarded/GET/circuitBreaker";

fn points(proxy: &Proxy, series: &str, name: &str, query: &str) -> Vec<(u64, u64)> {
    let path = format!("/stats/circuitbreaker/{series}/{}{query}", percent(name));
    let response = proxy.ask(&path);
    assert_eq!(response.status, 200, "{path}: {response:?}");
    serde_json::from_value(response.json()).expect("pairs")
}

fn sum(points: &[(u64, u64)]) -> u64 {
    points.iter().map(|(_, count)| count).sum()
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// A breaker that opens at the first failure, for long; hours of buckets of ten seconds.
fn document(origin: &Origin) -> Value {
    let stats = json!({ "granularity": { "duration": "10s", "ttl": "1 hour" } });
    let breaker = json!({ "maxFailures": 1, "resetTimeout": "1m", "statsConfig": stats });
    guarded(origin, breaker)
}

#[test]
fn each_event_has_a_series_of_aligned_buckets_without_gaps() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let proxy = Proxy::start(&document(&origin));
    let before = now();
    assert_eq!(proxy.get("/guarded").status, 500);
    for _ in 0..5 {
        assert_eq!(proxy.get("/guarded").status, 503);
    }
    wait::until("refusals count", || sum(&points(&proxy, "rejected", NAME, "")) == 5);
    assert_eq!(sum(&points(&proxy, "open", NAME, "")), 1);
    assert_eq!(sum(&points(&proxy, "close", NAME, "")), 0);
    proxy.post(&format!("/breakers/{}/reset", percent(NAME)));
    wait::until("it has closed", || sum(&points(&proxy, "close", NAME, "")) == 1);

    let open = points(&proxy, "open", NAME, "?count=7");
    let after = now();
    assert_eq!(open.len(), 7, "as many as asked for, and not one more");
    assert!(open.windows(2).all(|two| two[1].0 == two[0].0 + 10), "{open:?}");
    assert!(open.iter().all(|(second, _)| second % 10 == 0), "{open:?}");
    let last = open[6].0;
    assert!(last + 10 > before && last <= after, "{open:?} between {before} and {after}");
    assert_eq!(points(&proxy, "open", NAME, "").len(), 24);
    assert_eq!(points(&proxy, "open", NAME, "?count=360").len(), 360);
    assert_eq!(sum(&points(&proxy, "open", "stats:/guarded", "")), 1, "the sum of one breaker");
}

#[test]
fn what_cannot_be_read_is_refused_by_name_or_by_number() {
    let origin = Origin::saying("well");
    let off = json!({ "maxFailures": 1, "disableStats": true });
    let route = json!({ "GET": {
        "services": { "origin": { "url": origin.url("/") } }, "circuitBreaker": off,
    } });
    let proxy = Proxy::start(&with(document(&origin), "/http/routes/~1off", route));
    let ask = |path: &str| {
        let response = proxy.ask(path);
        assert!(response.json()["error"].is_string(), "{path}");
        response.status
    };
    let path = format!("/stats/circuitbreaker/open/{}", percent(NAME));
    for query in
        ["count=0", "count=361", "count=-1", "count=", "count", "from=1", "count=1&count=2"]
    {
        assert_eq!(ask(&format!("{path}?{query}")), 422, "{query}");
    }
    for path in ["open/nobody", "opened/GET%20%2Fguarded", "open/GET%20%2Foff", "open/%ff"] {
        assert_eq!(ask(&format!("/stats/circuitbreaker/{path}")), 404, "{path}");
    }
    assert_eq!(ask("/stats/circuitbreaker/open"), 404);
    assert_eq!(proxy.post(&path).status, 405);
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let document = document(&origin);
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/guarded").status, 500);
    wait::until("it counts", || sum(&points(&proxy, "open", NAME, "")) == 1);
    let longer = with(document, &format!("{BREAKER}/statsConfig/granularity/ttl"), json!("2h"));
    proxy.write(&crate::proxy::complete(longer.clone()));
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(sum(&points(&proxy, "open", NAME, "?count=720")), 1);
    let wider = with(longer, &format!("{BREAKER}/statsConfig/granularity/duration"), json!("1m"));
    proxy.write(&crate::proxy::complete(wider));
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(sum(&points(&proxy, "open", NAME, "")), 0, "other buckets begin anew");
}
