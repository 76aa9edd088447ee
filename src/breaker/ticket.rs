//! A request that was let through, and what it is settled with.
//!
//! Enters: how the exchange ended. Leaves: the transition this causes, if any. Settling consumes
//! the ticket, so that each exchange is counted once; a ticket that is dropped counts as neutral
//! and gives a probe's place back. Late results are fenced by the epoch they were admitted in.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

use super::circuit::{Move, State, Word};
use super::memory::Failures;
use super::outcome::{Ending, Outcome};
use super::policy::Trip;
use super::window::Moments;
use super::{Breaker, Core, Transition, back, span};
use crate::clock::Now;

/// A request that was let through. Settle it once; dropped, it counts as neutral.
#[derive(Debug)]
#[must_use = "a ticket is settled with how its exchange ended"]
pub struct Ticket<'b> {
    pub(super) breaker: &'b Breaker,
    pub(super) epoch: u32,
    pub(super) core: usize,
    pub(super) errand: Errand,
    pub(super) _not_send: PhantomData<*const ()>,
}

/// What a request was let through for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// One of many.
    Traffic,
    /// The one that decides.
    Probe,
}

impl Ticket<'_> {
    /// Whether a response of this status is a failure.
    #[must_use]
    pub const fn counts_as_failure(&self, status: u16) -> bool {
        self.breaker.policy.failures.contains(status)
    }

    /// Whether the breaker is in the state still in which it let the request through.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.breaker.word().epoch() == self.epoch
    }

    /// Tells the breaker how the exchange ended. Returns the transition this caused, if any.
    #[inline]
    pub fn settle(self, ending: Ending, now: Now) -> Option<Transition> {
        let ticket = std::mem::ManuallyDrop::new(self);
        match ending.outcome(&ticket.breaker.policy.failures) {
            Outcome::Success => {
                ticket.breaker.tally(ticket.core, |tally| &tally.success);
                match ticket.errand {
                    Errand::Traffic => None,
                    Errand::Probe => ticket.verdict(Move::Heal, 0, now),
                }
            }
            Outcome::Failure => ticket.fail(now),
            Outcome::Neutral => {
                ticket.give_back();
                None
            }
        }
    }

    #[cold]
    fn fail(&self, now: Now) -> Option<Transition> {
        self.breaker.tally(self.core, |tally| &tally.failure);
        match (&self.breaker.memory.failures, self.breaker.policy.trip) {
            (Failures::Moments(moments), Trip::LookBack { failures, look_back }) => {
                self.fail_in_look_back(moments, failures, look_back, now)
            }
            (Failures::Counted(counted), Trip::Reset { failures, window, open_for, .. }) => {
                let deadline = now.after(open_for).millis_up();
                if self.errand == Errand::Probe {
                    return self.verdict(Move::Reopen, deadline, now);
                }
                let word = self.breaker.word();
                if word.epoch() != self.epoch {
                    self.breaker.tally(self.core, |tally| &tally.stale);
                    return None;
                }
                let core = Core::claim(self.core);
                let reigns = || self.breaker.word().epoch() == self.epoch;
                let count = counted.record(&core, self.epoch, span(window), now, reigns)?;
                if count < failures.get() {
                    return None;
                }
                self.trip(word, deadline, count, now)
            }
            _ => None,
        }
    }

    /// Seed A: every failure counts, late ones too; open while enough of them are young enough.
    fn fail_in_look_back(
        &self,
        moments: &Moments,
        failures: NonZeroU32,
        look_back: Duration,
        now: Now,
    ) -> Option<Transition> {
        moments.record(&Core::claim(self.core), now);
        let oldest = moments.newest(failures.get(), back(now, look_back), now)?;
        let mark = oldest.millis_up();
        loop {
            let word = self.breaker.word();
            match word.state() {
                State::Closed => {
                    if let Some(tripped) = self.trip(word, mark, failures.get(), now) {
                        return Some(tripped);
                    }
                }
                State::Open => {
                    if self.breaker.memory.circuit.extend(word, mark) {
                        return None;
                    }
                }
                // Not a state of this policy.
                State::HalfOpen => return None,
            }
            // Another core was first, perhaps with the lapse of an older trip: look again.
        }
    }

    fn trip(&self, seen: Word, mark: u64, failures: u32, now: Now) -> Option<Transition> {
        let word = self.breaker.memory.circuit.make(seen, Move::Trip, mark, now)?;
        Some(Transition { step: Move::Trip, epoch: word.epoch(), at: now, failures })
    }

    /// A probe's verdict, unless its permit has been given to another in the meantime.
    fn verdict(&self, step: Move, mark: u64, now: Now) -> Option<Transition> {
        let word = self.breaker.word();
        if word.epoch() != self.epoch || word.state() != State::HalfOpen {
            self.breaker.tally(self.core, |tally| &tally.stale);
            return None;
        }
        let word = self.breaker.memory.circuit.make(word, step, mark, now)?;
        let failures = u32::from(step == Move::Reopen);
        Some(Transition { step, epoch: word.epoch(), at: now, failures })
    }

    fn give_back(&self) {
        self.breaker.tally(self.core, |tally| &tally.neutral);
        let word = self.breaker.word();
        let mine = word.epoch() == self.epoch && word.state() == State::HalfOpen;
        if self.errand == Errand::Probe && mine {
            self.breaker.memory.circuit.renew(word, 0);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}
