//! The promises, one play each.
//!
//! Enters: a seed. Leaves: nothing, or a panic that says which promise was broken.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::super::{LOOK, Machine, OnLoss};
use super::fake::Fake;
use super::world::{Dice, INTERVAL, Net, PATIENCE, Plan, World, breakers, settings};
use crate::breaker::circuit::{Forced, Override, State};
use crate::breaker::outcome::Ending;
use crate::breaker::policy::{Heal, Pace, Policy, Ramp, Recovery, Share, Shares, Trip, Window};
use crate::breaker::{Breaker, Core, Verdict};
use crate::clock::Now;

const SICK: Ending = Ending::Answered(500);
const WELL: Ending = Ending::Answered(200);
const LOOK_MS: u64 = LOOK.as_millis() as u64;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn count(count: u64) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(count).unwrap()).unwrap()
}

fn reset(most: u64, window: Window, open_for: u64) -> Policy {
    Policy::reset(count(most), window, millis(open_for))
}

/// So many failures within the window, of whatever kind.
fn counted(dice: &mut Dice, most: u64, span: u64, open_for: u64) -> Policy {
    match dice.roll(4) {
        0 => reset(most, Window::Cumulative, open_for),
        1 => reset(most, Window::Fixed(millis(span)), open_for),
        2 => reset(most, Window::Sliding(millis(span)), open_for),
        _ => Policy::look_back(count(most), millis(span)),
    }
}

fn bad_net(dice: &mut Dice) -> Net {
    Net { lost: dice.roll(150), twice: dice.roll(200), late: dice.roll(200), garbled: 0 }
}

fn plan(dice: &mut Dice) -> Plan {
    let instances = 2 + usize::try_from(dice.roll(4)).unwrap();
    Plan { instances, hints: dice.chance(500), way: 1 + dice.roll(3), ..Plan::CALM }
}

/// How long news may take to reach everybody: told with one tick, read with the next.
fn two_ticks(plan: Plan) -> u64 {
    2 * INTERVAL + 6 * plan.way + 5 * LOOK_MS
}

fn disturb(world: &mut World<'_>) {
    match world.dice.roll(12) {
        0 => world.store.flush(),
        1 => world.fail_over(),
        2 => world.down = !world.down,
        3 | 4 => {
            let who = usize::try_from(world.dice.roll(world.instances.len() as u64)).unwrap();
            world.instances[who].cut = !world.instances[who].cut;
        }
        _ => {}
    }
}

/// Everything works again, and what was late has arrived.
fn calm(world: &mut World<'_>) {
    world.net = Net::default();
    world.down = false;
    world.instances.iter_mut().for_each(|it| it.cut = false);
    world.run(500);
}

fn someone(world: &mut World<'_>) -> usize {
    usize::try_from(world.dice.roll(world.instances.len() as u64)).unwrap()
}

