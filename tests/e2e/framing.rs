//! Requests that two parties could read differently are refused, closed, and never forwarded.

use serde_json::json;

use crate::client::{self, Asked, Client};
use crate::document::{self, all_to, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;

/// The only trace of a smuggled request that could reach the origin.
const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: test\r\n\r\n";

/// Asserts for every row, whole and byte by byte: one answer with one of `statuses`, then a close;
/// the origin hears nothing; the next client is served. All rows are tried before the first is
/// blamed.
#[track_caller]
fn never_forwarded(rows: &[&[u8]], statuses: &[u16]) {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut findings = Vec::new();
    for row in rows {
        let bytes: Vec<&[u8]> = row.chunks(1).collect();
        for (how, parts) in [("whole", vec![*row]), ("bytewise", bytes)] {
            let before = origin.count();
            let mut client = Client::connect(proxy.address());
            parts.iter().for_each(|part| client.offer(part));
            client.finish_sending();
            let answered = client.try_response(Asked::Other).map(|response| response.status);
            let closed = client.is_closed();
            let forwarded = origin.count() > before;
            let refused = answered.as_ref().is_ok_and(|status| statuses.contains(status));
            if !refused || !closed || forwarded {
                let row = String::from_utf8_lossy(row);
                findings.push(format!(
                    "{row:?} {how}: {answered:?}, closed: {closed}, forwarded: {forwarded}"
                ));
            }
        }
        assert_eq!(proxy.get("/clean").text(), "ok", "the next client");
    }
    assert!(findings.is_empty(), "expected {statuses:?}:\n{}", findings.join("\n"));
}

#[test]
fn a_head_that_is_not_one_is_400() {
    never_forwarded(
        &[
            b"GET / HTTP/1.1\nHost: test\n\n",
            b"GET / HTTP/1.1\r\nHost: test\n\r\n",
            b"GET / HTTP/1.1\r\nHost : test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX-Fold: a\r\n b\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX-Nul: a\0b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX-Return: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\n: empty name\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nF(o: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nF\x85o: x\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: test\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET /\x01 HTTP/1.1\r\nHost: test\r\n\r\n",
            b"G@T / HTTP/1.1\r\nHost: test\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ],
        &[400],
    );
}

#[test]
fn a_request_without_exactly_one_valid_host_is_400() {
    never_forwarded(
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
            b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\n\r\n",
        ],
        &[400],
    );
}

/// A `POST` with these framing headers; both readings of its body are there.
fn post(version: &str, framing: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/{version}\r\nHost: test\r\n{framing}\r\n\r\n{body}").into_bytes()
}

#[test]
fn a_length_that_two_readers_could_see_differently_is_400() {
    let by_length = [
        "Content-Length: 0\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3, 3",
        "Content-Length: ",
        "Content-Length: +3",
        "Content-Length: -0",
        "Content-Length: 0x3",
        "Content-Length: 1_0",
        "Content-Length: 1 0",
        "Content-Length: 3;",
        "Content-Length: \x0b3",
        "Content-Length: 18446744073709551615",
        "Content-Length: 18446744073709551619",
        "Content-Length: 99999999999999999999",
        "Content-Length : 3",
        "Transfer-Encoding:\r\nContent-Length: 3",
        "Transfer_Encoding: chunked\r\nContent-Length: 3",
    ];
    let by_chunks = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "TRANSFER-ENCODING: Chunked\r\ncontent-length: 3",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \x0bchunked",
    ];
    let mut rows: Vec<_> = by_length.iter().map(|framing| post("1.1", framing, "abc")).collect();
    rows.extend(by_chunks.iter().map(|framing| post("1.1", framing, "0\r\n\r\n")));
    rows.push(post("1.0", "Transfer-Encoding: chunked", "0\r\n\r\n"));
    never_forwarded(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), &[400]);
}

#[test]
fn a_transfer_coding_we_do_not_know_is_501() {
    let gzip = post("1.1", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n");
    let unknown = post("1.1", "Transfer-Encoding: xchunked", "0\r\n\r\n");
    never_forwarded(&[&gzip, &unknown], &[501]);
}

#[test]
fn a_version_we_do_not_speak_is_505() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for line in ["GET / HTTP/2.0", "GET / HTTP/3.7", "PRI * HTTP/2.0"] {
        let refused = client::once(proxy.address(), &format!("{line}\r\nHost: test\r\n\r\n"));
        assert_eq!(refused.status, 505, "{line}");
    }
    assert_eq!(origin.count(), 0);
}

