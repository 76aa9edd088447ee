//! Counters with one writer per core, summed and named only by readers.
//!
//! Enters: something happened, on one core. Leaves: totals over all cores, for `/metrics`. Owns the
//! counters of routes, services and targets across reloads, by name. A core adds with a plain load
//! and store to its own cache line; nothing is shared but the reading.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::breaker::Core;

/// One route's finished requests by class of the status sent, `1xx` … `5xx`.
pub type Tally = Counters<5>;

/// What one service was asked beside first attempts, by [`Retries`].
pub type ServiceTally = Counters<3>;

/// One target's connections, by [`Connections`].
pub type TargetTally = Counters<4>;

/// What is counted of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// Attempts after the first.
    Made,
    /// Attempts that the budget did not allow.
    OverBudget,
    /// Requests that it was asked instead of what a breaker refused.
    StoodIn,
}

/// What is counted of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// Opened.
    Opened,
    /// Not opened: refused, too late, or without an address.
    Failed,
    /// In use; set by each core once a second.
    InUse,
    /// Parked; set by each core once a second.
    Idle,
}

/// The whole process' counters, by [`Count`] and behind them by [`Bound`].
pub type Process = Counters<{ Count::ALL.len() + Bound::ALL.len() }>;

/// `N` counters with one writer per core.
#[derive(Debug)]
pub struct Counters<const N: usize> {
    shards: Box<[CachePadded<[AtomicU64; N]>]>,
}

impl<const N: usize> Counters<N> {
    /// Counters at zero for `cores` worker threads.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        let zero = |_| CachePadded::new([const { AtomicU64::new(0) }; N]);
        Self { shards: (0..cores).map(zero).collect() }
    }

    /// Adds `by` to counter `slot` of this core.
    #[inline]
    pub fn add(&self, core: &Core, slot: usize, by: u64) {
        let shard = self.shards.get(core.index());
        if let Some(counter) = shard.and_then(|shard| shard.get(slot)) {
            // Relaxed load and store, no read-modify-write: this core is the only writer.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        }
    }

    /// Sets the gauge in `slot` of this core.
    pub fn set(&self, core: &Core, slot: usize, value: u64) {
        let shard = self.shards.get(core.index());
        if let Some(gauge) = shard.and_then(|shard| shard.get(slot)) {
            gauge.store(value, Ordering::Relaxed);
        }
    }

    /// The sum of this core's counters.
    #[must_use]
    pub fn own(&self, core: &Core) -> u64 {
        let shard = self.shards.get(core.index());
        let own = shard.map(|shard| shard.iter().map(|it| it.load(Ordering::Relaxed)));
        own.map_or(0, |own| own.fold(0, u64::wrapping_add))
    }

    /// Counter `slot` of this core.
    #[must_use]
    pub fn of(&self, core: &Core, slot: usize) -> u64 {
        let counter = self.shards.get(core.index()).and_then(|shard| shard.get(slot));
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// The sum of counter `slot` over all cores.
    #[must_use]
    pub fn sum(&self, slot: usize) -> u64 {
        let read = |shard: &CachePadded<[AtomicU64; N]>| {
            shard.get(slot).map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        self.shards.iter().map(read).fold(0, u64::wrapping_add)
    }
}

impl Tally {
    /// Counts a finished request.
    #[inline]
    pub fn finished(&self, core: &Core, status: u16) {
        self.add(core, usize::from(status / 100).wrapping_sub(1), 1);
    }
}

/// What the process counts beside routes and breakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Downstream connections accepted.
    Accepted,
    /// Downstream connections closed.
    Closed,
    /// Requests that broke a rule of HTTP or a limit.
    BadRequest,
    /// Requests whose path no route serves.
    NotFound,
    /// Requests whose path is served, but not with their method.
    WrongMethod,
    /// Connections opened to upstreams.
    Connected,
    /// Exchanges on a pooled upstream connection.
    Reused,
    /// Exchanges repeated on a fresh connection because the pooled one was stale.
    Retried,
    /// Exchanges for which we had no place, descriptor or port.
    NoRoom,
    /// Connection tasks that panicked.
    Panicked,
    /// Connections that went on in another protocol.
    TunnelOpened,
    /// Those of them that have ended.
    TunnelClosed,
    /// Connections at rest that made room for others.
    Evicted,
}

impl Count {
    /// Every counter, in the order of reports.
    pub const ALL: [Self; 13] = [
        Self::Accepted,
        Self::Closed,
        Self::BadRequest,
        Self::NotFound,
        Self::WrongMethod,
        Self::Connected,
        Self::Reused,
        Self::Retried,
        Self::NoRoom,
        Self::Panicked,
        Self::TunnelOpened,
        Self::TunnelClosed,
        Self::Evicted,
    ];
}

/// A timeout or a limit of the configuration that cut something short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A head that came too slowly, or a new connection that said nothing.
    Header,
    /// A body or a reader without progress.
    Body,
    /// A connection at rest.
    Idle,
    /// A connection to an upstream that did not come about.
    Connect,
    /// An upstream's silence.
    Response,
    /// The whole exchange: the timeout of a service or a breaker.
    Exchange,
    /// A tunnel's silence.
    Tunnel,
    /// An upstream's connection at rest.
    UpstreamIdle,
    /// Bytes of a request's head.
    HeaderBytes,
    /// Fields of a request's head.
    Headers,
    /// Bytes of a request's target.
    Uri,
    /// Bytes of a request's body.
    BodyBytes,
    /// Bytes of a response's head.
    ResponseHeaderBytes,
    /// Fields of a response's head.
    ResponseHeaders,
    /// Connections of clients.
    Connections,
    /// Requests on one of them.
    RequestsPerConnection,
    /// Connections to one target in use.
    UpstreamConnections,
    /// Connections to one target at rest.
    UpstreamIdles,
    /// Files of the process: no key of the configuration, but a limit all the same.
    Files,
}

