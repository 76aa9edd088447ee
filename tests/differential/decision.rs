//! What one proxy did with one message.

use std::time::Duration;

use crate::client::Client;
use crate::rivals::Lane;

/// What the client was told and what the origin got, in words: `refused 400`, `closed`, `waits`,
/// `forwards POST /x 3:abc`, `forwards GET /x - then 400`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision(pub(crate) String);

impl Decision {
    /// Whether this, on record, allows for `other`: what one of theirs does may hang on how its
    /// reads fall; then all that it does is on record, with `or` between.
    pub(crate) fn admits(&self, other: &Self) -> bool {
        self.0.split(" or ").any(|one| one == other.0)
    }

    /// Whether it is always the same.
    pub(crate) fn is_certain(&self) -> bool {
        !self.0.contains(" or ")
    }

    /// How many whole requests reached the origin.
    pub(crate) fn forwarded(&self) -> usize {
        let requests = self.0.strip_prefix("forwards ");
        requests.map_or(0, |requests| requests.split(" + ").count())
    }

    /// Whether what reached it was not what a careful sender writes.
    pub(crate) fn is_odd(&self) -> bool {
        self.forwarded() > 0 && self.0.contains('{')
    }

    /// Whether the origin got something else from the other.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let got = |one: &Self| {
            let requests = (one.forwarded() > 0).then_some(one.0.as_str());
            requests.and_then(|text| text.split(" then ").next().map(str::to_owned))
        };
        got(self) != got(other)
    }
}

/// Sends `bytes` through `lane` and looks at both ends.
pub(crate) fn decide(lane: &Lane, bytes: &[u8], silence: Duration) -> Decision {
    let mut client = Client::connect(lane.address);
    client.offer(bytes);
    let statuses = client.statuses_until_silent(silence);
    drop(client);
    let origin = lane.recorder.take_within(silence);
    let is_open = statuses.is_err();
    let statuses = statuses.unwrap_or_else(|statuses| statuses);
    let requests: Vec<_> = origin.split(" + ").filter(|o| !matches!(*o, "" | "part")).collect();
    let refusals = statuses.iter().filter(|status| **status >= 300).map(u16::to_string);
    let refusals = refusals.collect::<Vec<_>>().join(", ");
    Decision(match (requests.is_empty(), refusals.is_empty()) {
        (true, false) => format!("refused {refusals}"),
        (true, true) if is_open => "waits".to_owned(),
        (true, true) => "closed".to_owned(),
        (false, true) => format!("forwards {}", requests.join(" + ")),
        (false, false) => format!("forwards {} then {refusals}", requests.join(" + ")),
    })
}
