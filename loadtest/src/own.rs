//! How the generator itself did: whether its numbers can be believed.
//!
//! Enters: what its threads used, and how late they were. Leaves: [`Own`], with the reason where
//! the generator, and not what it measured, was the limit.

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::client::Ended;
use crate::clock::{self, Nanos};
use crate::load::LATE;
use crate::tally::Tally;

/// A thread that computes or waits for its processor for this share of the time cannot do more:
/// answers that are there wait to be read.
const FULL: f64 = 0.9;

/// A share of late starts from which the percentiles describe the generator.
pub(crate) const LATE_MAX: f64 = 0.01;

/// The generator's own figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Own {
    /// The share of its time that the busiest thread computed.
    pub(crate) busy: f64,
    /// The share of its time that a thread waited for its processor, which others had.
    pub(crate) displaced: f64,
    /// The share of requests that were sent more than a millisecond later than planned although a
    /// connection was free.
    pub(crate) late: f64,
    /// 99 of 100 requests were sent within so many milliseconds of their plan.
    pub(crate) lag_p99_ms: f64,
    /// Why the numbers say more of the generator than of what it measured.
    pub(crate) limit: Option<String>,
}

impl Own {
    /// The figures of threads that ended so and counted `total`.
    pub(crate) fn of(ends: &[Ended], total: &Tally) -> Self {
        let most = |share: fn(&Ended) -> f64| ends.iter().map(share).fold(0.0, f64::max);
        let mut own = Self {
            busy: most(|end| end.used.busy),
            displaced: most(|end| end.used.displaced),
            late: late(&total.lag),
            lag_p99_ms: clock::millis(total.lag.value_at_quantile(0.99)),
            limit: None,
        };
        let (late, busy) = (own.late * 100.0, own.busy * 100.0);
        let displaced = own.displaced * 100.0;
        own.limit = if own.late >= LATE_MAX {
            Some(format!(
                "{late:.1}% of the requests were sent more than {} ms late: the generator was the \
                 limit (busy {busy:.0}%, displaced {displaced:.0}%)",
                LATE / clock::MILLI
            ))
        } else if most(|end| end.used.busy + end.used.displaced) >= FULL {
            let used = format!("busy {busy:.0}% and displaced by others {displaced:.0}%");
            Some(format!("the generator was the limit: a thread of it was {used}"))
        } else {
            None
        };
        own
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn late(lag: &Histogram<u64>) -> f64 {
    let late = lag.count_between(LATE + 1, u64::MAX);
    late as f64 / (lag.len().max(1) as f64)
}

/// What a thread has used of its processor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) busy: f64,
    pub(crate) displaced: f64,
}

/// The beginning of a measurement of this thread.
pub(crate) struct Meter {
    wall: Nanos,
    busy: Nanos,
    displaced: Nanos,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { wall: clock::now(), busy: busy(), displaced: displaced() }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn stop(&self) -> Used {
        let wall = clock::now().saturating_sub(self.wall).max(1) as f64;
        let share = |now: Nanos, before: Nanos| now.saturating_sub(before) as f64 / wall;
        Used { busy: share(busy(), self.busy), displaced: share(displaced(), self.displaced) }
    }
}

fn busy() -> Nanos {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| Nanos::try_from(value).unwrap_or(0);
    part(time.tv_sec) * clock::SECOND + part(time.tv_nsec)
}

/// How long this thread was ready to run and did not. Zero where the kernel does not count it.
#[expect(clippy::disallowed_methods, reason = "read before and after a load")]
fn displaced() -> Nanos {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(lags: &[(Nanos, u64)], busy: f64) -> Own {
        let mut total = Tally::new();
        for (lag, count) in lags {
            total.lag.record_n(*lag, *count).unwrap_or_default();
        }
        let used = Used { busy, displaced: 0.1 };
        let ends = [Ended { used, seen: Vec::new(), at: 0 }];
        Own::of(&ends, &total)
    }

    #[test]
    fn a_late_or_busy_generator_says_so() {
        assert_eq!(own(&[(1000, 991), (2 * LATE, 9)], 0.5).limit, None);
        let late = own(&[(1000, 980), (2 * LATE, 20)], 0.5).limit.unwrap();
        assert!(late.starts_with("2.0% of the requests"), "{late}");
        assert!(own(&[(1000, 1000)], 0.85).limit.unwrap().contains("busy 85%"));
    }

    #[test]
    fn a_thread_that_computes_is_busy() {
        let meter = Meter::start();
        let until = clock::now() + 20 * clock::MILLI;
        while clock::now() < until {}
        let used = meter.stop();
        assert!(used.busy + used.displaced > 0.5, "{used:?}");
    }
}
