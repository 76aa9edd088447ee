//! Who is waited for, how long, and who is blamed.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::SockRef;

use crate::client::Client;
use crate::document::{all_to, guarded, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, Gate, pass};

const NAME: &str = "GET /guarded";

#[test]
fn an_upload_slower_than_the_upstreams_patience_is_nobodys_timeout() {
    let origin = Origin::saying("got it");
    let timeouts = json!({ "response": "300ms" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\n");
    for byte in b"slowbody" {
        pass(Duration::from_millis(100));
        client.send(&[*byte]);
    }
    assert_eq!(client.response().text(), "got it");
    assert_eq!(origin.only().body, b"slowbody");
}

/// It answers as it is sent, so while the client is slow there is nothing for it to say.
#[test]
fn an_upstream_that_answers_in_the_middle_of_an_upload_is_not_silent_while_the_client_is() {
    let origin = Origin::raw(|mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        let mut heard = Vec::new();
        let mut block = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut block) {
            heard.extend_from_slice(&block[..count]);
            if heard.ends_with(b"end") {
                let _ = stream.write_all(b"rest");
            }
        }
    });
    let document = guarded(&origin, json!({ "maxFailures": 1, "timeout": "15s" }));
    let timeouts = json!({ "response": "300ms", "body": "10s" });
    let proxy = Proxy::start(&with(document, "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nbegin,");
    pass(Duration::from_millis(900));
    client.send(b"end");
    assert_eq!(client.response().text(), "halfrest");
    assert_eq!(proxy.breaker(NAME)["counts"]["success"], 1);
}

/// Takes `count` bytes, at most 64 KiB of them within `pause`.
fn take(stream: &mut TcpStream, count: usize, pause: Duration) -> io::Result<()> {
    let mut block = [0; 64 * 1024];
    let mut left = count;
    while left > 0 {
        let part = left.min(block.len());
        stream.read_exact(&mut block[..part])?;
        left -= part;
        pass(pause);
    }
    Ok(())
}

/// An origin that takes the first `count` bytes of a body slowly and goes on as `then` says; what
/// it has not read yet waits at the proxy.
fn slow(
    count: usize,
    then: impl Fn(&mut TcpStream, io::Result<()>) + Send + Sync + 'static,
) -> Origin {
    Origin::raw(move |mut stream, _| {
        drop(SockRef::from(&stream).set_recv_buffer_size(128 * 1024));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.extend(byte);
        }
        let taken = take(&mut stream, count, Duration::from_millis(100));
        then(&mut stream, taken);
    })
}

/// The kernel takes megabytes from the proxy at once: here that is the work of seconds, in which
/// nothing but what is left of them tells that the upstream is there.
#[test]
fn an_upstream_that_takes_an_upload_slowly_is_not_silent() {
    const BODY: usize = 2 * 1024 * 1024;
    let origin = slow(BODY, |stream, taken| {
        let said = if taken.is_ok() { "all of it" } else { "cut short" };
        drop(write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{said}"));
    });
    let document = guarded(&origin, json!({ "maxFailures": 1, "timeout": "1 minute" }));
    let proxy = Proxy::start(&with(document, "/http/timeouts", json!({ "response": "1s" })));
    let mut client = Client::connect(proxy.address());
    let head = format!("GET /guarded HTTP/1.1\r\nHost: test\r\nContent-Length: {BODY}\r\n\r\n");
    client.send(&[head.as_bytes(), &vec![b'x'; BODY]].concat());
    assert_eq!(client.response().text(), "all of it");
    assert_eq!(proxy.breaker(NAME)["counts"]["success"], 1);
}

#[test]
fn an_upstream_that_takes_no_more_of_an_upload_is_cut_in_time() {
    // More than the kernel takes for it.
    const SENT: usize = 8 * 1024 * 1024;
    for taken in [0, 512 * 1024] {
        let (gate, stopped) = (Arc::new(Gate::default()), Arc::new(Mutex::new(Instant::now())));
        let (held, since) = (Arc::clone(&gate), Arc::clone(&stopped));
        let origin = slow(taken, move |_, _| {
            *since.lock().unwrap() = Instant::now();
            held.enter();
        });
        let document = guarded(&origin, json!({ "maxFailures": 1, "timeout": "1 minute" }));
        let proxy = Proxy::start(&with(document, "/http/timeouts", json!({ "response": "1s" })));
        let mut client = Client::connect(proxy.address());
        let length = 2 * SENT;
        let head = format!("GET /guarded HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n");
        client.send(&[head.as_bytes(), b"\r\n", &vec![b'x'; SENT]].concat());
        assert_eq!(client.response().status, 504);
        let silent = stopped.lock().unwrap().elapsed();
        let span = Duration::from_millis(800)..Duration::from_secs(3);
        assert!(span.contains(&silent), "{silent:?} after the last of {taken} bytes");
        assert_eq!(proxy.state(NAME), "open");
        gate.open();
    }
}

#[test]
fn a_client_that_stops_sending_is_408_and_blames_nobody() {
    let origin = Origin::saying("never");
    let document = guarded(&origin, json!({ "maxFailures": 1, "timeout": "5s" }));
    let timeouts = json!({ "body": "300ms", "response": "300ms" });
    let proxy = Proxy::start(&with(document, "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!(client.response().status, 408);
    assert!(client.is_closed());
    assert_eq!(proxy.state(NAME), "closed");
}

#[test]
fn a_breakers_timeout_that_runs_out_while_the_client_sends_blames_nobody() {
    let origin = Origin::saying("never");
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "timeout": "300ms" })));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!(client.response().status, 408);
    assert_eq!(proxy.state(NAME), "closed");
}

#[test]
fn a_breakers_timeout_that_runs_out_while_the_client_reads_blames_nobody() {
    let origin = Origin::pouring(256 * 1024 * 1024); // more than sockets take
    // Long enough for the sockets to fill on a busy machine: from then on it is the client that is
    // waited for.
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "timeout": "3s" })));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    wait::until("the request to arrive", || origin.connections() == 1);
    pass(Duration::from_millis(3_500)); // beyond the timeout
    while client.exactly(1024 * 1024).is_ok() {}
    drop(client);
    assert_eq!(proxy.state(NAME), "closed");
}

#[test]
fn rest_begins_where_the_exchange_ended() {
    let origin = Origin::start(|_, _| Reply::text(200, "late").after(Duration::from_millis(500)));
    let timeouts = json!({ "idle": "400ms" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").text(), "late");
    assert!(client.is_silent_for(Duration::from_millis(200)), "closed before its time");
    assert_eq!(client.get("/").text(), "late");
    assert!(client.is_closed(), "at rest for longer than it may");
}

#[test]
fn a_connection_that_carried_a_long_upload_is_used_again() {
    let origin = Origin::saying("got it");
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    let mut client = Client::connect(proxy.address());
    let body = vec![b'x'; 300_000];
    for _ in 0..3 {
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n");
        client.send(&body);
        assert_eq!(client.response().text(), "got it");
    }
    assert_eq!((origin.count(), origin.connections()), (3, 1));
}
