//! How an exchange goes wrong: whose doing it was, and what the client gets.
//!
//! Enters: a [`Fault`]. Leaves: the ending that the breaker judges and the answer that the client
//! is sent. Each is one match without a wildcard.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use crate::breaker::outcome::Ending;
use crate::http1::answer::Rendered;
use crate::http1::head::{RequestFault, ResponseFault};
use crate::rt::deadline::Why;
use crate::rt::stream::Stream;
use crate::stats::Bound;
use crate::table::{Answers, Table};
use crate::upstream::LeaseError;

/// How an exchange went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A parked connection gave nothing back: the upstream had closed it.
    Stale,
    /// The upstream refused, or has no address.
    Unreachable,
    /// Connecting took too long.
    ConnectTimeout,
    /// The upstream was silent for too long.
    Silent,
    /// The time limit of the exchange ran out.
    TimedOut,
    /// The upstream closed or reset before its response ended.
    CutShort,
    /// The upstream's response was not HTTP/1.1.
    Malformed,
    /// Its head had too many bytes.
    HeadTooLarge,
    /// Its head had too many fields.
    TooManyFields,
    /// The upstream answered with this 5xx, and the route keeps such answers to itself.
    Concealed(u16),
    /// The client went away.
    ClientGone,
    /// The client sent or read too slowly.
    ClientStalled,
    /// The client's body was not framed as it said.
    ClientMalformed,
    /// The client's body was over the limit.
    ClientTooLarge,
    /// As many connections to the target are in use as may be.
    Full,
    /// We had no descriptor, port or memory for the exchange.
    NoRoom,
}

/// A fault, and what the client has been sent by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What happened.
    pub(super) fault: Fault,
    /// What was sent.
    pub(super) sent: Sent,
}

/// What the client has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing: it can be told what happened.
    Nothing,
    /// A head with this status: all that is left is to cut the connection.
    Head(u16),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, sent: Sent::Nothing }
    }
}

impl From<LeaseError> for Fault {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Unreachable => Self::Unreachable,
            LeaseError::TimedOut => Self::ConnectTimeout,
            LeaseError::Full => Self::Full,
            LeaseError::NoRoom => Self::NoRoom,
        }
    }
}

impl From<ResponseFault> for Fault {
    fn from(fault: ResponseFault) -> Self {
        match fault {
            ResponseFault::Malformed => Self::Malformed,
            ResponseFault::HeadTooLarge => Self::HeadTooLarge,
            ResponseFault::TooManyFields => Self::TooManyFields,
        }
    }
}

impl Fault {
    /// Why an upstream's stream ended: by a deadline of ours, or by itself.
    pub(super) fn of_upstream(stream: &Stream) -> Self {
        match stream.deadline.fired() {
            Some(Why::Exchange) => Self::TimedOut,
            Some(Why::Abandoned) => Self::ClientGone,
            Some(_) => Self::Silent,
            None => Self::CutShort,
        }
    }

    /// Why a client's stream ended.
    pub(super) fn of_client(stream: &Stream) -> Self {
        match stream.deadline.fired() {
            Some(_) => Self::ClientStalled,
            None => Self::ClientGone,
        }
    }

    /// What the breaker is told.
    pub(super) const fn ending(self) -> Ending {
        match self {
            Self::Stale => Ending::Stale,
            Self::CutShort => Ending::CutShort,
            Self::Unreachable => Ending::Unreachable,
            Self::ConnectTimeout => Ending::ConnectTimeout,
            Self::Silent => Ending::Silent,
            Self::TimedOut => Ending::TimedOut,
            Self::Malformed | Self::HeadTooLarge | Self::TooManyFields => Ending::Malformed,
            Self::Concealed(status) => Ending::Answered(status),
            Self::ClientGone => Ending::ClientGone,
            Self::ClientStalled => Ending::ClientStalled,
            Self::ClientMalformed | Self::ClientTooLarge => Ending::ClientFault,
            Self::Full | Self::NoRoom => Ending::NoRoom,
        }
    }

