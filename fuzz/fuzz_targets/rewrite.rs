//! Heads as they are passed on. The rules are in `rules/rewrite.rs`.

#![no_main]

#[path = "../rules/mod.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::rewrite::check(data));
