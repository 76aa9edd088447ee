//! What is tried again, what never is, and how often.

use std::time::Duration;

use serde_json::{Value, json};

use crate::balance::service;
use crate::client::Client;
use crate::document::with;
use crate::origin::{Origin, Reply};
use crate::ports;
use crate::proxy::Proxy;
use crate::wait::pass;

/// A service behind `/*rest` at both origins in turn, the first one first; `retry` as given.
fn both(one: &Origin, two: &Origin, retry: Value) -> Value {
    let urls = json!([one.url("/:rest"), two.url("/:rest")]);
    service("/*rest", json!({ "url": urls, "balance": "roundRobin", "retry": retry }))
}

fn everything() -> Value {
    json!({ "attempts": 2, "on": ["connect", "reset", "status", "timeout"], "budget": "100%" })
}

/// The number of a metric of the one service.
fn metric(proxy: &Proxy, name: &str) -> u64 {
    let start = format!("{name}{{service=\"ALL /*rest#it\"}} ");
    let metrics = proxy.ask("/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(&start));
    line.expect("the metric").parse().unwrap()
}

#[test]
fn a_post_that_found_no_connection_goes_to_another_target_with_its_whole_body() {
    let origin = Origin::start(|request, _| Reply::text(200, &request.body.len().to_string()));
    let urls = json!([format!("http://{}/:rest", ports::hold()), origin.url("/v2/:rest")]);
    let document = service("/*rest", json!({ "url": urls, "balance": "roundRobin" }));
    let proxy = Proxy::start(&document);
    let mut client = Client::connect(proxy.address());
    // A body that arrives with its head, and one that is streamed.
    for (nth, size) in [3, 3, 300_000, 300_000].into_iter().enumerate() {
        let head =
            format!("POST /pay?n={nth} HTTP/1.1\r\nHost: shop\r\nContent-Length: {size}\r\n\r\n");
        client.send(&[head.as_bytes(), &vec![b'x'; size]].concat());
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, size.to_string().as_str()));
    }
    let targets: Vec<String> = origin.seen().into_iter().map(|seen| seen.target).collect();
    let expected: Vec<String> = (0..4).map(|nth| format!("/v2/pay?n={nth}")).collect();
    assert_eq!(targets, expected, "each once");
    let seen = origin.seen();
    assert!(seen.iter().all(|it| it.values("host") == [origin.address().to_string()]));
    assert!(seen.iter().all(|it| it.values("x-forwarded-host") == ["shop"]));
    assert_eq!(metric(&proxy, "fusebox_retries_total"), 2);
}

#[test]
fn a_chunked_post_that_found_no_connection_arrives_whole() {
    let origin = Origin::start(|request, _| Reply::bytes(&request.body));
    let urls = json!([format!("http://{}", ports::hold()), origin.url("/")]);
    let proxy = Proxy::start(&service("/", json!({ "url": urls, "balance": "roundRobin" })));
    let mut client = Client::connect(proxy.address());
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    pass(Duration::from_millis(50));
    client.send(b"2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "abcde");
    assert_eq!(origin.count(), 1);
}

/// The origins that count: whatever goes wrong after a byte was sent, a POST is sent once.
#[test]
fn a_request_that_may_have_been_done_is_never_sent_twice() {
    let silent = Duration::from_secs(3);
    for reply in [
        Reply::nothing().then_close(),
        Reply::nothing().then_reset(),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").then_close(),
        Reply::text(500, "no"),
        Reply::nothing().after(silent),
    ] {
        let origins = [(); 2].map(|()| {
            let reply = reply.clone();
            Origin::start(move |_, _| reply.clone())
        });
        let document = both(&origins[0], &origins[1], everything());
        let document = with(document, "/http/timeouts", json!({ "response": "300ms" }));
        let proxy = Proxy::start(&document);
        for (method, length) in [("POST", 3), ("PATCH", 3), ("LOCK", 0)] {
            let before = origins[0].count() + origins[1].count();
            let mut client = Client::connect(proxy.address());
            let body = &"pay"[..length];
            client.send(
                format!(
                    "{method} /pay HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .as_bytes(),
            );
            let status = client.response().status;
            assert!(matches!(status, 500 | 502 | 504), "{status}");
            pass(Duration::from_millis(50));
            let sent = origins[0].count() + origins[1].count() - before;
            assert_eq!(sent, 1, "{method} {reply:?}");
        }
        assert_eq!(metric(&proxy, "fusebox_retries_total"), 0);
    }
}

#[test]
fn a_request_that_may_be_repeated_goes_on_elsewhere() {
    let silent = Duration::from_secs(3);
    for reply in [
        Reply::nothing().then_close(),
        Reply::nothing().then_reset(),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").then_close(),
        Reply::text(503, "no"),
        Reply::nothing().after(silent),
    ] {
        let answer = reply.clone();
        let ill = Origin::start(move |_, _| answer.clone());
        let well = Origin::start(|request, _| Reply::bytes(&request.body));
        let document = both(&ill, &well, everything());
        let document = with(document, "/http/timeouts", json!({ "response": "300ms" }));
        let proxy = Proxy::start(&document);
        let mut client = Client::connect(proxy.address());
        client.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, "hello"), "{reply:?}");
        assert_eq!((ill.count(), well.count()), (1, 1), "{reply:?}");
        assert_eq!(metric(&proxy, "fusebox_retries_total"), 1);
    }
}

