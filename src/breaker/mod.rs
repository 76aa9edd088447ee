//! May this request go, and what did it teach us?
//!
//! Enters: `admit` before an exchange, `settle` after it, each with the time and the core it runs
//! on. Leaves: a [`Ticket`] or a refusal, and the [`Transition`]s that either causes. Owns the
//! breaker's state: one shared word read per request, counters with one writer per core.
//!
//! Three things decide, in this order: an operator's [`circuit::Override`], the policy's
//! [`policy::Mode`], the [`circuit::State`]. The state moves on by itself whatever the other two
//! say: who is let through against it ([`ticket`]'s bystander) teaches nothing, so that a breaker
//! in the shadow makes the moves that it would make in earnest.
//!
//! Pure: no I/O, no clock, no dice. The closed path costs one shared load and stores to this core's
//! own lines; shared lines are written only when something fails or moves.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

mod admission;
mod atomics;
mod buckets;
pub mod circuit;
pub mod follow;
mod judge;
pub mod memory;
mod moves;
pub mod outcome;
mod pace;
pub mod peers;
pub mod policy;
mod probes;
pub mod registry;
mod run;
pub mod ticket;
mod window;

use std::marker::PhantomData;
use std::time::Duration;

use crate::clock::Now;
use atomics::{AtomicU64, Ordering};
pub use buckets::Sums;
use circuit::{Forced, Move, Override, State, Word, legal};
use memory::Memory;
use policy::{Heal, Mode, Policy, Window};
use ticket::Ticket;

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
    memory: Memory,
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
    /// Exchanges that ended, well or not, and were slow.
    pub slow: u64,
    /// Results that arrived after their epoch.
    pub stale: u64,
    /// Requests refused, by reason.
    pub refused: [u64; Reason::ALL.len()],
    /// Requests let through against the state, by the reason for which it would have refused.
    pub spared: [u64; Reason::ALL.len()],
}

impl Totals {
    /// Requests refused for whatever reason.
    #[must_use]
    pub fn all_refused(&self) -> u64 {
        self.refused.iter().sum()
    }
}

/// What counts together now, by each way of counting; zero where the policy does not ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Failures that count against `maxFailures` or `maxErrors`.
    pub failures: u32,
    /// Failures in a row.
    pub run: u32,
    /// Exchanges within the span of the shares.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many of them were slow.
    pub slow: u64,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The breaker is open.
    Open,
    /// It is half open, and all permits are taken.
    HalfOpen,
    /// It is recovering, and this request is not of the share that is admitted.
    Ramp,
    /// An operator says so.
    Override,
}

impl Reason {
    /// Every reason, in the order of reports.
    pub const ALL: [Self; 4] = [Self::Open, Self::HalfOpen, Self::Ramp, Self::Override];

    /// The word used in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Ramp => "ramp",
            Self::Override => "override",
        }
    }
}

/// A breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// Which move was made.
    pub step: Move,
    /// The epoch it began.
    pub epoch: u32,
    /// When.
    pub at: Now,
    /// How long it will stay open; zero unless it opened.
    pub open_for: Duration,
    /// Failures, or slow exchanges if they were the reason, that counted together at that moment.
    pub failures: u32,
    /// Out of how many exchanges; zero where no share was asked for.
    pub requests: u32,
}

impl Transition {
    /// The state after.
    #[must_use]
    pub const fn to(&self) -> State {
        match legal(self.from, self.step) {
            Some(to) => to,
            None => self.from,
        }
    }
}

/// The answer to `admit`.
#[derive(Debug)]
pub enum Verdict<'b> {
    /// The request may go; the ticket is settled with how it ended.
    Admit(Ticket<'b>),
    /// The request may not go.
    Refuse {
        /// Why.
        reason: Reason,
        /// Milliseconds until it may be otherwise; zero: at any moment; `None`: nobody knows.
        remaining_ms: Option<u64>,
    },
}

impl Breaker {
    /// A breaker over what is remembered of it; see [`Memory::fit`].
    #[must_use]
    pub const fn new(policy: Policy, memory: Memory) -> Self {
        Self { policy, memory }
    }

    /// Its rules.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the state word says at this instant.
    #[inline]
    #[must_use]
    pub fn word(&self) -> Word {
        self.memory.circuit.word()
    }

    /// Whole milliseconds from `now` until an open breaker may stop refusing; zero in any other
    /// state: a probe's verdict may come at any moment. Never more than was configured.
    #[must_use]
    pub fn remaining_ms(&self, now: Now) -> u64 {
        self.remaining_ms_of(self.word(), now)
    }

    /// Whether both remember the same things.
    #[must_use]
    pub fn shares_memory_with(&self, other: &Self) -> bool {
        self.memory.is(&other.memory)
    }

    /// The state a request would meet at `now`: an open look-back breaker whose failures have aged
    /// out and a ramp that is over are closed, though nothing has told the word yet.
    #[must_use]
    pub fn state(&self, now: Now) -> State {
        let word = self.word();
        match (word.state(), &self.policy.heal) {
            (State::Open, Heal::Age(_)) if now.millis() >= self.until(word) => State::Closed,
            (State::Recovering, _) if now.millis() >= self.until(word) => State::Closed,
            (state, _) => state,
        }
    }

