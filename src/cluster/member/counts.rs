//! What a member and the others count.
//!
//! Enters: the breaker's own slots of time, and what other instances told. Leaves: what the breaker
//! is told of the others, and the register that tells them of this one. A local epoch that ends
//! while the agreed one goes on (a breaker opened alone, and healed) takes nothing with it: what it
//! counted is kept.

use std::time::Duration;

use super::super::register::Put;
use super::super::shard::Knows;
use super::super::tally::{self, Bad};
use super::{AGREED_TTL, Haste, Member, Shard, millis};
use crate::breaker::Transition;
use crate::breaker::circuit::{Cause, Course, State};
use crate::breaker::follow::{AGELESS, Tallies};
use crate::breaker::policy::{Policy, Window};
use crate::clock::Now;

/// Counters outlive their window by this.
const COUNTS_TTL: Duration = Duration::from_secs(5);

/// How often totals are told while nothing fails anywhere.
const IDLE: Duration = Duration::from_secs(1);

impl Member {
    /// Hears what another instance counts.
    pub(in crate::cluster) fn hear_counts(
        &mut self,
        (geometry, epoch, instance): (u64, u64, u64),
        rank: u64,
        tallies: Tallies,
    ) {
        if geometry == self.geometry && epoch >= self.agreed.epoch {
            self.asleep = None;
            if self.others.take(epoch, instance, rank, tallies) {
                self.news += 1;
            }
        }
    }

    /// Tells the breaker what others count, if that is news, and lets it judge.
    pub(in crate::cluster) fn enlighten(
        &mut self,
        shard: Shard<'_>,
        now: Now,
    ) -> Option<Transition> {
        // How many have seen failures changes with age too.
        let asks = shard.settings.quorum.0 > 0 && self.asleep.is_none();
        if shard.knows != Knows::All || !(self.news != self.told || asks) {
            return None;
        }
        let policy = self.breaker.policy();
        self.others.prune(self.agreed.epoch, policy, now);
        // One word: should the breaker move now, this is told of the epoch before, and is nothing.
        let epoch = self.breaker.word().epoch();
        let theirs = if self.counts == Some(epoch) && self.is_quorate(shard, now) {
            self.others.merged(self.agreed.epoch, policy)
        } else {
            Tallies::default()
        };
        self.tell(epoch, &theirs);
        self.breaker.tick(now)
    }

    /// Tells the breaker what others count in its `epoch`.
    fn tell(&mut self, epoch: u32, theirs: &Tallies) {
        // Each telling has a number of its own.
        self.news += 1;
        self.told = self.news;
        self.breaker.told(epoch, theirs, self.told);
    }

    /// Tells the breaker that others count nothing.
    pub(super) fn hush(&mut self) {
        self.tell(self.breaker.word().epoch(), &Tallies::default());
    }

    /// Whether what opened this breaker alone holds for the cluster.
    pub(super) fn leads(&self, shard: Shard<'_>, now: Now) -> bool {
        let Some(alone) = self.alone.filter(|it| it.may_lead) else { return false };
        let decides_alone = matches!(alone.cause, Cause::Failures | Cause::Run);
        if shard.settings.quorum.0 == 0 && decides_alone {
            return true;
        }
        let mut all = self.others.merged(self.agreed.epoch, self.breaker.policy());
        let own = self.own(now);
        all.failures.extend(own.failures);
        all.ends.extend(own.ends);
        self.is_quorate(shard, now) && tally::holds(self.breaker.policy(), alone.cause, &all)
    }

    /// Whether enough instances have seen something bad.
    fn is_quorate(&self, shard: Shard<'_>, now: Now) -> bool {
        if shard.settings.quorum.0 == 0 {
            return true;
        }
        let policy = self.breaker.policy();
        let own = u32::from(tally::bad(&self.own(now), policy).is_any());
        let bad = self.others.bad(self.agreed.epoch, policy) + own;
        bad >= shard.settings.quorum.of_count(shard.living).max(1)
    }

    /// What this instance has counted in the agreed epoch.
    pub(super) fn own(&self, now: Now) -> Tallies {
        let mut own = self.kept.clone();
        if let Some(epoch) = self.counts {
            let live = self.breaker.tallies(epoch, now);
            own.failures.extend(live.failures);
            own.ends.extend(live.ends);
        }
        let policy = self.breaker.policy();
        tally::age(&mut own, policy, now);
        if policy.trip.shares.is_none() {
            own.ends.retain(|(_, sums)| sums.failed > 0);
        }
        tally::join(&mut own);
        own
    }

    /// Keeps what was counted in a local epoch that is over.
    pub(super) fn keep(&mut self, epoch: u32, now: Now) {
        let mut live = self.breaker.tallies(epoch, now);
        let policy = self.breaker.policy();
        if policy.trip.failures.is_some_and(|it| matches!(it.window, Window::Log(_))) {
            live.failures.clear(); // whatever the epoch, it stays in the log
        }
        self.kept.failures.append(&mut live.failures);
        self.kept.ends.append(&mut live.ends);
        tally::age(&mut self.kept, policy, now);
        tally::join(&mut self.kept);
        self.counts = None;
    }

