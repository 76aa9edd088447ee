//! What is counted: by whom it is known, when, and what telling it costs.
//!
//! Enters: a seed. Leaves: nothing, or a panic.

use super::{
    LOOK_MS, SICK, WELL, bad_net, calm, count, counted, disturb, heal, millis, plan, reset,
    someone, two_ticks,
};
use crate::breaker::circuit::State;
use crate::breaker::policy::{Policy, Share, Shares, Trip, Window};
use crate::cluster::sim::dice::{Dice, Net};
use crate::cluster::sim::instance::{Plan, breakers};
use crate::cluster::sim::world::{INTERVAL, PATIENCE, World};

/// Properties 1, 2 and 4 (never more than there are).
pub(in super::super) fn counting(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = match dice.roll(3) {
        0 => reset(1_000_000, Window::Cumulative, 1000),
        1 => reset(1_000_000, Window::Sliding(millis(100_000)), 1000),
        _ => Policy::look_back(count(500), millis(100_000)),
    };
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.net = bad_net(&mut dice);
    world.depth = 3;
    let mut total = 0;
    for _ in 0..25 {
        let who = someone(&mut world);
        for _ in 0..=dice.roll(6) {
            assert!(world.request(who, SICK, 0));
            total += 1;
        }
        let pause = dice.roll(300);
        world.run(pause);
        for who in 0..plan.instances {
            assert!(world.estimate(who) <= total, "more than there are");
        }
        disturb(&mut world);
    }
    calm(&mut world);
    let done = |world: &World<'_>| (0..plan.instances).all(|who| world.estimate(who) == total);
    let estimates = |world: &World<'_>| -> Vec<u64> {
        (0..plan.instances).map(|who| world.estimate(who)).collect()
    };
    let took = world.until(two_ticks(plan), done);
    assert!(took.is_some(), "{:?} of {total}", estimates(&world));
    // And it stays so, with a store that forgets everything once more.
    world.store.flush();
    world.run(two_ticks(plan));
    assert!(done(&world), "{:?} of {total}", estimates(&world));
}

/// Properties 4 (how much is missed), 5 and 6.
pub(in super::super) fn tripping(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 2 + dice.roll(20);
    let shares = dice.chance(200);
    let policy = if shares {
        let share = Some(Share(500_000));
        let (span, least) = (millis(30_000), u32::try_from(most).unwrap());
        let shares = Shares { span, min_requests: least, failed: share, slow: None };
        let trip = Trip { shares: Some(shares), ..Trip::default() };
        Policy { trip, ..reset(1, Window::Cumulative, 20_000) }
    } else {
        counted(&mut dice, most, 30_000, 20_000)
    };
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(1000 + dice.roll(300));
    let gap = dice.roll(120);
    let mut at = Vec::new();
    let soon =
        if plan.hints { 3 * LOOK_MS + 6 * plan.way } else { INTERVAL + 3 * LOOK_MS + 6 * plan.way };
    while (0..plan.instances).all(|who| world.state(who) == State::Closed) {
        let who = someone(&mut world);
        at.push(world.now);
        world.request(who, SICK, 0);
        assert!(at.len() as u64 <= most * plan.instances as u64, "it never opens");
        for who in 0..plan.instances {
            let fresh = at.iter().filter(|at| **at + soon >= world.now).count() as u64;
            let missed = at.len() as u64 - world.estimate(who).min(at.len() as u64);
            assert!(missed <= most / 2 + fresh, "{missed} missed, {fresh} of them fresh");
        }
        let pause = dice.roll(gap + 1);
        let opened = |world: &World<'_>| !world.all(State::Closed);
        if world.until(pause, opened).is_some() {
            break;
        }
    }
    assert!(at.len() as u64 >= most, "opened early, after {}", at.len());
    let bound = if plan.hints { 50 } else { INTERVAL + 50 };
    let last = world.until(bound, |world| world.all(State::Open));
    assert!(last.is_some(), "not all opened within {bound} ms");
    for who in 0..plan.instances {
        assert!(!world.request(who, WELL, 0), "admitted after it opened");
    }
}

/// Opens when half of at least twenty exchanges fail.
fn halves() -> Policy {
    let share = Some(Share(500_000));
    let shares = Shares { span: millis(10_000), min_requests: 20, failed: share, slow: None };
    let trip = Trip { shares: Some(shares), ..Trip::default() };
    Policy { trip, ..reset(1, Window::Cumulative, 20_000) }
}

