//! Paths of requests, and their routes. The rules are in `rules/path.rs`.

#![no_main]

#[path = "../rules/mod.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::path::check(data));
