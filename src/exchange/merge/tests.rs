//! One test per rule of the contract, and random bytes.

#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "cold: tests only")]

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::*;
use crate::http1::answer::Say;

const JSON: &str = "content-type: application/json\r\n";
const TEXT: &str = "content-type: text/plain\r\n";

fn part<'a>(service: &'a str, status: u16, headers: &'a str, body: &'a str) -> Part<'a> {
    let (headers, body) = (headers.as_bytes(), body.as_bytes());
    Part { service, merge: Merge::Union, reply: Reply::Answer(Answer { status, headers, body }) }
}

fn ignored(part: Part<'_>) -> Part<'_> {
    Part { merge: Merge::Ignore, ..part }
}

/// Status, content type, body.
#[track_caller]
fn gives(parts: &[Part<'_>], status: u16, content_type: &str, body: &str) {
    let Merged::Response(response) = merge(parts) else { panic!("{:?}", merge(parts)) };
    let written = String::from_utf8_lossy(&response.body);
    let kind = String::from_utf8_lossy(response.content_type.unwrap_or_default());
    assert_eq!((response.status, &*kind, &*written), (status, content_type, body));
}

#[track_caller]
fn conflicts(parts: &[Part<'_>], text: &str) {
    let Merged::Conflict(said) = merge(parts) else { panic!("{:?}", merge(parts)) };
    assert_eq!(said, text);
}

#[test]
fn objects_unite_and_later_fields_win_in_the_place_of_the_first() {
    let parts = [
        part("a", 200, JSON, r#"{"user":1,"x":{"deep":true},"y":null}"#),
        part("b", 200, JSON, r#" { "messages" : [10, 11] , "x" : 2 } "#),
        part("c", 200, "Content-Type: application/hal+json; charset=utf-8\r\n", r#"{"z":""}"#),
    ];
    let united = r#"{"user":1,"x":2,"y":null,"messages":[10, 11],"z":""}"#;
    gives(&parts, 200, "application/json", united);
}

#[test]
fn values_keep_every_digit_and_names_every_escape() {
    let parts = [
        part("a", 200, JSON, r#"{"id":12345678901234567890123,"f":1.10,"a\"\n\u00e9":1e400}"#),
        part("b", 200, JSON, r#"{"\u0069d":9007199254740993}"#),
    ];
    let united = "{\"id\":9007199254740993,\"f\":1.10,\"a\\\"\\n\u{e9}\":1e400}";
    gives(&parts, 200, "application/json", united);
}

#[test]
fn an_object_next_to_text_is_a_conflict_that_names_service_and_kinds() {
    let object = part("userservice", 200, JSON, r#"{"user":1}"#);
    let text = part("messagingservice", 200, TEXT, "hello");
    conflicts(
        &[object, text],
        "cannot merge the string response of messagingservice: \
         the current response is an object",
    );
    conflicts(
        &[text, object],
        "cannot merge the object response of userservice: the current response is a string",
    );
}

#[test]
fn two_bodies_that_are_not_objects_conflict_whatever_they_are() {
    for (body, kind, current) in [
        ("[1]", "array", "an array"),
        ("\"s\"", "string", "a string"),
        ("-1", "number", "a number"),
        ("true", "boolean", "a boolean"),
        ("null", "null", "null"),
        ("{\"a\":1", "string", "a string"),
        ("{}{}", "string", "a string"),
    ] {
        let parts = [part("a", 200, JSON, body), part("b", 200, JSON, body)];
        let said =
            format!("cannot merge the {kind} response of b: the current response is {current}");
        conflicts(&parts, &said);
    }
}

#[test]
fn a_body_that_stands_alone_passes_as_it_is() {
    let nothing = [part("x", 200, TEXT, ""), part("y", 204, JSON, "never")];
    for (kind, body) in [(TEXT, "hello"), (JSON, " {\"a\" : 1}"), (JSON, "{broken"), ("", "?")] {
        let parts = [nothing[0], part("b", 200, kind, body), nothing[1]];
        let kind = kind.trim_start_matches("content-type: ").trim_end();
        gives(&parts, 200, kind, body);
    }
    gives(&nothing, 200, "", "");
    gives(&[part("a", 204, "", ""), part("b", 204, "", "")], 204, "", "");
}

#[test]
fn equal_statuses_are_kept_and_different_successes_are_200() {
    let status = |status| part("s", status, "", "");
    gives(&[status(201), status(201)], 201, "", "");
    gives(&[status(201), status(202)], 200, "", "");
    gives(&[status(200), status(204), status(201)], 200, "", "");
    gives(&[status(302), status(302)], 302, "", "");
    for pair in [[200, 302], [302, 201], [301, 302]] {
        conflicts(
            &pair.map(status),
            &format!(
                "cannot merge the response of s: its status is {}, \
                 the status of the current response is {}",
                pair[1], pair[0]
            ),
        );
    }
}

#[test]
fn the_first_error_speaks_alone() {
    let parts = [
        part("a", 200, "set-cookie: a=1\r\n", "{}"),
        part("b", 404, "x-b: 1\r\nContent-Type: text/html \r\nset-cookie: b=1\r\n", "gone"),
        part("c", 500, JSON, "{}"),
    ];
    gives(&parts, 404, "text/html", "gone");
    let Merged::Response(response) = merge(&parts) else { panic!() };
    assert!(response.headers.is_empty());
}

#[test]
fn a_failure_of_ours_stands_for_all_in_its_turn() {
    let bad_gateway = Rendered::new(502, Say::Message("Bad gateway"), "");
    let failed = Part { service: "f", merge: Merge::Union, reply: Reply::Failure(&bad_gateway) };
    let (fine, error) = (part("a", 200, JSON, "{}"), part("b", 503, TEXT, "Busy."));
    assert!(matches!(merge(&[fine, failed, error]), Merged::Failure(ours) if ours.status() == 502));
    gives(&[fine, error, failed], 503, "text/plain", "Busy.");
    gives(&[fine, ignored(failed)], 200, "application/json", "{}");
}

#[test]
fn an_ignored_service_leaves_no_trace() {
    let fine = part("a", 200, JSON, r#"{"a":1}"#);
    let cookie = "set-cookie: b=1\r\ncontent-type: text/plain\r\n";
    for other in
        [part("b", 500, cookie, "no"), part("b", 302, cookie, ""), part("b", 200, cookie, "t")]
    {
        gives(&[ignored(other), fine], 200, "application/json", r#"{"a":1}"#);
        let Merged::Response(response) = merge(&[fine, ignored(other)]) else { panic!() };
        assert!(response.headers.is_empty());
    }
    gives(&[ignored(fine)], 204, "", "");
    gives(&[], 204, "", "");
}

fn merged_headers(parts: &[Part<'_>]) -> String {
    let Merged::Response(response) = merge(parts) else { panic!("{:?}", merge(parts)) };
    String::from_utf8(response.headers).unwrap()
}

#[test]
fn cookies_concatenate_and_the_last_of_any_other_name_wins() {
    let a = "Set-Cookie: a=1\r\nX-One:  a \r\nlink: </1>\r\nlink: </2>\r\nx-a: 1\r\n";
    let b = "x-one: b\r\nset-cookie: b=1\r\nset-cookie: c=1\r\nLink: </3>\r\nlink: </4>\r\n";
    let parts = [part("a", 200, a, ""), part("b", 200, b, "")];
    assert_eq!(
        merged_headers(&parts),
        "Set-Cookie: a=1\r\nx-a: 1\r\nx-one: b\r\nset-cookie: b=1\r\nset-cookie: c=1\r\n\
         Link: </3>\r\nlink: </4>\r\n"
    );
}

#[test]
fn what_belongs_to_one_hop_or_one_body_is_dropped() {
    let a = "connection: close, X-Hop\r\nx-hop: 1\r\ncontent-length: 2\r\nkeep-alive: 1\r\n\
             transfer-encoding: chunked\r\nupgrade: h2c\r\n\
             etag: \"1\"\r\nlast-modified: x\r\nx-b: 1\r\n: none\r\nbroken\r\nx-c: 1\n";
    let only = part("a", 200, a, "{}");
    assert_eq!(merged_headers(&[only]), "etag: \"1\"\r\nlast-modified: x\r\nx-b: 1\r\n");
    assert_eq!(merged_headers(&[only, part("b", 200, "", "")]), "x-b: 1\r\n");
}

#[test]
fn a_deep_body_neither_overflows_nor_loses_a_byte() {
    let deep = format!("{}1{}", "{\"a\":".repeat(200_000), "}".repeat(200_000));
    let other = part("b", 200, JSON, r#"{"b":1}"#);
    let Merged::Response(response) = merge(&[part("a", 200, JSON, &deep), other]) else { panic!() };
    assert_eq!(response.body.len(), deep.len() + r#","b":1"#.len());
    let unclosed = "[{\"a\":".repeat(200_000);
    assert!(matches!(merge(&[part("a", 200, JSON, &unclosed), other]), Merged::Conflict(_)));
}

#[test]
fn an_encoded_body_is_named_when_it_stands_alone_and_opaque_when_it_does_not() {
    let gzip = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    for status in [200, 500] {
        let coded = part("a", status, gzip, "{}");
        assert_eq!(merged_headers(&[coded]), "content-encoding: gzip\r\n");
    }
    let parts = [part("b", 200, JSON, "{}"), part("a", 200, gzip, "{}")];
    conflicts(&parts, "cannot merge the string response of a: the current response is an object");
}

/// What comes out of any two bodies is JSON again or a conflict, and never a panic.
#[test]
fn random_bytes_never_break_a_merge() {
    const BYTES: &[u8] = b"{{{}}}[]\"\":,::1-.eE\\u0ntfalse \n\r\xff\xc3\xa9x";
    let mut seed = 0x6d65_7267_u64;
    let mut roll = |sides: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % sides
    };
    let mut united = 0;
    for _ in 0..300_000 {
        let mut noise = |len| (0..len).map(|_| BYTES[roll(BYTES.len())]).collect::<Vec<u8>>();
        let (middle, headers) = (noise(6), noise(12));
        let body = [b"{\"a\":", &*middle, b"}"].concat();
        let headers = [JSON.as_bytes(), &headers].concat();
        let wild = Answer { status: 200, headers: &headers, body: &body };
        let wild = Part { service: "w", merge: Merge::Union, reply: Reply::Answer(wild) };
        let tame = part("t", 200, JSON, r#"{"b":1}"#);
        if let Merged::Response(response) = merge(&[tame, wild]) {
            united += 1;
            let read = serde_json::from_slice::<HashMap<String, &RawValue>>(&response.body);
            assert!(read.is_ok_and(|read| read.contains_key("a") && read.contains_key("b")));
            let read = serde_json::from_slice::<&RawValue>(&body);
            assert!(read.is_ok(), "{}", body.escape_ascii());
        }
    }
    assert!(united > 100, "only {united} of the bodies were JSON");
}