    /// What the client is sent; `limit` is the answer of the time limit that the exchange ran
    /// under. `None`: nobody is there to be sent anything.
    pub(super) fn answer<'v>(
        self,
        table: &'v Table,
        limit: Option<&'v Rendered>,
    ) -> Option<&'v Rendered> {
        let answers = &table.answers;
        Some(match self {
            Self::Stale
            | Self::Unreachable
            | Self::CutShort
            | Self::Malformed
            | Self::HeadTooLarge
            | Self::TooManyFields => &answers.bad_gateway,
            Self::ConnectTimeout | Self::Silent => &answers.gateway_timeout,
            Self::TimedOut => limit.unwrap_or(&answers.gateway_timeout),
            Self::Concealed(_) => &answers.internal,
            Self::ClientGone => return None,
            Self::ClientStalled => &answers.request_timeout,
            Self::ClientMalformed => &answers.bad_request,
            Self::ClientTooLarge => &answers.content_too_large,
            Self::Full | Self::NoRoom => &answers.no_room,
        })
    }

    /// The timeout or limit that it went over, if it was one.
    pub(super) const fn bound(self) -> Option<Bound> {
        Some(match self {
            Self::ConnectTimeout => Bound::Connect,
            Self::Silent => Bound::Response,
            Self::TimedOut => Bound::Exchange,
            Self::HeadTooLarge => Bound::ResponseHeaderBytes,
            Self::TooManyFields => Bound::ResponseHeaders,
            Self::ClientStalled => Bound::Body,
            Self::ClientTooLarge => Bound::BodyBytes,
            Self::Full => Bound::UpstreamConnections,
            Self::NoRoom => Bound::Files,
            Self::Stale
            | Self::Unreachable
            | Self::CutShort
            | Self::Malformed
            | Self::Concealed(_)
            | Self::ClientGone
            | Self::ClientMalformed => return None,
        })
    }

    /// What the access log calls it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Stale | Self::CutShort => "upstream_cut",
            Self::Unreachable => "upstream_unreachable",
            Self::Malformed => "upstream_malformed",
            Self::Concealed(_) => "concealed",
            Self::ClientGone => "client_gone",
            Self::ClientMalformed => "malformed",
            Self::ConnectTimeout
            | Self::Silent
            | Self::TimedOut
            | Self::HeadTooLarge
            | Self::TooManyFields
            | Self::ClientStalled
            | Self::ClientTooLarge
            | Self::Full
            | Self::NoRoom => match self.bound() {
                Some(bound) => bound.key(),
                None => "",
            },
        }
    }
}

/// The limit that a refused head is over, if it is one.
pub(super) const fn head_bound(fault: RequestFault) -> Option<Bound> {
    match fault {
        RequestFault::UriTooLong => Some(Bound::Uri),
        RequestFault::HeadTooLarge => Some(Bound::HeaderBytes),
        RequestFault::TooManyFields => Some(Bound::Headers),
        RequestFault::Malformed
        | RequestFault::Connect
        | RequestFault::UnknownExpectation
        | RequestFault::UnknownCoding
        | RequestFault::UnknownVersion => None,
    }
}

/// What a client whose head is refused is sent.
pub(super) const fn head_answer(answers: &Answers, fault: RequestFault) -> &Rendered {
    match fault {
        RequestFault::Malformed => &answers.bad_request,
        RequestFault::Connect => &answers.connect_refused,
        RequestFault::UriTooLong => &answers.uri_too_long,
        RequestFault::UnknownExpectation => &answers.expectation_failed,
        RequestFault::HeadTooLarge | RequestFault::TooManyFields => &answers.head_too_large,
        RequestFault::UnknownCoding => &answers.not_implemented,
        RequestFault::UnknownVersion => &answers.version_not_supported,
    }
}
