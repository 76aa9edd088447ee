//! Responses that no proxy should pass on: raw bytes of an upstream, B40 to B43.
//!
//! After each, the client has a 502, a visible cut or the part that was sound, and nothing is ever
//! asked again on the connection that it came on.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::client::{Asked, Client};
use crate::corpus::raw;
use crate::document::{all_to, with};
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::wait;

/// What the client has in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// 502.
    Nothing,
    /// 502 if nothing was sent yet, else a cut: never a whole response.
    Cut,
    /// A response with this body; what followed it is dropped.
    Body(&'static str),
}

/// What the upstream does behind its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Waits,
    Closes,
}

struct Reply {
    row: &'static str,
    name: &'static str,
    method: &'static str,
    text: String,
    then: Then,
    gets: Gets,
}

fn reply(row: &'static str, name: &'static str, text: &str, then: Then, gets: Gets) -> Reply {
    Reply { row, name, method: "GET", text: text.to_owned(), then, gets }
}

/// Heads with two lengths, or none that can be believed.
const LENGTHS: [(&str, &str); 25] = [
    ("length and coding", "Content-Length: 2¦Transfer-Encoding: chunked"),
    ("coding and length", "Transfer-Encoding: chunked¦Content-Length: 2"),
    ("two lengths", "Content-Length: 2¦Content-Length: 2"),
    ("two other lengths", "Content-Length: 2¦Content-Length: 3"),
    ("list of lengths", "Content-Length: 2, 2"),
    ("plus", "Content-Length: +2"),
    ("minus", "Content-Length: -2"),
    ("hexadecimal", "Content-Length: 0x2"),
    ("empty length", "Content-Length:"),
    ("2^64+2", "Content-Length: 18446744073709551618"),
    ("twenty nines", "Content-Length: 99999999999999999999"),
    ("semicolon", "Content-Length: 2;"),
    ("length, blank before colon", "Content-Length : 2"),
    ("length, folded", "Content-Length:¦ 2"),
    ("length, twin", "Content_Length: 2"),
    ("coding, twin", "Transfer_Encoding: chunked"),
    ("coding, blank before colon", "Transfer-Encoding : chunked"),
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked"),
    ("xchunked", "Transfer-Encoding: xchunked"),
    ("chunked twice", "Transfer-Encoding: chunked, chunked"),
    ("two codings", "Transfer-Encoding: chunked¦Transfer-Encoding: chunked"),
    ("identity", "Transfer-Encoding: identity"),
    ("vertical tab", "Transfer-Encoding: \x0bchunked"),
    ("empty coding", "Transfer-Encoding:"),
    ("comma before coding", "Transfer-Encoding: ,chunked"),
];

