//! Upstreams behind a network that refuses, swallows or loses what is sent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Asked, Client};
use crate::document::{one_route, with};
use crate::kernel;
use crate::network::{self, Link, Mood};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::Gate;

/// Where origins listen, and where the proxy finds them.
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Link::NEAR), 8000);
const THERE: &str = "http://10.66.0.2:8000/";

/// `GET /guarded` to `url` with a breaker that one failure opens.
fn glass(url: &str, timeouts: Value) -> Value {
    let breaker = json!({ "maxFailures": 1, "resetTimeout": "1 minute", "timeout": "15 seconds" });
    let document = one_route("/guarded", "GET", url, json!({ "circuitBreaker": breaker }));
    with(document, "/http/timeouts", timeouts)
}

/// The status of `GET /guarded`, and how long it took. The breaker has to be open behind it.
#[track_caller]
fn fails(document: &Value) -> (u16, Duration) {
    let proxy = Proxy::start(document);
    let began = Instant::now();
    let answer = (proxy.get("/guarded").status, began.elapsed());
    assert_eq!(proxy.get("/guarded").status, 503, "it did not count");
    answer
}

#[test]
fn a_route_that_refuses_is_502_at_once_and_a_failure() {
    network::own(|| {
        let kinds = [libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT, libc::RTN_BLACKHOLE];
        for (network, kind) in (70..).zip(kinds) {
            kernel::add_route(kind, Ipv4Addr::new(10, network, 0, 0)).unwrap();
            let url = format!("http://10.{network}.0.1/");
            let (status, taken) = fails(&glass(&url, json!({ "connect": "10s" })));
            assert_eq!(status, 502, "{url}");
            assert!(taken < Duration::from_secs(2), "{url}: {taken:?}");
        }
    });
}

#[test]
fn a_host_of_which_a_router_says_that_it_is_unreachable_is_502_at_once() {
    network::own(|| {
        let link = Link::new();
        link.is_now(Mood::Unreachable);
        let (status, taken) = fails(&glass(THERE, json!({ "connect": "10s" })));
        assert_eq!(status, 502);
        assert!(taken < Duration::from_secs(2), "{taken:?}");
    });
}

#[test]
fn a_host_that_nothing_comes_back_from_is_504_when_the_connect_timeout_runs_out() {
    network::own(|| {
        let link = Link::new();
        link.is_now(Mood::Loses(100));
        let (status, taken) = fails(&glass(THERE, json!({ "connect": "600ms" })));
        assert_eq!(status, 504);
        assert!(taken >= Duration::from_millis(600) && taken < Duration::from_secs(4), "{taken:?}");
    });
}

/// The kernel looks for a neighbour for some seconds before it says that there is none.
#[test]
fn a_host_that_is_not_there_is_502_late_or_504_before() {
    network::own(|| {
        let _nobody = network::empty();
        let (status, taken) = fails(&glass(THERE, json!({ "connect": "14s" })));
        assert_eq!(status, 502);
        assert!(taken >= Duration::from_secs(1) && taken < Duration::from_secs(12), "{taken:?}");
        let (status, taken) = fails(&glass(THERE, json!({ "connect": "400ms" })));
        assert_eq!(status, 504);
        assert!(taken >= Duration::from_millis(400), "{taken:?}");
    });
}

/// Nothing says that a link is dead but silence: with a request under way, and with a response.
#[test]
fn a_link_that_dies_under_a_connection_is_silence_and_heals() {
    network::own(|| {
        let link = Link::new();
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let _origin = Origin::start_at(HERE, move |request, _| match request.target.as_str() {
            "/half" => {
                let rest = Reply::raw("whole").behind(&held);
                Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").then(rest)
            }
            _ => Reply::text(200, "ok"),
        });
        let document = one_route("/*rest", "GET", &format!("{THERE}:rest"), json!({}));
        let document = with(document, "/http/timeouts", json!({ "response": "800ms" }));
        let proxy = Proxy::start(&with(document, "/workers", json!(1)));
        assert_eq!(proxy.get("/").text(), "ok");
        let mut client = Client::connect(proxy.address());
        client.send(b"GET /half HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.exactly("HTTP/1.1 200 OK\r\n".len()).unwrap();
        assert_eq!(head, b"HTTP/1.1 200 OK\r\n");
        assert_eq!(proxy.get("/").text(), "ok", "a second connection, parked");
        link.is_now(Mood::Loses(100));
        gate.open();
        let began = Instant::now();
        assert_eq!(proxy.get("/").status, 504, "what is parked cannot be seen to be dead");
        assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
        assert!(client.try_response(Asked::Other).is_err(), "half a response");
        link.is_now(Mood::Loses(0));
        assert_eq!(proxy.get("/").text(), "ok", "on a fresh connection");
    });
}

/// Loss costs time, and nothing else: what arrives is right, and nothing is done twice.
#[test]
fn a_lossy_link_costs_time_alone() {
    network::own(|| {
        let link = Link::new();
        let origin = Origin::start_at(HERE, |request, _| {
            Reply::bytes(&[request.target.as_bytes(), &request.body].concat())
        });
        let document = one_route("/*rest", "POST", &format!("{THERE}:rest"), json!({}));
        let timeouts = json!({ "connect": "8s", "response": "8s", "body": "8s" });
        let proxy = Proxy::start(&with(document, "/http/timeouts", timeouts));
        let address = proxy.address();
        let mut whole = 0;
        for (percent, size, clients) in [(5, 40_000, 6), (30, 600, 12)] {
            link.is_now(Mood::Loses(percent));
            let asking: Vec<_> = (0..clients)
                .map(|nth| {
                    thread::spawn(move || {
                        let path = format!("/{percent}-{nth}");
                        let body = format!("{nth:08}").repeat(size / 8);
                        let mut client = Client::connect(address);
                        let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\n");
                        client.send(format!("{head}Content-Length: {size}\r\n\r\n").as_bytes());
                        client.send(body.as_bytes());
                        match client.try_response(Asked::Other) {
                            Ok(answer) if answer.status == 200 => {
                                assert_eq!(answer.text(), format!("{path}{body}"));
                                1
                            }
                            // It ran out of time: before the head, or behind it.
                            Ok(answer) => {
                                assert_eq!(answer.status, 504);
                                0
                            }
                            Err(_) => 0,
                        }
                    })
                })
                .collect();
            whole += asking.into_iter().map(|it| it.join().unwrap()).sum::<usize>();
        }
        assert!(whole >= 9, "only {whole} of 18 arrived");
        let mut seen: Vec<String> = origin.seen().into_iter().map(|it| it.target).collect();
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "one was done twice");
    });
}

/// Ports run out here and not there: nobody is blamed.
#[test]
fn running_out_of_ports_is_503_and_no_failure() {
    network::own(|| {
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let origin = Origin::start(move |_, _| Reply::text(200, "ok").behind(&held));
        let proxy = Proxy::start(&glass(&origin.url("/"), json!({})));
        let mut clients = [(); 3].map(|()| Client::connect(proxy.address()));
        let ports = |range: &str| {
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
        };
        ports("40000 40001");
        for (nth, client) in clients.iter_mut().enumerate() {
            client.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
            if nth < 2 {
                origin.await_requests(nth + 1);
            }
        }
        assert_eq!(clients[2].response().status, 503);
        gate.open();
        assert_eq!(clients[0].response().text(), "ok");
        ports("32768 60999");
        assert_eq!(proxy.state("GET /guarded"), "closed");
        assert_eq!(proxy.metric("fusebox_upstream_no_room_total"), 1);
    });
}
