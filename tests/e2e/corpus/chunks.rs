//! Attacks on chunked bodies, and on what stands behind a body.

use super::Must::{Answer, Break, Forward, ForwardThenRefuse};
use super::{EVIL, Message, chunked, get, post, rows};

pub(super) fn messages() -> Vec<Message> {
    [sizes(), lines(), pipelines()].concat()
}

/// Chunked bodies, each followed by what an attacker would have read.
fn junk(row: &'static str, why: &'static str, bodies: &[(&'static str, String)]) -> Vec<Message> {
    let text = |body: &str| chunked(&format!("{body}{EVIL}"));
    rows(row, why, bodies.iter().map(|(name, body)| (*name, text(body), Break)))
}

/// Bodies as they are kept.
fn of(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    list.iter().map(|(name, body)| (*name, (*body).to_owned())).collect()
}

#[rustfmt::skip]
fn sizes() -> Vec<Message> {
    let end = "¦abc¦0¦¦";
    let zeros = format!("{}3{end}", "0".repeat(40));
    [
        junk("B18", "a size is hexadecimal digits and nothing else", &of(&[
            ("plus", "+3¦abc¦0¦¦"),
            ("minus", "-3¦abc¦0¦¦"),
            ("minus zero", "-0¦¦"),
            ("0x", "0x3¦abc¦0¦¦"),
            ("underscore", "0_3¦abc¦0¦¦"),
            ("blank before", " 3¦abc¦0¦¦"),
            ("blank behind", "3 ¦abc¦0¦¦"),
            ("tab behind", "3\t¦abc¦0¦¦"),
            ("letters behind", "3xyz¦abc¦0¦¦"),
            ("minus hexadecimal", "-0x0¦¦"),
            ("empty", "¦0¦¦"),
            ("point", "3.0¦abc¦0¦¦"),
            ("null", "3\0¦abc¦0¦¦"),
            ("quoted", "\"3\"¦abc¦0¦¦"),
        ]),
    ),
    junk(
        "B19",
        "a wrapped size is another size",
        &[
            ("2^64-1", format!("ffffffffffffffff{end}")),
            ("17 digits", format!("fffffffffffffffff{end}")),
            ("2^64+3", format!("10000000000000003{end}")),
            ("2^63", format!("8000000000000000{end}")),
            ("forty zeros", zeros),
        ]),
    ]
    .concat()
}

#[rustfmt::skip]
fn lines() -> Vec<Message> {
    let end = "¦abc¦0¦¦";
    let long = format!("3;{}{end}", "a".repeat(20_000));
    let flood = format!("{}0¦¦", "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa¦x¦".repeat(400));
    [
        junk("B20", "chunk lines end as all lines do", &of(&[
            ("LF behind size", "3\nabc¦0¦¦"),
            ("LF behind data", "3¦abc\n0¦¦"),
            ("CR X behind size", "3\rXabc¦0¦¦"),
            ("CR X behind data", "3¦abc\rX0¦¦"),
            ("LF at the end", "3¦abc¦0¦\n"),
            ("CR behind size", "3\rabc¦0¦¦"),
            ("LF LF", "3¦abc¦0\n\n"),
        ]),
    ),
    junk(
        "B21",
        "an extension is a name, and has a value or none",
        &of(&[
            ("empty", "3;¦abc¦0¦¦"),
            ("LF in it", "3;a\n¦abc¦0¦¦"),
            ("LF ends it", "3;a\nabc¦0¦¦"),
            ("return in it", "3;a\rb¦abc¦0¦¦"),
            ("null", "3;\0¦abc¦0¦¦"),
            ("quoted line end", "3;a=\"¦\"¦abc¦0¦¦"),
            ("open quote", "3;a=\"b¦abc¦0¦¦"),
            ("no value", "3;a=¦abc¦0¦¦"),
            ("blank inside", "3;a b¦abc¦0¦¦"),
            ("behind a quote", "3;a=\"b\"c¦abc¦0¦¦"),
            ("no semicolon", "2\r;a¦ab¦0¦¦"),
            ("escape in quotes", "3;a=\"\x1b\"¦abc¦0¦¦"),
        ]),
    ),
    junk(
        "B21",
        "extensions are bounded, each and together",
        &[("long", long), ("many", flood)],
    ),
    rows(
        "B21",
        "a plain one is for this hop only",
        [
            ("name", chunked("3;a¦abc¦0;b¦¦"), Forward("POST /x chunked:abc")),
            ("value", chunked("3;a=b;c¦abc¦0¦¦"), Forward("POST /x chunked:abc")),
            ("text", chunked("3;a=\"b \\\" ;c\"¦abc¦0¦¦"), Forward("POST /x chunked:abc")),
        ]),
        junk("B22", "a chunk is as long as it says", &of(&[
            ("longer", "3¦abcd¦0¦¦"),
            ("shorter", "4¦abc¦0¦¦"),
            ("end and letters", "0¦XX"),
            ("end and a request", "0¦X POST / HTTP/1.1¦¦"),
            ("line end before last", "3¦abc¦¦0¦¦"),
            ("no line end", "3¦abc0¦¦"),
        ]),
    ),
]
.concat()
}

#[rustfmt::skip]
fn pipelines() -> Vec<Message> {
    let unmatched = format!("POST /%2e HTTP/1.1¦Host: a¦Content-Length: 31¦¦{EVIL}");
    let bare = "GET /y HTTP/1.1\nHost: a\n\n";
    [
        rows("B25", "the body of a request that we answer is no request", [
            ("refused path", unmatched, Answer(400)),
        ]),
        rows("B26", "requests in one segment are answered in order", [
            (
                "after length 0",
                post("Content-Length: 0", "GET /y HTTP/1.1¦Host: a¦¦"),
                Forward("POST /x - + GET /y -"),
            ),
            (
                "after a body",
                post("Content-Length: 3", "abcGET /y HTTP/1.1¦Host: a¦¦"),
                Forward("POST /x 3:abc + GET /y -"),
            ),
            (
                "after chunks",
                chunked("3¦abc¦0¦¦GET /y HTTP/1.1¦Host: a¦¦"),
                Forward("POST /x chunked:abc + GET /y -"),
            ),
            (
                "second is malformed",
                format!("{}{bare}", get("A: b")),
                ForwardThenRefuse("GET /x -", 400),
            ),
            (
                "second is garbage",
                format!("{}\x16\x03\x01\x02¦¦", get("A: b")),
                ForwardThenRefuse("GET /x -", 400),
            ),
            (
                "body one byte too long",
                post("Content-Length: 3", "abcdGET /y HTTP/1.1¦Host: a¦¦"),
                Forward("POST /x 3:abc + dGET /y -"),
            ),
            (
                "ten",
                get("A: b").repeat(10),
                Forward(
                    "GET /x - + GET /x - + GET /x - + GET /x - + GET /x - + GET /x - + GET /x - \
                     + GET /x - + GET /x - + GET /x -",
                ),
            ),
            (
                "after a close",
                format!("{}{EVIL}", get("Connection: close")),
                Forward("GET /x -"),
            ),
        ]),
        junk("B27", "nothing behind junk is read", &[("word", "INVALID¦".to_owned())]),
        rows("B27", "nothing behind junk is read", [
            ("control bytes", chunked(&format!("\x01\x02¦{EVIL}")), Break),
            ("a request for a chunk", chunked(EVIL), Break),
        ]),
    ]
    .concat()
}
