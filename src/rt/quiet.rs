//! Reads that are called off when nothing comes for a while.
//!
//! Enters: reads, as they begin. Leaves: those that were still waiting at the second tick after
//! that, called off with their buffers and nothing lost: what has arrived is delivered, what has
//! not is still to come. Owns two generations of reads; all of one are called off together, so that
//! a connection owns nothing for it and a busy one is not touched.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::{Cell, RefCell};

use monoio::io::{CancelHandle, Canceller};

/// A generation that was larger than this does not keep its list for the next one: a list of that
/// size is a burst's.
const KEPT: u32 = 1024;

/// Reads that may wait with their buffers at one time, whatever comes: a bound on the memory that
/// busy connections keep when they fall silent.
const BUSY_MAX: u32 = 512;

/// The reads of one core that may be called off.
#[derive(Default)]
pub(super) struct Quiet {
    /// By the parity of their number.
    generations: [Generation; 2],
    /// The number of the one that reads begin in.
    young: Cell<u32>,
    /// Reads of busy connections, which are not called off.
    busy: Cell<u32>,
}

#[derive(Default)]
struct Generation {
    canceller: RefCell<Canceller>,
    waiting: Cell<u32>,
}

/// The place of one read that is not called off.
pub(super) struct Busy<'a>(&'a Quiet);

/// The part of one read in its generation.
pub(super) struct Waiting<'a> {
    quiet: &'a Quiet,
    number: u32,
}

impl Quiet {
    /// A read begins.
    pub(super) fn begin(&self) -> (Waiting<'_>, CancelHandle) {
        let number = self.young.get();
        let generation = self.at(number);
        generation.waiting.set(generation.waiting.get() + 1);
        (Waiting { quiet: self, number }, generation.canceller.borrow().handle())
    }

    /// Whether one more busy connection may wait.
    pub(super) const fn has_place(&self) -> bool {
        self.busy.get() < BUSY_MAX
    }

    /// A read of a busy connection begins.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.busy.set(self.busy.get() + 1);
        Busy(self)
    }

    /// Calls off what began before the last tick; returns how many those were.
    pub(super) fn tick(&self) -> u32 {
        let next = self.young.get().wrapping_add(1);
        let old = self.at(next);
        let waiting = old.waiting.replace(0);
        if waiting > 0 {
            let emptied = old.canceller.take().cancel();
            if waiting <= KEPT {
                old.canceller.replace(emptied);
            }
        }
        self.young.set(next);
        waiting
    }

    const fn at(&self, number: u32) -> &Generation {
        let [even, odd] = &self.generations;
        if number.is_multiple_of(2) { even } else { odd }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get().saturating_sub(1));
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // One that was called off was counted out with its generation.
        if self.quiet.young.get().wrapping_sub(self.number) < 2 {
            let waiting = &self.quiet.at(self.number).waiting;
            waiting.set(waiting.get().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_reads_are_so_many_and_no_more_until_one_ends() {
        let quiet = Quiet::default();
        let mut places: Vec<_> = (0..BUSY_MAX).map(|_| quiet.busy()).collect();
        assert!(!quiet.has_place());
        places.pop();
        assert!(quiet.has_place());
    }
}
