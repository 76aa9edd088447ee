//! What a breaker did, from what clients and origin saw of the same requests.
//!
//! Enters: every request as its client saw it, and as the origin saw it, on one clock; the policy.
//! Leaves: [`Conduct`]: the figures of a breaker that no generator prints. Pure.
//!
//! The K-th failure is the K-th one that left the origin (or that the proxy cut at its timeout)
//! since the circuit closed. From the first refusal that a client has in its hands until the open
//! time is over, nothing it sends may reach the origin; then one request may, and nothing beside it
//! until its answer.

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::load::Seen;
use crate::origin::{Fate, Hit};

/// The breaker's policy, as it was configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// K.
    pub(crate) failures: usize,
    /// How long it stays open at least: a millisecond less than configured, because the proxy
    /// counts whole ones.
    pub(crate) open: Nanos,
    /// After how long an exchange has failed.
    pub(crate) timeout: Nanos,
    /// The status of a refusal.
    pub(crate) refused: u16,
}

/// How a breaker behaved.
#[derive(Clone, Debug)]
pub(crate) struct Conduct {
    /// How often it opened, reopening not counted.
    pub(crate) trips: u64,
    /// From each K-th failure to the first refusal that a client received.
    pub(crate) time_to_open: Histogram<u64>,
    /// Requests that reached the origin after the K-th failure had left it: they were under way.
    pub(crate) leaked: u64,
    /// Requests that were sent after a refusal had been received, and reached the origin before
    /// the open time was over.
    pub(crate) hits_while_open: u64,
    /// Requests let through when an open time was over.
    pub(crate) probes: u64,
    /// Requests that reached the origin beside a probe.
    pub(crate) beside_probe: u64,
    /// From sending a request to its refusal.
    pub(crate) refusal: Histogram<u64>,
}

/// Reads how a breaker with `policy` behaved. `hits` are in the order of their arrival, `seen` in
/// the order of their ends.
pub(crate) fn conduct(seen: &[Seen], hits: &[Hit], policy: &Policy) -> Conduct {
    let mut conduct = Conduct {
        trips: 0,
        time_to_open: histogram(),
        leaked: 0,
        hits_while_open: 0,
        probes: 0,
        beside_probe: 0,
        refusal: histogram(),
    };
    let refusals: Vec<&Seen> = seen.iter().filter(|it| it.status == policy.refused).collect();
    for refusal in &refusals {
        let took = refusal.done.saturating_sub(refusal.sent);
        conduct.refusal.record(took).unwrap_or_default();
    }
    let mut failures: Vec<(Nanos, &Hit)> =
        hits.iter().filter_map(|hit| Some((failed_at(hit, policy)?, hit))).collect();
    failures.sort_by_key(|(at, _)| *at);
    let mut closed_since = 0;
    while let Some(tripped) = kth(&failures, closed_since, policy.failures) {
        let next = refusals.partition_point(|refusal| refusal.done <= tripped);
        let Some(first) = refusals.get(next).filter(|it| it.done < tripped + policy.open) else {
            break; // nobody asked while it was open
        };
        conduct.trips += 1;
        conduct.time_to_open.record(first.done - tripped).unwrap_or_default();
        conduct.leaked +=
            between(hits, tripped, first.done).filter(|hit| hit.sent <= first.done).count() as u64;
        match conduct.follow(hits, tripped, first.done, policy) {
            Some(healed) => closed_since = healed,
            None => break,
        }
    }
    conduct
}

impl Conduct {
    /// Follows a breaker that opened at `tripped` through its probes; when it healed, if it did.
    fn follow(
        &mut self,
        hits: &[Hit],
        mut tripped: Nanos,
        mut refusing: Nanos,
        policy: &Policy,
    ) -> Option<Nanos> {
        loop {
            // The proxy reads its clock a little later than the origin sent the failure.
            let over = tripped + policy.open;
            let early = between(hits, refusing, over).filter(|hit| hit.sent > refusing);
            self.hits_while_open += early.count() as u64;
            let nth = hits.partition_point(|hit| hit.arrived < over);
            let probe = hits.get(nth..)?.iter().find(|hit| hit.sent > refusing)?;
            self.probes += 1;
            let failed = failed_at(probe, policy);
            let settled = failed.unwrap_or(probe.answered);
            let beside = between(hits, probe.arrived, settled);
            self.beside_probe +=
                beside.filter(|hit| *hit != probe && hit.sent > refusing).count() as u64;
            if failed.is_none() {
                return Some(settled);
            }
            (tripped, refusing) = (settled, settled);
        }
    }
}

