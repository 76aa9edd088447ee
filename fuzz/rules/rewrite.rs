//! Heads as they are passed on: the next reader sees the same message, and nothing that was for
//! this hop only.

use fusebox::http1::field::Fields;
use fusebox::http1::forwarding::{Address, Emit, Origin, Telling, Word};
use fusebox::http1::framing::Framing;
use fusebox::http1::head::{self, Asked, Persist};
use fusebox::http1::rewrite::{self, BodyForm, Changes, Passage, Say, Writer};
use fusebox::http1::upgrade::Upgrade;

use super::{BOUNDS, reader};

/// For one hop only, whether `Connection` says so or not.
const HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "http2-settings",
    "transfer-encoding",
];

/// Who the client is: told by us, not by it.
fn is_forwarding(name: &str) -> bool {
    name == "forwarded" || name.starts_with("x-forwarded-")
}

/// What `Connection` cannot have left out.
const KEPT: [&str; 4] = ["authorization", "content-length", "host", "expect"];

/// Added to or left out by rules of their own.
const OURS: [&str; 5] = ["host", "expect", "via", "date", "trailer"];

/// Passes `data` on as a request and as a response.
pub fn check(data: &[u8]) {
    check_request(data);
    check_response(data, Say::Nothing, BodyForm::AsSent);
    check_response(data, Say::Close, BodyForm::Unchunked);
    check_response(data, Say::KeepAlive, BodyForm::AsSent);
}

fn check_request(bytes: &[u8]) {
    let mut fields = Fields::new();
    let Ok(Some(head)) = head::request(bytes, &BOUNDS, &mut fields) else { return };
    let start = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let came = reader::head(&bytes[start..]).expect("what is accepted is plain");
    let host = head.host.of_bytes(bytes);
    let [method, path, query] =
        [head.method, head.path, head.query].map(|span| span.of_bytes(bytes));
    let line = [method, b" ", path, query, b" HTTP/1.1\r\nhost: up\r\n"].concat();
    let out = written(&line, |writer| {
        let address = Address::new([192, 0, 2, 1].into());
        let telling = Telling::new(&[Emit::XForwarded, Emit::Via], b"us");
        let origin = Origin { address: &address, host, word: Word::Replaced, telling: &telling };
        rewrite::request_fields(writer, &head, &fields, bytes, &origin, Passage::Relayed);
    });
    let went = reader::head(&out).expect("what is passed on is plain");
    assert_eq!(went.len, out.len(), "nothing behind the blank line");
    let mut again = Fields::new();
    let next = head::request(&out, &BOUNDS, &mut again).ok().flatten();
    let next = match next {
        Some(next) => next,
        // We add lines: a head at its limit is one above it for the next reader.
        None if out.len() > BOUNDS.bytes || went.fields.len() > BOUNDS.fields => return,
        None => panic!("not read again: {}", out.escape_ascii()),
    };
    assert_eq!(next.method.of_bytes(&out), method);
    assert_eq!(next.path.of_bytes(&out), path);
    assert_eq!(next.query.of_bytes(&out), query);
    assert_eq!(next.framing, head.framing);
    assert_eq!(next.persist, Persist::Keep);
    plain_framing(&went, head.framing);
    let (words, takes) = (went.values("connection"), went.values("te"));
    if head.upgrade == Upgrade::Asked {
        assert!(words == [b"upgrade"] && takes.is_empty() && !went.values("upgrade").is_empty());
    } else {
        assert!(words.is_empty() && takes.is_empty() || words == [b"te"] && takes == [b"trailers"]);
    }
    let ours = |name: &&str| is_forwarding(name) || OURS.contains(name);
    let named = came.connection();
    let passed = end_to_end(&came, &named, |name| !ours(&name));
    assert_eq!(end_to_end(&went, &named, |name| !ours(&name)), passed);
    assert_eq!(went.values("x-forwarded-for"), [b"192.0.2.1"]);
    let hosts: &[&[u8]] = if host.is_empty() { &[] } else { &[host] };
    assert_eq!(went.values("x-forwarded-host"), hosts);
}

