//! Which heads are read, which are refused, and what reaches the other side.

use super::super::forwarding::{Address, Emit, Origin, Telling, Word};
use super::super::rewrite::{self, BodyForm, Changes, Passage, Say, Writer};
use super::*;

const BOUNDS: Bounds = Bounds { bytes: 16 * 1024, fields: 100, target: 8 * 1024 };

fn read(bytes: &[u8]) -> Result<Option<Request>, RequestFault> {
    request(bytes, &BOUNDS, &mut Fields::new())
}

fn accepted(bytes: &str) -> Request {
    read(bytes.as_bytes()).unwrap().unwrap()
}

#[test]
fn a_plain_request_is_read_part_by_part() {
    let bytes = "POST /a/b?x=1 HTTP/1.1\r\nHost: Example.com:81\r\nContent-Length: 3\r\n\r\nabc";
    let head = accepted(bytes);
    let part = |span: Span| std::str::from_utf8(span.of_bytes(bytes.as_bytes())).unwrap();
    assert_eq!(part(head.method), "POST");
    assert_eq!((part(head.path), part(head.query)), ("/a/b", "?x=1"));
    assert_eq!(part(head.host), "Example.com:81");
    assert_eq!(head.len, bytes.len() - 3);
    assert_eq!((head.framing, head.persist), (Framing::Exact(3), Persist::Keep));
}

#[test]
fn a_head_that_is_not_whole_is_waited_for_at_every_offset() {
    let bytes = b"\r\nGET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]).map(|head| head.is_none()), Ok(true), "at {end}");
    }
    assert!(read(bytes).unwrap().is_some());
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (bytes, fault) in [
        ("POST / HTTP/1.1|Host: a|Content-Length: 3|Transfer-Encoding: chunked||", 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Content-Length: 3||", 400),
        ("POST / HTTP/1.1|Host: a|Content-Length: 3|Content-Length: 3||", 400),
        ("POST / HTTP/1.1|Host: a|Content-Length: 3, 3||", 400),
        ("POST / HTTP/1.1|Host: a|Content-Length: +3||", 400),
        ("POST / HTTP/1.1|Host: a|Content-Length:||", 400),
        ("POST / HTTP/1.1|Host: a|Content-Length: 18446744073709551619||", 400),
        ("POST / HTTP/1.1|Host: a|Content-Length : 3||", 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Transfer-Encoding: chunked||", 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked, chunked||", 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: \u{b}chunked||", 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding:||", 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: xchunked||", 501),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip, chunked||", 501),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked,||", 400),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: ,chunked||", 400),
        ("POST / HTTP/1.1|Host: a|Transfer_Encoding: chunked||", 400),
        ("POST / HTTP/1.0|Host: a|Transfer-Encoding: chunked||", 400),
        ("GET /a b HTTP/1.1|Host: a||", 400),
        ("GET / HTTP/1.32|Host: a||", 400),
        ("GET / HTTP/1.1|Host: a|X: b| c||", 400),
        ("GET / HTTP/1.1|Host: a\nX: b||", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1|Host: a|X: a\0b||", 400),
        ("GET / HTTP/1.1|Host: a|: b||", 400),
        ("GET / HTTP/1.1|Host: a|nocolon||", 400),
        ("GET / HTTP/1.1||", 400),
        ("GET / HTTP/1.1|Host: a|Host: a||", 400),
        ("GET / HTTP/1.1|Host: a, b||", 400),
        ("GET / HTTP/1.1|Host: u@a||", 400),
        ("GET / HTTP/1.1|Host: a/b||", 400),
        ("GET / HTTP/1.1|Host: a:8x||", 400),
        ("GET / HTTP/1.1|Host: a:65536||", 400),
        ("GET http://u@b/ HTTP/1.0||", 400),
        ("GET / HTTP/1.1|Host:||", 400),
        ("GET http://b/ HTTP/1.1|Host: a||", 400),
        ("GET admin HTTP/1.1|Host: a||", 400),
        ("GET * HTTP/1.1|Host: a||", 400),
        ("CONNECT a:80 HTTP/1.1|Host: a:80||", 405),
        ("CONNECT / HTTP/1.1|Host: a||", 405),
        ("GET  / HTTP/1.1|Host: a||", 400),
        ("GET / HTTP/1.1 |Host: a||", 400),
        ("|||GET / HTTP/1.1|Host: a||", 400),
        ("GET / HTTP/2.0|Host: a||", 505),
        ("POST / HTTP/1.1|Host: a|Expect: 200-ok||", 417),
    ] {
        let raw = bytes.replace('|', "\r\n");
        let expected = match fault {
            400 => RequestFault::Malformed,
            405 => RequestFault::Connect,
            417 => RequestFault::UnknownExpectation,
            501 => RequestFault::UnknownCoding,
            _ => RequestFault::UnknownVersion,
        };
        assert_eq!(read(raw.as_bytes()).err(), Some(expected), "{bytes:?}");
    }
}

