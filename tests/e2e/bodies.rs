//! Bodies cross both ways byte for byte, in whichever framing.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::document::{all_to, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;

const MIB: usize = 1024 * 1024;

/// A body in which every part differs from every other.
fn body(length: usize) -> Vec<u8> {
    (0_u64..)
        .flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())
        .take(length)
        .collect()
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// An origin that answers with the checksum of what it got.
fn summing() -> Origin {
    Origin::start(|request, _| Reply::text(200, &checksum(&request.body).to_string()))
}

#[test]
fn a_request_body_with_a_length_arrives_whole() {
    let origin = summing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    for length in [1, 1000, 16 * 1024 - 1, 64 * 1024, MIB] {
        let body = body(length);
        let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        client.send(&[head.as_bytes(), &body].concat());
        assert_eq!(client.response().text(), checksum(&body).to_string(), "{length} bytes");
        assert_eq!(origin.seen().pop().unwrap().values("content-length"), [length.to_string()]);
    }
}

#[test]
fn a_chunked_request_body_arrives_whole() {
    let origin = summing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    for (length, size) in [(0, 1), (1000, 1), (16 * 1024, 4095), (MIB, 10_000), (MIB, MIB)] {
        let body = body(length);
        let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(&[head.as_bytes(), &chunked(&body, size)].concat());
        assert_eq!(client.response().text(), checksum(&body).to_string(), "{length} by {size}");
        let seen = origin.seen().pop().unwrap();
        assert_eq!(seen.values("transfer-encoding"), ["chunked"]);
        assert!(seen.values("content-length").is_empty());
    }
}

#[test]
fn a_request_body_that_arrives_byte_by_byte_arrives_whole() {
    let origin = summing();
    let proxy = Proxy::start(&all_to(&origin));
    let (body, mut client) = (body(300), Client::connect(proxy.address()));
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for byte in [head.as_bytes(), &chunked(&body, 7)].concat() {
        client.send(&[byte]);
    }
    assert_eq!(client.response().text(), checksum(&body).to_string());
}

#[test]
fn a_response_body_with_a_length_arrives_whole() {
    let origin = Origin::start(|request, _| {
        Reply::bytes(&body(request.target.trim_start_matches('/').parse().unwrap()))
    });
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    for length in [0, 1, 1000, 16 * 1024 + 1, 64 * 1024, MIB] {
        let response = client.get(&format!("/{length}"));
        assert_eq!(response.header("content-length"), Some(length.to_string().as_str()));
        assert_eq!(checksum(&response.body), checksum(&body(length)), "{length} bytes");
    }
}

#[test]
fn a_chunked_response_body_arrives_whole() {
    let origin = Origin::start(|request, _| {
        let mut words = request.target.trim_start_matches('/').split('/');
        let mut number = || words.next().unwrap().parse().unwrap();
        Reply::chunks(&body(number()), number())
    });
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    for (length, size) in [(0, 1), (1000, 1), (16 * 1024, 4095), (MIB, 10_000), (MIB, MIB)] {
        let response = client.get(&format!("/{length}/{size}"));
        assert!(response.lists("transfer-encoding", "chunked"), "{response:?}");
        assert_eq!(checksum(&response.body), checksum(&body(length)), "{length} by {size}");
    }
}

#[test]
fn the_first_part_of_a_response_arrives_before_its_end_is_known() {
    let gate = std::sync::Arc::new(crate::wait::Gate::default());
    let held = std::sync::Arc::clone(&gate);
    let origin = Origin::start(move |_, _| {
        let end = Reply::raw("5\r\n last\r\n0\r\n\r\n").behind(&held);
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").then(end)
    });
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut early = Vec::new();
    while !early.ends_with(b"first") {
        early.extend(client.exactly(1).expect("the first part, while the origin holds the rest"));
    }
    gate.open();
    let mut late = Vec::new();
    while !late.ends_with(b"0\r\n\r\n") {
        late.extend(client.exactly(1).expect("the rest"));
    }
}

#[test]
fn a_large_upload_and_a_slow_reader_meet_without_loss() {
    let origin = Origin::start(|request, _| Reply::bytes(&request.body));
    let proxy = Proxy::start(&all_to(&origin));
    let body = body(8 * MIB);
    let mut client = Client::connect(proxy.address());
    let head = format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(&[head.as_bytes(), &body].concat());
    crate::wait::pass(Duration::from_millis(100)); // buffers fill up on the way back
    assert_eq!(checksum(&client.response().body), checksum(&body));
}

#[test]
fn a_get_with_a_body_is_forwarded_with_it() {
    let origin = summing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().text(), checksum(b"abc").to_string());
    assert_eq!(client.get("/").text(), checksum(b"").to_string(), "in step");
}

#[test]
fn a_204_and_a_304_have_no_body_and_the_connection_goes_on() {
    let origin = Origin::start(|_, nth| match nth {
        0 => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        1 => Reply::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
        _ => Reply::text(200, "next"),
    });
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").status, 204);
    assert_eq!(client.get("/").status, 304);
    assert_eq!(client.get("/").text(), "next");
}
