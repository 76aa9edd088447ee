//! A reload changes the routes and nothing else: no request fails, no breaker forgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::document::{guarded, one_route, routes, with};
use crate::kernel::Signal;
use crate::origin::{Origin, Reply};
use crate::ports;
use crate::proxy::{self, Proxy};
use crate::wait::{self, Gate};

/// `GET /page` to `url` path, with one more route per `generation`.
fn page(origin: &Origin, path: &str) -> Value {
    let limits = json!({ "requestsPerConnection": "unlimited" }); // however long a test takes
    with(one_route("/page", "GET", &origin.url(path), json!({})), "/http/limits", limits)
}

#[test]
fn reloads_under_load_lose_no_request_and_no_connection() {
    let origin = Origin::start(|request, _| Reply::text(200, &request.target));
    let proxy = Proxy::start(&page(&origin, "/0"));
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = |_| {
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        let mut client = Client::connect(proxy.address());
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let response = client.get("/page");
                assert_eq!((response.status, &response.text()[..1]), (200, "/"));
                assert!(!response.lists("connection", "close"));
                served.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let clients: Vec<_> = (0..8).map(load).collect();
    for generation in 1..=20 {
        let path = format!("/{generation}");
        proxy.write(&page(&origin, &path));
        proxy.signal(Signal::Hangup);
        wait::until("the new generation", || proxy.get("/page").text() == path);
        let enough = generation * 50;
        wait::until("load between reloads", || served.load(Ordering::SeqCst) >= enough);
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("a client without a failed request");
    }
    assert!(served.load(Ordering::SeqCst) >= 1000);
}

#[test]
fn a_refused_reload_keeps_serving_and_says_what_is_wrong() {
    let origin = Origin::start(|request, _| Reply::text(200, &request.target));
    let proxy = Proxy::start(&page(&origin, "/old"));
    proxy.write(&with(page(&origin, "/new"), "/http/circutBreaker", json!({})));
    proxy.signal(Signal::Hangup);
    proxy.lines().await_line("error[F001] ");
    let text = proxy.lines().text();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("circutBreaker")).collect();
    let [line] = told.as_slice() else { panic!("one record for one complaint: {text}") };
    assert!(line.starts_with('{') && line.contains("did you mean `circuitBreaker`?"), "{line}");
    assert_eq!(proxy.get("/page").text(), "/old");
    proxy.write(&Value::String("{ this is no document".into()));
    let refused = proxy.post("/reload");
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(proxy.get("/page").text(), "/old");
    proxy.write(&page(&origin, "/new"));
    proxy.signal(Signal::Hangup);
    wait::until("the repaired generation", || proxy.get("/page").text() == "/new");
}

#[test]
fn a_file_that_is_no_text_is_refused_with_the_place_of_its_byte() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&page(&origin, "/"));
    std::fs::write(proxy.path(), b"{ \xff }").unwrap();
    let refused = proxy.post("/reload");
    assert_eq!(refused.status, 422, "{refused:?}");
    let complaint = &refused.json()["complaints"][0];
    assert_eq!((&complaint["code"], &complaint["line"]), (&json!("F005"), &json!(1)));
    assert_eq!(complaint["column"], json!(3));
}

#[test]
fn post_reload_answers_when_every_core_serves_the_new_generation() {
    let origin = Origin::start(|request, _| Reply::text(200, &request.target));
    let proxy = Proxy::start(&page(&origin, "/0"));
    for generation in 1..=10 {
        proxy.write(&page(&origin, &format!("/{generation}")));
        let answer = proxy.post("/reload");
        assert_eq!(answer.status, 200, "{answer:?}");
        for _ in 0..8 {
            assert_eq!(proxy.get("/page").text(), format!("/{generation}"));
        }
    }
}

#[test]
fn the_reload_command_exits_0_when_active_78_when_refused_and_1_when_nobody_answers() {
    let origin = Origin::start(|request, _| Reply::text(200, &request.target));
    let proxy = Proxy::start(&page(&origin, "/old"));
    let (path, admin) = (proxy.path(), proxy.admin().to_string());
    let arguments = ["reload", path.to_str().unwrap(), "--admin", &admin];
    proxy.write(&page(&origin, "/new"));
    let done = proxy::run(&arguments);
    assert_eq!(done.status.code(), Some(0), "{}", done.output);
    assert_eq!(proxy.get("/page").text(), "/new");
    proxy.write(&with(page(&origin, "/bad"), "/http/circutBreaker", json!({})));
    let refused = proxy::run(&arguments);
    assert_eq!(refused.status.code(), Some(78), "{}", refused.output);
    assert!(refused.output.contains("circutBreaker"), "{}", refused.output);
    assert_eq!(proxy.get("/page").text(), "/new");
    proxy.write(&page(&origin, "/new"));
    let nobody = ports::hold().to_string();
    let lost = proxy::run(&["reload", path.to_str().unwrap(), "--admin", &nobody]);
    assert_eq!(lost.status.code(), Some(1), "{}", lost.output);
}

