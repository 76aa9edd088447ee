//! What is told of breakers beside their counts: their last moves, and why an operator overrode
//! them.
//!
//! Enters: transitions and orders, by the breaker's name. Leaves: the same, to whoever looks. Owns
//! a few entries per breaker that has ever moved; what leaves the table is forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::breaker::Transition;
use crate::clock;

/// Moves kept of each breaker.
const MOVES_MAX: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Journal(Mutex<BTreeMap<Box<str>, Page>>);

#[derive(Debug, Default)]
struct Page {
    moves: VecDeque<Entry>,
    reason: Option<String>,
}

/// One move of a breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, by the wall clock.
    pub time: String,
    /// The state before.
    pub from: &'static str,
    /// The state after.
    pub to: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Whose decision it was.
    pub origin: &'static str,
    /// Failures, or slow exchanges, that counted.
    pub failures: u32,
    /// Out of how many; zero where no share was asked for.
    pub requests: u32,
    /// The epoch that began.
    pub epoch: u32,
}

impl Journal {
    /// Notes a move.
    pub fn note(&self, name: &str, transition: &Transition) {
        let entry = Entry {
            time: crate::log::rfc3339(clock::wall()),
            from: transition.from.as_str(),
            to: transition.to().as_str(),
            reason: transition.step.reason(),
            origin: transition.step.origin(),
            failures: transition.failures,
            requests: transition.requests,
            epoch: transition.epoch,
        };
        self.with(|pages| {
            let moves = &mut pages.entry(name.into()).or_default().moves;
            moves.truncate(MOVES_MAX - 1);
            moves.push_front(entry);
        });
    }

    /// The last moves of the breaker of this name, the newest first.
    #[must_use]
    pub fn of(&self, name: &str) -> Vec<Entry> {
        let moves = |page: &Page| page.moves.iter().cloned().collect();
        self.with(|pages| pages.get(name).map(moves).unwrap_or_default())
    }

    /// Notes why the breaker of this name is overridden.
    pub fn overridden(&self, name: &str, reason: Option<String>) {
        self.with(|pages| pages.entry(name.into()).or_default().reason = reason);
    }

    /// Why the breaker of this name was last overridden.
    #[must_use]
    pub fn reason(&self, name: &str) -> Option<String> {
        self.with(|pages| pages.get(name).and_then(|page| page.reason.clone()))
    }

    /// Forgets breakers that are not `present`.
    pub fn retain(&self, present: &BTreeSet<&str>) {
        self.with(|pages| pages.retain(|name, _| present.contains(&**name)));
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Box<str>, Page>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::breaker::circuit::{Move, State};
    use crate::clock::Now;

    #[test]
    fn the_newest_moves_come_first_and_old_ones_are_forgotten() {
        let journal = Journal::default();
        for epoch in 0..40 {
            let transition = Transition {
                from: State::HalfOpen,
                step: Move::Heal,
                epoch,
                at: Now::from_millis(1),
                open_for: Duration::ZERO,
                failures: 0,
                requests: 0,
            };
            journal.note("a", &transition);
        }
        let epochs: Vec<u32> = journal.of("a").iter().map(|entry| entry.epoch).collect();
        assert_eq!(epochs, (24..40).rev().collect::<Vec<_>>());
        assert_eq!(
            (journal.of("a")[0].to, journal.of("a")[0].reason),
            ("closed", "probe_succeeded")
        );
        journal.retain(&BTreeSet::from(["b"]));
        assert!(journal.of("a").is_empty());
    }
}
