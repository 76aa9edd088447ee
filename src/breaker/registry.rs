//! Breaker memories by name, across reloads.
//!
//! Enters: the breakers of a new table, by stable name. Leaves: the memory each one goes on with:
//! the very same where the geometry is equal, a successor in the same state where it is not, a
//! fresh one where the name is new. Cold: asked at compile time only.

#![allow(
    clippy::disallowed_types,
    reason = "cold: asked when a table is compiled, never on a core"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::memory::{Geometry, Memory, geometry};
use super::policy::Policy;

/// The breakers that exist, by name; shared by the compiler of tables and nobody on a core.
#[derive(Debug)]
pub struct Registry {
    cores: usize,
    known: Mutex<BTreeMap<Box<str>, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    geometry: Geometry,
    memory: Arc<Memory>,
}

/// The memories chosen for a table that is not published yet.
#[derive(Debug, Default)]
pub struct Draft(BTreeMap<Box<str>, Known>);

impl Registry {
    /// An empty registry for `cores` worker threads.
    #[must_use]
    pub const fn new(cores: usize) -> Self {
        Self { cores, known: Mutex::new(BTreeMap::new()) }
    }

    /// How many worker threads hold shards.
    #[must_use]
    pub const fn cores(&self) -> usize {
        self.cores
    }

    /// The memory a breaker of this name and policy goes on with, noted in `draft`. The registry
    /// itself changes only on [`Registry::commit`]: a table that is refused leaves no trace.
    pub fn memory(&self, draft: &mut Draft, name: &str, policy: &Policy) -> Arc<Memory> {
        let geometry = geometry(policy);
        if let Some(drafted) = draft.0.get(name).filter(|drafted| drafted.geometry == geometry) {
            return Arc::clone(&drafted.memory);
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let memory = match known {
            Some(known) if known.geometry == geometry => known.memory,
            Some(known) => Arc::new(Memory::succeed(policy, self.cores, &known.memory)),
            None => Arc::new(Memory::new(policy, self.cores)),
        };
        draft.0.insert(name.into(), Known { geometry, memory: Arc::clone(&memory) });
        memory
    }

    /// Makes the draft's breakers the known ones; names it does not hold are forgotten.
    pub fn commit(&self, draft: Draft) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = draft.0;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::super::policy::{StatusSet, Trip, Window};
    use super::*;

    fn policy(trip: Trip) -> Policy {
        Policy { trip, failures: StatusSet::server_errors() }
    }

    fn reset(failures: u32) -> Policy {
        policy(Trip::Reset {
            failures: NonZeroU32::new(failures).unwrap(),
            window: Window::Cumulative,
            open_for: Duration::from_secs(1),
            probe_max: Duration::from_secs(1),
        })
    }

    #[test]
    fn equal_geometry_keeps_the_memory_and_a_refused_draft_leaves_no_trace() {
        let registry = Registry::new(1);
        let mut draft = Draft::default();
        let first = registry.memory(&mut draft, "GET /a", &reset(3));
        registry.commit(draft);

        let mut refused = Draft::default();
        let _ = registry.memory(&mut refused, "GET /b", &reset(3));
        drop(refused);

        let mut draft = Draft::default();
        let second = registry.memory(&mut draft, "GET /a", &reset(5));
        assert!(Arc::ptr_eq(&first, &second), "another threshold keeps the counters");
        let look_back =
            policy(Trip::LookBack { failures: NonZeroU32::MIN, look_back: Duration::from_secs(1) });
        let mut draft = Draft::default();
        let third = registry.memory(&mut draft, "GET /a", &look_back);
        assert!(!Arc::ptr_eq(&first, &third), "another geometry starts new counters");
        assert_eq!(first.circuit.word(), third.circuit.word());
    }
}
