//! Responses before the last one, and clients that wait for them.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{self, Asked, Client};
use crate::document::{all_to, guarded, one_route, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{Gate, pass};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: X-Hop\r\n\
                     X-Hop: 1\r\nContent-Length: 3\r\n\r\n";

#[test]
fn an_interim_response_arrives_before_the_last_one_is_there() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin =
        Origin::start(move |_, _| Reply::raw(HINTS).then(Reply::text(200, "final").behind(&held)));
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        client.send(GET);
        let hints = client.response();
        assert_eq!(hints.status, 103);
        assert_eq!(hints.header("link"), Some("</a>; rel=preload"));
        for name in ["connection", "x-hop", "content-length", "date"] {
            assert_eq!(hints.header(name), None, "{name}");
        }
        gate.open();
        let last = client.response();
        assert_eq!((last.status, last.text()), (200, "final"));
    }
    assert_eq!(origin.connections(), 1, "the upstream's connection goes on");
}

#[test]
fn a_client_of_http_1_0_is_sent_the_last_one_alone() {
    let origin = Origin::start(|_, _| Reply::raw(HINTS).then(Reply::text(200, "final")));
    let proxy = Proxy::start(&all_to(&origin));
    let response = client::once(proxy.address(), "GET / HTTP/1.0\r\n\r\n");
    assert_eq!((response.status, response.text()), (200, "final"));
}

#[test]
fn eight_interim_responses_are_passed_on_and_a_ninth_is_502() {
    for (count, last) in [(8, 200), (9, 502)] {
        let origin = Origin::start(move |_, _| {
            Reply::raw("HTTP/1.1 102 Processing\r\n\r\n".repeat(count)).then(Reply::text(200, ""))
        });
        let proxy = Proxy::start(&all_to(&origin));
        let mut client = Client::connect(proxy.address());
        client.send(GET);
        for nth in 0..8 {
            assert_eq!(client.response().status, 102, "{nth} of {count}");
        }
        assert_eq!(client.response().status, last);
    }
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_502() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let origin = Origin::start(move |_, _| Reply::raw(switch));
    let proxy = Proxy::start(&all_to(&origin));
    for round in 1..=2 {
        assert_eq!(proxy.get("/").status, 502);
        assert_eq!(origin.connections(), round, "its connection is not used again");
    }
}

#[test]
fn an_upstream_that_dies_behind_an_interim_response_is_not_asked_again() {
    let origin = Origin::start(|request, nth| match (request.connection, nth) {
        (0, 1) => Reply::raw(HINTS).then_close(),
        _ => Reply::text(200, "ok"),
    });
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").text(), "ok");
    client.send(GET);
    assert_eq!((client.response().status, client.response().status), (103, 502));
    assert_eq!(origin.count(), 2);
}

const EXPECT: &[u8] =
    b"POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";

#[test]
fn who_expects_to_be_told_to_go_on_is_told_by_the_upstream() {
    let origin = Origin::start(|request, _| Reply::bytes(&request.body));
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(EXPECT);
    assert_eq!(client.response().status, 100);
    client.send(b"abc");
    let last = client.response();
    assert_eq!((last.status, last.text()), (200, "abc"));
    assert_eq!(origin.only().values("expect"), ["100-continue"]);
    assert_eq!(client.get("/").status, 200, "in step");
}

#[test]
fn who_does_not_wait_to_be_told_is_served_too() {
    let origin = Origin::start(|request, _| Reply::bytes(&request.body));
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(&[EXPECT, b"abc"].concat());
    let mut response = client.response();
    if response.status == 100 {
        response = client.response();
    }
    assert_eq!((response.status, response.text()), (200, "abc"));
}

/// An origin that answers heads and never reads a body.
fn deciding(answer: &'static str) -> Origin {
    Origin::raw(move |mut stream, _| {
        let (mut all, mut block) = (Vec::new(), [0; 1024]);
        while !all.ends_with(b"\r\n\r\n") {
            match stream.read(&mut block) {
                Ok(count) if count > 0 => all.extend_from_slice(&block[..count]),
                _ => return,
            }
        }
        drop(stream.write_all(answer.as_bytes()));
        drop(stream.read_to_end(&mut Vec::new()));
    })
}

