//! What operators order.
//!
//! Enters: a seed. Leaves: nothing, or a panic.

use super::{LOOK_MS, SICK, WELL, plan, reset, someone, two_ticks};
use crate::breaker::circuit::{Forced, State};
use crate::breaker::policy::{Mode, Policy, Window};
use crate::cluster::sim::dice::Dice;
use crate::cluster::sim::instance::breakers;
use crate::cluster::sim::world::{INTERVAL, World};

fn everywhere(order: Option<Forced>) -> impl Fn(&World<'_>) -> bool {
    move |world| (0..world.plan.instances).all(|who| world.forced(who) == order)
}

/// Property 17.
pub(in super::super) fn orders(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = reset(3, Window::Cumulative, 60_000);
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(1000 + dice.roll(200));
    let bound = if plan.hints { 50 } else { INTERVAL + 50 };
    let force = |world: &mut World<'_>, order: Option<Forced>, ttl: Option<u64>| {
        let who = someone(world);
        world.force(who, order, ttl);
    };
    let ttl = 1000 + dice.roll(1000);
    force(&mut world, Some(Forced::Open), Some(ttl));
    let began = world.now;
    assert!(world.until(bound, everywhere(Some(Forced::Open))).is_some(), "not everywhere");
    assert!(!world.request(0, WELL, 0) && !world.request(1, WELL, 0));
    let kept = began + ttl - 2 * plan.way - LOOK_MS - 2;
    world.run(kept.saturating_sub(world.now));
    assert!(everywhere(Some(Forced::Open))(&world), "over too soon");
    world.run(2 * plan.way + 2 * LOOK_MS + 4);
    assert!(everywhere(None)(&world), "not over in time");
    // Endless, and taken back elsewhere; the store may forget it in between.
    force(&mut world, Some(Forced::Closed), None);
    assert!(world.until(bound, everywhere(Some(Forced::Closed))).is_some());
    if dice.chance(300) {
        world.store.flush();
    }
    world.run(1500);
    assert!(everywhere(Some(Forced::Closed))(&world));
    force(&mut world, None, None);
    assert!(world.until(bound, everywhere(None)).is_some(), "not taken back everywhere");
    // A reset closes all and forgets what all have counted, though some opened by themselves and
    // have not agreed on it yet.
    for nth in 0..3 {
        world.request(nth % plan.instances, SICK, 0);
        let pause = dice.roll(150);
        world.run(pause);
    }
    assert!(world.until(bound, |world| world.all(State::Open)).is_some());
    let who = someone(&mut world);
    let now = world.local(who);
    let _ = world.instances[who].breaker.reset(now);
    assert!(world.until(bound, |world| world.all(State::Closed)).is_some(), "not all reset");
    world.run(two_ticks(plan));
    assert!((0..plan.instances).all(|who| world.estimate(who) == 0));
    assert!(world.all(State::Closed) && world.agrees());
}

/// An order stands above a mode that does nothing.
pub(in super::super) fn unguarded(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = Policy { mode: Mode::Off, ..reset(3, Window::Cumulative, 60_000) };
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(1000);
    for order in [Some(Forced::Open), None] {
        let who = someone(&mut world);
        world.force(who, order, None);
        assert!(world.until(two_ticks(plan), everywhere(order)).is_some(), "{order:?}");
        assert_eq!(world.request(0, WELL, 0), order.is_none());
    }
}

/// The last order stands, though the store has forgotten it and hears an older one again; and one
/// that is over comes back to nobody.
pub(in super::super) fn outdated(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = reset(3, Window::Cumulative, 60_000);
    let plan = plan(&mut dice);
    let all = breakers(&policy, plan.instances + 1);
    let (first, later) = all.split_at(plan.instances);
    let mut world = World::new(seed, plan, first);
    world.run(1000);
    world.force(0, Some(Forced::Closed), None);
    let closed = Some(Forced::Closed);
    assert!(world.until(two_ticks(plan), everywhere(closed)).is_some());
    world.run(two_ticks(plan));
    world.instances[1].cut = true;
    world.force(0, Some(Forced::Open), Some(500));
    world.run(1500 + dice.roll(1000));
    assert_eq!((world.forced(0), world.forced(1)), (None, closed));
    world.store.end("o:");
    world.instances[1].cut = false;
    let took = world.until(3 * two_ticks(plan), everywhere(None));
    assert!(took.is_some(), "the last one is over");
    // Told again to a store that has forgotten all, and heard by one that knows nothing.
    world.store.flush();
    world.run(two_ticks(plan));
    world.restart(1, &later[0]);
    world.run(2 * two_ticks(plan));
    assert!(everywhere(None)(&world), "an order that was over");
}
