//! The command line: what it prints and how it exits.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::proxy::{self, Ended};

fn samples(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(&path).expect("samples").map(|entry| entry.unwrap().path());
    let is_document =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "jsonc");
    entries.filter(is_document).collect()
}

fn check(path: &Path) -> Ended {
    proxy::run(&["check", path.to_str().unwrap()])
}

/// `fusebox check -` with `text` on standard input.
fn check_text(text: &str) -> Ended {
    let mut child = proxy::command()
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let output = [done.stdout, done.stderr].concat();
    Ended { status: done.status, output: String::from_utf8(output).unwrap() }
}

#[test]
fn every_sample_passes_check() {
    let samples = samples("config");
    assert!(samples.len() >= 3, "{samples:?}");
    for path in samples {
        let ended = check(&path);
        assert_eq!(ended.status.code(), Some(0), "{path:?}: {}", ended.output);
    }
}

#[test]
fn every_invalid_sample_is_exit_78_and_names_a_place() {
    let samples = samples("config/invalid");
    assert!(samples.len() >= 3, "{samples:?}");
    for path in samples {
        let ended = check(&path);
        assert_eq!(ended.status.code(), Some(78), "{path:?}: {}", ended.output);
        let name = path.file_name().unwrap().to_str().unwrap();
        let place = ended.output.find(&format!("{name}:")).map(|at| &ended.output[at..]);
        let line = place.and_then(|place| place[name.len() + 1..].chars().next());
        assert!(line.is_some_and(|c| c.is_ascii_digit()), "{path:?}: {}", ended.output);
    }
}

#[test]
fn check_reads_standard_input_and_reports_every_fault_at_once() {
    let good = r#"{ "http": { "routes": { "/": { "GET": {
        "services": { "o": { "url": "http://localhost:1/" } }, // a comment
    } } } } }"#;
    let ended = check_text(good);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    let bad =
        r#"{ "listne": "x", "http": { "routes": {}, "circuitBreaker": { "maxErrors": -1 } } }"#;
    let ended = check_text(bad);
    assert_eq!(ended.status.code(), Some(78), "{}", ended.output);
    for word in ["listne", "did you mean", "maxErrors"] {
        assert!(ended.output.contains(word), "no {word:?} in {}", ended.output);
    }
}

#[test]
fn check_counts_the_breakers_of_every_scope() {
    let text = r#"{ "http": {
        "circuitBreaker": { "scope": "target", "maxFailures": 3, "timeWindow": "10s" },
        "routes": { "/": { "GET": {
            "services": { "o": { "url": ["http://localhost:1/", "http://localhost:2/"] } }
        } } }
    } }"#;
    let ended = check_text(text);
    assert!(ended.output.contains("1 route, 2 breakers"), "{}", ended.output);
}

#[test]
fn the_configuration_of_the_readme_passes_check() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let sample = readme.split("```jsonc\n").nth(1).and_then(|rest| rest.split("```").next());
    let ended = check_text(sample.expect("a sample"));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}

#[test]
fn run_refuses_what_check_refuses() {
    let path = samples("config/invalid").pop().expect("a sample");
    let ended = proxy::run(&["run", path.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(78), "{path:?}: {}", ended.output);
}

#[test]
fn a_file_that_is_no_text_is_exit_78_and_its_byte_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"{\n  \"\xff\": 1 }").unwrap();
    let path = file.path().to_str().unwrap();
    for command in ["check", "run", "table", "reload"] {
        let ended = proxy::run(&[command, path]);
        assert_eq!(ended.status.code(), Some(78), "{command}: {}", ended.output);
        for words in ["F005", "byte 0xff", &format!("{path}:2:4")] {
            assert!(ended.output.contains(words), "no {words:?} in {}", ended.output);
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_exit_1_and_named() {
    for command in ["check", "run"] {
        let ended = proxy::run(&[command, "/nowhere/fusebox.json"]);
        assert_eq!(ended.status.code(), Some(1), "{command}: {}", ended.output);
        assert!(ended.output.contains("/nowhere/fusebox.json"), "{}", ended.output);
    }
}

#[test]
fn a_usage_error_is_exit_64() {
    for arguments in [&["fly"][..], &[], &["check"], &["run", "--nonsense", "x"]] {
        let ended = proxy::run(arguments);
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {}", ended.output);
    }
}

#[test]
fn help_names_every_command_and_version_names_the_version() {
    let help = proxy::run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in ["run", "check", "reload", "demo"] {
        assert!(help.output.contains(command), "no {command:?} in {}", help.output);
    }
    let version = proxy::run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(version.output.contains(env!("CARGO_PKG_VERSION")), "{}", version.output);
}

#[test]
fn the_demo_trips_heals_and_ends_by_itself() {
    let ended = proxy::run(&["demo", "--seconds", "10"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    for words in ["closed → open", "→ closed"] {
        assert!(ended.output.contains(words), "no {words:?} in {}", ended.output);
    }
}
