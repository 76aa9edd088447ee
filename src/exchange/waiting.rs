//! How long a client is waited for.
//!
//! Enters: when either direction of an exchange begins and ends to wait for the client. Leaves: the
//! deadline on its stream. Both directions share one: progress in either is a sign of life.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;
use std::time::Duration;

use super::fault::Fault;
use crate::clock::{self, Now};
use crate::rt::buffer::Buf;
use crate::rt::deadline::{Cut, Why};
use crate::rt::stream::Stream;

/// A client's stream that both directions of an exchange wait on: it is cut when none of them makes
/// progress for `limit`.
pub(super) struct Waiting<'a> {
    stream: &'a Stream,
    limit: Option<Duration>,
    /// When waiting ends whatever the progress.
    until: Option<Now>,
    waits: Cell<u32>,
    cut: Cell<Cut>,
    /// The client waits in its turn: it is not waited for until it has been told to go on.
    held: Cell<bool>,
}

impl<'a> Waiting<'a> {
    pub(super) const fn new(
        stream: &'a Stream,
        limit: Option<Duration>,
        until: Option<Now>,
    ) -> Self {
        Self {
            stream,
            limit,
            until,
            waits: Cell::new(0),
            cut: Cell::new(Cut::Read),
            held: Cell::new(false),
        }
    }

    pub(super) const fn stream(&self) -> &'a Stream {
        self.stream
    }

    /// Whether the client is being waited for.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waits.get() > 0
    }

    /// Begins to wait for the client: to send ([`Cut::Read`]: it can still be told that it was too
    /// slow) or to take what we send ([`Cut::Both`]).
    pub(super) fn begin(&self, now: Now, cut: Cut) {
        self.cut.set(if self.is_waiting() { Cut::Both } else { cut });
        self.waits.set(self.waits.get() + 1);
        self.again(now);
    }

    /// The client did a part of what it is waited for.
    pub(super) fn again(&self, now: Now) {
        if let (Cut::Both, Some(limit), None) = (self.cut.get(), self.limit, self.until) {
            self.stream.deadline.arm_sending(now, limit);
            return;
        }
        let due = self.limit.map(|limit| now.after(limit));
        let due = match (due, self.until) {
            (Some(due), Some(until)) => Some(due.min(until)),
            (due, until) => due.or(until),
        };
        if let Some(due) = due {
            self.stream.deadline.arm(due, Why::Client, self.cut.get());
        }
    }

    /// The client waits for `100 Continue` before it goes on to send: its time begins when it has
    /// that. Anything else that it is sent is no leave to go on.
    pub(super) fn hold(&self) {
        self.held.set(true);
    }

    /// It has been told to go on.
    pub(super) fn invited(&self) {
        if self.held.replace(false) {
            self.begin(clock::now(), Cut::Read);
        }
    }

    /// The client sent something, or will not.
    pub(super) fn end(&self) {
        if !self.held.replace(false) {
            self.done();
        }
    }

    /// Sends `buf` and waits until the client has taken it.
    pub(super) async fn send(&self, buf: Buf, now: Now) -> (Result<(), Fault>, Buf) {
        self.begin(now, Cut::Both);
        let progress = || self.again(clock::now());
        let (sent, buf) = self.stream.write_watched(buf, progress).await;
        self.sent();
        (sent.map_err(|_| Fault::of_client(self.stream)), buf)
    }

    /// The client has taken what was sent. If it is to send too, it is waited for as if nothing had
    /// been sent meanwhile.
    pub(super) fn sent(&self) {
        self.done();
        if self.is_waiting() {
            self.cut.set(Cut::Read);
            self.again(clock::now());
        }
    }

    fn done(&self) {
        self.waits.set(self.waits.get().saturating_sub(1));
        if !self.is_waiting() {
            self.stream.deadline.disarm();
        }
    }
}
