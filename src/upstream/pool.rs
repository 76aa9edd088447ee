//! This core's idle connections to one target.
//!
//! Enters: clean connections. Leaves: the one parked last, whose caches are warmest; so that those
//! no longer needed sink to the bottom and age. Bounded in number and age. Survives reloads: a pool
//! belongs to `host:port`, not to a table. Knows where the name of its target leads; connections to
//! addresses that it leads to no longer are closed as soon as they are idle.

#![allow(clippy::disallowed_types, reason = "pools are found by name when a table is taken over")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Connection;
use crate::breaker::Core;
use crate::clock::Now;
use crate::stats::{Connections, TargetTally};
use crate::table::{Moved, Table, Target};

/// The idle connections to one target.
pub struct Pool {
    /// Where its connections lead.
    addresses: RefCell<Rc<[SocketAddr]>>,
    /// How often that has changed: a connection opened since leads to one of them.
    epoch: Cell<u32>,
    /// Where the next connection is tried first: each address in its turn.
    next: Cell<u32>,
    idle: RefCell<VecDeque<Parked>>,
    in_use: Cell<u32>,
    bounds: Cell<Bounds>,
    tally: RefCell<Arc<TargetTally>>,
}

struct Parked {
    connection: Box<Connection>,
    since: Now,
}

/// A connection unused for this long is at rest, and counts against the limit on idle ones. Until
/// then the limit on connections in use bounds the pool, since all of them were that at once.
const REST: Duration = Duration::from_secs(1);

/// How many connections a sweep closed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    /// For their age.
    pub aged: u64,
    /// Because there were too many.
    pub beyond: u64,
}

/// How many and how old.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    idle_max: usize,
    in_use_max: u32,
    age_max: Option<Duration>,
}

/// The pools of one core, by target name.
#[derive(Default)]
pub struct Pools(RefCell<BTreeMap<Box<str>, Rc<Pool>>>);

impl Pools {
    /// The pools of a table's targets, in their order. Pools of targets that the table no longer
    /// names are forgotten: their connections close, those in use when they are done.
    #[must_use]
    pub fn of(&self, table: &Table, cores: usize) -> Box<[Rc<Pool>]> {
        let bounds = Bounds::of(table, cores);
        let mut known = std::mem::take(&mut *self.0.borrow_mut());
        let mut pools = self.0.borrow_mut();
        let pool = |target: &Target| {
            let kept = known.remove(&target.name);
            let pool = kept.unwrap_or_else(|| Rc::new(Pool::new(target, bounds)));
            pool.bounds.set(bounds);
            pool.tally.replace(Arc::clone(&target.tally));
            pool.lead(&target.addresses);
            pools.insert(target.name.clone(), Rc::clone(&pool));
            pool
        };
        table.targets.iter().map(pool).collect()
    }

    /// Names lead elsewhere from now on.
    pub fn lead(&self, moved: &[Moved]) {
        let pools = self.0.borrow();
        for Moved { target, addresses } in moved {
            if let Some(pool) = pools.get(target) {
                pool.lead(addresses);
            }
        }
    }

    /// Closes what has been idle for too long, and tells how many connections there are.
    #[must_use]
    pub fn sweep(&self, core: &Core, now: Now) -> Swept {
        let mut all = Swept::default();
        for pool in self.0.borrow().values() {
            let swept = pool.sweep(now);
            pool.tell(core);
            all.aged += swept.aged;
            all.beyond += swept.beyond;
        }
        all
    }
}

impl Pool {
    fn new(target: &Target, bounds: Bounds) -> Self {
        let idle = RefCell::new(VecDeque::with_capacity(bounds.idle_max.min(64)));
        Self {
            addresses: RefCell::new(Rc::from(&*target.addresses)),
            epoch: Cell::new(0),
            next: Cell::new(0),
            idle,
            in_use: Cell::new(0),
            bounds: Cell::new(bounds),
            tally: RefCell::new(Arc::clone(&target.tally)),
        }
    }

