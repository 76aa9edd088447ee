//! The scenarios: one file each, named here.
//!
//! A scenario starts what it needs, loads it, and says what must hold. To add one, write its file
//! and name it in the list.

mod config;

use crate::stage::Scenario;

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+

        /// Every scenario, in the order they are run.
        pub(crate) const ALL: &[Scenario] = &[$($name::SCENARIO),+];
    };
}

scenarios! {
    steady,
    connections,
    bodies,
    idle,
    breaker,
    half_open_herd,
    refusals,
    slow_clients,
    reload,
    redis,
    soak,
}

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