    /// The state as its clients feel it: after override and mode.
    #[must_use]
    pub fn effective(&self, now: Now) -> State {
        match (self.forced(now).map(|order| order.forced), self.policy.mode) {
            (Some(Forced::Open), _) => State::Open,
            (Some(Forced::Closed), _) | (None, Mode::Shadow | Mode::Off) => State::Closed,
            (None, Mode::Enforce) if self.spares_all() => State::Closed,
            (None, Mode::Enforce) => self.state(now),
        }
    }

    /// What an operator has ordered, if it still holds at `now`.
    #[must_use]
    pub fn forced(&self, now: Now) -> Option<Override> {
        self.memory.circuit.forced(now)
    }

    /// Takes an operator's order, or takes the last one back. For the control plane's thread alone.
    pub fn force(&self, order: Option<Override>) {
        self.memory.circuit.force(order);
    }

    /// Closes the breaker and forgets what it has counted, on an operator's order; an override
    /// stays. For the control plane's thread alone.
    pub fn reset(&self, now: Now) -> Transition {
        // Before the move: who sees the new epoch sees the empty log.
        if let Some(moments) = &self.memory.moments {
            moments.forget(now);
        }
        loop {
            let seen = self.word();
            let made = self.memory.circuit.make(seen, Move::Reset, 0, now.millis_up(), now);
            if let Some(word) = made {
                return self.moved_to(seen, Move::Reset, word, now);
            }
        }
    }

    /// When the present state began; `None` before the first transition.
    #[must_use]
    pub fn since(&self) -> Option<Now> {
        self.memory.circuit.since()
    }

    /// How often `step` was made from that state.
    #[must_use]
    pub fn moved(&self, from: State, step: Move) -> u64 {
        self.memory.circuit.moved(from, step)
    }

    /// What counts together at `now`.
    #[must_use]
    pub fn counts(&self, now: Now) -> Counts {
        let epoch = self.word().epoch();
        let memory = &self.memory;
        let sums = memory.buckets.as_ref().map(|buckets| buckets.sum(epoch, now));
        let sums = sums.unwrap_or_default();
        let failures = self.policy.trip.failures.map_or(0, |failures| match failures.window {
            Window::Log(span) => {
                let moments = memory.moments.as_ref();
                moments.map_or(0, |it| it.peek(failures.count.get(), back(now, span)))
            }
            Window::Sliding(_) => u32::try_from(sums.failed).unwrap_or(u32::MAX),
            Window::Fixed(_) | Window::Cumulative => {
                let counted = memory.counted.as_ref();
                counted.map_or(0, |it| it.peek(epoch, fixed(failures.window), now))
            }
        });
        let run = memory.run.as_ref().map_or(0, |run| run.len(epoch));
        let asked = self.policy.trip.shares.map_or(0, |_| 1);
        Counts {
            failures,
            run,
            requests: sums.requests * asked,
            failed: sums.failed * asked,
            slow: sums.slow,
        }
    }

    /// Totals over all cores.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut sum = Totals::default();
        for tally in self.memory.tallies.iter() {
            sum.success += read(&tally.success);
            sum.failure += read(&tally.failure);
            sum.neutral += read(&tally.neutral);
            sum.slow += read(&tally.slow);
            sum.stale += read(&tally.stale);
            for (sum, counter) in sum.refused.iter_mut().zip(&tally.refused) {
                *sum += read(counter);
            }
            for (sum, counter) in sum.spared.iter_mut().zip(&tally.spared) {
                *sum += read(counter);
            }
        }
        sum
    }

    fn remaining_ms_of(&self, word: Word, now: Now) -> u64 {
        match word.state() {
            // Rounded down, since the moment was rounded up.
            State::Open => (self.until(word) * 1000).saturating_sub(now.micros()) / 1000,
            State::Closed | State::HalfOpen | State::Recovering => 0,
        }
    }

    /// The millisecond that ends the state of `word` by itself; of a closed one none does.
    fn until(&self, word: Word) -> u64 {
        let after = |span| Now::from_millis(word.mark()).after(span).millis_up();
        match (word.state(), &self.policy.heal) {
            (State::Closed, _) => u64::MAX,
            (State::Open, Heal::Age(span)) => after(*span),
            (State::Open, Heal::Probe(recovery)) => {
                let circuit = &self.memory.circuit;
                word.mark() + recovery.pace.open_ms(word.streak(), circuit.seed, word.epoch())
            }
            (State::HalfOpen, Heal::Probe(recovery)) => after(recovery.max_wait),
            (State::Recovering, Heal::Probe(recovery)) => {
                after(recovery.ramp.map_or(Duration::ZERO, |ramp| ramp.duration))
            }
            (State::HalfOpen | State::Recovering, Heal::Age(_)) => 0,
        }
    }

    fn moved_to(&self, seen: Word, step: Move, word: Word, now: Now) -> Transition {
        let open_for = match word.state() {
            State::Open => Duration::from_millis(self.until(word).saturating_sub(word.mark())),
            State::Closed | State::HalfOpen | State::Recovering => Duration::ZERO,
        };
        Transition {
            from: seen.state(),
            step,
            epoch: word.epoch(),
            at: now,
            open_for,
            failures: 0,
            requests: 0,
        }
    }
}

/// The span of a window that ends, counted from its first failure.
const fn fixed(window: Window) -> Option<Duration> {
    match window {
        Window::Fixed(span) => Some(span),
        Window::Log(_) | Window::Sliding(_) | Window::Cumulative => None,
    }
}

fn back(now: Now, span: Duration) -> Now {
    now.before(span)
}

#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
