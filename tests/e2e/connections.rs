//! Keep-alive, pipelining, and when a client's connection ends.

use crate::client::Client;
use crate::document::all_to;
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;

fn echoing() -> Origin {
    Origin::start(|request, _| Reply::text(200, &request.target))
}

#[test]
fn one_connection_serves_many_requests() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    for nth in 0..100 {
        assert_eq!(client.get(&format!("/{nth}")).text(), format!("/{nth}"));
    }
    assert_eq!(origin.connections(), 1, "one worker, one pooled connection");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    for _ in 0..10 {
        client.send([request("/a"), request("/b"), request("/c")].concat().as_bytes());
        for path in ["/a", "/b", "/c"] {
            assert_eq!(client.response().text(), path);
        }
    }
}

#[test]
fn a_pipelined_request_behind_a_body_is_not_part_of_it() {
    let origin = Origin::start(|request, _| {
        Reply::text(200, &format!("{} {}", request.target, request.body.len()))
    });
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(
        b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc\
          POST /b HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
          POST /c HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n\
          GET /d HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    for expected in ["/a 3", "/b 2", "/c 0", "/d 0"] {
        assert_eq!(client.response().text(), expected);
    }
}

#[test]
fn garbage_behind_a_good_request_does_not_spoil_its_answer() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.offer(b"GET /good HTTP/1.1\r\nHost: test\r\n\r\nINVALID\r\n\r\n");
    assert_eq!(client.response().text(), "/good");
    assert_eq!(client.response().status, 400);
    assert!(client.is_closed());
    assert_eq!(origin.count(), 1);
}

#[test]
fn connection_close_is_honoured() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let last = client.response();
    assert_eq!(last.text(), "/last");
    assert!(last.lists("connection", "close"), "{last:?}");
    assert!(client.is_closed());
    assert_eq!(proxy.get("/next").text(), "/next");
    assert_eq!(origin.seen()[0].values("connection"), Vec::<&str>::new(), "it is the client's");
}

#[test]
fn an_http_1_0_client_is_served_and_its_connection_closed() {
    let origin = Origin::start(|_, nth| match nth {
        0 => Reply::text(200, "length"),
        _ => Reply::chunks(b"chunks", 2),
    });
    let proxy = Proxy::start(&all_to(&origin));
    for expected in ["length", "chunks"] {
        let mut client = Client::connect(proxy.address());
        client.send(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, expected));
        assert!(response.header("transfer-encoding").is_none(), "HTTP/1.0 knows no chunks");
        assert!(client.is_closed());
    }
    assert!(origin.seen().iter().all(|request| request.head.contains(" HTTP/1.1\r\n")));
}

#[test]
fn an_http_1_0_client_may_ask_for_keep_alive_and_is_never_left_waiting() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /a HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "/a");
    if response.lists("connection", "keep-alive") {
        client.send(b"GET /b HTTP/1.0\r\nHost: test\r\n\r\n");
        assert_eq!(client.response().text(), "/b");
    }
    assert!(client.is_closed());
}

#[test]
fn an_http_1_0_body_without_a_length_is_no_body() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.offer(b"POST /a HTTP/1.0\r\nHost: test\r\n\r\nGET /evil HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().text(), "/a");
    assert!(client.is_closed());
    assert!(origin.only().body.is_empty());
}

#[test]
fn a_client_that_finishes_sending_still_gets_its_answer() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
    client.finish_sending();
    assert_eq!(client.response().text(), "/a");
    assert!(client.is_closed());
}

#[test]
fn many_connections_are_served_at_once() {
    let origin = echoing();
    let proxy = Proxy::start(&all_to(&origin));
    let mut clients: Vec<_> = (0..500).map(|_| Client::connect(proxy.address())).collect();
    for (nth, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{nth} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
    }
    for (nth, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{nth}"));
    }
}
