//! URLs of services, with the params of their route's path.
//!
//! Enters: `http://host[:port]/path?query` as written, and the names that the path captures.
//! Leaves: a [`UrlTemplate`], or why it cannot be called. Params stand in path and query only: a
//! client must never choose whom we call.

use super::complaint::{Code, any_of, nearest, quoted};
use super::pattern::{Flaw, bad_escape, is_host_name};
use super::unbuilt::HTTPS;
use super::{Piece, TemplateQuery, UrlTemplate};

/// Reads a URL; `captures` are the names of the route's params, in order.
pub(super) fn template(text: &str, captures: &[&str]) -> Result<UrlTemplate, (Code, Flaw)> {
    let Some((scheme, rest)) = text.split_once("://") else {
        // A user may stand before the host, with a password.
        let shown = text.rsplit_once('@').map(|(_, host)| format!("…@{host}"));
        let fault = format!("{} is not a URL", quoted(shown.as_deref().unwrap_or(text)));
        return Err(bad(fault, "write `http://host:port/path`"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            let fault = format!("`https:` is not built yet: {}", HTTPS.says);
            return Err((Code::NotBuilt, Flaw::new(fault, HTTPS.remedy)));
        }
        _ => {
            let fault = format!("scheme {} cannot be called", quoted(scheme));
            return Err(bad(fault, "write an `http:` URL"));
        }
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || r#"\"<>^`{|}"#.contains(*c)) {
        let fault = format!("{} cannot stand in a URL", quoted(&odd.to_string()));
        return Err(bad(fault, "write its percent-escape"));
    }
    if text.contains('#') {
        return Err(bad("a URL that is called has no fragment", "remove `#` and what follows"));
    }
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = authority_of(authority, 80)?;
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    if let Some(at) = bad_escape(target) {
        let fault = format!("{} is not a percent-escape", quoted(&target[at..]));
        return Err(bad(fault, "write two hexadecimal digits after `%`"));
    }
    let is_dots = |part: &str| matches!(part.replace("%2e", ".").as_str(), "." | "..");
    if path.to_ascii_lowercase().split('/').any(is_dots) {
        return Err(bad("the URL's path has a dot segment", "write the path without it"));
    }
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let authority = if port == 80 { bracketed } else { format!("{bracketed}:{port}") };
    let query = if target.contains('?') { TemplateQuery::Present } else { TemplateQuery::Absent };
    let pieces = pieces(target, captures)?;
    Ok(UrlTemplate { text: text.to_owned(), host, port, authority, pieces, query })
}

pub(super) fn bad(fault: impl Into<String>, remedy: &str) -> (Code, Flaw) {
    (Code::BadUrl, Flaw::new(fault, remedy))
}

/// Host in lower case, without brackets, and port: `default` where none is written.
pub(super) fn authority_of(authority: &str, default: u16) -> Result<(String, u16), (Code, Flaw)> {
    if authority.contains('@') {
        return Err(bad(
            "a URL with a user or password would be seen in every list of targets",
            "remove what stands before `@`",
        ));
    }
    let lower = authority.to_ascii_lowercase();
    let (host, port) = match lower.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port),
        None if lower.starts_with('[') => return Err(bad_host(authority)),
        None => lower.split_at(lower.find(':').unwrap_or(lower.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(bad_host(authority)),
        Some(port) => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            match port.parse().ok().filter(|&port: &u16| digits && port > 0) {
                Some(port) => port,
                None if port.trim_start_matches(':').starts_with(|c: char| c.is_ascii_digit()) => {
                    let fault = format!("{} is not a port", quoted(port));
                    return Err(bad(fault, "write a port from 1 to 65535"));
                }
                None => {
                    return Err(bad(
                        "a param cannot choose the host or port that is called",
                        "use params after the host only, as in `http://host/:id`",
                    ));
                }
            }
        }
    };
    let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let bracketed = lower.starts_with('[');
    // A name of figures and dots is an address, or nothing.
    let figures = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_v4 = host.parse::<std::net::Ipv4Addr>().is_ok();
    let good = match (bracketed, figures) {
        (true, _) => is_v6,
        (false, true) => is_v4,
        (false, false) => is_host_name(host.strip_suffix('.').unwrap_or(host)),
    };
    if good { Ok((host.to_owned(), port)) } else { Err(bad_host(authority)) }
}

fn bad_host(authority: &str) -> (Code, Flaw) {
    let fault = format!("{} is not a host and port", quoted(authority));
    bad(fault, "write `host`, `host:port`, or `[ipv6]:port`")
}

/// Splits path and query into literals and captures. A name reaches as far as it can: `:id` is not
/// in `:identity`.
fn pieces(target: &str, captures: &[&str]) -> Result<Vec<Piece>, (Code, Flaw)> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    if !target.starts_with('/') {
        literal.push('/');
    }
    let mut rest = target;
    while let Some((before, after)) = rest.split_once(':') {
        literal.push_str(before);
        let len = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = after.split_at(len.unwrap_or(after.len()));
        if name.is_empty() {
            literal.push(':');
        } else if let Some(nth) = captures.iter().position(|capture| *capture == name) {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Capture(nth));
        } else {
            return Err((Code::UnknownName, unknown_param(name, captures)));
        }
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

fn unknown_param(name: &str, captures: &[&str]) -> Flaw {
    let remedy = match (nearest(name, captures.iter().copied()), captures) {
        (Some(meant), _) => format!("did you mean `:{meant}`?"),
        (None, []) => "the path has no params; write `%3A` for a plain colon".to_owned(),
        (None, _) => format!(
            "the path has {}; write `%3A` for a plain colon",
            any_of(
                captures
                    .iter()
                    .map(|name| format!(":{name}"))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str)
            )
        ),
    };
    Flaw::new(format!("the route's path has no param {}", quoted(&format!(":{name}"))), remedy)
}
