//! A member's part in the rounds of probes.
//!
//! Enters: the table of the round that the store holds, and what probes here came to. Leaves: the
//! permits that the breaker may give, and the table as this instance would have it. They are taken
//! ahead, shortly before the open time ends, so that no request waits for one; who holds none stays
//! open. Who gives one back stops lending it first: the store may pass it on before this instance
//! hears that it has.

use std::time::Duration;

use super::super::LOOK;
use super::super::lease::{Demand, Share, Table};
use super::super::register::Put;
use super::super::shard::Knows;
use super::{Member, Shard, millis};
use crate::breaker::Transition;
use crate::breaker::circuit::{Course, Source, State};
use crate::breaker::follow::Lead;
use crate::breaker::peers::Lease;
use crate::breaker::policy::Recovery;
use crate::clock::Now;

/// What the clocks of a store and of a holder may differ by while a lease runs.
const SLACK: Duration = Duration::from_millis(500);

impl Member {
    /// The table that the store is to hold: as this instance would have it, or as it was, should
    /// the store have forgotten it.
    pub(super) fn put_table(&mut self, shard: Shard<'_>, now: Now) -> Option<Put> {
        let next = self.lease(shard, now).filter(|_| shard.knows == Knows::All);
        if next.as_ref().is_some_and(|next| self.gives_back(next)) && !self.yields(now) {
            return None;
        }
        let held = self.table.as_ref().filter(|it| it.epoch == self.agreed.epoch);
        if let Some(next) = next {
            // What is only kept for longer is news to nobody.
            let kept = held.is_some_and(|held| held.differs_in_time_alone(&next));
            return Some(Put { loud: !kept, ..self.put(&next) });
        }
        held.filter(|it| it.rank() > self.table_stored).map(|held| self.put(held))
    }

    fn gives_back(&self, next: &Table) -> bool {
        let own = |table: &Table| table.of(self.instance);
        let held = self.table.as_ref().filter(|it| it.epoch == next.epoch).map(own);
        let next = own(next);
        next.out == 0 && held.is_some_and(|held| held.out > 0 && held.done == next.done)
    }

    /// Stops lending. Whether it had for long enough: a core that still saw a permit has taken it.
    fn yields(&mut self, now: Now) -> bool {
        let since = *self.yielding.get_or_insert(now);
        self.lend();
        now >= since.after(LOOK)
    }

    /// The table without what this instance has out; for one that ends.
    pub(in crate::cluster) fn hand_back(&self) -> Option<Put> {
        let table = self.table.as_ref().filter(|it| it.epoch == self.agreed.epoch)?;
        let share = table.of(self.instance);
        let back = table.with(self.instance, Share { out: 0, ..share }, table.demand)?;
        (share.out > 0).then(|| self.put(&back))
    }

    fn put(&self, table: &Table) -> Put {
        Put {
            field: format!("l:{:016x}", self.id),
            rank: table.rank(),
            ttl: millis(self.ttl()),
            loud: true,
            value: table.text(),
        }
    }

    /// Hears the permits of a round; times of the store are turned into this instance's by `here`.
    pub(in crate::cluster) fn hear_table(
        &mut self,
        table: Table,
        here: impl Fn(u64) -> Now,
        shard: Shard<'_>,
        now: Now,
    ) -> Option<Transition> {
        self.asleep = None;
        self.table_stored = self.table_stored.max(table.rank());
        let newer = self.table.as_ref().is_none_or(|held| held.rank() <= table.rank());
        if !newer || table.epoch < self.agreed.epoch {
            return None;
        }
        let recovery = self.breaker.policy().recovery()?.clone();
        let own = table.of(self.instance);
        let latest = self.until.max(now).after(hold(&recovery, shard.settings.interval));
        self.lent_until = here(own.until).before(recovery.permit + SLACK).min(latest);
        let done = table.done_by_others(self.instance) + own.done;
        let before = self.table.as_ref().filter(|it| it.epoch == table.epoch);
        let before = before.map_or(Share::default(), |it| it.of(self.instance));
        if before.out > 0 && own.out == 0 && own.done == before.done {
            self.returned = Some(now);
            self.refused = self.breaker.turned_away();
        }
        if own.out == 0 || table.demand == Demand::Met {
            self.yielding = None;
        }
        self.table = Some(table);
        self.lend();
        let word = self.breaker.word();
        let probing = self.agreed.course == Course::Open && self.in_step(word);
        let round = self.table.as_ref().is_some_and(|it| it.epoch == self.agreed.epoch);
        if !(probing && round && done >= successes(&recovery)) {
            return None;
        }
        // All have succeeded, and none was the last: the others' news were under way.
        let course = if recovery.ramp.is_some() { Course::Ease } else { Course::Close };
        let remaining = recovery.ramp.map_or(Duration::ZERO, |ramp| ramp.duration);
        self.breaker.follow(Lead { course, streak: word.streak(), remaining }, Source::Poll, now)
    }

