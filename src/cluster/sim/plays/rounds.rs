//! Rounds of probes: how many there are, and who sends them.
//!
//! Enters: a seed. Leaves: nothing, or a panic.

use std::collections::BTreeMap;

use super::{SICK, WELL, plan, recovery, reset, someone};
use crate::breaker::circuit::State;
use crate::breaker::policy::{Heal, Mode, Policy, Window};
use crate::cluster::sim::dice::{Dice, Net};
use crate::cluster::sim::instance::{Plan, breakers};
use crate::cluster::sim::world::{NAME, PATIENCE, World};

/// Properties 8 and 21.
pub(in super::super) fn probing(seed: u64) {
    let mut dice = Dice::new(seed);
    let recovery = recovery(&mut dice);
    let policy = Policy { heal: Heal::Probe(recovery.clone()), ..reset(3, Window::Cumulative, 1) };
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    let worse = dice.chance(500);
    if worse {
        world.net = Net { lost: 30, twice: dice.roll(200), late: dice.roll(50), garbled: 0 };
    }
    world.run(1000);
    for _ in 0..3 {
        world.request(0, SICK, 0);
    }
    let heals = 4000 + dice.roll(4000);
    let first = recovery.pace.first().as_millis() as u64;
    let most = recovery.pace.longest().as_millis() as u64;
    let mut rounds: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut closed = None;
    while closed.is_none() {
        for who in 0..plan.instances {
            let (before, epoch) = (world.probes.len(), world.instances[who].machine.agreed(NAME).0);
            if world.state(who) != State::Closed || world.now < heals {
                let ending = if world.now < heals { SICK } else { WELL };
                let takes = 3 + dice.roll(30);
                world.request(who, ending, takes);
            }
            let sent = (world.probes.len() - before) as u64;
            let round = rounds.entry(epoch).or_insert((world.now, 0));
            round.1 += sent;
            let early = round.0 + first > world.now + 2 * PATIENCE + if worse { 400 } else { 0 };
            assert!(sent == 0 || !early, "open for {} ms of {first}", world.now - round.0);
            assert!(
                round.1 <= u64::from(recovery.requests.get()),
                "{} probes in epoch {epoch}",
                round.1
            );
            assert!(world.instances[who].breaker.left_ms(world.local(who)) <= most);
        }
        world.run(2);
        closed = (world.now > heals && world.all(State::Closed)).then_some(world.now);
        // One open time, a lease that an idle instance kept, and a probe that was lost.
        assert!(world.now < heals + 2 * most + 12_000, "it never closes");
    }
    if !worse {
        let (epoch, streak) = world.instances[0].machine.opened(NAME);
        assert!(u64::from(streak) <= epoch, "{streak} openings by epoch {epoch}");
    }
}

/// Property 8 where permits change hands: most instances see few requests, and hold what others
/// want.
pub(in super::super) fn idling(seed: u64) {
    let mut dice = Dice::new(seed);
    let recovery = recovery(&mut dice);
    let most = u64::from(recovery.requests.get());
    let policy = Policy { heal: Heal::Probe(recovery), ..reset(3, Window::Cumulative, 1) };
    // A call there and back is answered just before it is given up.
    let plan = Plan { way: 5 + dice.roll(15), ..plan(&mut dice) };
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    let bad = dice.chance(500);
    world.run(1000);
    (0..3).for_each(|_| assert!(world.request(0, SICK, 0)));
    let mut rounds: BTreeMap<u64, u64> = BTreeMap::new();
    let mut busy = 0;
    while world.now < 15_000 {
        if dice.chance(5) {
            busy = someone(&mut world);
        }
        if bad && dice.chance(5) {
            let (lost, twice, late) = (dice.roll(200), dice.roll(200), dice.roll(200));
            world.net = Net { lost, twice, late, garbled: 0 };
            if dice.chance(100) {
                let who = someone(&mut world);
                world.stop(who, dice.roll(1500));
            }
        }
        for who in 0..plan.instances {
            let runs = world.instances[who].stopped <= world.now;
            // Few, but when they matter: while a call is under way that may give permits back.
            let calls = !world.instances[who].awaited.is_empty();
            let chance = if who == busy { 500 } else { u64::from(calls) * 30 };
            if runs && dice.chance(chance) {
                let before = world.probes.len();
                let epoch = world.instances[who].machine.agreed(NAME).0;
                let takes = 3 + dice.roll(400);
                world.request(who, SICK, takes);
                // Who has lost the store decides alone.
                if world.standing(who).lost == 0 {
                    let sent = rounds.entry(epoch).or_default();
                    *sent += (world.probes.len() - before) as u64;
                    assert!(*sent <= most, "{sent} probes of {most} in epoch {epoch}");
                }
            }
        }
        world.run(2);
    }
    assert!(!world.probes.is_empty(), "nobody probes");
}

/// One that refuses nothing sends its probes as soon as one that does: who would have been refused
/// asks for them.
pub(in super::super) fn shadowing(seed: u64) {
    let mut dice = Dice::new(seed);
    let open_for = 1000 + dice.roll(2000);
    let policy = Policy { mode: Mode::Shadow, ..reset(3, Window::Cumulative, open_for) };
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(500);
    (0..3).for_each(|_| assert!(world.request(0, SICK, 0)));
    let end = world.now + open_for;
    while world.now < end {
        assert!(world.request(0, WELL, 0), "refused in the shadow");
        world.run(10);
    }
    world.run(1);
    assert!(world.probes.is_empty());
    world.request(0, WELL, 0);
    assert_eq!(world.probes.len(), 1, "the first request after the open time is a probe");
}

/// Permits that nobody uses are kept without a word to anybody.
pub(in super::super) fn renewing(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = reset(3, Window::Cumulative, 1000);
    let plan = Plan { hints: true, ..plan(&mut dice) };
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(500);
    (0..3).for_each(|_| assert!(world.request(0, SICK, 0)));
    world.run(3000);
    let (hints, kept) = (world.hints, world.rank_of_permits(0));
    world.run(12_000);
    assert!(world.rank_of_permits(0) > kept + 10, "the permits are kept");
    assert!(world.hints <= hints + 1, "{} hints", world.hints - hints);
}
