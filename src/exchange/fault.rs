//! How an exchange goes wrong: whose doing it was, and what the client gets.
//!
//! Enters: a [`Fault`]. Leaves: the ending that the breaker judges and the answer that the client
//! is sent. Each is one match without a wildcard.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use crate::breaker::outcome::Ending;
use crate::http1::answer::Rendered;
use crate::http1::head::RequestFault;
use crate::rt::deadline::Why;
use crate::rt::stream::Stream;
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
    /// The upstream's response was not HTTP/1.1, or over a limit.
    Malformed,
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
    /// We had no place for the exchange.
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
            LeaseError::NoRoom => Self::NoRoom,
        }
    }
}

impl Fault {
    /// Why an upstream's stream ended: by a deadline of ours, or by itself.
    pub(super) fn of_upstream(stream: &Stream) -> Self {
        match stream.deadline.fired() {
            Some(Why::Exchange) => Self::TimedOut,
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
            Self::Malformed => Ending::Malformed,
            Self::Concealed(status) => Ending::Answered(status),
            Self::ClientGone => Ending::ClientGone,
            Self::ClientStalled => Ending::ClientStalled,
            Self::ClientMalformed | Self::ClientTooLarge => Ending::ClientFault,
            Self::NoRoom => Ending::NoRoom,
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
            Self::Stale | Self::Unreachable | Self::CutShort | Self::Malformed => {
                &answers.bad_gateway
            }
            Self::ConnectTimeout | Self::Silent => &answers.gateway_timeout,
            Self::TimedOut => limit.unwrap_or(&answers.gateway_timeout),
            Self::Concealed(_) => &answers.internal,
            Self::ClientGone => return None,
            Self::ClientStalled => &answers.request_timeout,
            Self::ClientMalformed => &answers.bad_request,
            Self::ClientTooLarge => &answers.content_too_large,
            Self::NoRoom => &answers.no_room,
        })
    }
}

/// What a client whose head is refused is sent.
#[must_use]
pub const fn head_answer(answers: &Answers, fault: RequestFault) -> &Rendered {
    match fault {
        RequestFault::Malformed => &answers.bad_request,
        RequestFault::Connect => &answers.connect_refused,
        RequestFault::UriTooLong => &answers.uri_too_long,
        RequestFault::UnknownExpectation => &answers.expectation_failed,
        RequestFault::HeadTooLarge => &answers.head_too_large,
        RequestFault::UnknownCoding => &answers.not_implemented,
        RequestFault::UnknownVersion => &answers.version_not_supported,
    }
}
