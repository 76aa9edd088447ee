//! Configurations for tests, as JSON values.

use serde_json::{Map, Value, json};

use crate::origin::Origin;

/// Path → method → route.
pub(crate) fn routes(routes: Value) -> Value {
    json!({ "http": { "routes": routes } })
}

/// One route `GET /` … to `url`, with these further keys of a route.
pub(crate) fn one_route(path: &str, method: &str, url: &str, extra: Value) -> Value {
    let mut route = Map::new();
    route.insert("services".into(), json!({ "origin": { "url": url } }));
    if let Value::Object(extra) = extra {
        route.extend(extra);
    }
    routes(json!({ path: { method: route } }))
}

/// Everything below `/` to `origin`, any method, without a breaker.
pub(crate) fn all_to(origin: &Origin) -> Value {
    all_to_with(origin, json!({}))
}

/// Everything below `/` to `origin`, any method, with these further keys of the route.
pub(crate) fn all_to_with(origin: &Origin, extra: Value) -> Value {
    one_route("/*rest", "ALL", &origin.url("/:rest"), extra)
}

/// `GET /guarded` to `origin` with this breaker: its name is `GET /guarded`.
pub(crate) fn guarded(origin: &Origin, breaker: Value) -> Value {
    one_route("/guarded", "GET", &origin.url("/guarded"), json!({ "circuitBreaker": breaker }))
}

/// `document` with `value` at this JSON pointer, making objects on the way.
pub(crate) fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let place = pointer.split('/').skip(1).fold(&mut document, |place, key| {
        let key = key.replace("~1", "/");
        place.as_object_mut().expect("an object").entry(key).or_insert_with(|| json!({}))
    });
    *place = value;
    document
}
