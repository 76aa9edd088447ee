//! The published table: one publisher, one reader per core.
//!
//! Enters: a compiled table. Leaves: the same table on every core, each taking it over at its next
//! request (or when woken). Owns the retired tables until no core holds them: a core never frees one.

#![deny(clippy::disallowed_types, clippy::disallowed_macros)]

use std::sync::Arc;

use super::Table;

/// The place where tables are published.
#[derive(Debug)]
pub struct Live {}

/// One core's end.
#[derive(Debug)]
pub struct Reader {}

impl Live {
    /// Publishes the first table for `cores` readers.
    #[must_use]
    pub fn new(table: Table, cores: usize) -> Arc<Self> {
        let _ = (table, cores);
        unimplemented!()
    }

    /// Publishes `table`; every later look of a reader finds it.
    pub fn publish(&self, table: Table) {
        let _ = table;
    }

    /// The table that is published now.
    #[must_use]
    pub fn current(&self) -> Arc<Table> {
        unimplemented!()
    }

    /// Whether every core serves `generation` or a later one.
    #[must_use]
    pub fn is_served(&self, generation: u64) -> bool {
        let _ = generation;
        false
    }

    /// Frees retired tables that no core holds any more; returns how many are left.
    pub fn collect(&self) -> usize {
        0
    }

    /// The reader of core `index`; the caller is the only thread that makes it.
    #[must_use]
    pub fn reader(self: &Arc<Self>, index: usize) -> Reader {
        let _ = index;
        Reader {}
    }
}

impl Reader {
    /// The table this core begins with.
    #[must_use]
    pub fn first(&self) -> Arc<Table> {
        unimplemented!()
    }

    /// The published table, if it is not the one this core serves: one load of a shared word that
    /// only `publish` writes. The caller then serves it, and says so with [`Reader::serves`].
    #[inline]
    #[must_use]
    pub fn renewed(&self) -> Option<Arc<Table>> {
        None
    }

    /// Says that this core serves `generation` from now on.
    pub fn serves(&self, generation: u64) {
        let _ = generation;
    }
}