impl Bound {
    /// Every bound, in the order of reports.
    pub const ALL: [Self; 19] = [
        Self::Header,
        Self::Body,
        Self::Idle,
        Self::Connect,
        Self::Response,
        Self::Exchange,
        Self::Tunnel,
        Self::UpstreamIdle,
        Self::HeaderBytes,
        Self::Headers,
        Self::Uri,
        Self::BodyBytes,
        Self::ResponseHeaderBytes,
        Self::ResponseHeaders,
        Self::Connections,
        Self::RequestsPerConnection,
        Self::UpstreamConnections,
        Self::UpstreamIdles,
        Self::Files,
    ];

    /// Its key in the configuration, below `http`: what an operator would turn.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Header => "timeouts.header",
            Self::Body => "timeouts.body",
            Self::Idle => "timeouts.idle",
            Self::Connect => "timeouts.connect",
            Self::Response => "timeouts.response",
            Self::Exchange => "timeout",
            Self::Tunnel => "timeouts.tunnel",
            Self::UpstreamIdle => "timeouts.upstreamIdle",
            Self::HeaderBytes => "limits.headerBytes",
            Self::Headers => "limits.headers",
            Self::Uri => "limits.uri",
            Self::BodyBytes => "limits.body",
            Self::ResponseHeaderBytes => "limits.responseHeaderBytes",
            Self::ResponseHeaders => "limits.responseHeaders",
            Self::Connections => "limits.connections",
            Self::RequestsPerConnection => "limits.requestsPerConnection",
            Self::UpstreamConnections => "limits.upstreamConnections",
            Self::UpstreamIdles => "limits.upstreamIdle",
            Self::Files => "files",
        }
    }
}

impl Process {
    /// Counts what `bound` cut short.
    #[inline]
    pub fn bounded(&self, core: &Core, bound: Bound, times: u64) {
        self.add(core, Count::ALL.len() + bound as usize, times);
    }

    /// How often `bound` cut something short.
    #[must_use]
    pub fn bounds(&self, bound: Bound) -> u64 {
        self.sum(Count::ALL.len() + bound as usize)
    }

    /// How many downstream connections of this core are open.
    #[must_use]
    pub fn open_here(&self, core: &Core) -> u64 {
        let closed = self.of(core, Count::Closed as usize);
        self.of(core, Count::Accepted as usize).saturating_sub(closed)
    }

