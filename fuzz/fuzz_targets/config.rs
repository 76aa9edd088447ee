//! Texts of configurations. The rules are in `rules/config.rs`.

#![no_main]

#[path = "../rules/mod.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::config::check(data));