#[test]
fn limits_have_their_own_faults() {
    let long = |prefix: &str, count: usize| format!("{prefix}{}", "a".repeat(count));
    let uri = long("GET /", 9000);
    assert_eq!(
        read(format!("{uri} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).err(),
        Some(RequestFault::UriTooLong)
    );
    assert_eq!(read(long("GET /", 20_000).as_bytes()).err(), Some(RequestFault::UriTooLong));
    let field = long("GET / HTTP/1.1\r\nHost: a\r\nX: ", 20_000);
    assert_eq!(read(field.as_bytes()).err(), Some(RequestFault::HeadTooLarge));
    for (length, fault) in [(256, None), (257, Some(RequestFault::HeadTooLarge))] {
        let name = long("GET / HTTP/1.1\r\nHost: a\r\n", length);
        assert_eq!(read(format!("{name}: x\r\n\r\n").as_bytes()).err(), fault, "{length}");
    }
    for (count, whole) in [(99, true), (100, false), (300, false)] {
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
        let outcome = read(many.as_bytes());
        assert_eq!(outcome.is_ok(), whole, "{count}: {outcome:?}");
    }
}

#[test]
fn a_connection_persists_by_version_and_by_word() {
    for (bytes, persist) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Persist::Keep),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", Persist::Close),
        ("GET / HTTP/1.0\r\n\r\n", Persist::Close),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Persist::Keep),
        ("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", Persist::Keep),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Persist::Close),
        ("GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", Persist::Close),
    ] {
        assert_eq!(accepted(bytes).persist, persist, "{bytes:?}");
    }
}

fn answer(bytes: &str, asked: Asked) -> Result<Option<Response>, ResponseFault> {
    response(bytes.as_bytes(), &BOUNDS, asked, &mut Fields::new())
}

#[test]
fn a_response_ends_by_its_status_its_question_and_its_length() {
    for (head, asked, framing) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Asked::Body, Framing::Exact(7)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Asked::Head, Framing::None),
        ("HTTP/1.1 204 No\r\n\r\n", Asked::Body, Framing::None),
        ("HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n", Asked::Body, Framing::None),
        ("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", Asked::Body, Framing::Chunked),
        ("HTTP/1.0 200 OK\r\n\r\n", Asked::Body, Framing::UntilClose),
    ] {
        assert_eq!(answer(head, asked).unwrap().unwrap().framing, framing, "{head:?}");
    }
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 7\n\n",
        "nonsense\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
    ] {
        assert_eq!(answer(bad, Asked::Body).err(), Some(ResponseFault::Malformed), "{bad:?}");
    }
}

/// The fields of a request as an upstream gets them.
fn passed_on(bytes: &str, word: Word, emit: &[Emit]) -> String {
    let mut fields = Fields::new();
    let head = request(bytes.as_bytes(), &BOUNDS, &mut fields).unwrap().unwrap();
    let telling = Telling::new(emit, b"us");
    let address = Address::new("1.2.3.4".parse().unwrap());
    let host = head.host.of_bytes(bytes.as_bytes());
    let origin = Origin { address: &address, host, word, telling: &telling };
    let mut place = [0; 1024];
    let mut writer = Writer::new(&mut place);
    let (fields, bytes) = (&fields, bytes.as_bytes());
    rewrite::request_fields(&mut writer, &head, fields, bytes, &origin, Passage::Relayed);
    let len = writer.finish().unwrap();
    String::from_utf8(place[..len].to_vec()).unwrap()
}

