//! What the name of a field means.
//!
//! Enters: a name. Leaves: its [`Kind`], or a fault where the name is a twin of one of ours. Asked
//! of every field of every head.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::field::{Fault, Kind};

/// Names that mean something to a proxy, by length.
#[inline]
fn known(len: usize) -> &'static [(&'static [u8], Kind)] {
    match len {
        2 => &[(b"te", Kind::Te)],
        3 => &[(b"via", Kind::Via)],
        4 => &[(b"host", Kind::Host), (b"date", Kind::Date)],
        6 => &[(b"accept", Kind::Accept), (b"expect", Kind::Expect)],
        7 => &[(b"upgrade", Kind::Upgrade), (b"trailer", Kind::Trailer)],
        9 => &[(b"forwarded", Kind::Forwarding), (b"x-real-ip", Kind::Forwarding)],
        10 => &[(b"connection", Kind::Connection), (b"keep-alive", Kind::Hop)],
        14 => &[(b"content-length", Kind::ContentLength), (b"http2-settings", Kind::Hop)],
        15 => &[(b"accept-encoding", Kind::AcceptEncoding)],
        16 => &[(b"proxy-connection", Kind::Hop)],
        17 => &[(b"transfer-encoding", Kind::TransferEncoding)],
        // RFC 9110 §11.7: between a client and the proxy next to it. We ask for nothing, and what
        // is meant for another proxy is not for a service.
        18 => &[(b"proxy-authenticate", Kind::Hop)],
        19 => &[(b"proxy-authorization", Kind::Hop)],
        25 => &[(b"proxy-authentication-info", Kind::Hop)],
        _ => &[],
    }
}

/// How every name begins that says who a client is, but for two that are [`known`].
const FORWARDED: &[u8] = b"x-forwarded-";

/// What a field of this name means. A name that only an underscore tells from one of ours is a
/// fault: servers that turn both into `_` would take it for the real one.
// It is called for every field of every head: called, not inlined, it costs a sixth more.
#[inline(always)]
pub(super) fn kind(name: &[u8]) -> Result<Kind, Fault> {
    // Length and first letter tell nearly all names from ours, and from twins of ours.
    let first = name.first().map(u8::to_ascii_lowercase);
    let mut near = false;
    for (known, kind) in known(name.len()) {
        if known.first().copied() == first {
            if is(name, known) {
                return Ok(*kind);
            }
            near = true;
        }
    }
    if first == Some(b'x')
        && let [_, b'-' | b'_', b'f' | b'F', ..] = name
        && let Some(kind) = forwarding(name)
    {
        return kind;
    }
    if near && memchr::memchr(b'_', name).is_some() { twin(name) } else { Ok(Kind::EndToEnd) }
}

/// Whether `text`, which holds no control bytes, is `word`, one of lower-case letters, digits and
/// dashes. Those differ from their capitals in one bit, and many bytes are compared at a time: a
/// loop over bytes costs several times that, and most heads have a dozen names.
#[inline]
pub(super) fn is(text: &[u8], word: &[u8]) -> bool {
    // The two halves overlap.
    match word.len() {
        8..=16 => text.len() == word.len() && halves(text, word) == Some(true),
        4..=7 => text.len() == word.len() && quarters(text, word) == Some(true),
        _ => text.eq_ignore_ascii_case(word),
    }
}

/// Whether the first eight bytes of both are the same, and the last eight.
#[inline]
fn halves(text: &[u8], word: &[u8]) -> Option<bool> {
    let lower = |eight: &[u8; 8]| u64::from_ne_bytes(*eight) | u64::from_ne_bytes([0x20; 8]);
    let (first, last) = (text.first_chunk()?, text.last_chunk()?);
    let (start, end) = (word.first_chunk()?, word.last_chunk()?);
    Some(lower(first) == u64::from_ne_bytes(*start) && lower(last) == u64::from_ne_bytes(*end))
}

/// As [`halves`], of four bytes each.
#[inline]
fn quarters(text: &[u8], word: &[u8]) -> Option<bool> {
    let lower = |four: &[u8; 4]| u32::from_ne_bytes(*four) | u32::from_ne_bytes([0x20; 4]);
    let (first, last) = (text.first_chunk()?, text.last_chunk()?);
    let (start, end) = (word.first_chunk()?, word.last_chunk()?);
    Some(lower(first) == u32::from_ne_bytes(*start) && lower(last) == u32::from_ne_bytes(*end))
}

/// Whether a name is one of [`FORWARDED`], or the twin of one.
#[cold]
fn forwarding(name: &[u8]) -> Option<Result<Kind, Fault>> {
    let start = name.get(..FORWARDED.len())?;
    if start.eq_ignore_ascii_case(FORWARDED) {
        return Some(Ok(Kind::Forwarding));
    }
    start.iter().map(dashed).eq(FORWARDED.iter().copied()).then_some(Err(Fault))
}

const fn dashed(byte: &u8) -> u8 {
    if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

#[cold]
fn twin(name: &[u8]) -> Result<Kind, Fault> {
    let like = |known: &[u8]| name.iter().map(dashed).eq(known.iter().copied());
    match known(name.len()).iter().find(|(known, _)| like(known)) {
        Some((_, Kind::Accept | Kind::AcceptEncoding)) | None => Ok(Kind::EndToEnd),
        Some(_) => Err(Fault),
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::is_token;
    use super::*;

    #[test]
    fn a_name_is_known_in_any_case_and_no_name_beside_it_is() {
        for (name, means) in (0..=32).flat_map(known) {
            assert_eq!(kind(name), Ok(*means));
            assert_eq!(kind(&name.to_ascii_uppercase()), Ok(*means));
            for (at, byte) in (0..name.len()).flat_map(|at| (0..=u8::MAX).map(move |b| (at, b))) {
                let mut other = name.to_vec();
                other[at] = byte;
                let same = other.eq_ignore_ascii_case(name);
                assert!(!is_token(byte) || is(&other, name) == same, "{other:?}");
            }
        }
    }

    #[test]
    fn a_twin_of_a_known_name_is_a_fault_and_any_other_name_is_free() {
        assert_eq!(kind(b"Transfer-Encoding"), Ok(Kind::TransferEncoding));
        for twin in [
            "Transfer_Encoding",
            "content_length",
            "X_Forwarded-For",
            "X-Forwarded_Ssl",
            "x_forwarded_proto",
            "Keep_Alive",
        ] {
            assert_eq!(kind(twin.as_bytes()), Err(Fault), "{twin}");
        }
        for free in ["user_agent", "x_request_id", "Accept_Encoding", "Transfer.Encoding"] {
            assert_eq!(kind(free.as_bytes()), Ok(Kind::EndToEnd), "{free}");
        }
    }
}
