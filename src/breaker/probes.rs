//! The permits of a half-open round: one slot each.
//!
//! Enters: a request that would be a probe, and later its verdict. Leaves: a permit, at most as
//! many at a time as there are slots; and how many probes of the round succeeded. A slot is free,
//! out, or done; what it says counts for the epoch it was written in only, so that a new round
//! begins with all slots free. A permit that is out for too long is given to the next.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::atomics::{AtomicU64, Ordering, fence};

/// A slot packs the epoch above its phase above a moment (milliseconds) that makes it unique.
const MOMENT_BITS: u32 = 38;
const PHASE_BITS: u32 = 2;
const MOMENT_MASK: u64 = (1 << MOMENT_BITS) - 1;

const FREE: u64 = 0;
const OUT: u64 = 1;
const DONE: u64 = 2;

#[derive(Debug)]
pub(super) struct Probes(Box<[AtomicU64]>);

/// The right to be a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permit {
    slot: u32,
    /// What the slot held when the permit was given: another value, and it is another's.
    stamp: u64,
}

/// A slot that may be taken as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    slot: u32,
    seen: u64,
    /// Its permit was given once, and never came back.
    pub(super) lost: bool,
}

impl Probes {
    pub(super) fn new(requests: u32) -> Self {
        Self((0..Self::slots(requests)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Slots for so many permits: their geometry. Small numbers share one.
    pub(super) fn slots(requests: u32) -> usize {
        const SLOTS_MIN: usize = 8;
        (requests as usize).next_power_of_two().max(SLOTS_MIN)
    }

    /// Finds a place for one of `requests` permits of `epoch`.
    pub(super) fn find(&self, epoch: u32, requests: u32, now: u64) -> Option<Place> {
        let taken = |seen: u64| match phase(seen, epoch) {
            FREE => false,
            OUT => now < seen & MOMENT_MASK,
            _ => true,
        };
        // Of a round that a reload made smaller, some may be out beyond its end: the first slots
        // are given as far as there are permits left beside what is taken of the others. No other
        // taker can break that: it gives of more slots only where it finds fewer of the rest taken.
        let busy = |slot: &AtomicU64| usize::from(taken(slot.load(Ordering::Acquire)));
        let requests = requests as usize;
        let mut beyond: usize = self.0.iter().skip(requests).map(busy).sum();
        let mut left = requests;
        while left > 0 && left + beyond > requests {
            left -= 1;
            beyond += self.0.get(left).map_or(0, busy);
        }
        let places = self.0.iter().take(left).enumerate();
        let mut places = places.map(|(nth, slot)| (nth, slot.load(Ordering::Acquire)));
        let (nth, seen) = places.find(|(_, seen)| !taken(*seen))?;
        Some(Place { slot: u32::try_from(nth).ok()?, seen, lost: phase(seen, epoch) == OUT })
    }

    /// Takes a permit of `epoch` at `place`; it is lost at `lost_at` (milliseconds). `None`:
    /// another core was first.
    pub(super) fn take(&self, place: Place, epoch: u32, lost_at: u64) -> Option<Permit> {
        let stamp = pack(epoch, OUT, lost_at);
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let slot = self.0.get(place.slot as usize)?;
        slot.compare_exchange(place.seen, stamp, order.0, order.1).ok()?;
        Some(Permit { slot: place.slot, stamp })
    }

    /// Whether a permit of `epoch` is out.
    pub(super) fn any_out(&self, epoch: u32) -> bool {
        self.0.iter().any(|slot| phase(slot.load(Ordering::Acquire), epoch) == OUT)
    }

    /// Whether `permit` has not been given to another.
    pub(super) fn holds(&self, permit: Permit) -> bool {
        let slot = self.0.get(permit.slot as usize);
        slot.is_some_and(|slot| slot.load(Ordering::Acquire) == permit.stamp)
    }

    /// Gives `permit` back without a verdict.
    pub(super) fn give_back(&self, permit: Permit) {
        self.turn(permit, FREE);
    }

    /// The probe of `permit` succeeded: how many of the round now have. `None`: the permit has been
    /// given to another.
    pub(super) fn succeed(&self, permit: Permit) -> Option<u32> {
        if !self.turn(permit, DONE) {
            return None;
        }
        // Of two probes that succeed on two cores at once, at least one sees both.
        fence(Ordering::SeqCst);
        Some(self.done(epoch_of(permit.stamp)))
    }

    /// How many probes of `epoch` succeeded.
    pub(super) fn done(&self, epoch: u32) -> u32 {
        let done = |slot: &&AtomicU64| phase(slot.load(Ordering::Acquire), epoch) == DONE;
        u32::try_from(self.0.iter().filter(done).count()).unwrap_or(u32::MAX)
    }

    fn turn(&self, permit: Permit, phase: u64) -> bool {
        let next = pack(epoch_of(permit.stamp), phase, permit.stamp & MOMENT_MASK);
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let slot = self.0.get(permit.slot as usize);
        slot.is_some_and(|slot| slot.compare_exchange(permit.stamp, next, order.0, order.1).is_ok())
    }
}

const fn pack(epoch: u32, phase: u64, moment: u64) -> u64 {
    let moment = if moment > MOMENT_MASK { MOMENT_MASK } else { moment };
    (epoch as u64) << (MOMENT_BITS + PHASE_BITS) | phase << MOMENT_BITS | moment
}

const fn epoch_of(slot: u64) -> u32 {
    (slot >> (MOMENT_BITS + PHASE_BITS)) as u32
}

/// What a slot says about `epoch`.
const fn phase(slot: u64, epoch: u32) -> u64 {
    if epoch_of(slot) == epoch { slot >> MOMENT_BITS & ((1 << PHASE_BITS) - 1) } else { FREE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(probes: &Probes, epoch: u32, requests: u32, now: u64, lost_at: u64) -> Option<Permit> {
        probes.take(probes.find(epoch, requests, now)?, epoch, lost_at)
    }

    #[test]
    fn a_round_has_so_many_permits_and_a_new_one_has_them_again() {
        let probes = Probes::new(2);
        let first = take(&probes, 7, 2, 100, 200).unwrap();
        let second = take(&probes, 7, 2, 100, 200).unwrap();
        assert_eq!(take(&probes, 7, 2, 100, 200), None);
        assert_eq!(probes.succeed(first), Some(1));
        assert_eq!(take(&probes, 7, 2, 100, 200), None, "a success keeps its place");
        probes.give_back(second);
        assert!(!probes.any_out(7));
        let third = take(&probes, 7, 2, 101, 201).unwrap();
        assert_eq!(probes.succeed(second), None, "it has been given back");
        assert_eq!((probes.succeed(third), probes.done(8)), (Some(2), 0));
        assert!(take(&probes, 8, 2, 100, 200).is_some());
    }

    #[test]
    fn a_smaller_round_counts_what_a_larger_one_gave() {
        let probes = Probes::new(3);
        let [first, _, third] = [0; 3].map(|_| take(&probes, 1, 3, 100, 200).unwrap());
        probes.give_back(first);
        assert_eq!(take(&probes, 1, 1, 100, 200), None, "two are out");
        probes.give_back(third);
        assert_eq!(take(&probes, 1, 1, 100, 200), None, "one is");
        assert!(take(&probes, 1, 2, 100, 200).is_some());

        let probes = Probes::new(3);
        assert!(take(&probes, 1, 3, 100, 150).is_some(), "this one is lost soon");
        assert!(take(&probes, 1, 3, 100, 200).is_some() && take(&probes, 1, 3, 100, 200).is_some());
        assert_eq!(take(&probes, 1, 2, 160, 200), None, "the other two are out");
    }

    #[test]
    fn a_lost_permit_goes_to_the_next() {
        let probes = Probes::new(1);
        let lost = take(&probes, 1, 1, 100, 200).unwrap();
        assert_eq!(take(&probes, 1, 1, 199, 299), None);
        let next = take(&probes, 1, 1, 200, 300).unwrap();
        assert!(!probes.holds(lost) && probes.holds(next));
        assert_eq!((probes.succeed(lost), probes.succeed(next)), (None, Some(1)));
    }
}
