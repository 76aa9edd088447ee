//! What ends at this hop, and what a connection may be used for again: B35 to B39 and B45, as raw
//! bytes.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::client::{self, Client};
use crate::document::{all_to, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;

/// B36: with a body behind an upgrade it is not known in which protocol the next byte is.
#[test]
fn an_upgrade_that_has_a_body_is_400() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for framing in ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let head = "POST /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        let mut client = Client::connect(proxy.address());
        client.offer(format!("{head}{framing}").as_bytes());
        assert_eq!(client.statuses(), Ok(vec![400]), "{framing:?}");
    }
    assert_eq!(origin.count(), 0);
}

/// B37: nobody is asked for cleartext HTTP/2.
#[test]
fn an_upgrade_to_http2_is_not_passed_on() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for upgrade in [
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 3\r\n\
         Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAMAAABk\r\nContent-Length: 3",
    ] {
        let before = origin.count();
        let head = format!("POST /x HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n\r\nabc");
        assert_eq!(client::once(proxy.address(), &head).text(), "ok", "{upgrade}");
        let seen = &origin.seen()[before..];
        assert_eq!(seen.len(), 1, "{upgrade}");
        assert_eq!(seen[0].body, b"abc");
        for name in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(seen[0].values(name), Vec::<&str>::new(), "{name} of {upgrade}");
        }
    }
}

/// B38: an expectation is `100-continue`, once, or it is not met.
#[test]
fn an_expectation_that_is_not_plain_is_417_and_ends_the_connection() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for expect in [
        "Expect: y 100-continue",
        "Expect: 100-continue, y",
        "Expect: 100-continue\r\nExpect: 100-continue",
        "Expect: 200-ok",
        "Expect: 100-continue; x",
        "Expect:",
    ] {
        let mut client = Client::connect(proxy.address());
        let evil = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
        client.offer(
            format!("POST /x HTTP/1.1\r\nHost: a\r\n{expect}\r\nContent-Length: 31\r\n\r\n{evil}")
                .as_bytes(),
        );
        client.finish_sending();
        assert_eq!(client.statuses(), Ok(vec![417]), "{expect}");
    }
    assert_eq!(origin.count(), 0);
}

/// B38: a final answer before the body ends both connections, for neither knows what comes next.
#[test]
fn an_answer_before_the_body_ends_both_connections() {
    for status in [200, 417] {
        let asked_again = Arc::new(AtomicUsize::new(0));
        let again = Arc::clone(&asked_again);
        let origin = Origin::raw(move |mut stream, _| {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let answer = format!("HTTP/1.1 {status} Early\r\nContent-Length: 5\r\n\r\nearly");
            let _ = stream.write_all(answer.as_bytes());
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            let heads = rest.windows(4).filter(|four| four == b"\r\n\r\n").count();
            again.fetch_add(heads, Ordering::SeqCst);
        });
        let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
        let mut client = Client::connect(proxy.address());
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
        let early = client.response();
        assert_eq!((early.status, early.text()), (status, "early"));
        client.offer(b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n");
        client.finish_sending();
        assert_eq!(client.statuses(), Ok(vec![]), "an answer to a part of a body");
        assert_eq!(proxy.get("/next").text(), "early");
        assert_eq!(origin.connections(), 2);
        assert_eq!(asked_again.load(Ordering::SeqCst), 0);
    }
}

/// B39: what framing, routing and trust rest on cannot be named away.
#[test]
fn connection_cannot_name_what_others_rest_on() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(
        b"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\nX-Mine: 1\r\n\
          Transfer-Encoding: chunked\r\nX-Forwarded-For: 6.6.6.6\r\n\
          Connection: Host, X-Forwarded-For, X-Forwarded-Proto, Transfer-Encoding\r\n\
          Connection: Content-Length, Authorization, X-Mine\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let seen = origin.only();
    assert_eq!(seen.body, b"abc");
    for (name, count) in [
        ("host", 1),
        ("x-forwarded-for", 1),
        ("x-forwarded-proto", 1),
        ("transfer-encoding", 1),
        ("authorization", 1),
        ("x-mine", 0),
        ("connection", 0),
    ] {
        assert_eq!(seen.values(name).len(), count, "{name}: {}", seen.head);
    }
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
}

/// B45: a parked connection that dies under a request costs the client nothing where asking twice
/// is asking once, and is never asked twice where it is not.
#[test]
fn only_what_may_be_repeated_is_sent_again() {
    for (method, status, sent) in [("GET", 200, 2), ("PUT", 200, 2), ("POST", 502, 1)] {
        let origin = Origin::start(move |request, _| match request.target.as_str() {
            "/first" => Reply::text(200, "ok"),
            // On the parked connection: it ends without a word.
            _ if request.connection == 0 => Reply::nothing().then_close(),
            _ => Reply::text(200, "ok"),
        });
        let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
        assert_eq!(proxy.get("/first").status, 200);
        let request = format!("{method} /second HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client::once(proxy.address(), &request).status, status, "{method}");
        let seconds = origin.seen().iter().filter(|seen| seen.target == "/second").count();
        assert_eq!(seconds, sent, "{method}");
    }
}
