//! Paths, methods and hosts of routes.
//!
//! Enters: the keys that an operator wrote. Leaves: patterns that a matcher can trust, or why no
//! request could ever match. Paths are compared as the raw bytes that are forwarded.

use super::complaint::{any_of, quoted};
use super::{HostPattern, PARAMS_MAX, PathPattern, PathRules, Segment, TrailingSlash};

/// What is wrong with a pattern or URL, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) fault: String,
    pub(super) remedy: String,
}

impl Flaw {
    pub(super) fn new(fault: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { fault: fault.into(), remedy: remedy.into() }
    }
}

/// Reads the path of a route.
pub(super) fn path(
    text: &str,
    slash: TrailingSlash,
    rules: PathRules,
) -> Result<PathPattern, Flaw> {
    let Some(rest) = text.strip_prefix('/') else {
        let remedy = format!("write {}", quoted(&format!("/{text}")));
        return Err(Flaw::new(format!("path {} does not begin with `/`", quoted(text)), remedy));
    };
    let rest = match slash {
        TrailingSlash::Ignore => rest.strip_suffix('/').unwrap_or(rest),
        TrailingSlash::Strict => rest,
    };
    let mut segments = Vec::new();
    let mut unnamed = 0;
    let mut parts =
        if rest.is_empty() { None } else { Some(rest.split('/')) }.into_iter().flatten().peekable();
    while let Some(part) = parts.next() {
        let segment = segment(part, &mut unnamed, rules)?;
        if matches!(segment, Segment::Rest(_)) && parts.peek().is_some() {
            return Err(Flaw::new(
                format!("{} takes all the rest of the path, yet more follows", quoted(part)),
                "put it last, or use `:name` for one segment",
            ));
        }
        segments.push(segment);
    }
    if rules == PathRules::Strict && segments.iter().rev().skip(1).any(is_empty) {
        return Err(Flaw::new(
            "`//` never matches while `paths` is \"strict\"",
            "write single slashes",
        ));
    }
    let pattern = PathPattern { text: text.to_owned(), segments };
    check_params(&pattern)?;
    Ok(pattern)
}

/// The names that a path captures, in order.
pub(super) fn captures(path: &PathPattern) -> Vec<&str> {
    let names = path.segments.iter().filter_map(|segment| match segment {
        Segment::Literal(_) => None,
        Segment::Param(name) | Segment::Rest(name) => Some(name.as_str()),
    });
    names.collect()
}

/// Equal for two paths that match the same set.
pub(super) fn shape(path: &PathPattern) -> String {
    let mut shape = String::with_capacity(path.text.len());
    for segment in &path.segments {
        shape.push('/');
        match segment {
            Segment::Literal(text) => shape.push_str(text),
            Segment::Param(_) => shape.push(':'),
            Segment::Rest(_) => shape.push('*'),
        }
    }
    shape
}

fn is_empty(segment: &Segment) -> bool {
    matches!(segment, Segment::Literal(text) if text.is_empty())
}

fn segment(part: &str, unnamed: &mut usize, rules: PathRules) -> Result<Segment, Flaw> {
    if part == "(.*)" {
        let name = unnamed.to_string();
        *unnamed += 1;
        return Ok(Segment::Rest(name));
    }
    if let Some(name) = part.strip_prefix(':') {
        return name_of(name, part).map(Segment::Param);
    }
    if let Some(name) = part.strip_prefix('*') {
        return name_of(name, part).map(Segment::Rest);
    }
    if part.contains([':', '*', '(', ')']) {
        return Err(Flaw::new(
            format!("segment {} is neither literal nor a param", quoted(part)),
            "a param takes a whole segment: `:name` for one, `*name` or `(.*)` for the rest",
        ));
    }
    literal(part, rules)?;
    Ok(Segment::Literal(part.to_owned()))
}

fn name_of(name: &str, part: &str) -> Result<String, Flaw> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if letters && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Ok(name.to_owned());
    }
    Err(Flaw::new(
        format!("param {} has no usable name", quoted(part)),
        "name it with letters, digits and `_`, a letter first, as in `:user_id` or `*rest`",
    ))
}

