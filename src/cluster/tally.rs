//! What instances count of one breaker, put together.
//!
//! Enters: an instance's own slots of time, and the registers of others. Leaves: text for the
//! store, and one set of slots that stands for all others. A register holds everything that its
//! instance counts in an epoch, in absolute numbers under a rank that only that instance raises:
//! the newest is the whole truth about it, so nothing is lost or counted twice however calls are
//! repeated, delayed or reordered. Slots travel as ages, so that no two clocks are compared.
//!
//! Owns what is known of the others in one epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::breaker::Sums;
use crate::breaker::circuit::Cause;
use crate::breaker::follow::{AGELESS, Tallies};
use crate::breaker::peers::{END_SLOTS, FAILURE_SLOTS};
use crate::breaker::policy::{Failures, Policy, Share, Shares, Window};
use crate::clock::Now;

/// Slots of one register that are read at most.
const SLOTS_MAX: usize = 128;

/// Instances whose counts are kept at most, per breaker.
const INSTANCES_MAX: usize = 4096;

/// `120:3,40:1;200:10:3:0`: failures and ends by their age in milliseconds; `-` never ages.
pub(super) fn text(tallies: &Tallies, now: Now) -> String {
    let age = |at: Now| match at {
        AGELESS => "-".to_owned(),
        at => now.since(at).as_micros().div_ceil(1000).to_string(),
    };
    let failures = tallies.failures.iter().map(|(at, count)| format!("{}:{count}", age(*at)));
    let ends = tallies.ends.iter().map(|(at, Sums { requests, failed, slow })| {
        format!("{}:{requests}:{failed}:{slow}", age(*at))
    });
    let list = |it: Vec<String>| it.join(",");
    format!("{};{}", list(failures.collect()), list(ends.collect()))
}

/// Reads what was written at `then`.
pub(super) fn read(value: &str, then: Now) -> Option<Tallies> {
    let (failures, ends) = value.split_once(';')?;
    let at = |age: &str| -> Option<Now> {
        if age == "-" {
            return Some(AGELESS);
        }
        Some(then.before(Duration::from_millis(age.parse().ok()?)))
    };
    let mut tallies = Tallies::default();
    for slot in failures.split(',').filter(|slot| !slot.is_empty()).take(SLOTS_MAX) {
        let (age, count) = slot.split_once(':')?;
        tallies.failures.push((at(age)?, count.parse().ok()?));
    }
    for slot in ends.split(',').filter(|slot| !slot.is_empty()).take(SLOTS_MAX) {
        let mut parts = slot.split(':');
        let at = at(parts.next()?)?;
        let mut number = || parts.next().and_then(|it| it.parse::<u32>().ok()).map(u64::from);
        let (requests, failed, slow) = (number()?, number()?, number()?);
        tallies.ends.push((at, Sums { requests, failed, slow }));
    }
    Some(tallies)
}

/// Forgets slots that no longer count at `now`.
pub(super) fn age(tallies: &mut Tallies, policy: &Policy, now: Now) {
    match policy.trip.failures.map(|it| it.window) {
        Some(Window::Log(span) | Window::Fixed(span)) => {
            tallies.failures.retain(|(at, _)| *at > now.before(span) && *at != AGELESS);
        }
        Some(Window::Cumulative) => tallies.failures.retain(|(at, _)| *at == AGELESS),
        Some(Window::Sliding(_)) | None => tallies.failures.clear(),
    }
    match policy.bucket_span() {
        Some(span) => tallies.ends.retain(|(at, _)| *at > now.before(span) && *at != AGELESS),
        None => tallies.ends.clear(),
    }
}

/// Makes one of slots that begin at one moment.
pub(super) fn join(tallies: &mut Tallies) {
    one_each(&mut tallies.failures, u32::saturating_add);
    one_each(&mut tallies.ends, Sums::and);
}

fn one_each<T: Copy>(slots: &mut Vec<(Now, T)>, and: impl Fn(T, T) -> T) {
    slots.sort_unstable_by_key(|(at, _)| *at);
    slots.dedup_by(|next, held| {
        let same = next.0 == held.0;
        if same {
            held.1 = and(held.1, next.1);
        }
        same
    });
}

