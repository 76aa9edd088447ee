//! Which trailer fields may be passed on.
//!
//! Enters: a trailer section whose lines `framing` has checked. Leaves: the lines that mean the
//! same at the end of a message as they would in its head. What a recipient that merges the two
//! could be told by the others (another length, another host, another user) is left out (RFC 9110
//! §6.5.1).

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::field::Kind;
use super::name;

/// Calls `put` with every line of `section` that is passed on, its CRLF included.
pub fn kept<'a>(section: &'a [u8], mut put: impl FnMut(&'a [u8])) {
    for line in section.split_inclusive(|&byte| byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        if line.get(..colon).is_some_and(may_trail) {
            put(line);
        }
    }
}

/// Names that say how to route, read, store or allow a message, and names of its sender: they have
/// to be known before the body is.
const HEAD_ONLY: [&[u8]; 24] = [
    b"age",
    b"alt-svc",
    b"authorization",
    b"cache-control",
    b"cookie",
    b"cookie2",
    b"early-data",
    b"expires",
    b"location",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"range",
    b"referer",
    b"refresh",
    b"retry-after",
    b"set-cookie",
    b"set-cookie2",
    b"status",
    b"strict-transport-security",
    b"vary",
    b"warning",
    b"www-authenticate",
    b"authentication-info",
];

/// Beginnings of such names.
const HEAD_ONLY_BEGIN: [&[u8]; 6] =
    [b"access-control-", b"content-", b"if-", b"proxy-", b"sec-", b"x-http-method"];

/// The one name of those beginnings that is made to trail (RFC 9530 §2).
const DIGEST: &[u8] = b"content-digest";

fn may_trail(name: &[u8]) -> bool {
    let begins =
        |begin: &&[u8]| name.get(..begin.len()).is_some_and(|own| own.eq_ignore_ascii_case(begin));
    name::kind(name) == Ok(Kind::EndToEnd)
        && !HEAD_ONLY.iter().any(|known| name.eq_ignore_ascii_case(known))
        && (!HEAD_ONLY_BEGIN.iter().any(begins) || name.eq_ignore_ascii_case(DIGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_come_late_is_kept() {
        let section = b"X-Sum: 1\r\nContent-Length: 5\r\nSERVER-TIMING: a;dur=1\r\n\
            Transfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: x\r\nSet-Cookie: a=b\r\n\
            Content_Length: 5\r\nContent-Type: text/html\r\nContent-Digest: sha-256=:x:\r\n\
            Connection: close\r\nTE: x\r\nTrailer: x\r\nX-Forwarded-For: 6.6.6.6\r\nVia: 1.1 x\r\n\
            X-Forwarded-Server: x\r\nForwarded: for=x\r\nDate: x\r\nIf-Match: x\r\nRange: x\r\n\
            Proxy-Authorization: x\r\nExpect: x\r\nAccept: x\r\ngrpc-status: 0\r\nX-Last:\r\n\r\n";
        let mut out = Vec::new();
        kept(section, |line| out.extend_from_slice(line));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "X-Sum: 1\r\nSERVER-TIMING: a;dur=1\r\nContent-Digest: sha-256=:x:\r\n\
             grpc-status: 0\r\nX-Last:\r\n"
        );
    }
}
