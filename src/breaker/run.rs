//! Failures in a row, over all cores.
//!
//! Enters: failures and successes of an epoch. Leaves: how many failures came without a success in
//! between. One shared word: written by failures, and by the first success after one; every other
//! success only reads it.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use crossbeam_utils::CachePadded;

use super::atomics::{AtomicU64, Ordering};

/// Packs an epoch above a count.
const COUNT_BITS: u32 = 32;

#[derive(Debug)]
pub(super) struct Run(CachePadded<AtomicU64>);

impl Run {
    pub(super) fn new() -> Self {
        Self(CachePadded::new(AtomicU64::new(0)))
    }

    /// Adds a failure of `epoch` and gives the length of the run. `None`: the epoch has passed
    /// while this core was on its way (`reigns` says no), and the failure counts for nothing.
    pub(super) fn fail(&self, epoch: u32, reigns: impl Fn() -> bool) -> Option<u32> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let count = match of_epoch(seen, epoch) {
                Some(count) => count.saturating_add(1),
                // Asked after the word was read, see `Counted::current`.
                None if !reigns() => return None,
                None => 1,
            };
            match self.exchange(seen, epoch, count) {
                Ok(_) => return Some(count),
                Err(theirs) => seen = theirs,
            }
        }
    }

    /// Ends the run of `epoch`.
    #[inline]
    pub(super) fn succeed(&self, epoch: u32) {
        let mut seen = self.0.load(Ordering::Acquire);
        // A failure that comes in between came at the same time as this success: before it.
        while of_epoch(seen, epoch).is_some_and(|count| count > 0) {
            match self.exchange(seen, epoch, 0) {
                Ok(_) => return,
                Err(theirs) => seen = theirs,
            }
        }
    }

    /// The length of the run of `epoch`.
    pub(super) fn len(&self, epoch: u32) -> u32 {
        of_epoch(self.0.load(Ordering::Acquire), epoch).unwrap_or(0)
    }

    fn exchange(&self, seen: u64, epoch: u32, count: u32) -> Result<u64, u64> {
        let next = u64::from(epoch) << COUNT_BITS | u64::from(count);
        self.0.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire)
    }
}

fn of_epoch(word: u64, epoch: u32) -> Option<u32> {
    (word >> COUNT_BITS == u64::from(epoch)).then_some(word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_with_a_success_and_with_its_epoch() {
        let run = Run::new();
        assert_eq!((run.fail(1, || true), run.fail(1, || true)), (Some(1), Some(2)));
        run.succeed(1);
        assert_eq!((run.len(1), run.fail(1, || true)), (0, Some(1)));
        assert_eq!(run.fail(2, || true), Some(1));
        assert_eq!(run.fail(1, || false), None);
        run.succeed(1);
        assert_eq!(run.len(2), 1, "a success of an older epoch ends nothing");
    }
}
