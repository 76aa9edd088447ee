//! Whose word on a client is believed, and what upstreams and clients are told of the way.

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::document::{all_to, with};
use crate::origin::{Origin, Reply};
use crate::ports;
use crate::proxy::Proxy;

/// Everything to `origin`, with these rules of forwarding.
fn telling(origin: &Origin, forwarded: Value) -> Value {
    with(all_to(origin), "/http/forwarded", forwarded)
}

const CHAIN: &str = "X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\n\
                     X-Forwarded-Host: shop.example\r\nX-Forwarded-Prefix: /shop\r\n\
                     X-Real-IP: 10.9.9.9\r\nForwarded: for=10.9.9.9\r\n";

fn ask(proxy: &Proxy, headers: &str) -> u16 {
    let mut client = Client::connect(proxy.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{headers}\r\n").as_bytes());
    client.response().status
}

#[test]
fn a_trusted_peers_word_is_kept_and_appended_to() {
    let origin = Origin::saying("ok");
    let rules = json!({ "trust": ["127.0.0.0/8"], "emit": ["x-forwarded", "forwarded"] });
    let proxy = Proxy::start(&telling(&origin, rules));
    assert_eq!(ask(&proxy, CHAIN), 200);
    let seen = origin.only();
    assert_eq!(seen.values("x-forwarded-for"), ["10.9.9.9, 127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.values("x-forwarded-host"), ["shop.example"]);
    assert_eq!(seen.values("x-forwarded-prefix"), ["/shop"]);
    assert_eq!(seen.values("x-real-ip"), ["10.9.9.9"]);
    let ours = "for=127.0.0.1;proto=http;host=test";
    assert_eq!(seen.values("forwarded"), [format!("for=10.9.9.9, {ours}")]);
}

#[test]
fn anyone_elses_word_is_replaced() {
    let origin = Origin::saying("ok");
    let rules = json!({ "trust": ["10.0.0.0/8", "::1"], "emit": ["x-forwarded", "forwarded"] });
    let proxy = Proxy::start(&telling(&origin, rules));
    assert_eq!(ask(&proxy, CHAIN), 200);
    let seen = origin.only();
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("x-forwarded-host"), ["test"]);
    assert_eq!(seen.values("forwarded"), ["for=127.0.0.1;proto=http;host=test"]);
    for name in ["x-forwarded-prefix", "x-real-ip"] {
        assert_eq!(seen.values(name), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn a_reload_changes_who_is_believed_on_a_connection_that_is_open() {
    let origin = Origin::saying("ok");
    let rules =
        |trust: &[&str]| telling(&origin, json!({ "trust": trust, "emit": ["x-forwarded"] }));
    let proxy = Proxy::start(&rules(&[]));
    let mut client = Client::connect(proxy.address());
    let request = b"GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n";
    for (trust, told) in
        [(&[][..], "127.0.0.1"), (&["127.0.0.1"], "10.9.9.9, 127.0.0.1"), (&[], "127.0.0.1")]
    {
        proxy.write(&rules(trust));
        assert_eq!(proxy.post("/reload").status, 200);
        client.send(request);
        assert_eq!(client.response().status, 200);
        assert_eq!(origin.seen().pop().unwrap().values("x-forwarded-for"), [told]);
    }
}

#[test]
fn nothing_is_told_where_nothing_is_to_be() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&telling(&origin, json!({ "emit": [] })));
    assert_eq!(ask(&proxy, CHAIN), 200);
    let head = origin.only().head.to_lowercase();
    assert!(!head.contains("forwarded") && !head.contains("via"), "{head}");
}

#[test]
fn via_names_us_on_requests_and_responses_and_the_way_before_us() {
    let origin = Origin::start(|_, _| {
        Reply::raw("HTTP/1.1 200 OK\r\nVia: 1.1 origin\r\nContent-Length: 0\r\n\r\n")
    });
    let proxy = Proxy::start(&telling(&origin, json!({ "emit": ["via"] })));
    let request = "GET / HTTP/1.0\r\nHost: test\r\nVia: 1.1 front\r\n\r\n";
    let response = client::once(proxy.address(), request);
    let seen = origin.only();
    let via = seen.values("via");
    assert_eq!(via.len(), 2, "{via:?}");
    let (version, name) = via[1].split_once(' ').unwrap();
    assert_eq!((via[0], version), ("1.1 front", "1.0"));
    assert!(name.starts_with("fusebox-"), "{name}");
    let back: Vec<&str> = response
        .headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case("via"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(back, ["1.1 origin".to_owned(), format!("1.1 {name}")]);
}

#[test]
fn a_request_that_comes_back_is_508() {
    let place = ports::hold();
    let document = json!({
        "listen": place.to_string(),
        "http": {
            "forwarded": { "emit": ["via"] },
            "routes": { "/*rest": { "ALL": { "services": {
                "self": { "url": format!("http://{place}/:rest") } } } } }
        }
    });
    let proxy = Proxy::start(&document);
    let looped = proxy.get("/round");
    assert_eq!(looped.status, 508, "{looped:?}");
}
