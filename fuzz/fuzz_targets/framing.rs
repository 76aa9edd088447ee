//! How long a head says its body is. The rules are in `rules/framing.rs`.

#![no_main]

#[path = "../rules/mod.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::framing::check(data));
