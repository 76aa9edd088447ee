//! May this request go, and what did it teach us?
//!
//! Enters: `admit` before an exchange, `settle` after it, each with the time and the core it runs
//! on. Leaves: a [`Ticket`] or a refusal, and the [`Transition`]s that either causes. Owns the
//! breaker's state: one shared word read per request, counters with one writer per core.
//!
//! Pure: no I/O, no clock, no dice. The closed path costs one shared load and a store to this
//! core's own line; shared lines are written only when something fails or moves.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

pub mod circuit;
pub mod memory;
pub mod outcome;
pub mod policy;
pub mod registry;
pub mod ticket;
mod window;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Now;
use circuit::{Move, State, Word};
use memory::{Failures, Memory, Tally};
use policy::{Policy, Trip, Window};
use ticket::{Errand, Ticket};

/// The identity of the worker thread that holds it: the right to write that core's shards.
///
/// Not `Send`, and made once per worker: two threads that held the same one would lose counts.
#[derive(Debug)]
pub struct Core {
    index: usize,
    _not_send: PhantomData<*const ()>,
}

impl Core {
    /// Claims core `index`, counted from zero. The caller is the only thread that does.
    #[must_use]
    pub const fn claim(index: usize) -> Self {
        Self { index, _not_send: PhantomData }
    }

    /// The index of the core's shards.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }
}

/// One breaker: its fixed policy and the state it shares with every core and every generation.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: Policy,
    memory: Arc<Memory>,
}

/// Totals over all cores since the breaker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Exchanges that ended well.
    pub success: u64,
    /// Exchanges that failed.
    pub failure: u64,
    /// Exchanges that taught nothing.
    pub neutral: u64,
    /// Requests refused.
    pub refused: u64,
    /// Results that arrived after their epoch.
    pub stale: u64,
}

/// A breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Which move was made.
    pub step: Move,
    /// The epoch it began.
    pub epoch: u32,
    /// When.
    pub at: Now,
    /// Failures that counted together at that moment.
    pub failures: u32,
}

/// The answer to `admit`.
#[derive(Debug)]
pub enum Verdict<'b> {
    /// The request may go; the ticket is settled with how it ended.
    Admit(Ticket<'b>),
    /// The request may not go.
    Refuse {
        /// See [`Breaker::remaining_ms`].
        remaining_ms: u64,
    },
}

impl Breaker {
    /// A breaker over what is remembered of it.
    #[must_use]
    pub const fn new(policy: Policy, memory: Arc<Memory>) -> Self {
        Self { policy, memory }
    }

    /// Its rules.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// May a request go now? The second value is the transition that asking caused, if any.
    #[inline]
    pub fn admit(&self, core: &Core, now: Now) -> (Verdict<'_>, Option<Transition>) {
        let word = self.memory.circuit.word();
        if word.state() == State::Closed {
            return (Verdict::Admit(self.ticket(core, word, Errand::Traffic)), None);
        }
        self.admit_at_edge(core, word, now)
    }

    /// Whether a request that comes now would be let through, as far as can be said without asking:
    /// for choosing among several. Another core may take the one probe first.
    #[inline]
    #[must_use]
    pub fn would_admit(&self, now: Now) -> bool {
        let word = self.memory.circuit.word();
        word.state() == State::Closed || now.millis() >= self.until(word)
    }

    #[cold]
    fn admit_at_edge(
        &self,
        core: &Core,
        mut word: Word,
        now: Now,
    ) -> (Verdict<'_>, Option<Transition>) {
        loop {
            if word.state() == State::Closed {
                return (Verdict::Admit(self.ticket(core, word, Errand::Traffic)), None);
            }
            if now.millis() < self.until(word) {
                self.tally(core.index(), |tally| &tally.refused);
                return (Verdict::Refuse { remaining_ms: self.remaining_ms_of(word, now) }, None);
            }
            let (moved, errand) = match (word.state(), self.policy.trip) {
                (State::Open, Trip::LookBack { .. }) => {
                    (self.step(word, Move::Lapse, 0, now), Errand::Traffic)
                }
                (State::Open, Trip::Reset { probe_max, .. }) => {
                    let lost_at = now.after(probe_max).millis_up();
                    (self.step(word, Move::Probe, lost_at, now), Errand::Probe)
                }
                (State::HalfOpen, Trip::Reset { probe_max, .. }) => {
                    let lost_at = now.after(probe_max).millis_up();
                    let renewed = self.memory.circuit.renew(word, lost_at);
                    (renewed.map(|word| (word, None)), Errand::Probe)
                }
                // Answered above; and not a state of that policy.
                (State::Closed, _) | (State::HalfOpen, Trip::LookBack { .. }) => {
                    debug_assert!(false, "no such state");
                    return (Verdict::Admit(self.ticket(core, word, Errand::Traffic)), None);
                }
            };
            if let Some((word, transition)) = moved {
                return (Verdict::Admit(self.ticket(core, word, errand)), transition);
            }
            word = self.memory.circuit.word();
        }
    }

