//! Configurations of the proxy, as the scenarios need them.

use serde_json::{Map, Value, json};

use crate::origin::Origin;

/// A configuration of routes: `GET` of a path, and what is there.
pub(super) fn routes(routes: &[(&str, Value)]) -> Value {
    let route = |(path, route): &(&str, Value)| ((*path).to_owned(), json!({ "ALL": route }));
    let routes: Map<String, Value> = routes.iter().map(route).collect();
    json!({
        "http": {
            "limits": { "requestsPerConnection": "unlimited", "upstreamIdle": 1024 },
            "routes": routes,
        }
    })
}

/// A route to `url`, guarded by a breaker that never has a reason to open.
pub(super) fn guarded(url: &str) -> Value {
    let breaker = json!({ "maxFailures": 10, "timeWindow": "10s", "resetTimeout": "5s" });
    route(url, &breaker)
}

/// A route to `url` with `breaker`.
pub(super) fn route(url: &str, breaker: &Value) -> Value {
    json!({ "services": { "it": { "url": url } }, "circuitBreaker": breaker })
}

/// Everything to `origin`.
pub(super) fn all_to(origin: &Origin) -> Value {
    routes(&[("/*path", guarded(&origin.url("/:path")))])
}
