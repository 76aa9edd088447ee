//! Every timeout and every limit of the configuration: its answer, and the counter that names it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Asked, Broken, Client};
use crate::document::{all_to, guarded, one_route, with};
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, Gate};

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// This status, and then its connection is closed.
    AndClose(u16),
    /// This status, and its connection goes on.
    Status(u16),
    /// The end of its connection, and nothing before it.
    Close,
    /// A cut in the middle of a response.
    Cut,
}

/// One proxy with `value` at `key` below `http`, to `origin`.
fn bounded(origin: &Origin, key: &str, value: Value) -> Proxy {
    let document = with(all_to(origin), "/workers", json!(1));
    Proxy::start(&with(document, &format!("/http/{}", key.replace('.', "/")), value))
}

/// Sends `bytes` and asserts what comes of it, and that it is counted for `key`, once.
#[track_caller]
fn hits(proxy: &Proxy, key: &str, bytes: &[u8], gets: Gets) {
    let before = proxy.hits(key);
    let mut client = Client::connect(proxy.address());
    client.offer(bytes);
    let got = match client.try_response(Asked::Other) {
        // What is said of the connection, and for a close also done.
        Ok(response) if response.lists("connection", "close") && client.is_closed() => {
            Gets::AndClose(response.status)
        }
        Ok(response) => Gets::Status(response.status),
        Err(Broken::Cut(before) | Broken::Reset(before)) if before.is_empty() => Gets::Close,
        Err(Broken::Cut(_) | Broken::Reset(_)) => Gets::Cut,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(got, gets);
    wait::until(&format!("{key} is counted"), || proxy.hits(key) > before);
    assert_eq!(proxy.hits(key), before + 1, "{key}");
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
fn header_timeout() {
    let origin = Origin::saying("ok");
    let proxy = bounded(&origin, "timeouts.header", json!("200ms"));
    hits(&proxy, "timeouts.header", b"GET / HTTP/1.1\r\nHo", Gets::AndClose(408));
    hits(&proxy, "timeouts.header", b"", Gets::Close);
    assert_eq!(origin.count(), 0);
}

#[test]
fn body_timeout_of_a_client_that_sends_and_of_one_that_reads() {
    let body = vec![b'x'; 32 << 20];
    let origin = Origin::start(move |_, _| Reply::bytes(&body));
    let proxy = bounded(&origin, "timeouts.body", json!("300ms"));
    let half = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf";
    hits(&proxy, "timeouts.body", half, Gets::AndClose(408));
    let mut idler = Client::connect(proxy.address());
    idler.send(GET);
    wait::until("it is counted", || proxy.hits("timeouts.body") == 2);
    assert!(matches!(idler.try_response(Asked::Other), Err(Broken::Cut(_) | Broken::Reset(_))));
}

#[test]
fn idle_timeout() {
    let origin = Origin::saying("ok");
    let proxy = bounded(&origin, "timeouts.idle", json!("200ms"));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").status, 200);
    assert!(client.is_closed());
    wait::until("it is counted", || proxy.hits("timeouts.idle") == 1);
}

/// An address that takes no connection, and what keeps it so.
fn silent_address() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    // What is queued fills it; from then on the kernel drops what knocks.
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queued.push(stream);
        assert!(queued.len() < 16, "it takes everything");
    }
    (address, listener, queued)
}

#[test]
fn connect_timeout() {
    let (address, _listener, _queued) = silent_address();
    let document = one_route("/", "GET", &format!("http://{address}/"), json!({}));
    let proxy = Proxy::start(&with(document, "/http/timeouts", json!({ "connect": "200ms" })));
    hits(&proxy, "timeouts.connect", GET, Gets::Status(504));
}

#[test]
fn response_timeout_before_the_head_and_behind_it() {
    let origin = Origin::start(|request, _| match request.target.as_str() {
        "/late" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
        _ => Reply::nothing(),
    });
    let proxy = bounded(&origin, "timeouts.response", json!("200ms"));
    hits(&proxy, "timeouts.response", GET, Gets::Status(504));
    let late = b"GET /late HTTP/1.1\r\nHost: test\r\n\r\n";
    hits(&proxy, "timeouts.response", late, Gets::Cut);
}

#[test]
fn timeout_of_a_service_and_of_a_breaker() {
    let origin = Origin::start(|_, _| Reply::nothing());
    let service = json!({ "services": { "a": { "url": origin.url("/"), "timeout": "200ms" } } });
    let document = crate::document::routes(json!({ "/": { "GET": service } }));
    hits(&Proxy::start(&document), "timeout", GET, Gets::Status(504));
    let proxy = Proxy::start(&guarded(&origin, json!({ "timeout": "200ms" })));
    let guarded = b"GET /guarded HTTP/1.1\r\nHost: test\r\n\r\n";
    hits(&proxy, "timeout", guarded, Gets::Status(504));
}