/// When an exchange failed, if it did.
fn failed_at(hit: &Hit, policy: &Policy) -> Option<Nanos> {
    if hit.answered > hit.arrived.saturating_add(policy.timeout) {
        // The proxy's clock runs from a moment between these two, so this is no later than its own.
        let asked = if hit.sent > 0 { hit.sent } else { hit.arrived };
        Some(asked.saturating_add(policy.timeout))
    } else {
        (hit.fate != Fate::Answer).then_some(hit.answered)
    }
}

/// When the `count`-th failure happened of those that arrived since `since`.
fn kth(failures: &[(Nanos, &Hit)], since: Nanos, count: usize) -> Option<Nanos> {
    let counted = failures.iter().filter(|(_, hit)| hit.arrived >= since);
    counted.map(|(at, _)| *at).nth(count.saturating_sub(1))
}

/// The hits that arrived after `from` and before `to`.
fn between(hits: &[Hit], from: Nanos, to: Nanos) -> impl Iterator<Item = &Hit> {
    let start = hits.partition_point(|hit| hit.arrived <= from);
    hits.get(start..).unwrap_or_default().iter().take_while(move |hit| hit.arrived < to)
}

#[expect(clippy::expect_used, reason = "the number of digits is a constant in its bounds")]
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("digits within 0..=5")
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { failures: 3, open: 100, timeout: 50, refused: 503 };

    fn hit(sent: Nanos, fate: Fate) -> Hit {
        Hit { sent, arrived: sent + 1, answered: sent + 3, fate }
    }

    fn refusal(sent: Nanos) -> Seen {
        Seen { planned: sent, sent, done: sent + 2, status: 503 }
    }

    /// Fails at 10, 20 and 30 (the last leaves at 33), probes at 140 and 250, and heals.
    fn story() -> (Vec<Seen>, Vec<Hit>) {
        let seen = (0..24).map(|nth| refusal(34 + nth * 10)).collect();
        let hits = [10, 20, 30, 140, 250]
            .map(|at| hit(at, if at == 250 { Fate::Answer } else { Fate::Fail }));
        (seen, hits.to_vec())
    }

    #[test]
    fn a_breaker_that_does_as_it_should_is_read_so() {
        let (seen, hits) = story();
        let it = conduct(&seen, &hits, &POLICY);
        assert_eq!((it.trips, it.probes, it.leaked), (1, 2, 0));
        assert_eq!((it.hits_while_open, it.beside_probe), (0, 0));
        assert_eq!((it.time_to_open.max(), it.refusal.max(), it.refusal.len()), (3, 2, 24));
    }

    #[test]
    fn what_was_under_way_is_leaked_and_what_comes_later_is_a_hit() {
        let (seen, mut hits) = story();
        hits.extend([hit(33, Fate::Answer), hit(60, Fate::Answer), hit(141, Fate::Answer)]);
        hits.sort_by_key(|hit| hit.arrived);
        let it = conduct(&seen, &hits, &POLICY);
        assert_eq!((it.leaked, it.hits_while_open, it.beside_probe), (1, 1, 1));
    }

    #[test]
    fn an_exchange_that_takes_too_long_fails_when_the_proxy_cuts_it() {
        let slow = |sent| Hit { answered: sent + 500, ..hit(sent, Fate::Answer) };
        let hits: Vec<_> = [10, 11, 12].map(slow).to_vec();
        let it = conduct(&[refusal(70)], &hits, &POLICY);
        assert_eq!((it.trips, it.time_to_open.max()), (1, 72 - 62));
    }
}