#[test]
fn an_open_breaker_stays_open_across_a_reload() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let before = guarded(&origin, json!({ "maxFailures": 2, "resetTimeout": "1 minute" }));
    let proxy = Proxy::start(&before);
    for _ in 0..2 {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    assert_eq!(proxy.get("/guarded").status, 503);
    let to = json!({ "GET": { "services": { "o": { "url": origin.url("/") } } } });
    proxy.write(&with(before, "/http/routes/~1new", to));
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(proxy.get("/new").status, 500, "the new route is there");
    assert_eq!(proxy.get("/guarded").status, 503);
    assert_eq!(proxy.state("GET /guarded"), "open");
    assert_eq!(origin.count(), 3);
}

#[test]
fn failures_counted_before_a_reload_count_after_it() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 2 })));
    assert_eq!(proxy.get("/guarded").status, 500);
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(proxy.get("/guarded").status, 500);
    assert_eq!(proxy.get("/guarded").status, 503);
}

#[test]
fn a_running_exchange_finishes_on_the_table_it_began_with() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |request, _| match request.target.as_str() {
        "/old" => Reply::text(200, "old").behind(&held),
        _ => Reply::text(200, "new"),
    });
    let proxy = Proxy::start(&page(&origin, "/old"));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(1);
    proxy.write(&page(&origin, "/new"));
    assert_eq!(proxy.post("/reload").status, 200, "it does not wait for the exchange");
    assert_eq!(proxy.get("/page").text(), "new");
    gate.open();
    assert_eq!(client.response().text(), "old");
    assert_eq!(client.get("/page").text(), "new", "the connection goes on");
}

#[test]
fn a_removed_route_is_404_and_its_breaker_gone() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&guarded(&origin, json!({ "maxFailures": 2 })));
    assert_eq!(proxy.get("/guarded").status, 200);
    proxy.write(&routes(json!({ "/other": { "GET": { "services": {
        "o": { "url": origin.url("/") }
    } } } })));
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(proxy.get("/guarded").status, 404);
    assert_eq!(proxy.ask("/breakers/GET%20%2Fguarded").status, 404);
}

#[test]
fn a_rotated_token_holds_from_the_reload_on() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "old\n").unwrap();
    let origin = Origin::saying("ok");
    let secret = json!({ "file": token.path().to_str().unwrap() });
    let admin = json!({ "listen": "127.0.0.1:0", "token": secret });
    let proxy = Proxy::start(&with(page(&origin, "/"), "/admin", admin));
    let reload = |token: &str| {
        let head = format!("Host: {}\r\nAuthorization: Bearer {token}", proxy.admin());
        let request = format!("POST /reload HTTP/1.1\r\n{head}\r\nContent-Length: 0\r\n\r\n");
        client::once(proxy.admin(), &request).status
    };
    std::fs::write(token.path(), "new\n").unwrap();
    assert_eq!(reload("new"), 401, "nobody has read it yet");
    assert_eq!(reload("old"), 200);
    assert_eq!(reload("old"), 401);
    assert_eq!(reload("new"), 200);
}

#[test]
fn what_a_running_process_cannot_follow_is_a_complaint_with_its_place() {
    let (origin, taken) = (Origin::saying("ok"), Origin::saying("taken"));
    let proxy = Proxy::start(&page(&origin, "/"));
    let complaint = |key: &str, value: Value| {
        proxy.write(&with(page(&origin, "/"), key, value));
        let refused = proxy.post("/reload");
        assert_eq!(refused.status, 422, "{refused:?}");
        let complaint = refused.json()["complaints"][0].clone();
        assert!(complaint["line"].is_u64() && complaint["column"].is_u64(), "{complaint}");
        (complaint["code"].clone(), complaint["pointer"].clone())
    };
    assert_eq!(complaint("/workers", json!(3)), (json!("F016"), json!("/workers")));
    let listen = json!(["127.0.0.1:0", taken.address().to_string()]);
    assert_eq!(complaint("/listen", listen), (json!("F014"), json!("/listen/1")));
    assert_eq!(proxy.get("/page").text(), "ok");
}

#[test]
fn a_reload_that_adds_an_address_keeps_the_port_that_was_picked() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&page(&origin, "/"));
    let listen = json!(["127.0.0.2:0", "127.0.0.1:0"]);
    proxy.write(&with(page(&origin, "/"), "/listen", listen));
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(proxy.get("/page").text(), "ok");
    proxy.write(&page(&origin, "/"));
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(proxy.get("/page").text(), "ok");
}

#[test]
fn the_same_port_may_be_served_on_a_wider_or_a_narrower_address() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&page(&origin, "/"));
    let port = proxy.address().port();
    let mut client = Client::connect(proxy.address());
    for host in ["0.0.0.0", "127.0.0.1", "[::]", "127.0.0.1"] {
        let listen = json!(format!("{host}:{port}"));
        proxy.write(&with(page(&origin, "/"), "/listen", listen));
        let answer = proxy.post("/reload");
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
        assert_eq!(proxy.get("/page").text(), "ok", "{host}");
        assert_eq!(client.get("/page").text(), "ok", "a connection stays");
    }
}
