//! The scenarios: one file each, named here.
//!
//! A scenario starts what it needs, loads it, and says what must hold. To add one, write its file
//! and name it here twice.

mod bodies;
mod breaker;
mod config;
mod connections;
mod half_open_herd;
mod idle;
mod redis;
mod refusals;
mod reload;
mod resting;
mod slow_clients;
mod soak;
mod steady;

use crate::stage::Scenario;

/// Every scenario, in the order they are run.
pub(crate) const ALL: &[Scenario] = &[
    steady::SCENARIO,
    connections::SCENARIO,
    bodies::SCENARIO,
    idle::SCENARIO,
    breaker::SCENARIO,
    half_open_herd::SCENARIO,
    refusals::SCENARIO,
    resting::SCENARIO,
    slow_clients::SCENARIO,
    reload::SCENARIO,
    redis::SCENARIO,
    soak::SCENARIO,
];

/// The scenarios of these names, or all for `all`.
pub(crate) fn named(names: &[String]) -> Result<Vec<Scenario>, String> {
    if names.iter().any(|name| name == "all") {
        return Ok(ALL.to_vec());
    }
    let find = |name: &String| {
        let known = ALL.iter().find(|scenario| scenario.name == name);
        known.copied().ok_or_else(|| {
            let all: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
            format!("there is no scenario `{name}`; there are {}", all.join(", "))
        })
    };
    names.iter().map(find).collect()
}
