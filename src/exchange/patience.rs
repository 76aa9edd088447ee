//! How long an upstream is waited for.
//!
//! Enters: the route's and the service's time limits. Leaves: the deadline on the upstream's
//! stream: its silence counts while it is its turn and it takes nothing of what it was sent, the
//! limit of the whole exchange always, and when its client resets the connection nobody waits any
//! more.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::time::Duration;

use super::waiting::Waiting;
use crate::clock::{self, Now};
use crate::http1::answer::Rendered;
use crate::rt::deadline::{Cut, Watched, Why};
use crate::rt::stream::Stream;

/// The time limit of an exchange.
#[derive(Clone, Copy)]
pub(super) struct Limit<'v> {
    /// By when the response must have ended.
    pub(super) due: Now,
    /// What the client is told otherwise.
    pub(super) answer: &'v Rendered,
}

/// The nearer of two limits.
pub(super) fn nearer<'v>(one: Option<Limit<'v>>, other: Option<Limit<'v>>) -> Option<Limit<'v>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.due < other.due { one } else { other }),
        (one, other) => one.or(other),
    }
}

/// What an upstream is given to answer.
#[derive(Clone, Copy)]
pub(super) struct Patience<'v> {
    /// How long it may be silent.
    pub(super) silence: Option<Duration>,
    /// When it must be done.
    pub(super) limit: Option<Limit<'v>>,
    /// On whose behalf it is waited for.
    pub(super) client: Watched,
}

impl Patience<'_> {
    /// Cuts `stream` only when the whole exchange is over its limit: it is not waited for now.
    pub(super) fn rest(&self, stream: &Stream) {
        match self.limit {
            Some(limit) => stream.deadline.arm(limit.due, Why::Exchange, Cut::Both),
            None => stream.deadline.disarm(),
        }
    }

    /// Cuts `stream` when this patience is over, unless it is for the client to send or to take.
    pub(super) fn turn(&self, stream: &Stream, client: &Waiting<'_>) {
        if client.is_waiting() {
            self.rest(stream);
        } else {
            self.arm(stream, clock::now());
        }
    }

    /// Cuts `stream` when this patience, beginning at `now`, is over.
    pub(super) fn arm(&self, stream: &Stream, now: Now) {
        let limit = self.limit.map(|limit| limit.due);
        stream.deadline.arm_for(self.client, now, self.silence, limit);
    }
}
