//! What of a head crosses the proxy, what stays behind, and what is added.

use serde_json::json;

use crate::client::Client;
use crate::document::{all_to, one_route};
use crate::origin::{Origin, Reply, Request};
use crate::ports;
use crate::proxy::Proxy;

/// Sends one `GET /` with these header lines; returns what the origin saw.
fn forwarded(headers: &str) -> (Request, Proxy) {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes());
    assert_eq!(client.response().status, 200);
    (origin.only(), proxy)
}

#[test]
fn end_to_end_headers_cross_unchanged_and_in_order() {
    let (seen, _) = forwarded(
        "Host: test\r\nX-One: 1\r\nX-Two: a\r\nX-Two: b\r\nX-Empty:\r\nCookie: a=1; b=2\r\n\
         Authorization: Bearer x\r\nX-Space:   padded  \r\n",
    );
    assert_eq!(seen.values("x-one"), ["1"]);
    assert_eq!(seen.values("x-two"), ["a", "b"]);
    assert_eq!(seen.values("x-empty"), [""]);
    assert_eq!(seen.values("cookie"), ["a=1; b=2"]);
    assert_eq!(seen.values("authorization"), ["Bearer x"]);
    assert_eq!(seen.values("x-space"), ["padded"]);
}

#[test]
fn hop_by_hop_headers_of_a_request_stay_behind() {
    let (seen, _) = forwarded(
        "Host: test\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nProxy-Authorization: Basic x\r\n\
         X-Kept: 1\r\n",
    );
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
        "connection",
    ] {
        assert_eq!(seen.values(name), Vec::<&str>::new(), "{name}");
    }
    assert_eq!(seen.values("x-kept"), ["1"]);
}

#[test]
fn connection_cannot_nominate_what_the_proxy_itself_says() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\
          Connection: Host, X-Forwarded-For, Content-Length, Transfer-Encoding, Authorization, \
          Cookie, Content-Type\r\nAuthorization: Basic x\r\nCookie: a=b\r\n\
          Content-Type: text/plain\r\n\r\nabc",
    );
    assert_eq!(client.response().status, 200);
    let seen = origin.only();
    assert_eq!(seen.body, b"abc");
    for name in
        ["host", "x-forwarded-for", "content-length", "authorization", "cookie", "content-type"]
    {
        assert_eq!(seen.values(name).len(), 1, "{name}");
    }
}

#[test]
fn hop_by_hop_headers_of_a_response_stay_behind() {
    let origin = Origin::start(|_, _| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
             Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
             X-Kept: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let proxy = Proxy::start(&all_to(&origin));
    let response = proxy.get("/");
    assert_eq!(response.text(), "ok");
    for name in ["x-private", "keep-alive", "proxy-connection", "proxy-authenticate", "upgrade"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert!(!response.lists("connection", "x-private"), "{response:?}");
    assert_eq!(response.header("x-kept"), Some("1"));
    let cookies = response.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case("set-cookie"));
    assert_eq!(cookies.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[test]
fn the_reason_and_unknown_statuses_cross() {
    let origin =
        Origin::start(|_, _| Reply::raw("HTTP/1.1 299 Odd But Fine\r\nContent-Length: 0\r\n\r\n"));
    let proxy = Proxy::start(&all_to(&origin));
    assert_eq!(proxy.get("/").status, 299);
}

#[test]
fn forwarding_headers_say_who_asked_for_what() {
    let (seen, proxy) = forwarded("Host: shop.example:81\r\n");
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), ["shop.example:81"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_ne!(seen.values("host"), [proxy.address().to_string()]);
}

#[test]
fn spoofed_forwarding_headers_are_replaced() {
    let (seen, _) = forwarded(
        "Host: test\r\nX-Forwarded-For: 6.6.6.6\r\nX-FORWARDED-HOST: evil\r\n\
         x-forwarded-proto: https\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n",
    );
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), ["test"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("forwarded"), Vec::<&str>::new());
}

#[test]
fn the_origin_gets_its_own_authority_as_host() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(origin.only().values("host"), [origin.address().to_string()]);
}

#[test]
fn preserve_host_sends_the_clients_host() {
    let origin = Origin::saying("ok");
    let services = json!({ "o": { "url": origin.url("/"), "preserveHost": true } });
    let document = one_route("/", "GET", &origin.url("/"), json!({ "services": services }));
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(origin.only().values("host"), ["test"]);
}

#[test]
fn an_absolute_target_that_names_the_same_host_is_sent_as_a_path() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET http://test/a?b=1 HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.only().target, "/a?b=1");
}

