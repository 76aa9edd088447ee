//! Who may know whom: the ladder of rooms, the home of each dependency, the hot files.

use std::collections::BTreeSet;

use crate::source::{Source, all, none, sources, words};

/// The rooms in order, with what each may import. A room imports only rooms above it in this list,
/// so no two import each other. `room::item` grants that item alone.
const LADDER: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("log", &["clock"]),
    ("breaker", &["clock"]),
    ("http1", &[]),
    ("config", &["breaker::policy", "http1::head", "http1::forwarding"]),
    ("cluster", &["breaker", "config", "log", "clock"]),
    ("stats", &["breaker"]),
    ("access", &["config", "breaker::Core", "log", "clock"]),
    ("table", &["config", "breaker", "http1", "stats", "clock"]),
    ("rt", &["clock"]),
    ("upstream", &["table", "rt", "http1", "clock", "stats", "breaker::Core"]),
    (
        "exchange",
        &["upstream", "access", "table", "breaker", "config", "http1", "rt", "stats", "clock"],
    ),
    ("downstream", &["exchange", "table", "rt", "http1", "stats", "clock", "breaker", "config"]),
    (
        "worker",
        &[
            "downstream",
            "exchange",
            "upstream",
            "access",
            "table",
            "rt",
            "stats",
            "clock",
            "log",
            "breaker",
            "config",
        ],
    ),
    (
        "control",
        &[
            "worker",
            "cluster",
            "access",
            "config",
            "table",
            "breaker",
            "stats",
            "log",
            "clock",
            "http1",
            "rt::child",
        ],
    ),
    ("demo", &["control", "config", "clock"]),
    ("cli", &["demo", "control", "worker", "config", "table", "stats", "breaker", "log", "clock"]),
    ("main", &["cli"]),
];

/// Dependencies with one home: the files below these paths, and no others, may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("annotate_snippets", &["src/config/complaint.rs"]),
    ("arc_swap", &["src/table/live.rs"]),
    ("axum", &["src/control/"]),
    ("clap", &["src/cli/", "src/cli.rs"]),
    ("http_body_util", &["src/control/webhook.rs"]),
    ("httparse", &["src/http1/tokens.rs"]),
    ("humantime", &["src/config/units.rs"]),
    ("hyper_util", &["src/control/webhook.rs"]),
    ("io_uring", &["src/rt/"]),
    ("jsonc_parser", &["src/config/"]),
    ("monoio", &["src/rt/"]),
    ("redis", &["src/cluster/store/"]),
    ("rustls", &["src/cluster/store/"]),
    ("rustls_native_certs", &["src/cluster/store/"]),
    ("schemars", &["src/config/"]),
    ("socket2", &["src/rt/"]),
    ("strsim", &["src/config/"]),
    ("tokio", &["src/cluster/store/", "src/control/", "src/demo/"]),
    ("tokio_rustls", &["src/cluster/store/"]),
    ("tower_service", &["src/control/webhook.rs"]),
];

/// Rooms that serve requests. Each file of theirs denies what allocates and locks, or says in one
/// line why it may.
const HOT: &[&str] = &["access", "breaker", "http1", "table", "upstream", "exchange", "downstream"];

/// What in those rooms is cold: runs when a table is compiled, on the writer's thread, or unites
/// JSON of several services.
const COLD: &[&str] = &[
    "src/access/render.rs",
    "src/access/sink.rs",
    "src/access/writer.rs",
    "src/breaker/follow.rs",
    "src/breaker/registry.rs",
    "src/http1/answer.rs",
    "src/table/compile.rs",
    "src/table/tree.rs",
    "src/exchange/fanout.rs",
    "src/exchange/gather.rs",
    "src/exchange/merge/",
];

#[test]
fn the_ladder_has_no_rung_above_itself() {
    for (nth, (room, imports)) in LADDER.iter().enumerate() {
        for import in *imports {
            let import = import.split("::").next().unwrap();
            let below = LADDER[..nth].iter().any(|(name, _)| *name == import);
            assert!(below, "{room} may import {import}, which is not below it");
        }
    }
}

#[test]
fn rooms_import_downward_only() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let Some(room) = source.room() else { continue };
        let Some((_, allowed)) = LADDER.iter().find(|(name, _)| *name == room) else {
            findings.push(format!("{}: room {room} has no rung", source.path));
            continue;
        };
        for import in imports(&source) {
            let first = import.split("::").next().unwrap_or_default();
            let granted =
                |grant: &&str| import == *grant || import.starts_with(&format!("{grant}::"));
            if first != room && !allowed.iter().copied().any(|grant| granted(&grant)) {
                findings.push(format!("{}: {import}", source.path));
            }
        }
    }
    none(&findings);
}

