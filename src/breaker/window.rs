//! Failure counts, one writer per core, readable by all.
//!
//! Enters: a failure on one core. Leaves: how many failures now count together, over all cores.
//! Each core writes only its own shard with plain stores; a failing core then fences and sums the
//! others' shards, so that of two failures racing on two cores at least one sees both (without the
//! fence each could miss the other's store, and nobody would trip).

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::Core;
use super::atomics::{AtomicU64, Ordering, fence};
use super::peers::Said;
use crate::clock::Now;

/// Packs a window's start (milliseconds, 40 bits: 34 years) above a 24-bit companion.
const LOW_BITS: u32 = 24;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;

/// Failures counted together until the epoch ends or the window's span is over.
#[derive(Debug)]
pub(super) struct Counted {
    /// start (ms) | epoch: which failures count now. Written on the failure path only. The start is
    /// the window's identity: it only grows, so a shard of an older window can never be mistaken.
    anchor: CachePadded<AtomicU64>,
    /// Per core: start (ms) | failures seen in that window.
    shards: Box<[CachePadded<AtomicU64>]>,
}

impl Counted {
    pub(super) fn new(cores: usize) -> Self {
        Self { anchor: CachePadded::new(AtomicU64::new(0)), shards: zeroes(cores) }
    }

    /// Records one failure of `epoch` and returns how many now count together. `None`: the epoch
    /// has passed while this core was on its way (`reigns` says no), and the failure counts for
    /// nothing.
    pub(super) fn record(
        &self,
        core: &Core,
        epoch: u32,
        span: Option<Duration>,
        now: Now,
        reigns: impl Fn() -> bool,
    ) -> Option<u32> {
        let start = self.current(epoch, span, now, reigns)?;
        let shard = self.shards.get(core.index())?;
        // Relaxed: this core is the only writer of its shard.
        let seen = shard.load(Ordering::Relaxed);
        let count = if seen >> LOW_BITS == start { (seen & LOW_MASK).min(LOW_MASK - 1) } else { 0 };
        // Release pairs with the Acquire loads in `sum`.
        shard.store(start << LOW_BITS | (count + 1), Ordering::Release);
        fence(Ordering::SeqCst); // pairs with the same fence on every other failing core
        Some(self.sum(start))
    }

    /// How many failures count at `now`, without recording one.
    pub(super) fn peek(&self, epoch: u32, span: Option<Duration>, now: Now) -> u32 {
        self.window(epoch, span, now).map_or(0, |(_, count)| count)
    }

    /// The window of `epoch` that runs at `now`: the millisecond it began at, and what it holds.
    pub(super) fn window(
        &self,
        epoch: u32,
        span: Option<Duration>,
        now: Now,
    ) -> Option<(u64, u32)> {
        let anchor = self.anchor.load(Ordering::Acquire);
        let (start, held) = (anchor >> LOW_BITS, low(anchor));
        let runs = start != 0 && held == epoch && !expired(start, span, now);
        runs.then(|| (start, self.sum(start)))
    }

    /// The start of the window that a failure at `now` belongs to, opened here if need be.
    fn current(
        &self,
        epoch: u32,
        span: Option<Duration>,
        now: Now,
        reigns: impl Fn() -> bool,
    ) -> Option<u64> {
        let mut anchor = self.anchor.load(Ordering::Acquire);
        loop {
            let (start, held) = (anchor >> LOW_BITS, low(anchor));
            if start != 0 && held == epoch && !expired(start, span, now) {
                return Some(start);
            }
            // Asked after the anchor was read: if the epoch still reigns, the anchor is of an
            // older one, and the exchange below fails if that changes in between.
            if held != epoch && !reigns() {
                return None;
            }
            // Strictly later than the last one, so that the start stays an identity.
            let fresh = now.millis().max(start + 1);
            let next = fresh << LOW_BITS | u64::from(epoch);
            // AcqRel: the winner publishes the window; a loser reads the winner's.
            match self.anchor.compare_exchange(anchor, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(fresh),
                Err(theirs) => anchor = theirs,
            }
        }
    }

