//! What of a body's bytes is passed on.
//!
//! Enters: received bytes and how far their body has come. Leaves: those that go to the other side.
//! A body without extensions and trailers is passed on where it lies; only what has something left
//! out is copied.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use crate::http1::framing::{Body, Fed, Part};
use crate::rt::buffer::Buf;

/// What is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The payload in the framing it came in.
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

/// Reads on through `bytes`.
pub(super) fn feed(body: &mut Body, bytes: &[u8], keep: Keep) -> Passed {
    let mut copy = (keep == Keep::Payload).then(|| Buf::sized(bytes.len()));
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
            (Keep::Framed, Part::Hop) => {
                let copy = copy.get_or_insert_with(|| Buf::sized(bytes.len()));
                let _ = copy.put(bytes.get(next..range.start).unwrap_or_default());
                next = range.end;
            }
            (Keep::Payload, Part::Hop) | (Keep::Framed, Part::Data) => {}
        }
    });
    if let (Keep::Framed, Some(copy)) = (keep, &mut copy) {
        let used = if let Fed::Done(used) = fed { used } else { bytes.len() };
        let _ = copy.put(bytes.get(next..used).unwrap_or_default());
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
        let passed = feed(&mut Body::new(framing), buf.filled(), keep);
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
}
