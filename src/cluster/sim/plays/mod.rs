//! The promises, one play each, and what they share.
//!
//! Enters: a seed. Leaves: nothing, or a panic that says which promise was broken.

mod agreement;
mod bytes;
mod counts;
mod evictions;
mod loss;
mod orders;
mod rounds;
mod weather;

pub(super) use agreement::{forgetting, quorum, reloading, restarting, storm};
pub(super) use bytes::{crowd, garbage, regrouping};
pub(super) use counts::{chatter, counting, leaving, rates, sparing, tripping};
pub(super) use evictions::{climbing, evicting};
pub(super) use loss::{beginning, clocks, loss, stopping};
pub(super) use orders::{orders, outdated, unguarded};
pub(super) use rounds::{idling, probing, renewing, shadowing};
pub(super) use weather::weather;

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::LOOK;
use super::dice::{Dice, Net};
use super::fake::Key;
use super::instance::Plan;
use super::world::{INTERVAL, World};
use crate::breaker::circuit::State;
use crate::breaker::outcome::Ending;
use crate::breaker::policy::{Pace, Policy, Ramp, Recovery, Share, Window};

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
        5 => {
            let nth = world.dice.roll(Key::ALL.len() as u64);
            world.store.evict(Key::ALL[usize::try_from(nth).unwrap()]);
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

/// The same, now and then with a ramp behind it.
fn eased(dice: &mut Dice) -> Recovery {
    let plain = recovery(dice);
    let ramp = dice
        .chance(300)
        .then(|| Ramp { duration: millis(100 + dice.roll(900)), start: Share(300_000) });
    Recovery { ramp, ..plain }
}

/// Healthy requests everywhere, until all are closed and agree on it; it takes at most so long.
fn heal(world: &mut World<'_>, most: u64, takes: u64) {
    let began = world.now;
    while !(world.all(State::Closed) && world.agrees()) {
        for who in 0..world.plan.instances {
            world.request(who, WELL, takes);
        }
        world.run(10);
        assert!(world.now - began < most, "stuck in {:?}", world.agreements());
    }
}
