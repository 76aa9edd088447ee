//! Chunked bodies: one end and one payload, however they arrive; what is passed on is plain.

use fusebox::http1::framing::{Body, Fed, Framing, Part};
use fusebox::http1::trailer;

use super::{cuts, reader};

/// What no trailer may tell whoever merges it into the head.
const HEAD_ONLY: [&[u8]; 10] = [
    b"content-length",
    b"transfer-encoding",
    b"content_length",
    b"host",
    b"connection",
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"x-forwarded-for",
    b"te",
];

/// How a body ended.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    /// Its length; `None` where it is not over yet.
    end: Option<usize>,
    payload: Vec<u8>,
    /// What is passed on.
    kept: Vec<u8>,
}

/// Decodes all but the first byte of `data`, whole, byte by byte, in parts of a size that the first
/// byte tells, and cut in two.
pub fn check(data: &[u8]) {
    let [seed, body @ ..] = data else { return };
    let whole = decode(std::iter::once(body));
    assert_eq!(decode(body.chunks(1)), whole, "byte by byte");
    assert_eq!(decode(body.chunks(usize::from(*seed) + 2)), whole, "in parts");
    for cut in cuts(body).step_by(usize::from(*seed % 16) + 1) {
        let (front, back) = body.split_at(cut);
        assert_eq!(decode([front, back].into_iter()), whole, "cut at {cut}");
    }
    let second = reader::chunked(body);
    let Some(Read { end: Some(end), payload, kept }) = whole else {
        assert_eq!(second, None, "refused, or waited for");
        return;
    };
    let second = second.expect("what is accepted is plain");
    assert_eq!((second.len, &second.payload), (end, &payload));
    let passed = reader::chunked(&kept).expect("what is passed on is a body");
    assert_eq!((passed.len, &passed.payload), (kept.len(), &payload));
    assert_eq!(passed.extensions, 0, "extensions are for one hop");
    for name in passed.trailers {
        assert!(!HEAD_ONLY.contains(&&*name), "{}", name.escape_ascii());
        assert!(second.trailers.contains(&name));
    }
}

/// `None`: refused.
fn decode<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Option<Read> {
    let mut body = Body::new(Framing::Chunked);
    let (mut payload, mut kept, mut trailers, mut at) = (vec![], vec![], vec![], 0);
    for part in parts {
        let mut next = 0;
        let fed = body.feed(part, |kind, range| {
            if kind == Part::Data {
                payload.extend_from_slice(&part[range]);
                return;
            }
            kept.extend_from_slice(&part[next..range.start]);
            next = range.end;
            if kind == Part::Trailer {
                trailers.extend_from_slice(&part[range]);
            }
        });
        let used = match fed {
            Fed::Bad => return None,
            Fed::Done(used) => used,
            Fed::More => part.len(),
        };
        kept.extend_from_slice(&part[next..used]);
        at += used;
        if let Fed::Done(_) = fed {
            assert!(body.is_over());
            if !trailers.is_empty() {
                trailer::kept(&trailers, |line| kept.extend_from_slice(line));
                kept.extend_from_slice(b"\r\n");
            }
            return Some(Read { end: Some(at), payload, kept });
        }
    }
    Some(Read { end: None, payload, kept })
}