/// What speaks against the service, by what it counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bad {
    /// Failures, but for a sliding window's.
    pub(super) failures: u64,
    /// Exchanges that failed.
    pub(super) failed: u64,
    /// Exchanges that were slow, where those count.
    pub(super) slow: u64,
}

impl Bad {
    pub(super) fn is_any(self) -> bool {
        self != Self::default()
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            failures: self.failures + other.failures,
            failed: self.failed + other.failed,
            slow: self.slow + other.slow,
        }
    }

    /// Whether anything is one of `parts` equal parts of its limit, or more.
    pub(super) fn is_part(self, limits: Self, parts: u64) -> bool {
        let is = |it: u64, limit: u64| it >= (limit / parts).max(1);
        is(self.failures, limits.failures)
            || is(self.failed, limits.failed)
            || is(self.slow, limits.slow)
    }
}

/// How much of each it takes to open, where `requests` are known to count.
pub(super) fn limits(policy: &Policy, requests: u64) -> Bad {
    let few = u32::try_from(requests).unwrap_or(u32::MAX);
    let shares = policy.trip.shares;
    let of_share = |share: fn(Shares) -> Option<Share>| {
        shares.and_then(|it| Some(u64::from(share(it)?.of_count(it.min_requests.max(few)))))
    };
    let (mut failures, mut failed) = (None, of_share(|it| it.failed));
    if let Some(Failures { count, window }) = policy.trip.failures {
        let count = u64::from(count.get());
        match window {
            Window::Sliding(_) => failed = Some(failed.map_or(count, |it| it.min(count))),
            Window::Log(_) | Window::Fixed(_) | Window::Cumulative => failures = Some(count),
        }
    }
    let slow = of_share(|it| it.slow.map(|slow| slow.share));
    let [failures, failed, slow] = [failures, failed, slow].map(|it| it.unwrap_or(u64::MAX));
    Bad { failures, failed, slow }
}

/// What `own` holds that `pushed` does not: how much that is bad, and whether there is anything.
pub(super) fn news(own: &Tallies, pushed: &Tallies, policy: &Policy) -> (Bad, bool) {
    let slow = policy.trip.shares.is_some_and(|shares| shares.slow.is_some());
    let failures = own.failures.iter().map(|(at, count)| {
        let told = pushed.failures.iter().find(|(held, _)| held == at);
        u64::from(count.saturating_sub(told.map_or(0, |(_, told)| *told)))
    });
    let mut bad = Bad { failures: failures.sum(), ..Bad::default() };
    let mut any = false;
    for (at, sums) in &own.ends {
        let told = pushed.ends.iter().find(|(held, _)| held == at);
        let told = told.map_or(Sums::default(), |(_, told)| *told);
        bad.failed += sums.failed.saturating_sub(told.failed);
        bad.slow += if slow { sums.slow.saturating_sub(told.slow) } else { 0 };
        any |= sums.requests > told.requests;
    }
    (bad, any || bad.is_any())
}

/// How much is in `tallies`: failures and exchanges.
pub(super) fn sum(tallies: &Tallies) -> (u64, Sums) {
    let failures = tallies.failures.iter().map(|(_, count)| u64::from(*count)).sum();
    let ends = tallies.ends.iter().fold(Sums::default(), |sum, (_, it)| sum.and(*it));
    (failures, ends)
}

/// What in `tallies` speaks against the service.
pub(super) fn bad(tallies: &Tallies, policy: &Policy) -> Bad {
    news(tallies, &Tallies::default(), policy).0
}

/// Whether `tallies` fulfil the condition `cause`. A run is its instance's alone, and did.
pub(super) fn holds(policy: &Policy, cause: Cause, tallies: &Tallies) -> bool {
    let (failures, ends) = sum(tallies);
    let shares =
        policy.trip.shares.filter(|shares| ends.requests >= u64::from(shares.min_requests.max(1)));
    match cause {
        Cause::Run => true,
        Cause::Failures => policy.trip.failures.is_some_and(|it| {
            let counted = if let Window::Sliding(_) = it.window { ends.failed } else { failures };
            counted >= u64::from(it.count.get())
        }),
        Cause::FailureRate => shares
            .and_then(|shares| shares.failed)
            .is_some_and(|share| share.reached(ends.failed, ends.requests)),
        Cause::SlowCalls => shares
            .and_then(|shares| shares.slow)
            .is_some_and(|slow| slow.share.reached(ends.slow, ends.requests)),
    }
}

