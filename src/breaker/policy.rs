//! What trips a breaker, what heals it, and which answers count as failures.
//!
//! Enters: numbers that `config` has checked. Leaves: [`Policy`], fixed for the life of a table.
//! Owns no state and reads no clock. A breaker trips when any of its conditions holds; how it heals
//! is one of two families: by age (the words `maxErrors` and `duration`), or by probes.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::num::NonZeroU32;
use std::time::Duration;

pub use super::pace::Pace;

/// The most failures a threshold may name: a core packs its count into 24 bits.
pub const FAILURES_MAX: u32 = (1 << 24) - 2;

/// The most failures a look-back may name: each core keeps that many moments.
pub const LOOK_BACK_FAILURES_MAX: u32 = 1 << 16;

/// The most permits of a half-open round: a request that asks for one looks at all of them.
pub const PROBES_MAX: u32 = 1000;

/// One breaker's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When it opens.
    pub trip: Trip,
    /// How it closes again.
    pub heal: Heal,
    /// The statuses that count as failures (default 500–599, both seeds).
    pub failures: StatusSet,
    /// Whether it refuses.
    pub mode: Mode,
}

/// When a breaker opens: when any of these holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trip {
    /// So many failures that count together.
    pub failures: Option<Failures>,
    /// So many failures in a row.
    pub run: Option<NonZeroU32>,
    /// Such a share of failed or slow exchanges.
    pub shares: Option<Shares>,
}

/// So many failures that count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: NonZeroU32,
    /// Which ones count together.
    pub window: Window,
}

/// Which failures are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Those within the last span, exactly: each core keeps the newest moments. Failures count
    /// here whatever the state.
    Log(Duration),
    /// Those within the last span, in buckets of a tenth of it.
    Sliding(Duration),
    /// Those within this span of the first one; then counting starts anew.
    Fixed(Duration),
    /// All since the breaker last closed.
    Cumulative,
}

/// Shares of the exchanges within the last span that open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// How far back exchanges count, in buckets of a tenth of it.
    pub span: Duration,
    /// Fewer exchanges than this say nothing.
    pub min_requests: u32,
    /// The share of failed ones that opens.
    pub failed: Option<Share>,
    /// The share of slow ones that opens.
    pub slow: Option<Slow>,
}

/// The share of slow exchanges that opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// As long or longer, from admission to the verdict, is slow.
    pub after: Duration,
    /// The share that opens.
    pub share: Share,
}

/// A share in parts of a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

/// How a breaker closes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heal {
    /// Seed A: open exactly while the failures lie inside the last span, and one span after a trip
    /// for another reason. There is no half-open.
    Age(Duration),
    /// Seed B: open for a time, then probes decide.
    Probe(Recovery),
}

/// Open for a time, then probes decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// How long it stays open.
    pub pace: Pace,
    /// Permits of a half-open round, at most [`PROBES_MAX`].
    pub requests: NonZeroU32,
    /// Successful probes that close it; at most `requests`.
    pub successes: NonZeroU32,
    /// A probe without a verdict by then has lost its permit to the next.
    pub permit: Duration,
    /// Waited so long for a verdict in vain, it opens again.
    pub max_wait: Duration,
    /// Whether all traffic comes back at once or little by little.
    pub ramp: Option<Ramp>,
}

/// The share of traffic admitted after half-open, growing linearly to all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// How long it takes.
    pub duration: Duration,
    /// The share at its beginning.
    pub start: Share,
}

/// Whether a breaker refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Enforce,
    /// It decides and counts what it would refuse, and lets it through.
    Shadow,
    /// It lets everything through and counts nothing.
    Off,
}

impl Mode {
    /// The word used in the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

impl Policy {
    /// Seed A's breaker: open while `count` failures lie inside the last `span`.
    #[must_use]
    pub fn look_back(count: NonZeroU32, span: Duration) -> Self {
        let failures = Some(Failures { count, window: Window::Log(span) });
        Self {
            trip: Trip { failures, ..Trip::default() },
            heal: Heal::Age(span),
            failures: StatusSet::server_errors(),
            mode: Mode::Enforce,
        }
    }

