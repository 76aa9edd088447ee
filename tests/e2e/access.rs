//! The access log: what is told of a request, and that nothing can be forged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Asked, Client};
use crate::document::{all_to, guarded, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, Gate};

/// A place for a log, and the document of a proxy that writes there.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }

    /// `document`, logged here; on one core, whose lines are in order.
    pub(crate) fn log(&self, document: Value, access: &str, format: &str) -> Value {
        let document = with(document, "/workers", json!(1));
        with(document, "/log", json!({ "access": access, "format": format, "file": self.path() }))
    }

    /// The lines, once there are `count` of them.
    #[track_caller]
    pub(crate) fn lines(&self, count: usize) -> Vec<String> {
        lines(&self.path(), count)
    }

    #[track_caller]
    pub(crate) fn json(&self, count: usize) -> Vec<Value> {
        self.lines(count).iter().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

#[track_caller]
pub(crate) fn lines(path: &Path, count: usize) -> Vec<String> {
    wait::until(&format!("{count} lines"), || read(path).lines().count() >= count);
    let text = read(path);
    assert!(text.ends_with('\n') && text.lines().count() == count, "{count} lines, not {text}");
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_json_line_tells_what_a_request_came_to() {
    let origin = Origin::start(|_, _| Reply::text(201, "hello").after(Duration::from_millis(30)));
    let place = Place::new();
    let proxy = Proxy::start(&place.log(all_to(&origin), "all", "json"));
    let mut client = Client::connect(proxy.address());
    client.send(
        b"POST /a%20b?token=secret HTTP/1.1\r\nHost: shop.test\r\n\
          user-AGENT: \"it\\'s\" \xe2\x82\xac\r\n\
          Referer: http://shop.test/from?token=secret\r\nTransfer-Encoding: chunked\r\n\r\n\
          3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().text(), "hello");
    assert_eq!(client.get("/again").text(), "hello");
    let [first, second] = place.json(2).try_into().unwrap();
    for (key, expected) in [
        ("client", json!("127.0.0.1")),
        ("host", json!("shop.test")),
        ("method", json!("POST")),
        ("path", json!("/a%20b")),
        ("protocol", json!("HTTP/1.1")),
        ("status", json!(201)),
        ("route", json!("ALL /*rest")),
        ("service", json!("origin")),
        ("target", json!(origin.url("").trim_start_matches("http://"))),
        ("referer", json!("http://shop.test/from")),
        ("user_agent", json!("\"it\\'s\" €")),
        ("outcome", json!("ok")),
        ("request_bytes", json!(7)),
        ("response_bytes", json!(5)),
        ("retries", json!(0)),
    ] {
        assert_eq!(first[key], expected, "{key} of {first}");
    }
    for key in ["duration_ms", "response_ms"] {
        assert!(first[key].as_f64().unwrap() >= 30.0, "{key} of {first}");
    }
    assert!(first["connect_ms"].as_f64().unwrap() >= 0.0);
    assert!(second["connect_ms"].is_null(), "a pooled connection: {second}");
    assert_eq!((&second["path"], &second["user_agent"]), (&json!("/again"), &Value::Null));
    assert!(!read(&place.path()).contains("secret"), "queries may carry secrets");
}

#[test]
fn a_combined_line_is_what_its_readers_expect() {
    let origin = Origin::saying("hello");
    let place = Place::new();
    let proxy = Proxy::start(&place.log(all_to(&origin), "all", "combined"));
    let mut client = Client::connect(proxy.address());
    client.send(b"GET /x?y=1 HTTP/1.0\r\nHost: a\r\nUser-Agent: a \"b\" \\ \xff\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    let line = place.lines(1).remove(0);
    let (front, rest) = line.split_once(" [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(front, "127.0.0.1 - -");
    assert!(time.len() == 26 && time.ends_with(" +0000"), "{time}");
    assert_eq!(rest, r#""GET /x HTTP/1.0" 200 5 "-" "a \x22b\x22 \x5C \xFF""#);
}

#[test]
fn nothing_that_a_client_sends_forges_a_line() {
    let origin = Origin::saying("ok");
    let place = Place::new();
    let proxy = Proxy::start(&place.log(all_to(&origin), "all", "json"));
    let long = "x".repeat(3000);
    let long_path = format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n");
    let long_field = format!("GET /a HTTP/1.1\r\nHost: a\r\nReferer: {long}\r\n\r\n");
    let hostile = [
        &b"GET /\x1b[2J\" HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: \x80\xff\",\"status\":200}\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: x\n{\"status\":200}\r\n\r\n",
        b"\x00\x01\x02\xff\r\n\r\n",
        long_path.as_bytes(),
        long_field.as_bytes(),
    ];
    for bytes in hostile {
        let mut client = Client::connect(proxy.address());
        client.offer(bytes);
        drop(client.try_response(Asked::Other));
    }
    let told = place.json(hostile.len());
    let statuses: Vec<_> = told.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [400, 200, 400, 400, 200, 200]);
    assert_eq!(told[1]["user_agent"], "\\x80\\xFF\",\"status\":200}");
    for line in place.lines(hostile.len()) {
        assert!(line.len() < 2048 && !line.contains(|c: char| c.is_control()), "{line:?}");
    }
    assert!(told[4]["path"].as_str().unwrap().ends_with("x..."));
}

#[test]
fn errors_are_what_was_refused_or_cut_and_what_a_service_failed_at() {
    let origin = Origin::start(|request, _| match request.target.as_str() {
        "/500" => Reply::text(500, "no"),
        "/404" => Reply::text(404, "no"),
        "/cut" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").then_close(),
        "/mute" => Reply::nothing().then_close(),
        _ => Reply::text(200, "ok"),
    });
    let place = Place::new();
    let document = with(all_to(&origin), "/http/limits", json!({ "body": 3 }));
    let proxy = Proxy::start(&place.log(document, "errors", "json"));
    for path in ["/fine", "/404", "/500", "/mute", "/%00"] {
        proxy.get(path);
    }
    for request in [
        "GET /cut HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
        "GET /none HTTP/3.0\r\nHost: a\r\n\r\n",
    ] {
        let mut client = Client::connect(proxy.address());
        client.send(request.as_bytes());
        drop(client.try_response(Asked::Other));
    }
    let told = place.json(6);
    let told: Vec<_> = told
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("path"), line["status"].as_u64().unwrap(), text("outcome"))
        })
        .collect();
    let expected = [
        ("/500", 500, "ok"),
        ("/mute", 502, "upstream_cut"),
        ("/%00", 400, "malformed"),
        ("/cut", 200, "upstream_cut"),
        ("/large", 413, "limits.body"),
        ("/none", 505, "malformed"),
    ];
    assert_eq!(told, expected.map(|(a, b, c)| (a.to_owned(), b, c.to_owned())));
}

#[test]
fn a_request_sent_twice_and_a_client_that_left_are_told_as_such() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |request, nth| match (request.target.as_str(), nth) {
        ("/stale", 1) => Reply::nothing().then_close(),
        ("/left", _) => Reply::text(200, "for nobody").behind(&held),
        _ => Reply::text(200, "ok"),
    });
    let place = Place::new();
    let proxy = Proxy::start(&place.log(all_to(&origin), "all", "json"));
    let mut client = Client::connect(proxy.address());
    for path in ["/first", "/stale"] {
        assert_eq!(client.get(path).status, 200);
    }
    client.send(b"GET /left HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(4);
    client.abort();
    gate.open();
    let told = place.json(3);
    assert_eq!((&told[1]["retries"], &told[1]["outcome"]), (&json!(1), &json!("ok")));
    assert!(told[1]["connect_ms"].is_number(), "again on a fresh connection: {}", told[1]);
    assert_eq!(told[2]["outcome"], "client_gone");
}

#[test]
fn a_refusal_of_a_breaker_is_told_with_its_route() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let place = Place::new();
    let document = guarded(&origin, json!({ "maxFailures": 1, "timeWindow": "10s" }));
    let proxy = Proxy::start(&place.log(document, "errors", "json"));
    for expected in [500, 503] {
        assert_eq!(proxy.get("/guarded").status, expected);
    }
    assert_eq!(proxy.get("/nowhere").status, 404);
    let told = place.json(3);
    let words: Vec<_> = told.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(words, ["ok", "open", "no_route"]);
    assert_eq!((&told[1]["route"], &told[1]["target"]), (&json!("GET /guarded"), &Value::Null));
    assert_eq!(told[1]["response_bytes"], r#"{"error":"Service unavailable"}"#.len());
}

#[test]
fn errors_go_to_standard_error_when_nothing_is_said() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&crate::document::one_route("/", "GET", &origin.url("/"), json!({})));
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.get("/lost").status, 404);
    let line = proxy.lines().await_line("no_route");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["path"], &line["status"]), (&json!("/lost"), &json!(404)));
    assert_eq!(proxy.lines().count("\"outcome\""), 1);
}
