//! Connections that go on in another protocol: who may, what passes, when they end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Client;
use crate::document::{all_to, guarded, with};
use crate::kernel::Signal;
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, pass};

/// The handshake of RFC 6455 §1.3.
const OPENING: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\
                       Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A frame of RFC 6455 §5.2; a client's is masked.
fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ ..126 => frame.push(masked | u8::try_from(len).unwrap()),
        len @ 126..0x1_0000 => {
            frame.push(masked | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(masked | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| frame.extend(mask)).unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Reads one frame by `read`, which gives exactly so many bytes.
fn read_frame(mut read: impl FnMut(usize) -> Option<Vec<u8>>) -> Option<(u8, Vec<u8>)> {
    let start = read(2)?;
    let length = match start[1] & 0x7f {
        126 => usize::from(u16::from_be_bytes(read(2)?.try_into().ok()?)),
        127 => usize::try_from(u64::from_be_bytes(read(8)?.try_into().ok()?)).ok()?,
        length => usize::from(length),
    };
    let mask = if start[1] & 0x80 != 0 { read(4)? } else { vec![0; 4] };
    let payload = read(length)?;
    let plain = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Some((start[0] & 0x0f, plain.collect()))
}

/// Reads a request's head, byte by byte, so that what lies behind it stays.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1..) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// An origin that answers each connection's head with `answer` and hands over the stream.
fn answering(answer: &'static str) -> (Origin, Receiver<(String, TcpStream)>) {
    let (sender, receiver) = mpsc::channel();
    let origin = Origin::raw(move |mut stream, _| {
        let head = read_head(&mut stream);
        let _ = stream.write_all(answer.as_bytes());
        let _ = sender.send((head, stream));
    });
    (origin, receiver)
}

/// A client whose connection has become a tunnel, and the origin's end of it.
#[track_caller]
fn open(proxy: &Proxy, streams: &Receiver<(String, TcpStream)>) -> (Client, TcpStream) {
    let mut client = Client::connect(proxy.address());
    client.send(OPENING.as_bytes());
    assert_eq!(client.response().status, 101);
    let (_, stream) = streams.recv_timeout(wait::PATIENCE).expect("the origin's end");
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    (client, stream)
}

#[test]
fn web_socket_frames_pass_both_ways_those_behind_the_heads_first() {
    let origin = Origin::raw(|mut stream, _| {
        let head = read_head(&mut stream);
        assert!(head.contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), "{head}");
        let hello = frame(1, b"hello from the origin", None);
        let _ = stream.write_all(&[SWITCH.as_bytes(), &hello].concat());
        let mut input = stream.try_clone().unwrap();
        let mut exactly = |count| {
            let mut bytes = vec![0; count];
            input.read_exact(&mut bytes).ok().map(|()| bytes)
        };
        while let Some((opcode, payload)) = read_frame(&mut exactly) {
            let _ = stream.write_all(&frame(opcode, &payload, None));
            if opcode == 8 {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    });
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    let early = frame(2, b"sent before the answer", Some([1, 2, 3, 4]));
    client.send(&[OPENING.as_bytes(), &early].concat());
    let switched = client.response();
    assert_eq!(switched.status, 101);
    assert_eq!(switched.header("upgrade"), Some("websocket"));
    assert_eq!(switched.header("connection"), Some("upgrade"));
    assert_eq!(switched.header("sec-websocket-accept"), Some(ACCEPT));
    let read = |client: &mut Client| read_frame(|count| client.exactly(count).ok());
    assert_eq!(read(&mut client), Some((1, b"hello from the origin".to_vec())));
    assert_eq!(read(&mut client), Some((2, b"sent before the answer".to_vec())));
    for length in [0, 1, 125, 126, 40_000, 1_000_000] {
        let payload: Vec<u8> = (0..length).map(|nth| (nth % 251) as u8).collect();
        client.send(&frame(2, &payload, Some([9, 8, 7, 6])));
        assert_eq!(read(&mut client), Some((2, payload)), "{length} bytes");
    }
    pass(Duration::from_millis(2_300)); // long enough for both directions to come to rest
    client.send(&frame(9, b"ping", Some([0, 0, 0, 0])));
    assert_eq!(read(&mut client), Some((9, b"ping".to_vec())));
    client.send(&frame(8, &1000u16.to_be_bytes(), Some([5, 5, 5, 5])));
    assert_eq!(read(&mut client), Some((8, 1000u16.to_be_bytes().to_vec())));
    assert!(client.is_closed());
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_upgrade_is_asked_for_once_and_never_to_h2c() {
    let (origin, streams) = answering(SWITCH);
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(
        b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings, X-Own\r\n\
          X-Own: 1\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    assert_eq!(client.response().status, 101);
    let (head, _) = streams.recv_timeout(wait::PATIENCE).unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.ends_with("\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"), "{head}");
    for gone in ["h2c", "http2-settings", "x-own"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
}

#[test]
fn an_upgrade_to_h2c_alone_or_by_http_1_0_is_answered_as_plain_http() {
    let origin = Origin::start(|request, _| Reply::text(200, &request.target));
    let proxy = Proxy::start(&all_to(&origin));
    for (version, protocol) in [("1.1", "h2c"), ("1.0", "websocket")] {
        let mut client = Client::connect(proxy.address());
        let request = format!(
            "GET /plain HTTP/{version}\r\nHost: test\r\nConnection: Upgrade\r\n\
             Upgrade: {protocol}\r\n\r\n"
        );
        client.send(request.as_bytes());
        assert_eq!(client.response().text(), "/plain");
    }
    for seen in origin.seen() {
        assert!(seen.values("upgrade").is_empty() && seen.values("connection").is_empty());
    }
}

#[test]
fn an_upgrade_with_a_body_is_400() {
    let origin = Origin::saying("never");
    let proxy = Proxy::start(&all_to(&origin));
    for framing in ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let mut client = Client::connect(proxy.address());
        let head = "POST / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
        client.offer(format!("{head}{framing}").as_bytes());
        assert_eq!(client.response().status, 400);
        assert!(client.is_closed());
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_101_that_was_not_asked_for_or_names_another_protocol_is_502() {
    const ANSWERS: [&str; 4] = [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Content-Length: 2\r\n\r\nok",
    ];
    let plain = "GET /chat HTTP/1.1\r\nHost: test\r\n\r\n";
    let asked = ANSWERS.map(|answer| (OPENING, answer));
    for (request, answer) in asked.into_iter().chain([(plain, SWITCH)]) {
        let (origin, _streams) = answering(answer);
        let proxy = Proxy::start(&all_to(&origin));
        let refused = crate::client::once(proxy.address(), request);
        assert_eq!(refused.status, 502, "{request:?} {answer:?}");
    }
}

#[test]
fn an_upgrade_that_is_not_accepted_is_answered_as_any_request() {
    let origin = Origin::start(|_, nth| Reply::text(if nth == 0 { 401 } else { 200 }, "plain"));
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.send(OPENING.as_bytes());
    assert_eq!(client.response().status, 401);
    assert_eq!(client.get("/next").text(), "plain", "the connection goes on");
    assert_eq!(proxy.metric("fusebox_tunnels_total"), 0);
}

#[test]
fn bytes_behind_an_upgrade_that_is_not_accepted_are_never_a_request() {
    let origin = Origin::saying("plain");
    let proxy = Proxy::start(&all_to(&origin));
    let mut client = Client::connect(proxy.address());
    client.offer(format!("{OPENING}GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
    let answer = client.response();
    assert_eq!(answer.text(), "plain");
    assert!(answer.lists("connection", "close"), "{answer:?}");
    assert!(client.is_closed());
    assert_eq!(origin.only().target, "/chat");
}

#[test]
fn each_side_may_end_first_and_the_other_goes_on() {
    let (origin, streams) = answering(SWITCH);
    let proxy = Proxy::start(&all_to(&origin));
    let (mut client, mut stream) = open(&proxy, &streams);
    client.send(b"last words");
    client.finish_sending();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"last words");
    stream.write_all(b"and still an answer").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.exactly(19).unwrap(), b"and still an answer");
    assert!(client.is_closed());

    let (mut client, mut stream) = open(&proxy, &streams);
    stream.write_all(b"over").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"over");
    assert!(client.is_closed(), "its direction has ended");
    client.send(b"but I go on");
    client.finish_sending();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"but I go on");
    wait::until("the end of both", || proxy.metric("fusebox_tunnels_open") == 0);
    assert_eq!(proxy.metric("fusebox_tunnels_total"), 2);
    assert_eq!(origin.connections(), 2, "a tunnel's connection is never used again");
}

#[test]
fn a_side_that_breaks_breaks_the_other() {
    let (origin, streams) = answering(SWITCH);
    let proxy = Proxy::start(&all_to(&origin));
    let (client, mut stream) = open(&proxy, &streams);
    client.abort();
    let error = stream.read(&mut [0]).expect_err("no clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_tunnel_ends_when_both_sides_are_silent_and_not_before() {
    let (origin, streams) = answering(SWITCH);
    let timeouts = json!({ "tunnel": "700ms", "idle": "200ms", "response": "200ms" });
    let proxy = Proxy::start(&with(all_to(&origin), "/http/timeouts", timeouts));
    let (mut client, mut stream) = open(&proxy, &streams);
    for _ in 0..4 {
        pass(Duration::from_millis(350));
        stream.write_all(b"x").unwrap(); // one side's word is enough
        assert_eq!(client.exactly(1).unwrap(), b"x");
    }
    let silent = Instant::now();
    assert!(client.is_closed());
    let taken = silent.elapsed();
    assert!(taken >= Duration::from_millis(650) && taken < Duration::from_secs(3), "{taken:?}");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    wait::until("it is counted", || proxy.hits("timeouts.tunnel") == 1);
}

#[test]
fn a_tunnel_outlives_a_reload_and_is_given_the_whole_drain() {
    let (origin, streams) = answering(SWITCH);
    let document = with(all_to(&origin), "/http/timeouts", json!({ "drain": "1s" }));
    let proxy = Proxy::start(&document);
    let (mut client, mut stream) = open(&proxy, &streams);
    let elsewhere = Origin::saying("elsewhere");
    proxy.write(&with(all_to(&elsewhere), "/http/timeouts", json!({ "drain": "1s" })));
    assert_eq!(proxy.post("/reload").status, 200);
    assert_eq!(proxy.get("/").text(), "elsewhere");
    client.send(b"still here");
    let mut heard = [0; 10];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
    let drained = Instant::now();
    proxy.signal(Signal::Terminate);
    wait::until("the drain", || proxy.lines().text().contains("draining"));
    stream.write_all(b"and now").unwrap();
    assert_eq!(client.exactly(7).unwrap(), b"and now");
    assert!(client.is_closed());
    assert!(drained.elapsed() >= Duration::from_millis(900), "{:?}", drained.elapsed());
    assert_eq!(proxy.end().code(), Some(0));
}

#[test]
fn a_breaker_has_its_verdict_at_the_101_and_its_timeout_ends_there() {
    let (origin, streams) = answering(SWITCH);
    let breaker = json!({ "maxFailures": 1, "timeout": "500ms" });
    let proxy = Proxy::start(&guarded(&origin, breaker));
    let mut client = Client::connect(proxy.address());
    client.send(OPENING.replace("/chat", "/guarded").as_bytes());
    assert_eq!(client.response().status, 101);
    assert_eq!(proxy.breaker("GET /guarded")["counts"]["success"], 1);
    assert_eq!(proxy.metric("fusebox_tunnels_open"), 1);
    pass(Duration::from_millis(800));
    let (_, mut stream) = streams.recv_timeout(wait::PATIENCE).unwrap();
    stream.write_all(b"late").unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"late");
    stream.shutdown(Shutdown::Both).unwrap();
    assert!(client.is_closed());
    assert_eq!(proxy.state("GET /guarded"), "closed");
}

#[test]
fn a_tunnel_is_a_success_of_its_attempt_too() {
    let (origin, streams) = answering(SWITCH);
    let service = json!({ "url": origin.url("/chat"), "circuitBreaker": { "maxFailures": 1 } });
    let proxy = Proxy::start(&crate::balance::service("/chat", service));
    let (_client, _stream) = open(&proxy, &streams);
    assert_eq!(proxy.breaker("ALL /chat#it")["counts"]["success"], 1);
}

#[test]
fn a_slow_reader_holds_its_tunnel_back() {
    let (origin, streams) = answering(SWITCH);
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    let (mut client, mut stream) = open(&proxy, &streams);
    let before = proxy.memory();
    let total = 64 * 1024 * 1024;
    let writer = std::thread::spawn(move || {
        let block = vec![7; 1024 * 1024];
        (0..total / block.len()).for_each(|_| stream.write_all(&block).unwrap());
    });
    pass(Duration::from_millis(500));
    let held = proxy.memory().saturating_sub(before);
    assert!(held < 1024 * 1024, "{held} bytes are held");
    for _ in 0..64 {
        assert!(client.exactly(total / 64).unwrap().iter().all(|byte| *byte == 7));
    }
    writer.join().unwrap();
}

#[test]
fn a_tunnel_at_rest_holds_no_buffer() {
    let (origin, streams) = answering(SWITCH);
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    drop((0..20).map(|_| open(&proxy, &streams)).collect::<Vec<_>>());
    pass(Duration::from_millis(2_300));
    let before = proxy.memory();
    let mut tunnels: Vec<_> = (0..400).map(|_| open(&proxy, &streams)).collect();
    wait::until("at most 6 KiB each", || {
        proxy.memory().saturating_sub(before) / tunnels.len() <= 6 * 1024
    });
    for (client, stream) in &mut tunnels {
        client.send(b"x");
        stream.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn a_fan_out_is_never_a_tunnel() {
    let origin = Origin::start(|_, _| Reply::json(200, &json!({ "a": 1 })));
    let services = json!({ "services": {
        "a": { "url": origin.url("/a") }, "b": { "url": origin.url("/b") },
    } });
    let proxy = Proxy::start(&crate::document::routes(json!({ "/chat": { "GET": services } })));
    let mut client = Client::connect(proxy.address());
    client.send(OPENING.as_bytes());
    assert_eq!(client.response().status, 200);
    for seen in origin.seen() {
        assert!(seen.values("upgrade").is_empty(), "{}", seen.head);
    }
}