/// Properties 1, 2 and 4 (never more than there are).
pub(super) fn counting(seed: u64) {
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
pub(super) fn tripping(seed: u64) {
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

/// Property 7.
pub(super) fn sparing(seed: u64) {
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

fn recovery(dice: &mut Dice) -> Recovery {
    let open_for = 300 + dice.roll(1500);
    let requests = 1 + dice.roll(3);
    Recovery {
        pace: Pace::new(millis(open_for), 1.0 + dice.roll(2) as f64, millis(4000), 200_000),
        requests: count(requests),
        successes: count(1 + dice.roll(requests)),
        permit: millis(2000),
        max_wait: millis(2000),
        ramp: None,
    }
}

/// Properties 8 and 21.
pub(super) fn probing(seed: u64) {
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
            let (before, epoch) =
                (world.probes.len(), world.instances[who].machine.agreed("GET /a").0);
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
        let (epoch, streak) = world.instances[0].machine.opened("GET /a");
        assert!(u64::from(streak) <= epoch, "{streak} openings by epoch {epoch}");
    }
}

/// Properties 9, 11 and 12, after anything may have happened.
pub(super) fn storm(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 1 + dice.roll(6);
    let span = 1000 + dice.roll(2000);
    let mut policy = counted(&mut dice, most, span, 1);
    if let Heal::Probe(held) = &mut policy.heal {
        *held = recovery(&mut dice);
        if dice.chance(300) {
            let ramp = Ramp { duration: millis(100 + dice.roll(900)), start: Share(300_000) };
            held.ramp = Some(ramp);
        }
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
    let mut waited = 0;
    while !(world.all(State::Closed) && world.agrees()) {
        for who in 0..plan.instances {
            world.request(who, WELL, 5);
        }
        world.run(10);
        waited += 10;
        let states = || -> Vec<_> {
            world
                .instances
                .iter()
                .map(|it| (it.breaker.word(), it.machine.agreed("GET /a")))
                .collect()
        };
        assert!(waited < 20_000, "stuck in {:?}", states());
    }
    world.run(two_ticks(plan));
    assert!(world.all(State::Closed) && world.agrees());
}

/// Property 13.
pub(super) fn quorum(seed: u64) {
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

/// Property 14.
pub(super) fn loss(seed: u64) {
    let mut dice = Dice::new(seed);
    let most = 2 + dice.roll(5);
    let on_loss = [OnLoss::Local, OnLoss::Freeze, OnLoss::Closed][dice.roll(3) as usize];
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
    world.run(1500 + dice.roll(500));
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
    let mut waited = 0;
    while !(world.all(State::Closed) && world.agrees()) {
        for who in 0..plan.instances {
            world.request(who, WELL, 1);
        }
        world.run(10);
        waited += 10;
        assert!(waited < 8_000, "stuck");
    }
}

/// Property 15. That no instance's clock agrees with another's is so in every play.
pub(super) fn clocks(seed: u64) {
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
    let mut waited = 0;
    while !(world.all(State::Closed) && world.agrees()) {
        for who in 0..plan.instances {
            world.request(who, WELL, 5);
        }
        world.run(10);
        waited += 10;
        assert!(waited < 15_000, "stuck");
    }
    // Counting goes on.
    for who in 0..3 {
        world.request(who % plan.instances, SICK, 0);
    }
    assert!(world.until(two_ticks(plan), |world| world.all(State::Open)).is_some());
}

/// Property 17.
pub(super) fn orders(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = reset(3, Window::Cumulative, 60_000);
    let plan = plan(&mut dice);
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.run(1000 + dice.roll(200));
    let bound = if plan.hints { 50 } else { INTERVAL + 50 };
    let forced = |world: &World<'_>, who: usize| {
        world.instances[who].breaker.forced(world.local(who)).map(|order| order.forced)
    };
    let everywhere = |order: Option<Forced>| {
        move |world: &World<'_>| (0..plan.instances).all(|who| forced(world, who) == order)
    };
    let force = |world: &mut World<'_>, order: Option<Forced>, ttl: Option<u64>| {
        let who = someone(world);
        let until = ttl.map(|ttl| world.local(who).after(millis(ttl)));
        let order = order.map(|forced| Override { forced, until });
        world.instances[who].breaker.force(order);
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

/// Property 23.
pub(super) fn leaving(seed: u64) {
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
    (0..plan.instances).for_each(|who| world.leave(who));
    let day = 86_400_000;
    assert!(!world.store.holds_anything(world.clock() + day));
}

/// Whatever the store answers, nobody panics.
pub(super) fn garbage(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = if dice.chance(500) {
        Policy {
            heal: Heal::Probe(recovery(&mut dice)),
            ..reset(3, Window::Sliding(millis(900)), 1)
        }
    } else {
        counted(&mut dice, 3, 900, 400)
    };
    let plan = Plan { quorum: 400_000, ..plan(&mut dice) };
    let breakers = breakers(&policy, plan.instances);
    let mut world = World::new(seed, plan, &breakers);
    world.net = Net { garbled: 500, ..Net::default() };
    for _ in 0..200 {
        let who = someone(&mut world);
        let ending = if dice.chance(500) { SICK } else { WELL };
        let takes = dice.roll(30);
        world.request(who, ending, takes);
        let pause = dice.roll(40);
        world.run(pause);
    }
}

/// What an instance knew outlives it, for as long as it counts; a new one takes part at once.
pub(super) fn restarting(seed: u64) {
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
pub(super) fn forgetting(seed: u64) {
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
pub(super) fn reloading(seed: u64) {
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

/// Two instances, many breakers, a store without a network.
pub(super) fn crowd() {
    const BREAKERS: usize = 5000;
    let policy = reset(3, Window::Cumulative, 60_000);
    let names: Vec<String> = (0..BREAKERS).map(|nth| format!("GET /{nth}")).collect();
    let own: Vec<Vec<_>> = (0..2).map(|_| breakers(&policy, BREAKERS)).collect();
    let at = |millis| Now::from_millis((1 << 36) + millis);
    let mut store = Fake::default();
    let mut machines: Vec<Machine> = (0..2).map(|nth| Machine::new(settings(nth), at(0))).collect();
    for (machine, own) in machines.iter_mut().zip(&own) {
        machine.serve(names.iter().map(String::as_str).zip(own), at(0));
    }
    let fail = |own: &[Breaker], now| {
        for breaker in own {
            let Verdict::Admit(ticket) = breaker.admit(&Core::claim(0), now).0 else { continue };
            let _ = ticket.settle(SICK, now);
        }
    };
    let (mut largest, mut calls) = (0, 0);
    for step in 0..120 {
        let now = at(step * 10);
        // Two by the first instance, one by the second: three of each breaker.
        match step {
            40 | 41 => fail(&own[0], now),
            42 => fail(&own[1], now),
            _ => {}
        }
        for machine in &mut machines {
            machine.look(now);
            while let Some(ask) = machine.ask(now) {
                largest = largest.max(ask.call.args.len());
                calls += 1;
                let (answer, _) = store.call(&ask.call, 1_000_000 + step * 10);
                machine.hear(&ask, now, &answer, now).unwrap();
            }
        }
    }
    assert!(largest <= 5 + 5 * 256, "{largest} arguments in one call");
    let open = |own: &[Breaker]| own.iter().filter(|it| it.word().state() == State::Open).count();
    assert_eq!((open(&own[0]), open(&own[1])), (BREAKERS, BREAKERS), "after {calls} calls");
}
