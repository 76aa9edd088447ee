//! What all are agreed on: that they are, and that it outlives who said it.
//!
//! Enters: a seed. Leaves: nothing, or a panic.

use super::{
    SICK, WELL, bad_net, calm, count, counted, disturb, eased, heal, millis, plan, reset, someone,
    two_ticks,
};
use crate::breaker::circuit::State;
use crate::breaker::policy::{Heal, Share, Shares, Trip, Window};
use crate::cluster::sim::dice::{Dice, Net};
use crate::cluster::sim::instance::{Plan, breakers};
use crate::cluster::sim::world::World;

/// Properties 9, 11 and 12, after anything may have happened.
pub(in super::super) fn storm(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 1 + dice.roll(6);
    let span = 1000 + dice.roll(2000);
    let mut policy = counted(&mut dice, most, span, 1);
    if let Heal::Probe(held) = &mut policy.heal {
        *held = eased(&mut dice);
        if dice.chance(300) {
            policy.trip.run = Some(count(1 + dice.roll(5)));
        }
    }
    let quorum = if dice.chance(300) { 500_000 } else { 0 };
    let plan = Plan { quorum, ..plan(&mut dice) };
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.net = bad_net(&mut dice);
    world.depth = 3;
    for _ in 0..40 {
        let sick = dice.roll(1000);
        for _ in 0..dice.roll(30) {
            let who = someone(&mut world);
            let ending = if dice.chance(sick) { SICK } else { WELL };
            let takes = dice.roll(60);
            world.request(who, ending, takes);
            let pause = dice.roll(20);
            world.run(pause);
        }
        disturb(&mut world);
        if dice.chance(30) {
            let who = someone(&mut world);
            let now = world.local(who);
            let _ = world.instances[who].breaker.reset(now);
        }
    }
    calm(&mut world);
    heal(&mut world, 20_000, 5);
    world.run(two_ticks(plan));
    assert!(world.all(State::Closed) && world.agrees());
}

/// Property 13.
pub(in super::super) fn quorum(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 2 + dice.roll(6);
    let rate = dice.chance(400);
    let mut policy = counted(&mut dice, most, 20_000, 20_000);
    if rate {
        let (span, share) = (millis(20_000), Some(Share(500_000)));
        let shares = Shares { span, min_requests: 10, failed: share, slow: None };
        policy.trip = Trip { shares: Some(shares), failures: None, run: None };
        policy.heal = reset(1, Window::Cumulative, 20_000).heal;
    }
    let instances = 3 + usize::try_from(dice.roll(3)).unwrap();
    // A rate needs no quorum: the healthy ones outweigh the sick one.
    let quorum = if rate && dice.chance(500) { 0 } else { 500_000 };
    let plan = Plan { instances, quorum, ..plan(&mut dice) };
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    if dice.chance(500) {
        // Not so bad that one that lives is taken for dead: the others would be few.
        world.net = Net { late: 20, lost: 30, ..bad_net(&mut dice) };
    }
    let mut sick_alone = false;
    for round in 0..300 {
        for who in 1..plan.instances {
            world.request(who, WELL, 0);
            world.request(who, WELL, 0);
        }
        // The healthy ones have been heard of before the other falls ill.
        if round > 150 {
            world.request(0, SICK, 0);
        }
        world.run(10);
        sick_alone |= world.state(0) == State::Open;
        for who in 1..plan.instances {
            assert_eq!(world.state(who), State::Closed, "{who} follows one that is sick");
        }
    }
    assert!(sick_alone, "the sick one did not open");
    calm(&mut world);
    if rate || matches!(policy.heal, Heal::Age(_)) {
        return;
    }
    // As many as it takes see the same: all open.
    for _ in 0..400 {
        for who in 1..plan.instances.div_ceil(2) + 1 {
            world.request(who, SICK, 0);
        }
        world.run(10);
    }
    assert!(world.all(State::Open), "not all are open");
}