    pub(super) fn is_hot(&self, own: &Tallies) -> bool {
        let policy = self.breaker.policy();
        self.agreed.course != Course::Close
            || self.others.bad(self.agreed.epoch, policy) > 0
            || tally::bad(own, policy).is_any()
    }

    /// Whether nothing is counted here that the store was not told.
    pub(super) fn is_told(&self, own: &Tallies) -> bool {
        !tally::news(own, &self.pushed, self.breaker.policy()).1
    }

    /// How soon what is counted here is to be told.
    pub(super) fn push_haste(&self, shard: Shard<'_>, own: &Tallies, now: Now) -> Haste {
        let (bad, any) = tally::news(own, &self.pushed, self.breaker.policy());
        // All together keep back less than half of what it takes.
        let parts = 2 * u64::from(shard.living.max(1));
        // Who is open will see no more failures to tell these with.
        let open = self.breaker.word().state() == State::Open;
        if bad.is_part(self.limits(own, now), parts) || open && bad.is_any() {
            Haste::Now
        } else if bad.is_any() || any && (self.is_hot(own) || now.since(self.pushed_at) >= IDLE) {
            Haste::Tick
        } else {
            Haste::None
        }
    }

    /// The register of what is counted here, if there is news, or before it expires.
    pub(super) fn put_counts(&mut self, shard: Shard<'_>, now: Now, rank: u64) -> Option<Put> {
        let policy = self.breaker.policy();
        let own = self.own(now);
        let ageless = own.failures.iter().any(|(at, _)| *at == AGELESS);
        let again = ageless && now.since(self.pushed_at) >= AGREED_TTL / 3;
        let haste = self.push_haste(shard, &own, now);
        if haste == Haste::None && !again {
            return None;
        }
        if haste > Haste::None {
            self.pushed_rank = rank;
        }
        let window = policy.trip.failures.and_then(|it| match it.window {
            Window::Log(span) | Window::Fixed(span) | Window::Sliding(span) => Some(span),
            Window::Cumulative => None,
        });
        let span = window.max(policy.bucket_span()).unwrap_or_default() + COUNTS_TTL;
        let span = if ageless { span.max(AGREED_TTL) } else { span };
        let (id, geometry, epoch) = (self.id, self.geometry, self.agreed.epoch);
        let put = Put {
            field: format!("c:{id:016x}:{geometry:016x}:{epoch}:{:016x}", self.instance),
            rank: self.pushed_rank,
            ttl: millis(span),
            loud: haste == Haste::Now || haste == Haste::Tick && self.is_near(&own, now),
            value: tally::text(&own, now),
        };
        (self.pushed, self.pushed_at) = (own, now);
        Some(put)
    }

    /// Whether what is known is half of what it takes. What each keeps back until its next tick is
    /// less than the other half, so that whoever tells the last part tells it aloud.
    fn is_near(&self, own: &Tallies, now: Now) -> bool {
        let policy = self.breaker.policy();
        let theirs = self.others.merged(self.agreed.epoch, policy);
        let known = tally::bad(own, policy).and(tally::bad(&theirs, policy));
        known.is_part(self.limits(own, now), 2)
    }

    /// How much it takes to open. Of a share, no more than it will: exchanges that this instance
    /// has not heard of raise it further.
    fn limits(&self, own: &Tallies, now: Now) -> Bad {
        let policy = self.breaker.policy();
        let theirs = self.others.requests(self.agreed.epoch, policy, now);
        tally::limits(policy, tally::sum(own).1.requests + theirs)
    }
}

#[cfg(test)]
impl Member {
    pub(in crate::cluster) fn standing(&self) -> (u64, bool) {
        (self.agreed.epoch, self.in_step(self.breaker.word()) && self.alone.is_none())
    }

    pub(in crate::cluster) fn opened(&self) -> (u64, u32) {
        (self.agreed.epoch, self.agreed.streak)
    }

    pub(in crate::cluster) fn rank_of_permits(&self) -> u64 {
        self.table.as_ref().map_or(0, super::super::lease::Table::rank)
    }

    pub(in crate::cluster) fn estimate(&self, now: Now) -> u64 {
        let mut all = self.others.merged(self.agreed.epoch, self.breaker.policy());
        tally::age(&mut all, self.breaker.policy(), now);
        let own = self.own(now);
        all.failures.extend(own.failures);
        all.ends.extend(own.ends);
        let (failures, ends) = tally::sum(&all);
        failures.max(ends.failed)
    }
}

/// What has to be equal for counts to be of one kind.
pub(super) fn geometry(policy: &Policy) -> u64 {
    let window = policy.trip.failures.map(|it| it.window);
    let shares = policy.trip.shares.map(|shares| (shares.span, shares.slow.map(|it| it.after)));
    super::hash(format!("{window:?} {shares:?} {:?}", policy.failures).bytes())
}
