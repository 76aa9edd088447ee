//! What clients have seen: counts and latencies, of an interval or of all.
//!
//! Enters: one ending after the other. Leaves: histograms that can be united, because percentiles
//! cannot be.

use hdrhistogram::Histogram;

use crate::clock::Nanos;

/// Three digits: a latency is right within one in a thousand.
const DIGITS: u8 = 3;

/// Statuses beyond are counted with this one.
const STATUS_MAX: usize = 600;

/// What an answer was to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What it asked for.
    Good,
    /// The proxy's refusal.
    Refused,
    /// Another status, or no answer.
    Bad,
}

impl Kind {
    /// Every kind, in the order of reports.
    pub(crate) const ALL: [Self; 3] = [Self::Good, Self::Refused, Self::Bad];
}

/// Why there was no answer, or none that could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no connection.
    Connect,
    /// The connection was reset with a request under way.
    Reset,
    /// It was closed with a request under way.
    Closed,
    /// The answer did not come in time.
    TimedOut,
    /// What came was no HTTP.
    Malformed,
    /// The right status, with another length or content than expected.
    Unexpected,
    /// It was due, and never sent: every connection was busy until the end.
    Unsent,
}

impl Failure {
    /// Every failure with its name, in the order of reports.
    pub(crate) const ALL: [(Self, &str); 7] = [
        (Self::Connect, "not connected"),
        (Self::Reset, "reset"),
        (Self::Closed, "closed early"),
        (Self::TimedOut, "timed out"),
        (Self::Malformed, "malformed"),
        (Self::Unexpected, "wrong content"),
        (Self::Unsent, "never sent"),
    ];
}

/// Counts and latencies.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    latencies: [Histogram<u64>; Kind::ALL.len()],
    /// From the moment a request was really sent: what a closed loop would call its latency.
    pub(crate) service: Histogram<u64>,
    /// How much later than planned requests were sent by the generator's own fault.
    pub(crate) lag: Histogram<u64>,
    statuses: Vec<u64>,
    failures: [u64; Failure::ALL.len()],
    /// Answers that came before the end of the load.
    pub(crate) in_time: u64,
    /// Bytes of bodies.
    pub(crate) bytes: u64,
    /// Connections opened.
    pub(crate) opened: u64,
    /// Connections that the peer ended, by a word in an answer or without one.
    pub(crate) ended: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            latencies: std::array::from_fn(|_| histogram()),
            service: histogram(),
            lag: histogram(),
            statuses: vec![0; STATUS_MAX + 1],
            failures: [0; Failure::ALL.len()],
            in_time: 0,
            bytes: 0,
            opened: 0,
            ended: 0,
        }
    }

    /// An answer of `kind` with `status`, `latency` after its planned start.
    pub(crate) fn answer(&mut self, kind: Kind, status: u16, latency: Nanos) {
        self.record(kind, latency);
        if let Some(count) = self.statuses.get_mut(usize::from(status).min(STATUS_MAX)) {
            *count += 1;
        }
    }

    /// A request that ended without one.
    pub(crate) fn failure(&mut self, failure: Failure, latency: Nanos) {
        self.record(Kind::Bad, latency);
        if let Some(count) = self.failures.get_mut(failure as usize) {
            *count += 1;
        }
    }

    fn record(&mut self, kind: Kind, latency: Nanos) {
        if let Some(histogram) = self.latencies.get_mut(kind as usize) {
            histogram.record(latency).unwrap_or_default();
        }
    }

    /// Takes over what `other` has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = self.latencies.iter_mut().zip(&other.latencies);
        for (own, theirs) in
            pairs.chain([(&mut self.service, &other.service), (&mut self.lag, &other.lag)])
        {
            // Only a histogram that may not grow refuses.
            own.add(theirs).unwrap_or_default();
        }
        for (own, theirs) in self.statuses.iter_mut().zip(&other.statuses) {
            *own += theirs;
        }
        for (own, theirs) in self.failures.iter_mut().zip(&other.failures) {
            *own += theirs;
        }
        self.in_time += other.in_time;
        self.bytes += other.bytes;
        self.opened += other.opened;
        self.ended += other.ended;
    }

    /// How many requests ended so.
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.latency(kind).map_or(0, Histogram::len)
    }

    /// Requests in all.
    pub(crate) fn total(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.count(kind)).sum()
    }

    /// How many requests failed so.
    pub(crate) fn failed(&self, failure: Failure) -> u64 {
        self.failures.get(failure as usize).copied().unwrap_or(0)
    }

    /// The statuses that came, with their counts.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (usize, u64)> {
        self.statuses.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// The latencies of a kind, in nanoseconds from the planned start.
    pub(crate) fn latency(&self, kind: Kind) -> Option<&Histogram<u64>> {
        self.latencies.get(kind as usize)
    }

    /// The latencies of every request.
    pub(crate) fn latencies(&self) -> Histogram<u64> {
        let mut all = histogram();
        for histogram in &self.latencies {
            all.add(histogram).unwrap_or_default();
        }
        all
    }
}

#[expect(clippy::expect_used, reason = "the number of digits is a constant in its bounds")]
fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(DIGITS).expect("digits within 0..=5");
    histogram.auto(true);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn united_halves_are_the_whole() {
        let (mut whole, mut halves) = (Tally::new(), [Tally::new(), Tally::new()]);
        for nth in 1..=10_000_u64 {
            let kind = Kind::ALL[nth as usize % 3];
            for tally in [&mut whole, &mut halves[nth as usize % 2]] {
                tally.answer(kind, 200 + nth as u16 % 3, nth * 1000);
                tally.service.record(nth).unwrap_or_default();
                tally.ended += 1;
            }
        }
        whole.failure(Failure::Reset, 1);
        halves[1].failure(Failure::Reset, 1);
        let mut united = Tally::new();
        halves.iter().for_each(|half| united.add(half));
        for kind in Kind::ALL {
            assert_eq!(united.latency(kind), whole.latency(kind));
        }
        assert_eq!(united.latencies(), whole.latencies());
        assert_eq!((united.service, united.ended), (whole.service.clone(), 10_000));
        assert_eq!(united.statuses, whole.statuses);
        assert_eq!((united.failures, whole.failures[Failure::Reset as usize]), (whole.failures, 1));
    }

    #[test]
    fn a_latency_is_right_within_one_in_a_thousand() {
        let mut tally = Tally::new();
        for exponent in 0..35 {
            let latency = 1_234_567_891 >> exponent;
            tally.answer(Kind::Good, 200, latency);
            let found = tally.latency(Kind::Good).unwrap().value_at_quantile(0.0);
            assert!(found.abs_diff(latency) <= latency / 1000 + 1, "{found} {latency}");
        }
    }
}
