//! Instances, their cores, a network that cannot be trusted, and a store: one thread, one seed.
//!
//! Enters: a seed, a policy, and what a play wants to happen. Leaves: what each breaker did and
//! when, for the play to judge. Every instance has a clock of its own that agrees with no other's;
//! calls are lost, doubled, late and reordered as the dice say; the store is stopped, flushed, or
//! replaced by a copy of what it was. Nothing here waits: time is what the next event says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::{Ask, Call, Machine, OnLoss, Settings, Told};
use super::fake::Fake;
use crate::breaker::circuit::State;
use crate::breaker::memory::Memory;
use crate::breaker::outcome::Ending;
use crate::breaker::policy::{Policy, Share};
use crate::breaker::ticket::Ticket;
use crate::breaker::{Breaker, Core, Verdict};
use crate::clock::Now;

pub(super) const CORES: usize = 2;
pub(super) const INTERVAL: u64 = 200;
/// A call without an answer by then is given up (ms).
pub(super) const PATIENCE: u64 = 50;
const NAME: &str = "GET /a";
/// The store's clock at the beginning (ms).
const EPOCH: u64 = 1_700_000_000_000;

/// Dice with a seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::super::member::hash(self.0.to_le_bytes().into_iter()) % sides.max(1)
    }

    pub(super) fn chance(&mut self, of_thousand: u64) -> bool {
        self.roll(1000) < of_thousand
    }
}

/// What happens to calls, in parts of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Net {
    /// Lost on the way there, or on the way back.
    pub(super) lost: u64,
    /// Carried out a second time, later.
    pub(super) twice: u64,
    /// Late by up to 300 ms, far beyond patience.
    pub(super) late: u64,
    /// Answered with other bytes than the script's.
    pub(super) garbled: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) instances: usize,
    pub(super) hints: bool,
    pub(super) on_loss: OnLoss,
    /// In parts of a million.
    pub(super) quorum: u32,
    /// One way, at most (ms).
    pub(super) way: u64,
}

impl Plan {
    pub(super) const CALM: Self =
        Self { instances: 3, hints: false, on_loss: OnLoss::Local, quorum: 0, way: 1 };
}

#[derive(Debug)]
enum Event<'b> {
    Look(usize),
    Arrive { from: usize, ask: Ask, sent: u64, again: bool },
    Reply { to: usize, ask: Ask, sent: u64, bytes: Vec<u8> },
    GiveUp { who: usize, ask: Ask },
    Hint { to: usize, payload: String },
    Settle { ticket: Ticket<'b>, who: usize, ending: Ending },
}

#[derive(Debug)]
pub(super) struct Instance<'b> {
    pub(super) machine: Machine,
    pub(super) breaker: &'b Breaker,
    /// What its clock says at the beginning (ms).
    offset: u64,
    /// Cut off from the store.
    pub(super) cut: bool,
    awaited: BTreeSet<(u8, u64)>,
    /// Every state it was seen in, and since when (ms of the play).
    pub(super) states: Vec<(u64, State)>,
    pub(super) told: Vec<Told>,
    highest: u64,
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
    /// Calls that were carried out.
    pub(super) calls: u64,
    /// What the store was, lately; where a play lets it fail over.
    past: VecDeque<Fake>,
    /// How many of them are kept.
    pub(super) depth: usize,
    queue: BTreeMap<(u64, u64), Event<'b>>,
    serial: u64,
    /// Requests that were admitted while their breaker was half open: when, where.
    pub(super) probes: Vec<(u64, usize)>,
    pub(super) admitted: u64,
    pub(super) refused: u64,
}

/// What an instance is told, but for what a plan says.
pub(super) fn settings(instance: u64) -> Settings {
    Settings {
        prefix: "t".to_owned(),
        interval: Duration::from_millis(INTERVAL),
        hints: false,
        on_loss: OnLoss::Local,
        quorum: Share(0),
        instance,
    }
}

/// Breakers for a play, one per instance, that outlive it.
pub(super) fn breakers(policy: &Policy, instances: usize) -> Vec<Breaker> {
    let memory = |seed| Memory::new(policy, CORES, seed as u64 * 77 + 1);
    (0..instances).map(|seed| Breaker::new(policy.clone(), memory(seed))).collect()
}

