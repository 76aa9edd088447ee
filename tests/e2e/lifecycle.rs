//! Start and end of the process.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::json;

use crate::client::Client;
use crate::document::{all_to, with};
use crate::kernel::Signal;
use crate::origin::{Origin, Reply};
use crate::proxy::{self, Proxy};
use crate::wait::{self, Gate};

/// Asserts that `signal` lets a running exchange finish, takes no new one and ends with 0.
#[track_caller]
fn drains_on(signal: Signal) {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |request, _| match request.target.as_str() {
        "/slow" => Reply::text(200, "whole").behind(&held),
        _ => Reply::text(200, "quick"),
    });
    let proxy = Proxy::start(&all_to(&origin));
    let mut resting = Client::connect(proxy.address());
    assert_eq!(resting.get("/quick").text(), "quick");
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(2);
    proxy.signal(signal);
    assert!(resting.is_closed(), "a connection at rest is closed");
    wait::until("no new connections", || TcpStream::connect(proxy.address()).is_err());
    gate.open();
    let last = client.response();
    assert_eq!((last.status, last.text()), (200, "whole"));
    assert!(client.is_closed());
    assert_eq!(proxy.end().code(), Some(0));
}

#[test]
fn sigterm_finishes_running_exchanges_and_exits_0() {
    drains_on(Signal::Terminate);
}

#[test]
fn sigint_finishes_running_exchanges_and_exits_0() {
    drains_on(Signal::Interrupt);
}

#[test]
fn a_drain_waits_no_longer_than_its_timeout() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, _| Reply::text(200, "never").behind(&held));
    let timeouts = json!({ "drain": "300ms" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(1);
    proxy.signal(Signal::Terminate);
    assert_eq!(proxy.end().code(), Some(0));
    gate.open();
}

#[test]
fn an_idle_proxy_ends_at_once() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    assert_eq!(proxy.get("/").status, 200);
    let started = std::time::Instant::now();
    proxy.signal(Signal::Terminate);
    assert_eq!(proxy.end().code(), Some(0));
    assert!(started.elapsed().as_secs() < 5, "it waited for nobody");
}

#[test]
fn a_port_that_is_taken_is_exit_1_with_the_address_and_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let origin = Origin::saying("ok");
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("taken.json");
    let document = proxy::complete(with(all_to(&origin), "/listen", json!(address)));
    std::fs::write(&path, document.to_string()).unwrap();
    let ended = proxy::run(&["run", path.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(ended.output.contains(&address), "{}", ended.output);
    assert!(ended.output.contains("in use"), "{}", ended.output);
    let lines = ended.output.lines().filter(|line| line.contains(&address)).count();
    assert!(lines >= 1 && ended.output.lines().count() <= 5, "{}", ended.output);
}

#[test]
fn several_addresses_are_served() {
    let origin = Origin::saying("ok");
    let addresses = json!(["127.0.0.1:0", { "address": "127.0.0.1:0" }]);
    let proxy = Proxy::start(&with(all_to(&origin), "/listen", addresses));
    let line = proxy.lines().await_line("listening");
    let text = format!("{line}\n{}", proxy.lines().text());
    let mut ports: Vec<u16> = text
        .lines()
        .filter(|line| line.contains("listening"))
        .flat_map(|line| line.split("127.0.0.1:").skip(1))
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .filter(|port| *port != proxy.admin().port())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 2, "{text}");
    for port in ports {
        let response = crate::client::get(([127, 0, 0, 1], port).into(), "/");
        assert_eq!(response.text(), "ok");
    }
}
