//! The two seed documents as printed, and the breaker cases of both gateways' own suites.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::document::{self, guarded};
use crate::origin::{Origin, Reply};
use crate::proxy::{self, Proxy};
use crate::wait::pass;

const DURATION: Duration = Duration::from_millis(150);

/// Seed A with the ports of these origins, and the origins: `B` fails its first three calls.
fn seed_a() -> (Proxy, Origin, Origin) {
    let users = Origin::start(|_, _| Reply::json(200, &json!({ "user": 1 })));
    let messages = Origin::start(|_, nth| match nth {
        0..3 => Reply::text(500, "Something happened."),
        _ => Reply::json(200, &json!({ "messages": 10 })),
    });
    let (user_port, message_port) = (users.address().port(), messages.address().port());
    let proxy = proxy::start_sample("seed-a.json", |text| {
        let text = text.replace("localhost:6666", &format!("localhost:{user_port}"));
        text.replace("localhost:6667", &format!("localhost:{message_port}"))
    });
    (proxy, users, messages)
}

/// The case's own times: r1 and r2 25 ms apart, r3 after 25 ms, r4 after 50 ms, r5 after 200 ms.
#[test]
fn rt1_three_errors_within_the_duration_refuse_until_they_age_out() {
    for _ in 0..10 {
        let (proxy, users, messages) = seed_a();
        let started = Instant::now();
        for _ in 0..3 {
            let failed = proxy.get("/users");
            assert_eq!((failed.status, failed.text()), (500, "Something happened."));
            pass(Duration::from_millis(25));
        }
        let r3 = proxy.get("/users");
        pass(Duration::from_millis(50));
        let r4 = proxy.get("/users");
        if started.elapsed() >= DURATION {
            continue; // The machine was too slow for the case's times: this run proves nothing.
        }
        for refused in [&r3, &r4] {
            assert_eq!((refused.status, refused.text()), (503, "Busy."));
            assert_eq!(refused.header("retry-after"), Some("1"));
        }
        pass(Duration::from_millis(200));
        let healed = proxy.get("/users");
        assert_eq!(healed.status, 200);
        assert_eq!(healed.json(), json!({ "user": 1, "messages": 10 }));
        assert_eq!((users.count(), messages.count()), (4, 4));
        return;
    }
    panic!("ten runs were all too slow for the times of the case");
}

/// DR1: the gateway of seed A counted its own refusals and never healed under such traffic.
#[test]
fn refusals_never_count_so_steady_traffic_heals() {
    let origin = Origin::start(|_, nth| match nth {
        0..3 => Reply::text(500, "no"),
        _ => Reply::text(200, "yes"),
    });
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxErrors": 3, "duration": 200 })));
    let started = Instant::now();
    let mut refused = 0;
    for nth in 0.. {
        let response = proxy.get("/guarded");
        match response.status {
            500 => assert!(nth < 3),
            503 => refused += 1,
            200 => break,
            other => panic!("status {other}"),
        }
        // Far denser than maxErrors per duration, and never a pause as long as the duration.
        assert!(started.elapsed() < Duration::from_secs(5), "still refused after {refused}");
        pass(Duration::from_millis(5));
    }
    assert!(refused > 3, "traffic was not dense enough to prove anything: {refused}");
    assert_eq!(origin.count(), 4);
}

#[test]
fn seed_b_as_printed_trips_at_ten_failures_and_calls_its_handler_once() {
    let origin = Origin::start(|_, _| Reply::text(500, "broken"));
    let authority = origin.address().to_string();
    let proxy =
        proxy::start_sample("seed-b.json", |text| text.replace("localhost:6666", &authority));
    for _ in 0..10 {
        assert_eq!(proxy.get("/users").status, 500);
    }
    let refused = proxy.get("/users");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json(), json!({ "error": "Service unavailable" }));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((140..=150).contains(&seconds), "2 minutes and 30 seconds, but {seconds}");
    assert_eq!(origin.count(), 10);
    proxy.lines().await_line("myOpenHandler");
    for _ in 0..5 {
        assert_eq!(proxy.get("/users").status, 503);
    }
    assert_eq!(proxy.lines().count("myOpenHandler"), 1, "{}", proxy.lines().text());
}

#[test]
fn tt1_a_slow_api_opens_and_its_probe_is_let_through_after_the_reset_timeout() {
    let origin = Origin::start(|_, _| Reply::text(200, "late").after(Duration::from_millis(100)));
    let breaker = json!({
        "timeout": 1, "resetTimeout": "3 seconds", "maxFailures": 1, "onOpen": { "name": "opened" }
    });
    let document = document::with(
        guarded(&origin, breaker),
        "/http/handlers",
        json!({ "opened": { "type": "log", "level": "warn" } }),
    );
    let proxy = Proxy::start(&document);
    let slow = proxy.get("/guarded");
    assert_eq!(slow.status, 504);
    assert_eq!(slow.json(), json!({ "error": "Operation timeout" }));
    let refused = proxy.get("/guarded");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("3"));
    proxy.lines().await_line("opened");
    pass(Duration::from_millis(3_001));
    assert_eq!(proxy.get("/guarded").status, 504);
    assert!((1..=2).contains(&origin.count()), "one call and at most one probe");
}

#[test]
fn tt2_the_end_of_a_window_does_not_close_an_open_breaker() {
    let origin = Origin::start(|_, _| Reply::text(200, "late").after(Duration::from_millis(100)));
    let document = document::with(
        guarded(&origin, json!({ "use": "my-circuit-breaker" })),
        "/http/circuitBreakers",
        json!({ "my-circuit-breaker": {
            "timeout": 1, "resetTimeout": "3 seconds", "timeWindow": "2 seconds", "maxFailures": 1
        } }),
    );
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/guarded").status, 504);
    assert_eq!(proxy.get("/guarded").status, 503);
    pass(Duration::from_millis(2_001));
    assert_eq!(proxy.get("/guarded").status, 503);
}
