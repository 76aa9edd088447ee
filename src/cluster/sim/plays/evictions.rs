//! A store that is short of memory forgets one key of four.
//!
//! Enters: a seed. Leaves: nothing, or a panic.

use super::{SICK, plan, reset, two_ticks};
use crate::breaker::circuit::State;
use crate::breaker::policy::Window;
use crate::cluster::sim::dice::Dice;
use crate::cluster::sim::fake::Key;
use crate::cluster::sim::instance::breakers;
use crate::cluster::sim::room::Room;
use crate::cluster::sim::world::World;

/// Who begins after any key was lost learns what all are agreed on.
pub(in super::super) fn evicting(seed: u64) {
    let mut dice = Dice::new(seed);
    let policy = reset(3, Window::Cumulative, 60_000);
    let plan = plan(&mut dice);
    let all = breakers(&policy, plan.instances + 1);
    let (first, later) = all.split_at(plan.instances);
    let mut world = World::new(seed, plan, first);
    world.run(1000);
    (0..3).for_each(|_| assert!(world.request(0, SICK, 0)));
    assert!(world.until(two_ticks(plan), |world| world.all(State::Open)).is_some());
    let pause = dice.roll(1000);
    world.run(pause);
    world.store.evict(Key::ALL[dice.roll(4) as usize]);
    world.run(two_ticks(plan));
    world.restart(1, &later[0]);
    world.run(two_ticks(plan));
    assert!(world.all(State::Open) && world.agrees());
}

/// What one has told is known again, though the other has made more changes since a key was lost
/// than there were before.
pub(in super::super) fn climbing() {
    for key in Key::ALL {
        let policy = reset(3, Window::Cumulative, 60_000);
        let (here, there) = (breakers(&policy, 64), breakers(&policy, 64));
        let mut room = Room::new(&[&here, &there]);
        room.run(1000);
        room.fail(1, 0);
        room.run(1000);
        assert_eq!(room.estimate(0, 0), 1);
        room.store.evict(key);
        (0..64).for_each(|nth| room.fail(0, nth));
        // The first looks and tells, again and again, before the other does.
        for _ in 0..5 {
            room.step();
            room.turn(0);
        }
        room.run(1000);
        assert_eq!((room.estimate(0, 0), room.estimate(1, 0)), (2, 2), "{key:?}");
        assert_eq!(room.estimate(1, 63), 1, "{key:?}");
    }
}
