//! What a play does to its world, and what it may see of it.
//!
//! Enters: requests, orders, ends and beginnings of instances. Leaves: how the instances stand.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{Call, Standing};
use super::instance::Instance;
use super::world::{CORES, EPOCH, Event, NAME, World};
use crate::breaker::circuit::{Forced, Override, State};
use crate::breaker::outcome::Ending;
use crate::breaker::{Breaker, Core, Verdict};
use crate::clock::Now;

impl<'b> World<'b> {
    pub(super) fn local(&self, who: usize) -> Now {
        Now::from_millis(self.instances[who].offset + self.now)
    }

    /// The store's clock (ms).
    pub(super) fn clock(&self) -> u64 {
        (EPOCH + self.now).saturating_add_signed(self.step)
    }

    /// A request at `who` that ends so, after so many milliseconds. Whether it was admitted.
    pub(super) fn request(&mut self, who: usize, ending: Ending, takes: u64) -> bool {
        let now = self.local(who);
        let core = Core::claim(usize::try_from(self.dice.roll(CORES as u64)).unwrap());
        let breaker = self.instances[who].breaker;
        let (verdict, _) = breaker.admit(&core, now);
        let admitted = match verdict {
            Verdict::Admit(ticket) => {
                self.admitted += 1;
                if ticket.is_probe() {
                    self.probes.push((self.now, who));
                }
                if takes == 0 {
                    let _ = ticket.settle(ending, now);
                } else {
                    self.later(takes, Event::Settle { ticket, who, ending });
                }
                true
            }
            Verdict::Refuse { .. } => {
                self.refused += 1;
                false
            }
        };
        self.note(who);
        admitted
    }

    /// The store becomes what it was a moment ago.
    pub(super) fn fail_over(&mut self) {
        let lag = usize::try_from(self.dice.roll(3)).unwrap();
        if let Some(past) = self.past.iter().rev().nth(lag) {
            self.store = past.clone();
        }
    }

    /// An instance does nothing at all for so long, and finds then what has come meanwhile.
    pub(super) fn stop(&mut self, who: usize, millis: u64) {
        self.instances[who].stopped = self.now + millis;
    }

    /// Orders at `who`, for so many milliseconds or without an end.
    pub(super) fn force(&mut self, who: usize, order: Option<Forced>, ttl: Option<u64>) {
        let until = ttl.map(|ttl| self.local(who).after(Duration::from_millis(ttl)));
        let order = order.map(|forced| Override { forced, until });
        self.instances[who].breaker.force(order);
    }

    pub(super) fn forced(&self, who: usize) -> Option<Forced> {
        self.instances[who].breaker.forced(self.local(who)).map(|order| order.forced)
    }

    pub(super) fn state(&self, who: usize) -> State {
        self.instances[who].breaker.word().state()
    }

    pub(super) fn all(&self, state: State) -> bool {
        (0..self.instances.len()).all(|who| self.state(who) == state)
    }

    /// Whether all are agreed on one epoch, and stand where it says.
    pub(super) fn agrees(&self) -> bool {
        let epochs: BTreeSet<u64> =
            self.instances.iter().map(|it| it.machine.agreed(NAME).0).collect();
        epochs.len() == 1 && self.instances.iter().all(|it| it.machine.agreed(NAME).1)
    }

    /// What each is agreed on, and where it stands.
    pub(super) fn agreements(&self) -> Vec<impl std::fmt::Debug> {
        let of = |it: &Instance<'_>| (it.breaker.word(), it.machine.agreed(NAME));
        self.instances.iter().map(of).collect()
    }

    pub(super) fn standing(&self, who: usize) -> Standing {
        self.instances[who].machine.standing()
    }

    /// The last change of the permits that `who` has heard of.
    pub(super) fn rank_of_permits(&self, who: usize) -> u64 {
        self.instances[who].machine.rank_of_permits(NAME)
    }

    /// What instance `who` takes for the number of all failures, its own included.
    pub(super) fn estimate(&self, who: usize) -> u64 {
        self.instances[who].machine.estimate(NAME, self.local(who))
    }

    pub(super) fn note(&mut self, who: usize) {
        let state = self.state(who);
        let (now, states) = (self.now, &mut self.instances[who].states);
        if states.last().is_none_or(|(_, last)| *last != state) {
            states.push((now, state));
        }
    }

    /// An instance goes on with another policy.
    pub(super) fn reload(&mut self, who: usize, breaker: &'b Breaker) {
        let now = self.local(who);
        self.instances[who].breaker = breaker;
        self.instances[who].machine.serve([(NAME, breaker)], now);
    }

    /// An instance begins anew, on the breaker that it had.
    pub(super) fn forget(&mut self, who: usize) {
        let now = self.local(who);
        let instance = &mut self.instances[who];
        instance.machine.forget(now);
        instance.machine.serve([(NAME, instance.breaker)], now);
        instance.highest = 0;
    }

    /// Ends an instance without a word, and begins another in its place.
    pub(super) fn restart(&mut self, who: usize, breaker: &'b Breaker) {
        self.queue.retain(|_, event| match event {
            Event::Look(_) => true,
            Event::Arrive { from, .. } => *from != who,
            event => event.whose() != Some(who),
        });
        self.instances[who] = Instance::new(self.plan, breaker, &mut self.dice, self.now);
    }

    /// Ends an instance: its last calls reach the store.
    pub(super) fn leave(&mut self, who: usize) {
        let (now, clock) = (self.local(who), self.clock());
        let calls: Vec<Call> = self.instances[who].machine.leave(now);
        for call in calls {
            self.store.call(&call, clock);
        }
        self.instances[who].cut = true;
        self.queue.retain(|_, event| !matches!(event, Event::Look(it) if *it == who));
    }
}