#[test]
fn a_last_word_instead_of_go_on_arrives_and_the_body_is_no_request() {
    for (status, reason) in [(417, "Expectation Failed"), (401, "No"), (413, "No"), (200, "OK")] {
        let answer = format!("HTTP/1.1 {status} {reason}\r\nContent-Length: 2\r\n\r\nno").leak();
        let origin = deciding(answer);
        let proxy = Proxy::start(&all_to(&origin));
        let mut client = Client::connect(proxy.address());
        let smuggled = "GET /evil HTTP/1.1\r\nHost: test\r\n\r\n";
        let length = smuggled.len();
        client.send(
            format!(
                "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
            .as_bytes(),
        );
        let early = client.response();
        assert_eq!((early.status, early.text()), (status, "no"));
        assert!(early.lists("connection", "close"), "{early:?}");
        client.offer(smuggled.as_bytes());
        client.finish_sending();
        assert!(client.is_closed(), "a second answer");
        assert_eq!(origin.connections(), 1);
        assert_eq!(client::get(proxy.address(), "/").status, status, "a fresh connection serves");
        assert_eq!(origin.connections(), 2, "that of a half-sent request is not used again");
    }
}

/// Whoever is told no need not send its body, however long the telling takes (RFC 9110 §10.1.1).
#[test]
fn a_last_word_that_takes_its_time_is_not_cut_for_a_body_that_nobody_wants() {
    let origin = Origin::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 8\r\n\r\nhalf");
        pass(Duration::from_millis(900));
        let _ = stream.write_all(b"rest");
    });
    let timeouts = json!({ "body": "300ms", "response": "10s" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(EXPECT);
    assert_eq!(client.response().text(), "halfrest");
}

/// Hints are no leave to go on: until then it is the upstream that is waited for.
#[test]
fn an_upstream_that_hints_and_never_says_whether_to_go_on_is_504_too() {
    let origin = Origin::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(HINTS.as_bytes());
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let timeouts = json!({ "body": "300ms", "response": "1s" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(EXPECT);
    assert_eq!((client.response().status, client.response().status), (103, 504));
}

#[test]
fn our_own_last_word_arrives_and_the_body_is_no_request() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&one_route("/here", "POST", &origin.url("/"), json!({})));
    let mut client = Client::connect(proxy.address());
    client.send(EXPECT);
    assert_eq!(client.response().status, 404);
    client.finish_sending();
    assert!(client.is_closed());
    assert_eq!(origin.count(), 0);
}

#[test]
fn an_upstream_that_never_says_whether_to_go_on_is_504_and_a_failure() {
    let origin = Origin::raw(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let document = one_route(
        "/guarded",
        "POST",
        &origin.url("/"),
        json!({ "circuitBreaker": { "maxErrors": 1, "duration": "1m" } }),
    );
    let timeouts = json!({ "response": "300ms", "body": "100ms" });
    let proxy = Proxy::start(&with(document, "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(
        b"POST /guarded HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\
          Content-Length: 3\r\n\r\n",
    );
    assert_eq!(client.response().status, 504);
    assert_eq!(proxy.state("POST /guarded"), "open");
}

#[test]
fn who_was_told_to_go_on_and_does_not_is_408_and_blames_nobody() {
    let origin = Origin::saying("ok");
    let document = guarded(&origin, json!({ "maxErrors": 1, "duration": "1m" }));
    let timeouts = json!({ "body": "300ms", "response": "10s" });
    let proxy = Proxy::start(&with(document, "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(
        b"GET /guarded HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    );
    assert_eq!(client.response().status, 100);
    let told = Instant::now();
    assert_eq!(client.response().status, 408);
    assert!(told.elapsed() >= Duration::from_millis(290), "{:?}", told.elapsed());
    assert!(client.is_closed());
    assert_eq!(proxy.state("GET /guarded"), "closed");
}

#[test]
fn an_expectation_that_is_none_of_ours_is_417() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for expect in [
        "Expect: tea",
        "Expect: y 100-continue",
        "Expect: 100-continue, tea",
        "Expect: 100-continue\r\nExpect: 100-continue",
    ] {
        let mut client = Client::connect(proxy.address());
        let head =
            format!("POST / HTTP/1.1\r\nHost: test\r\n{expect}\r\nContent-Length: 3\r\n\r\n");
        client.send(format!("{head}abc").as_bytes());
        let refused = client.try_response(Asked::Other).map(|response| response.status);
        assert_eq!(refused, Ok(417), "{expect}");
        assert!(client.is_closed(), "{expect}");
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn an_expectation_in_http_1_0_or_before_nothing_stays_behind() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for request in [
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\r\n",
    ] {
        assert_eq!(client::once(proxy.address(), request).status, 200);
        assert_eq!(origin.seen().pop().unwrap().values("expect"), Vec::<&str>::new());
    }
}
