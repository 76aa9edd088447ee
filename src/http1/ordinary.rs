//! Heads as nearly everyone sends them, read in one pass.
//!
//! Enters: the bytes received so far. Leaves: the parts of a head that is whole and has nothing odd
//! about it, with its fields; or nothing, and then `tokens` says what it is. So what is refused,
//! and why, is said in one place; what is read here reads the same there, which tests and the
//! fuzzer compare. It is a matter of speed alone: reading heads was a quarter of what a request
//! executes.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::class::{self, Class};
use super::field::Fields;
use super::head::{Bounds, RequestLine, Span, StatusLine, Version, is_token};

/// A request that begins with its method, ends every line in CR LF, has no tabs, no bytes beyond
/// ASCII in its first line, and at most one blank around a value: the one before it.
pub(super) fn request(bytes: &[u8], bounds: &Bounds, fields: &mut Fields) -> Option<RequestLine> {
    let method = token(bytes, 0)?;
    let target = odd(bytes, method.end() + 1, b' ' + 1, 0x80)?;
    let (version, line) = version(bytes.get(target + 1..)?)?;
    let len = lines(bytes, target + 1 + line, bounds, fields)?;
    let target = Span::new(method.end() + 1, target);
    let fits = target.end() - target.start() <= bounds.target;
    let spaced = bytes.get(method.end()) == Some(&b' ') && bytes.get(target.end()) == Some(&b' ');
    let is_plain = fits && spaced && target.start() < target.end();
    (is_plain && method.of_bytes(bytes) != b"CONNECT").then_some(RequestLine {
        len,
        method,
        target,
        version,
    })
}

/// A response of which the same holds.
pub(super) fn response(bytes: &[u8], bounds: &Bounds, fields: &mut Fields) -> Option<StatusLine> {
    let (version, rest) = match bytes.split_first_chunk()? {
        (b"HTTP/1.1 ", rest) => (Version::Http11, rest),
        (b"HTTP/1.0 ", rest) => (Version::Http10, rest),
        _ => return None,
    };
    let (digits, reason) = rest.split_first_chunk::<3>()?;
    let status = digits.iter().try_fold(0, |status: u16, digit| {
        digit.is_ascii_digit().then(|| status * 10 + u16::from(digit - b'0'))
    })?;
    if !matches!(reason.first(), Some(b' ' | b'\r')) {
        return None;
    }
    let end = odd(bytes, bytes.len() - reason.len(), b' ', 0)?;
    let start = line_end(bytes, end)?;
    let len = lines(bytes, start, bounds, fields)?;
    Some(StatusLine { len, status, version })
}

/// The version, and how many bytes the line has left from it on.
fn version(rest: &[u8]) -> Option<(Version, usize)> {
    match rest.first_chunk()? {
        b"HTTP/1.1\r\n" => Some((Version::Http11, 10)),
        b"HTTP/1.0\r\n" => Some((Version::Http10, 10)),
        _ => None,
    }
}

/// Reads field lines from `at` to the blank line; returns where that ends.
#[inline]
fn lines(bytes: &[u8], mut at: usize, bounds: &Bounds, fields: &mut Fields) -> Option<usize> {
    fields.begin();
    loop {
        let Some(name) = token(bytes, at) else {
            let len = line_end(bytes, at)?;
            fields.end_at(at);
            return (len <= bounds.bytes).then_some(len);
        };
        let start = match bytes.get(name.end()..)? {
            [b':', b' ', b' ', ..] => return None,
            [b':', b' ', ..] => name.end() + 2,
            [b':', ..] => name.end() + 1,
            _ => return None,
        };
        let over = odd(bytes, start, b' ', 0)?;
        at = line_end(bytes, over)?;
        if bytes.get(over - 1) == Some(&b' ') && over > start {
            return None;
        }
        if fields.list().len() >= bounds.fields {
            return None;
        }
        fields.add(name, Span::new(start, over), bytes).ok()?;
    }
}

/// Where a line goes on whose content ends at `end`, in CR LF.
#[inline]
fn line_end(bytes: &[u8], end: usize) -> Option<usize> {
    (bytes.get(end..end + 2)? == b"\r\n").then_some(end + 2)
}

/// The token at `at`, if there is one.
#[inline]
fn token(bytes: &[u8], at: usize) -> Option<Span> {
    const TOKEN: Class = {
        let mut token = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            token[byte as usize] = is_token(byte);
            byte += 1;
        }
        token
    };
    let len = class::leading(bytes.get(at..)?, &TOKEN);
    (len > 0).then(|| Span::new(at, at + len))
}

