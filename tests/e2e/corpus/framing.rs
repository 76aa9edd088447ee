//! Attacks on the length of a request and on the lines of its head.

use super::Must::{Break, Forward, Refuse};
use super::{EVIL, Message, Must, chunked, get, post, rows};

pub(super) fn messages() -> Vec<Message> {
    [lengths(), codings(), names(), lines(), bodies()].concat()
}

/// Framing fields and the body that each reader would see.
fn posts(
    row: &'static str,
    why: &'static str,
    body: &str,
    must: Must,
    fields: &[(&'static str, &str)],
) -> Vec<Message> {
    rows(row, why, fields.iter().map(|(name, fields)| (*name, post(fields, body), must)))
}

#[rustfmt::skip]
fn lengths() -> Vec<Message> {
    let zero = "0¦¦";
    [
        posts("B1", "two lengths of one body", zero, Refuse(400), &[
            ("length first", "Content-Length: 3¦Transfer-Encoding: chunked"),
            ("coding first", "Transfer-Encoding: chunked¦Content-Length: 3"),
            ("other case", "TRANSFER-ENCODING: Chunked¦content-length: 3"),
            ("zero length", "Content-Length: 0¦Transfer-Encoding: chunked"),
            ("not next to each other", "Content-Length: 3¦A: b¦Transfer-Encoding: chunked"),
        ]),
        posts("B2", "which of the lengths holds is anybody's guess", "abc", Refuse(400), &[
            ("different", "Content-Length: 0¦Content-Length: 3"),
            ("equal", "Content-Length: 3¦Content-Length: 3"),
            ("list", "Content-Length: 3, 3"),
            ("different list", "Content-Length: 3, 0"),
            ("three", "Content-Length: 3¦Content-Length: 3¦Content-Length: 3"),
            ("other case", "Content-Length: 3¦content-length: 4"),
        ]),
        posts("B3", "a reader may skip the empty one", "abc", Refuse(400), &[
            ("empty first", "Content-Length: ¦Content-Length: 3"),
            ("empty last", "Content-Length: 3¦Content-Length:"),
            ("empty only", "Content-Length:"),
        ]),
        posts("B4", "a length is digits and nothing else", "abc", Refuse(400), &[
            ("plus", "Content-Length: +3"),
            ("minus zero", "Content-Length: -0"),
            ("minus", "Content-Length: -3"),
            ("hexadecimal", "Content-Length: 0x3"),
            ("letters", "Content-Length: three"),
            ("underscore", "Content-Length: 1_0"),
            ("blank inside", "Content-Length: 1 0"),
            ("null behind", "Content-Length: 3\0"),
            ("semicolon", "Content-Length: 3;"),
            ("vertical tab", "Content-Length: \x0b3"),
            ("form feed", "Content-Length: 3\x0c"),
            ("point", "Content-Length: 3.0"),
            ("exponent", "Content-Length: 3e0"),
            ("quoted", "Content-Length: \"3\""),
            ("comma", "Content-Length: 3,"),
            ("full width", "Content-Length: \u{ef}\u{bc}\u{93}"),
        ]),
        posts("B5", "a wrapped length is another length", "abc", Refuse(400), &[
            ("2^64+3", "Content-Length: 18446744073709551619"),
            ("2^64-1", "Content-Length: 18446744073709551615"),
            ("2^63", "Content-Length: 9223372036854775808"),
            ("2^32+3 and zeros", "Content-Length: 00000000000004294967299"),
            ("twenty nines", "Content-Length: 99999999999999999999"),
            ("a hundred digits", &format!("Content-Length: {}", "9".repeat(100))),
        ]),
        posts("B6", "accepted, and told in its plainest form", "abc", Forward("POST /x 3:abc"), &[
            ("zeros", "Content-Length: 0003"),
            ("tab before", "Content-Length:\t3"),
            ("blanks around", "Content-Length:   3  "),
            ("no blank", "Content-Length:3"),
        ]),
        posts("B7", "a name ends at its colon", "abc", Refuse(400), &[
            ("length", "Content-Length : 3"),
            ("length, tab", "Content-Length\t: 3"),
            ("tab in name", "Content-\tLength: 3"),
            ("blank in name", "Content Length: 3"),
            ("other field", "Content-Length: 3¦A : b"),
        ]),
        posts("B7", "a name ends at its colon", zero, Refuse(400), &[
            ("coding", "Transfer-Encoding : chunked"),
            ("coding, tab", "Transfer-Encoding\t: chunked"),
        ]),
    ]
    .concat()
}

#[rustfmt::skip]
fn codings() -> Vec<Message> {
    let zero = "0¦¦";
    let why = "either it is `chunked`, once and last, or it is not understood";
    [
        posts("B8", why, zero, Refuse(400), &[
            ("comma before", "Transfer-Encoding: ,chunked"),
            ("comma behind", "Transfer-Encoding: chunked,"),
            ("parameter", "Transfer-Encoding: chunked;a=b"),
            ("vertical tab", "Transfer-Encoding: \x0bchunked"),
            ("vertical tab behind", "Transfer-Encoding: chunked\x0b"),
            ("no-break space", "Transfer-Encoding: \u{a0}chunked"),
            ("two fields", "Transfer-Encoding: chunked¦Transfer-Encoding: chunked"),
            ("twice", "Transfer-Encoding: chunked, chunked"),
            ("quoted", "Transfer-Encoding: \"chunked\""),
            ("empty", "Transfer-Encoding:"),
            ("empty and length", "Transfer-Encoding:¦Content-Length: 3"),
            ("identity and chunked", "Transfer-Encoding: identity¦Transfer-Encoding: chunked"),
            ("chunked, then identity", "Transfer-Encoding: chunked, identity"),
            ("blank inside", "Transfer-Encoding: chun ked"),
            ("unknown and length", "Transfer-Encoding: cow¦Content-Length: 3"),
            ("null", "Transfer-Encoding: chunked\0"),
        ]),
        posts("B8", "well formed, and not ours", zero, Refuse(501), &[
            ("xchunked", "Transfer-Encoding: xchunked"),
            ("gzip, chunked", "Transfer-Encoding: gzip, chunked"),
            ("identity", "Transfer-Encoding: identity"),
            ("gzip", "Transfer-Encoding: gzip"),
        ]),
        posts("B8", "the coding's name has no case", "3¦abc¦0¦¦", Forward("POST /x chunked:abc"), &[
            ("upper case", "Transfer-Encoding: CHUNKED"),
            ("tab before", "Transfer-Encoding:\tchunked"),
            ("blank behind", "Transfer-Encoding: chunked "),
        ]),
        rows("B9", "HTTP/1.0 knows no chunks", [
            ("chunked", old("POST", "Transfer-Encoding: chunked¦", zero), Refuse(400)),
            ("identity", old("POST", "Transfer-Encoding: identity¦", "abc"), Refuse(400)),
            (
                "chunked and kept",
                old("POST", "Connection: keep-alive¦Transfer-Encoding: chunked¦", zero),
                Refuse(400),
            ),
        ]),
        rows("B10", "a request's body never lasts until the close", [
            ("no length", old("POST", "", "abc"), Forward("POST /x -")),
            ("a request behind it", old("POST", "", EVIL), Forward("POST /x -")),
        ]),
    ]
    .concat()
}

fn old(method: &str, fields: &str, body: &str) -> String {
    format!("{method} /x HTTP/1.0¦Host: a¦{fields}¦{body}")
}

#[rustfmt::skip]
fn names() -> Vec<Message> {
    let fold = "a folded line is one field here and two there";
    let twin = "servers that turn - into _ take it for the real one";
    let injected = |length: usize| {
        let name = format!("Content-Length0{}", "a".repeat(length - 15));
        post(&format!("{name}:¦Content-Length: 20"), "GET /evil HTTP/1.1¦¦")
    };
    [
        posts("B11", fold, "0¦¦", Refuse(400), &[
            ("coding", "Transfer-Encoding:¦ chunked"),
            ("coding, tab", "Transfer-Encoding:¦\tchunked"),
            ("field", "Foo: a¦ b"),
            ("length", "Content-Length: 3¦ 0"),
        ]),
        posts("B12", twin, "abc", Refuse(400), &[
            ("coding", "Transfer_Encoding: chunked¦Content-Length: 3"),
            ("length", "Content_Length: 0¦Content-Length: 3"),
            ("forwarded", "X_Forwarded_For: 127.0.0.1¦Content-Length: 3"),
            ("connection", "Keep_Alive: 5¦Content-Length: 3"),
        ]),
        rows("B13", "a long name must not push its neighbour out of place", [
            ("257 bytes", injected(257), Refuse(431)),
            ("270 bytes", injected(270), Refuse(431)),
            ("512 bytes", injected(512), Refuse(431)),
            ("65536 bytes", injected(65_536), Refuse(431)),
        ]),
        rows("B14", "who stops at an empty name misses the rest", [
            (
                "first",
                "POST /x HTTP/1.1¦: x¦Host: a¦Content-Length: 3¦¦abc".into(),
                Refuse(400),
            ),
            ("middle", post(": x¦Content-Length: 3", "abc"), Refuse(400)),
            ("last", post("Content-Length: 3¦: x", "abc"), Refuse(400)),
            ("blank", post("Content-Length: 3¦ : x", "abc"), Refuse(400)),
        ]),
        rows("B15", "names are tokens, values have no controls", [
            ("null in value", get("X: a\0b"), Refuse(400)),
            ("return in value", get("X: a\rb"), Refuse(400)),
            ("return and a field", get("X: a\rb: c"), Refuse(400)),
            ("escape in value", get("X: a\x1bb"), Refuse(400)),
            ("delete in value", get("X: a\x7fb"), Refuse(400)),
            ("null in name", get("X\0: a"), Refuse(400)),
            ("return in name", get("X\r: a"), Refuse(400)),
            ("8-bit name", get("F\u{85}o: x"), Refuse(400)),
            ("parenthesis", get("F(o: x"), Refuse(400)),
            ("at sign", get("F@o: x"), Refuse(400)),
            ("quote", get("F\"o: x"), Refuse(400)),
            ("slash", get("F/o: x"), Refuse(400)),
            ("no colon", get("foo"), Refuse(400)),
            ("8-bit value", get("X: J\u{fc}rgen"), Forward("GET /x -")),
            ("8-bit at the end", get("X: a\u{85}"), Forward("GET /x -")),
            ("odd but a token", get("!#$%&'*+-.^_`|~: x"), Forward("GET /x -")),
            ("empty value", get("X:"), Forward("GET /x -")),
        ]),
    ]
    .concat()
}

#[rustfmt::skip]
fn lines() -> Vec<Message> {
    [
        rows("B16", "a line that ends in LF alone ends elsewhere for others", [
            ("all", "GET /x HTTP/1.1\nHost: a\n\n".into(), Refuse(400)),
            ("first", "GET /x HTTP/1.1\nHost: a¦¦".into(), Refuse(400)),
            ("field", "GET /x HTTP/1.1¦Host: a\n¦".into(), Refuse(400)),
            ("second field", "GET /x HTTP/1.1¦Host: a¦A: b\nC: d¦¦".into(), Refuse(400)),
            ("blank line", "GET /x HTTP/1.1¦Host: a¦\n".into(), Refuse(400)),
            ("LF LF", "GET /x HTTP/1.1¦Host: a\n\n".into(), Refuse(400)),
            ("CR CR LF", "GET /x HTTP/1.1¦Host: a\r¦¦".into(), Refuse(400)),
            ("hidden field", get("X: y\nTransfer-Encoding: chunked"), Refuse(400)),
        ]),
        rows("B17", "CR and another byte end no line", [
            ("end of head", format!("GET /x HTTP/1.1¦Host: a¦\rZ{EVIL}"), Refuse(400)),
            ("end of field", "GET /x HTTP/1.1¦Host: a\rXA: b¦¦".into(), Refuse(400)),
            ("end of first line", "GET /x HTTP/1.1\rXHost: a¦¦".into(), Refuse(400)),
            ("return alone", "GET /x HTTP/1.1¦Host: a¦\r\r".into(), Break),
        ]),
    ]
    .concat()
}

#[rustfmt::skip]
fn bodies() -> Vec<Message> {
let cut = "POST /x HTTP/1.1¦Host: a¦Content-Length: 3¦¦abc";
[
    rows(
        "B22",
        "a trailer line is one, whatever it looks like",
        [(
            "trailer that looks like a request",
            chunked("3¦abc¦0¦X:POST / HTTP/1.1¦¦"),
            Forward("POST /x chunked:abc (trailers)"),
        )],
    ),
    rows(
        "B23",
        "a trailer is never merged into the head",
        [
            ("length", chunked("3¦abc¦0¦Content-Length: 5¦¦"), Forward("POST /x chunked:abc")),
            (
                "coding",
                chunked("3¦abc¦0¦Transfer-Encoding: x¦¦"),
                Forward("POST /x chunked:abc"),
            ),
            ("host", chunked("3¦abc¦0¦Host: b¦¦"), Forward("POST /x chunked:abc")),
            (
                "authorization",
                chunked("3¦abc¦0¦Authorization: Basic eA==¦¦"),
                Forward("POST /x chunked:abc"),
            ),
            ("long", chunked(&format!("0¦X: {}¦¦", "a".repeat(20_000))), Break),
            ("many", chunked(&format!("0¦{}¦", "X: y¦".repeat(4_000))), Break),
            ("null", chunked("0¦X: \0¦¦"), Break),
            ("blank before colon", chunked("0¦X : y¦¦"), Break),
            ("fold", chunked("0¦X: y¦ z¦¦"), Break),
            ("LF", chunked("0¦X: y\n¦"), Break),
        ]),
        rows(
            "B24",
            "any method may have a body, and then it is delivered",
            [
                ("GET", with_method("GET", cut), Forward("GET /x 3:abc")),
                ("HEAD", with_method("HEAD", cut), Forward("HEAD /x 3:abc")),
                ("DELETE", with_method("DELETE", cut), Forward("DELETE /x 3:abc")),
                ("OPTIONS", with_method("OPTIONS", cut), Forward("OPTIONS /x 3:abc")),
                (
                    "GET, chunked",
                    with_method("GET", &chunked("3¦abc¦0¦¦")),
                    Forward("GET /x chunked:abc"),
                ),
                (
                    "GET, a request as body",
                    with_method(
                        "GET",
                        &post("Content-Length: 32", "GET /evil HTTP/1.1¦Host: aa¦¦"),
                    ),
                    Forward("GET /x 32:GET /evil HTTP/1.1\\r\\nHost: aa\\r\\n\\r\\n"),
                ),
                ("GET, no length", with_method("GET", &format!("{}abc", get("A: b"))), {
                    Forward("GET /x -") }),],
        ),
    ]
    .concat()
}

fn with_method(method: &str, text: &str) -> String {
    let (_, rest) = text.split_once(' ').expect("a method");
    format!("{method} {rest}")
}
