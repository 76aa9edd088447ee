//! This core's idle connections to one target.
//!
//! Enters: clean connections. Leaves: the one parked last, whose caches are warmest; so that those
//! no longer needed sink to the bottom and age. Bounded in number and age. Survives reloads: a pool
//! belongs to `host:port`, not to a table.

#![allow(clippy::disallowed_types, reason = "pools are found by name when a table is taken over")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::Now;
use crate::rt::stream::Stream;
use crate::table::{Table, Target};

/// The idle connections to one target.
pub struct Pool {
    /// Where its connections lead.
    addresses: Box<[SocketAddr]>,
    idle: RefCell<VecDeque<Parked>>,
    in_use: Cell<u32>,
    bounds: Cell<Bounds>,
}

struct Parked {
    stream: Box<Stream>,
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
            // Connections to where the name led before are not connections to the target.
            let kept = known.remove(&target.name).filter(|pool| pool.addresses == target.addresses);
            let pool = kept.unwrap_or_else(|| Rc::new(Pool::new(&target.addresses, bounds)));
            pool.bounds.set(bounds);
            pools.insert(target.name.clone(), Rc::clone(&pool));
            pool
        };
        table.targets.iter().map(pool).collect()
    }

    /// Closes what has been idle for too long.
    #[must_use]
    pub fn sweep(&self, now: Now) -> Swept {
        let pools = self.0.borrow();
        let swept = pools.values().map(|pool| pool.sweep(now));
        swept.fold(Swept::default(), |all, one| Swept {
            aged: all.aged + one.aged,
            beyond: all.beyond + one.beyond,
        })
    }
}

impl Pool {
    fn new(addresses: &[SocketAddr], bounds: Bounds) -> Self {
        let idle = RefCell::new(VecDeque::with_capacity(bounds.idle_max.min(64)));
        Self { addresses: addresses.into(), idle, in_use: Cell::new(0), bounds: Cell::new(bounds) }
    }

    /// The connection parked last, and when.
    pub(super) fn take(&self) -> Option<(Box<Stream>, Now)> {
        self.idle.borrow_mut().pop_back().map(|parked| (parked.stream, parked.since))
    }

    /// Keeps a connection. The limit on idle ones is held by [`Pool::sweep`]: held here, a target
    /// whose load swings would close connections that it opens again a millisecond later.
    pub(super) fn park(&self, stream: Box<Stream>, now: Now) {
        if self.bounds.get().idle_max > 0 {
            self.idle.borrow_mut().push_back(Parked { stream, since: now });
        }
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
        swept
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
