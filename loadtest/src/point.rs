//! One interval of a time series.

use serde::{Deserialize, Serialize};

use crate::clock::{self, Nanos};
use crate::tally::{Kind, Tally};

/// What was seen in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Where it begins, in seconds of the load.
    pub(crate) at_s: f64,
    /// Good answers each second.
    pub(crate) good: f64,
    /// Refusals each second.
    pub(crate) refused: f64,
    /// Bad answers and failures each second.
    pub(crate) bad: f64,
    /// Milliseconds within which half of all requests ended, from their planned start.
    pub(crate) p50_ms: f64,
    /// The same for 99 of 100.
    pub(crate) p99_ms: f64,
    /// The slowest.
    pub(crate) max_ms: f64,
}

impl Point {
    /// The interval of `span` that begins at `at`.
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    pub(crate) fn of(tally: &Tally, at: Nanos, span: Nanos) -> Self {
        let rate = |kind| tally.count(kind) as f64 / clock::seconds(span);
        let all = tally.latencies();
        let millis = |quantile| {
            if all.is_empty() { 0.0 } else { clock::millis(all.value_at_quantile(quantile)) }
        };
        Self {
            at_s: clock::seconds(at),
            good: rate(Kind::Good),
            refused: rate(Kind::Refused),
            bad: rate(Kind::Bad),
            p50_ms: millis(0.5),
            p99_ms: millis(0.99),
            max_ms: millis(1.0),
        }
    }

    /// All endings each second.
    pub(crate) fn rate(&self) -> f64 {
        self.good + self.refused + self.bad
    }
}
