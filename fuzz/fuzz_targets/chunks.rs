//! Chunked bodies, in pieces. The rules are in `rules/chunks.rs`.

#![no_main]

#[path = "../rules/mod.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::chunks::check(data));
