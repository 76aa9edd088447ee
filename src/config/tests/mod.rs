//! Tests of the room: the seeds, the bundled samples, and what no single file can show.

mod golden;
mod meaning;
mod random;
mod schema;
mod span;
mod state;

use std::time::Duration;

use super::*;
use crate::breaker::policy::{Failures, Heal, Policy, Recovery, Window};

fn good(text: &str) -> (Config, Vec<Complaint>) {
    load(text).unwrap_or_else(|all| panic!("{}", render("test", text, &all, Colour::Plain)))
}

const SEED_A: &str = include_str!("../../../config/seed-a.json");
const SEED_B: &str = include_str!("../../../config/seed-b.json");
const FULL: &str = include_str!("../../../config/full.json");

#[test]
fn seed_a_loads_with_its_numbers() {
    let (config, advice) = good(SEED_A);
    assert_eq!(advice, []);
    assert_eq!(config.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(config.admin.unwrap().listen, "127.0.0.1:9901".parse().unwrap());
    let [route] = config.http.routes.as_slice() else { panic!("one route") };
    assert_eq!(route.method.as_deref(), Some("GET"));
    let names: Vec<&str> = route.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["userservice", "messagingservice"]);
    assert_eq!(route.services[1].urls[0].authority, "localhost:6667");
    let breaker = route.breaker.as_ref().unwrap();
    assert_eq!(
        breaker.policy,
        Policy::look_back(3.try_into().unwrap(), Duration::from_millis(150))
    );
    assert_eq!(breaker.timeout, None);
    assert_eq!(breaker.refusal, Answer { status: 503, body: Body::Text("Busy.".into()) });
}

#[test]
fn seed_b_loads_with_its_numbers() {
    let (config, advice) = good(SEED_B);
    assert_eq!(advice.iter().map(|c| c.code).collect::<Vec<_>>(), [Code::NoWindow]);
    let breaker = config.http.routes[0].breaker.as_ref().unwrap();
    assert_eq!(
        breaker.policy.trip,
        Policy::reset(10.try_into().unwrap(), Window::Cumulative, Duration::ZERO).trip
    );
    let recovery = breaker.policy.recovery().unwrap();
    let (open_for, wait) = (Duration::from_secs(150), Duration::from_secs(46));
    assert_eq!((recovery.pace.first(), recovery.permit, recovery.max_wait), (open_for, wait, wait));
    assert_eq!((recovery.requests.get(), recovery.successes.get()), (1, 1));
    assert_eq!(breaker.timeout, Some(Duration::from_secs(45)));
    let message = |text: &str| Body::Message(text.to_owned());
    assert_eq!(breaker.refusal, Answer { status: 503, body: message("Service unavailable") });
    assert_eq!(breaker.timeout_answer, Answer { status: 504, body: message("Operation timeout") });
    assert_eq!(breaker.on_open.len(), 1);
    assert_eq!(config.http.handlers[breaker.on_open[0].handler].name, "myOpenHandler");
}

#[test]
fn the_full_sample_loads() {
    assert_eq!(good(FULL).1, []);
}

#[test]
fn the_bundled_default_loads() {
    let (config, advice) = good(DEFAULT);
    assert_eq!(advice, []);
    assert_eq!(config.http.routes.len(), 1);
}

#[test]
fn the_measured_document_loads() {
    let (config, advice) = good(
        r#"{ "listen": "127.0.0.1:8100", "admin": false, "workers": 1, "log": { "access": "off" },
        "http": { "circuitBreaker": { "maxFailures": 10, "timeWindow": "10s",
        "resetTimeout": "5s", "timeout": "30s" }, "routes": { "/*path": { "ALL": { "services": {
        "origin": { "url": "http://127.0.0.1:9000/:path", "preserveHost": true } } } } } } }"#,
    );
    assert_eq!(advice, []);
    assert!(config.admin.is_none());
    let url = &config.http.routes[0].services[0].urls[0];
    assert_eq!(url.pieces, [Piece::Literal("/".into()), Piece::Capture(0)]);
}
