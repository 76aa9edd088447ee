//! The published table: one publisher, one reader per core.
//!
//! Enters: a compiled table. Leaves: the same table on every core, each taking it over at its next
//! request (or when woken). Owns the retired tables until no core holds them: a core never frees
//! one, and a request touches no shared reference count.
//!
//! A core asks for news with one load of a word that only `publish` writes; `ArcSwap` is read only
//! when that word has moved. No guard of it lives longer than the call that made it.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;

use super::Table;

/// The place where tables are published.
#[derive(Debug)]
pub struct Live {
    table: ArcSwap<Table>,
    /// The generation of `table`, on a line of its own: the cores read it at every request.
    newest: CachePadded<AtomicU64>,
    /// What each core serves; one writer each. Zero: the core has not begun.
    served: Box<[CachePadded<AtomicU64>]>,
    #[expect(clippy::disallowed_types, reason = "locked by publish and collect, never on a core")]
    retired: std::sync::Mutex<Vec<Arc<Table>>>,
}

/// One core's end: moved to the core's thread, then not shared.
#[derive(Debug)]
pub struct Reader {
    live: Arc<Live>,
    core: usize,
    serving: Cell<u64>,
}

impl Live {
    /// Publishes the first table for `cores` readers.
    #[must_use]
    pub fn new(table: Table, cores: usize) -> Arc<Self> {
        Arc::new(Self {
            newest: CachePadded::new(AtomicU64::new(table.generation)),
            table: ArcSwap::from_pointee(table),
            served: (0..cores).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            retired: Default::default(),
        })
    }

    /// Publishes `table`; every later look of a reader finds it. Generations rise: a table that is
    /// not newer than the published one is dropped, since a core could not tell them apart.
    pub fn publish(&self, table: Table) {
        // Held to the end, so that two publishers cannot store their generations in another order
        // than their tables.
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = table.generation;
        // Relaxed: only `publish` writes the word, and the lock orders its calls.
        let newer = generation > self.newest.load(Ordering::Relaxed);
        debug_assert!(newer, "generation {generation} is not newer than the published one");
        if newer {
            retired.push(self.table.swap(Arc::new(table)));
            // Release: pairs with the Acquire in `renewed`; who sees the word finds the table.
            self.newest.store(generation, Ordering::Release);
        }
    }

    /// The table that is published now.
    #[must_use]
    pub fn current(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Whether every core serves `generation` or a later one.
    #[must_use]
    pub fn is_served(&self, generation: u64) -> bool {
        // Acquire: pairs with the Release in `serves`; what a core did before it said so is seen.
        self.served.iter().all(|served| served.load(Ordering::Acquire) >= generation)
    }

    /// Frees retired tables that no core holds any more; returns how many are left.
    pub fn collect(&self) -> usize {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        // A retired table can no longer be reached through `table`, and `swap` has settled with
        // every reader that was reaching for it: a count of one is ours and stays so. The count is
        // read relaxed; the drop's own Acquire pairs with the Release of each core's decrement.
        let free: Vec<_> = retired.extract_if(.., |table| Arc::strong_count(table) == 1).collect();
        let left = retired.len();
        // A large table takes a while to free: not under the lock.
        drop(retired);
        drop(free);
        left
    }

    /// The reader of core `index`; the caller is the only thread that makes it.
    #[must_use]
    pub fn reader(self: &Arc<Self>, index: usize) -> Reader {
        Reader { live: Arc::clone(self), core: index, serving: Cell::new(0) }
    }
}

impl Reader {
    /// The table this core begins with. The caller serves it, and says so with [`Reader::serves`].
    #[must_use]
    pub fn first(&self) -> Arc<Table> {
        self.live.current()
    }

