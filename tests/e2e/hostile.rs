//! Peers that do what nobody asked for, and who must not pay for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::client::{self, Asked, Client};
use crate::document::{all_to, guarded, with};
use crate::origin::{Origin, Reply};
use crate::ports;
use crate::proxy::Proxy;
use crate::wait::{self, Gate, pass};

#[test]
fn bytes_that_nobody_asked_for_never_answer_the_next_request() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    let origin = Origin::start(move |request, _| match request.target.as_str() {
        "/poison" => {
            Reply::text(200, "first").then(Reply::raw(poison).after(Duration::from_millis(20)))
        }
        target => Reply::text(200, target),
    });
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    assert_eq!(client::get(proxy.address(), "/poison").text(), "first");
    pass(Duration::from_millis(200)); // the surplus is in the parked socket by now
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client::get(proxy.address(), path).text(), path);
    }
}

#[test]
fn a_response_that_begins_with_empty_lines_is_502() {
    let origin = Origin::start(|_, _| {
        Reply::raw("\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").then_close()
    });
    let proxy = Proxy::start(&all_to(&origin));
    assert_eq!(proxy.get("/").status, 502);
}

#[test]
fn a_slow_but_steady_reader_gets_its_whole_download() {
    const LEN: usize = 12 * 1024 * 1024;
    let body = vec![b'x'; LEN];
    let origin = Origin::start(move |_, _| Reply::bytes(&body));
    let timeouts = json!({ "body": "400ms", "response": "400ms" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let (mut part, mut got) = (vec![0; 256 * 1024], 0);
    loop {
        match stream.read(&mut part).expect("cut") {
            0 => break,
            read => got += read,
        }
        pass(Duration::from_millis(25));
    }
    assert!(got > LEN, "only {got} bytes");
}

#[test]
fn a_reader_that_takes_nothing_is_cut_and_blames_nobody() {
    const LENGTH: usize = 256 * 1024 * 1024; // more than sockets take
    let origin = Origin::pouring(LENGTH);
    let document = guarded(&origin, json!({ "maxErrors": 1, "duration": "1m" }));
    // The upstream's time is the shorter one, and still longer than its thread may have to wait
    // for a processor while the sockets fill.
    let timeouts = json!({ "body": "4s", "response": "2s" });
    let proxy = Proxy::start(&with(document, "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    wait::until("the request to arrive", || origin.connections() == 1);
    let open = "fusebox_connections_open 0";
    wait::until("the connection to be cut", || proxy.ask("/metrics").text().contains(open));
    assert!(client.exactly(LENGTH).is_err(), "a cut download looks whole");
    assert_eq!(proxy.state("GET /guarded"), "closed");
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let origin = Origin::raw(|mut stream, _| {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head);
        let _ = stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    for _ in 0..20 {
        client.offer(&[b'x'; 1000]);
        pass(Duration::from_millis(5));
    }
    let early = client.try_response(Asked::Other).expect("the answer");
    assert_eq!((early.status, early.text()), (413, "big"));
}

#[test]
fn a_body_that_breaks_off_makes_no_complete_response_of_half_a_one() {
    let origin = Origin::raw(|mut stream, _| {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst half,");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1 })));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    pass(Duration::from_millis(100));
    client.offer(b"nonsense\r\n");
    assert!(client.try_response(Asked::Other).is_err(), "half a response, delivered as whole");
    assert_eq!(proxy.breaker("GET /guarded")["counts"]["success"], 0);
    assert_eq!(proxy.state("GET /guarded"), "closed");
}

#[test]
fn an_exchange_that_ends_during_a_drain_says_that_its_connection_does() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, _| Reply::text(200, "last").behind(&held));
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(1);
    proxy.signal(crate::kernel::Signal::Terminate);
    wait::until("the drain", || proxy.lines().text().contains("draining"));
    wait::until("no new connections", || TcpStream::connect(proxy.address()).is_err());
    gate.open();
    let last = client.response();
    assert!(last.lists("connection", "close"), "{last:?}");
    assert_eq!(proxy.end().code(), Some(0));
}

#[test]
fn an_address_that_was_removed_is_free_again_on_both_drivers() {
    for driver in ["auto", "epoll"] {
        let origin = Origin::saying("ok");
        let one = ports::hold();
        let document = |listen: serde_json::Value| {
            let document = with(all_to(&origin), "/io", json!({ "driver": driver }));
            with(document, "/listen", listen)
        };
        let main = ports::hold();
        let proxy = Proxy::start(&document(json!([main.to_string()])));
        for _ in 0..3 {
            proxy.write(&crate::proxy::complete(document(json!([
                main.to_string(),
                one.to_string()
            ]))));
            assert_eq!(proxy.post("/reload").status, 200, "{driver}");
            assert_eq!(client::get(one, "/").text(), "ok");
            proxy.write(&crate::proxy::complete(document(json!([main.to_string()]))));
            assert_eq!(proxy.post("/reload").status, 200, "{driver}");
            wait::until("the address to be free", || TcpStream::connect(one).is_err());
        }
    }
}
