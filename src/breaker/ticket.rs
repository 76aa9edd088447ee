//! A request that was let through, and what it is settled with.
//!
//! Enters: how the exchange ended. Leaves: the transition this causes, if any. Settling consumes
//! the ticket, so that each exchange is counted once; a ticket that is dropped counts as neutral
//! and gives a probe's permit back. Late results are fenced by the epoch they were admitted in.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use super::buckets::Entry;
use super::circuit::{Move, State};
use super::outcome::{Ending, Outcome};
use super::probes::Permit;
use super::{Breaker, Core, Transition};
use crate::clock::Now;

/// A request that was let through. Settle it once; dropped, it counts as neutral.
#[derive(Debug)]
#[must_use = "a ticket is settled with how its exchange ended"]
pub struct Ticket<'b> {
    pub(super) breaker: &'b Breaker,
    pub(super) epoch: u32,
    pub(super) core: usize,
    pub(super) errand: Errand,
    pub(super) begun: Now,
    pub(super) _not_send: PhantomData<*const ()>,
}

/// What a request was let through for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// One of many.
    Traffic,
    /// One of those that decide.
    Probe(Permit),
    /// Let through against the state: it is counted, and decides nothing.
    Bystander,
    /// The breaker is off: it is not even counted.
    Nothing,
}