    /// The published table, if it is not the one this core serves: one load of a shared word that
    /// only `publish` writes. The caller then serves it, and says so with [`Reader::serves`].
    #[inline]
    #[must_use]
    pub fn renewed(&self) -> Option<Arc<Table>> {
        // Acquire: pairs with the Release in `publish`, so that `current` finds this table or a
        // later one. A later one may come before its word does, hence `<=`.
        if self.live.newest.load(Ordering::Acquire) <= self.serving.get() {
            return None;
        }
        Some(self.live.current())
    }

    /// Says that this core serves `generation` from now on.
    pub fn serves(&self, generation: u64) {
        self.serving.set(generation);
        if let Some(served) = self.live.served.get(self.core) {
            // Release: pairs with the Acquire in `is_served`.
            served.store(generation, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Barrier, Weak};

    use super::*;
    use crate::table::sample;

    #[test]
    fn a_core_hears_of_a_table_once_and_says_what_it_serves() {
        let live = Live::new(sample::table(1, Vec::new()), 2);
        let (one, two) = (live.reader(0), live.reader(1));
        for reader in [&one, &two] {
            assert!(!live.is_served(1));
            reader.serves(reader.first().generation);
            assert!(reader.renewed().is_none());
        }
        assert!(live.is_served(1));

        live.publish(sample::table(2, Vec::new()));
        assert_eq!(live.current().generation, 2);
        assert_eq!(one.renewed().map(|table| table.generation), Some(2));
        one.serves(2);
        assert!(one.renewed().is_none());
        assert!(!live.is_served(2), "core 1 still serves generation 1");
        two.serves(2);
        assert!(live.is_served(2));
    }

    #[test]
    fn a_retired_table_is_kept_while_a_core_holds_it() {
        let live = Live::new(sample::table(1, Vec::new()), 1);
        let held = live.reader(0).first();
        live.publish(sample::table(2, Vec::new()));
        assert_eq!(live.collect(), 1);
        assert_eq!(held.generation, 1);
        assert!(Arc::into_inner(held).is_none(), "the retired list holds it too");
        assert_eq!(live.collect(), 0);
    }

    /// Readers take tables over while they are published and collected. `Arc::into_inner` tells a
    /// reader whether it was the last to let go of a table: it never may be.
    #[test]
    fn cores_only_move_forward_and_never_free_a_table() {
        const CORES: usize = 3;
        const GENERATIONS: u64 = 500;
        let live = Live::new(sample::table(1, Vec::new()), CORES);
        let done = AtomicBool::new(false);
        let begin = Barrier::new(CORES + 1);
        let mut known: Vec<Weak<Table>> = [Arc::downgrade(&live.current())].into();
        std::thread::scope(|scope| {
            for core in 0..CORES {
                let (reader, done, begin) = (live.reader(core), &done, &begin);
                scope.spawn(move || follow(&reader, done, begin));
            }
            begin.wait();
            for generation in 2..=GENERATIONS {
                live.publish(sample::table(generation, Vec::new()));
                known.push(Arc::downgrade(&live.current()));
                live.collect();
                if generation % 16 == 0 {
                    std::thread::yield_now();
                }
            }
            // Release: pairs with the Acquire in `follow`, which looks once more after it.
            done.store(true, Ordering::Release);
        });
        assert!(live.is_served(GENERATIONS));
        assert_eq!(live.collect(), 0);
        let alive: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        assert_eq!(alive.iter().map(|table| table.generation).collect::<Vec<_>>(), [GENERATIONS]);
    }

    fn follow(reader: &Reader, done: &AtomicBool, begin: &Barrier) {
        let mut table = reader.first();
        reader.serves(table.generation);
        begin.wait();
        loop {
            let last_look = done.load(Ordering::Acquire);
            if let Some(renewed) = reader.renewed() {
                assert!(renewed.generation > table.generation, "older than one seen before");
                reader.serves(renewed.generation);
                let old = std::mem::replace(&mut table, renewed);
                assert!(Arc::into_inner(old).is_none(), "a core freed a table");
            }
            if last_look {
                break;
            }
        }
        assert!(Arc::into_inner(table).is_none());
    }
}