    /// Lends what this instance holds of the round, as far as is known.
    pub(super) fn lend(&self) {
        let open = self.agreed.course == Course::Open;
        let alone = self.alone.is_some();
        let Some(recovery) = self.breaker.policy().recovery() else { return };
        if !open || alone {
            return self.breaker.lend(Lease::Free);
        }
        let table = self.table.as_ref().filter(|it| it.epoch == self.agreed.epoch);
        let table = table.filter(|_| self.yielding.is_none());
        let own = table.map(|it| (it.of(self.instance), it.done_by_others(self.instance)));
        let Some((own, theirs)) = own.filter(|(own, _)| own.out + own.done > 0) else {
            return self.breaker.lend(Lease::Nothing);
        };
        self.breaker.lend(Lease::Held {
            epoch: self.base,
            permits: own.out + own.done,
            needed: successes(recovery).saturating_sub(theirs).max(1),
            until: self.lent_until,
        });
    }

    /// The table as this instance would have it: with a verdict of its own, or with permits taken,
    /// kept or given back.
    pub(super) fn lease(&self, shard: Shard<'_>, now: Now) -> Option<Table> {
        let recovery = self.breaker.policy().recovery()?;
        let word = self.breaker.word();
        let round = self.agreed.course == Course::Open && self.in_step(word);
        if !round || self.alone.is_some() || word.state() == State::Closed {
            return None;
        }
        let me = self.instance;
        let held = self.table.as_ref().filter(|it| it.epoch == self.agreed.epoch);
        let fresh = Table::new(self.agreed.epoch);
        let table = held.unwrap_or(&fresh);
        let own = table.of(me);
        let done = self.breaker.probes_passed().max(own.done);
        if done > own.done {
            let out = own.out.saturating_sub(done - own.done);
            return table.with(me, Share { out, done, ..own }, table.demand);
        }
        let interval = shard.settings.interval;
        let hold = hold(recovery, interval);
        let lasts = self.until.since(now) + hold + recovery.permit + SLACK;
        let until = shard.clock.saturating_add(millis(lasts));
        let usable = own.out > 0 && now < self.lent_until;
        let probes = self.breaker.probes_out();
        if usable || probes {
            let begun = self.lent_until.before(hold).max(self.until);
            if table.demand == Demand::Unmet && !probes && now >= begun.after(hold / 2) {
                return table.with(me, Share { out: 0, ..own }, Demand::Met);
            }
            let ends = now.after(hold / 2) >= self.lent_until;
            return if ends && table.demand == Demand::Met {
                table.with(me, Share { until, ..own }, Demand::Met)
            } else {
                None
            };
        }
        let near = self.until.since(now) <= 2 * interval;
        let enough = table.done_by_others(me) + own.done >= successes(recovery);
        if !near || enough {
            return None;
        }
        let longest = millis(self.bound(Course::Open) + 2 * hold + recovery.permit + 2 * SLACK);
        let taken = table.taken_by_others(me, shard.clock, longest) + own.done;
        let free = recovery.requests.get().saturating_sub(taken);
        let demand = self.breaker.turned_away() > self.refused;
        let patient = self.returned.map_or(self.until, |at| at.after(5 * hold)).after(interval);
        if free > 0 && (demand || shard.living <= 1 || now >= patient) {
            let out = free.div_ceil(shard.living.max(1)).max(1);
            return table.with(me, Share { out, until, ..own }, Demand::Met);
        }
        let wants = free == 0 && demand && table.demand == Demand::Met && now >= self.until;
        if wants { table.with(me, own, Demand::Unmet) } else { None }
    }
}

/// How long a permit is kept that nobody uses while others want it.
fn hold(recovery: &Recovery, interval: Duration) -> Duration {
    let quarter = recovery.pace.first() / 4;
    quarter.min(Duration::from_secs(1)).max(3 * interval)
}

fn successes(recovery: &Recovery) -> u32 {
    recovery.successes.get().min(recovery.requests.get())
}
