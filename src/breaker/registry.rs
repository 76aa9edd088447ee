//! Breaker memories by name, across reloads.
//!
//! Enters: the breakers of a new table, by stable name. Leaves: the memory each one goes on with:
//! the very same state, the counters where their geometry fits the new policy, a fresh one where
//! the name is new. Cold: asked at compile time only.

#![allow(
    clippy::disallowed_types,
    reason = "cold: asked when a table is compiled, never on a core"
)]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use super::memory::Memory;
use super::policy::Policy;

/// The breakers that exist, by name; shared by the compiler of tables and nobody on a core.
#[derive(Debug)]
pub struct Registry {
    cores: usize,
    /// What the chance of all breakers is made of.
    seed: u64,
    known: Mutex<BTreeMap<Box<str>, Memory>>,
}

/// The memories chosen for a table that is not published yet.
#[derive(Debug, Default)]
pub struct Draft(BTreeMap<Box<str>, Memory>);

impl Registry {
    /// An empty registry for `cores` worker threads, whose breakers have no chance of their own.
    #[must_use]
    pub const fn new(cores: usize) -> Self {
        Self::seeded(cores, 0)
    }

    /// An empty registry for `cores` worker threads; processes with different seeds open their
    /// breakers for different times, where a policy asks for jitter.
    #[must_use]
    pub const fn seeded(cores: usize, seed: u64) -> Self {
        Self { cores, seed, known: Mutex::new(BTreeMap::new()) }
    }

    /// How many worker threads hold shards.
    #[must_use]
    pub const fn cores(&self) -> usize {
        self.cores
    }

    /// The memory a breaker of this name and policy goes on with, noted in `draft`. The registry
    /// itself changes only on [`Registry::commit`]: a table that is refused leaves no trace.
    pub fn memory(&self, draft: &mut Draft, name: &str, policy: &Policy) -> Memory {
        let drafted = draft.0.get(name).cloned();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let memory = match drafted.or_else(known) {
            Some(old) => old.fit(policy),
            None => Memory::new(policy, self.cores, self.seed_of(name)),
        };
        draft.0.insert(name.into(), memory.clone());
        memory
    }

    fn seed_of(&self, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        hasher.finish()
    }

    /// Makes the draft's breakers the known ones; names it does not hold are forgotten.
    pub fn commit(&self, draft: Draft) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = draft.0;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::policy::Window;
    use super::*;

    fn count(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    fn reset(failures: u32) -> Policy {
        Policy::reset(count(failures), Window::Cumulative, Duration::from_secs(1))
    }

    #[test]
    fn equal_geometry_keeps_the_memory_and_a_refused_draft_leaves_no_trace() {
        let registry = Registry::new(1);
        let mut draft = Draft::default();
        let first = registry.memory(&mut draft, "GET /a", &reset(3));
        registry.commit(draft);

        let mut refused = Draft::default();
        let b = registry.memory(&mut refused, "GET /b", &reset(3));
        drop(refused);
        assert!(!registry.memory(&mut Draft::default(), "GET /b", &reset(3)).is(&b));

        let second = registry.memory(&mut Draft::default(), "GET /a", &reset(5));
        let shared = |one: &Memory, other: &Memory| {
            Arc::ptr_eq(one.counted.as_ref().unwrap(), other.counted.as_ref().unwrap())
        };
        assert!(first.is(&second) && shared(&first, &second), "another threshold keeps all");
        let look_back = Policy::look_back(NonZeroU32::MIN, Duration::from_secs(1));
        let third = registry.memory(&mut Draft::default(), "GET /a", &look_back);
        assert!(first.is(&third) && third.counted.is_none(), "another kind keeps the state");
    }

    #[test]
    fn breakers_and_processes_have_chances_of_their_own() {
        let seed = |registry: &Registry, name| {
            registry.memory(&mut Draft::default(), name, &reset(1)).circuit.seed
        };
        let (one, other) = (Registry::seeded(1, 1), Registry::seeded(1, 2));
        assert_ne!(seed(&one, "a"), seed(&one, "b"));
        assert_ne!(seed(&one, "a"), seed(&other, "a"));
    }
}
