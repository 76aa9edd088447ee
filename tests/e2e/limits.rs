//! Every limit has an error answer of its own.

use std::time::Duration;

use serde_json::json;

use crate::client::{Asked, Client};
use crate::document::{all_to, with};
use crate::origin::Origin;
use crate::proxy::Proxy;

/// Sends `bytes` and asserts one answer with `status`, then a close, and nothing forwarded.
#[track_caller]
fn over(proxy: &Proxy, origin: &Origin, bytes: &[u8], status: u16) {
    let mut client = Client::connect(proxy.address());
    client.offer(bytes);
    let response = client.try_response(Asked::Other).expect("an answer");
    assert_eq!(response.status, status);
    assert!(client.is_closed(), "still open");
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_head_of_too_many_bytes_is_431() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let long = "x".repeat(16 * 1024);
    let head = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Long: {long}\r\n\r\n");
    over(&proxy, &origin, head.as_bytes(), 431);
    let endless = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Long: {long}");
    over(&proxy, &origin, endless.as_bytes(), 431);
}

#[test]
fn a_head_of_too_many_fields_is_431() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let fields = |count: usize| "X-Field: x\r\n".repeat(count);
    let head = format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", fields(100));
    over(&proxy, &origin, head.as_bytes(), 431);
    let mut client = Client::connect(proxy.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", fields(99)).as_bytes());
    assert_eq!(client.response().status, 200, "exactly at the limit");
}

#[test]
fn a_target_that_is_too_long_is_414() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let path = "x".repeat(8 * 1024);
    let head = format!("GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n");
    over(&proxy, &origin, head.as_bytes(), 414);
}

#[test]
fn a_body_that_announces_too_much_is_413() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&with(all_to(&origin), "/http/limits", json!({ "body": 10 })));
    let head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n";
    over(&proxy, &origin, head.as_bytes(), 413);
    let mut client = Client::connect(proxy.address());
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n0123456789");
    assert_eq!(client.response().status, 200, "exactly at the limit");
}

#[test]
fn a_chunked_body_that_grows_too_large_never_arrives_whole() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&with(all_to(&origin), "/http/limits", json!({ "body": 10 })));
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = Client::connect(proxy.address());
    client.offer(format!("{head}8\r\n01234567\r\n8\r\n01234567\r\n0\r\n\r\n").as_bytes());
    if let Ok(response) = client.try_response(Asked::Other) {
        assert_eq!(response.status, 413);
    }
    assert!(client.is_closed(), "still open");
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_chunked_body_at_its_limit_passes_however_it_is_cut() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&with(all_to(&origin), "/http/limits", json!({ "body": 10 })));
    let mut client = Client::connect(proxy.address());
    let chunks = "1\r\nx\r\n".repeat(10);
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}{chunks}0\r\n\r\n").as_bytes());
    assert_eq!(client.response().status, 200, "framing is not body");
}

#[test]
fn a_head_that_trickles_in_too_slowly_is_408_or_a_close() {
    let origin = Origin::saying("ok");
    let timeouts = json!({ "header": "300ms" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHo");
    if let Ok(response) = client.try_response(Asked::Other) {
        assert_eq!(response.status, 408);
    }
    assert!(client.is_closed());
    let mut silent = Client::connect(proxy.address());
    if let Ok(response) = silent.try_response(Asked::Other) {
        assert_eq!(response.status, 408);
    }
    assert!(silent.is_closed());
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_body_without_progress_is_408_or_a_close() {
    let origin = Origin::saying("ok");
    let timeouts = json!({ "body": "300ms" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    if let Ok(response) = client.try_response(Asked::Other) {
        assert_eq!(response.status, 408);
    }
    assert!(client.is_closed());
    assert_eq!(origin.count(), 0, "never whole at the origin");
}

#[test]
fn a_connection_at_rest_is_closed_after_its_idle_time_and_not_before() {
    let origin = Origin::saying("ok");
    let timeouts = json!({ "idle": "400ms" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").text(), "ok");
    assert!(client.is_silent_for(Duration::from_millis(200)));
    assert_eq!(client.get("/").text(), "ok");
    assert!(client.is_closed());
}

#[test]
fn a_connection_ends_after_its_number_of_requests() {
    let origin = Origin::saying("ok");
    let limits = json!({ "requestsPerConnection": 3 });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/limits", limits));
    let mut client = Client::connect(proxy.address());
    for nth in 1..=3 {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        assert_eq!(response.lists("connection", "close"), nth == 3, "request {nth}");
    }
    assert!(client.is_closed());
}

#[test]
fn a_response_head_beyond_its_limit_is_502() {
    let fields = "X-Field: x\r\n".repeat(300);
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
    let origin = Origin::start(move |_, _| crate::origin::Reply::raw(&head));
    let proxy = Proxy::start(&all_to(&origin));
    assert_eq!(proxy.get("/").status, 502);
}
