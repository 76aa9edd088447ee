//! Which of our representations a client prefers.
//!
//! Enters: the value of `Accept`. Leaves: JSON or text. Owns the ranking of RFC 9110 §12.5.1, as
//! far as two media types need it.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::answer::Prefer;

/// JSON, unless text is ranked above it.
pub(super) fn prefer(accept: &[u8]) -> Prefer {
    match accept {
        b"*/*" => Prefer::Json,
        value if rank(value, b"text/plain") > rank(value, b"application/json") => Prefer::Text,
        _ => Prefer::Json,
    }
}

/// The quality of media type `wanted` in an `Accept` value, in thousandths (RFC 9110 §12.5.1): the
/// most specific range decides.
fn rank(accept: &[u8], wanted: &[u8]) -> u32 {
    let slash = memchr::memchr(b'/', wanted).unwrap_or(0);
    let family = wanted.get(..=slash).unwrap_or_default();
    let mut best = (0, 0);
    for range in accept.split(|&byte| byte == b',') {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default();
        let specific = if media.eq_ignore_ascii_case(wanted) {
            3
        } else if media.strip_suffix(b"*").is_some_and(|m| m.eq_ignore_ascii_case(family)) {
            2
        } else if media == b"*/*" {
            1
        } else {
            continue;
        };
        let quality = parts.find_map(|part| part.strip_prefix(b"q=")).map_or(1000, thousandths);
        if specific > best.0 {
            best = (specific, quality);
        }
    }
    best.1
}

/// `0.8` → 800; what is no quality counts as 1.
fn thousandths(value: &[u8]) -> u32 {
    let (whole, part) = match value {
        [whole] => (*whole, &[][..]),
        [whole, b'.', part @ ..] if part.len() <= 3 => (*whole, part),
        _ => return 1000,
    };
    let mut sum = if whole == b'0' { 0 } else { 1000 };
    for (digit, worth) in part.iter().zip([100, 10, 1]) {
        sum += u32::from(digit.saturating_sub(b'0').min(9)) * worth;
    }
    sum.min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_preferred_only_where_it_ranks_higher() {
        let prefers_text = |accept: &str| {
            rank(accept.as_bytes(), b"text/plain") > rank(accept.as_bytes(), b"application/json")
        };
        assert!(prefers_text("text/plain"));
        assert!(prefers_text("text/*, application/json;q=0.5"));
        assert!(prefers_text("text/html, text/plain;q=0.9, */*;q=0.8"));
        assert!(!prefers_text("*/*"));
        assert!(!prefers_text("application/json, text/plain"));
        assert!(!prefers_text("text/html, */*;q=0.8"));
    }
}
