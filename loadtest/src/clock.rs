//! Time: nanoseconds since the process began, one clock for clients, origins and reports.
//!
//! Owns the only reading of the clock. Generator and origin run in one process so that what one
//! sends and the other receives stands on one axis.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the first reading.
pub(crate) type Nanos = u64;

/// One second.
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// One millisecond.
pub(crate) const MILLI: Nanos = 1_000_000;

/// The time.
#[expect(clippy::disallowed_methods, reason = "the load tests read their own clock, here")]
pub(crate) fn now() -> Nanos {
    let now = Instant::now();
    nanos(now.saturating_duration_since(*BEGAN.get_or_init(|| now)))
}

/// `span` as nanoseconds.
pub(crate) fn nanos(span: Duration) -> Nanos {
    Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX)
}

/// Lets `span` pass: for the threads that watch, never for those that load.
#[expect(clippy::disallowed_methods, reason = "a watching thread is no core")]
pub(crate) fn pass(span: Duration) {
    thread::sleep(span);
}

/// Seconds since 1970, for the date of a report.
#[expect(clippy::disallowed_methods, reason = "a report says when it was made")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Nanoseconds as seconds, for people.
#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
pub(crate) fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

/// Nanoseconds as milliseconds, for people.
pub(crate) fn millis(nanos: Nanos) -> f64 {
    seconds(nanos) * 1e3
}