/// What an instance knew outlives it, for as long as it counts; a new one takes part at once.
pub(in super::super) fn restarting(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 3 + dice.roll(8);
    let policy = reset(most, Window::Cumulative, 20_000);
    let plan = plan(&mut dice);
    let all = breakers(&policy, plan.instances + 2);
    let (first, later) = all.split_at(plan.instances);
    let mut world = World::new(seed, plan, first);
    world.run(500);
    for _ in 1..most {
        world.request(0, SICK, 0);
    }
    world.run(two_ticks(plan));
    world.restart(0, &later[0]);
    world.run(two_ticks(plan));
    assert_eq!(world.estimate(0), most - 1, "what the one before counted");
    world.request(0, SICK, 0);
    assert_eq!(world.state(0), State::Open, "that was the last that it takes");
    assert!(world.until(two_ticks(plan), |world| world.all(State::Open)).is_some());
    let pause = dice.roll(5000);
    world.run(pause);
    let left =
        |world: &World<'_>, who: usize| world.instances[who].breaker.left_ms(world.local(who));
    world.restart(1, &later[1]);
    assert_eq!(world.state(1), State::Closed, "it knows nothing yet");
    assert!(world.until(two_ticks(plan), |world| world.state(1) == State::Open).is_some());
    let apart = left(&world, 0).abs_diff(left(&world, 1));
    assert!(apart <= 4 * plan.way + 4, "open for {apart} ms more or less than the others");
}

/// An instance that begins anew on its old breaker counts nothing twice, its own least of all, and
/// stands where all stand.
pub(in super::super) fn forgetting(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 3 + dice.roll(8);
    let policy = reset(most, Window::Cumulative, 20_000);
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(500);
    for _ in 1..most {
        let who = someone(&mut world);
        assert!(world.request(who, SICK, 0));
        let pause = dice.roll(two_ticks(plan));
        world.run(pause);
    }
    world.forget(0);
    world.run(2 * two_ticks(plan));
    let estimates: Vec<u64> = (0..plan.instances).map(|who| world.estimate(who)).collect();
    assert!(estimates.iter().all(|it| *it == most - 1), "{estimates:?} of {}", most - 1);
    assert!(world.all(State::Closed));
    assert!(world.request(0, SICK, 0));
    assert!(world.until(two_ticks(plan), |world| world.all(State::Open)).is_some());
    let who = someone(&mut world);
    world.forget(who);
    world.run(2 * two_ticks(plan));
    assert!(world.all(State::Open) && world.agrees());
}

/// Property 16, as far as instances differ while a configuration is rolled out.
pub(in super::super) fn reloading(seed: u64) {
    let mut dice = Dice::new(seed);
    let short = reset(8, Window::Sliding(millis(20_000)), 20_000);
    let long = reset(8, Window::Sliding(millis(40_000)), 20_000);
    let plan = plan(&mut dice);
    let old = breakers(&short, plan.instances);
    let renewed: Vec<_> = old.iter().map(|it| it.fitted(&long)).collect();
    let mut world = World::new(seed, plan, &old);
    world.run(500);
    (0..4).for_each(|_| assert!(world.request(0, SICK, 0)));
    world.run(two_ticks(plan));
    world.reload(0, &renewed[0]);
    // Of the other kind now: the two count apart.
    (0..7).for_each(|_| assert!(world.request(0, SICK, 0)));
    world.run(two_ticks(plan));
    assert_eq!(world.estimate(0), 7);
    assert!((1..plan.instances).all(|who| world.estimate(who) == 4));
    assert!(world.all(State::Closed));
    // Together as to the state all the same.
    world.request(0, SICK, 0);
    assert!(world.until(two_ticks(plan), |world| world.all(State::Open)).is_some());
    for (who, renewed) in renewed.iter().enumerate().skip(1) {
        world.reload(who, renewed);
    }
    world.run(two_ticks(plan));
    assert!(world.all(State::Open) && world.agrees());
}
