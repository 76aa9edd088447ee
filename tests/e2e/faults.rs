//! The fault matrix of clients and upstreams on loopback: which test stands for which row.
//!
//! - F1, upstream refuses: 502, failure.
//!   `failures::a_refused_connection_is_502_and_a_failure`
//! - F2, connections to it are not taken: 504 in `connect`.
//!   here: `an_upstream_that_takes_no_connection…`; `links::a_host_that_nothing_comes_back_from…`
//! - F3, it is unreachable, by a route or by the word of a router: 502 at once; or late, when
//!   nobody is found where it should be.
//!   here: `an_address_that_no_route_leads_to…`; `links::a_route_that_refuses…`,
//!   `links::a_host_of_which_a_router…`, `links::a_host_that_is_not_there…`
//! - F4, accepts, then silence: 504, failure.
//!   `failures::a_silent_origin_is_504…`
//! - F5, reset before, in and behind the head: 502, 502, cut; failure.
//!   `failures::a_reset_…`; here: `no_response_that_was_cut…`
//! - F6, end in the body; end on reuse: cut; repeated unseen.
//!   `failures::a_body_shorter…`, `…_costs_the_client_nothing`
//! - F7, half-close behind the response, and before the request's end: normal; answered early.
//!   here: `an_upstream_that_stops_sending…`
//! - F8, one byte at a time: in order, no timeout.
//!   here: `a_response_that_comes_byte_by_byte…`
//! - F9, lies about length, bad chunks, two responses: 502 or cut, never reused.
//!   `failures::a_response_that_is_not…`, `…bytes_after_a_response…`
//! - F10, slow, but never silent: no timeout.
//!   here: `a_response_slower_than_its_timeout…`
//! - F11, packets are lost both ways, some or all of a sudden: it takes time, then time runs out.
//!   `links::a_lossy_link…`, `links::a_link_that_dies…`
//! - F12, stops as a whole for a while: opens, heals.
//!   here: `an_upstream_that_stops_and_goes_on…`
//! - F15, no port is left to connect from: 503, and no failure.
//!   `links::running_out_of_ports…`
//! - F17, client leaves at any point: nobody's failure, nothing left over.
//!   here: `a_client_may_leave_at_any_point…`; `abort`
//! - F18, slow head, body, reader: 408, 408, cut.
//!   `limits::a_head_that_trickles…`, `limits::a_body_without…`, `hostile::a_reader_that…`
//! - F19, ten thousand at rest, two thousand slow: their memory, others' time.
//!   `rest`; `loadtest run slow-clients`
//! - F20, half-close behind the request: answered in full.
//!   `abort::a_client_that_stops_sending…`, `connections::…`
//! - F21, `100-continue`, then no body: 408, and the breaker does not move. It is the upstream that
//!   says 100, so it is asked (RFC 9110 §10.1.1).
//!   `interim::who_was_told_to_go_on_and_does_not…`

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Asked, Broken, Client};
use crate::document::{all_to, guarded, one_route, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, Gate, pass};

const NAME: &str = "GET /guarded";

/// A breaker that one failure opens.
fn glass() -> Value {
    json!({ "maxFailures": 1, "resetTimeout": "1 minute", "timeout": "15 seconds" })
}

fn open_connections(proxy: &Proxy) -> u64 {
    let metrics = proxy.ask("/metrics");
    let mut lines = metrics.text().lines();
    let line = lines.find_map(|line| line.strip_prefix("fusebox_connections_open "));
    line.expect("the gauge").parse().expect("a number")
}

#[test]
fn an_upstream_that_takes_no_connection_is_504_when_the_connect_timeout_runs_out() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
        assert!(queued.len() < 64, "the queue is never full");
    }
    let url = format!("http://{address}/");
    let document = one_route("/guarded", "GET", &url, json!({ "circuitBreaker": glass() }));
    let proxy = Proxy::start(&with(document, "/http/timeouts", json!({ "connect": "400ms" })));
    let started = Instant::now();
    assert_eq!(proxy.get("/guarded").status, 504);
    let taken = started.elapsed();
    assert!(taken >= Duration::from_millis(400) && taken < Duration::from_secs(3), "{taken:?}");
    assert_eq!(proxy.get("/guarded").status, 503, "it did not count");
}

