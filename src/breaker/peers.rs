//! What other instances say of a breaker, left where a core finds it that needs it.
//!
//! Enters, from the control plane's thread alone: what the others count, which permits of the
//! cluster's round this instance holds, and whether their store is lost. Leaves: the same, to a
//! core that records a failure or asks an open breaker; the closed path never looks. Owns also the
//! bell by which cores tell the control plane that a breaker failed or moved.
//!
//! A breaker that was never joined to a cluster has none of this, and decides alone.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::sync::Arc;

use super::atomics::{AtomicU32, AtomicU64, Ordering, fence};
use super::buckets::Sums;
use super::circuit::{Course, Source, State, Word};
use crate::clock::Now;

/// Slots for what others count against `maxFailures` or `maxErrors`. One where `loom` explores
/// every order of memory: of more there are too many.
pub const FAILURE_SLOTS: usize = if cfg!(loom) { 1 } else { 32 };
/// Slots for the exchanges that others count.
pub const END_SLOTS: usize = if cfg!(loom) { 1 } else { 16 };

/// Rung by cores, heard by the control plane: in which of 64 groups something happened.
#[derive(Debug)]
pub struct Bell(AtomicU64);

impl Bell {
    /// A silent bell.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(0)))
    }

    fn ring(&self, group: u32) {
        let bit = 1 << (group % 64);
        let mut seen = self.0.load(Ordering::Acquire);
        // Rung already: nothing is written, so that a storm of failures shares the line.
        while seen & bit == 0 {
            let order = (Ordering::AcqRel, Ordering::Acquire);
            match self.0.compare_exchange(seen, seen | bit, order.0, order.1) {
                Ok(_) => return,
                Err(theirs) => seen = theirs,
            }
        }
    }

    /// The groups that rang, a bit for each, since this was last asked.
    #[must_use]
    pub fn take(&self) -> u64 {
        let mut seen = self.0.load(Ordering::Acquire);
        while seen != 0 {
            match self.0.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return seen,
                Err(theirs) => seen = theirs,
            }
        }
        0
    }
}

/// Whether the store of what is shared is there, and what follows if not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is, or each instance decides alone.
    None,
    /// It is not: no breaker opens or closes.
    Freeze,
    /// It is not: nothing is refused.
    Closed,
}

/// The permits that this instance may give in the cluster's half-open round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// As many as the policy says: it decides alone.
    Free,
    /// None: it stays open.
    Nothing,
    /// Some.
    Held {
        /// The epoch of the open state that the round follows.
        epoch: u32,
        /// How many probes this instance may have had in all in the round.
        permits: u32,
        /// How many of its probes have to succeed.
        needed: u32,
        /// Permits that nobody has taken by then are not given.
        until: Now,
    },
}

/// A lease packs its end (ms) above permits (10 bits), needed (10 bits) and an epoch's low bits.
const FREE: u64 = u64::MAX;
const ROUND_BITS: u32 = 6;
const COUNT_BITS: u32 = 10;
const COUNT_MASK: u32 = (1 << COUNT_BITS) - 1;
const END_MASK: u64 = (1 << 37) - 1; // so that none looks like `FREE`

#[derive(Debug)]
pub(super) struct Peers {
    bell: Arc<Bell>,
    group: u32,
    /// Zero while the slots are being written; else a growing number above an epoch.
    version: AtomicU64,
    failures: [FailureSlot; FAILURE_SLOTS],
    ends: [EndSlot; END_SLOTS],
    lease: AtomicU64,
    loss: AtomicU32,
    /// How often the cluster's word was followed: by state before, course and source.
    followed: [AtomicU64; FOLLOWS],
}

const FOLLOWS: usize = State::ALL.len() * Course::ALL.len() * Source::ALL.len();
const EPOCH_BITS: u32 = 18;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;

#[derive(Debug, Default)]
struct FailureSlot {
    at: AtomicU64,
    count: AtomicU32,
}

#[derive(Debug, Default)]
struct EndSlot {
    at: AtomicU64,
    requests: AtomicU32,
    failed: AtomicU32,
    slow: AtomicU32,
}

/// What others count, as read at one instant. A slot counts while its beginning does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    failures: [(u64, u32); FAILURE_SLOTS],
    ends: [(u64, Sums); END_SLOTS],
}

