//! Which route serves a request, and what its origin is asked for.

use serde_json::json;

use crate::client::{self, Asked, Client};
use crate::document::{self, one_route, routes};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;

#[test]
fn rt4_a_path_param_reaches_the_origin() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&one_route("/users/:id", "GET", &origin.url("/users/:id"), json!({})));
    assert_eq!(proxy.get("/users/100").text(), "ok");
    assert_eq!(origin.only().target, "/users/100");
}

#[test]
fn rt5_a_wildcard_takes_the_rest_slashes_included() {
    let origin = Origin::saying("ok");
    let url = origin.url("/users/:id/a/b/:0");
    let proxy = Proxy::start(&one_route("/users/:id/a/(.*)", "GET", &url, json!({})));
    assert_eq!(proxy.get("/users/100/a/boom/shanker").status, 200);
    assert_eq!(origin.only().target, "/users/100/a/b/boom/shanker");
}

#[test]
fn rt6_each_method_reaches_the_origin_as_itself() {
    let origin = Origin::start(|request, _| Reply::json(200, &json!({ "did": request.method })));
    let route = json!({ "services": { "origin": { "url": origin.url("/users") } } });
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH"];
    let by_method = methods.map(|method| (method.to_owned(), route.clone()));
    let by_method: serde_json::Map<_, _> = by_method.into_iter().collect();
    let proxy = Proxy::start(&routes(json!({ "/users": by_method })));
    let mut client = Client::connect(proxy.address());
    for method in methods {
        let body = if method.starts_with('P') { "{\"name\":1}" } else { "" };
        let head = format!("{method} /users HTTP/1.1\r\nHost: test\r\n");
        let length = if body.is_empty() { String::new() } else { "Content-Length: 10\r\n".into() };
        client.send(format!("{head}{length}\r\n{body}").as_bytes());
        let response = client.response();
        assert_eq!((response.status, response.json()), (200, json!({ "did": method })));
        let seen = origin.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.body.as_slice()), (method, body.as_bytes()));
    }
}

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let origin = Origin::start(|request, _| Reply::text(200, &request.target));
    let to = |path: &str| json!({ "GET": { "services": { "o": { "url": origin.url(path) } } } });
    let document = routes(json!({
        "/a/*rest": to("/rest"), "/a/:one": to("/param"), "/a/literal": to("/literal"),
    }));
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/a/literal").text(), "/literal");
    assert_eq!(proxy.get("/a/other").text(), "/param");
    assert_eq!(proxy.get("/a/other/more").text(), "/rest");
    assert_eq!(proxy.get("/a/literal/").text(), "/literal", "trailingSlash: ignore");
}

#[test]
fn the_query_is_appended_to_the_url_of_the_service() {
    let origin = Origin::saying("ok");
    let to = |path: &str| json!({ "GET": { "services": { "o": { "url": origin.url(path) } } } });
    let proxy = Proxy::start(&routes(json!({ "/plain": to("/p"), "/own": to("/o?key=1") })));
    for path in ["/plain?a=1&a=2&b=%20", "/own?a=1", "/plain", "/own", "/plain?"] {
        assert_eq!(proxy.get(path).status, 200, "{path}");
    }
    let targets: Vec<String> = origin.seen().into_iter().map(|request| request.target).collect();
    assert_eq!(targets[..4], ["/p?a=1&a=2&b=%20", "/o?key=1&a=1", "/p", "/o?key=1"]);
    assert!(["/p", "/p?"].contains(&targets[4].as_str()), "{}", targets[4]);
}

#[test]
fn a_path_that_no_route_serves_is_404_in_the_form_the_client_prefers() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&one_route("/users", "GET", &origin.url("/"), json!({})));
    let missing = proxy.get("/identity");
    assert_eq!(missing.status, 404);
    assert!(missing.json()["error"].is_string(), "{missing:?}");
    let text = "GET /identity HTTP/1.1\r\nHost: test\r\nAccept: text/plain\r\n\r\n";
    let missing = client::once(proxy.address(), text);
    assert_eq!(missing.status, 404);
    assert!(missing.lists("content-type", "text/plain; charset=utf-8"), "{missing:?}");
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_served_path_with_another_method_is_405_and_names_the_allowed_ones() {
    let origin = Origin::saying("ok");
    let to = json!({ "services": { "o": { "url": origin.url("/") } } });
    let proxy = Proxy::start(&routes(json!({ "/users": { "GET": to, "PUT": to } })));
    let request = "POST /users HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";
    let refused = client::once(proxy.address(), request);
    assert_eq!(refused.status, 405);
    for method in ["GET", "PUT"] {
        assert!(refused.lists("allow", method), "{refused:?}");
    }
    assert!(!refused.lists("allow", "POST"), "{refused:?}");
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_head_request_falls_back_to_get_and_gets_no_body() {
    let origin = Origin::start(|request, _| match request.method.as_str() {
        "HEAD" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Seen: head\r\n\r\n"),
        _ => Reply::text(200, "after"),
    });
    let proxy = Proxy::start(&one_route("/users", "GET", &origin.url("/"), json!({})));
    let mut client = Client::connect(proxy.address());
    client.send(b"HEAD /users HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.try_response(Asked::Head).unwrap();
    assert_eq!((head.status, head.header("x-seen")), (200, Some("head")));
    assert_eq!(head.header("content-length"), Some("5"));
    assert_eq!(client.get("/users").text(), "after", "the connection goes on in step");
    client.send(b"HEAD /nowhere HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.try_response(Asked::Head).unwrap().status, 404);
    assert_eq!(client.get("/users").text(), "after", "our own answer to HEAD has no body either");
}

#[test]
fn hosts_choose_between_routes_and_the_default_host_takes_the_rest() {
    let origin = Origin::start(|request, _| Reply::text(200, &request.target));
    let to = |path: &str| {
        let services = json!({ "o": { "url": origin.url(path) } });
        json!({ "routes": { "/": { "GET": { "services": services } } } })
    };
    let hosts = json!({ "api.example.com": to("/exact"), "*.example.com": to("/below") });
    let default = one_route("/", "GET", &origin.url("/default"), json!({}));
    let proxy = Proxy::start(&document::with(default, "/http/hosts", hosts));
    for (host, served) in [
        ("api.example.com", "/exact"),
        ("API.Example.COM:8080", "/exact"),
        ("other.example.com", "/below"),
        ("example.com", "/default"),
        ("127.0.0.1", "/default"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(client::once(proxy.address(), &request).text(), served, "{host}");
    }
}

#[test]
fn dot_segments_never_lead_out_of_a_route() {
    let origin = Origin::saying("reached");
    let proxy = Proxy::start(&one_route("/pub/*rest", "GET", &origin.url("/pub/:rest"), json!({})));
    for path in [
        "/pub/../admin",
        "/pub/..",
        "/pub/%2e%2e/admin",
        "/pub/.%2E/admin",
        "/pub/./x",
        "/pub/a%00b",
        "/pub/a\\..\\b",
        "/pub/a#b",
        "/pub/a%2",
        "/pub/a%zz",
        "/pub/..%2fadmin",
    ] {
        assert_eq!(proxy.get(path).status, 400, "{path}");
    }
    assert_eq!(origin.count(), 0);
    assert_eq!(proxy.get("/pub/a..b/c.d/%2e%2ex").status, 200, "dots inside a segment are legal");
}
