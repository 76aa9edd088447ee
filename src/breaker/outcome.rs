//! What an exchange says about the service behind it.
//!
//! Enters: [`Ending`], how the exchange ended and by whose doing. Leaves: [`Outcome`], what the
//! breaker counts. The mapping is one match without a wildcard: a new way to end has to be judged.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::policy::StatusSet;

/// How an exchange ended, named by whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The upstream's response was relayed to its end.
    Answered(u16),
    /// The upstream refused or reset the connection attempt, or has no address.
    Unreachable,
    /// The connection attempt took longer than `timeouts.connect`.
    ConnectTimeout,
    /// The upstream was silent longer than `timeouts.response`.
    Silent,
    /// A service's or a breaker's `timeout` ran out before the response's end.
    TimedOut,
    /// The upstream reset or closed the connection before its response ended.
    CutShort,
    /// The upstream's response was not HTTP/1.1, or over a limit.
    Malformed,
    /// Responses of several services could not be merged.
    Conflict,
    /// A parked connection had been closed by the upstream, and the request may not be repeated.
    Stale,
    /// The client went away.
    ClientGone,
    /// The client sent or read too slowly.
    ClientStalled,
    /// The client's message broke a rule or a limit after it was admitted.
    ClientFault,
    /// We had no place, descriptor or port for the exchange.
    NoRoom,
    /// A breaker behind this one refused.
    Refused,
}

/// What a breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service did its work.
    Success,
    /// The service failed.
    Failure,
    /// Nothing was learnt about the service; a probe's permit goes back.
    Neutral,
}

impl Ending {
    /// Judges the ending (the table "what counts" of the config contract).
    #[must_use]
    pub const fn outcome(self, failures: &StatusSet) -> Outcome {
        match self {
            Self::Answered(status) if failures.contains(status) => Outcome::Failure,
            Self::Answered(_) => Outcome::Success,
            Self::Unreachable
            | Self::ConnectTimeout
            | Self::Silent
            | Self::TimedOut
            | Self::CutShort
            | Self::Malformed
            | Self::Conflict => Outcome::Failure,
            Self::Stale
            | Self::ClientGone
            | Self::ClientStalled
            | Self::ClientFault
            | Self::NoRoom
            | Self::Refused => Outcome::Neutral,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_does_never_blames_the_service() {
        let failures = StatusSet::server_errors();
        for ending in [
            Ending::ClientGone,
            Ending::ClientStalled,
            Ending::ClientFault,
            Ending::NoRoom,
            Ending::Refused,
        ] {
            assert_eq!(ending.outcome(&failures), Outcome::Neutral, "{ending:?}");
        }
        assert_eq!(Ending::Answered(404).outcome(&failures), Outcome::Success);
        assert_eq!(Ending::Answered(503).outcome(&failures), Outcome::Failure);
        assert_eq!(Ending::CutShort.outcome(&failures), Outcome::Failure);
    }
}
