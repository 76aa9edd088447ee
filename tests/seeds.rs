//! Every seed of every fuzz target, through the rule that the fuzzer asserts.
//!
//! The seeds lie in `fuzz/corpus/TARGET/`: some written by hand, some found by the fuzzer. A
//! finding is added there in the commit that mends it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test stops at the first surprise and reads files"
)]

#[path = "../fuzz/rules/mod.rs"]
mod rules;

use std::fs;
use std::panic;
use std::path::Path;
use std::time::{Duration, Instant};

/// The fuzzer's own bound for one input; a seed takes far less.
const LONGEST: Duration = Duration::from_secs(5);

/// Puts every seed of `target` through `check`, and names all that fail.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 5, "{target} has {} seeds", seeds.len());
    let mut findings = Vec::new();
    for seed in seeds {
        let bytes = fs::read(&seed).unwrap();
        let began = Instant::now();
        let held = panic::catch_unwind(|| check(&bytes)).is_ok();
        if !held || began.elapsed() > LONGEST {
            findings.push(seed.display().to_string());
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn the_seeds_are_few_enough_to_be_looked_at() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let targets = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
    let count: usize = targets.map(|target| fs::read_dir(target).unwrap().count()).sum();
    assert!(count < 300, "{count} seeds: the fuzzer's own finds belong elsewhere");
}

#[test]
fn a_head_is_plain_and_the_same_however_it_arrives() {
    replay("head", rules::head::check);
}

#[test]
fn a_head_tells_one_length_or_is_refused() {
    replay("framing", rules::framing::check);
}

#[test]
fn a_chunked_body_is_the_same_however_it_is_split() {
    replay("chunks", rules::chunks::check);
}

#[test]
fn a_head_that_is_passed_on_means_the_same() {
    replay("rewrite", rules::rewrite::check);
}

#[test]
fn any_text_is_a_configuration_or_is_complained_about() {
    replay("config", rules::config::check);
}

#[test]
fn a_path_leads_where_it_says() {
    replay("path", rules::path::check);
}