    /// Makes the move that time alone brings: an open look-back breaker closes when enough failures
    /// have aged out. Called on a timer, so that the move is reported when no request comes.
    #[must_use]
    pub fn lapse(&self, now: Now) -> Option<Transition> {
        let word = self.memory.circuit.word();
        let due = word.state() == State::Open && now.millis() >= self.until(word);
        if !due || !matches!(self.policy.trip, Trip::LookBack { .. }) {
            return None;
        }
        self.step(word, Move::Lapse, 0, now).and_then(|(_, transition)| transition)
    }

    /// What the state word says at this instant.
    #[must_use]
    pub fn word(&self) -> Word {
        self.memory.circuit.word()
    }

    /// Whole milliseconds from `now` until an open breaker may stop refusing; zero when it is
    /// closed, or half open: a probe's verdict may come at any moment. Never more than was
    /// configured.
    #[must_use]
    pub fn remaining_ms(&self, now: Now) -> u64 {
        self.remaining_ms_of(self.word(), now)
    }

    /// When time alone closes it: only a look-back breaker that is open.
    #[must_use]
    pub fn lapses_at(&self) -> Option<Now> {
        let word = self.word();
        let ages = matches!(self.policy.trip, Trip::LookBack { .. });
        (ages && word.state() == State::Open).then(|| Now::from_millis(self.until(word)))
    }

    /// Whether both remember the same things.
    #[must_use]
    pub fn shares_memory_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }

    fn remaining_ms_of(&self, word: Word, now: Now) -> u64 {
        match word.state() {
            // Rounded down, since the moment was rounded up.
            State::Open => (self.until(word) * 1000).saturating_sub(now.micros()) / 1000,
            State::Closed | State::HalfOpen => 0,
        }
    }

    /// The millisecond until which `word` refuses.
    fn until(&self, word: Word) -> u64 {
        match (word.state(), self.policy.trip) {
            (State::Open, Trip::LookBack { look_back, .. }) => {
                Now::from_millis(word.mark()).after(look_back).millis_up()
            }
            (State::Open | State::HalfOpen | State::Closed, _) => word.mark(),
        }
    }

    /// The state a request would meet at `now`: an open look-back breaker whose failures have aged
    /// out is closed, though nothing has told its word yet.
    #[must_use]
    pub fn state(&self, now: Now) -> State {
        let word = self.word();
        let lapsed = word.state() == State::Open && now.millis() >= self.until(word);
        if lapsed && matches!(self.policy.trip, Trip::LookBack { .. }) {
            State::Closed
        } else {
            word.state()
        }
    }

    /// When the present state began; `None` before the first transition.
    #[must_use]
    pub fn since(&self) -> Option<Now> {
        self.memory.circuit.since()
    }

    /// How often `step` was made.
    #[must_use]
    pub fn moved(&self, step: Move) -> u64 {
        self.memory.circuit.moved(step)
    }

    /// How many failures count together at `now`.
    #[must_use]
    pub fn failures(&self, now: Now) -> u32 {
        match (&self.memory.failures, self.policy.trip) {
            (Failures::Moments(moments), Trip::LookBack { failures, look_back }) => {
                moments.peek(failures.get(), back(now, look_back))
            }
            (Failures::Counted(counted), Trip::Reset { window, .. }) => {
                counted.peek(self.word().epoch(), span(window), now)
            }
            _ => 0,
        }
    }

    /// Totals over all cores.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.memory.tallies.iter().fold(Totals::default(), |sum, tally| Totals {
            success: sum.success + read(&tally.success),
            failure: sum.failure + read(&tally.failure),
            neutral: sum.neutral + read(&tally.neutral),
            refused: sum.refused + read(&tally.refused),
            stale: sum.stale + read(&tally.stale),
        })
    }

    const fn ticket(&self, core: &Core, word: Word, errand: Errand) -> Ticket<'_> {
        Ticket {
            breaker: self,
            epoch: word.epoch(),
            core: core.index,
            errand,
            _not_send: PhantomData,
        }
    }

    fn step(
        &self,
        seen: Word,
        step: Move,
        mark: u64,
        now: Now,
    ) -> Option<(Word, Option<Transition>)> {
        let failures = self.failures(now);
        let word = self.memory.circuit.make(seen, step, mark, now)?;
        Some((word, Some(Transition { step, epoch: word.epoch(), at: now, failures })))
    }

    fn tally(&self, core: usize, which: impl Fn(&Tally) -> &AtomicU64) {
        if let Some(tally) = self.memory.tallies.get(core) {
            let counter = which(tally);
            // Relaxed load and store, no read-modify-write: this core is the only writer.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }
}

const fn span(window: Window) -> Option<Duration> {
    match window {
        Window::Cumulative => None,
        Window::Fixed(span) => Some(span),
    }
}

fn back(now: Now, span: Duration) -> Now {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Now::from_micros(now.micros().saturating_sub(micros))
}

#[cfg(test)]
mod tests;
