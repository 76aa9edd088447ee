//! Trailers cross where both sides speak in chunks, but for those that would change what was said
//! in the head; chunk extensions never do.

use std::io::{Read, Write};

use crate::client::{Asked, Broken, Client};
use crate::document::all_to;
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;

/// Answers every request with its bytes, from its chunks on.
fn echoing() -> Origin {
    Origin::raw(|mut stream, _| {
        let (mut all, mut block) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut block) {
            all.extend_from_slice(&block[..count]);
            let head = all.windows(4).position(|w| w == b"\r\n\r\n").map_or(all.len(), |at| at + 4);
            let body = &all[head..];
            if body.ends_with(b"\r\n\r\n") {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                drop(stream.write_all(&[head.as_bytes(), body].concat()));
                all.clear();
            }
        }
    })
}

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";

const TRAILERS: &str = "X-Sum: 900150983cd24fb0\r\nContent-Length: 5\r\nHost: evil\r\n\
                        Authorization: Basic x\r\nTransfer-Encoding: gzip\r\nSet-Cookie: a=b\r\n\
                        X-Forwarded-For: 6.6.6.6\r\nServer-Timing: db;dur=53\r\n\r\n";

const KEPT: &str = "X-Sum: 900150983cd24fb0\r\nServer-Timing: db;dur=53\r\n\r\n";

#[test]
fn a_requests_trailers_arrive_but_for_those_that_belong_in_a_head() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let body = format!("3;secret=1\r\nabc\r\n0;last\r\n{TRAILERS}");
    let whole = format!("{POST}{body}");
    for size in [whole.len(), 1, 7, 40] {
        let mut client = Client::connect(proxy.address());
        whole.as_bytes().chunks(size).for_each(|part| client.send(part));
        let echoed = client.try_response(Asked::Other).map(|r| r.text().to_owned());
        assert_eq!(echoed, Ok(format!("3\r\nabc\r\n0\r\n{KEPT}")), "by {size}");
    }
}

/// What the client is sent behind the head.
fn downloaded(proxy: &Proxy, request: &str) -> (String, String) {
    let mut client = Client::connect(proxy.address());
    client.send(request.as_bytes());
    let mut all = Vec::new();
    while let Ok(byte) = client.exactly(1) {
        all.extend(byte);
    }
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_responses_trailers_arrive_but_for_those_that_belong_in_a_head() {
    for size in [4096, 1, 7] {
        let whole = format!("{CHUNKED}3;secret=1\r\nabc\r\n0;last\r\n{TRAILERS}");
        let origin = Origin::start(move |_, _| {
            let pause = std::time::Duration::from_millis(u64::from(size < 4096));
            let parts = whole.as_bytes().chunks(size);
            parts.map(|part| Reply::raw(part).after(pause)).fold(Reply::nothing(), Reply::then)
        });
        let proxy = Proxy::start(&all_to(&origin));
        let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        let (head, body) = downloaded(&proxy, request);
        assert!(head.contains("\r\nTrailer: X-Sum\r\n"), "{head}");
        assert_eq!(body, format!("3\r\nabc\r\n0\r\n{KEPT}"), "by {size}");
    }
}

#[test]
fn a_client_of_http_1_0_gets_the_payload_alone() {
    let origin = Origin::start(|_, _| Reply::raw(format!("{CHUNKED}3\r\nabc\r\n0\r\n{TRAILERS}")));
    let proxy = Proxy::start(&all_to(&origin));
    let (head, body) = downloaded(&proxy, "GET / HTTP/1.0\r\n\r\n");
    assert!(!head.to_lowercase().contains("trailer"), "{head}");
    assert_eq!(body, "abc");
    let (head, _) = downloaded(&proxy, "HEAD / HTTP/1.0\r\n\r\n");
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
}

#[test]
fn te_says_that_the_client_takes_trailers_and_nothing_else() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    for (te, passed) in
        [("TE: gzip, trailers\r\n", ["trailers"].as_slice()), ("TE: gzip\r\n", &[]), ("", &[])]
    {
        client
            .send(format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: te\r\n{te}\r\n").as_bytes());
        assert_eq!(client.response().status, 200);
        let seen = origin.seen().pop().unwrap();
        assert_eq!(seen.values("te"), passed);
        let connection: &[&str] = if passed.is_empty() { &[] } else { &["te"] };
        assert_eq!(seen.values("connection"), connection);
    }
}

/// Trailer sections over a limit, or with a line that is none.
fn refused() -> Vec<String> {
    let long = format!("X: {}\r\n\r\n", "a".repeat(4096));
    let many = format!("{}\r\n", "X: y\r\n".repeat(33));
    [&long, &many, "no trailer\r\n\r\n", "X : y\r\n\r\n", "X: a\r\n b\r\n\r\n", "X: \0\r\n\r\n"]
        .map(|section| format!("3\r\nabc\r\n0\r\n{section}"))
        .into()
}

#[test]
fn a_request_with_trailers_beyond_measure_is_400_and_closed() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for body in refused() {
        let mut client = Client::connect(proxy.address());
        client.offer(format!("{POST}{body}GET /evil HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        let answered = client.try_response(Asked::Other).map(|response| response.status);
        assert_eq!(answered, Ok(400), "{body:?}");
        assert!(client.is_closed(), "{body:?}");
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_response_with_trailers_beyond_measure_is_never_delivered_as_whole() {
    for body in refused() {
        let said = format!("{CHUNKED}{body}");
        let origin = Origin::start(move |_, _| Reply::raw(&said));
        let proxy = Proxy::start(&all_to(&origin));
        let mut client = Client::connect(proxy.address());
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        match client.try_response(Asked::Other) {
            Ok(response) => assert_eq!(response.status, 502, "{body:?}"),
            Err(broken) => assert!(!matches!(broken, Broken::Silence(_)), "{body:?}: {broken:?}"),
        }
        assert_eq!(proxy.get("/").status, 502, "its connection is not used again");
        assert_eq!(origin.connections(), 2);
    }
}
