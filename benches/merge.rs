//! The merge of a fan-out: two small objects, a body that stands alone, two large objects.

use divan::{Bencher, black_box};
use fusebox::config::Merge;
use fusebox::exchange::merge::{Answer, Merged, Part, Reply, merge};

const HEADERS: &[u8] =
    b"content-type: application/json\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nx-id: 9\r\n";

fn main() {
    divan::main();
}

#[divan::bench]
fn two_small_objects(bencher: Bencher<'_, '_>) {
    run(bencher, &[br#"{"user":1}"#, br#"{"messages":10}"#]);
}

#[divan::bench]
fn one_body(bencher: Bencher<'_, '_>) {
    run(bencher, &[br#"{"user":1}"#, b""]);
}

/// 64 KiB each, in fields of 64 bytes.
#[divan::bench]
fn two_large_objects(bencher: Bencher<'_, '_>) {
    let object = |name: &str| {
        let field = |nth| format!("\"{name}{nth:04}\":\"{}\"", "x".repeat(52));
        format!("{{{}}}", (0..1024).map(field).collect::<Vec<_>>().join(","))
    };
    run(bencher, &[object("a").as_bytes(), object("b").as_bytes()]);
}

fn run<'b>(bencher: Bencher<'_, '_>, bodies: &[&'b [u8]]) {
    let part = |&body: &&'b [u8]| {
        let reply = Reply::Answer(Answer { status: 200, headers: HEADERS, body });
        Part { service: "service", merge: Merge::Union, reply }
    };
    let parts: Vec<Part<'b>> = bodies.iter().map(part).collect();
    bencher.bench_local(|| {
        let merged = merge(black_box(&parts));
        assert!(matches!(merged, Merged::Response(_)));
    });
}
