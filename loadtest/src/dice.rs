//! Chance that is the same in every run.

/// A sequence of pseudo-random numbers (xorshift64*, Vigna 2016).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The sequence of this number.
    pub(crate) const fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number, from 0 until before 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(crate) fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of the exponential distribution with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.share()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_exponentials_have_mean_one() {
        let mut dice = Dice::new(7);
        let rolls: Vec<_> = (0..100_000).map(|_| dice.share()).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll)));
        let below = rolls.iter().filter(|roll| **roll < 0.1).count();
        assert!((9_500..10_500).contains(&below), "{below}");
        let mean = (0..100_000).map(|_| dice.exponential()).sum::<f64>() / 1e5;
        assert!((0.98..1.02).contains(&mean), "{mean}");
    }
}
