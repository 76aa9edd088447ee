//! What the client gets, and what the breaker learns, when the origin misbehaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Asked, Broken, Client};
use crate::document::{self, all_to, guarded};
use crate::origin::{Origin, Reply};
use crate::ports;
use crate::proxy::Proxy;
use crate::wait::{Gate, pass};

/// A breaker that one failure opens.
fn glass() -> Value {
    json!({ "maxFailures": 1, "resetTimeout": "1 minute", "timeout": "20 seconds" })
}

/// Asserts that `proxy` answers `GET /guarded` with `status`, naming no address, and that this
/// counted as a failure.
#[track_caller]
fn fails_with(proxy: &Proxy, status: u16) {
    let failed = proxy.get("/guarded");
    assert_eq!(failed.status, status, "{failed:?}");
    assert!(failed.json()["error"].is_string(), "{failed:?}");
    assert!(!failed.text().contains("127.0.0.1"), "it names an address: {failed:?}");
    assert_eq!(proxy.get("/guarded").status, 503, "it did not count");
}

#[test]
fn a_refused_connection_is_502_and_a_failure() {
    let url = format!("http://{}/", ports::hold());
    let document =
        document::one_route("/guarded", "GET", &url, json!({ "circuitBreaker": glass() }));
    fails_with(&Proxy::start(&document), 502);
}

#[test]
fn a_silent_origin_is_504_when_the_response_timeout_runs_out_and_not_before() {
    let origin = Origin::start(|_, _| Reply::nothing().after(Duration::from_secs(3)));
    let timeouts = json!({ "response": "300ms" });
    let proxy =
        Proxy::start(&document::with(guarded(&origin, glass()), "/http/timeouts", timeouts));
    let started = Instant::now();
    fails_with(&proxy, 504);
    let taken = started.elapsed();
    assert!(taken >= Duration::from_millis(300) && taken < Duration::from_secs(3), "{taken:?}");
}

#[test]
fn a_service_that_exceeds_its_own_timeout_is_504() {
    let origin = Origin::start(|_, _| Reply::text(200, "late").after(Duration::from_secs(3)));
    let document = document::with(
        guarded(&origin, glass()),
        "/http/routes/~1guarded",
        json!({ "GET": {
            "circuitBreaker": glass(),
            "services": { "o": { "url": origin.url("/"), "timeout": "100ms" } },
        } }),
    );
    fails_with(&Proxy::start(&document), 504);
}

#[test]
fn the_breakers_timeout_answers_as_configured_and_cancels_the_exchange() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, _| Reply::text(200, "late").behind(&held));
    let breaker = json!({
        "maxFailures": 1, "timeout": "150ms", "timeoutStatusCode": 599, "timeoutMessage": "Too slow"
    });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    let slow = proxy.get("/guarded");
    assert_eq!((slow.status, slow.json()), (599, json!({ "error": "Too slow" })));
    gate.open();
    assert_eq!(proxy.get("/guarded").status, 503);
}

#[test]
fn a_reset_before_the_head_is_502_and_a_failure() {
    let origin = Origin::start(|_, _| Reply::nothing().then_reset());
    fails_with(&Proxy::start(&guarded(&origin, glass())), 502);
}