/// Heads that are none; `@` stands for a sound rest.
const HEADS: [(&str, &str); 31] = [
    ("fold", "HTTP/1.1 200 OK¦X: a¦ b¦@"),
    ("LF everywhere", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("LF in one field", "HTTP/1.1 200 OK¦X: a\nY: b¦@"),
    ("LF behind the status", "HTTP/1.1 200 OK\n@"),
    ("CR in a value", "HTTP/1.1 200 OK¦X: a\rb¦@"),
    ("null in a value", "HTTP/1.1 200 OK¦X: a\0b¦@"),
    ("null in a name", "HTTP/1.1 200 OK¦X\0: a¦@"),
    ("escape in a value", "HTTP/1.1 200 OK¦X: \x1b[2J¦@"),
    ("empty name", "HTTP/1.1 200 OK¦: a¦@"),
    ("no colon", "HTTP/1.1 200 OK¦foo¦@"),
    ("8-bit name", "HTTP/1.1 200 OK¦F\u{85}o: a¦@"),
    ("parenthesis", "HTTP/1.1 200 OK¦F(o: a¦@"),
    ("blank first", " HTTP/1.1 200 OK¦@"),
    ("empty line first", "¦HTTP/1.1 200 OK¦@"),
    ("null in the reason", "HTTP/1.1 200 O\0K¦@"),
    ("status 99", "HTTP/1.1 99 No¦@"),
    ("status 099", "HTTP/1.1 099 No¦@"),
    ("status 1000", "HTTP/1.1 1000 No¦@"),
    ("status 600", "HTTP/1.1 600 No¦@"),
    ("status of letters", "HTTP/1.1 2x0 No¦@"),
    ("negative status", "HTTP/1.1 -20 No¦@"),
    ("no blank", "HTTP/1.1200 OK¦@"),
    ("two blanks", "HTTP/1.1  200 OK¦@"),
    ("HTTP/2.0", "HTTP/2.0 200 OK¦@"),
    ("HTTP/1.2", "HTTP/1.2 200 OK¦@"),
    ("lower case", "http/1.1 200 OK¦@"),
    ("ICY", "ICY 200 OK¦@"),
    ("a request", "GET / HTTP/1.1¦Host: a¦¦"),
    ("words", "Internal Server Error¦¦"),
    ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03"),
    ("a switch nobody asked for", "HTTP/1.1 101 Switch¦Upgrade: x¦Connection: upgrade¦¦"),
];

/// Chunked bodies that are none.
const CHUNKS: [(&str, &str); 20] = [
    ("plus", "+2¦ok¦0¦¦"),
    ("0x", "0x2¦ok¦0¦¦"),
    ("blank before", " 2¦ok¦0¦¦"),
    ("letters behind", "2xyz¦ok¦0¦¦"),
    ("no size", "¦ok¦0¦¦"),
    ("2^64-1", "ffffffffffffffff¦ok¦0¦¦"),
    ("17 digits", "10000000000000002¦ok¦0¦¦"),
    ("LF behind size", "2\nok¦0¦¦"),
    ("LF behind data", "2¦ok\n0¦¦"),
    ("longer", "2¦okay¦0¦¦"),
    ("shorter", "3¦ok¦0¦¦"),
    ("empty extension", "2;¦ok¦0¦¦"),
    ("line end in quotes", "2;a=\"¦\"¦ok¦0¦¦"),
    ("null in extension", "2;\0¦ok¦0¦¦"),
    ("end and letters", "2¦ok¦0¦XX¦¦"),
    ("null in trailer", "2¦ok¦0¦X: \0¦¦"),
    ("folded trailer", "2¦ok¦0¦X: y¦ z¦¦"),
    ("LF at the end", "2¦ok¦0¦\n"),
    ("a response for a chunk", "HTTP/1.1 200 OK¦¦"),
    ("good, then bad", "2¦ok¦zz¦"),
];

fn replies() -> Vec<Reply> {
    const OK: &str = "HTTP/1.1 200 OK¦";
    const NEXT: &str = "HTTP/1.1 200 OK¦Content-Length: 4¦¦EVIL";
    let sound = "Content-Length: 2¦¦ok";
    let mut all = Vec::new();
    for (name, fields) in LENGTHS {
        let text = format!("{OK}{fields}¦¦0¦¦");
        all.push(reply("B40", name, &text, Then::Waits, Gets::Nothing));
    }
    for (name, text) in HEADS {
        let text = text.replace('@', sound);
        all.push(reply("B40", name, &text, Then::Waits, Gets::Nothing));
    }
    for (name, text) in [
        ("chunked on HTTP/1.0", "HTTP/1.0 200 OK¦Transfer-Encoding: chunked¦¦0¦¦".to_owned()),
        ("nine interim responses", format!("{}{OK}{sound}", "HTTP/1.1 102 Go¦¦".repeat(9))),
        ("a head of a megabyte", format!("{OK}X: {}¦{sound}", "a".repeat(1 << 20))),
        ("201 fields", format!("{OK}{}{sound}", "X: y¦".repeat(201))),
        ("a name of 300 bytes", format!("{OK}{}: y¦{sound}", "a".repeat(300))),
    ] {
        all.push(reply("B40", name, &text, Then::Waits, Gets::Nothing));
    }
    for (name, chunks) in CHUNKS {
        let text = format!("{OK}Transfer-Encoding: chunked¦¦{chunks}");
        let then = if name == "shorter" { Then::Closes } else { Then::Waits };
        all.push(reply("B40", name, &text, then, Gets::Cut));
    }
    let head = format!("{OK}Content-Length: 4¦¦EVIL");
    all.push(Reply { method: "HEAD", ..reply("B41", "HEAD", &head, Then::Waits, Gets::Body("")) });
    for (name, text, body) in [
        ("304 and a body", "HTTP/1.1 304 No¦Content-Length: 4¦¦EVIL".to_owned(), ""),
        ("204 and a body", "HTTP/1.1 204 No¦Content-Length: 4¦¦EVIL".to_owned(), ""),
        ("204 and chunks", "HTTP/1.1 204 No¦Transfer-Encoding: chunked¦¦1¦x¦0¦¦".to_owned(), ""),
        ("304 and chunks", "HTTP/1.1 304 No¦Transfer-Encoding: chunked¦¦1¦x¦0¦¦".to_owned(), ""),
    ] {
        all.push(reply("B41", name, &text, Then::Waits, Gets::Body(body)));
    }
    for (name, text) in [
        ("two responses", format!("{OK}Content-Length: 2¦¦ok{NEXT}")),
        ("a byte more", format!("{OK}Content-Length: 2¦¦ok!")),
        ("chunks and a response", format!("{OK}Transfer-Encoding: chunked¦¦2¦ok¦0¦¦{NEXT}")),
        ("chunks and a line end", format!("{OK}Transfer-Encoding: chunked¦¦2¦ok¦0¦¦¦")),
    ] {
        all.push(reply("B42", name, &text, Then::Waits, Gets::Body("ok")));
    }
    all.push(reply(
        "B42",
        "no body and a response",
        &format!("{OK}Content-Length: 0¦¦{NEXT}"),
        Then::Waits,
        Gets::Body(""),
    ));
    for (name, text) in [
        ("short of its length", format!("{OK}Content-Length: 10¦¦ok")),
        ("no body at all", format!("{OK}Content-Length: 10¦¦")),
        ("no last chunk", format!("{OK}Transfer-Encoding: chunked¦¦2¦ok¦")),
        ("half a chunk", format!("{OK}Transfer-Encoding: chunked¦¦4¦ok")),
        ("half a size", format!("{OK}Transfer-Encoding: chunked¦¦1")),
        ("no end of trailers", format!("{OK}Transfer-Encoding: chunked¦¦2¦ok¦0¦X: y¦")),
    ] {
        all.push(reply("B43", name, &text, Then::Closes, Gets::Cut));
    }
    for (name, text) in [
        ("half a head", format!("{OK}Content-Len")),
        ("half a status line", "HTTP/1.1 2".to_owned()),
        ("an interim response alone", "HTTP/1.1 100 Go¦¦".to_owned()),
        ("nothing", String::new()),
    ] {
        all.push(reply("B43", name, &text, Then::Closes, Gets::Nothing));
    }
    all
}

/// Reads up to the end of a head.
fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read(&mut byte).ok().filter(|count| *count == 1)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// An upstream that answers `/N` with the N-th reply, and everything else properly; what was asked
/// on a connection that had brought a reply is noted in `again`.
fn upstream(again: &Arc<Mutex<Vec<String>>>) -> Origin {
    let again = Arc::clone(again);
    Origin::raw(move |mut stream, _| {
        let replies = replies();
        let mut said = None;
        while let Some(head) = head(&mut stream) {
            if let Some(before) = said {
                again.lock().unwrap().push(format!("{before}: {head}"));
            }
            let target = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let Some(reply) = target.parse().ok().and_then(|nth: usize| replies.get(nth)) else {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean");
                continue;
            };
            said = Some(reply.name);
            let _ = stream.write_all(&raw(&reply.text));
            if reply.then == Then::Closes {
                let _ = stream.shutdown(Shutdown::Both); // others hold it too
                return;
            }
        }
    })
}

#[test]
fn no_bad_response_is_passed_on_and_none_is_followed_by_another() {
    let replies = replies();
    let rows: BTreeSet<_> = replies.iter().map(|reply| reply.row).collect();
    assert_eq!(rows, BTreeSet::from(["B40", "B41", "B42", "B43"]));
    assert!(replies.len() >= 60, "{}", replies.len());
    let again = Arc::default();
    let origin = upstream(&again);
    // One core: a connection that is parked is the one that is taken next.
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    let mut findings = Vec::new();
    for (nth, reply) in replies.iter().enumerate() {
        let mut client = Client::connect(proxy.address());
        let method = reply.method;
        client.send(format!("{method} /{nth} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let asked = if method == "HEAD" { Asked::Head } else { Asked::Other };
        let mut got = client.try_response(asked);
        while got.as_ref().is_ok_and(|response| response.status < 200) {
            got = client.try_response(asked);
        }
        let holds = match (reply.gets, &got) {
            (Gets::Nothing | Gets::Cut, Ok(response)) => response.status == 502,
            (Gets::Cut, Err(_)) => true,
            (Gets::Body(body), Ok(response)) => {
                response.status < 400 && response.text() == body && {
                    let bodiless = response.status == 204;
                    !bodiless || response.header("transfer-encoding").is_none()
                }
            }
            (Gets::Nothing | Gets::Body(_), Err(_)) => false,
        };
        if !holds {
            findings.push(format!("{} {}: {got:?}, not {:?}", reply.row, reply.name, reply.gets));
        }
        if reply.gets != Gets::Cut && holds {
            // In step: nothing of the surplus answers the next request.
            let clean = if client.is_silent_for(std::time::Duration::from_millis(1)) {
                client.get("/clean")
            } else {
                proxy.get("/clean")
            };
            assert_eq!((clean.status, clean.text()), (200, "clean"), "after {}", reply.name);
        } else {
            assert_eq!(proxy.get("/clean").text(), "clean", "after {}", reply.name);
        }
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    wait::until("no connection to be left over", || {
        let open = "fusebox_connections_open 0";
        proxy.ask("/metrics").text().contains(open)
    });
    assert_eq!(*again.lock().unwrap(), Vec::<String>::new(), "asked again");
}
