//! State shared through Redis: how soon all know, what it costs, and that nobody waits for it.

mod cost;
mod faults;
mod fleet;
mod probes;
mod trips;

use crate::redis;
use crate::stage::{Scenario, Stage};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "redis",
    about: "proxies that share their state: time to agree, probes, cost, and a Redis that fails",
    play,
};

fn play(stage: &mut Stage) -> Result<(), String> {
    if redis::program().is_none() {
        stage.skip("redis-server is not installed (apt-get install redis-server)");
        return Ok(());
    }
    trips::play(stage)?;
    probes::play(stage)?;
    faults::play(stage)?;
    cost::play(stage)
}