    /// Seed B's breaker: opens at `count` failures of `window`; after `open_for` one probe decides.
    #[must_use]
    pub fn reset(count: NonZeroU32, window: Window, open_for: Duration) -> Self {
        const WAIT: Duration = Duration::from_secs(30);
        Self {
            trip: Trip { failures: Some(Failures { count, window }), ..Trip::default() },
            heal: Heal::Probe(Recovery {
                pace: Pace::even(open_for),
                requests: NonZeroU32::MIN,
                successes: NonZeroU32::MIN,
                permit: WAIT,
                max_wait: WAIT,
                ramp: None,
            }),
            failures: StatusSet::server_errors(),
            mode: Mode::Enforce,
        }
    }

    /// How it recovers, if by probes.
    #[must_use]
    pub const fn recovery(&self) -> Option<&Recovery> {
        match &self.heal {
            Heal::Probe(recovery) => Some(recovery),
            Heal::Age(_) => None,
        }
    }

    /// The span of the buckets it counts in, if it counts in any.
    #[must_use]
    pub fn bucket_span(&self) -> Option<Duration> {
        let sliding = self.trip.failures.and_then(|failures| match failures.window {
            Window::Sliding(span) => Some(span),
            Window::Log(_) | Window::Fixed(_) | Window::Cumulative => None,
        });
        sliding.or(self.trip.shares.map(|shares| shares.span))
    }

    /// Whether an exchange that took so long was slow.
    #[must_use]
    pub fn is_slow(&self, took: Duration) -> bool {
        let slow = self.trip.shares.and_then(|shares| shares.slow);
        slow.is_some_and(|slow| took >= slow.after)
    }
}

impl Share {
    /// All of it.
    pub const ALL: Self = Self(1_000_000);

    /// The nearest share to `share`, which lies between 0 and 1.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0 to 1,000,000 before"
    )]
    pub fn of(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * 1_000_000.0).round() as u32)
    }

    /// Whether `part` of `whole` is at least this share.
    #[must_use]
    pub const fn reached(self, part: u64, whole: u64) -> bool {
        part.saturating_mul(Self::ALL.0 as u64) >= whole.saturating_mul(self.0 as u64)
    }

    /// This share of `count`, rounded up.
    #[must_use]
    pub const fn of_count(self, count: u32) -> u32 {
        let part = (count as u64 * self.0 as u64).div_ceil(Self::ALL.0 as u64);
        // A share of a count is no more than the count.
        part as u32
    }
}

impl Ramp {
    /// The share admitted `elapsed` after the beginning; never shrinks.
    #[must_use]
    pub fn share(self, elapsed: Duration) -> Share {
        let whole = self.duration.as_micros().max(1);
        let elapsed = elapsed.as_micros().min(whole);
        let missing = u128::from(Share::ALL.0 - self.start.0.min(Share::ALL.0));
        let gained = missing * elapsed / whole;
        Share(self.start.0 + u32::try_from(gained).unwrap_or(0))
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

    #[test]
    fn a_share_is_reached_at_its_value_and_not_below() {
        let half = Share::of(0.5);
        assert!(half.reached(10, 20) && !half.reached(9, 19));
        assert!(Share::ALL.reached(7, 7) && !Share::ALL.reached(6, 7));
        assert_eq!((Share::of(0.1).of_count(20), Share::of(0.101).of_count(20)), (2, 3));
    }

    #[test]
    fn a_ramp_grows_from_its_start_to_all_and_never_shrinks() {
        let ramp = Ramp { duration: Duration::from_secs(10), start: Share::of(0.2) };
        let at = |millis| ramp.share(Duration::from_millis(millis)).0;
        assert_eq!(
            (at(0), at(5_000), at(10_000), at(99_000)),
            (200_000, 600_000, 1_000_000, at(10_000))
        );
        assert!((0..10_000).all(|millis| at(millis) <= at(millis + 1)));
    }
}