/// Seconds since the epoch of a `Date` in the one form that is sent.
fn seconds(date: &str) -> u64 {
    let parsed = std::process::Command::new("date").args(["-u", "+%s", "-d", date]).output();
    let text = String::from_utf8(parsed.unwrap().stdout).unwrap();
    text.trim().parse().unwrap_or_else(|_| panic!("{date:?} is no date"))
}

fn is_now(date: Option<&str>) {
    let date = date.expect("a date");
    assert_eq!((date.len(), date.ends_with(" GMT")), (29, true), "{date}");
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(wall.as_secs().abs_diff(seconds(date)) <= 2, "{date}");
}

#[test]
fn a_response_without_a_date_is_given_one_and_one_with_a_date_keeps_it() {
    let dated =
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start(move |request, _| match request.target.as_str() {
        "/dated" => Reply::raw(dated),
        _ => Reply::text(200, "ok"),
    });
    let proxy = Proxy::start(&all_to(&origin));
    assert_eq!(proxy.get("/dated").header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    is_now(proxy.get("/").header("date"));
    crate::wait::pass(std::time::Duration::from_millis(2100)); // the second is over
    is_now(proxy.get("/").header("date"));
}

#[test]
fn our_own_answers_are_dated() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&one_route("/here", "GET", &origin.url("/"), json!({})));
    is_now(proxy.get("/nowhere").header("date"));
    let refused = crate::client::once(proxy.address(), "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(refused.status, 400);
    is_now(refused.header("date"));
}

#[test]
fn an_absolute_target_says_the_host_and_may_lack_a_path() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for (line, target, host) in [
        ("GET http://test HTTP/1.1\r\nHost: test", "/", "test"),
        ("GET http://test:80/a HTTP/1.1\r\nHost: test", "/a", "test:80"),
        ("GET http://TEST?q=1 HTTP/1.1\r\nHost: test", "/?q=1", "TEST"),
        ("GET http://old/a HTTP/1.0", "/a", "old"),
        ("GET /a HTTP/1.0\r\nHost: old", "/a", "old"),
    ] {
        let answered = crate::client::once(proxy.address(), &format!("{line}\r\n\r\n"));
        assert_eq!(answered.status, 200, "{line}");
        let seen = origin.seen().pop().unwrap();
        assert_eq!((seen.target.as_str(), seen.values("x-forwarded-host")), (target, vec![host]));
    }
    let answered = crate::client::once(proxy.address(), "GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(answered.status, 200);
    let seen = origin.seen().pop().unwrap();
    assert_eq!(seen.values("host"), [origin.address().to_string()]);
    assert_eq!(seen.values("x-forwarded-host"), Vec::<&str>::new());
}

#[test]
fn an_authority_is_405_and_a_star_is_for_options_alone() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    for (line, status) in [
        ("CONNECT test:80 HTTP/1.1", 405),
        ("CONNECT / HTTP/1.1", 405),
        ("GET test:80 HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS */x HTTP/1.1", 400),
        ("OPTIONS * HTTP/1.1", 404),
    ] {
        let refused =
            crate::client::once(proxy.address(), &format!("{line}\r\nHost: test\r\n\r\n"));
        assert_eq!(refused.status, status, "{line}");
        assert_eq!(refused.header("allow"), (status == 405).then_some(""), "{line}");
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn our_own_answers_name_no_software_and_no_address() {
    let proxy =
        Proxy::start(&one_route("/down", "GET", &format!("http://{}/", ports::hold()), json!({})));
    for path in ["/down", "/nowhere"] {
        let answer = proxy.get(path);
        assert_eq!(answer.header("server"), None);
        assert!(!answer.text().contains("127.0.0.1"), "{answer:?}");
    }
}
