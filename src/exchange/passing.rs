//! What of a body's bytes is passed on.
//!
//! Enters: received bytes and how far their body has come. Leaves: those that go to the other side.
//! A body without extensions and trailers is passed on where it lies; only what has something left
//! out is copied. Owns a trailer section until it is whole.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use crate::http1::framing::{Body, Fed, Part, TRAILER_MAX};
use crate::http1::trailer;
use crate::rt::buffer::{Buf, Fit};

/// What is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The payload in the framing it came in, and trailers that may be.
    Framed,
    /// The payload alone.
    Payload,
}

/// What became of received bytes.
pub(super) struct Passed {
    /// Where the body stands; [`Fed::Done`] tells how many of the bytes belonged to it.
    pub(super) fed: Fed,
    /// How many of them were payload.
    pub(super) payload: u64,
    /// What is passed on, where it is not simply what belonged to the body.
    copy: Option<Buf>,
}

/// What has come of a body's trailer section. It is looked through when it is whole: a line may
/// arrive in parts.
#[derive(Debug, Default)]
pub(super) struct Trailers(Option<Buf>);

impl Trailers {
    fn put(&mut self, part: &[u8]) {
        let held = self.0.get_or_insert_with(|| Buf::sized(usize::from(TRAILER_MAX)));
        let fit = held.put(part);
        debug_assert_eq!(fit, Fit::Whole, "a longer section is refused");
    }

    /// Writes what is passed on of the whole section, and the line that ends the body.
    fn end(&mut self, out: &mut Buf) {
        let Some(held) = self.0.take() else { return };
        trailer::kept(held.filled(), |line| {
            let _ = out.put(line);
        });
        let _ = out.put(b"\r\n");
    }
}

/// Reads on through `bytes`.
pub(super) fn feed(body: &mut Body, trailers: &mut Trailers, bytes: &[u8], keep: Keep) -> Passed {
    let fresh = || Buf::sized(bytes.len() + usize::from(TRAILER_MAX));
    let mut copy = (keep == Keep::Payload).then(fresh);
    let (mut next, mut payload) = (0, 0);
    let fed = body.feed(bytes, |part, range| {
        if part == Part::Data {
            payload += range.len() as u64;
        }
        match (keep, part) {
            (Keep::Payload, Part::Data) => {
                if let Some(copy) = &mut copy {
                    let _ = copy.put(bytes.get(range).unwrap_or_default());
                }
            }
            (Keep::Framed, Part::Hop | Part::Trailer) => {
                let copy = copy.get_or_insert_with(fresh);
                let _ = copy.put(bytes.get(next..range.start).unwrap_or_default());
                next = range.end;
                if part == Part::Trailer {
                    trailers.put(bytes.get(range).unwrap_or_default());
                }
            }
            (Keep::Payload, Part::Hop | Part::Trailer) | (Keep::Framed, Part::Data) => {}
        }
    });
    if let (Keep::Framed, Some(copy)) = (keep, &mut copy) {
        let used = if let Fed::Done(used) = fed { used } else { bytes.len() };
        let _ = copy.put(bytes.get(next..used).unwrap_or_default());
        if let Fed::Done(_) = fed {
            trailers.end(copy);
        }
    }
    Passed { fed, payload, copy }
}

impl Passed {
    /// Leaves in `buf`, which holds the bytes that were read through, what is passed on.
    pub(super) fn apply(self, buf: &mut Buf) {
        match (self.copy, self.fed) {
            (Some(copy), _) => *buf = copy,
            (None, Fed::Done(used)) => buf.truncate(used),
            (None, Fed::More | Fed::Bad) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::framing::Framing;

    fn passed(bytes: &[u8], framing: Framing, keep: Keep) -> (Fed, Vec<u8>) {
        let mut buf = Buf::sized(bytes.len());
        let _ = buf.put(bytes);
        let (mut body, mut trailers) = (Body::new(framing), Trailers::default());
        let passed = feed(&mut body, &mut trailers, buf.filled(), keep);
        let fed = passed.fed;
        passed.apply(&mut buf);
        (fed, buf.filled().to_vec())
    }

    #[test]
    fn what_is_for_this_hop_only_stays_behind() {
        let body = b"2;a=b\r\nhi\r\n0\r\nContent-Length: 9\r\n\r\nnext";
        let end = body.len() - 4;
        assert_eq!(
            passed(body, Framing::Chunked, Keep::Framed),
            (Fed::Done(end), b"2\r\nhi\r\n0\r\n\r\n".to_vec())
        );
        assert_eq!(passed(body, Framing::Chunked, Keep::Payload), (Fed::Done(end), b"hi".to_vec()));
        assert_eq!(
            passed(b"abcd", Framing::Exact(3), Keep::Framed),
            (Fed::Done(3), b"abc".to_vec())
        );
        assert_eq!(
            passed(b"2\r\nh", Framing::Chunked, Keep::Framed),
            (Fed::More, b"2\r\nh".to_vec())
        );
    }

    #[test]
    fn trailers_are_passed_on_however_they_are_split() {
        let whole = b"2;a\r\nhi\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nX-Last: 2\r\n\r\nnext";
        let framed = b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-Last: 2\r\n\r\n".as_slice();
        for (keep, expected) in [(Keep::Framed, framed), (Keep::Payload, b"hi")] {
            for step in 1..=whole.len() {
                let (mut body, mut trailers) = (Body::new(Framing::Chunked), Trailers::default());
                let mut out = Vec::new();
                for part in whole.chunks(step) {
                    let mut buf = Buf::sized(part.len());
                    let _ = buf.put(part);
                    let passed = feed(&mut body, &mut trailers, buf.filled(), keep);
                    let fed = passed.fed;
                    passed.apply(&mut buf);
                    out.extend_from_slice(buf.filled());
                    if let Fed::Done(_) = fed {
                        break;
                    }
                }
                assert!(body.is_over());
                assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
            }
        }
    }
}
