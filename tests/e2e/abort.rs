//! A client that leaves while its upstream is silent: noticed, and nobody's failure.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Client;
use crate::document::{all_to, guarded, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, Gate, pass};

const NAME: &str = "GET /guarded";
const GET: &[u8] = b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n";

/// An origin that reads and never answers, and how many of its connections were closed.
fn silent() -> (Origin, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&ended);
    let origin = Origin::raw(move |mut stream, _| {
        let mut block = [0; 4096];
        while matches!(stream.read(&mut block), Ok(1..)) {}
        counts.fetch_add(1, Ordering::SeqCst);
    });
    (origin, ended)
}

#[test]
fn a_reset_while_the_upstream_is_silent_cancels_the_exchange_and_blames_nobody() {
    let (origin, ended) = silent();
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "timeout": "15s" })));
    let mut client = Client::connect(proxy.address());
    client.send(GET);
    pass(Duration::from_millis(500)); // silent for longer than until the first look
    assert_eq!(ended.load(Ordering::SeqCst), 0, "it waits");
    let left = Instant::now();
    client.abort();
    wait::until("the upstream to be let go", || ended.load(Ordering::SeqCst) == 1);
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
    assert_eq!(proxy.state(NAME), "closed");
    assert_eq!(proxy.breaker(NAME)["counts"]["success"], 0);
}

#[test]
fn a_reset_while_a_response_pauses_cancels_the_exchange_and_blames_nobody() {
    let origin = Origin::start(|_, _| {
        let pause = Reply::nothing().after(Duration::from_secs(15));
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").then(pause)
    });
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1, "timeout": "15s" })));
    let mut client = Client::connect(proxy.address());
    client.send(GET);
    while !client.exactly(1).unwrap().ends_with(b"f") {}
    client.abort();
    wait::until("the verdict", || proxy.breaker(NAME)["counts"]["neutral"] == 1);
    assert_eq!(proxy.state(NAME), "closed");
}

#[test]
fn a_probe_whose_client_resets_gives_its_permit_back_at_once() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, nth| match nth {
        0 => Reply::text(500, "no"),
        1 => Reply::text(200, "never").behind(&held),
        _ => Reply::text(200, "healed"),
    });
    let breaker = json!({ "maxFailures": 1, "resetTimeout": "300ms", "timeout": "15s" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 500);
    pass(Duration::from_millis(350));
    let mut probe = Client::connect(proxy.address());
    probe.send(GET);
    origin.await_requests(2);
    assert_eq!(proxy.get("/guarded").status, 503, "one probe at a time");
    probe.abort();
    let left = Instant::now();
    wait::until("another probe", || proxy.get("/guarded").status == 200);
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
    gate.open();
}

/// It may have closed, or only said that it sends no more: the two look the same. nginx gives such
/// a client up, HAProxy serves it unless told otherwise; an answer to nobody is the lesser harm.
#[test]
fn a_client_that_stops_sending_while_it_waits_is_answered_in_full() {
    let origin = Origin::start(|_, _| Reply::text(200, "late").after(Duration::from_millis(900)));
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    pass(Duration::from_millis(300));
    client.finish_sending();
    assert_eq!(client.response().text(), "late");
    assert!(client.is_closed());
}

#[test]
fn the_next_request_is_no_abort_and_costs_nothing_while_it_waits() {
    let origin = Origin::start(|request, _| {
        Reply::text(200, &request.target).after(Duration::from_millis(1_500))
    });
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(1);
    client.send(b"GET /b HTTP/1.1\r\nHost: test\r\n\r\n");
    let before = proxy.processor_time();
    assert_eq!(client.response().text(), "/a");
    let used = proxy.processor_time() - before;
    assert!(used < Duration::from_millis(300), "it spins: {used:?} within 1.5 s");
    assert_eq!(client.response().text(), "/b");
}

#[test]
fn a_reset_before_a_fan_out_has_ended_cancels_it() {
    let (origin, ended) = silent();
    let quick = Origin::start(|_, _| Reply::json(200, &json!({ "a": 1 })));
    let services = json!({ "services": {
        "quick": { "url": quick.url("/") }, "silent": { "url": origin.url("/") },
    }, "circuitBreaker": { "maxFailures": 1, "timeout": "15s" } });
    let proxy = Proxy::start(&crate::document::routes(json!({ "/guarded": { "GET": services } })));
    let mut client = Client::connect(proxy.address());
    client.send(GET);
    quick.await_requests(1);
    client.abort();
    wait::until("the upstream to be let go", || ended.load(Ordering::SeqCst) == 1);
    assert_eq!(proxy.state(NAME), "closed");
}
