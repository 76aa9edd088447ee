//! The decisions on record: a text for people, in which the test finds its way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::decision::Decision;

/// What the three did with one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The row it belongs to, and why fusebox does what it does.
    pub(crate) reason: String,
    /// fusebox, nginx, HAProxy.
    pub(crate) decisions: [Decision; 3],
}

const HEAD: &str = "\
What fusebox, nginx 1.22 and HAProxy 2.6 (Debian 12) did with each hostile request of
tests/e2e/corpus. `forwards` tells each request that reached the origin: its line, the length of
its body or `chunked`, the body; in braces what in it no careful sender writes. `refused` tells
the status, `closed` is an end without one, `waits` a connection that stayed open. Under each
reason stand the messages on which what reached the origin differs; those on which nothing
differs stand last. Written by `UPDATE=1 cargo test --test differential`, read by the same test.
";

/// The heading of what is alike.
const ALIKE: &str = "nothing differs";

const NAMES: [&str; 3] = ["fusebox", "nginx", "haproxy"];

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/differential/decisions.txt"].iter().collect()
}

/// By name.
pub(crate) fn read() -> BTreeMap<String, Entry> {
    let text = fs::read_to_string(path()).unwrap_or_default();
    let (mut entries, mut reason, mut name) = (BTreeMap::new(), "", "");
    let mut decisions = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("== ") {
            reason = heading;
        } else if let Some(decision) = line.strip_prefix("    ") {
            let (_, decision) = decision.split_at(8);
            decisions.push(Decision(decision.to_owned()));
            if let Ok(three) = <[Decision; 3]>::try_from(decisions.clone()) {
                let entry = Entry { reason: reason.to_owned(), decisions: three };
                assert!(entries.insert(name.to_owned(), entry).is_none(), "{name} twice");
                decisions.clear();
            }
        } else if !line.is_empty() {
            name = line;
        }
    }
    entries
}

/// Writes the file.
pub(crate) fn write(entries: &BTreeMap<String, Entry>) {
    let mut sections: BTreeMap<(bool, &str), Vec<(&str, &Entry)>> = BTreeMap::new();
    for (name, entry) in entries {
        let [ours, others @ ..] = &entry.decisions;
        let alike = others.iter().all(|other| !ours.differs(other));
        let reason = if alike { ALIKE } else { &entry.reason };
        sections.entry((alike, reason)).or_default().push((name, entry));
    }
    let mut text = HEAD.to_owned();
    for ((_, reason), entries) in sections {
        write!(text, "\n== {reason}\n").unwrap();
        for (name, entry) in entries {
            writeln!(text, "{name}").unwrap();
            for (who, decision) in NAMES.iter().zip(&entry.decisions) {
                writeln!(text, "    {who:<8}{}", decision.0).unwrap();
            }
        }
    }
    fs::write(path(), text).unwrap();
}
