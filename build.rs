//! Stamps the version, and looks at the bundled configuration.
//!
//! Enters: the repository, if there is one, cargo's variables and `config/default.json`. Leaves:
//! `FUSEBOX_VERSION` for `--version`, such as `0.1.0 (a1b2c3d x86_64-unknown-linux-gnu rustc
//! 1.95.0)`; or a build that fails at `config/default.json:LINE:COLUMN`. Never fails without git.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use jsonc_parser::{CollectOptions, parse_to_ast};

#[path = "src/config/strict.rs"]
mod strict;

/// Embedded by `config` as it is: a fault in it would show on the first start only.
const DEFAULT: &str = include_str!("config/default.json");

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=config/default.json");
    println!("cargo::rerun-if-changed=src/config/strict.rs");
    println!("cargo::rustc-env=FUSEBOX_VERSION={}", version());
    match fault() {
        None => ExitCode::SUCCESS,
        Some(fault) => {
            println!("cargo::error=config/default.json:{fault}");
            ExitCode::FAILURE
        }
    }
}

fn version() -> String {
    let own = |name: &str| env::var(name).unwrap_or_default();
    let rustc = output(&own("RUSTC"), &["--version"]).unwrap_or_default();
    let rustc = rustc.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let features = features();
    let facts = [commit().unwrap_or_default(), own("TARGET"), rustc, features];
    let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    format!("{} ({})", own("CARGO_PKG_VERSION"), facts.join(" "))
}

/// The commit that is built, where this is the root of a repository and not a copy inside another.
fn commit() -> Option<String> {
    let root = output("git", &["rev-parse", "--show-toplevel"])?;
    if Path::new(&root).canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    // The log of HEAD grows with every commit, checkout and reset.
    for path in ["HEAD", "logs/HEAD"] {
        let path = output("git", &["rev-parse", "--git-path", path])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    output("git", &["rev-parse", "--short=7", "HEAD"])
}

/// The features that are on, as `+name`.
fn features() -> String {
    let on = env::vars().filter_map(|(name, _)| {
        let name = name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-");
        (name != "default").then(|| format!("+{name}"))
    });
    let mut on: Vec<String> = on.collect();
    on.sort();
    on.join(" ")
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// What is wrong with the bundled configuration's syntax; `load` judges its meaning in a test.
fn fault() -> Option<String> {
    match parse_to_ast(DEFAULT, &CollectOptions::default(), &strict::STRICT) {
        Ok(parsed) if parsed.value.is_some() => None,
        Ok(_) => Some("1:1: the document is empty".to_owned()),
        Err(error) => {
            let (line, column) = (error.line_display(), error.column_display());
            Some(format!("{line}:{column}: {}", error.kind()))
        }
    }
}
