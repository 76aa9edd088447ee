//! Moves a request's body to the upstream.
//!
//! Enters: what is unread of the body, in the client's buffer and on its stream. Leaves: the same
//! bytes, framed as they came and checked on the way. Back-pressure is the buffer: the next read
//! waits for the last write.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::account::Account;
use super::fault::Fault;
use super::passing::{self, Keep, Trailers};
use super::patience::Patience;
use super::waiting::Waiting;
use crate::clock;
use crate::http1::framing::{Body, Fed};
use crate::http1::head::Expect;
use crate::rt::buffer::{Buf, Class, Fit, SMALL};
use crate::rt::deadline::Cut;
use crate::rt::stream::{Stop, Stream};

/// What is left of a request's body.
pub(super) struct Upload<'a> {
    /// How far it has come.
    pub(super) body: &'a mut Body,
    /// What has been received of it and not sent.
    pub(super) buf: &'a mut Buf,
    /// How many more bytes it may have; `None`: any number.
    pub(super) allowance: Option<u64>,
    /// Whether the client waits for the upstream's word before it sends more.
    pub(super) expect: Expect,
    /// What has come of its trailers.
    pub(super) trailers: Trailers,
    /// Where it is noted how many came.
    pub(super) account: &'a Account,
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
        // Who fills a buffer has more to send, and the next one is a large one. Who does not, holds
        // no more than that.
        let mut class = Class::Small;
        loop {
            if !self.buf.is_empty() {
                let part = self.take()?;
                if !part.is_empty() {
                    // It is waited for while it takes nothing, however long the whole part takes.
                    let turn = || patience.turn(upstream, client);
                    turn();
                    let (sent, _) = upstream.write_watched(part, turn).await;
                    sent.map_err(|_| Fault::of_upstream(upstream))?;
                }
            }
            if self.body.is_over() {
                // From now on it is the upstream that is waited for, or the client that takes.
                patience.turn(upstream, client);
                return Ok(());
            }
            *self.buf = Buf::default();
            let room = Buf::new(class);
            match std::mem::replace(&mut self.expect, Expect::Nothing) {
                // It is the upstream that is waited for, until it has said whether to go on.
                Expect::Continue => client.hold(),
                Expect::Nothing => {
                    patience.rest(upstream);
                    client.begin(clock::now(), Cut::Read);
                }
            }
            let (read, back) = client.stream().read_until(room, stop).await;
            client.end();
            class = if back.len() < SMALL { Class::Small } else { Class::Large };
            *self.buf = back;
            if !matches!(read, Ok(1..)) {
                return Err(Fault::of_client(client.stream()));
            }
        }
    }

    /// Takes the received part of the body off the client's buffer, as it is passed on. What lies
    /// behind the body's end stays.
    fn take(&mut self) -> Result<Buf, Fault> {
        let mut part = std::mem::take(self.buf);
        let passed = passing::feed(self.body, &mut self.trailers, part.filled(), Keep::Framed);
        let received = &self.account.received;
        received.set(received.get() + passed.payload);
        if let Some(allowance) = &mut self.allowance {
            *allowance = allowance.checked_sub(passed.payload).ok_or(Fault::ClientTooLarge)?;
        }
        match passed.fed {
            Fed::Bad => return Err(Fault::ClientMalformed),
            Fed::Done(end) if end < part.len() => {
                *self.buf = Buf::copy_of(part.filled().get(end..).unwrap_or_default());
            }
            Fed::Done(_) | Fed::More => {}
        }
        passed.apply(&mut part);
        Ok(part)
    }
}
