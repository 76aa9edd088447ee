//! Paths: what is matched is what was asked for, and leads nowhere else.

use std::net::SocketAddr;
use std::sync::OnceLock;

use fusebox::breaker::registry::{Draft, Registry};
use fusebox::config::{self, PathRules};
use fusebox::stats::Tallies;
use fusebox::table::compile::{Kept, compile};
use fusebox::table::matcher::{Captures, Match};
use fusebox::table::{Table, spelling};

/// Patterns of every kind, and such as contend for the same paths.
const PATTERNS: [&str; 14] = [
    "/",
    "/a",
    "/a/b",
    "/a/:x",
    "/a/:x/c",
    "/a/b/:y",
    "/:x/b/c",
    "/:x/:y/:z",
    "/a/b/c/*rest",
    "/admin",
    "/pub/*rest",
    "/pub/:x/only",
    "/b/(.*)",
    "/%41/c",
];

/// Looks `data` up as a path, in both ways in which paths are judged.
pub fn check(data: &[u8]) {
    if data.contains(&b'?') {
        return;
    }
    let path = [b"/", data].concat();
    let [normal, strict] =
        [PathRules::Normal, PathRules::Strict].map(|rules| spelling::clean(&path, rules));
    assert!(normal || !strict, "strict refuses more");
    if !normal {
        return;
    }
    let mut captures = Captures::default();
    let found = table().matcher.find(b"test", &path, b"GET", &mut captures);
    assert_eq!(
        table().matcher.find(b"test", &path, b"BREW", &mut Captures::default()),
        match found {
            Match::Route(_) => Match::WrongMethod(0),
            other => other,
        }
    );
    let segments = segments(&path);
    let fits = |pattern: &&&str| captured(pattern, &segments).is_some();
    let Match::Route(ix) = found else {
        assert_eq!(PATTERNS.iter().find(fits), None, "{}", path.escape_ascii());
        return;
    };
    let name = &table().route(ix).name;
    let pattern = name.strip_prefix("GET ").expect("a name");
    let taken = captured(pattern, &segments).expect("a pattern that fits");
    assert_eq!(captures.len(), taken.len());
    for (nth, text) in taken.iter().enumerate() {
        let got = captures.get(nth, &path);
        // A rest has the slash at the path's end, which was not needed to find it.
        let short = got.strip_suffix(b"/").unwrap_or(got);
        assert!(text == got || text == short, "{}", path.escape_ascii());
        leads_nowhere(got);
    }
    // At the first segment where two fitting patterns differ, the chosen one is the more exact.
    for other in PATTERNS.iter().filter(fits) {
        let pairs = pattern.split('/').zip(other.split('/'));
        let differ = pairs.map(|(a, b)| (rank(a), rank(b))).find(|(a, b)| a != b);
        assert!(differ.is_none_or(|(mine, theirs)| mine < theirs), "{pattern} before {other}");
    }
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let route = |pattern: &&str| {
            format!(
                r#""{pattern}": {{ "GET": {{ "services": {{ "s": {{ "url": "http://a/" }} }} }} }}"#
            )
        };
        let routes: Vec<_> = PATTERNS.iter().map(route).collect();
        let text = format!(r#"{{ "http": {{ "routes": {{ {} }} }} }}"#, routes.join(","));
        let (config, _) = config::load(&text).expect("a configuration");
        let kept = Kept {
            breakers: &Registry::new(1),
            draft: &mut Draft::default(),
            tallies: &mut Tallies::default(),
        };
        compile(&config, 1, kept, |_, port| vec![SocketAddr::from(([127, 0, 0, 1], port))])
    })
}

/// One begins after every slash; the root has none, and `/a/` is `/a`.
fn segments(path: &[u8]) -> Vec<&[u8]> {
    if path == b"/" {
        return Vec::new();
    }
    path.strip_suffix(b"/").unwrap_or(path)[1..].split(|byte| *byte == b'/').collect()
}

/// What `pattern` takes from `segments`, where it fits.
fn captured(pattern: &str, segments: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let mut taken = Vec::new();
    let mut at = 0;
    for part in pattern[1..].split('/').filter(|_| pattern != "/") {
        if part.starts_with('*') || part.starts_with('(') {
            taken.push(segments.get(at..).unwrap_or_default().join(&b'/'));
            return Some(taken);
        }
        let segment = segments.get(at)?;
        if part.starts_with(':') {
            if segment.is_empty() {
                return None;
            }
            taken.push(segment.to_vec());
        } else if part.as_bytes() != *segment {
            return None;
        }
        at += 1;
    }
    (at == segments.len()).then_some(taken)
}

/// Literal before param before rest.
fn rank(part: &str) -> u8 {
    match part.bytes().next() {
        Some(b'*' | b'(') => 2,
        Some(b':') => 1,
        _ => 0,
    }
}

/// However often an upstream decodes it once and cuts parameters off: no dot segment.
fn leads_nowhere(part: &[u8]) {
    let mut decoded = Vec::new();
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).copied().collect();
                let digits = std::str::from_utf8(&digits).expect("two digits");
                u8::from_str_radix(digits, 16).expect("two digits")
            }
            byte => *byte,
        });
    }
    let ends = |byte: &u8| matches!(byte, b'/' | b'\\');
    for segment in decoded.split(ends) {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        assert!(name != b"." && name != b"..", "{}", part.escape_ascii());
    }
    assert!(!decoded.contains(&0));
}
