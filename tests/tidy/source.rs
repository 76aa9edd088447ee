//! The tree as text: source files, their shipped part, their code without comments.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub(crate) struct Source {
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Whether it is compiled for tests only.
    pub(crate) tested: bool,
}

impl Source {
    /// The part that is shipped: up to the tests.
    pub(crate) fn shipped(&self) -> &str {
        if self.tested {
            return "";
        }
        let starts =
            self.text.match_indices("\n#[cfg(test)]\n").map(|(at, found)| (at, found.len()));
        let is_body = |(at, len): &(usize, usize)| {
            let line = self.text[at + len..].lines().next().unwrap_or_default();
            line.contains("mod ") && line.ends_with('{')
        };
        let cut = starts.clone().find(is_body).map_or(self.text.len(), |(at, _)| at);
        &self.text[..cut]
    }

    /// The shipped code without comments.
    pub(crate) fn code(&self) -> String {
        let lines = self.shipped().lines().map(|line| line.split("//").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The room it belongs to; the root file that lists the rooms belongs to none.
    pub(crate) fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let room = inside.split('/').next()?.trim_end_matches(".rs");
        (room != "lib").then_some(room)
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn sources(directories: &[&str]) -> Vec<Source> {
    let paths = directories.iter().map(|name| root().join(name));
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.exists()).collect();
    let mut sources = Vec::new();
    while let Some(path) = paths.pop() {
        if path.ends_with("fuzz/target") {
            continue; // what the fuzzer builds
        }
        if path.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            sources.push(Source { path, text, tested: false });
        }
    }
    assert!(!sources.is_empty(), "no sources in {directories:?}");
    let tested: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        source.tested = tested.iter().any(|path| source.path.starts_with(path.as_str()));
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// The files and folders of the modules that `source` declares for tests only.
fn test_modules(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for rest in source.text.split("#[cfg(test)]\n").skip(1) {
        let line = rest.lines().next().unwrap_or_default();
        if let Some(file) = line.strip_prefix("#[path = \"") {
            found.push(format!("{folder}/{}", file.trim_end_matches("\"]")));
        } else if let Some((_, name)) = line.trim_end_matches(';').rsplit_once("mod ") {
            found.extend([format!("{stem}/{name}.rs"), format!("{stem}/{name}/")]);
        }
    }
    found
}

pub(crate) fn all() -> Vec<Source> {
    sources(&["src", "tests", "loadtest/src", "benches", "fuzz", "build.rs"])
}

/// Fails with every finding, not only the first.
#[track_caller]
pub(crate) fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// The places where `name` stands as a whole word.
pub(crate) fn words<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = usize> + 't {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}
