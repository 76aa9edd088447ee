//! A core's dice: for spreading load and ages, never for secrets.
//!
//! Enters: nothing. Leaves: numbers. Owns 64 bits of state, sown from the hash keys that the
//! standard library draws per process.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A generator of one core (xorshift64*, Vigna 2016).
#[derive(Debug)]
pub struct Dice(Cell<u64>);

impl Dice {
    /// Dice that fall otherwise on every core and in every process.
    #[must_use]
    pub fn sown(core: usize) -> Self {
        Self::seeded(RandomState::new().hash_one(core))
    }

    /// Dice that fall the same way each time; zero is no seed, and stands for one.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Cell::new(seed.max(1)))
    }

    /// A number below `bound`; zero where there is none below it.
    #[must_use]
    pub fn below(&self, bound: u32) -> u32 {
        let mut bits = self.0.get();
        bits ^= bits >> 12;
        bits ^= bits << 25;
        bits ^= bits >> 27;
        self.0.set(bits);
        let high = bits.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        // The high bits scaled down: no division, and a bias below 2^-32 per value.
        u32::try_from((high * u64::from(bound)) >> 32).unwrap_or(0)
    }

    /// `value`, give or take a tenth.
    #[must_use]
    pub fn about(&self, value: u32) -> u32 {
        let tenth = value / 10;
        value - tenth + self.below(tenth.saturating_mul(2).saturating_add(1))
    }

    /// The same of a span, to the millisecond.
    #[must_use]
    pub fn about_span(&self, span: Duration) -> Duration {
        let millis = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        Duration::from_millis(self.about(millis).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_face_comes_up_about_as_often() {
        let dice = Dice::seeded(7);
        let mut seen = [0; 6];
        (0..60_000).for_each(|_| seen[dice.below(6) as usize] += 1);
        assert!(seen.iter().all(|count| (9_500..10_500).contains(count)), "{seen:?}");
        assert_eq!((dice.below(0), dice.below(1)), (0, 0));
    }

    #[test]
    fn about_is_within_a_tenth_and_reaches_both_ends() {
        let dice = Dice::seeded(7);
        let mut values: Vec<u32> = (0..10_000).map(|_| dice.about(100)).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values, (90..=110).collect::<Vec<_>>());
        let hour = Duration::from_secs(3600);
        let span = dice.about_span(hour);
        assert!(span >= hour * 9 / 10 && span <= hour * 11 / 10, "{span:?}");
    }
}