    /// Counts one `count`.
    #[inline]
    pub fn count(&self, core: &Core, count: Count) {
        self.add(core, count as usize, 1);
    }

    /// How many downstream connections are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        // Closed first: a connection that opens and closes in between is then not counted twice.
        let closed = self.total(Count::Closed);
        self.total(Count::Accepted).saturating_sub(closed)
    }

    /// The total of `count`.
    #[must_use]
    pub fn total(&self, count: Count) -> u64 {
        self.sum(count as usize)
    }
}

/// Counters of routes, services and targets by name; a new table takes over those it names again.
#[derive(Clone, Debug, Default)]
pub struct Tallies {
    routes: Named<5>,
    services: Named<3>,
    targets: Named<4>,
}

/// Counters by name: those of the table before, and those that were asked for since.
#[derive(Clone, Debug, Default)]
struct Named<const N: usize> {
    before: BTreeMap<Box<str>, Arc<Counters<N>>>,
    asked: BTreeMap<Box<str>, Arc<Counters<N>>>,
}

impl Tallies {
    /// The counters to make the next table with: what that one does not ask for is forgotten.
    #[must_use]
    pub fn next(&self) -> Self {
        Self {
            routes: self.routes.next(),
            services: self.services.next(),
            targets: self.targets.next(),
        }
    }

    /// The counters of route `name`: the known ones, else new ones for `cores` worker threads.
    pub fn route(&mut self, name: &str, cores: usize) -> Arc<Tally> {
        self.routes.ask(name, cores)
    }

    /// The same of a service.
    pub fn service(&mut self, name: &str, cores: usize) -> Arc<ServiceTally> {
        self.services.ask(name, cores)
    }

    /// The same of a target.
    pub fn target(&mut self, name: &str, cores: usize) -> Arc<TargetTally> {
        self.targets.ask(name, cores)
    }
}

impl<const N: usize> Named<N> {
    fn next(&self) -> Self {
        Self { before: self.asked.clone(), asked: BTreeMap::new() }
    }

    fn ask(&mut self, name: &str, cores: usize) -> Arc<Counters<N>> {
        let known = || self.before.get(name).cloned();
        let fresh = || known().unwrap_or_else(|| Arc::new(Counters::new(cores)));
        Arc::clone(self.asked.entry(name.into()).or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_a_slot_of_its_own() {
        let process = Process::new(2);
        for count in Count::ALL {
            process.count(&Core::claim(0), count);
            process.count(&Core::claim(1), count);
            assert_eq!(process.total(count), 2);
        }
        for bound in Bound::ALL {
            process.bounded(&Core::claim(1), bound, 3);
            assert_eq!(process.bounds(bound), 3);
        }
    }

    #[test]
    fn a_table_takes_over_the_counters_it_names_and_the_others_are_forgotten() {
        let mut first = Tallies::default();
        let (kept, gone) = (first.target("a:80", 1), first.target("b:80", 1));
        let mut second = first.next();
        assert!(Arc::ptr_eq(&kept, &second.target("a:80", 1)));
        assert!(Arc::ptr_eq(&kept, &second.target("a:80", 1)), "asked twice");
        assert!(!Arc::ptr_eq(&gone, &second.next().target("b:80", 1)), "it was not asked for");
    }

    #[test]
    fn a_gauge_is_set_and_a_cores_own_counters_are_summed_apart() {
        let (one, two) = (Core::claim(0), Core::claim(1));
        let tally = TargetTally::new(2);
        for value in [5, 3] {
            tally.set(&one, Connections::InUse as usize, value);
        }
        tally.set(&two, Connections::InUse as usize, 4);
        tally.add(&two, Connections::Opened as usize, 10);
        assert_eq!(tally.sum(Connections::InUse as usize), 7);
        assert_eq!((tally.own(&one), tally.own(&two)), (3, 14));
    }

    #[test]
    fn a_status_outside_the_classes_is_not_counted_and_does_no_harm() {
        let tally = Tally::new(1);
        for status in [0, 99, 200, 299, 600, u16::MAX] {
            tally.finished(&Core::claim(0), status);
        }
        assert_eq!((0..5).map(|slot| tally.sum(slot)).collect::<Vec<_>>(), [0, 2, 0, 0, 0]);
    }
}