/// Where the first byte from `at` on is that is below `least`, the one of DEL, or has a bit of
/// `high`. Eight bytes at a time: a subtraction borrows only beyond a byte that is found already.
#[inline]
fn odd(bytes: &[u8], mut at: usize, least: u8, high: u8) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const DEL: u8 = 0x7f;
    let below = |word: u64, least: u8| word.wrapping_sub(EACH * u64::from(least)) & !word;
    while let Some(eight) = bytes.get(at..)?.first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let del = below(word ^ (EACH * u64::from(DEL)), 1);
        let beyond = word & (EACH * u64::from(high));
        let found = (below(word, least) | del | beyond) & (EACH << 7);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let is_odd = |byte: &u8| *byte < least || *byte == DEL || byte & high != 0;
    bytes.get(at..)?.iter().position(is_odd).map(|more| at + more)
}

#[cfg(test)]
mod tests {
    use super::super::field::Field;
    use super::super::tokens;
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 4096, fields: 8, target: 64 };

    /// Spans, which have no equality of their own in a [`Field`].
    fn list(fields: &Fields) -> (Vec<(Span, Span)>, usize) {
        let spans = |field: &Field| (field.name, field.value);
        (fields.list().iter().map(spans).collect(), fields.end())
    }

    /// Reads `bytes` here and with care; whether here too.
    fn agrees(bytes: &[u8]) -> bool {
        let (mut here, mut there) = (Fields::new(), Fields::new());
        let what = bytes.escape_ascii();
        let asked = request(bytes, &BOUNDS, &mut here);
        if let Some(line) = asked {
            assert_eq!(tokens::request(bytes, &BOUNDS, &mut there), Ok(Some(line)), "{what}");
            assert_eq!(list(&here), list(&there), "{what}");
        }
        let answered = response(bytes, &BOUNDS, &mut here);
        if let Some(line) = answered {
            assert_eq!(tokens::response(bytes, &BOUNDS, &mut there), Ok(Some(line)), "{what}");
            assert_eq!(list(&here), list(&there), "{what}");
        }
        asked.is_some() || answered.is_some()
    }

    const REQUEST: &[u8] = b"GET /users/7?x=1 HTTP/1.1\r\nHost: shop:8080\r\nAccept: a/b, */*\r\n\
        Empty:\r\nBlank: \r\nTight:c\r\nX-Long: 0123456789 abcdefghijklmnopqrstuvw ~!@#$%\r\n\r\n";

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: o\r\nSet-Cookie: a=b; c=\"d\"\r\n\
        Content-Length: 5\r\nX-Accent: caf\xc3\xa9 and more of it\r\n\r\nhello";

    #[test]
    fn what_nearly_all_send_is_read_here() {
        for bytes in [
            REQUEST,
            RESPONSE,
            b"POST /a HTTP/1.0\r\n\r\n",
            b"HTTP/1.0 404\r\nA: b\r\n\r\n",
            b"HTTP/1.1 200 \r\n\r\n",
        ] {
            assert!(agrees(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_odd_is_left_to_who_looks_closely() {
        for bytes in [
            &b"GET / HTTP/1.1\nHost: a\n\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\ta\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:  a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a \r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            b"GET / HTTP/1.1\r\n: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"GET / HTTP/1.1 \r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET /\t HTTP/1.1\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"GET  HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.2\r\n\r\n",
            b" GET / HTTP/1.1\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1  200 OK\r\n\r\n",
            b"HTTP/1.1 200 O\x7fK\r\n\r\n",
            b"HTTP/1.1 200 OK\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
        ] {
            assert!(!agrees(bytes), "{}", bytes.escape_ascii());
        }
        let long = |target: usize, fields: usize, bytes: usize| {
            let (target, fields) = ("a".repeat(target), "a: b\r\n".repeat(fields));
            let text =
                format!("GET /{target} HTTP/1.1\r\n{fields}X: {}\r\n\r\n", "a".repeat(bytes));
            agrees(text.as_bytes())
        };
        assert!(long(63, 7, 3900) && !long(64, 0, 1) && !long(1, 8, 1) && !long(1, 1, 4096));
        let name = |len: usize| {
            agrees(format!("GET / HTTP/1.1\r\n{}: b\r\n\r\n", "a".repeat(len)).as_bytes())
        };
        assert!(name(256) && !name(257));
    }

    #[test]
    fn no_byte_at_any_place_is_read_in_another_way() {
        for whole in [REQUEST, RESPONSE] {
            for end in 0..whole.len() {
                agrees(&whole[..end]);
                let mut changed = whole.to_vec();
                for byte in 0..=255 {
                    changed[end] = byte;
                    agrees(&changed);
                }
                changed.remove(end);
                agrees(&changed);
                for byte in [b' ', b'\t', b'\r', b'\n', b':', 0, 0x80] {
                    changed.insert(end, byte);
                    agrees(&changed);
                    changed.remove(end);
                }
            }
        }
    }
}
