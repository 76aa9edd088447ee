//! How long a breaker stays open, the first time and after that.
//!
//! Enters: `resetTimeout` and `backoff`. Leaves: the open time of the n-th opening in a row, and
//! how much of that row a time in good health forgives. Pure: chance comes as a seed and an epoch.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::time::Duration;

/// Openings in a row that are told apart; the state word has five bits for them.
pub(super) const STREAK_MAX: u32 = 31;

/// The open times of openings that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Milliseconds of the first, second, … opening; the last one is that of all later ones.
    steps: Box<[u64]>,
    /// Parts of a million by which one may be longer or shorter.
    jitter: u32,
    /// No open time is longer.
    most: u64,
}

impl Pace {
    /// Always `open_for`.
    #[must_use]
    pub fn even(open_for: Duration) -> Self {
        Self::new(open_for, 1.0, open_for, 0)
    }

    /// First `open_for`, then each time `multiplier` as long up to `max`, each stretched or
    /// shortened by chance by up to `jitter` parts of a million. None is shorter than the first,
    /// none longer than `max`, unless the first is.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times below 2^53 ms, and a cast saturates"
    )]
    pub fn new(open_for: Duration, multiplier: f64, max: Duration, jitter: u32) -> Self {
        let first = millis_up(open_for).max(1);
        let most = millis_up(max).max(first);
        let step = |nth: u32| {
            let factor = multiplier.max(1.0).powi(i32::try_from(nth).unwrap_or(0));
            ((first as f64 * factor).round() as u64).clamp(first, most)
        };
        let grows = |nth: &u32| *nth == 0 || step(*nth) > step(*nth - 1);
        let steps: Box<[u64]> = (0..STREAK_MAX).take_while(grows).map(step).collect();
        // Without chance, what is never reached bounds nothing.
        let most = if jitter == 0 { steps.last().copied().unwrap_or(first) } else { most };
        Self { steps, jitter: jitter.min(1_000_000), most }
    }

    /// The open time of the first opening.
    #[must_use]
    pub fn first(&self) -> Duration {
        Duration::from_millis(self.step(1))
    }

    /// No opening is longer.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        Duration::from_millis(self.most)
    }

    /// Milliseconds of the `streak`-th opening in a row, counted from one.
    #[must_use]
    pub fn open_ms(&self, streak: u32, seed: u64, epoch: u32) -> u64 {
        let step = self.step(streak);
        if self.jitter == 0 {
            return step;
        }
        let sway = step.saturating_mul(u64::from(self.jitter)) / 1_000_000;
        let least = step.saturating_sub(sway).max(self.step(1));
        let range = step.saturating_add(sway).min(self.most) - least;
        // The upper half of a product is even over the range.
        let chance = u128::from(mix(seed ^ u64::from(epoch)));
        let offset = (chance * (u128::from(range) + 1)) >> 64;
        least + u64::try_from(offset).unwrap_or(0)
    }

    /// What is left of a streak after `healthy_ms` in good health: a step is forgiven by a time as
    /// long as the one it kept the breaker open.
    #[must_use]
    pub fn forgiven(&self, mut streak: u32, mut healthy_ms: u64) -> u32 {
        while streak > 0 && healthy_ms >= self.step(streak) {
            healthy_ms -= self.step(streak);
            streak -= 1;
        }
        streak
    }

    /// The same without chance.
    pub(super) fn step(&self, streak: u32) -> u64 {
        let nth = (streak.max(1) - 1) as usize;
        self.steps.get(nth).or(self.steps.last()).copied().unwrap_or(1)
    }
}

/// Whole milliseconds, rounded up.
pub(super) fn millis_up(span: Duration) -> u64 {
    u64::try_from(span.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Spreads every bit of `seed` over all of the result (the finaliser of splitmix64, Steele et al.,
/// "Fast splittable pseudorandom number generators", 2014).
pub(super) const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn open_times_grow_to_their_maximum_and_the_first_is_whole() {
        let pace = Pace::new(secs(5), 2.0, secs(30), 0);
        let times = [1, 2, 3, 4, 5, 31].map(|streak| pace.open_ms(streak, 1, 1));
        assert_eq!(times, [5_000, 10_000, 20_000, 30_000, 30_000, 30_000]);
        let long = Pace::new(secs(600), 2.0, secs(300), 1_000_000);
        assert_eq!([1, 2, 3].map(|streak| long.open_ms(streak, 7, 9)), [600_000; 3]);
        assert_eq!(Pace::even(secs(5)).open_ms(9, 1, 1), 5_000);
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_uses_them() {
        let pace = Pace::new(secs(10), 2.0, secs(60), 200_000);
        for (streak, least, most) in
            [(1, 10_000, 12_000), (2, 16_000, 24_000), (3, 32_000, 48_000), (4, 48_000, 60_000)]
        {
            let times: Vec<u64> = (0..2000).map(|epoch| pace.open_ms(streak, 42, epoch)).collect();
            let (low, high) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
            let edge = (most - least) / 50;
            assert!(low >= least && high <= most, "{streak}: {low}..{high}");
            assert!(low < least + edge && high > most - edge, "{streak}: {low}..{high}");
        }
        assert_ne!(pace.open_ms(2, 1, 5), pace.open_ms(2, 2, 5), "each seed has its own");
    }

    #[test]
    fn a_streak_is_forgiven_step_by_step() {
        let pace = Pace::new(secs(5), 2.0, secs(300), 0);
        assert_eq!(pace.forgiven(3, 19_999), 3);
        assert_eq!(pace.forgiven(3, 20_000), 2);
        assert_eq!(pace.forgiven(3, 34_999), 1);
        assert_eq!(pace.forgiven(3, 35_000), 0);
        assert_eq!(pace.forgiven(0, u64::MAX), 0);
    }
}
