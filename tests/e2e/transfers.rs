//! Large bodies, many at once: every byte in its place, and no more memory than is in flight.
//!
//! What is sent is a pattern of a length that no buffer divides, made and compared on the fly, so
//! that a byte lost, doubled or moved shows. `FUSEBOX_E2E_MIB` sets the size of each body of the
//! concurrent transfers; without it they are small enough for every run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::document::{all_to, with};
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::wait::{self, pass};

const MIB: usize = 1024 * 1024;

/// No multiple of a buffer's or a page's length.
const PERIOD: usize = 999_983;

/// What is read or written at once.
const PART: usize = 128 * 1024;

/// One period and a part more, so that every part lies in it in one piece.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let word = |nth: u64| (nth.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).to_le_bytes();
    let period: Vec<u8> = (0..).flat_map(word).take(PERIOD).collect();
    [&period[..], &period[..PART]].concat()
});

/// The pattern from `position` on, at most `most` bytes.
fn pattern(position: usize, most: usize) -> &'static [u8] {
    let start = position % PERIOD;
    &PATTERN[start..start + most.min(PART)]
}

fn send(stream: &mut TcpStream, length: usize) -> std::io::Result<()> {
    let mut sent = 0;
    while sent < length {
        let part = pattern(sent, length - sent);
        stream.write_all(part)?;
        sent += part.len();
    }
    Ok(())
}

/// Reads the pattern, of which `rest` was read already.
fn receive(stream: &mut TcpStream, rest: &[u8], length: usize) {
    assert_eq!(rest, pattern(0, rest.len()), "the first bytes");
    let (mut got, mut part) = (rest.len(), vec![0; PART]);
    while got < length {
        let read = stream.read(&mut part[..PART.min(length - got)]).expect("more of the body");
        assert!(read > 0, "it ends after {got} of {length} bytes");
        assert!(part[..read] == *pattern(got, read), "another byte behind {got}");
        got += read;
    }
}

/// Reads a head; returns it, and what came behind it.
fn read_head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut part) = (Vec::new(), vec![0; 4096]);
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Some((String::from_utf8(bytes).unwrap(), rest));
        }
        match stream.read(&mut part) {
            Ok(read @ 1..) => bytes.extend_from_slice(&part[..read]),
            _ => return None,
        }
    }
}

/// The length that a head tells.
fn length(head: &str) -> usize {
    let lower = head.to_ascii_lowercase();
    let line = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.map_or(0, |length| length.parse().unwrap())
}

/// An origin that reads a body, compares it, and answers with one as long; or, to a `GET`, with as
/// many bytes as the path says.
fn echoing() -> Origin {
    Origin::raw(|mut stream, _| {
        while let Some((head, rest)) = read_head(&mut stream) {
            let mut len = length(&head);
            receive(&mut stream, &rest, len);
            if let Some(path) = head.strip_prefix("GET /") {
                len = path.split(' ').next().unwrap().parse().unwrap();
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
            if stream.write_all(head.as_bytes()).and_then(|()| send(&mut stream, len)).is_err() {
                return;
            }
        }
    })
}

/// Sends `length` bytes and gets as many back.
fn transfer(address: SocketAddr, length: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(3 * wait::PATIENCE)).unwrap();
    let head = format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    send(&mut stream, length).expect("the body is taken");
    let (head, rest) = read_head(&mut stream).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    receive(&mut stream, &rest, length);
}

/// Runs `count` transfers at once, each of `length` bytes both ways, and holds the proxy to the
/// memory that these may have in flight.
#[track_caller]
fn at_once(count: usize, length: usize) {
    let origin = echoing();
    // More connect at once than the origin's queue takes: some are asked again after three seconds.
    let timeouts = json!({ "connect": "60s", "body": "60s", "response": "60s" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    transfer(proxy.address(), MIB);
    let before = proxy.memory();
    let mut most = 0;
    thread::scope(|scope| {
        let address = proxy.address();
        let running: Vec<_> =
            (0..count).map(|_| scope.spawn(move || transfer(address, length))).collect();
        while !running.iter().all(thread::ScopedJoinHandle::is_finished) {
            most = most.max(proxy.memory().saturating_sub(before));
            pass(Duration::from_millis(20));
        }
    });
    println!("{count} transfers of {} MiB both ways: {most} bytes more at most", length / MIB);
    // One large buffer each, a small one, what an exchange needs, and what the lists keep.
    let allowed = 4 * MIB + count * (PART + 40 * 1024);
    assert!(most <= allowed, "{most} bytes more, of {allowed} allowed");
}

/// How large each of the concurrent bodies is, `usual` unless this run says otherwise.
fn size(usual: usize) -> usize {
    let own = std::env::var("FUSEBOX_E2E_MIB").ok().and_then(|text| text.parse().ok());
    own.unwrap_or(usual) * MIB
}

#[test]
fn one_body_of_100_mib_arrives_whole_both_ways() {
    at_once(1, 100 * MIB);
}

#[test]
fn sixteen_bodies_at_once_arrive_whole_both_ways() {
    at_once(16, size(16));
}

#[test]
fn two_hundred_and_fifty_six_bodies_at_once_arrive_whole_both_ways() {
    at_once(256, size(2));
}

#[test]
fn slow_readers_hold_no_more_than_the_relay_buffers() {
    const READERS: usize = 200;
    const LENGTH: usize = 10 * MIB;
    let origin = echoing();
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    transfer(proxy.address(), MIB);
    let before = proxy.memory();
    let mut readers: Vec<_> = (0..READERS)
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.address()).unwrap();
            let request = format!("GET /{LENGTH} HTTP/1.1\r\nHost: test\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    pass(Duration::from_secs(2)); // every buffer on the way is full by now
    let each = proxy.memory().saturating_sub(before) / READERS;
    println!("{READERS} slow readers: {each} bytes each");
    // The large buffer of the relay, the small one that the head came in, and the state of the
    // exchange.
    assert!(each <= PART + 40 * 1024, "{each} bytes each");
    for stream in readers.iter_mut().step_by(20) {
        let (_, rest) = read_head(stream).expect("a head");
        receive(stream, &rest, LENGTH);
    }
}
