//! The store is away, or its clock is set; an instance is stopped.
//!
//! Enters: a seed. Leaves: nothing, or a panic.

use super::{LOOK_MS, SICK, WELL, calm, heal, millis, plan, recovery, reset, someone, two_ticks};
use crate::breaker::circuit::State;
use crate::breaker::policy::{Heal, Policy, Window};
use crate::cluster::OnLoss;
use crate::cluster::sim::dice::Dice;
use crate::cluster::sim::instance::{Plan, breakers};
use crate::cluster::sim::world::{INTERVAL, World};

const ANY: [OnLoss; 3] = [OnLoss::Local, OnLoss::Freeze, OnLoss::Closed];

/// Property 14.
pub(in super::super) fn loss(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 2 + dice.roll(5);
    let on_loss = ANY[dice.roll(3) as usize];
    let policy = reset(most, Window::Cumulative, 3000);
    let plan = Plan { on_loss, ..plan(&mut dice) };
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(1000);
    for _ in 1..most {
        world.request(0, SICK, 0);
    }
    world.run(500);
    world.down = true;
    let silent = 1500 + dice.roll(500);
    let lost = |world: &World<'_>| world.standing(0).lost == 1;
    let took = world.until(1000 + 2 * LOOK_MS, lost);
    assert!(took.is_some(), "a store that is silent for a second is lost");
    world.run(silent - took.unwrap_or_default());
    assert!(world.request(0, SICK, 0));
    let expected = if on_loss == OnLoss::Freeze { State::Closed } else { State::Open };
    assert_eq!(world.state(0), expected);
    let refused = !world.request(0, WELL, 0);
    assert_eq!(refused, on_loss == OnLoss::Local);
    for who in 1..plan.instances {
        assert_eq!(world.state(who), State::Closed);
        assert!(world.request(who, WELL, 0));
    }
    let gone = dice.roll(1000);
    world.run(gone);
    if dice.chance(300) {
        world.store.flush();
    }
    // What the lone one saw is not forgotten when the store is back, and all follow.
    world.down = false;
    let took = world.until(two_ticks(plan), |world| world.all(State::Open));
    assert!(took.is_some(), "not all opened after the store came back");
    // Lost for good while open: it heals alone, unless it was told to stay.
    world.down = true;
    for _ in 0..400 {
        for who in 0..plan.instances {
            world.request(who, WELL, 1);
        }
        world.run(10);
    }
    let healed = world.all(State::Closed);
    assert_eq!(healed, on_loss != OnLoss::Freeze, "{on_loss:?}");
    calm(&mut world);
    heal(&mut world, 8_000, 1);
}

/// Property 14 for one that begins while the store is lost.
pub(in super::super) fn beginning(seed: u64) {
    let mut dice = Dice::new(seed);
    let on_loss = ANY[dice.roll(3) as usize];
    let policy = reset(2, Window::Cumulative, 3000);
    let plan = Plan { on_loss, ..plan(&mut dice) };
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.down = true;
    world.run(dice.roll(3000));
    (0..2).for_each(|_| assert!(world.request(0, SICK, 0)));
    let expected = if on_loss == OnLoss::Freeze { State::Closed } else { State::Open };
    assert_eq!(world.state(0), expected);
    assert_eq!(world.request(0, WELL, 0), on_loss != OnLoss::Local, "{on_loss:?}");
    world.down = false;
    assert!(world.until(two_ticks(plan), |world| world.all(State::Open)).is_some());
}

/// Who was stopped has asked nobody meanwhile: that is no loss of the store.
pub(in super::super) fn stopping(seed: u64) {
    let mut dice = Dice::new(seed);
    let on_loss = ANY[dice.roll(3) as usize];
    let policy = reset(3, Window::Cumulative, 20_000);
    let plan = Plan { on_loss, ..plan(&mut dice) };
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(1000 + dice.roll(300));
    let opens = dice.chance(500);
    let who = someone(&mut world);
    world.stop(who, 1500 + dice.roll(10_000));
    world.run(500);
    if opens {
        let other = (who + 1) % plan.instances;
        (0..3).for_each(|_| assert!(world.request(other, SICK, 0)));
    }
    let rest = world.instances[who].stopped - world.now;
    world.run(rest - 1);
    for _ in 0..two_ticks(plan) {
        world.run(1);
        assert_eq!(world.standing(who).lost, 0, "it had not asked");
    }
    assert!(world.all(if opens { State::Open } else { State::Closed }));
    // Really lost, it is so in time all the same.
    world.down = true;
    world.run(1000 + LOOK_MS + INTERVAL);
    assert_eq!(world.standing(who).lost, 1);
}

/// Property 15. That no instance's clock agrees with another's is so in every play.
pub(in super::super) fn clocks(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = Policy {
        heal: Heal::Probe(recovery(&mut dice)),
        ..reset(3, Window::Sliding(millis(2000)), 1)
    };
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(1000);
    const HOUR: i64 = 3_600_000;
    for _ in 0..3 {
        world.request(0, SICK, 0);
        let pause = dice.roll(50);
        world.run(pause);
    }
    let pause = dice.roll(600);
    world.run(pause);
    world.step += if dice.chance(500) { HOUR } else { -HOUR };
    if dice.chance(200) {
        world.store.flush();
    }
    heal(&mut world, 15_000, 5);
    // Counting goes on.
    for who in 0..3 {
        world.request(who % plan.instances, SICK, 0);
    }
    assert!(world.until(two_ticks(plan), |world| world.all(State::Open)).is_some());
}
