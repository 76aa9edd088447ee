//! What a client holds for the right answer.

use crate::message::Message;
use crate::tally::{Failure, Kind};

/// The answers that a client expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expect {
    /// The status of a good one.
    pub(crate) good: u16,
    /// The status of a refusal, if refusals are expected.
    pub(crate) refused: Option<u16>,
    /// The length of a good one's body, if it is known.
    pub(crate) length: Option<u64>,
    /// The bodies that a good one may have; any, if there are none here.
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl Expect {
    /// Any answer with `good`.
    pub(crate) const fn status(good: u16) -> Self {
        Self { good, refused: None, length: None, bodies: Vec::new() }
    }

    /// An answer with `good`, and a body of so many bytes.
    pub(crate) fn length(good: u16, length: u64) -> Self {
        Self { length: Some(length), ..Self::status(good) }
    }

    /// An answer with one of `bodies`.
    pub(crate) fn one_of(bodies: &[&str]) -> Self {
        let bodies = bodies.iter().map(|body| body.as_bytes().to_vec()).collect();
        Self { bodies, ..Self::status(200) }
    }

    /// Refusals with `status` are expected too.
    pub(crate) fn or_refused(self, status: u16) -> Self {
        Self { refused: Some(status), ..self }
    }

    /// What `message` with `body` is.
    pub(crate) fn judge(&self, message: &Message, body: &[u8]) -> Result<Kind, Failure> {
        if Some(message.status) == self.refused {
            return Ok(Kind::Refused);
        }
        if message.status != self.good {
            return Ok(Kind::Bad);
        }
        let short = self.length.is_some_and(|length| length != message.length);
        let strange = !self.bodies.is_empty() && self.bodies.iter().all(|known| known != body);
        if short || strange { Err(Failure::Unexpected) } else { Ok(Kind::Good) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_status_with_the_wrong_content_is_a_failure() {
        let message = |status, length| Message {
            status,
            path: String::new(),
            length,
            goes_on: true,
            stamp: 0,
            digest: 0,
        };
        let expect = Expect { length: Some(2), ..Expect::one_of(&["ab", "cd"]) }.or_refused(503);
        assert_eq!(expect.judge(&message(200, 2), b"cd"), Ok(Kind::Good));
        assert_eq!(expect.judge(&message(200, 2), b"ad"), Err(Failure::Unexpected));
        assert_eq!(expect.judge(&message(200, 3), b"ab"), Err(Failure::Unexpected));
        assert_eq!(expect.judge(&message(503, 9), b""), Ok(Kind::Refused));
        assert_eq!(expect.judge(&message(500, 2), b"ab"), Ok(Kind::Bad));
    }
}