impl<'b> Instance<'b> {
    /// One that begins `now` milliseconds into the play.
    fn new(plan: Plan, breaker: &'b Breaker, dice: &mut Dice, now: u64) -> Self {
        let settings = Settings {
            hints: plan.hints,
            on_loss: plan.on_loss,
            quorum: Share(plan.quorum),
            ..settings(dice.roll(u64::MAX) | 1)
        };
        let offset = (1 << 36) + dice.roll(1 << 36);
        let began = Now::from_millis(offset + now);
        let mut machine = Machine::new(settings, began);
        machine.serve([(NAME, breaker)], began);
        Self {
            machine,
            breaker,
            offset,
            cut: false,
            awaited: BTreeSet::new(),
            states: vec![(now, breaker.word().state())],
            told: Vec::new(),
            highest: 0,
        }
    }
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

    pub(super) fn local(&self, who: usize) -> Now {
        Now::from_millis(self.instances[who].offset + self.now)
    }

    /// The store's clock (ms).
    pub(super) fn clock(&self) -> u64 {
        (EPOCH + self.now).saturating_add_signed(self.step)
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
            self.happen(event);
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

    /// What instance `who` takes for the number of all failures, its own included.
    pub(super) fn estimate(&self, who: usize) -> u64 {
        self.instances[who].machine.estimate(NAME, self.local(who))
    }

    fn later(&mut self, millis: u64, event: Event<'b>) {
        self.serial += 1;
        self.queue.insert((self.now + millis, self.serial), event);
    }

    /// Other bytes, of the kind that come closest to being understood.
    fn garble(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        const LARGE: &[u8] = b"18446744073709551615";
        for _ in 0..=self.dice.roll(4) {
            let at = usize::try_from(self.dice.roll(bytes.len() as u64)).unwrap();
            match self.dice.roll(6) {
                0 => bytes.truncate(at),
                1 => bytes.splice(at..at, LARGE.iter().copied()).for_each(drop),
                2 => bytes.splice(at..at, *b"-").for_each(drop),
                3 => drop(bytes.get(at).copied().map(|byte| bytes.push(byte))),
                _ => {
                    let digit = b'0' + u8::try_from(self.dice.roll(10)).unwrap();
                    bytes.get_mut(at).into_iter().for_each(|byte| *byte = digit);
                }
            }
        }
        bytes
    }

    fn way(&mut self) -> u64 {
        let late = self.net.late;
        if self.dice.chance(late) { self.dice.roll(300) } else { self.dice.roll(self.plan.way + 1) }
    }

    fn note(&mut self, who: usize) {
        let state = self.state(who);
        let (now, states) = (self.now, &mut self.instances[who].states);
        if states.last().is_none_or(|(_, last)| *last != state) {
            states.push((now, state));
        }
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
                self.later(10, Event::Look(who));
            }
            Event::Arrive { from, ask, sent, again } => {
                if self.down || self.instances[from].cut {
                    return;
                }
                self.calls += 1;
                let (bytes, published) = self.store.call(&ask.call, self.clock());
                for to in 0..self.instances.len() {
                    let lost = self.dice.chance(self.net.lost);
                    if let Some(payload) = published.clone().filter(|_| !lost) {
                        let way = self.way();
                        self.later(way, Event::Hint { to, payload });
                    }
                }
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
                let bytes = if self.dice.chance(garbled) { self.garble(bytes) } else { bytes };
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
        let mine = |event: &Event<'_>| match event {
            Event::Arrive { from, .. } => *from == who,
            Event::Reply { to, .. } | Event::Hint { to, .. } => *to == who,
            Event::GiveUp { who: it, .. } | Event::Settle { who: it, .. } => *it == who,
            Event::Look(_) => false,
        };
        self.queue.retain(|_, event| !mine(event));
        self.instances[who] = Instance::new(self.plan, breaker, &mut self.dice, self.now);
    }

    /// Ends an instance: its last calls reach the store.
    pub(super) fn leave(&mut self, who: usize) {
        let calls: Vec<Call> = self.instances[who].machine.leave();
        let clock = self.clock();
        for call in calls {
            self.store.call(&call, clock);
        }
        self.instances[who].cut = true;
        self.queue.retain(|_, event| !matches!(event, Event::Look(it) if *it == who));
    }
}
