//! Request and response heads. The rules are in `rules/head.rs`.

#![no_main]

#[path = "../rules/mod.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::head::check(data));
