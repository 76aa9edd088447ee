//! One play: a policy, actors, batches, and the judge.
//!
//! Enters: a seed. Leaves: the number of steps that were scheduled, or a panic that names the seed
//! and tells the batch that no order explains.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use super::super::atomics::stepped;
use super::super::circuit::{Forced, Override};
use super::super::memory::Memory;
use super::super::outcome::Ending;
use super::super::policy::{
    Failures, Heal, Mode, Pace, Policy, Ramp, Recovery, Share, Shares, Slow, Trip, Window,
};
use super::super::ticket::{Errand, Ticket};
use super::super::{Breaker, Core, Transition, Verdict};
use super::model::{Answer, Asked, Deed, End, Kind, Model};
use super::stage::{Curtain, Dice, Stage, before};
use crate::clock::Now;

const CORES: usize = 3;
const GENERATIONS: usize = 200;

/// One operation, as it was seen from outside.
#[derive(Clone, Debug)]
struct Seen {
    began: u64,
    ended: u64,
    /// In this order.
    asked: Vec<Asked>,
}

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
    /// Whether operations may overlap: conditions that are counted apart agree on no common order.
    overlap: bool,
}

/// Plays `seed` for so many steps.
pub(super) fn play(seed: u64, steps: u64) -> u64 {
    let mut dice = Dice(seed << 20);
    let (policy, overlap) = policy(&mut dice);
    let memory = Memory::new(&policy, CORES, 0);
    let world = World {
        stage: Stage::new(CORES + 1, dice),
        clock: AtomicU64::new(10_000),
        order: AtomicU64::new(0),
        ids: AtomicU64::new(0),
        generations: (0..GENERATIONS).map(|_| OnceLock::new()).collect(),
        newest: AtomicUsize::new(0),
        history: Mutex::default(),
        overlap,
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
                let size = if self.overlap { 1 + dice.roll(6) } else { 1 };
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
            let asked = |deeds: [Option<Deed>; 2]| told_of(&policy, now, deeds);
            let asked = match roll {
                0..60 => {
                    let owed = breaker.tick(at).map(owed);
                    asked([Some(Deed::Tick), owed])
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
                    asked([Some(Deed::Force(order)), None])
                }
                80..85 => {
                    let moved = breaker.reset(at).into();
                    asked([Some(Deed::Reset { moved }), None])
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
        let id = u32::try_from(self.ids.fetch_add(1, Ordering::Relaxed)).unwrap();
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
        let policy = self.stage.dice(|dice| reloaded(breaker.policy(), dice));
        let memory = breaker.memory.fit(&policy);
        self.generations[newest + 1].set(Breaker::new(policy, memory)).unwrap();
        self.newest.store(newest + 1, Ordering::Relaxed);
    }

    fn newest(&self) -> &Breaker {
        self.generations[self.newest.load(Ordering::Relaxed)].get().unwrap()
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
    let judged = policy.bucket_span().map(|_| Deed::Judge { id });
    told_of(&policy, now, [Some(Deed::Settle { id, ending }), judged, moved.map(owed)])
}

fn owed(transition: Transition) -> Deed {
    Deed::Owed { moved: transition.into() }
}

fn told_of<const N: usize>(policy: &Policy, now: u64, deeds: [Option<Deed>; N]) -> Vec<Asked> {
    let asked = |deed| Asked { policy: policy.clone(), now, deed };
    deeds.into_iter().flatten().map(asked).collect()
}

fn told(history: &[Seen]) -> String {
    let (mut lines, mut last) = (Vec::new(), None);
    for Seen { began, ended, asked } in history {
        lines.push(format!("{began}..{ended}"));
        for Asked { policy, now, deed } in asked {
            if last != Some(policy) {
                lines.push(format!("  under {policy:?}"));
                last = Some(policy);
            }
            lines.push(format!("  {now} ms: {deed:?}"));
        }
    }
    lines.join("\n")
}

/// The states after every order of `history` that the model allows.
fn orders(models: &[Model], history: &[Seen]) -> Vec<Model> {
    // By how much of each operation has taken place.
    let mut layer: BTreeMap<Vec<usize>, Vec<Model>> =
        BTreeMap::from([(vec![0; history.len()], models.to_vec())]);
    let deeds: usize = history.iter().map(|seen| seen.asked.len()).sum();
    for _ in 0..deeds {
        let mut next: BTreeMap<Vec<usize>, Vec<Model>> = BTreeMap::new();
        for (done, models) in &layer {
            // What has not ended yet when another begins may come after it.
            let open = |nth: usize| done[nth] < history[nth].asked.len();
            let first = (0..history.len()).filter(|&nth| open(nth)).map(|nth| history[nth].ended);
            let first = first.min().unwrap_or(u64::MAX);
            for nth in (0..history.len()).filter(|&nth| open(nth) && history[nth].began < first) {
                let mut done = done.clone();
                let asked = &history[nth].asked[done[nth]];
                done[nth] += 1;
                let seen = &history[nth];
                let rival = |&other: &usize| {
                    let its = &history[other];
                    let asks =
                        matches!(its.asked.last(), Some(Asked { deed: Deed::Admit { .. }, .. }));
                    other != nth && asks && done[other] < its.asked.len() && its.began < seen.ended
                };
                let rivals = (0..history.len()).filter(rival).count();
                let found = next.entry(done).or_default();
                let span = (seen.began, seen.ended);
                for after in models.iter().flat_map(|model| model.after(asked, span, rivals)) {
                    if !found.contains(&after) {
                        found.push(after);
                    }
                }
            }
        }
        next.retain(|_, models| !models.is_empty());
        layer = next;
    }
    layer.into_values().flatten().collect()
}

fn count(count: u64) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(count).unwrap()).unwrap()
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A policy, and whether its operations may overlap.
fn policy(dice: &mut Dice) -> (Policy, bool) {
    let most = count(1 + dice.roll(4));
    let span = millis(10 * (1 + dice.roll(20)));
    let failures = |window| Some(Failures { count: most, window });
    let shares = Shares {
        span,
        min_requests: 1 + u32::try_from(dice.roll(6)).unwrap(),
        failed: Some(Share(u32::try_from(100_000 * (1 + dice.roll(10))).unwrap())),
        slow: None,
    };
    let slow = Slow { after: millis(1 + dice.roll(30)), share: Share(500_000) };
    let none = Trip::default();
    let kind = dice.roll(9);
    let trip = match kind {
        0 | 8 => Trip { failures: failures(Window::Log(span)), ..none },
        1 => Trip { failures: failures(Window::Cumulative), ..none },
        2 => Trip { failures: failures(Window::Fixed(span)), ..none },
        3 => Trip { failures: failures(Window::Sliding(span)), ..none },
        4 => Trip { run: Some(most), ..none },
        5 => Trip { shares: Some(shares), ..none },
        6 => Trip { shares: Some(Shares { failed: None, slow: Some(slow), ..shares }), ..none },
        _ => {
            let window =
                dice.pick(&[Window::Sliding(span), Window::Fixed(span), Window::Cumulative]);
            let shares = Some(Shares { slow: Some(slow), ..shares });
            Trip { failures: failures(window), run: Some(count(1 + dice.roll(5))), shares }
        }
    };
    let heal = if matches!(kind, 0 | 8) { Heal::Age(span) } else { Heal::Probe(recovery(dice)) };
    let mode = if dice.one_in(6) { Mode::Shadow } else { Mode::Enforce };
    // A look-back with a second condition, one operation at a time.
    let trip = if kind == 8 { Trip { run: Some(count(1 + dice.roll(3))), ..trip } } else { trip };
    let policy = Policy { trip, heal, mode, ..Policy::look_back(most, span) };
    (policy, kind < 7)
}

fn recovery(dice: &mut Dice) -> Recovery {
    let open_for = millis(1 + dice.roll(60));
    let multiplier = dice.pick(&[1.0, 1.0, 1.5, 2.0]);
    let requests = count(1 + dice.roll(3));
    let max_wait = millis(20 + dice.roll(100));
    let ramp = Ramp { duration: millis(1 + dice.roll(200)), start: Share(100_000) };
    Recovery {
        pace: Pace::new(open_for, multiplier, millis(300), 0),
        requests,
        successes: count(1 + dice.roll(u64::from(requests.get()))),
        permit: millis(1 + dice.roll(100)).min(max_wait),
        max_wait,
        ramp: dice.one_in(3).then_some(ramp),
    }
}

/// The same geometry with other numbers.
fn reloaded(old: &Policy, dice: &mut Dice) -> Policy {
    let mut policy = old.clone();
    policy.mode = dice.pick(&[Mode::Enforce, Mode::Enforce, Mode::Shadow, Mode::Off]);
    if let Heal::Probe(own) = &mut policy.heal {
        *own = recovery(dice);
        if let Some(failures) = &mut policy.trip.failures {
            failures.count = count(1 + dice.roll(4));
        }
        if let Some(run) = &mut policy.trip.run {
            *run = count(1 + dice.roll(4));
        }
        // Where exchanges overlap, one of an older generation that is half counted may hide from a
        // newer one that it is the last, and be judged by the old number: the next tick sees it.
        if let (Some(shares), Some(_)) = (&mut policy.trip.shares, policy.trip.run) {
            shares.min_requests = 1 + u32::try_from(dice.roll(6)).unwrap();
        }
    }
    policy
}