/// Refuses what no request that we forward can have in its path.
fn literal(part: &str, rules: PathRules) -> Result<(), Flaw> {
    let lower = part.to_ascii_lowercase();
    if matches!(lower.replace("%2e", ".").as_str(), "." | "..") {
        return Err(Flaw::new(
            format!("{} is a dot segment: such requests are refused", quoted(part)),
            "write the path without it",
        ));
    }
    if let Some(at) = bad_escape(part) {
        return Err(Flaw::new(
            format!("{} is not a percent-escape", quoted(&part[at..])),
            "write two hexadecimal digits after `%`, or `%25` for the sign itself",
        ));
    }
    if lower.contains("%00") {
        return Err(Flaw::new("`%00` in a path is always refused", "write the path without it"));
    }
    if rules == PathRules::Strict && (lower.contains("%2f") || lower.contains("%5c")) {
        return Err(Flaw::new(
            "`%2f` and `%5c` never match while `paths` is \"strict\"",
            "write the path without them",
        ));
    }
    let odd = part.chars().find(|c| !c.is_ascii_graphic() || r#"?#\"<>^`{|}[]"#.contains(*c));
    match odd {
        None => Ok(()),
        Some(odd) => Err(Flaw::new(
            format!("{} cannot stand in a path", quoted(&odd.to_string())),
            "paths are compared as they are sent: write its percent-escape",
        )),
    }
}

/// Where a `%` is not followed by two hexadecimal digits.
pub(super) fn bad_escape(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let mut signs = text.match_indices('%').map(|(at, _)| at);
    signs.find(|&at| !(is_hex(at + 1) && is_hex(at + 2)))
}

fn check_params(path: &PathPattern) -> Result<(), Flaw> {
    let names = captures(path);
    if names.len() > PARAMS_MAX {
        let fault = format!("the path has {} params", names.len());
        return Err(Flaw::new(fault, format!("use at most {PARAMS_MAX}")));
    }
    for (nth, name) in names.iter().enumerate() {
        if names[..nth].contains(name) {
            let fault = format!("param `{name}` stands in the path twice");
            return Err(Flaw::new(fault, "give each param its own name"));
        }
    }
    Ok(())
}

/// Reads the method of a route; `None` is `ALL`.
pub(super) fn method(text: &str) -> Result<Option<String>, Flaw> {
    const KNOWN: [&str; 9] =
        ["ALL", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];
    let upper = text.to_ascii_uppercase();
    if upper != text && KNOWN.contains(&upper.as_str()) {
        let fault = format!("method {} is not in upper case", quoted(text));
        return Err(Flaw::new(fault, format!("methods are compared as sent: write `{upper}`")));
    }
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(is_token) {
        let fault = format!("{} is not a method", quoted(text));
        return Err(Flaw::new(fault, format!("write one such as {}", any_of(KNOWN))));
    }
    Ok((text != "ALL").then(|| text.to_owned()))
}

/// Reads a host of `hosts`.
pub(super) fn host(text: &str) -> Result<HostPattern, Flaw> {
    const REMEDY: &str = "write a host name such as `api.example.com`, or `*.example.com`";
    let lower = text.to_ascii_lowercase();
    let (name, pattern): (&str, fn(String) -> HostPattern) = match lower.strip_prefix("*.") {
        Some(name) => (name, HostPattern::Below),
        None => (&lower, HostPattern::Exact),
    };
    if name.contains('*') {
        let fault = format!("{} has a `*` elsewhere than in `*.` at its start", quoted(text));
        return Err(Flaw::new(fault, REMEDY));
    }
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = literal.is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    if !is_address && name.contains(':') {
        let fault = format!("host {} has a port or a scheme", quoted(text));
        return Err(Flaw::new(fault, "write the name alone: any port of it is meant"));
    }
    if !is_address && !is_host_name(name) {
        return Err(Flaw::new(format!("{} is not a host", quoted(text)), REMEDY));
    }
    Ok(pattern(name.to_owned()))
}

/// Whether `name`, in lower case, may be a host name.
pub(super) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
