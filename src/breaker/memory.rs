//! What a breaker remembers, kept across reloads.
//!
//! Enters: nothing but the policy's shape. Leaves: the state word, the failure counters and the
//! tallies that `admit` and `settle` work on. A reload keeps it whole where the geometry is equal,
//! and hands the state on to a successor where it is not.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::circuit::{Circuit, State, Word};
use super::policy::{Policy, Trip};
use super::window::{Counted, Moments};

/// What a breaker remembers, kept across reloads by `registry`.
#[derive(Debug)]
pub struct Memory {
    pub(super) circuit: Circuit,
    pub(super) failures: Failures,
    pub(super) tallies: Box<[CachePadded<Tally>]>,
}

/// Where failures are counted; its shape is the breaker's geometry.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per breaker, behind an Arc")]
pub(super) enum Failures {
    /// The newest moments of each core: look-back policies.
    Moments(Moments),
    /// A count per core: all others.
    Counted(Counted),
}

/// What one core has seen; only that core writes it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) success: AtomicU64,
    pub(super) failure: AtomicU64,
    pub(super) neutral: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) stale: AtomicU64,
}

impl Memory {
    /// A closed breaker that has seen nothing, for `cores` cores.
    #[must_use]
    pub fn new(policy: &Policy, cores: usize) -> Self {
        Self::with_word(policy, cores, Word::new(State::Closed, 1, 0))
    }

    /// As [`Memory::new`], with the state and the reports of `old`: its geometry no longer fits.
    #[must_use]
    pub fn succeed(policy: &Policy, cores: usize, old: &Self) -> Self {
        let memory = Self::with_word(policy, cores, old.word_for(policy));
        memory.circuit.inherit(&old.circuit);
        for (own, theirs) in memory.tallies.iter().zip(&old.tallies) {
            own.inherit(theirs);
        }
        memory
    }

    /// The state to go on in under another kind of policy: the mark means another thing there.
    fn word_for(&self, policy: &Policy) -> Word {
        let word = self.circuit.word();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let epoch = word.epoch().wrapping_add(1);
        match (word.state(), &self.failures, policy.trip) {
            (State::Open, Failures::Moments(_), Trip::Reset { open_for, .. }) => {
                Word::new(State::Open, epoch, word.mark().saturating_add(millis(open_for)))
            }
            (State::Open, Failures::Counted(_), Trip::LookBack { look_back, .. }) => {
                Word::new(State::Open, epoch, word.mark().saturating_sub(millis(look_back)))
            }
            // There is no half-open in a look-back policy.
            (State::HalfOpen, _, Trip::LookBack { .. }) => Word::new(State::Closed, epoch, 0),
            (State::Closed | State::Open | State::HalfOpen, _, _) => word,
        }
    }

    fn with_word(policy: &Policy, cores: usize, word: Word) -> Self {
        let failures = match policy.trip {
            Trip::LookBack { failures, .. } => {
                Failures::Moments(Moments::new(cores, failures.get()))
            }
            Trip::Reset { .. } => Failures::Counted(Counted::new(cores)),
        };
        let tallies = (0..cores).map(|_| CachePadded::new(Tally::default())).collect();
        Self { circuit: Circuit::new(word), failures, tallies }
    }
}

impl Tally {
    fn inherit(&self, old: &Self) {
        let pairs = [
            (&self.success, &old.success),
            (&self.failure, &old.failure),
            (&self.neutral, &old.neutral),
            (&self.refused, &old.refused),
            (&self.stale, &old.stale),
        ];
        for (own, theirs) in pairs {
            own.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// The shape of a breaker's counters: breakers of one geometry share them across a reload.
#[must_use]
pub fn geometry(policy: &Policy) -> Geometry {
    match policy.trip {
        Trip::LookBack { failures, .. } => Geometry::Moments(Moments::slots(failures.get())),
        Trip::Reset { .. } => Geometry::Counted,
    }
}

/// See [`geometry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Geometry {
    /// The newest moments of each core, so many slots.
    Moments(usize),
    /// A count per core.
    Counted,
}