#[test]
fn what_is_not_named_is_not_tried_again() {
    let ill = Origin::start(|_, _| Reply::nothing().then_close());
    let well = Origin::saying("well");
    let proxy = Proxy::start(&both(&ill, &well, json!({ "on": ["connect", "status"] })));
    assert_eq!(proxy.get("/").status, 502);
    assert_eq!((ill.count(), well.count()), (1, 0));
}

#[test]
fn the_answer_of_the_last_attempt_is_the_clients_whatever_it_is() {
    let [one, two] = ["one", "two"].map(|who| Origin::start(move |_, _| Reply::text(503, who)));
    let retry = json!({ "attempts": 1, "on": ["status"] });
    let route = json!({ "maxFailures": 9, "timeWindow": "1m" });
    let document = with(both(&one, &two, retry), "/http/circuitBreaker", route);
    let proxy = Proxy::start(&document);
    let response = proxy.get("/");
    assert_eq!((response.status, response.text()), (503, "two"));
    assert_eq!((one.count(), two.count()), (1, 1));
    assert_eq!(proxy.breaker("ALL /*rest")["counts"]["failure"], 1, "the final outcome, once");
}

#[test]
fn each_attempt_counts_for_its_target_and_the_last_for_the_route() {
    let ill = Origin::start(|_, _| Reply::text(500, "no"));
    let well = Origin::saying("well");
    let mut document = both(&ill, &well, everything());
    document["http"]["routes"]["/*rest"]["ALL"]["services"]["it"]["circuitBreaker"] =
        json!({ "maxFailures": 9, "timeWindow": "1m", "scope": "target" });
    let route = json!({ "maxFailures": 9, "timeWindow": "1m" });
    let proxy = Proxy::start(&with(document, "/http/circuitBreaker", route));
    assert_eq!(proxy.get("/").text(), "well");
    let counts = |name: &str| {
        let counts = proxy.breaker(name)["counts"].clone();
        [&counts["success"], &counts["failure"], &counts["neutral"]].map(|it| it.as_u64().unwrap())
    };
    assert_eq!(counts(&format!("ALL /*rest#it@{}", ill.url(""))), [0, 1, 0]);
    assert_eq!(counts(&format!("ALL /*rest#it@{}", well.url(""))), [1, 0, 0]);
    assert_eq!(counts("ALL /*rest"), [1, 0, 0]);
}

#[test]
fn no_attempt_follows_the_one_that_opened_the_breaker() {
    let ill = Origin::start(|_, _| Reply::nothing().then_close());
    let url = ill.url("/:rest");
    let mut document = service("/*rest", json!({ "url": [url, url], "retry": everything() }));
    document["http"]["routes"]["/*rest"]["ALL"]["services"]["it"]["circuitBreaker"] =
        json!({ "maxFailures": 1, "timeWindow": "1m" });
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/").status, 502);
    assert_eq!((ill.count(), proxy.get("/").status), (1, 503));
}

/// A parked connection that dies under a request costs one attempt on a fresh one, whatever the
/// service's retries: they add up, they do not multiply.
#[test]
fn a_stale_connection_is_replaced_once_per_exchange() {
    let origin = Origin::start(|_, nth| match nth {
        0 => Reply::text(200, "parked"),
        _ => Reply::nothing().then_close(),
    });
    let retry = json!({ "attempts": 1, "on": ["connect", "reset"], "budget": "100%" });
    let document = service("/*rest", json!({ "url": origin.url("/:rest"), "retry": retry }));
    let proxy = Proxy::start(&document);
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").text(), "parked");
    assert_eq!(client.get("/").status, 502);
    pass(Duration::from_millis(50));
    assert_eq!(origin.count(), 1 + 3, "on the parked one, on a fresh one, and the one retry");
}

#[test]
fn a_budget_caps_a_storm_of_retries() {
    let origin = Origin::start(|_, _| Reply::nothing().then_close());
    let retry = json!({ "attempts": 3, "on": ["reset"], "budget": "20%" });
    let document = service("/*rest", json!({ "url": origin.url("/:rest"), "retry": retry }));
    let proxy = Proxy::start(&document);
    let mut client = Client::connect(proxy.address());
    let began = std::time::Instant::now();
    (0..300).for_each(|_| assert_eq!(client.get("/").status, 502));
    // Three are free in each second, of which the storm may touch one more than it lasts.
    let seconds = began.elapsed().as_secs() + 2;
    let retries = metric(&proxy, "fusebox_retries_total");
    assert!(retries <= 60 + 3 * seconds, "{retries} retries in {seconds} s");
    assert!(retries >= 3);
    assert_eq!(origin.count() as u64, 300 + retries);
    assert!(metric(&proxy, "fusebox_retry_budget_exhausted_total") > 200);
}

#[test]
fn a_limit_of_the_whole_exchange_holds_for_all_attempts_together() {
    let silent = Origin::start(|_, _| Reply::nothing().after(Duration::from_secs(3)));
    let mut document = both(&silent, &silent, everything());
    document["http"]["routes"]["/*rest"]["ALL"]["services"]["it"]["timeout"] = json!("500ms");
    let document = with(document, "/http/timeouts", json!({ "response": "300ms" }));
    let proxy = Proxy::start(&document);
    let began = std::time::Instant::now();
    assert_eq!(proxy.get("/").status, 504);
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    assert_eq!(silent.count(), 2);
}
