//! Whose turn it is to probe: the permits of one half-open round, over all instances.
//!
//! Enters: the register that holds the table of a round. Leaves: the same table with one share
//! changed, under the next rank: of two instances that change it at once, the store keeps the
//! first, and the other looks again. So no more permits are ever out than the round has, whoever
//! asks.
//!
//! A permit comes back by its probe's verdict, by its holder, or when the holder has been silent
//! for longer than its probe may take. Who wants one and finds none says so; then a holder that has
//! no use for its own gives it back.

use std::collections::BTreeMap;

use crate::breaker::policy::PROBES_MAX;

/// Changes of a table in one round are numbered in so many bits, below its epoch: of the 53 that
/// the script's numbers have. A breaker that is open for want of requests, and whose permits are
/// kept three times a second, has enough of them for half a year, and epochs for two years of
/// moves each second.
const REVISION_BITS: u32 = 26;
const REVISION_MAX: u64 = (1 << REVISION_BITS) - 1;

/// Instances in a table at most: a round has no more permits.
const SHARES_MAX: usize = PROBES_MAX as usize;

/// What one instance has of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Permits it may still use, or has a probe under way with.
    pub(super) out: u32,
    /// Probes of it that succeeded.
    pub(super) done: u32,
    /// When (ms, by the store's clock) what is out is nobody's again.
    pub(super) until: u64,
}

/// Whether somebody wants a permit and found none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nobody does.
    #[default]
    Met,
    /// Somebody does.
    Unmet,
}

/// The permits of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// The epoch of the open state that the round follows.
    pub(super) epoch: u64,
    revision: u64,
    pub(super) demand: Demand,
    shares: BTreeMap<u64, Share>,
}

impl Table {
    /// The round of `epoch`, of which nothing is given yet.
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }

    pub(super) const fn rank(&self) -> u64 {
        self.epoch << REVISION_BITS | self.revision
    }

    /// `wanted 00000000000000ab:1:0:1700000000000`
    pub(super) fn text(&self) -> String {
        let shares = self.shares.iter().map(|(instance, Share { out, done, until })| {
            format!("{instance:016x}:{out}:{done}:{until}")
        });
        let shares: Vec<String> = shares.collect();
        let demand = match self.demand {
            Demand::Met => "-",
            Demand::Unmet => "wanted",
        };
        format!("{demand} {}", shares.join(","))
    }

    pub(super) fn read(rank: u64, value: &str) -> Option<Self> {
        let (wanted, list) = value.split_once(' ')?;
        let mut shares = BTreeMap::new();
        for share in list.split(',').filter(|share| !share.is_empty()).take(SHARES_MAX) {
            let mut parts = share.split(':');
            let instance = u64::from_str_radix(parts.next()?, 16).ok()?;
            let (out, done) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let until = parts.next()?.parse().ok()?;
            if out > PROBES_MAX || done > PROBES_MAX {
                return None;
            }
            shares.insert(instance, Share { out, done, until });
        }
        let (epoch, revision) = (rank >> REVISION_BITS, rank & REVISION_MAX);
        let demand = if wanted == "wanted" { Demand::Unmet } else { Demand::Met };
        Some(Self { epoch, revision, demand, shares })
    }

    pub(super) fn of(&self, instance: u64) -> Share {
        self.shares.get(&instance).copied().unwrap_or_default()
    }

    /// How many probes succeeded, of all instances but this one.
    pub(super) fn done_by_others(&self, instance: u64) -> u32 {
        self.others(instance).map(|share| share.done).fold(0, u32::saturating_add)
    }

    /// How many permits others hold or have used at `now` (ms of the store's clock). What is to
    /// last longer than `longest` was written under another clock, and is nobody's.
    pub(super) fn taken_by_others(&self, instance: u64, now: u64, longest: u64) -> u32 {
        let runs = |share: &Share| now < share.until && share.until - now <= longest;
        let taken =
            |share: Share| share.done.saturating_add(if runs(&share) { share.out } else { 0 });
        self.others(instance).map(taken).fold(0, u32::saturating_add)
    }

    /// This table with `share` for `instance`. `None`: it has been changed too often.
    pub(super) fn with(&self, instance: u64, share: Share, demand: Demand) -> Option<Self> {
        if self.revision == REVISION_MAX {
            return None;
        }
        let mut next = Self { revision: self.revision + 1, demand, ..self.clone() };
        next.shares.insert(instance, share);
        next.shares.retain(|_, share| share.out > 0 || share.done > 0);
        Some(next)
    }

    /// Whether `next` gives the same permits to the same instances, wanted by as many.
    pub(super) fn differs_in_time_alone(&self, next: &Self) -> bool {
        let timeless = |table: &Self| -> Vec<_> {
            table.shares.iter().map(|(instance, it)| (*instance, it.out, it.done)).collect()
        };
        self.demand == next.demand && timeless(self) == timeless(next)
    }

    fn others(&self, instance: u64) -> impl Iterator<Item = Share> {
        self.shares.iter().filter(move |(it, _)| **it != instance).map(|(_, share)| *share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_kept_for_longer_is_no_news_and_can_be_for_long() {
        let share = Share { out: 1, done: 0, until: 5 };
        let table = Table::new(9).with(1, share, Demand::Met).unwrap();
        let longer = table.with(1, Share { until: 6, ..share }, Demand::Met).unwrap();
        assert!(longer.rank() > table.rank() && table.differs_in_time_alone(&longer));
        let back = Share { out: 0, ..share };
        for next in [(1, back, Demand::Met), (2, share, Demand::Met), (1, share, Demand::Unmet)] {
            let next = table.with(next.0, next.1, next.2).unwrap();
            assert!(!table.differs_in_time_alone(&next), "{next:?}");
        }
        // A night of being open, kept three times a second.
        let mut kept = table;
        for until in 0..100_000 {
            kept = kept.with(1, Share { until, ..share }, Demand::Met).unwrap();
        }
        assert_eq!(Table::read(kept.rank(), &kept.text()).map(|it| it.epoch), Some(9));
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let share = Share { out: 1, done: 2, until: 1_700_000_000_000 };
        let table = Table::new(9).with(0xab, share, Demand::Unmet).unwrap();
        let table = table.with(7, Share { done: 1, ..Share::default() }, Demand::Unmet).unwrap();
        assert_eq!(Table::read(table.rank(), &table.text()), Some(table.clone()));
        assert_eq!(table.of(0xab), share);
        assert!(table.rank() > Table::new(9).rank() && table.rank() < Table::new(10).rank());
        for bad in ["", "-", "- x", "- 1:2", "- 1:2:3:-4", "- 1:4294967295:0:1"] {
            let read = Table::read(1, bad);
            assert!(read.is_none(), "{bad}: {read:?}");
        }
    }

    #[test]
    fn what_is_out_ends_and_what_is_done_does_not() {
        let table =
            Table::new(1).with(1, Share { out: 2, done: 1, until: 500 }, Demand::Met).unwrap();
        assert_eq!(table.taken_by_others(2, 499, 1000), 3);
        assert_eq!(table.taken_by_others(2, 500, 1000), 1);
        assert_eq!(table.taken_by_others(2, 0, 100), 1, "of another clock");
        assert_eq!((table.taken_by_others(1, 0, 1000), table.done_by_others(2)), (0, 1));
        let back = table.with(1, Share::default(), Demand::Met).unwrap();
        assert_eq!(back.taken_by_others(2, 0, 1000), 0);
    }
}