    /// How many of its connections are in use, or being opened.
    #[must_use]
    pub const fn in_use(&self) -> u32 {
        self.in_use.get()
    }

    /// Whether a connection may be had: there is room for one, and an address.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.is_full() && !self.addresses.borrow().is_empty()
    }

    /// The addresses, the one to try first, and the epoch in which they hold.
    pub(super) fn whereto(&self) -> (Rc<[SocketAddr]>, usize, u32) {
        let addresses = Rc::clone(&self.addresses.borrow());
        let first = self.next.get() as usize % addresses.len().max(1);
        self.next.set(self.next.get().wrapping_add(1));
        (addresses, first, self.epoch.get())
    }

    /// From now on the target answers at `addresses`.
    fn lead(&self, addresses: &[SocketAddr]) {
        if **self.addresses.borrow() == *addresses {
            return;
        }
        self.addresses.replace(addresses.into());
        let epoch = self.epoch.get().wrapping_add(1);
        self.epoch.set(epoch);
        self.idle.borrow_mut().retain_mut(|parked| {
            parked.connection.epoch = epoch;
            addresses.contains(&parked.connection.peer)
        });
    }

    /// The connection parked last, and when.
    pub(super) fn take(&self) -> Option<(Box<Connection>, Now)> {
        self.idle.borrow_mut().pop_back().map(|parked| (parked.connection, parked.since))
    }

    /// Keeps a connection. The limit on idle ones is held by [`Pool::sweep`]: held here, a target
    /// whose load swings would close connections that it opens again a millisecond later.
    pub(super) fn park(&self, mut connection: Box<Connection>, now: Now) {
        if self.bounds.get().idle_max == 0 || connection.left <= 1 {
            return;
        }
        connection.left -= 1;
        if connection.epoch != self.epoch.get() {
            if !self.addresses.borrow().contains(&connection.peer) {
                return;
            }
            connection.epoch = self.epoch.get();
        }
        self.idle.borrow_mut().push_back(Parked { connection, since: now });
    }

    pub(super) fn count(&self, core: &Core, what: Connections) {
        self.tally.borrow().add(core, what as usize, 1);
    }

    pub(super) fn is_aged(&self, age: Duration) -> bool {
        self.bounds.get().age_max.is_some_and(|max| age >= max)
    }

    pub(super) const fn is_full(&self) -> bool {
        self.in_use.get() >= self.bounds.get().in_use_max
    }

    pub(super) fn begin(&self) {
        self.in_use.set(self.in_use.get() + 1);
    }

    pub(super) fn end(&self) {
        self.in_use.set(self.in_use.get().saturating_sub(1));
    }

    fn sweep(&self, now: Now) -> Swept {
        let mut swept = Swept::default();
        let mut idle = self.idle.borrow_mut();
        let idle_max = self.bounds.get().idle_max;
        // The oldest lie in front.
        while let Some(oldest) = idle.front() {
            let age = now.since(oldest.since);
            if self.is_aged(age) {
                swept.aged += 1;
            } else if idle.len() > idle_max && age >= REST {
                swept.beyond += 1;
            } else {
                break;
            }
            idle.pop_front();
        }
        idle.retain(|parked| now < parked.connection.dies);
        swept
    }

    fn tell(&self, core: &Core) {
        let tally = self.tally.borrow();
        tally.set(core, Connections::InUse as usize, self.in_use.get().into());
        tally.set(core, Connections::Idle as usize, self.idle.borrow().len() as u64);
    }
}

impl Bounds {
    fn of(table: &Table, cores: usize) -> Self {
        // The limit holds for the process; each core keeps to its share, rounded up.
        let share = |max: u32| max.div_ceil(u32::try_from(cores.max(1)).unwrap_or(1));
        Self {
            idle_max: usize::try_from(table.limits.upstream_idle).unwrap_or(usize::MAX),
            in_use_max: table.limits.upstream_connections.map_or(u32::MAX, |max| share(max.get())),
            age_max: table.timeouts.upstream_idle,
        }
    }
}
