//! Everything at once: what the other plays try apart, as a seed mixes it.
//!
//! Enters: a seed. Leaves: nothing, or a panic.

use super::{
    SICK, WELL, bad_net, calm, count, counted, disturb, eased, heal, plan, someone, two_ticks,
};
use crate::breaker::Breaker;
use crate::breaker::circuit::{Forced, State};
use crate::breaker::policy::{Heal, Policy};
use crate::cluster::OnLoss;
use crate::cluster::sim::dice::{Dice, Net};
use crate::cluster::sim::instance::{Plan, breakers};
use crate::cluster::sim::world::World;

/// Instances that begin in the place of another.
const SPARES: usize = 4;

fn policy(dice: &mut Dice, most: u64) -> Policy {
    let span = 1000 + dice.roll(2000);
    let mut policy = counted(dice, most, span, 1);
    if let Heal::Probe(held) = &mut policy.heal {
        *held = eased(dice);
    }
    if dice.chance(300) {
        policy.trip.run = Some(count(1 + dice.roll(5)));
    }
    policy
}

/// Something changes, or nothing.
fn change<'b>(world: &mut World<'b>, dice: &mut Dice, spares: &mut std::slice::Iter<'b, Breaker>) {
    let who = someone(world);
    match dice.roll(16) {
        0..3 => world.net = bad_net(dice),
        3 => world.net = Net::default(),
        4..9 => disturb(world),
        9 => world.stop(who, dice.roll(4000)),
        10 => {
            let hours = 3_600_000 * (1 + dice.roll(3).cast_signed());
            world.step += if dice.chance(500) { hours } else { -hours };
        }
        11 => {
            if let Some(spare) = spares.next() {
                world.restart(who, spare);
            }
        }
        12 => {
            let order = [None, Some(Forced::Open), Some(Forced::Closed)][dice.roll(3) as usize];
            world.force(who, order, Some(dice.roll(2000)));
        }
        13 => {
            let now = world.local(who);
            let _ = world.instances[who].breaker.reset(now);
        }
        _ => {}
    }
}

/// Properties 2, 9, 11, 12, 15 and 17, whatever the weather.
pub(in super::super) fn weather(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 1 + dice.roll(6);
    let policy = policy(&mut dice, most);
    let plan = Plan {
        quorum: if dice.chance(300) { 500_000 } else { 0 },
        on_loss: [OnLoss::Local, OnLoss::Freeze, OnLoss::Closed][dice.roll(3) as usize],
        way: dice.roll(24),
        sway: dice.roll(8),
        ..plan(&mut dice)
    };
    let all = breakers(&policy, plan.instances + SPARES);
    let (first, spares) = all.split_at(plan.instances);
    let mut spares = spares.iter();
    let mut world = World::new(seed, plan, first);
    world.depth = 3;
    let longest = match &policy.heal {
        Heal::Probe(recovery) => recovery.pace.longest(),
        Heal::Age(span) => *span,
    };
    let mut failed = 0;
    for _ in 0..60 {
        let sick = dice.roll(1000);
        for _ in 0..dice.roll(20) {
            let who = someone(&mut world);
            let fails = dice.chance(sick);
            let takes = dice.roll(60);
            if world.instances[who].stopped <= world.now {
                world.request(who, if fails { SICK } else { WELL }, takes);
                failed += u64::from(fails);
                assert!(world.estimate(who) <= failed, "more than there are");
                let left = world.instances[who].breaker.left_ms(world.local(who));
                assert!(u128::from(left) <= longest.as_millis(), "open for {left} ms");
            }
            let pause = dice.roll(25);
            world.run(pause);
        }
        change(&mut world, &mut dice, &mut spares);
    }
    // Who is stopped goes on, and orders are over.
    calm(&mut world);
    world.run(4000);
    heal(&mut world, 25_000, 5);
    world.run(4000);
    assert!(world.all(State::Closed) && world.agrees());
    if plan.quorum > 0 {
        return;
    }
    // They count together as if nothing had happened.
    for nth in 0..most {
        let who = usize::try_from(nth).unwrap() % plan.instances;
        world.request(who, SICK, 0);
    }
    let opens = world.until(two_ticks(plan), |world| world.all(State::Open));
    assert!(opens.is_some(), "{:?}", world.agreements());
}
