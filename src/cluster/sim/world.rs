//! Instances, their cores, a network that cannot be trusted, and a store: one thread, one seed.
//!
//! Enters: a seed, a policy, and what a play wants to happen. Leaves: what each breaker did and
//! when, for the play to judge. Every instance has a clock of its own that agrees with no other's;
//! calls are lost, doubled, late and reordered as the dice say; the store is stopped, flushed, or
//! replaced by a copy of what it was. Nothing here waits: time is what the next event says.

use std::collections::{BTreeMap, VecDeque};

use super::super::{Ask, Call};
use super::dice::{Dice, Net, garble};
use super::fake::Fake;
use super::instance::{Instance, Plan};
use crate::breaker::Breaker;
use crate::breaker::outcome::Ending;
use crate::breaker::ticket::Ticket;
use crate::clock::Now;

pub(super) const CORES: usize = 2;
pub(super) const INTERVAL: u64 = 200;
/// A call without an answer by then is given up (ms).
pub(super) const PATIENCE: u64 = 50;
pub(super) const NAME: &str = "GET /a";
/// The store's clock at the beginning (ms).
pub(super) const EPOCH: u64 = 1_700_000_000_000;

#[derive(Debug)]
pub(super) enum Event<'b> {
    Look(usize),
    Arrive { from: usize, ask: Ask, sent: u64, again: bool },
    Reply { to: usize, ask: Ask, sent: u64, bytes: Vec<u8> },
    GiveUp { who: usize, ask: Ask },
    Hint { to: usize, payload: String },
    Settle { ticket: Ticket<'b>, who: usize, ending: Ending },
}

