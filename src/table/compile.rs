//! Config (+ what is kept of the old table) → Table.

use std::net::SocketAddr;

use super::Table;
use crate::breaker::registry::{Draft, Registry};
use crate::config::Config;
use crate::stats::Tallies;

/// What a compile takes over from the tables before.
#[derive(Debug)]
pub struct Kept<'a> {
    /// Breaker memories.
    pub breakers: &'a Registry,
    /// The memories chosen here; commit it when the table is published.
    pub draft: &'a mut Draft,
    /// Route counters.
    pub tallies: &'a mut Tallies,
}

/// Makes the table of `generation`. `resolve` gives the addresses of a host and port, in the order
/// to try; empty where the name does not resolve.
pub fn compile(
    config: &Config,
    generation: u64,
    kept: Kept<'_>,
    resolve: impl Fn(&str, u16) -> Vec<SocketAddr>,
) -> Table {
    let _ = (config, generation, kept, resolve);
    unimplemented!()
}
