//! When requests are planned: arithmetic only.

use crate::clock::Nanos;
use crate::dice::Dice;
use crate::load::Pace;

/// The planned starts of one thread.
#[derive(Debug)]
pub(crate) struct Schedule {
    spacing: Spacing,
    next: Nanos,
    end: Nanos,
}

#[derive(Debug)]
enum Spacing {
    Even { begin: f64, gap: f64, nth: u64 },
    Random { gap: f64, at: f64, dice: Dice },
    Closed,
}

impl Schedule {
    /// The share of thread `nth` of `threads` in `pace`, from `begin` until before `end`.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of days fit")]
    pub(crate) fn new(pace: Pace, nth: usize, threads: usize, begin: Nanos, end: Nanos) -> Self {
        let gap = |rate: f64| 1e9 / rate.max(1e-3) * threads as f64;
        let spacing = match pace {
            Pace::Open(rate) => {
                // The threads take turns.
                let begin = begin as f64 + gap(rate) * nth as f64 / threads as f64;
                Spacing::Even { begin, gap: gap(rate), nth: 0 }
            }
            Pace::Random(rate) => {
                Spacing::Random { gap: gap(rate), at: begin as f64, dice: Dice::new(nth as u64) }
            }
            Pace::Closed => Spacing::Closed,
        };
        let mut schedule = Self { spacing, next: begin, end };
        schedule.advance();
        schedule
    }

    /// The next planned start, if there is one: always now, in a closed loop.
    pub(crate) fn peek(&self, now: Nanos) -> Option<Nanos> {
        let next = if matches!(self.spacing, Spacing::Closed) { now } else { self.next };
        (next < self.end).then_some(next)
    }

    /// Goes on to the one after.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "positive, and nanoseconds of days fit"
    )]
    pub(crate) fn advance(&mut self) {
        match &mut self.spacing {
            Spacing::Even { begin, gap, nth } => {
                self.next = (*begin + *gap * *nth as f64) as Nanos;
                *nth += 1;
            }
            Spacing::Random { gap, at, dice } => {
                *at += dice.exponential() * *gap;
                self.next = *at as Nanos;
            }
            Spacing::Closed => {}
        }
    }

    /// Plans nothing from `end` on.
    pub(crate) fn end_at(&mut self, end: Nanos) {
        self.end = self.end.min(end);
    }

    /// How many starts are left that were due before `now`.
    pub(crate) fn overdue(&mut self, now: Nanos) -> Vec<Nanos> {
        let mut left = Vec::new();
        while !matches!(self.spacing, Spacing::Closed) && self.next < self.end.min(now) {
            left.push(self.next);
            self.advance();
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    fn all(pace: Pace, nth: usize, threads: usize) -> Vec<Nanos> {
        Schedule::new(pace, nth, threads, SECOND, 2 * SECOND).overdue(Nanos::MAX)
    }

    #[test]
    fn an_open_schedule_is_even_and_threads_share_it() {
        let whole = all(Pace::Open(1000.0), 0, 1);
        assert_eq!((whole.len(), whole[0], whole[999]), (1000, SECOND, 2 * SECOND - 1_000_000));
        let mut shared: Vec<_> = (0..3).flat_map(|nth| all(Pace::Open(1000.0), nth, 3)).collect();
        shared.sort_unstable();
        assert_eq!(shared.len(), 1000);
        assert!(whole.iter().zip(&shared).all(|(a, b)| a.abs_diff(*b) <= 1));
    }

    #[test]
    fn a_random_schedule_has_its_rate_and_no_rhythm() {
        let starts = all(Pace::Random(20_000.0), 0, 1);
        assert!((19_000..21_000).contains(&starts.len()), "{}", starts.len());
        let gaps: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // Of exponential gaps, e^-1 are longer than the mean.
        let long = gaps.iter().filter(|gap| **gap > 50_000).count() as f64 / gaps.len() as f64;
        assert!((0.34..0.40).contains(&long), "{long}");
    }

    #[test]
    fn a_closed_loop_may_always_begin_until_the_end() {
        let schedule = Schedule::new(Pace::Closed, 0, 1, 5, 10);
        assert_eq!((schedule.peek(7), schedule.peek(10)), (Some(7), None));
    }
}
