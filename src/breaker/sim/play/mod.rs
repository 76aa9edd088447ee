//! One play: a policy, actors, batches, and the judge.
//!
//! Enters: a seed. Leaves: the number of steps that were scheduled, or a panic that names the seed
//! and tells the batch that no order explains.

mod orders;
mod policies;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use orders::{Seen, orders, told};
use policies::{policy, reloaded};

use super::super::atomics::stepped;
use super::super::circuit::{Cause, Forced, Move, Override};
use super::super::memory::Memory;
use super::super::outcome::Ending;
use super::super::policy::{Policy, Window};
use super::super::ticket::{Errand, Ticket};
use super::super::{Breaker, Core, Transition, Verdict};
use super::model::{Answer, Asked, Deed, End, Kind, Model, SEED, steps};
use super::stage::{Curtain, Dice, Stage, before};
use crate::clock::Now;

const CORES: usize = 3;
const GENERATIONS: usize = 200;

/// What all actors share.
struct World {
    stage: Arc<Stage>,
    /// Milliseconds.
    clock: AtomicU64,
    /// Orders beginnings and ends.
    order: AtomicU64,
    ids: AtomicU64,
    /// Breakers over one memory; cores take a new one when their next operation begins.
    generations: Vec<OnceLock<Breaker>>,
    newest: AtomicUsize,
    history: Mutex<Vec<Seen>>,
    range: Range,
    /// How many operations may overlap.
    crowd: u64,
}

/// What may happen in a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// What could when the seeds in `FOUND` were: no open time is by chance, and where there are
    /// several conditions one operation follows the other.
    Once,
    /// Everything.
    Now,
}

/// Plays `seed` for so many steps.
pub(super) fn play(seed: u64, steps: u64, range: Range) -> u64 {
    let mut dice = Dice(seed << 20);
    let (policy, crowd) = policy(&mut dice, range);
    let memory = Memory::new(&policy, CORES, SEED);
    let world = World {
        stage: Stage::new(CORES + 1, dice),
        clock: AtomicU64::new(10_000),
        order: AtomicU64::new(0),
        ids: AtomicU64::new(0),
        generations: (0..GENERATIONS).map(|_| OnceLock::new()).collect(),
        newest: AtomicUsize::new(0),
        history: Mutex::default(),
        range,
        crowd,
    };
    world.generations[0].set(Breaker::new(policy, memory)).unwrap();
    thread::scope(|scope| {
        for me in 0..=CORES {
            let world = &world;
            scope.spawn(move || {
                world.stage.enter(me);
                let _curtain = Curtain(Arc::clone(&world.stage));
                stepped::announce(before);
                if me < CORES { world.core(me) } else { world.control(me) }
            });
        }
        let _curtain = Curtain(Arc::clone(&world.stage));
        world.judge(seed, steps);
        world.stage.close();
    });
    world.stage.steps()
}

impl World {
    fn judge(&self, seed: u64, steps: u64) {
        let mut models = vec![Model::new()];
        let mut batches = 0;
        while self.stage.steps() < steps {
            let (size, pause) = self.stage.dice(|dice| {
                let size = if self.crowd > 1 { 1 + dice.roll(self.crowd) } else { 1 };
                let pause = match dice.roll(10) {
                    0..4 => 0,
                    4..8 => 1 + dice.roll(4),
                    8 => dice.roll(40),
                    _ => dice.roll(400),
                };
                (usize::try_from(size).unwrap(), pause)
            });
            self.clock.fetch_add(pause, Ordering::Relaxed);
            self.stage.batch(size);
            batches += 1;
            let history = std::mem::take(&mut *self.history.lock().unwrap());
            assert_eq!(history.len(), size, "seed {seed}: an actor is gone");
            let word = self.generations[0].get().unwrap().word();
            let fits = |model: &Model| {
                let same = (model.state, model.epoch, model.streak)
                    == (word.state(), word.epoch(), word.streak());
                same && model.pending.is_empty() && model.forced.is_some() == word.is_forced()
            };
            let now = self.clock.load(Ordering::Relaxed);
            let mut after = orders(&models, &history);
            after.retain(fits);
            after.iter_mut().for_each(|model| model.prune(now));
            let mut known: Vec<Model> = Vec::new();
            for model in after {
                if !known.contains(&model) {
                    known.push(model);
                }
            }
            assert!(
                !known.is_empty(),
                "seed {seed}, batch {batches}: no order explains\n{}\nfrom {models:?}\nto {:?}, \
                 epoch {}, streak {}; replay with FUSEBOX_SIM_SEED={seed}",
                told(&history),
                word.state(),
                word.epoch(),
                word.streak(),
            );
            assert!(known.len() < 500, "seed {seed}: {} ways to go on", known.len());
            models = known;
        }
    }

