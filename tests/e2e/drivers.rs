//! Both I/O drivers serve, and a refused ring is said aloud.
//!
//! The whole suite runs on epoll with `FUSEBOX_E2E_DRIVER=epoll`; here is the core of it, always.

use serde_json::{Value, json};

use crate::client::Client;
use crate::document::{all_to, guarded, with};
use crate::kernel::{self, Signal};
use crate::origin::{Origin, Reply};
use crate::proxy::{self, Proxy};

/// A request with a body, a chunked response, a trip, a drain.
#[track_caller]
fn serves(proxy: Proxy, origin: &Origin) {
    let mut client = Client::connect(proxy.address());
    for _ in 0..3 {
        client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().text(), "abc");
    }
    assert_eq!(client.get("/fail").status, 500);
    assert_eq!(client.get("/fail").status, 503);
    assert_eq!(origin.count(), 4);
    proxy.signal(Signal::Terminate);
    assert!(client.is_closed());
    assert_eq!(proxy.end().code(), Some(0));
}

fn origin_and_document(driver: &str) -> (Origin, Value) {
    let origin = Origin::start(|request, _| match request.target.as_str() {
        "/fail" => Reply::text(500, "no"),
        _ => Reply::chunks(&request.body, 2),
    });
    let fail = json!({ "GET": {
        "services": { "o": { "url": origin.url("/fail") } }, "circuitBreaker": { "maxFailures": 1 }
    } });
    let mut document = with(all_to(&origin), "/io", json!({ "driver": driver }));
    document["http"]["routes"]["/fail"] = fail;
    (origin, document)
}

#[test]
fn the_core_works_on_io_uring() {
    let (origin, document) = origin_and_document("uring");
    serves(Proxy::start(&document), &origin);
}

#[test]
fn the_core_works_on_epoll() {
    let (origin, document) = origin_and_document("epoll");
    let proxy = Proxy::start(&document);
    proxy.lines().await_line("epoll");
    serves(proxy, &origin);
}

#[test]
fn a_refused_ring_falls_back_to_epoll_with_cause_and_remedy_in_one_line() {
    let (origin, document) = origin_and_document("auto");
    let mut command = proxy::command();
    kernel::refuse_uring(&mut command);
    let proxy = Proxy::start_as(command, &document);
    let line = proxy.lines().await_line("EPERM");
    says_cause_and_remedy(&line);
    serves(proxy, &origin);
}

#[test]
fn a_ring_that_is_demanded_and_refused_is_exit_1_with_the_same_text() {
    let origin = Origin::saying("ok");
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("uring.json");
    let document =
        with(guarded(&origin, json!({ "maxFailures": 1 })), "/io", json!({ "driver": "uring" }));
    std::fs::write(&path, proxy::complete(document).to_string()).unwrap();
    let mut command = proxy::command();
    kernel::refuse_uring(&mut command);
    let ended = proxy::end_of(command.arg("run").arg(&path));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    let line = ended.output.lines().find(|line| line.contains("EPERM")).expect("the cause");
    says_cause_and_remedy(line);
}

#[track_caller]
fn says_cause_and_remedy(line: &str) {
    for word in ["io_uring", "EPERM", "seccomp"] {
        assert!(line.contains(word), "no {word:?} in {line:?}");
    }
}