impl Said {
    /// How many failures lie after the microsecond `after`.
    pub(super) fn failures_since(&self, after: u64) -> u32 {
        let young = self.failures.iter().filter(|(at, _)| *at > after);
        young.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The exchanges that ended after the microsecond `after`.
    pub(super) fn ends_since(&self, after: u64) -> Sums {
        let young = self.ends.iter().filter(|(at, _)| *at > after);
        young.fold(Sums::default(), |sum, (_, ends)| sum.and(*ends))
    }
}

impl Peers {
    pub(super) fn new(bell: Arc<Bell>, group: u32) -> Self {
        Self {
            bell,
            group,
            version: AtomicU64::new(0),
            failures: std::array::from_fn(|_| FailureSlot::default()),
            ends: std::array::from_fn(|_| EndSlot::default()),
            lease: AtomicU64::new(FREE),
            loss: AtomicU32::new(0),
            followed: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Tells the control plane that something happened.
    pub(super) fn ring(&self) {
        self.bell.ring(self.group);
    }

    /// What others count in `epoch`, or in whatever epoch. `None`: nothing, or it is being written;
    /// who writes it asks the conditions afterwards.
    pub(super) fn said(&self, epoch: Option<u32>) -> Option<Said> {
        let version = self.version.load(Ordering::Acquire);
        let of_epoch = epoch.is_none_or(|epoch| version & EPOCH_MASK == u64::from(epoch));
        if version == 0 || !of_epoch {
            return None;
        }
        let number = |slot: &AtomicU32| u64::from(slot.load(Ordering::Relaxed));
        let said = Said {
            failures: std::array::from_fn(|nth| {
                let slot = self.failures.get(nth);
                slot.map_or((0, 0), |slot| {
                    (slot.at.load(Ordering::Relaxed), slot.count.load(Ordering::Relaxed))
                })
            }),
            ends: std::array::from_fn(|nth| {
                let sums = |slot: &EndSlot| Sums {
                    requests: number(&slot.requests),
                    failed: number(&slot.failed),
                    slow: number(&slot.slow),
                };
                let slot = self.ends.get(nth);
                slot.map_or((0, Sums::default()), |slot| {
                    (slot.at.load(Ordering::Relaxed), sums(slot))
                })
            }),
        };
        fence(Ordering::Acquire);
        (self.version.load(Ordering::Relaxed) == version).then_some(said)
    }

    /// Replaces what others count in `epoch`. One thread: the control plane's.
    pub(super) fn say(
        &self,
        epoch: u32,
        failures: &[(Now, u32)],
        ends: &[(Now, Sums)],
        count: u64,
    ) {
        let few = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        self.version.store(0, Ordering::Relaxed);
        // Release: who sees a slot written sees the zero before it, or the new version.
        fence(Ordering::Release);
        for (nth, slot) in self.failures.iter().enumerate() {
            let (at, count) = failures.get(nth).map_or((0, 0), |(at, count)| (at.micros(), *count));
            slot.at.store(at, Ordering::Relaxed);
            slot.count.store(count, Ordering::Relaxed);
        }
        for (nth, slot) in self.ends.iter().enumerate() {
            let none = (0, Sums::default());
            let (at, sums) = ends.get(nth).map_or(none, |(at, sums)| (at.micros(), *sums));
            slot.at.store(at, Ordering::Relaxed);
            slot.requests.store(few(sums.requests), Ordering::Relaxed);
            slot.failed.store(few(sums.failed), Ordering::Relaxed);
            slot.slow.store(few(sums.slow), Ordering::Relaxed);
        }
        let version = count.max(1) << EPOCH_BITS | u64::from(epoch);
        self.version.store(version, Ordering::Release);
        // Pairs with the fence of a failing core: it sees this, or who asks next sees its failure.
        fence(Ordering::SeqCst);
    }

    pub(super) fn lend(&self, lease: Lease) {
        let packed = match lease {
            Lease::Free => FREE,
            Lease::Nothing => 0,
            Lease::Held { epoch, permits, needed, until } => {
                let end = until.millis().min(END_MASK) << (2 * COUNT_BITS + ROUND_BITS);
                let permits = u64::from(permits.min(COUNT_MASK)) << (COUNT_BITS + ROUND_BITS);
                let needed = u64::from(needed.min(COUNT_MASK)) << ROUND_BITS;
                end | permits | needed | u64::from(epoch & ((1 << ROUND_BITS) - 1))
            }
        };
        self.lease.store(packed, Ordering::Release);
    }

    /// How many permits the round of `word` may have had by now, of `requests`. What was lent to
    /// another round counts for nothing here.
    pub(super) fn permits(&self, word: Word, requests: u32, now: Now) -> u32 {
        match self.lease.load(Ordering::Acquire) {
            FREE => requests,
            lease => match round(lease, word) {
                Some((permits, _, until)) if now.millis() < until => permits.min(requests),
                _ => 0,
            },
        }
    }

    /// How many probes of this instance have to succeed in the round of `word`, if the policy says
    /// `successes`. `None`: others decide.
    pub(super) fn needed(&self, word: Word, successes: u32) -> Option<u32> {
        match self.lease.load(Ordering::Acquire) {
            FREE => Some(successes),
            lease => round(lease, word).map(|(_, needed, _)| needed),
        }
    }

    pub(super) fn lose(&self, loss: Loss) {
        self.loss.store(loss as u32, Ordering::Release);
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.loss.load(Ordering::Acquire) == Loss::Freeze as u32
    }

    pub(super) fn refuses_nothing(&self) -> bool {
        self.loss.load(Ordering::Acquire) == Loss::Closed as u32
    }

    pub(super) fn follows(&self, from: State, course: Course, source: Source) -> &AtomicU64 {
        let nth = (from as usize * Course::ALL.len() + course as usize) * Source::ALL.len();
        // Every index is below the product of the three lengths.
        self.followed.get(nth + source as usize).unwrap_or(&self.followed[0])
    }
}

/// Permits, needed successes and end of `lease`, if it is for the round of `word`.
fn round(lease: u64, word: Word) -> Option<(u32, u32, u64)> {
    let open = match word.state() {
        State::HalfOpen => word.epoch().wrapping_sub(1),
        State::Closed | State::Open | State::Recovering => word.epoch(),
    };
    let mask = (1 << ROUND_BITS) - 1;
    if lease == 0 || lease & mask != u64::from(open) & mask {
        return None;
    }
    let permits = (lease >> (COUNT_BITS + ROUND_BITS)) as u32 & COUNT_MASK;
    let needed = (lease >> ROUND_BITS) as u32 & COUNT_MASK;
    Some((permits, needed, lease >> (2 * COUNT_BITS + ROUND_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Now {
        Now::from_millis(millis)
    }

    #[test]
    fn what_others_say_takes_no_more_than_is_documented() {
        assert!(size_of::<Peers>() <= 1280, "{}", size_of::<Peers>());
    }

    #[test]
    fn a_bell_tells_each_group_once() {
        let bell = Bell::new();
        bell.ring(3);
        bell.ring(3);
        bell.ring(64);
        assert_eq!((bell.take(), bell.take()), (0b1001, 0));
    }

    #[test]
    fn what_others_count_ages_and_ends_with_its_epoch() {
        let peers = Peers::new(Bell::new(), 0);
        assert!(peers.said(None).is_none());
        let sums = Sums { requests: 9, failed: 2, slow: 1 };
        peers.say(5, &[(at(100), 3), (at(200), 4)], &[(at(100), sums), (at(150), sums)], 1);
        let said = peers.said(Some(5)).unwrap();
        assert_eq!([0, 99_999, 100_000, 200_000].map(|at| said.failures_since(at)), [7, 7, 4, 0]);
        assert_eq!(said.ends_since(0), sums.and(sums));
        assert_eq!(said.ends_since(100_000), sums);
        assert!(peers.said(Some(6)).is_none() && peers.said(None).is_some());
        peers.say(6, &[], &[], 2);
        assert_eq!(peers.said(Some(6)).unwrap().failures_since(0), 0);
    }

    #[test]
    fn a_lease_is_for_one_round_and_ends() {
        let peers = Peers::new(Bell::new(), 0);
        let open = Word::new(State::Open, 70, 1, 0);
        let probing = Word::new(State::HalfOpen, 71, 1, 0);
        let again = Word::new(State::Open, 72, 2, 0);
        assert_eq!((peers.permits(open, 3, at(1)), peers.needed(probing, 2)), (3, Some(2)));
        peers.lend(Lease::Nothing);
        assert_eq!((peers.permits(open, 3, at(1)), peers.needed(probing, 2)), (0, None));
        peers.lend(Lease::Held { epoch: 70, permits: 2, needed: 1, until: at(100) });
        assert_eq!(peers.permits(open, 3, at(99)), 2);
        assert_eq!(peers.permits(probing, 1, at(99)), 1);
        assert_eq!((peers.permits(again, 3, at(99)), peers.permits(open, 3, at(100))), (0, 0));
        assert_eq!(peers.needed(probing, 5), Some(1));
    }
}