#[test]
fn only_what_is_for_the_other_end_reaches_it() {
    let bytes = "POST /x HTTP/1.1\r\nHost: shop\r\nA: 1\r\nConnection: X-Hop, Host, keep-alive\r\n\
                 X-Hop: 2\r\nUpgrade: h2c\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                 X-Forwarded-Server: evil\r\nProxy-Authorization: x\r\nVia: 1.0 fred\r\n\
                 Expect: 100-continue\r\nContent-Length: 3\r\nTrailer: X\r\nB: 3\r\n\r\n";
    assert_eq!(
        passed_on(bytes, Word::Replaced, &[Emit::XForwarded]),
        "A: 1\r\nVia: 1.0 fred\r\nExpect: 100-continue\r\nContent-Length: 3\r\nTrailer: X\r\n\
         B: 3\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: http\r\n\
         x-forwarded-host: shop\r\n\r\n"
    );
    assert_eq!(
        passed_on(bytes, Word::Believed, &[Emit::Via]),
        "A: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Server: evil\r\n\
         Via: 1.0 fred\r\nExpect: 100-continue\r\nContent-Length: 3\r\nTrailer: X\r\nB: 3\r\n\
         via: 1.1 us\r\n\r\n"
    );
}

#[test]
fn of_te_only_trailers_is_passed_on_and_only_by_a_client_that_gets_chunks() {
    for (head, passed) in [
        ("HTTP/1.1\r\nTE: trailers", "te: trailers\r\nconnection: te\r\n\r\n"),
        (
            "HTTP/1.1\r\nTE: gzip;q=0.5\r\nTE: deflate , Trailers",
            "te: trailers\r\nconnection: te\r\n\r\n",
        ),
        ("HTTP/1.1\r\nConnection: TE\r\nTE: gzip", "\r\n"),
        ("HTTP/1.0\r\nTE: trailers", "\r\n"),
    ] {
        let bytes = format!("GET / {head}\r\nHost: a\r\n\r\n");
        assert_eq!(passed_on(&bytes, Word::Replaced, &[]), passed, "{head}");
    }
}

#[test]
fn what_every_recipient_needs_cannot_be_nominated() {
    let names = "Authorization, Cookie, Content-Type, Cache-Control, Via, Date, X-Forwarded-For, \
                 Content-Length, Transfer-Encoding, X-Mine";
    let bytes = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: {names}\r\nAuthorization: 1\r\nCookie: 2\r\n\
         Content-Type: 3\r\nX-Mine: 0\r\nCache-Control: 4\r\nVia: 1.1 x\r\nDate: 5\r\n\
         X-Forwarded-For: 6\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        passed_on(&bytes, Word::Believed, &[]),
        "Authorization: 1\r\nCookie: 2\r\nContent-Type: 3\r\nCache-Control: 4\r\nVia: 1.1 x\r\n\
         Date: 5\r\nX-Forwarded-For: 6\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn a_length_is_passed_on_in_its_plainest_form() {
    let bytes = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0003\r\nB: 1\r\n\r\n";
    assert_eq!(passed_on(bytes, Word::Replaced, &[]), "B: 1\r\ncontent-length: 3\r\n\r\n");
    let bytes = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n";
    assert_eq!(passed_on(bytes, Word::Replaced, &[]), "transfer-encoding: chunked\r\n\r\n");
}

#[test]
fn who_expects_an_answer_before_nothing_expects_nothing() {
    for (head, expect) in [
        ("POST / HTTP/1.1\r\nContent-Length: 3", Expect::Continue),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked", Expect::Continue),
        ("POST / HTTP/1.1\r\nContent-Length: 0", Expect::Nothing),
        ("GET / HTTP/1.1\r\nA: b", Expect::Nothing),
        ("POST / HTTP/1.0\r\nContent-Length: 3", Expect::Nothing),
    ] {
        let bytes = format!("{head}\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n");
        assert_eq!(accepted(&bytes).expect, expect, "{head}");
        let passed = passed_on(&bytes, Word::Replaced, &[]).contains("Expect: 100-Continue\r\n");
        assert_eq!(passed, expect == Expect::Continue, "{head}");
    }
}

