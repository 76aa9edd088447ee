//! Attacks on target, host, version and method, B28 to B34.

use super::Must::{Answer, Forward, Refuse};
use super::{Message, Must, rows};

pub(super) fn messages() -> Vec<Message> {
    [targets(), hosts(), paths(), versions(), blanks()].concat()
}

/// A request with this first line.
fn line(text: &str) -> String {
    format!("{text} HTTP/1.1¦Host: a¦¦")
}

/// A request with this `Host` line, or what stands in its place.
fn host(text: &str) -> String {
    format!("GET /x HTTP/1.1¦{text}¦¦")
}

fn lines(
    row: &'static str,
    why: &'static str,
    must: Must,
    list: &[(&'static str, &str)],
) -> Vec<Message> {
    rows(row, why, list.iter().map(|(name, text)| (*name, line(text), must)))
}

#[rustfmt::skip]
fn targets() -> Vec<Message> {
    let absolute = "one request, two hosts";
    [
        lines(
            "B28",
            "a fragment is never sent",
            Answer(400),
            &[("behind the path", "GET /a#b.png"), ("alone", "GET /#")],
        ),
        lines("B29", "a target has one of four forms", Refuse(400), &[
            ("no slash", "GET admin"),
            ("asterisk", "GET *"),
            ("backslash", "GET \\"),
            ("asterisk and path", "OPTIONS */x"),
            ("query only", "GET ?x"),
            ("other scheme", "GET ftp://a/"),
            ("empty authority", "GET http:///x"),
            ("scheme only", "GET http:/x"),
        ]),
        lines("B29", "a tunnel to anywhere is not ours to give", Refuse(405), &[
            ("CONNECT", "CONNECT a:80"),
        ]),
        lines("B29", "no path is the root", Forward("GET / -"), &[("no path", "GET http://a")]),
        lines("B29", "nobody asked for an echo", Answer(405), &[("TRACE", "TRACE /x")]),
        lines("B29", "no route serves it", Answer(404), &[("OPTIONS *", "OPTIONS *")]),
        rows("B30", absolute, [
            ("differs", "GET http://b/x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("port differs", "GET http://a:81/x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("no host", "GET http://a/x HTTP/1.1¦¦".into(), Refuse(400)),
            ("userinfo", "GET http://u@a/x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("equal", line("GET http://a/x"), Forward("GET /x -")),
            ("equal but for case", line("GET http://A/x"), Forward("GET /x -")),
        ]),
    ]
    .concat()
}

#[rustfmt::skip]
fn hosts() -> Vec<Message> {
    let why = "a request is for one host, spelled in one way";
    let list: [(&'static str, &str); 17] = [
        ("missing", "A: b"),
        ("empty", "Host:"),
        ("comma", "Host: a, b"),
        ("comma, no blank", "Host: a,b"),
        ("userinfo", "Host: u@a"),
        ("path", "Host: a/x"),
        ("query", "Host: a?x"),
        ("fragment", "Host: a#x"),
        ("twice", "Host: a¦Host: a"),
        ("two", "Host: a¦Host: b"),
        ("port letters", "Host: a:x"),
        ("port and letters", "Host: a:80x"),
        ("port too large", "Host: a:65536"),
        ("port sign", "Host: a:+80"),
        ("blank", "Host: a b"),
        ("open bracket", "Host: [::1"),
        ("8-bit", "Host: \u{fc}"),
    ];
    let accepted: [(&'static str, &str); 3] =
        [("port", "Host: a:80"), ("bracket", "Host: [::1]:80"), ("no port", "Host: a:")];
    [
        rows("B31", why, list.iter().map(|(name, text)| (*name, host(text), Refuse(400)))),
        rows(
            "B31",
            "these are plain",
            accepted.iter().map(|(name, text)| (*name, host(text), Forward("GET /x -"))),
        ),
    ]
    .concat()
}

#[rustfmt::skip]
fn paths() -> Vec<Message> {
    lines("B32", "a path closed by its route stays closed in every spelling", Answer(400), &[
        ("dots", "GET /pub/../admin"),
        ("dot", "GET /pub/./admin"),
        ("dots at the end", "GET /pub/.."),
        ("encoded dots", "GET /pub/%2e%2e/admin"),
        ("half encoded", "GET /pub/.%2E/admin"),
        ("encoded slash", "GET /pub/..%2fadmin"),
        ("encoded backslash", "GET /pub/..%5cadmin"),
        ("backslash", "GET /pub\\..\\admin"),
        ("null", "GET /a%00b"),
        ("parameter", "GET /pub/..;/admin"),
        ("encoded parameter", "GET /pub/..%3b/admin"),
        ("bad escape", "GET /a%zz"),
        ("half an escape", "GET /a%2"),
        ("unicode escape", "GET /%u002e%u002e/admin"),
    ])
    .into_iter()
    .chain(rows("B32", "overlong bytes are no text, and some decode them to dots", [
        ("overlong dot", line("GET /\u{c0}\u{ae}"), Refuse(400)),
    ]))
    .chain(rows("B32", "no byte of a target is a control", [
        ("null byte", line("GET /\0"), Refuse(400)),
        ("control", line("GET /\x01"), Refuse(400)),
        ("delete", line("GET /\x7f"), Refuse(400)),
    ]))
    .collect()
}

#[rustfmt::skip]
fn versions() -> Vec<Message> {
    rows("B33", "HTTP/1.0 and HTTP/1.1, spelled so", [
        ("1.32", "GET /x HTTP/1.32¦Host: a¦¦".into(), Refuse(400)),
        ("2.0", "GET /x HTTP/2.0¦Host: a¦¦".into(), Refuse(505)),
        ("1.2", "GET /x HTTP/1.2¦Host: a¦¦".into(), Refuse(505)),
        ("0.9", "GET /x HTTP/0.9¦Host: a¦¦".into(), Refuse(505)),
        ("none", "GET /x¦¦".into(), Refuse(400)),
        ("none, LF", "GET /x\n".into(), Refuse(400)),
        ("1.", "GET /x HTTP/1.¦Host: a¦¦".into(), Refuse(400)),
        ("return", "GET /x HTTP/\r1.1¦Host: a¦¦".into(), Refuse(400)),
        ("lower case", "GET /x http/1.1¦Host: a¦¦".into(), Refuse(400)),
        ("other protocol", "GET /x ICAP/1.0¦Host: a¦¦".into(), Refuse(400)),
        ("comma", "GET /x HTTP/1,1¦Host: a¦¦".into(), Refuse(400)),
        ("HTTP/2 preface", "PRI * HTTP/2.0¦¦SM¦¦".into(), Refuse(505)),
        ("zeros", "GET /x HTTP/01.1¦Host: a¦¦".into(), Refuse(400)),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03¦¦".into(), Refuse(400)),
    ])
}

#[rustfmt::skip]
fn blanks() -> Vec<Message> {
    [
        rows("B34", "one blank between two words", [
            ("two", "GET  /x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("two, behind the target", "GET /x  HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("tab", "GET\t/x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("tab behind the target", "GET /x\tHTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("leading", " GET /x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("trailing", "GET /x HTTP/1.1 ¦Host: a¦¦".into(), Refuse(400)),
            ("inside the target", "GET /x y HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("vertical tab", "GET\x0b/x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("no method", " /x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
            ("odd method", "G@T /x HTTP/1.1¦Host: a¦¦".into(), Refuse(400)),
        ]),
        rows("B34", "a few empty lines are left over from bad clients", [
            ("two empty lines", format!("¦¦{}", line("GET /x")), Forward("GET /x -")),
            ("three empty lines", format!("¦¦¦{}", line("GET /x")), Refuse(400)),
            ("a leading LF", format!("\n{}", line("GET /x")), Refuse(400)),
            ("a leading CR", format!("\r{}", line("GET /x")), Refuse(400)),
        ]),
    ]
    .concat()
}