#[test]
fn upstream_idle_timeout_and_limit() {
    let origin = Origin::saying("ok");
    let proxy = bounded(&origin, "timeouts.upstreamIdle", json!("200ms"));
    assert_eq!(proxy.get("/").status, 200);
    wait::until("it is counted", || proxy.hits("timeouts.upstreamIdle") == 1);

    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, _| Reply::text(200, "ok").behind(&held));
    let proxy = bounded(&origin, "limits.upstreamIdle", json!(1));
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(proxy.address())).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    origin.await_requests(3);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    wait::until("all but one are closed", || proxy.hits("limits.upstreamIdle") == 2);
}

#[test]
fn limits_of_a_request_head() {
    let origin = Origin::saying("ok");
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes();
    let proxy = bounded(&origin, "limits.headerBytes", json!(1024));
    let long = head(&format!("X: {}\r\n", "x".repeat(1024)));
    hits(&proxy, "limits.headerBytes", &long, Gets::AndClose(431));
    let proxy = bounded(&origin, "limits.headers", json!(3));
    hits(&proxy, "limits.headers", &head(&"X: x\r\n".repeat(3)), Gets::AndClose(431));
    // More than are ever told apart.
    hits(&proxy, "limits.headers", &head(&"X: x\r\n".repeat(300)), Gets::AndClose(431));
    let proxy = bounded(&origin, "limits.uri", json!(100));
    let long = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(100));
    hits(&proxy, "limits.uri", long.as_bytes(), Gets::AndClose(414));
    assert_eq!(origin.count(), 0);
}

#[test]
fn limits_of_a_response_head() {
    let reply = |fields: String| {
        Reply::raw(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"))
    };
    let origin = Origin::start(move |request, _| match request.target.as_str() {
        "/many" => reply("X: x\r\n".repeat(200)),
        "/more" => reply("X: x\r\n".repeat(300)),
        _ => reply(format!("X: {}\r\n", "x".repeat(40_000))),
    });
    let proxy = Proxy::start(&all_to(&origin));
    hits(&proxy, "limits.responseHeaderBytes", GET, Gets::Status(502));
    for path in ["/many", "/more"] {
        let get = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        hits(&proxy, "limits.responseHeaders", get.as_bytes(), Gets::Status(502));
    }
}

#[test]
fn limit_of_a_body() {
    let origin = Origin::saying("ok");
    let proxy = bounded(&origin, "limits.body", json!(10));
    let told = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n";
    hits(&proxy, "limits.body", told, Gets::AndClose(413));
    let grown = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
                  b\r\n01234567890\r\n0\r\n\r\n";
    hits(&proxy, "limits.body", grown, Gets::AndClose(413));
    assert_eq!(origin.count(), 0);
}

#[test]
fn limit_of_requests_on_a_connection() {
    let origin = Origin::saying("ok");
    let proxy = bounded(&origin, "limits.requestsPerConnection", json!(1));
    hits(&proxy, "limits.requestsPerConnection", GET, Gets::AndClose(200));
}

#[test]
fn limit_of_upstream_connections() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, _| Reply::text(200, "ok").behind(&held));
    let proxy = bounded(&origin, "limits.upstreamConnections", json!(1));
    let mut first = Client::connect(proxy.address());
    first.send(GET);
    origin.await_requests(1);
    hits(&proxy, "limits.upstreamConnections", GET, Gets::Status(503));
    gate.open();
    assert_eq!(first.response().status, 200);
}

#[test]
fn limit_of_connections_where_all_are_busy() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |_, _| Reply::text(200, "ok").behind(&held));
    let proxy = bounded(&origin, "limits.connections", json!(3));
    let mut busy: Vec<_> = (0..3).map(|_| Client::connect(proxy.address())).collect();
    busy.iter_mut().for_each(|client| client.send(GET));
    origin.await_requests(3);
    hits(&proxy, "limits.connections", GET, Gets::AndClose(503));
    gate.open();
    busy.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    wait::until("there is room again", || {
        let mut client = Client::connect(proxy.address());
        client.offer(GET);
        client.try_response(Asked::Other).is_ok_and(|response| response.status == 200)
    });
}

/// A list without blanks is as good as one with them, and must find room where it goes.
#[test]
fn an_upgrade_that_offers_thousands_of_protocols_is_asked_for_whole() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    let offered = ["a"; 6_500].join(",");
    let head = "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: ";
    client.send(format!("{head}{offered}\r\n\r\n").as_bytes());
    assert_eq!(client.response().text(), "ok");
    assert_eq!(origin.only().values("upgrade"), [offered]);
}
