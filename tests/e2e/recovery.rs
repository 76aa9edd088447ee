//! How a breaker comes back: rounds of probes, growing open times, a ramp.

use std::time::Duration;

use serde_json::json;

use crate::document::guarded;
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, pass};

const NAME: &str = "GET /guarded";

fn recovering_after(failures: usize) -> Origin {
    Origin::start(move |_, nth| Reply::text(if nth < failures { 500 } else { 200 }, "well"))
}

#[test]
fn a_breaker_closes_after_as_many_successes_as_it_asks_for() {
    let origin = recovering_after(1);
    let half_open = json!({ "requests": 3, "successes": 3 });
    let breaker = json!({ "maxFailures": 1, "resetTimeout": 100, "halfOpen": half_open });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 500);
    pass(Duration::from_millis(110));
    for _ in 0..2 {
        assert_eq!(proxy.get("/guarded").status, 200);
        assert_eq!(proxy.state(NAME), "half_open");
    }
    assert_eq!(proxy.get("/guarded").status, 200);
    assert_eq!(proxy.state(NAME), "closed");
}

#[test]
fn each_failed_probe_makes_the_open_time_longer() {
    let origin = recovering_after(usize::MAX);
    let backoff = json!({ "multiplier": 100, "max": "40s" });
    let breaker = json!({ "maxFailures": 1, "resetTimeout": 100, "backoff": backoff });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 500);
    assert!(proxy.breaker(NAME)["remaining_ms"].as_u64().unwrap() <= 100);
    pass(Duration::from_millis(110));
    assert_eq!(proxy.get("/guarded").status, 500, "the probe");
    let refused = proxy.get("/guarded");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
}

#[test]
fn a_probe_that_never_ends_opens_the_breaker_again() {
    let origin = Origin::start(|_, nth| match nth {
        0 => Reply::text(500, "no"),
        _ => Reply::text(200, "late").after(Duration::from_millis(1500)),
    });
    let breaker = json!({
        "maxFailures": 1, "resetTimeout": 300, "timeout": "none", "halfOpen": { "maxWait": 200 }
    });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 500);
    pass(Duration::from_millis(310));
    let mut probe = crate::client::Client::connect(proxy.address());
    probe.send(b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(2);
    assert_eq!(proxy.get("/guarded").status, 503);
    wait::until("it gives up", || proxy.breaker(NAME)["transitions"][0]["reason"] == "no_verdict");
    assert_eq!(probe.response().status, 200, "too late to count");
}

#[test]
fn traffic_comes_back_little_by_little() {
    let origin = recovering_after(1);
    let ramp = json!({ "duration": "1500ms", "start": "20%" });
    let breaker = json!({ "maxFailures": 1, "resetTimeout": 100, "ramp": ramp });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    assert_eq!(proxy.get("/guarded").status, 500);
    pass(Duration::from_millis(110));
    assert_eq!(proxy.get("/guarded").status, 200, "the probe");
    assert_eq!(proxy.state(NAME), "recovering");
    let (mut passed, mut refused) = (0, 0);
    while proxy.state(NAME) == "recovering" {
        let mut client = crate::client::Client::connect(proxy.address());
        for _ in 0..20 {
            let response = client.get("/guarded");
            if response.status == 200 {
                passed += 1;
            } else {
                assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
                refused += 1;
            }
        }
    }
    assert!(passed > 0 && refused > 0, "{passed} passed, {refused} refused");
    let metrics = String::from_utf8(proxy.ask("/metrics").body).unwrap();
    let line = "fusebox_breaker_rejected_total{breaker=\"GET /guarded\",reason=\"ramp\"} ";
    let counted = metrics.lines().find_map(|it| it.strip_prefix(line)).unwrap();
    assert_eq!(counted, refused.to_string());
    assert_eq!(proxy.get("/guarded").status, 200);
    wait::until("it is told that it closed", || {
        proxy.breaker(NAME)["transitions"][0]["reason"] == "ramp_over"
    });
}
