//! Many breakers in few calls, reloads of them, and answers of any bytes.
//!
//! Enters: a seed, where one decides. Leaves: nothing, or a panic.

use super::{SICK, WELL, counted, millis, plan, recovery, reset, someone};
use crate::breaker::Breaker;
use crate::breaker::circuit::State;
use crate::breaker::policy::{Heal, Policy, Window};
use crate::cluster::sim::dice::{Dice, Net};
use crate::cluster::sim::instance::{Plan, breakers};
use crate::cluster::sim::room::Room;
use crate::cluster::sim::world::World;

/// Whatever the store answers, nobody panics.
pub(in super::super) fn garbage(seed: u64) {
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

/// Two instances, many breakers, a store without a network.
pub(in super::super) fn crowd() {
    const BREAKERS: usize = 5000;
    let policy = reset(3, Window::Cumulative, 60_000);
    let own = [breakers(&policy, BREAKERS), breakers(&policy, BREAKERS)];
    let mut room = Room::new(&[&own[0], &own[1]]);
    room.run(400);
    // Two by the first instance, one by the second: three of each breaker.
    for who in [0, 0, 1] {
        (0..BREAKERS).for_each(|nth| room.fail(who, nth));
        room.run(10);
    }
    room.run(770);
    assert!(room.largest <= 5 + 5 * 256, "{} arguments in one call", room.largest);
    let open = |own: &[Breaker]| own.iter().filter(|it| it.word().state() == State::Open).count();
    let open = (open(&own[0]), open(&own[1]));
    assert_eq!(open, (BREAKERS, BREAKERS), "after {} calls", room.calls);
}

/// Cores ring for the right breaker after a reload that moves it to another place.
pub(in super::super) fn regrouping() {
    let policy = reset(2, Window::Cumulative, 60_000);
    let own = breakers(&policy, 9);
    let mut room = Room::new(&[&own]);
    room.run(1000);
    room.serve(0, 5..9);
    for nth in 5..9 {
        room.run(1000);
        let (calls, puts) = (room.calls, room.puts);
        room.fail(0, nth);
        // The bell is heard at the next look; a tick may come later.
        for _ in 0..2 {
            room.step();
            room.turn(0);
        }
        assert!(room.puts > puts, "{nth}: {} calls said nothing of it", room.calls - calls);
    }
}