impl Ticket<'_> {
    /// Whether an exchange that ends so is a failure.
    #[must_use]
    pub const fn blames(&self, ending: Ending) -> bool {
        matches!(ending.outcome(&self.breaker.policy.failures), Outcome::Failure)
    }

    /// Whether the request is one of those that decide whether the breaker closes.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        matches!(self.errand, Errand::Probe(_))
    }

    /// Whether the breaker is in the state still in which it let the request through.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.breaker.word().epoch() == self.epoch
    }

    /// Tells the breaker how the exchange ended. Returns the transition this caused, if any.
    #[inline]
    pub fn settle(self, ending: Ending, now: Now) -> Option<Transition> {
        // What follows does what dropping would.
        let ticket = ManuallyDrop::new(self);
        let memory = &ticket.breaker.memory;
        match ending.outcome(&ticket.breaker.policy.failures) {
            Outcome::Success if ticket.errand == Errand::Traffic => {
                memory.tally(ticket.core, |tally| &tally.success);
                if memory.run.is_none() && ticket.breaker.policy.trip.shares.is_none() {
                    return None;
                }
                ticket.heed(now)
            }
            Outcome::Success => ticket.succeed(now),
            Outcome::Failure => ticket.fail(now),
            Outcome::Neutral => {
                ticket.give_back();
                None
            }
        }
    }

    /// A success that ends a run of failures, or adds to the whole that shares are of.
    fn heed(&self, now: Now) -> Option<Transition> {
        let breaker = self.breaker;
        let word = breaker.word();
        if word.epoch() != self.epoch {
            breaker.memory.tally(self.core, |tally| &tally.stale);
            return None;
        }
        if self.is_slow(now) {
            return breaker.count_bad(&self.core(), word, Entry::Slow, now);
        }
        if let Some(run) = &breaker.memory.run {
            run.succeed(self.epoch);
        }
        if let Some(buckets) = &breaker.memory.buckets {
            buckets.record(&self.core(), self.epoch, now, Entry::Good);
        }
        None
    }

    /// The success of one that is not traffic.
    #[cold]
    fn succeed(&self, now: Now) -> Option<Transition> {
        match self.errand {
            Errand::Probe(permit) => {
                self.breaker.memory.tally(self.core, |tally| &tally.success);
                if self.is_slow(now) { self.reopen(permit, now) } else { self.pass(permit, now) }
            }
            Errand::Traffic | Errand::Bystander => {
                self.breaker.memory.tally(self.core, |tally| &tally.success);
                self.is_slow(now);
                None
            }
            Errand::Nothing => None,
        }
    }

    #[cold]
    fn fail(&self, now: Now) -> Option<Transition> {
        if self.errand == Errand::Nothing {
            return None;
        }
        self.breaker.memory.tally(self.core, |tally| &tally.failure);
        let entry = if self.is_slow(now) { Entry::FailedSlowly } else { Entry::Failed };
        match self.errand {
            Errand::Traffic => {
                let logged = self.breaker.log_failure(&self.core(), now);
                logged.or_else(|| self.count(entry, now))
            }
            Errand::Probe(permit) => self.reopen(permit, now),
            Errand::Bystander | Errand::Nothing => None,
        }
    }

    fn count(&self, entry: Entry, now: Now) -> Option<Transition> {
        let memory = &self.breaker.memory;
        if memory.counted.is_none() && memory.run.is_none() && memory.buckets.is_none() {
            return None;
        }
        let word = self.breaker.word();
        if word.epoch() != self.epoch {
            memory.tally(self.core, |tally| &tally.stale);
            return None;
        }
        self.breaker.count_bad(&self.core(), word, entry, now)
    }

    /// A probe's success: the one that completes the round closes the breaker.
    fn pass(&self, permit: Permit, now: Now) -> Option<Transition> {
        let breaker = self.breaker;
        let (Some(probes), Some(recovery)) = (&breaker.memory.probes, breaker.policy.recovery())
        else {
            return None;
        };
        let done = if self.reigns() { probes.succeed(permit) } else { None };
        let Some(done) = done else {
            breaker.memory.tally(self.core, |tally| &tally.stale);
            return None;
        };
        let step = if recovery.ramp.is_some() { Move::Ease } else { Move::Heal };
        let mark = now.millis_up();
        loop {
            let word = breaker.word();
            if word.epoch() != self.epoch || word.state() != State::HalfOpen {
                return None;
            }
            let needed = recovery.successes.get().min(recovery.requests.get());
            let peers = breaker.memory.circuit.peers();
            let needed = peers.map_or(Some(needed), |peers| {
                // The cluster counts the round's successes, those of others too.
                peers.ring();
                peers.needed(word, needed)
            });
            if needed.is_some_and(|needed| done >= needed) {
                let made = breaker.memory.circuit.make(word, step, word.streak(), mark, now);
                if let Some(next) = made {
                    return Some(breaker.moved_to(word, step, next, now));
                }
            } else if breaker.memory.circuit.remark(word, mark) {
                // A success is progress: the wait for the next verdict begins now.
                return None;
            }
        }
    }

    /// A probe's failure, unless its permit has been given to another in the meantime.
    fn reopen(&self, permit: Permit, now: Now) -> Option<Transition> {
        let breaker = self.breaker;
        let holds = breaker.memory.probes.as_ref().is_some_and(|probes| probes.holds(permit));
        if !holds || !self.reigns() {
            breaker.memory.tally(self.core, |tally| &tally.stale);
            return None;
        }
        loop {
            let word = breaker.word();
            if word.epoch() != self.epoch || word.state() != State::HalfOpen {
                return None;
            }
            let (step, streak) = (Move::Reopen, breaker.streak(word, now));
            let mark = now.millis_up();
            if let Some(next) = breaker.memory.circuit.make(word, step, streak, mark, now) {
                return Some(Transition { failures: 1, ..breaker.moved_to(word, step, next, now) });
            }
        }
    }

    fn give_back(&self) {
        if self.errand != Errand::Nothing {
            self.breaker.memory.tally(self.core, |tally| &tally.neutral);
        }
        if let (Errand::Probe(permit), Some(probes)) = (self.errand, &self.breaker.memory.probes) {
            probes.give_back(permit);
        }
    }

    fn reigns(&self) -> bool {
        self.breaker.word().epoch() == self.epoch
    }

    fn core(&self) -> Core {
        Core::claim(self.core)
    }

    fn is_slow(&self, now: Now) -> bool {
        let slow = self.breaker.policy.is_slow(now.since(self.begun));
        if slow {
            self.breaker.memory.tally(self.core, |tally| &tally.slow);
        }
        slow
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}