/// Which of the two a client sees may depend on how much of the line had arrived.
#[test]
fn a_first_line_without_a_version_of_ours_is_400_or_505() {
    never_forwarded(
        &[
            b"GET /a b HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET / HTTP/1.\r\nHost: test\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: test\r\n\r\n",
            b"GET / HTTP/3.7\r\nHost: test\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/1.32\r\nHost: test\r\n\r\n",
            b"GET / http/1.1\r\nHost: test\r\n\r\n",
            b"GET / \r\n\r\n",
            b"GET /\r\n\r\n",
        ],
        &[400, 505],
    );
}

/// A body may already be on its way when its chunks turn out to be junk: then the client gets 400
/// or a cut, and what stood after the junk is never read as a request.
#[test]
fn a_malformed_chunk_ends_the_connection_and_hides_no_second_request() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut findings = Vec::new();
    for junk in [
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3xyz\r\nabc\r\n0\r\n\r\n",
        "-0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3;a\n\r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        "0\r\nXX",
        "INVALID\r\n",
    ] {
        let head = "POST /chunks HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = Client::connect(proxy.address());
        client.offer(format!("{head}{junk}{EVIL}").as_bytes());
        client.finish_sending();
        let answered = client.try_response(Asked::Other).map(|response| response.status);
        let closed = client.is_closed();
        let seen = origin.seen();
        let whole = |target: &str| seen.iter().any(|request| request.target == target);
        let (smuggled, forwarded) = (whole("/evil"), whole("/chunks"));
        if answered.as_ref().is_ok_and(|status| *status != 400) || !closed || smuggled || forwarded
        {
            findings.push(format!(
                "{junk:?}: {answered:?}, closed: {closed}, smuggled: {smuggled}, whole: {forwarded}"
            ));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert_eq!(proxy.get("/clean").text(), "ok");
}

#[test]
fn a_body_that_we_answer_ourselves_is_never_read_as_a_request() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let breaker = json!({ "circuitBreaker": { "maxFailures": 1 } });
    let proxy = Proxy::start(&document::one_route("/a", "ALL", &origin.url("/"), breaker));
    assert_eq!(proxy.get("/a").status, 500);
    for (path, status) in [("/a", 503), ("/nowhere", 404)] {
        let length = EVIL.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        let mut client = Client::connect(proxy.address());
        client.offer(format!("{head}{EVIL}").as_bytes());
        assert_eq!(client.response().status, status);
        client.offer(b"GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n");
        match client.try_response(Asked::Other) {
            Ok(next) => assert_eq!(next.status, 404, "in step"),
            Err(_closed) => assert!(client.is_closed()),
        }
        client.finish_sending();
        assert!(client.is_closed(), "a third answer");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn up_to_two_empty_lines_before_a_request_are_forgiven() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn leading_zeros_of_a_length_are_not_forwarded() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0003\r\n\r\nabc");
    assert_eq!(client.response().status, 200);
    let seen = origin.only();
    assert_eq!(
        (seen.values("content-length"), seen.body.as_slice()),
        (vec!["3"], b"abc".as_slice())
    );
}

#[test]
fn bytes_above_ascii_in_a_value_pass_untouched() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Name: Jürgen\r\n\r\n".as_bytes());
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.only().values("x-name"), ["Jürgen"]);
}

/// What a client asked for before says nothing of what it sent now.
#[test]
fn a_refusal_has_its_body_though_the_request_before_was_for_a_head_alone() {
    let origin = Origin::saying("ok");
    let proxy =
        Proxy::start(&with(all_to(&origin), "/http/timeouts", json!({ "header": "300ms" })));
    for (next, status) in [("nonsense\r\n\r\n", 400), ("GET / HT", 408)] {
        let mut client = Client::connect(proxy.address());
        client.send(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.try_response(Asked::Head).map(|head| head.status), Ok(200));
        client.send(next.as_bytes());
        let refused = client.response();
        assert_eq!(refused.status, status);
        assert!(!refused.body.is_empty(), "{refused:?}");
    }
}
