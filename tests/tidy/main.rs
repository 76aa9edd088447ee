//! The tree itself: sizes, names, words, imports, dependencies.
//!
//! What a reviewer would otherwise have to count, as tables: the ladder of rooms, the home of each
//! dependency, the reason for each dependency. Everything is read as text; nothing is compiled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and reads files"
)]

mod rooms;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use source::{Source, all, none, root};

/// Every direct dependency and why it is worth having.
const DEPENDENCIES: &[(&str, &str)] = &[
    ("annotate-snippets", "diagnostics in the compiler's own look"),
    ("arc-swap", "publishes a table without a lock"),
    ("axum", "the admin API: routing and extractors off the data path"),
    ("clap", "the command line, its help and its suggestions"),
    ("crossbeam-utils", "padding to a cache line"),
    ("divan", "benches"),
    ("futures-util", "joins futures and catches panics of one connection"),
    ("hdrhistogram", "latencies without losing the tail"),
    ("http", "methods, statuses and their phrases"),
    ("http-body-util", "the body of a webhook's request"),
    ("httparse", "tokenises heads, fuzzed by many"),
    ("humantime", "prints durations"),
    ("hyper-util", "calls webhooks: an HTTP client that keeps its connections"),
    ("indicatif", "progress of a load test"),
    ("io-uring", "ring flags that the runtime does not choose"),
    ("jsonc-parser", "a syntax tree with the place of every key"),
    ("libc", "system calls the standard library does not offer"),
    ("libfuzzer-sys", "coverage-guided fuzzing, in a workspace of its own"),
    ("loom", "explores every order of memory"),
    ("log", "what libraries say arrives in our log"),
    ("memchr", "finds line ends quickly"),
    ("monoio", "thread-per-core io_uring"),
    ("redis", "the client of Redis and Valkey: protocol and pipelining"),
    ("rustix", "affinity, signals and limits of the load tests as safe calls"),
    ("rustls", "TLS without C libraries"),
    ("rustls-native-certs", "the certificate authorities that the system trusts"),
    ("schemars", "the schema from the document types"),
    ("serde", "the document types"),
    ("serde_json", "the document and the admin API's answers"),
    ("signal-hook", "an interrupted load test stops what it started"),
    ("socket2", "socket options before bind"),
    ("strsim", "did you mean"),
    ("tempfile", "directories of tests"),
    ("tokio", "the control plane"),
    ("tokio-rustls", "TLS on the sockets of the control plane"),
    ("tower", "calls the admin routes without sockets"),
    ("tower-service", "what the resolver of a webhook's client has to be"),
];

const NAMELESS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "types"];
const LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 100;

#[test]
fn every_file_says_first_what_it_is() {
    let silent = |source: &Source| !source.text.starts_with("//! ");
    none(&all().iter().filter(|s| silent(s)).map(|s| s.path.clone()).collect::<Vec<_>>());
}

#[test]
fn no_file_is_too_long_and_no_line_too_wide() {
    let mut findings = Vec::new();
    for source in all() {
        let lines = source.shipped().lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{}: {lines} lines", source.path));
        }
        for (nth, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                findings.push(format!("{}:{}: {columns} columns", source.path, nth + 1));
            }
        }
    }
    none(&findings);
}

#[test]
fn every_file_is_named_for_what_it_holds() {
    let nameless = |source: &&Source| {
        let parts = Path::new(&source.path).components();
        let names = parts.map(|part| part.as_os_str().to_str().unwrap().trim_end_matches(".rs"));
        names.into_iter().any(|name| NAMELESS.contains(&name))
    };
    none(&all().iter().filter(nameless).map(|s| s.path.clone()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_undone_or_untested() {
    let banned = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("#[ig", "nore"),
    ];
    let mut findings = Vec::new();
    for source in all() {
        for (nth, line) in source.text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{}:{}: {word}", source.path, nth + 1));
            }
        }
    }
    none(&findings);
}

#[test]
fn every_direct_dependency_has_a_reason() {
    let mut used = BTreeSet::new();
    let manifests =
        ["Cargo.toml", "loadtest/Cargo.toml", "fuzz/Cargo.toml", "tests/races/Cargo.toml"];
    for manifest in manifests {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let mut inside = false;
        for line in text.lines() {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if inside
                && line.starts_with(|c: char| c.is_alphabetic())
                && !line.contains("path = ")
            {
                used.insert(line.split([' ', '=', '.']).next().unwrap().to_owned());
            }
        }
    }
    let listed: BTreeSet<_> = DEPENDENCIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(used, listed);
    assert!(DEPENDENCIES.iter().all(|(_, reason)| reason.len() > 5));
}

#[test]
fn the_lock_files_know_the_registry_only() {
    let locks = ["Cargo.lock", "fuzz/Cargo.lock"];
    let lock = locks.map(|name| fs::read_to_string(root().join(name)).unwrap()).concat();
    let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let sources = lock.lines().filter(|line| line.starts_with("source")).collect::<Vec<_>>();
    assert!(sources.len() > 50, "{}", sources.len());
    none(&sources.into_iter().filter(|s| *s != registry).map(String::from).collect::<Vec<_>>());
}

/// The manual's list of keys that are not built yet is the code's.
#[test]
fn the_manual_names_exactly_what_is_not_built() {
    let manual = include_str!("../../README.md");
    let (_, section) = manual.split_once("## Not built yet").expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let keys: BTreeSet<&str> = fusebox::config::not_built().iter().map(|row| row.key).collect();
    let words: BTreeSet<&str> = section
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|word| word.split(|c: char| !c.is_alphanumeric()).next().unwrap())
        .collect();
    // Where such a key stands, and the values of one that are served.
    let places = ["admin", "log", "http", "https"];
    let missing: Vec<_> = keys.difference(&words).collect();
    let invented: Vec<_> = words.difference(&keys).filter(|w| !places.contains(w)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert!(invented.is_empty(), "built already, or no key: {invented:?}");
}
