//! The admin API: reads, and that reading changes nothing.

use serde_json::{Value, json};

use crate::client;
use crate::document::{guarded, with};
use crate::kernel::Signal;
use crate::origin::{Origin, Reply};
use crate::proxy::{self, Proxy};
use crate::wait;

fn tripped() -> (Proxy, Origin) {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let breaker = json!({ "maxFailures": 2, "resetTimeout": "1 minute" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    for status in [500, 500, 503] {
        assert_eq!(proxy.get("/guarded").status, status);
    }
    (proxy, origin)
}

#[test]
fn live_and_ready_are_200_on_a_running_proxy() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1 })));
    assert_eq!(proxy.ask("/live").status, 200);
    assert_eq!(proxy.ask("/ready").status, 200);
    assert_eq!(proxy.ask("/nowhere").status, 404);
    assert_eq!(proxy.get("/live").status, 404, "the admin API is not on the data port");
}

#[test]
fn breakers_lists_every_breaker_with_state_and_remaining_time() {
    let (proxy, _origin) = tripped();
    let list = proxy.ask("/breakers");
    assert_eq!(list.status, 200);
    let list = list.json();
    let [breaker] = list["breakers"].as_array().expect("a list").as_slice() else {
        panic!("one breaker: {list}");
    };
    let word = |key: &str| breaker[key].as_str().unwrap_or_else(|| panic!("{key}: {breaker}"));
    assert_eq!((word("name"), word("scope")), ("GET /guarded", "route"));
    assert_eq!((word("state"), word("effective"), word("mode")), ("open", "open", "enforce"));
    assert!(breaker["epoch"].is_u64() && breaker["counts"].is_object(), "{breaker}");
    let remaining = breaker["remaining_ms"].as_u64().unwrap();
    assert!((1..=60_000).contains(&remaining), "{remaining}");
}

#[test]
fn one_breaker_is_found_by_its_encoded_name() {
    let (proxy, _origin) = tripped();
    let one = proxy.breaker("GET /guarded");
    assert_eq!(one["name"], json!("GET /guarded"));
    let list = proxy.ask("/breakers").json();
    assert_eq!(list["breakers"][0]["epoch"], one["epoch"]);
    assert_eq!(proxy.ask("/breakers/GET%20%2Fnowhere").status, 404);
}

#[test]
fn counts_tell_refusals_from_failures() {
    let (proxy, _origin) = tripped();
    let counts = proxy.breaker("GET /guarded")["counts"].clone();
    assert_eq!((&counts["failure"], &counts["refused"]), (&json!(2), &json!(1)), "{counts}");
    assert_eq!((&counts["success"], &counts["neutral"]), (&json!(0), &json!(0)), "{counts}");
}

#[test]
fn reading_changes_nothing() {
    let (proxy, origin) = tripped();
    let before: Value = proxy.breaker("GET /guarded");
    for path in ["/breakers", "/breakers/GET%20%2Fguarded", "/metrics", "/ready", "/live"] {
        for _ in 0..5 {
            assert_eq!(proxy.ask(path).status, 200, "{path}");
        }
    }
    let after = proxy.breaker("GET /guarded");
    for key in ["state", "epoch", "counts"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(origin.count(), 2);
}

#[test]
fn metrics_emit_every_state_and_count_transitions() {
    let (proxy, _origin) = tripped();
    let metrics = proxy.ask("/metrics");
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    let sample = |start: &str, parts: &[&str]| {
        let fits = |line: &&str| line.starts_with(start) && parts.iter().all(|p| line.contains(p));
        let line = text.lines().find(fits).unwrap_or_else(|| panic!("{start} {parts:?}\n{text}"));
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    let name = "breaker=\"GET /guarded\"";
    for (state, expected) in [("closed", 0.0), ("open", 1.0), ("half_open", 0.0)] {
        let label = format!("=\"{state}\"");
        let value = sample("fusebox_breaker_state{", &[name, &label]);
        assert!((value - expected).abs() < f64::EPSILON, "{state}: {value}");
    }
    let moves = [name, "from=\"closed\"", "to=\"open\""];
    let moved = sample("fusebox_breaker_transitions_total{", &moves);
    assert!((moved - 1.0).abs() < f64::EPSILON, "{moved}");
}

#[test]
fn every_metric_is_declared_before_its_samples() {
    let (proxy, _origin) = tripped();
    let text = String::from_utf8(proxy.ask("/metrics").body).unwrap();
    let mut declared = Vec::new();
    let mut samples = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            declared.push(rest.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let known = |base: &String| {
                name.strip_prefix(base.as_str())
                    .is_some_and(|end| ["", "_total", "_bucket", "_sum", "_count"].contains(&end))
            };
            assert!(declared.iter().any(known), "undeclared: {line}");
            assert!(name.starts_with("fusebox_"), "{line}");
            samples += 1;
        }
    }
    assert!(samples > 5, "{text}");
}

#[test]
fn a_request_with_a_foreign_host_or_origin_may_not_write() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 1 })));
    let admin = proxy.admin();
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: {admin}\r\nOrigin: http://evil.example\r\n"),
    ] {
        let request = format!("POST /reload HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n");
        let status = client::once(admin, &request).status;
        assert!((400..500).contains(&status), "{headers:?}: {status}");
    }
}

#[test]
fn a_token_is_demanded_where_one_is_configured() {
    let origin = Origin::saying("ok");
    let document = with(
        guarded(&origin, json!({ "maxFailures": 1 })),
        "/admin",
        json!({ "listen": "127.0.0.1:0", "token": "sesame-0123456789" }),
    );
    let proxy = Proxy::start(&document);
    let admin = proxy.admin();
    let reload = |authorization: &str| {
        let head = format!("POST /reload HTTP/1.1\r\nHost: {admin}\r\n{authorization}");
        client::once(admin, &format!("{head}Content-Length: 0\r\n\r\n")).status
    };
    assert_eq!(reload(""), 401);
    assert_eq!(reload("Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(reload("Authorization: Bearer sesame-0123456789\r\n"), 200);

    // Changed in the file, the token is the old one still: the command says what to do.
    let admin = json!({ "listen": "127.0.0.1:0", "token": "another-0123456789" });
    proxy.write(&with(document.clone(), "/admin", admin));
    let (path, address) = (proxy.path(), proxy.admin().to_string());
    let arguments = ["reload", path.to_str().unwrap(), "--admin", &address];
    let refused = proxy::run(&arguments);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.output);
    assert!(refused.output.contains("SIGHUP"), "{}", refused.output);
    proxy.signal(Signal::Hangup);
    wait::until("the new token holds", || proxy::run(&arguments).status.code() == Some(0));
    assert!(!proxy.lines().text().contains("sesame"), "a secret in the log");
}
