//! Routes with several services: one answer out of many.

use serde_json::{Value, json};

use crate::origin::{Origin, Reply};
use crate::proxy::{Proxy, complete_text};

/// `GET /users` to both origins, in this order; `extra` is added to the second service.
fn both(first: &Origin, second: &Origin, extra: &str) -> Value {
    let (first, second) = (first.url("/users"), second.url("/messages"));
    complete_text(&format!(
        r#"{{ "http": {{ "routes": {{ "/users": {{ "GET": {{ "services": {{
            "userservice": {{ "url": "{first}" }},
            "messagingservice": {{ "url": "{second}" {extra} }}
        }} }} }} }} }} }}"#
    ))
}

fn users() -> Origin {
    Origin::start(|_, _| Reply::json(200, &json!({ "user": 1 })))
}

#[test]
fn rt7_two_objects_are_answered_as_their_union() {
    let second = Origin::start(|_, _| Reply::json(200, &json!({ "messages": 10 })));
    let first = users();
    let proxy = Proxy::start(&both(&first, &second, ""));
    let merged = proxy.get("/users");
    assert_eq!(merged.status, 200);
    assert_eq!(merged.json(), json!({ "user": 1, "messages": 10 }));
    assert!(merged.header("content-type").unwrap().starts_with("application/json"), "{merged:?}");
    assert_eq!((first.count(), second.count()), (1, 1));
}

#[test]
fn rt8_a_service_that_does_not_merge_is_ignored_errors_included() {
    let second = Origin::start(|_, nth| match nth {
        0 => Reply::json(200, &json!({ "messages": 10 })),
        _ => Reply::text(500, "ignored"),
    });
    let first = users();
    let proxy = Proxy::start(&both(&first, &second, r#", "merge": false"#));
    for _ in 0..2 {
        let merged = proxy.get("/users");
        assert_eq!((merged.status, merged.json()), (200, json!({ "user": 1 })));
    }
    second.await_requests(2);
}

#[test]
fn rt9_an_object_next_to_text_is_a_500_that_names_the_service_and_both_kinds() {
    let second = Origin::saying("hello");
    let first = users();
    let proxy = Proxy::start(&both(&first, &second, ""));
    let conflict = proxy.get("/users");
    assert_eq!(conflict.status, 500);
    let text = conflict.text();
    assert!(text.contains("messagingservice"), "{text}");
    assert!(text.contains("string response"), "{text}");
    assert!(text.contains("current response is an object"), "{text}");
}

#[test]
fn the_first_error_in_the_order_of_the_document_is_the_answer() {
    let second = Origin::start(|_, _| Reply::text(404, "no messages"));
    let first = users();
    let proxy = Proxy::start(&both(&first, &second, ""));
    let failed = proxy.get("/users");
    assert_eq!((failed.status, failed.text()), (404, "no messages"));
    assert_eq!(failed.header("content-type"), Some("text/plain"));
}

#[test]
fn an_open_breaker_of_one_service_stands_for_a_503_of_that_service() {
    let (first, second) = (users(), Origin::start(|_, _| Reply::text(500, "no")));
    let breaker = r#", "circuitBreaker": { "maxFailures": 1, "rejectMessage": "not now" }"#;
    let proxy = Proxy::start(&both(&first, &second, breaker));
    assert_eq!(proxy.get("/users").text(), "no");
    let refused = proxy.get("/users");
    assert_eq!((refused.status, refused.json()), (503, json!({ "error": "not now" })));
    assert_eq!((first.count(), second.count()), (2, 1), "only the other one is asked");

    let ignored = Proxy::start(&both(&first, &second, &format!(r#"{breaker}, "merge": false"#)));
    for _ in 0..3 {
        assert_eq!(ignored.get("/users").status, 200);
    }
    assert_eq!(second.count(), 2, "it was asked once more, before its breaker opened");
}

/// The client is told of the first service, which was refused; the route's breaker of what failed.
#[test]
fn a_failure_behind_a_refusal_counts_against_the_route_unless_it_is_ignored() {
    let sick = Origin::start(|_, _| Reply::text(500, "no"));
    let second = Origin::start(|_, nth| match nth {
        1 => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").then_close(),
        2 => Reply::text(502, "no"),
        _ => Reply::json(200, &json!({ "messages": 10 })),
    });
    let ignored = Origin::start(|_, _| Reply::nothing().then_close());
    let (first, other, last) = (sick.url("/"), second.url("/"), ignored.url("/"));
    let proxy = Proxy::start(&complete_text(&format!(
        r#"{{ "http": {{ "routes": {{ "/users": {{ "GET": {{
            "circuitBreaker": {{ "maxFailures": 4 }},
            "services": {{
                "sick": {{ "url": "{first}", "circuitBreaker": {{ "maxFailures": 1 }} }},
                "second": {{ "url": "{other}" }},
                "ignored": {{ "url": "{last}", "merge": false }}
            }} }} }} }} }} }}"#
    )));
    let counted = || {
        let counts = &proxy.breaker("GET /users")["counts"];
        (counts["failure"].as_u64().unwrap(), counts["neutral"].as_u64().unwrap())
    };
    assert_eq!((proxy.get("/users").status, counted()), (500, (1, 0)), "it opens the first's");
    assert_eq!((proxy.get("/users").status, counted()), (503, (2, 0)), "the second is cut");
    assert_eq!((proxy.get("/users").status, counted()), (503, (3, 0)), "the second answers 502");
    assert_eq!((proxy.get("/users").status, counted()), (503, (3, 1)), "the second is well");
    assert_eq!((sick.count(), second.count(), ignored.count()), (1, 4, 4));
}