#[test]
fn an_address_that_no_route_leads_to_is_502_at_once() {
    let url = "http://255.255.255.255:80/"; // no connection leads to all hosts
    let document = one_route("/guarded", "GET", url, json!({ "circuitBreaker": glass() }));
    let proxy = Proxy::start(&document);
    let started = Instant::now();
    assert_eq!(proxy.get("/guarded").status, 502);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(proxy.get("/guarded").status, 503, "it did not count");
}

/// Every way of telling a length, cut behind every byte, by an end and by a reset.
#[test]
fn no_response_that_was_cut_is_delivered_as_whole() {
    const WHOLE: [&str; 2] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome text",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n5\r\n text\r\n0\r\n\r\n",
    ];
    let origin = Origin::start(|request, _| {
        let mut words = request.target.trim_start_matches('/').split('/');
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (which, until, resets) = (number(), number(), number() == 1);
        let cut = Reply::raw(&WHOLE[which][..until]);
        if resets { cut.then_reset() } else { cut.then_close() }
    });
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    let mut asked = 0;
    for (which, whole) in WHOLE.iter().enumerate() {
        for until in 0..whole.len() {
            for resets in [0, 1] {
                let mut client = Client::connect(proxy.address());
                let path = format!("/{which}/{until}/{resets}");
                client.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
                asked += 1;
                match client.try_response(Asked::Other) {
                    Ok(response) => assert_eq!(response.status, 502, "{path}: {response:?}"),
                    Err(broken) => {
                        assert!(matches!(broken, Broken::Cut(_) | Broken::Reset(_)), "{path}");
                        assert!(until >= whole.find("\r\n\r\n").unwrap() + 4, "{path}: {broken:?}");
                    }
                }
            }
        }
    }
    assert_eq!(origin.count(), asked, "none was sent twice: a POST may have been done");
}

#[test]
fn a_body_that_ends_with_its_connection_is_not_whole_when_that_is_reset() {
    let origin = Origin::start(|_, _| {
        let pause = Reply::nothing().after(Duration::from_millis(100));
        Reply::raw("HTTP/1.1 200 OK\r\n\r\nhalf").then(pause).then_reset()
    });
    let proxy = Proxy::start(&guarded(&origin, glass()));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    let outcome = client.try_response(Asked::Other);
    assert!(matches!(outcome, Err(Broken::Reset(_))), "{outcome:?}");
    assert_eq!(proxy.get("/guarded").status, 503, "it did not count");
}

#[test]
fn an_upstream_that_stops_sending_behind_its_response_is_not_asked_again_on_that_connection() {
    let origin = Origin::raw(|mut stream, _| {
        let mut block = [0; 4096];
        let _ = stream.read(&mut block);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let _ = stream.shutdown(Shutdown::Write);
        while matches!(stream.read(&mut block), Ok(1..)) {}
    });
    let proxy = Proxy::start(&with(guarded(&origin, glass()), "/workers", json!(1)));
    for round in 1..=5 {
        assert_eq!(proxy.get("/guarded").text(), "ok");
        assert_eq!(origin.connections(), round);
        pass(Duration::from_millis(10)); // the end has arrived when the next request comes
    }
}

#[test]
fn a_response_that_comes_byte_by_byte_arrives_in_order() {
    let origin = Origin::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n\
                        4\r\nsome\r\n1;x=\"y\"\r\n \r\n4\r\ntext\r\n0\r\nX-T: 1\r\n\r\n";
        for byte in response.bytes() {
            let _ = stream.write_all(&[byte]);
            pass(Duration::from_millis(1));
        }
    });
    let proxy = Proxy::start(&all_to(&origin));
    let response = proxy.get("/");
    assert_eq!((response.text(), response.header("x-a")), ("some text", Some("b")));
}

#[test]
fn a_response_slower_than_its_timeout_but_never_silent_is_whole() {
    let origin = Origin::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 64000\r\n\r\n");
        for _ in 0..10 {
            pass(Duration::from_millis(100));
            let _ = stream.write_all(&[b'x'; 6_400]); // 64 kB/s
        }
    });
    let timeouts = json!({ "response": "400ms", "body": "400ms" });
    let proxy = Proxy::start(&with(guarded(&origin, glass()), "/http/timeouts", timeouts));
    assert_eq!(proxy.get("/guarded").body.len(), 64_000);
    assert_eq!(proxy.state(NAME), "closed");
}

