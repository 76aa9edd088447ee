//! The only reader of the clock.
//!
//! Enters: nothing. Leaves: [`Now`], a point of monotonic time. A caller reads it once where an
//! event enters (bytes arrived, a tick fired) and passes it down; nothing below reads time itself,
//! which is what lets tests and simulations choose it.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "this file is the reader of the clock")]
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A point of monotonic time: microseconds since the process first asked, plus 407 days, so that
/// zero never names a real moment and can stand for "never" in packed words, and so that what began
/// before the process did (a breaker that others opened) has a moment too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(u64);

const BASE_MICROS: u64 = 1 << 45;

impl Now {
    /// The moment `micros` after the origin; for tests and simulations.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `millis` after the origin; for tests and simulations.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1000)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin, rounded down: a deadline compared with it is never
    /// early.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// Whole milliseconds since the origin, rounded up: a deadline made from it is never early.
    #[must_use]
    pub const fn millis_up(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// The moment `span` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The moment `span` earlier; saturates at zero.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Reads the monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this file is the reader of the clock")]
pub fn now() -> Now {
    let origin = *ORIGIN;
    let since = Instant::now().saturating_duration_since(origin);
    // In 64 bits, since this is read several times per request: 584,000 years.
    let micros = since.as_secs().wrapping_mul(1_000_000).wrapping_add(since.subsec_micros().into());
    Now(micros.wrapping_add(BASE_MICROS))
}

/// Reads the wall clock: time since the Unix epoch, for log lines and event payloads only. No
/// decision may depend on it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this file is the reader of the clock")]
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Year, month and day of a day since 1970 in the Gregorian calendar: eras of 400 years, years
/// that begin in March.
#[must_use]
pub const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153; // months since March
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards_and_never_reads_zero() {
        let first = now();
        let second = now();
        assert!(second >= first);
        assert!(first.millis() > 0);
    }

    #[test]
    fn millis_round_so_that_no_deadline_is_early() {
        let now = Now::from_micros(1_001);
        assert_eq!((now.millis(), now.millis_up()), (1, 2));
        assert_eq!(now.after(Duration::from_millis(2)), Now::from_micros(3_001));
        assert_eq!(Now::from_millis(1).since(Now::from_millis(2)), Duration::ZERO);
    }
}