/// Properties 4 and 6 of a share of many exchanges.
pub(in super::super) fn rates(seed: u64) {
    let mut dice = Dice::new(seed);
    let plan = plan(&mut dice);
    let policy = halves();
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(1000);
    let (mut all, mut failed) = (0, 0);
    for _ in 0..dice.roll(2000) {
        let who = someone(&mut world);
        let sick = dice.chance(10);
        world.request(who, if sick { SICK } else { WELL }, 0);
        (all, failed) = (all + 1, failed + u64::from(sick));
        world.run(1);
    }
    assert!(world.all(State::Closed), "opened by one of a hundred");
    let mut due = None;
    while !world.all(State::Open) {
        let who = someone(&mut world);
        if world.request(who, SICK, 0) {
            (all, failed) = (all + 1, failed + 1);
        }
        if failed * 2 >= all && all >= 20 {
            due.get_or_insert(world.now);
        }
        world.run(1);
        // Held back by nobody for longer than to the next tick, then told aloud.
        let bound = INTERVAL + if plan.hints { 50 } else { INTERVAL + 50 };
        let late = due.is_some_and(|due| world.now > due + bound);
        assert!(!late, "{failed} of {all} failed, and not all are open");
    }
}

/// How often an instance asks the store at one failure in a hundred, which is far from enough.
pub(in super::super) fn chatter() {
    let plan = Plan { hints: true, ..Plan::CALM };
    let policy = halves();
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(1, plan, &breakers);
    let mut dice = Dice::new(1);
    let mut calls = 0;
    for passed in 0..4000 {
        if passed == 1000 {
            calls = world.calls;
        }
        for _ in 0..10 {
            let who = someone(&mut world);
            world.request(who, if dice.chance(10) { SICK } else { WELL }, 0);
        }
        world.run(1);
    }
    let calls = (world.calls - calls) / 3 / plan.instances as u64;
    println!("{calls} calls per second and instance");
    // A tick comes after nine tenths of the interval at the earliest.
    assert!(calls <= 1000 / (INTERVAL * 9 / 10) + 1, "{calls} calls per second and instance");
}

/// Property 7.
pub(in super::super) fn sparing(seed: u64) {
    let mut dice = Dice::new(seed);
    let (most, span) = (3 + dice.roll(8), 600 + dice.roll(900));
    let policy = match dice.roll(3) {
        0 => reset(most, Window::Fixed(millis(span)), 500),
        1 => reset(most, Window::Sliding(millis(span)), 500),
        _ => Policy::look_back(count(most), millis(span)),
    };
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.net = Net { late: 0, ..bad_net(&mut dice) };
    let mut at: Vec<u64> = Vec::new();
    for _ in 0..40 {
        let pause = dice.roll(2 * span / most);
        world.run(pause);
        // A call may be carried out as late as its caller waits, and once more after that.
        let window = span + 2 * PATIENCE + 450;
        let recent = at.iter().filter(|at| **at + window > world.now).count() as u64;
        if recent + 1 < most {
            at.push(world.now);
            let who = someone(&mut world);
            world.request(who, SICK, 0);
        }
        assert!(world.all(State::Closed), "opened by fewer than {most} in {span} ms");
        if dice.chance(50) {
            disturb(&mut world);
            world.down = false;
        }
    }
}

/// Property 23; and who leaves tells its last.
pub(in super::super) fn leaving(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = counted(&mut dice, 3, 2000, 1000);
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    for _ in 0..6 {
        let who = someone(&mut world);
        world.request(who, SICK, 0);
        let pause = dice.roll(300);
        world.run(pause);
    }
    calm(&mut world);
    heal(&mut world, 10_000, 0);
    // All that it takes but one, which nobody was told; then that one.
    world.run(3000);
    (0..2).for_each(|_| assert!(world.request(0, SICK, 0)));
    world.leave(0);
    world.run(two_ticks(plan));
    assert_eq!(world.estimate(1), 2, "the last words of who left");
    world.request(1, SICK, 0);
    assert_eq!(world.state(1), State::Open);
    (1..plan.instances).for_each(|who| world.leave(who));
    let day = 86_400_000;
    assert!(!world.store.holds_anything(world.clock() + day));
}