#[test]
fn a_reset_within_the_head_is_502_and_a_failure() {
    let origin = Origin::start(|_, _| Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").then_reset());
    fails_with(&Proxy::start(&guarded(&origin, glass())), 502);
}

#[test]
fn a_close_within_the_head_is_502_and_a_failure() {
    let origin = Origin::start(|_, _| Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").then_close());
    fails_with(&Proxy::start(&guarded(&origin, glass())), 502);
}

/// Every row is a response that no two readers agree on, or that is none.
#[test]
fn a_response_that_is_not_fully_understood_is_502_and_a_failure() {
    let headers = [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2\r\nContent-Length: 2",
        "Content-Length: 2, 2",
        "Content-Length: +2",
        "Content-Length: 18446744073709551618",
        "Content-Length: -1",
        "Content-Length: 2x",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "X-Folded: a\r\n b\r\nContent-Length: 2",
        "X Space: a\r\nContent-Length: 2",
        "Content-Length : 2",
        "X-Bare: a\nContent-Length: 2",
        "X-Return: a\rb\r\nContent-Length: 2",
        "no colon\r\nContent-Length: 2",
        ": no name\r\nContent-Length: 2",
        "Content_Length: 2",
        "X-Nul: \0\r\nContent-Length: 2",
    ];
    let starts = [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 600 OK",
        "HTTP/1.1 1000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
        "HTTP/3.7 200 OK",
        "http/1.1 200 OK",
        "SSH-2.0-OpenSSH_9.9",
        "\0\0\0\0",
    ];
    let with_header = headers.map(|header| format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\nok"));
    let with_start = starts.map(|start| format!("{start}\r\nContent-Length: 2\r\n\r\nok"));
    for head in with_header.iter().chain(&with_start) {
        let script = head.clone();
        let origin = Origin::start(move |_, _| Reply::raw(&script).then_close());
        let proxy = Proxy::start(&guarded(&origin, glass()));
        let failed = proxy.get("/guarded");
        assert_eq!(failed.status, 502, "{head:?}");
        assert_eq!(proxy.get("/guarded").status, 503, "did not count: {head:?}");
    }
}

/// Asserts that the client of `reply` never sees a complete response and that this was a failure.
#[track_caller]
fn is_cut(reply: Reply) {
    let origin = Origin::start(move |_, _| reply.clone());
    let proxy = Proxy::start(&guarded(&origin, glass()));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    let outcome = client.try_response(Asked::Other);
    assert!(matches!(outcome, Err(Broken::Cut(_) | Broken::Reset(_))), "{outcome:?}");
    assert_eq!(proxy.get("/guarded").status, 503, "it did not count");
}

const CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";

#[test]
fn a_body_shorter_than_its_length_cuts_the_clients_connection() {
    is_cut(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").then_close());
}

#[test]
fn a_chunked_body_without_its_end_cuts_the_clients_connection() {
    is_cut(Reply::raw(CHUNK).then_close());
}

#[test]
fn a_reset_within_the_body_cuts_the_clients_connection() {
    is_cut(Reply::raw(CHUNK).then(Reply::nothing().after(Duration::from_millis(50))).then_reset());
}

#[test]
fn a_malformed_chunk_cuts_the_clients_connection() {
    let junk = Reply::raw("nonsense\r\n\r\n0\r\n\r\n");
    is_cut(Reply::raw(CHUNK).then(junk.after(Duration::from_millis(100))));
}

#[test]
fn an_origin_that_falls_silent_within_the_body_is_cut_and_a_failure() {
    let origin = Origin::start(|_, _| {
        let silence = Reply::nothing().after(Duration::from_secs(3));
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").then(silence)
    });
    let timeouts = json!({ "response": "200ms" });
    let document = document::with(guarded(&origin, glass()), "/http/timeouts", timeouts);
    let proxy = Proxy::start(&document);
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    let outcome = client.try_response(Asked::Other);
    assert!(matches!(outcome, Err(Broken::Cut(_) | Broken::Reset(_))), "{outcome:?}");
    assert_eq!(proxy.get("/guarded").status, 503, "it did not count");
}

#[test]
fn a_body_that_ends_with_the_connection_is_complete() {
    let origin = Origin::start(|_, _| Reply::raw("HTTP/1.1 200 OK\r\n\r\nwhole").then_close());
    let proxy = Proxy::start(&guarded(&origin, glass()));
    for _ in 0..2 {
        let response = proxy.get("/guarded");
        assert_eq!((response.status, response.text()), (200, "whole"));
    }
}

#[test]
fn bytes_after_a_response_never_become_the_next_one() {
    let origin = Origin::start(|_, nth| match nth {
        0 => Reply::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\
             Content-Length: 6\r\n\r\npoison",
        ),
        _ => Reply::text(200, "clean"),
    });
    let proxy = Proxy::start(&document::with(all_to(&origin), "/workers", json!(1)));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/").text(), "clean");
    assert_eq!(origin.connections(), 2, "the connection with surplus bytes is not used again");
}

/// RFC 9112 §6.3: what has no body has none, whatever its head says of one.
#[test]
fn a_response_that_has_no_body_ends_with_its_head() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"),
        ("HEAD", "HTTP/1.1 200 OK"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5"),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5"),
        ("GET", "HTTP/1.1 304 Not Modified"),
    ] {
        for body in ["", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"] {
            let origin = Origin::start(move |_, nth| match nth {
                0 => Reply::raw(format!("{head}\r\n\r\n{body}")),
                _ => Reply::text(200, "next"),
            });
            let proxy = Proxy::start(&document::with(all_to(&origin), "/workers", json!(1)));
            let mut client = Client::connect(proxy.address());
            client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
            let first = client.try_response(Asked::Head).expect("a head");
            if first.status == 204 {
                for name in ["content-length", "transfer-encoding"] {
                    assert_eq!(first.header(name), None, "{head:?}");
                }
            }
            assert_eq!(client.get("/").text(), "next", "{method} {head:?} {body:?}");
            let connections = if body.is_empty() { 1 } else { 2 };
            assert_eq!(origin.connections(), connections, "{method} {head:?} {body:?}");
        }
    }
}

/// An HTTP/1.0 upstream is understood, and asked on a connection of its own each time.
#[test]
fn a_connection_to_an_http_1_0_upstream_is_not_used_again() {
    let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::start(move |_, _| Reply::raw(old));
    let proxy = Proxy::start(&document::with(all_to(&origin), "/workers", json!(1)));
    let mut client = Client::connect(proxy.address());
    for round in 1..=2 {
        let response = client.get("/");
        assert_eq!((response.version.as_str(), response.text()), ("HTTP/1.1", "ok"));
        assert_eq!(origin.connections(), round);
    }
}

#[test]
fn a_pooled_connection_is_used_again() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&document::with(all_to(&origin), "/workers", json!(1)));
    for _ in 0..5 {
        assert_eq!(proxy.get("/").text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_pooled_connection_that_the_origin_closed_costs_the_client_nothing() {
    let origin = Origin::saying("ok");
    let document = document::with(guarded(&origin, glass()), "/workers", json!(1));
    let proxy = Proxy::start(&document);
    for round in 1..=5 {
        assert_eq!(proxy.get("/guarded").text(), "ok");
        assert_eq!(origin.connections(), round);
        origin.hang_up();
    }
}

/// The close arrives with the request: no peek can see it.
#[test]
fn a_pooled_connection_that_dies_under_a_request_costs_the_client_nothing() {
    let origin = Origin::start(|request, nth| match (request.connection, nth) {
        (0, 1) => Reply::nothing().then_close(),
        _ => Reply::text(200, "ok"),
    });
    let document = document::with(guarded(&origin, glass()), "/workers", json!(1));
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/guarded").text(), "ok");
    assert_eq!(proxy.get("/guarded").text(), "ok");
    assert_eq!((origin.connections(), origin.count()), (2, 3));
}

#[test]
fn a_request_that_may_not_be_repeated_is_not_sent_twice() {
    let origin = Origin::start(|request, nth| match (request.connection, nth) {
        (0, 1) => Reply::nothing().then_close(),
        _ => Reply::text(200, "ok"),
    });
    let proxy = Proxy::start(&document::with(all_to(&origin), "/workers", json!(1)));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").text(), "ok");
    client.send(b"POST /pay HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\npay");
    assert_eq!(client.response().status, 502);
    pass(Duration::from_millis(50));
    assert_eq!(origin.count(), 2, "the payment was sent once");
}

#[test]
fn generic_errors_hide_what_the_origin_said() {
    let origin = Origin::start(|_, _| Reply::text(507, "stack trace"));
    let proxy = Proxy::start(&document::all_to_with(&origin, json!({ "genericErrors": true })));
    let hidden = proxy.get("/");
    assert_eq!(hidden.status, 500);
    assert!(hidden.text().contains("Internal Server Error."), "{hidden:?}");
    assert!(!hidden.text().contains("stack trace"), "{hidden:?}");
}