/// Paths below the crate's root that a file names, without `crate::`; rooms only.
fn imports(source: &Source) -> BTreeSet<String> {
    let code = source.code();
    let mut roots = vec!["crate::"];
    if source.room() == Some("main") {
        roots.push("fusebox::");
    }
    let is_door = source.path.matches('/').count() == 2 && source.path.ends_with("/mod.rs");
    if source.path.matches('/').count() == 1 || is_door {
        roots.push("super::"); // from here, the parent is the crate's root
    }
    let mut found = BTreeSet::new();
    for root in roots {
        for at in code.match_indices(root).map(|(at, _)| at) {
            let whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if whole {
                expand("", &code[at + root.len()..], &mut found);
            }
        }
    }
    let is_room = |path: &String| {
        LADDER.iter().any(|(room, _)| path.split("::").next() == Some(*room))
            || path.starts_with(|c: char| c.is_lowercase()) && path.contains("::")
    };
    found.into_iter().filter(is_room).collect()
}

/// Adds the paths at the start of `text` to `found`, a braced group one by one.
fn expand(before: &str, text: &str, found: &mut BTreeSet<String>) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut depth = 0_usize;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    expand(before, &group[start..at], found);
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    if end == 0 {
        return;
    }
    let path = format!("{before}{}", &text[..end]);
    match text[end..].strip_prefix("::") {
        Some(rest) if rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
            expand(&format!("{path}::"), rest, found);
        }
        _ => drop(found.insert(path)),
    }
}

#[test]
fn a_dependency_is_named_in_its_home_only() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let code = source.code();
        for (name, homes) in HOMES {
            let path = |at: usize| {
                let rest = &code[at + name.len()..];
                let used = code[..at].trim_end().ends_with("use");
                rest.starts_with("::") && !code[..at].ends_with("::") || used
            };
            let named = words(&code, name).any(path);
            if named && !homes.iter().any(|home| source.path.starts_with(home)) {
                findings.push(format!("{}: {name}, whose home is {homes:?}", source.path));
            }
        }
    }
    none(&findings);
}

#[test]
fn unsafe_code_has_one_home() {
    let homes = ["src/rt/", "loadtest/src/ring/", "tests/e2e/kernel.rs", "tests/alloc"];
    let stray = |source: &&Source| {
        let shipped = source.code();
        let unsafe_word = concat!("un", "safe");
        words(&shipped, unsafe_word).next().is_some()
            && !homes.iter().any(|home| source.path.starts_with(home))
    };
    none(&all().iter().filter(stray).map(|s| s.path.clone()).collect::<Vec<_>>());
}

/// What the simulation, loom and the tests of cost see of the breaker is what goes this way.
#[test]
fn the_breaker_takes_its_atomics_from_one_file() {
    let room = sources(&["src/breaker"]).into_iter().filter(|it| !it.tested);
    let stray = room.filter(|source| {
        let others = source.path != "src/breaker/atomics.rs";
        others && source.code().contains("sync::atomic")
    });
    none(&stray.map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn hot_files_deny_what_allocates_and_locks_or_say_why_not() {
    let says = |text: &str| {
        text.contains("deny(clippy::disallowed_types")
            || text.contains("allow(clippy::disallowed_types") && text.contains("reason = ")
    };
    let silent = |source: &&Source| {
        source.room().is_some_and(|room| HOT.contains(&room))
            && !source.tested
            && !COLD.iter().any(|cold| source.path.starts_with(cold))
            && !says(&source.text)
    };
    none(&sources(&["src"]).iter().filter(silent).map(|s| s.path.clone()).collect::<Vec<_>>());
}

#[test]
fn the_text_readers_see_what_they_look_for() {
    let mut found = BTreeSet::new();
    expand("", "{breaker::{policy::Policy, Core}, clock::now} as x", &mut found);
    let expected = ["breaker::Core", "breaker::policy::Policy", "clock::now"];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let source = Source {
        path: "src/config/mod.rs".into(),
        text: "use crate::control::Running; // crate::rt\n\n#[cfg(test)]\nmod tests {".into(),
        tested: false,
    };
    assert_eq!(
        imports(&source).iter().map(String::as_str).collect::<Vec<_>>(),
        ["control::Running"]
    );
    assert_eq!(words("axum::x my_axum axum", "axum").count(), 2);
}