    fn core(&self, me: usize) {
        let core = Core::claim(me);
        let mut tickets: Vec<(u32, Ticket<'_>)> = Vec::new();
        while self.stage.begin(me) {
            let breaker = self.newest();
            let roll = self.stage.dice(|dice| (dice.roll(100), dice.roll(1000), dice.roll(100)));
            let began = self.tick_tock();
            let now = self.now();
            let asked = match roll.0 {
                0..55 => {
                    let nth = usize::try_from(roll.1).unwrap() % tickets.len().max(1);
                    if tickets.is_empty() {
                        self.admit(breaker, &core, now, &mut tickets)
                    } else {
                        settle(tickets.swap_remove(nth), now, roll.2)
                    }
                }
                _ => self.admit(breaker, &core, now, &mut tickets),
            };
            self.seen(began, asked);
            self.stage.end(me);
        }
        // The play is over; what is left teaches nothing.
        tickets.into_iter().for_each(|(_, ticket)| std::mem::forget(ticket));
    }

    fn control(&self, me: usize) {
        while self.stage.begin(me) {
            let breaker = self.newest();
            let (roll, more) = self.stage.dice(|dice| (dice.roll(100), dice.roll(300)));
            let began = self.tick_tock();
            let now = self.now();
            let (at, policy) = (Now::from_millis(now), breaker.policy().clone());
            let asked = |deeds| told_of(&policy, now, deeds);
            let asked = match roll {
                0..60 => {
                    let id = self.id();
                    let moved = breaker.tick(at);
                    counted(&policy, now, Deed::Tick { id }, id, moved)
                }
                60..80 => {
                    let order = match roll % 5 {
                        0 | 1 => None,
                        2 | 3 => Some((Forced::Closed, (more < 200).then_some(now + more))),
                        _ => Some((Forced::Open, (more < 250).then_some(now + more / 5))),
                    };
                    breaker.force(order.map(|(forced, until)| Override {
                        forced,
                        until: until.map(Now::from_millis),
                    }));
                    asked([Some(Deed::Force(order))])
                }
                80..85 => {
                    let moved = breaker.reset(at).into();
                    asked([Some(Deed::Reset { moved })])
                }
                _ => {
                    self.reload(breaker);
                    Vec::new()
                }
            };
            self.seen(began, asked);
            self.stage.end(me);
        }
    }

    fn admit<'w>(
        &'w self,
        breaker: &'w Breaker,
        core: &Core,
        now: u64,
        tickets: &mut Vec<(u32, Ticket<'w>)>,
    ) -> Vec<Asked> {
        let policy = breaker.policy().clone();
        let id = self.id();
        let (verdict, moved) = breaker.admit(core, Now::from_millis(now));
        let answer = match verdict {
            Verdict::Admit(ticket) => {
                let kind = match ticket.errand {
                    Errand::Traffic => Kind::Traffic,
                    Errand::Probe(_) => Kind::Probe,
                    Errand::Bystander => Kind::Bystander,
                    Errand::Nothing => Kind::Nothing,
                };
                tickets.push((id, ticket));
                Answer::Admitted(kind)
            }
            Verdict::Refuse { reason, remaining_ms } => Answer::Refused(reason, remaining_ms),
        };
        let admitted = Deed::Admit { id, core: core.index(), answer };
        let due = moved.map(|_| Deed::Due);
        told_of(&policy, now, [Some(Deed::Look { id }), due, moved.map(owed), Some(admitted)])
    }

    /// A new generation with other thresholds, over the same memory.
    fn reload(&self, breaker: &Breaker) {
        let newest = self.newest.load(Ordering::Relaxed);
        if newest + 1 == GENERATIONS {
            return;
        }
        let policy = self.stage.dice(|dice| reloaded(breaker.policy(), dice, self.range));
        let memory = breaker.memory.fit(&policy);
        self.generations[newest + 1].set(Breaker::new(policy, memory)).unwrap();
        self.newest.store(newest + 1, Ordering::Relaxed);
    }

    fn newest(&self) -> &Breaker {
        self.generations[self.newest.load(Ordering::Relaxed)].get().unwrap()
    }

    fn id(&self) -> u32 {
        u32::try_from(self.ids.fetch_add(1, Ordering::Relaxed)).unwrap()
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn tick_tock(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    fn seen(&self, began: u64, asked: Vec<Asked>) {
        let ended = self.tick_tock();
        self.history.lock().unwrap().push(Seen { began, ended, asked });
    }
}

fn settle((id, ticket): (u32, Ticket<'_>), now: u64, roll: u64) -> Vec<Asked> {
    let policy = ticket.breaker.policy().clone();
    let at = Now::from_millis(now);
    let (ending, moved) = match roll {
        0..45 => (End::Failure, ticket.settle(Ending::Answered(500), at)),
        45..85 => (End::Success, ticket.settle(Ending::Answered(204), at)),
        85..93 => (End::Neutral, ticket.settle(Ending::ClientGone, at)),
        _ => {
            drop(ticket);
            (End::Neutral, None)
        }
    };
    counted(&policy, now, Deed::Settle { id, ending }, id, moved)
}

/// What `first` begins, condition by condition, and the move it ended in.
fn counted(
    policy: &Policy,
    now: u64,
    first: Deed,
    id: u32,
    moved: Option<Transition>,
) -> Vec<Asked> {
    let logs = policy.trip.failures.is_some_and(|it| matches!(it.window, Window::Log(_)));
    let [run, count, judge] = match &moved {
        // What the log decides is decided first: nothing else was asked.
        Some(moved) if logs && moved.step == Move::Trip(Cause::Failures) => [None; 3],
        _ => steps(policy, id),
    };
    told_of(policy, now, [Some(first), run, count, judge, moved.map(owed)])
}

fn owed(transition: Transition) -> Deed {
    Deed::Owed { moved: transition.into() }
}

fn told_of<const N: usize>(policy: &Policy, now: u64, deeds: [Option<Deed>; N]) -> Vec<Asked> {
    let asked = |deed| Asked { policy: policy.clone(), now, deed };
    deeds.into_iter().flatten().map(asked).collect()
}
