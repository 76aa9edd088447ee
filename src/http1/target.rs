//! What a request asks for, and of whom.
//!
//! Enters: the target and the `Host` field of a head. Leaves: path, query and host as spans, each
//! in one reading only. What another server could take for another host or path is refused.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::class::{self, Class};
use super::field::{self, Fields, Kind};
use super::head::{RequestFault, Span, Version};

/// A target's parts.
pub(super) struct Target {
    /// Host and port, where the target names them.
    pub(super) authority: Option<Span>,
    /// The path.
    pub(super) path: Span,
    /// The query with its `?`; empty when there is none.
    pub(super) query: Span,
}

/// RFC 9112 §3.2: origin-form, absolute-form with `http`, and `*` for `OPTIONS`.
pub(super) fn parts(target: Span, method: Span, bytes: &[u8]) -> Result<Target, RequestFault> {
    const SCHEME: usize = "http://".len();
    let text = target.of_bytes(bytes);
    let (start, end) = (target.start(), target.end());
    let (authority, path) = match text {
        [b'/', ..] => (None, start),
        b"*" if method.of_bytes(bytes) == b"OPTIONS" => (None, start),
        _ if text.get(..SCHEME).is_some_and(|s| s.eq_ignore_ascii_case(b"http://")) => {
            let rest = text.get(SCHEME..).unwrap_or_default();
            let path = start + SCHEME + memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
            let authority = Some(Span::new(start + SCHEME, path));
            if bytes.get(path..end).is_some_and(|path| !path.starts_with(b"/")) {
                // To `OPTIONS` it would mean `*` (RFC 9112 §3.2.4).
                if method.of_bytes(bytes) == b"OPTIONS" {
                    return Err(RequestFault::Malformed);
                }
                // RFC 9110 §4.2.3: an empty path is `/`; here the last one of `http://`.
                let slash = Span::new(start + SCHEME - 1, start + SCHEME);
                return Ok(Target { authority, path: slash, query: Span::new(path, end) });
            }
            (authority, path)
        }
        _ => return Err(RequestFault::Malformed),
    };
    let question = memchr::memchr(b'?', bytes.get(path..end).unwrap_or_default());
    let query = question.map_or(end, |at| path + at);
    Ok(Target { authority, path: Span::new(path, query), query: Span::new(query, end) })
}

/// RFC 9112 §3.2: exactly one `Host`, and the same one as in an absolute target, whose word counts
/// (§3.2.2). A peer that believed the other would route the request elsewhere, so two that differ
/// are refused.
pub(super) fn host(
    authority: Option<Span>,
    version: Version,
    fields: &Fields,
    bytes: &[u8],
) -> Result<Span, RequestFault> {
    let field = match (fields.only(Kind::Host), version) {
        (Ok(Some(host)), _) => Some(host),
        (Ok(None), Version::Http10) => None,
        (Ok(None), Version::Http11) | (Err(field::Fault), _) => {
            return Err(RequestFault::Malformed);
        }
    };
    let Some(host) = authority.or(field) else { return Ok(Span::default()) };
    let text = host.of_bytes(bytes);
    let same = authority.is_none()
        || field.is_none_or(|field| {
            let field = field.of_bytes(bytes);
            is_host(field) && plain_port(text).eq_ignore_ascii_case(plain_port(field))
        });
    if same && is_host(text) { Ok(host) } else { Err(RequestFault::Malformed) }
}

/// A host without a port that says nothing (RFC 9110 §4.2.3).
fn plain_port(host: &[u8]) -> &[u8] {
    host.strip_suffix(b":80").or_else(|| host.strip_suffix(b":")).unwrap_or(host)
}

/// RFC 9110 §7.2: a name or an address literal, and maybe a port; nothing a peer could read in
/// another way.
fn is_host(text: &[u8]) -> bool {
    const NAME: Class = {
        let mut name = [false; 256];
        let mut byte = 0;
        while byte < 128_u8 {
            name[byte as usize] =
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            byte += 1;
        }
        name
    };
    let (name, port) = match text {
        [b'[', rest @ ..] => {
            let Some(close) = memchr::memchr(b']', rest) else { return false };
            let (literal, port) = rest.split_at(close);
            let hex = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if !literal.iter().all(hex) {
                return false;
            }
            (literal, port.get(1..).unwrap_or_default())
        }
        _ => text.split_at(class::leading(text, &NAME)),
    };
    let is_port = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => field::length(digits).is_some_and(|port| port <= 65_535),
        _ => false,
    };
    is_port && !name.is_empty() && name.len() <= 255
}