fn check_response(bytes: &[u8], say: Say, form: BodyForm) {
    let mut fields = Fields::new();
    let read = head::response(bytes, &BOUNDS, Asked::Body, &mut fields);
    let Ok(Some(head)) = read else { return };
    let came = reader::head(bytes).expect("what is accepted is plain");
    let out = written(b"", |writer| {
        let telling = Telling::new(&[Emit::XForwarded], b"us");
        let changes = Changes { say, body: form, date: b"date: now\r\n", telling: &telling };
        rewrite::response_head(writer, &head, &fields, bytes, &changes);
    });
    let went = reader::head(&out).expect("what is passed on is plain");
    assert_eq!(went.len, out.len(), "nothing behind the blank line");
    assert!(went.line.starts_with(b"HTTP/1.1 "));
    let next = head::response(&out, &BOUNDS, Asked::Body, &mut Fields::new()).ok().flatten();
    let next = match next {
        Some(next) => next,
        None if out.len() > BOUNDS.bytes || went.fields.len() > BOUNDS.fields => return,
        None => panic!("not read again: {}", out.escape_ascii()),
    };
    assert_eq!(next.status, head.status);
    let unchunked = form == BodyForm::Unchunked && head.framing == Framing::Chunked;
    let framing = if unchunked { Framing::UntilClose } else { head.framing };
    assert_eq!(next.framing, framing);
    if say == Say::Close {
        assert_eq!(next.persist, Persist::Close);
    }
    match head.status {
        // How long the body would be, of which there is none.
        100..=199 | 304 => {}
        204 => plain_framing(&went, Framing::UntilClose),
        _ => plain_framing(&went, framing),
    }
    let ours = |name: &str| OURS.contains(&name);
    let named = came.connection();
    let passed = end_to_end(&came, &named, |name| !ours(name));
    assert_eq!(end_to_end(&went, &named, |name| !ours(name)), passed);
}

/// The fields for the other end, in order, that `keep` keeps and `nominated` does not name.
fn end_to_end(
    head: &reader::Head<'_>,
    nominated: &[Vec<u8>],
    keep: impl Fn(&str) -> bool,
) -> Vec<(String, Vec<u8>)> {
    let named = head.fields.iter().map(|(name, value)| {
        (String::from_utf8(name.to_ascii_lowercase()).expect("a token"), value.to_vec())
    });
    named
        .filter(|(name, _)| {
            let name = name.as_str();
            let may = !KEPT.contains(&name) && !is_forwarding(name);
            let is_nominated = may && nominated.iter().any(|word| word == name.as_bytes());
            // A length may be written anew, at the end: see `plain_framing`.
            keep(name) && !HOP.contains(&name) && !is_nominated && name != "content-length"
        })
        .collect()
}

/// The length is told once, in its plainest form, and in no other way.
fn plain_framing(head: &reader::Head<'_>, framing: Framing) {
    let lengths = head.values("content-length");
    let codings = head.values("transfer-encoding");
    match framing {
        Framing::Exact(length) => {
            assert_eq!(lengths, [length.to_string().as_bytes()]);
            assert_eq!(codings, [b""; 0]);
        }
        Framing::Chunked => {
            assert!(codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked"));
            assert_eq!(lengths, [b""; 0]);
        }
        Framing::None => {
            assert!(lengths.iter().all(|length| *length == b"0") && lengths.len() <= 1);
            assert_eq!(codings, [b""; 0]);
        }
        Framing::UntilClose => assert!(lengths.is_empty() && codings.is_empty()),
    }
}

/// What `write` writes behind `line`.
fn written(line: &[u8], write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut place = vec![0; 128 * 1024];
    let mut writer = Writer::new(&mut place);
    writer.put(line);
    write(&mut writer);
    let len = writer.finish().expect("it fits");
    place.truncate(len);
    place
}
