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

/// The reads of one core that may be called off.
#[derive(Default)]
pub(super) struct Quiet {
    /// By the parity of their number.
    generations: [Generation; 2],
    /// The number of the one that reads begin in.
    young: Cell<u32>,
}

#[derive(Default)]
struct Generation {
    canceller: RefCell<Canceller>,
    waiting: Cell<u32>,
}

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

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // One that was called off was counted out with its generation.
        if self.quiet.young.get().wrapping_sub(self.number) < 2 {
            let waiting = &self.quiet.at(self.number).waiting;
            waiting.set(waiting.get().saturating_sub(1));
        }
    }
}