    fn sum(&self, start: u64) -> u32 {
        let total: u64 = self
            .shards
            .iter()
            .map(|shard| shard.load(Ordering::Acquire))
            .filter(|seen| seen >> LOW_BITS == start)
            .map(|seen| seen & LOW_MASK)
            .sum();
        u32::try_from(total).unwrap_or(u32::MAX)
    }
}

fn low(word: u64) -> u32 {
    u32::try_from(word & LOW_MASK).unwrap_or(0)
}

fn expired(start: u64, span: Option<Duration>, now: Now) -> bool {
    let Some(span) = span else { return false };
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    now.millis() >= start.saturating_add(span)
}

/// The moments of the newest failures of each core, exact.
#[derive(Debug)]
pub(super) struct Moments {
    /// Slots per core: a power of two above twice the threshold, so that the part a reader looks at
    /// is not the part a writer overwrites.
    slots: usize,
    /// Failures up to this moment (microseconds) are forgotten, on an operator's order.
    floor: AtomicU64,
    cores: Box<[CoreMoments]>,
}

#[derive(Debug)]
struct CoreMoments {
    /// How many failures this core has ever written.
    written: CachePadded<AtomicU64>,
    /// Microseconds; slot = ordinal modulo length. Ascending, since one core's time never runs
    /// back.
    ring: Box<[AtomicU64]>,
}

impl Moments {
    pub(super) fn new(cores: usize, failures: u32) -> Self {
        let slots = Self::slots(failures);
        let core = |_| CoreMoments {
            written: CachePadded::new(AtomicU64::new(0)),
            ring: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        };
        Self { slots, floor: AtomicU64::new(0), cores: (0..cores).map(core).collect() }
    }

    /// Slots kept per core for a threshold: its geometry. Small thresholds share one, so that
    /// moving among them keeps what was counted.
    pub(super) fn slots(failures: u32) -> usize {
        const SLOTS_MIN: usize = 64;
        (failures as usize * 2).next_power_of_two().max(SLOTS_MIN)
    }

    /// Records a failure at `now`.
    pub(super) fn record(&self, core: &Core, now: Now) {
        let Some(own) = self.cores.get(core.index()) else { return };
        // Relaxed: this core is the only writer.
        let written = own.written.load(Ordering::Relaxed);
        if let Some(slot) = own.ring.get(self.slot(written)) {
            slot.store(now.micros(), Ordering::Relaxed);
        }
        // Release pairs with the Acquire load in `newest`: a reader that sees the count sees the
        // slot.
        own.written.store(written + 1, Ordering::Release);
        fence(Ordering::SeqCst); // pairs with the same fence on every other failing core
    }

    /// The moment of the `rank`-th newest failure over all cores (1 = the newest), if there are
    /// that many after `after`; what others `said` counts with them.
    pub(super) fn newest(
        &self,
        rank: u32,
        after: Now,
        until: Now,
        said: Option<&Said>,
    ) -> Option<Now> {
        let later_than = |at, rank| {
            let theirs = said.map_or(0, |said| said.failures_since(at));
            self.later_than(at, rank).saturating_add(theirs)
        };
        let mut low = after.micros().max(self.floor.load(Ordering::Acquire));
        let mut high = until.micros().max(low);
        if later_than(low, rank) < rank {
            return None;
        }
        // The largest moment m with at least `rank` failures at or after m: bisect over time.
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if later_than(middle, rank) >= rank { low = middle } else { high = middle }
        }
        Some(Now::from_micros(low + 1))
    }

    /// How many failures lie after `after`, without recording one: at most `failures` per core.
    pub(super) fn peek(&self, failures: u32, after: Now) -> u32 {
        self.later_than(after.micros().max(self.floor.load(Ordering::Acquire)), failures)
    }

    /// The moments (microseconds) after `after`, in no order: of each core its newest `rank`.
    pub(super) fn each(&self, rank: u32, after: Now, mut take: impl FnMut(u64)) {
        let after = after.micros().max(self.floor.load(Ordering::Acquire));
        for core in &self.cores {
            let written = core.written.load(Ordering::Acquire); // pairs with `record`
            let young = u64::from(core.later_than(after, rank, self));
            for ordinal in written.saturating_sub(young)..written {
                let slot = core.ring.get(self.slot(ordinal));
                take(slot.map_or(0, |slot| slot.load(Ordering::Relaxed)));
            }
        }
    }

    /// Forgets what failed up to `now`. One thread at a time: the control plane's.
    pub(super) fn forget(&self, now: Now) {
        self.floor.store(now.micros(), Ordering::Release);
    }

    fn later_than(&self, after: u64, rank: u32) -> u32 {
        self.cores.iter().map(|core| core.later_than(after, rank, self)).sum()
    }

    fn slot(&self, ordinal: u64) -> usize {
        usize::try_from(ordinal & (self.slots as u64 - 1)).unwrap_or(0)
    }
}