impl Event<'_> {
    /// Whom it happens to; nobody but the store, if to nobody.
    pub(super) fn whose(&self) -> Option<usize> {
        match self {
            Self::Look(who) | Self::GiveUp { who, .. } | Self::Settle { who, .. } => Some(*who),
            Self::Reply { to, .. } | Self::Hint { to, .. } => Some(*to),
            Self::Arrive { .. } => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct World<'b> {
    pub(super) plan: Plan,
    pub(super) net: Net,
    pub(super) dice: Dice,
    pub(super) now: u64,
    pub(super) instances: Vec<Instance<'b>>,
    pub(super) store: Fake,
    pub(super) down: bool,
    /// How far the store's clock has been set (ms).
    pub(super) step: i64,
    /// Calls that were carried out, and hints that they gave.
    pub(super) calls: u64,
    pub(super) hints: u64,
    /// What the store was, lately; where a play lets it fail over.
    pub(super) past: VecDeque<Fake>,
    /// How many of them are kept.
    pub(super) depth: usize,
    pub(super) queue: BTreeMap<(u64, u64), Event<'b>>,
    serial: u64,
    /// Requests that were admitted while their breaker was half open: when, where.
    pub(super) probes: Vec<(u64, usize)>,
    pub(super) admitted: u64,
    pub(super) refused: u64,
}

impl<'b> World<'b> {
    pub(super) fn new(seed: u64, plan: Plan, breakers: &'b [Breaker]) -> Self {
        let mut dice = Dice::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let mut instances = Vec::new();
        for breaker in breakers {
            instances.push(Instance::new(plan, breaker, &mut dice, 0));
        }
        let mut world = Self {
            plan,
            net: Net::default(),
            dice,
            now: 0,
            instances,
            store: Fake::default(),
            down: false,
            step: 0,
            calls: 0,
            hints: 0,
            past: VecDeque::new(),
            depth: 0,
            queue: BTreeMap::new(),
            serial: 0,
            probes: Vec::new(),
            admitted: 0,
            refused: 0,
        };
        for who in 0..world.instances.len() {
            let first = world.dice.roll(10);
            world.later(first, Event::Look(who));
        }
        world
    }

    /// Lets so many milliseconds pass.
    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(next) = self.queue.first_entry() {
            let at = next.key().0;
            if at > end {
                break;
            }
            let event = next.remove();
            self.now = at;
            let stopped = event.whose().map_or(0, |who| self.instances[who].stopped);
            match stopped.checked_sub(at) {
                Some(rest @ 1..) => self.later(rest, event),
                _ => self.happen(event),
            }
        }
        self.now = end;
    }

    /// Lets time pass until `done`, at most so long; how long it took.
    pub(super) fn until(&mut self, most: u64, done: impl Fn(&Self) -> bool) -> Option<u64> {
        let began = self.now;
        while !done(self) {
            if self.now - began >= most {
                return None;
            }
            self.run(1);
        }
        Some(self.now - began)
    }

    pub(super) fn later(&mut self, millis: u64, event: Event<'b>) {
        self.serial += 1;
        self.queue.insert((self.now + millis, self.serial), event);
    }

    fn way(&mut self) -> u64 {
        let late = self.net.late;
        if self.dice.chance(late) { self.dice.roll(300) } else { self.dice.roll(self.plan.way + 1) }
    }

    fn pump(&mut self, who: usize) {
        loop {
            let now = self.local(who);
            let Some(ask) = self.instances[who].machine.ask(now) else { break };
            self.instances[who].awaited.insert((ask.shard, ask.number));
            self.later(PATIENCE, Event::GiveUp { who, ask: ask.clone() });
            let (lost, twice) = (self.net.lost, self.net.twice);
            let sent = self.now;
            if self.dice.chance(twice) {
                let late = self.dice.roll(400);
                let event = Event::Arrive { from: who, ask: ask.clone(), sent, again: true };
                self.later(late, event);
            }
            if !self.dice.chance(lost) {
                let way = self.way();
                self.later(way, Event::Arrive { from: who, ask, sent, again: false });
            }
        }
        self.note(who);
    }

    /// A call reaches the store: what it answers.
    fn arrive(&mut self, from: usize, call: &Call) -> Option<Vec<u8>> {
        if self.down || self.instances[from].cut {
            return None;
        }
        self.calls += 1;
        let (bytes, published) = self.store.call(call, self.clock());
        self.hints += u64::from(published.is_some());
        for to in 0..self.instances.len() {
            let lost = self.dice.chance(self.net.lost);
            if let Some(payload) = published.clone().filter(|_| !lost) {
                let way = self.way();
                self.later(way, Event::Hint { to, payload });
            }
        }
        Some(bytes)
    }

    fn happen(&mut self, event: Event<'b>) {
        match event {
            Event::Look(who) => {
                let now = self.local(who);
                self.instances[who].machine.look(now);
                let _ = self.instances[who].breaker.tick(now);
                self.pump(who);
                if who == 0 && self.depth > 0 && self.now % 50 < 10 {
                    self.past.push_back(self.store.clone());
                    if self.past.len() > self.depth {
                        self.past.pop_front();
                    }
                }
                let sway = self.plan.sway;
                let late = if sway > 0 { self.dice.roll(sway + 1) } else { 0 };
                self.later(10 + late, Event::Look(who));
            }
            Event::Arrive { from, ask, sent, again } => {
                let Some(bytes) = self.arrive(from, &ask.call) else { return };
                if !again && !self.dice.chance(self.net.lost) {
                    let way = self.way();
                    self.later(way, Event::Reply { to: from, ask, sent, bytes });
                }
            }
            Event::Reply { to, ask, sent, bytes } => {
                let now = self.local(to);
                if self.instances[to].cut
                    || !self.instances[to].awaited.remove(&(ask.shard, ask.number))
                {
                    return;
                }
                let sent = Now::from_millis(self.instances[to].offset + sent);
                let garbled = self.net.garbled;
                let garbles = self.dice.chance(garbled);
                let bytes = if garbles { garble(&mut self.dice, bytes) } else { bytes };
                let told = self.instances[to].machine.hear(&ask, sent, &bytes, now);
                assert!(told.is_ok() || garbled > 0, "{told:?}");
                self.instances[to].told.extend(told.unwrap_or_default());
                let (epoch, _) = self.instances[to].machine.agreed(NAME);
                assert!(epoch >= self.instances[to].highest, "an epoch went back");
                self.instances[to].highest = epoch;
                self.pump(to);
            }
            Event::GiveUp { who, ask } => {
                if self.instances[who].awaited.remove(&(ask.shard, ask.number)) {
                    self.instances[who].machine.miss(&ask);
                }
            }
            Event::Hint { to, payload } => {
                if !self.instances[to].cut {
                    self.instances[to].machine.hint(payload.as_bytes());
                    self.pump(to);
                }
            }
            Event::Settle { ticket, who, ending } => {
                let now = self.local(who);
                let _ = ticket.settle(ending, now);
                self.note(who);
            }
        }
    }
}
