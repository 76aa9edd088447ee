//! How an origin is to behave, over time.
//!
//! Enters: phases, each with a fault. Leaves: for a moment, the fault that holds; and for a
//! request, its [`Fate`]. Pure: time and chance are passed in.

use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::dice::Dice;

/// Phases in the order of their beginnings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Vec<Phase>);

/// A span of time that lasts until the next phase begins.
#[derive(Clone, Debug)]
struct Phase {
    from: Nanos,
    fault: Fault,
}

/// What is wrong with an origin; nothing, by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fault {
    /// The share of requests answered 500.
    pub(crate) fail: f64,
    /// The share of requests answered by a reset.
    pub(crate) reset: f64,
    /// How long an answer takes.
    pub(crate) delay: Delay,
    /// Whether requests are answered at all before the next phase.
    pub(crate) stall: Stall,
    /// Whether an answer comes in pieces.
    pub(crate) trickle: Option<Trickle>,
}

/// How long an answer takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Delay {
    /// As long as it has to.
    #[default]
    None,
    /// So long.
    Fixed(Duration),
    /// Something between these two, evenly.
    Between(Duration, Duration),
    /// So long on average, most less, a few far more (exponential).
    Exponential(Duration),
    /// The second with the share before it, the first otherwise.
    Either(Duration, f64, Duration),
}

/// Whether requests are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stall {
    /// They are.
    #[default]
    Answers,
    /// They are kept until the next phase begins.
    Keeps,
}

/// An answer in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trickle {
    /// Bytes of a piece.
    pub(crate) bytes: usize,
    /// The pause before the next.
    pub(crate) pause: Duration,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered as it should be.
    Answer,
    /// It is answered 500.
    Fail,
    /// Its connection is reset.
    Reset,
}

impl Script {
    /// The same fault for ever.
    pub(crate) fn always(fault: Fault) -> Self {
        Self::default().then(Duration::ZERO, fault)
    }

    /// From `from` on, `fault`. Phases are added in their order.
    #[must_use]
    pub(crate) fn then(mut self, from: Duration, fault: Fault) -> Self {
        self.0.push(Phase { from: clock::nanos(from), fault });
        self
    }

    /// From `from` on, nothing is wrong.
    #[must_use]
    pub(crate) fn healthy(self, from: Duration) -> Self {
        self.then(from, Fault::default())
    }

    /// The fault that holds `since` the script began, and when it ends.
    pub(super) fn at(&self, since: Nanos) -> (Option<&Fault>, Nanos) {
        let next = self.0.partition_point(|phase| phase.from <= since);
        let fault = next.checked_sub(1).and_then(|nth| self.0.get(nth)).map(|phase| &phase.fault);
        (fault, self.0.get(next).map_or(Nanos::MAX, |phase| phase.from))
    }
}

impl Fault {
    /// That share of requests is answered 500.
    pub(crate) fn failing(share: f64) -> Self {
        Self { fail: share, ..Self::default() }
    }

    /// Every answer takes so long.
    pub(crate) fn slow(delay: Duration) -> Self {
        Self { delay: Delay::Fixed(delay), ..Self::default() }
    }

    /// Nothing is answered before the next phase.
    pub(crate) fn stalled() -> Self {
        Self { stall: Stall::Keeps, ..Self::default() }
    }

    /// What becomes of the next request.
    pub(super) fn fate(&self, dice: &mut Dice) -> Fate {
        let roll = if self.fail + self.reset > 0.0 { dice.share() } else { 1.0 };
        if roll < self.fail {
            Fate::Fail
        } else if roll < self.fail + self.reset {
            Fate::Reset
        } else {
            Fate::Answer
        }
    }
}

impl Delay {
    /// How long the next answer takes.
    pub(super) fn roll(&self, dice: &mut Dice) -> Nanos {
        let span = match self {
            Self::None => Duration::ZERO,
            Self::Fixed(span) => *span,
            Self::Between(least, most) => {
                *least + most.saturating_sub(*least).mul_f64(dice.share())
            }
            Self::Exponential(mean) => mean.mul_f64(dice.exponential()),
            Self::Either(usual, share, other) => {
                if dice.share() < *share {
                    *other
                } else {
                    *usual
                }
            }
        };
        clock::nanos(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_and_the_last_has_no_end() {
        let second = Duration::from_secs;
        let script = Script::default().then(second(1), Fault::failing(1.0)).healthy(second(2));
        let at = |seconds| {
            let (fault, until) = script.at(seconds * clock::SECOND);
            (fault.map(|fault| fault.fail), until / clock::SECOND)
        };
        assert_eq!(at(0), (None, 1));
        assert_eq!(at(1), (Some(1.0), 2));
        assert_eq!(at(2), (Some(0.0), Nanos::MAX / clock::SECOND));
    }

    #[test]
    fn fates_have_their_shares() {
        let fault = Fault { fail: 0.2, reset: 0.1, ..Fault::default() };
        let mut dice = Dice::new(1);
        let fates: Vec<_> = (0..100_000).map(|_| fault.fate(&mut dice)).collect();
        let count = |fate| fates.iter().filter(|it| **it == fate).count();
        assert!((19_000..21_000).contains(&count(Fate::Fail)));
        assert!((9_000..11_000).contains(&count(Fate::Reset)));
        assert_eq!(Fault::default().fate(&mut dice), Fate::Answer);
    }

    #[test]
    fn delays_are_as_they_say() {
        let mut dice = Dice::new(2);
        let (short, long) = (Duration::from_millis(10), Duration::from_millis(30));
        let mut mean = |delay: Delay| {
            (0..20_000).map(|_| delay.roll(&mut dice)).sum::<Nanos>() / 20_000 / 100_000
        };
        assert_eq!(mean(Delay::None), 0);
        assert_eq!(mean(Delay::Fixed(short)), 100);
        assert!((198..=202).contains(&mean(Delay::Between(short, long))));
        assert!((97..=103).contains(&mean(Delay::Exponential(short))));
        assert!((118..=122).contains(&mean(Delay::Either(short, 0.1, long))));
    }
}