#[test]
fn an_upstream_that_stops_and_goes_on_opens_its_breaker_and_heals_it() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, _| Reply::text(200, "ok").behind(&held));
    let breaker = json!({ "maxFailures": 3, "resetTimeout": "300ms", "timeout": "10s" });
    let timeouts = json!({ "response": "200ms" });
    let proxy = Proxy::start(&with(guarded(&origin, breaker), "/http/timeouts", timeouts));
    for _ in 0..3 {
        assert_eq!(proxy.get("/guarded").status, 504);
    }
    assert_eq!(proxy.get("/guarded").status, 503);
    assert_eq!(proxy.state(NAME), "open");
    gate.open();
    wait::until("healing", || proxy.get("/guarded").status == 200);
    assert_eq!(proxy.state(NAME), "closed");
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Reset,
    Close,
    HalfClose,
}

/// Where in an exchange it leaves: what it has sent, and what it has read by then.
const POINTS: [(&str, usize); 12] = [
    ("", 0),
    ("GET /gua", 0),
    ("GET /guarded HTTP/1.1\r\nHost: te", 0),
    ("GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n", 0),
    ("GET /guarded HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf", 0),
    ("GET /guarded HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nha", 0),
    ("GET /guarded HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody", 0),
    (
        "GET /guarded HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        25,
    ),
    ("GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n", 4),
    ("GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n", 100_000),
    ("GET /guarded HTTP/1.1\r\nHost: test\r\n\r\nGET /guarded HTTP/1.1\r\nHo", 1_000),
    ("GET /guarded HTTP/1.1\r\nHost: test\r\n\r\nGET /guarded HTTP/1.1\r\nHost: test\r\n\r\n", 9),
];

#[test]
fn a_client_may_leave_at_any_point_and_nothing_is_left_over() {
    let body = vec![b'x'; 2 * 1024 * 1024];
    let origin = Origin::start(move |_, _| {
        // Late enough for the client to have left before it, where it does.
        Reply::bytes(&body).after(Duration::from_millis(20))
    });
    let timeouts = json!({ "header": "1s", "idle": "1s", "body": "1s", "response": "5s" });
    let proxy = Proxy::start(&with(guarded(&origin, glass()), "/http/timeouts", timeouts));
    let mut left = Vec::new();
    for (sent, read) in POINTS {
        for leave in [Leave::Reset, Leave::Close, Leave::HalfClose] {
            let mut client = Client::connect(proxy.address());
            client.send(sent.as_bytes());
            client.exactly(read).unwrap_or_else(|broken| panic!("{sent:?}: {broken:?}"));
            match leave {
                Leave::Reset => client.abort(),
                Leave::Close => drop(client),
                Leave::HalfClose => {
                    client.finish_sending();
                    left.push((client, sent));
                }
            }
        }
    }
    for (mut client, sent) in left {
        // Whatever was asked for whole is answered, and then the connection ends.
        while client.exactly(1).is_ok() {}
        assert!(client.is_closed(), "{sent:?}");
    }
    wait::until("no connection left", || open_connections(&proxy) == 0);
    assert_eq!(proxy.state(NAME), "closed", "nobody's failure");
    assert_eq!(proxy.breaker(NAME)["counts"]["failure"], 0);
    assert_eq!(proxy.get("/guarded").body.len(), 2 * 1024 * 1024, "and it serves");
    let panics = proxy.ask("/metrics").text().contains("fusebox_panics_total 0");
    assert!(panics, "no task panicked");
}

#[test]
fn a_storm_of_resets_leaves_nothing_behind() {
    let origin = Origin::start(|_, _| Reply::text(200, "ok").after(Duration::from_millis(30)));
    let proxy = Proxy::start(&guarded(&origin, glass()));
    for _ in 0..20 {
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let mut client = Client::connect(proxy.address());
                client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
                client
            })
            .collect();
        clients.into_iter().for_each(Client::abort);
    }
    wait::until("no connection left", || open_connections(&proxy) == 0);
    assert_eq!(proxy.state(NAME), "closed");
    assert_eq!(proxy.get("/guarded").text(), "ok");
}
