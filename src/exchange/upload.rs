//! Moves a request's body to the upstream.
//!
//! Enters: what is unread of the body, in the client's buffer and on its stream. Leaves: the same
//! bytes, framed as they came and checked on the way. Back-pressure is the buffer: the next read
//! waits for the last write.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;
use std::time::Duration;

use super::fault::Fault;
use super::passing::{self, Keep};
use super::receive::Patience;
use crate::clock::{self, Now};
use crate::http1::framing::{Body, Fed};
use crate::rt::buffer::{Buf, Fit};
use crate::rt::deadline::{Cut, Why};
use crate::rt::stream::{Stop, Stream};

/// A client's stream that both directions of an exchange wait on: it is cut when none of them makes
/// progress for `limit`.
pub(super) struct Waiting<'a> {
    stream: &'a Stream,
    limit: Option<Duration>,
    /// When waiting ends whatever the progress.
    until: Option<Now>,
    waits: Cell<u32>,
    cut: Cell<Cut>,
}

impl<'a> Waiting<'a> {
    pub(super) const fn new(
        stream: &'a Stream,
        limit: Option<Duration>,
        until: Option<Now>,
    ) -> Self {
        Self { stream, limit, until, waits: Cell::new(0), cut: Cell::new(Cut::Read) }
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

    /// The client did what it was waited for.
    pub(super) fn end(&self) {
        self.waits.set(self.waits.get().saturating_sub(1));
        if !self.is_waiting() {
            self.stream.deadline.disarm();
        }
    }
}

/// What is left of a request's body.
pub(super) struct Upload<'a> {
    /// How far it has come.
    pub(super) body: &'a mut Body,
    /// What has been received of it and not sent.
    pub(super) buf: &'a mut Buf,
    /// How many more bytes it may have; `None`: any number.
    pub(super) allowance: Option<u64>,
}

impl Upload<'_> {
    /// Puts what has been received behind the head in `out`, if it all fits.
    pub(super) fn prefix(&mut self, out: &mut Buf) -> Result<(), Fault> {
        if self.body.is_over() || self.buf.is_empty() || out.room() < self.buf.len() {
            return Ok(());
        }
        let part = self.take()?;
        let fit = out.put(part.filled());
        debug_assert_eq!(fit, Fit::Whole);
        Ok(())
    }

    /// Sends the rest, as it comes.
    pub(super) async fn run(
        &mut self,
        client: &Waiting<'_>,
        upstream: &Stream,
        patience: &Patience<'_>,
        stop: &Stop,
    ) -> Result<(), Fault> {
        loop {
            if !self.buf.is_empty() {
                let part = self.take()?;
                if !part.is_empty() {
                    patience.arm(upstream, clock::now());
                    let (sent, _) = upstream.write(part).await;
                    sent.map_err(|_| Fault::of_upstream(upstream))?;
                }
            }
            if self.body.is_over() {
                // From now on it is the upstream that is waited for.
                patience.arm(upstream, clock::now());
                return Ok(());
            }
            patience.rest(upstream);
            let mut room = std::mem::replace(self.buf, Buf::sized(0));
            room.renew();
            client.begin(clock::now(), Cut::Read);
            let (read, back) = client.stream().read_until(room, stop).await;
            client.end();
            *self.buf = back;
            if !matches!(read, Ok(1..)) {
                return Err(Fault::of_client(client.stream()));
            }
        }
    }

    /// Takes the received part of the body off the client's buffer, as it is passed on. What lies
    /// behind the body's end stays.
    fn take(&mut self) -> Result<Buf, Fault> {
        let mut part = std::mem::replace(self.buf, Buf::sized(0));
        let passed = passing::feed(self.body, part.filled(), Keep::Framed);
        if let Some(allowance) = &mut self.allowance {
            *allowance = allowance.checked_sub(passed.payload).ok_or(Fault::ClientTooLarge)?;
        }
        match passed.fed {
            Fed::Bad => return Err(Fault::ClientMalformed),
            Fed::Done(end) if end < part.len() => {
                let mut rest = Buf::sized(part.capacity());
                let _ = rest.put(part.filled().get(end..).unwrap_or_default());
                *self.buf = rest;
            }
            Fed::Done(_) | Fed::More => {}
        }
        passed.apply(&mut part);
        Ok(part)
    }
}
