//! What trips a breaker, what heals it, and which answers count as failures.
//!
//! Enters: numbers that `config` has checked. Leaves: [`Policy`], fixed for the life of a table.
//! Owns no state and reads no clock.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::num::NonZeroU32;
use std::time::Duration;

/// The most failures a threshold may name: a core packs its count into 24 bits.
pub const FAILURES_MAX: u32 = (1 << 24) - 2;

/// The most failures a look-back may name: each core keeps that many moments.
pub const LOOK_BACK_FAILURES_MAX: u32 = 1 << 16;

/// One breaker's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When it opens and how it closes again.
    pub trip: Trip,
    /// The statuses that count as failures (default 500–599, both seeds).
    pub failures: StatusSet,
}

/// When a breaker opens and how it closes again: the two families of the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// Seed A: open exactly while `failures` failures lie inside the last `look_back`. There is no
    /// half-open; the breaker heals as failures age out.
    LookBack {
        /// How many failures open it.
        failures: NonZeroU32,
        /// How far back they count, and so the longest time it stays open.
        look_back: Duration,
    },
    /// Seed B: opens at `failures`, stays open for `open_for`, then lets one probe decide.
    Reset {
        /// How many failures open it.
        failures: NonZeroU32,
        /// Which failures are counted together.
        window: Window,
        /// Open → half-open.
        open_for: Duration,
        /// A probe without a verdict by then has lost its permit.
        probe_max: Duration,
    },
}

/// Which failures are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// All since the breaker last closed.
    Cumulative,
    /// Those within this span of the first one; then counting starts anew.
    Fixed(Duration),
}

impl Policy {
    /// How many failures open the breaker.
    #[must_use]
    pub const fn threshold(&self) -> u32 {
        match self.trip {
            Trip::LookBack { failures, .. } | Trip::Reset { failures, .. } => failures.get(),
        }
    }
}

/// A set of HTTP statuses, 100 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusSet([u64; 8]);

impl StatusSet {
    /// No status at all.
    pub const EMPTY: Self = Self([0; 8]);

    /// 500–599: what both seeds call a failure.
    #[must_use]
    pub fn server_errors() -> Self {
        let mut set = Self::EMPTY;
        set.insert(500, 599);
        set
    }

    /// Adds `first..=last`; statuses outside 100–599 are left out.
    pub fn insert(&mut self, first: u16, last: u16) {
        for status in first.max(100)..=last.min(599) {
            let bit = usize::from(status - 100);
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether `status` is in the set.
    #[must_use]
    pub const fn contains(&self, status: u16) -> bool {
        if status < 100 || status > 599 {
            return false;
        }
        let bit = (status - 100) as usize;
        self.0[bit / 64] & (1 << (bit % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_set_holds_what_was_inserted_and_nothing_else() {
        let mut set = StatusSet::server_errors();
        set.insert(429, 429);
        let held: Vec<u16> = (0..=u16::MAX).filter(|&s| set.contains(s)).collect();
        let expected: Vec<u16> = std::iter::once(429).chain(500..=599).collect();
        assert_eq!(held, expected);
        set.insert(0, 99);
        set.insert(600, 999);
        assert_eq!((0..=u16::MAX).filter(|&s| set.contains(s)).count(), 101);
    }
}