impl CoreMoments {
    /// How many of this core's newest `rank` failures lie after `after`: a binary search.
    fn later_than(&self, after: u64, rank: u32, moments: &Moments) -> u32 {
        let written = self.written.load(Ordering::Acquire); // pairs with `record`
        let mut low = written.saturating_sub(u64::from(rank));
        let mut high = written;
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.ring.get(moments.slot(middle)).map_or(0, |s| s.load(Ordering::Relaxed));
            if at > after { high = middle } else { low = middle + 1 }
        }
        u32::try_from(written - low).unwrap_or(u32::MAX)
    }
}

fn zeroes(cores: usize) -> Box<[CachePadded<AtomicU64>]> {
    (0..cores).map(|_| CachePadded::new(AtomicU64::new(0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Now {
        Now::from_millis(millis)
    }

    #[test]
    fn a_fixed_window_counts_from_its_first_failure_over_all_cores() {
        let counted = Counted::new(2);
        let (a, b) = (Core::claim(0), Core::claim(1));
        let span = Some(Duration::from_millis(100));
        assert_eq!(counted.record(&a, 1, span, at(1000), || true), Some(1));
        assert_eq!(counted.record(&b, 1, span, at(1099), || true), Some(2));
        assert_eq!(counted.record(&a, 1, span, at(1100), || true), Some(1), "a new window");
        assert_eq!(counted.peek(1, span, at(1199)), 1);
        assert_eq!(counted.peek(1, span, at(1200)), 0);
    }

    #[test]
    fn a_failure_of_a_passed_epoch_counts_for_nothing() {
        let counted = Counted::new(2);
        let (a, b) = (Core::claim(0), Core::claim(1));
        assert_eq!(counted.record(&a, 5, None, at(1000), || true), Some(1));
        assert_eq!(counted.record(&b, 4, None, at(1001), || false), None);
        assert_eq!(counted.record(&b, 6, None, at(1001), || true), Some(1), "starts empty");
        assert_eq!(counted.record(&a, 6, None, at(1001), || true), Some(2));
        // However many epochs went by without a failure, the one that reigns counts.
        assert_eq!(counted.record(&a, 6 + (1 << 21), None, at(1002), || true), Some(1));
        assert_eq!(counted.record(&a, 5, None, at(1003), || true), Some(1), "and where they wrap");
    }

    #[test]
    fn the_kth_newest_moment_is_found_across_cores() {
        let moments = Moments::new(2, 3);
        let (a, b) = (Core::claim(0), Core::claim(1));
        moments.record(&a, at(10));
        moments.record(&b, at(20));
        assert_eq!(moments.newest(3, at(0), at(20), None), None);
        moments.record(&a, at(30));
        assert_eq!(moments.newest(3, at(0), at(30), None), Some(at(10)));
        assert_eq!(moments.newest(2, at(0), at(30), None), Some(at(20)));
        assert_eq!(moments.newest(1, at(0), at(30), None), Some(at(30)));
        assert_eq!(moments.newest(3, at(10), at(30), None), None, "the first has aged out");
        for millis in 31..100 {
            moments.record(&a, at(millis));
        }
        assert_eq!(moments.newest(3, at(0), at(99), None), Some(at(97)));
    }
}