/// What the other instances count, by epoch and instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others(BTreeMap<(u64, u64), (u64, Tallies)>);

impl Others {
    /// Takes what `instance` counts in `epoch`. The higher rank stays. Whether that is news.
    pub(super) fn take(&mut self, epoch: u64, instance: u64, rank: u64, tallies: Tallies) -> bool {
        let full = self.0.len() >= INSTANCES_MAX;
        match self.0.get_mut(&(epoch, instance)) {
            Some(held) if held.0 >= rank => false,
            Some(held) => {
                *held = (rank, tallies);
                true
            }
            None if full => false,
            None => {
                self.0.insert((epoch, instance), (rank, tallies));
                true
            }
        }
    }

    /// Forgets what was counted before `epoch`, and all that has aged.
    pub(super) fn prune(&mut self, epoch: u64, policy: &Policy, now: Now) {
        for (_, tallies) in self.0.values_mut() {
            age(tallies, policy, now);
        }
        self.0.retain(|(of, _), (_, it)| {
            *of >= epoch && (*of > epoch || !it.failures.is_empty() || !it.ends.is_empty())
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many instances of `epoch` have seen something bad.
    pub(super) fn bad(&self, epoch: u64, policy: &Policy) -> u32 {
        let bad = self.of(epoch).filter(|tallies| bad(tallies, policy).is_any()).count();
        u32::try_from(bad).unwrap_or(u32::MAX)
    }

    /// How many exchanges the others of `epoch` count that are not too old at `now`.
    pub(super) fn requests(&self, epoch: u64, policy: &Policy, now: Now) -> u64 {
        let Some(span) = policy.bucket_span() else { return 0 };
        let ends = self.of(epoch).flat_map(|tallies| &tallies.ends);
        ends.filter(|(at, _)| *at > now.before(span)).map(|(_, sums)| sums.requests).sum()
    }

    /// All others of `epoch` as one, in no more slots than a breaker has room for.
    pub(super) fn merged(&self, epoch: u64, policy: &Policy) -> Tallies {
        let span = policy.trip.failures.and_then(|it| match it.window {
            Window::Log(span) | Window::Fixed(span) => Some(span),
            Window::Sliding(_) | Window::Cumulative => None,
        });
        let failures = self.of(epoch).flat_map(|it| it.failures.iter().copied());
        let ends = self.of(epoch).flat_map(|it| it.ends.iter().copied());
        Tallies {
            failures: fold(failures, FAILURE_SLOTS, span, u32::saturating_add),
            ends: fold(ends, END_SLOTS, policy.bucket_span(), Sums::and),
        }
    }

    fn of(&self, epoch: u64) -> impl Iterator<Item = &Tallies> {
        self.0.range((epoch, 0)..=(epoch, u64::MAX)).map(|(_, (_, tallies))| tallies)
    }
}

/// Slots that begin within one part of the span become one, which ages with its oldest.
fn fold<T: Copy>(
    slots: impl Iterator<Item = (Now, T)>,
    most: usize,
    span: Option<Duration>,
    and: impl Fn(T, T) -> T,
) -> Vec<(Now, T)> {
    let micros = span.map_or(0, |span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    // The parts that a span touches are one more than it has.
    let width = (micros / (most as u64 - 2)).max(1);
    let mut parts: BTreeMap<u64, (Now, T)> = BTreeMap::new();
    for (at, count) in slots {
        let part = parts.entry(at.micros() / width);
        part.and_modify(|it| *it = (it.0.min(at), and(it.1, count))).or_insert((at, count));
    }
    let mut folded: Vec<_> = parts.into_values().collect();
    // More than one span of slots is more than counts: the oldest go.
    folded.drain(..folded.len().saturating_sub(most));
    folded
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::breaker::policy::{Slow, Trip};

    const SPAN: Duration = Duration::from_secs(10);

    fn sliding() -> Policy {
        Policy::reset(NonZeroU32::new(5).unwrap(), Window::Sliding(SPAN), SPAN)
    }

    const fn at(millis: u64) -> Now {
        Now::from_millis(millis)
    }

    fn ends(slots: &[(u64, u64)]) -> Tallies {
        let sums = |failed| Sums { requests: failed * 2, failed, slow: 0 };
        let ends = slots.iter().map(|(millis, failed)| (at(*millis), sums(*failed)));
        Tallies { failures: Vec::new(), ends: ends.collect() }
    }

    #[test]
    fn slots_travel_as_ages_between_clocks_that_agree_on_nothing() {
        let mut own = ends(&[(99_000, 3), (100_000, 1)]);
        own.failures = vec![(at(98_500), 7), (AGELESS, 2)];
        let said = text(&own, at(100_500));
        assert_eq!(said, "2000:7,-:2;1500:6:3:0,500:2:1:0");
        let read = read(&said, at(5_000)).unwrap();
        assert_eq!(read.failures, [(at(3_000), 7), (AGELESS, 2)]);
        assert_eq!(read.ends[0].0, at(3_500));
        for bad in ["", "1:2", "x:1;", "1:1;1:1:1", "1:-1;"] {
            assert!(super::read(bad, at(5_000)).is_none(), "{bad}");
        }
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent() {
        let takes = [
            (1, 7, 1, ends(&[(1_000, 1)])),
            (1, 7, 2, ends(&[(1_000, 2), (2_000, 1)])),
            (1, 8, 9, ends(&[(1_500, 4)])),
            (1, 8, 3, ends(&[(1_500, 1)])),
            (2, 7, 3, ends(&[(4_000, 5)])),
        ];
        let all = |order: &[usize]| {
            let mut others = Others::default();
            for &nth in order {
                let (epoch, instance, rank, tallies) = takes[nth].clone();
                others.take(epoch, instance, rank, tallies);
            }
            others
        };
        let once = all(&[0, 1, 2, 3, 4]);
        for order in [[4, 3, 2, 1, 0], [2, 4, 0, 3, 1], [1, 0, 3, 2, 4]] {
            assert_eq!(all(&order), once);
            let twice: Vec<usize> = order.iter().chain(&order).copied().collect();
            assert_eq!(all(&twice), once);
        }
        assert_eq!(sum(&once.merged(1, &sliding())).1.failed, 3 + 4);
        assert_eq!(sum(&once.merged(2, &sliding())).1.failed, 5);
    }

    #[test]
    fn each_condition_is_measured_by_what_it_counts_and_a_share_by_what_it_is_of() {
        let slow = Some(Slow { after: SPAN, share: Share::of(0.1) });
        let failed = Some(Share::of(0.5));
        let shares = Some(Shares { span: SPAN, min_requests: 20, failed, slow });
        let trip = Trip { failures: None, run: None, shares };
        let of = |requests| limits(&Policy { trip, ..sliding() }, requests);
        let ends = |failed, slow| Bad { failures: 0, failed, slow };
        assert_eq!(of(0), Bad { failures: u64::MAX, ..ends(10, 2) });
        assert_eq!(of(10_000), Bad { failures: u64::MAX, ..ends(5_000, 1_000) });
        assert!(!ends(1_249, 249).is_part(of(10_000), 4));
        assert!(ends(1_250, 0).is_part(of(10_000), 4) && ends(0, 250).is_part(of(10_000), 4));
        assert!(ends(1, 0).is_part(of(0), 100) && !ends(0, 0).is_part(of(0), 100));
        let counted = Trip { failures: sliding().trip.failures, ..trip };
        assert_eq!(limits(&Policy { trip: counted, ..sliding() }, 10_000).failed, 5);
        let log = Policy::look_back(NonZeroU32::new(7).unwrap(), SPAN);
        assert_eq!(limits(&log, 0), Bad { failures: 7, ..ends(u64::MAX, u64::MAX) });
    }

    #[test]
    fn many_slots_become_few_and_lose_nothing() {
        let mut others = Others::default();
        for instance in 0..50 {
            let slots: Vec<_> =
                (0..10).map(|nth| (90_000 + nth * 1000 + instance * 7, 1)).collect();
            assert!(others.take(1, instance, 1, ends(&slots)));
        }
        let merged = others.merged(1, &sliding());
        assert!(merged.ends.len() <= END_SLOTS, "{}", merged.ends.len());
        assert_eq!(sum(&merged).1.failed, 500);
        others.prune(1, &sliding(), at(200_000));
        assert_eq!(others, Others::default());
    }
}