#[test]
fn an_absolute_target_names_the_host_and_need_not_have_a_path() {
    for (line, path, query, host) in [
        ("GET http://shop/a?b HTTP/1.1\r\nHost: shop", "/a", "?b", "shop"),
        ("GET HTTP://shop HTTP/1.1\r\nHost: shop", "/", "", "shop"),
        ("GET http://shop?b HTTP/1.1\r\nHost: SHOP", "/", "?b", "shop"),
        ("GET http://shop:80/ HTTP/1.1\r\nHost: shop", "/", "", "shop:80"),
        ("GET http://shop/ HTTP/1.1\r\nHost: shop:", "/", "", "shop"),
        ("GET http://shop:81/ HTTP/1.0", "/", "", "shop:81"),
    ] {
        let bytes = format!("{line}\r\n\r\n");
        let head = accepted(&bytes);
        let part = |span: Span| std::str::from_utf8(span.of_bytes(bytes.as_bytes())).unwrap();
        assert_eq!((part(head.path), part(head.query), part(head.host)), (path, query, host));
    }
    for line in [
        "GET http://shop:81/ HTTP/1.1\r\nHost: shop",
        "GET http:///a HTTP/1.1\r\nHost: shop",
        "GET http://u@shop HTTP/1.1\r\nHost: u@shop",
        "OPTIONS http://shop HTTP/1.1\r\nHost: shop",
        "GET https://shop/ HTTP/1.1\r\nHost: shop",
        "GET http://shop/ HTTP/1.1",
    ] {
        let bytes = format!("{line}\r\n\r\n");
        assert_eq!(read(bytes.as_bytes()).err(), Some(RequestFault::Malformed), "{line}");
    }
}

/// The head of a response as its client gets it.
fn answered(bytes: &str, say: Say, body: BodyForm, emit: &[Emit], room: usize) -> Option<String> {
    let mut fields = Fields::new();
    let head = response(bytes.as_bytes(), &BOUNDS, Asked::Body, &mut fields).unwrap().unwrap();
    let telling = Telling::new(emit, b"us");
    let changes = Changes { say, body, date: b"date: now\r\n", telling: &telling };
    let mut place = [0; 1024];
    let mut writer = Writer::new(&mut place[..room]);
    rewrite::response_head(&mut writer, &head, &fields, bytes.as_bytes(), &changes);
    let len = writer.finish()?;
    Some(String::from_utf8(place[..len].to_vec()).unwrap())
}

#[test]
fn a_response_keeps_its_words_and_loses_its_hop() {
    let bytes = "HTTP/1.0 201 Made Up\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nServer: s\r\n\
                 Content-Length: 2\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n\
                 Proxy-Authentication-Info: x\r\n\r\n";
    assert_eq!(
        answered(bytes, Say::Close, BodyForm::AsSent, &[Emit::Via], 1024).unwrap(),
        "HTTP/1.1 201 Made Up\r\nServer: s\r\nContent-Length: 2\r\ndate: now\r\nvia: 1.0 us\r\n\
         connection: close\r\n\r\n"
    );
    let none = answered(bytes, Say::Nothing, BodyForm::AsSent, &[], 16);
    assert_eq!(none, None, "what does not fit is not half a head");
}

#[test]
fn a_response_is_dated_once_and_an_interim_one_not_at_all() {
    let passed = |bytes: &str| answered(bytes, Say::Nothing, BodyForm::AsSent, &[], 1024).unwrap();
    for same in [
        "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    ] {
        assert_eq!(passed(same), same);
    }
    assert_eq!(passed("HTTP/1.1 200 OK\r\n\r\n"), "HTTP/1.1 200 OK\r\ndate: now\r\n\r\n");
}

#[test]
fn what_has_no_body_tells_no_length_of_one() {
    let passed = |bytes: &str| answered(bytes, Say::Nothing, BodyForm::AsSent, &[], 1024).unwrap();
    for framing in ["Content-Length: 3", "Transfer-Encoding: chunked"] {
        for status in [103, 204] {
            let bytes = format!("HTTP/1.1 {status} X\r\n{framing}\r\nDate: d\r\n\r\n");
            assert_eq!(passed(&bytes), format!("HTTP/1.1 {status} X\r\nDate: d\r\n\r\n"));
        }
        let told = format!("HTTP/1.1 304 X\r\n{framing}\r\nDate: d\r\n\r\n");
        assert_eq!(passed(&told), told, "that of the body it stands for");
    }
    let chunked = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\nDate: d\r\n\r\n";
    assert_eq!(passed(chunked), chunked);
    let plain = answered(chunked, Say::Close, BodyForm::Unchunked, &[], 1024).unwrap();
    assert_eq!(plain, "HTTP/1.1 200 X\r\nDate: d\r\nconnection: close\r\n\r\n");
}

#[test]
fn an_http_1_0_upstream_is_not_asked_twice_on_one_connection() {
    let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(old, Asked::Body).unwrap().unwrap().persist, Persist::Close);
}
