//! What a core lends to every exchange on it.
//!
//! Enters: what the worker built. Leaves: the view of the table that a request runs on, and the
//! [`Verdict`] that is settled for it. Per core, not `Send`: renewing the view when a new table is
//! published is one load per request, and a request touches no shared reference count.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::retry::Budget;
use super::today::Today;
use crate::access::Rings;
use crate::breaker::outcome::Ending;
use crate::breaker::ticket::Ticket;
use crate::breaker::{Core, Transition};
use crate::clock::{self, Now};
use crate::config::Timeouts;
use crate::http1::field::Fields;
use crate::rt::buffer::LARGE;
use crate::rt::deadline::Wheel;
use crate::stats::{Bound, Process};
use crate::table::live::Reader;
use crate::table::{BreakerIx, Moved, Notice, Report, Service, Table};
use crate::upstream::Dialling;
use crate::upstream::dice::Dice;
use crate::upstream::pool::{Pool, Pools};

/// What a connection that has said nothing yet is given when a drain begins.
pub const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// One core's means.
pub struct Means {
    /// The right to write this core's counters.
    pub core: Core,
    /// This core's deadlines.
    pub wheel: Rc<Wheel>,
    /// Process counters.
    pub process: Arc<Process>,
    /// This core's dice.
    pub(super) dice: Dice,
    /// Takes lines about requests.
    pub(super) access: Arc<Rings>,
    /// Field spans of the head that is being read: filled and used without a wait in between.
    pub(super) fields: RefCell<Fields>,
    /// Where a response's head is rewritten before it takes the old one's place.
    pub(super) scratch: RefCell<Box<[u8]>>,
    /// What a response is dated that came without a date.
    pub(super) today: Today,
    reader: Reader,
    view: RefCell<Rc<View>>,
    pools: Pools,
    cores: usize,
    /// Downstream connections of the process where the config names no number.
    connections_max: u64,
    files_max: RawFd,
    report: Report,
    draining: Cell<bool>,
}

/// What a core's means are made of.
pub struct Parts {
    /// This core.
    pub core: Core,
    /// How many cores there are.
    pub cores: usize,
    /// This core's deadlines.
    pub wheel: Rc<Wheel>,
    /// Process counters.
    pub process: Arc<Process>,
    /// This core's end of the published table.
    pub reader: Reader,
    /// Takes what breakers did.
    pub report: Report,
    /// Downstream connections of the process where the config names no number.
    pub connections_max: u64,
    /// Descriptors from this number on are the control plane's.
    pub files_max: RawFd,
    /// Takes lines about requests.
    pub access: Arc<Rings>,
}

/// A table with what this core keeps for it.
pub struct View {
    /// The table.
    pub table: Arc<Table>,
    /// By `TargetIx`.
    pub(super) pools: Box<[Rc<Pool>]>,
    /// By `ServiceIx`.
    kept: Box<[Kept]>,
}

/// What a core keeps of a service.
#[derive(Default)]
pub(super) struct Kept {
    /// The URL whose turn is next.
    pub(super) turn: Cell<u32>,
    /// Retries.
    pub(super) budget: Budget,
}

impl View {
    fn new(table: Arc<Table>, pools: &Pools, cores: usize) -> Rc<Self> {
        let pools = pools.of(&table, cores);
        let kept = table.services.iter().map(|_| Kept::default()).collect();
        Rc::new(Self { table, pools, kept })
    }

    /// What this core keeps of `service`.
    pub(super) fn kept(&self, service: &Service) -> Option<&Kept> {
        self.kept.get(service.ix.at())
    }
}

impl Means {
    /// The means of one core.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { core, cores, wheel, process, reader, report, .. } = parts;
        let core_index = core.index();
        let pools = Pools::default();
        let table = reader.first();
        let view = View::new(table, &pools, cores);
        reader.serves(view.table.generation);
        Self {
            core,
            wheel,
            process,
            dice: Dice::sown(core_index),
            fields: RefCell::new(Fields::new()),
            scratch: RefCell::new(Box::from_iter(std::iter::repeat_n(0, LARGE))),
            today: Today::default(),
            reader,
            view: RefCell::new(view),
            pools,
            cores,
            connections_max: parts.connections_max,
            files_max: parts.files_max,
            access: parts.access,
            report,
            draining: Cell::new(false),
        }
    }

    /// The limit that a new connection with descriptor `file` is over, if it is over one.
    #[must_use]
    pub fn crowded(&self, file: RawFd) -> Option<Bound> {
        let (process, core) = self.connections_max();
        if self.process.open() > process || self.process.open_here(&self.core) > core {
            Some(Bound::Connections)
        } else if file >= self.files_max {
            Some(Bound::Files)
        } else {
            None
        }
    }

    /// Closes the connection of this core that has been at rest for longest; whether there was one.
    #[cold]
    #[must_use]
    pub fn make_room(&self, now: Now) -> bool {
        self.wheel.evict(now)
    }

    /// Downstream connections of the process, and of this core: a quarter more than its share, and
    /// a few for the chance that spreads them, so that a core alone cannot be filled with all.
    fn connections_max(&self) -> (u64, u64) {
        const FEW: u64 = 32;
        let configured = self.view.borrow().table.limits.connections;
        let max = configured.map_or(self.connections_max, |max| max.get() as u64);
        let share = max.div_ceil(self.cores.max(1) as u64);
        (max, max.min(share.saturating_add(share / 4).saturating_add(FEW)))
    }

    /// The view a request runs on from beginning to end.
    #[inline]
    #[must_use]
    pub fn view(&self) -> Rc<View> {
        self.renew();
        Rc::clone(&self.view.borrow())
    }

    /// The process-wide timeouts of the table this core serves.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.view.borrow().table.timeouts
    }

    /// Takes the published table over, if it is another than the one this core serves.
    #[inline]
    pub fn renew(&self) {
        if let Some(table) = self.reader.renewed() {
            let generation = table.generation;
            self.view.replace(View::new(table, &self.pools, self.cores));
            self.reader.serves(generation);
        }
    }

    /// From now on every connection is closed after the exchange that runs on it; those at rest are
    /// closed at once.
    pub fn drain(&self) {
        self.draining.set(true);
        self.wheel.cut_idle(clock::now().after(DRAIN_GRACE));
    }

    /// Whether the process is shutting down.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Closes upstream connections that have been idle for too long; and where clients take more
    /// than three quarters of the room, theirs that have been so for a quarter of their time.
    pub fn sweep(&self, now: Now) {
        let swept = self.pools.sweep(&self.core, now);
        self.process.bounded(&self.core, Bound::UpstreamIdle, swept.aged);
        self.process.bounded(&self.core, Bound::UpstreamIdles, swept.beyond);
        let (process, core) = self.connections_max();
        let dense = |open: u64, max: u64| open > max - max / 4;
        if (dense(self.process.open(), process) || dense(self.process.open_here(&self.core), core))
            && let Some(idle) = self.timeouts().idle
        {
            self.wheel.cut_resting(now.after(idle - idle / 4));
        }
    }

    /// Names lead elsewhere from now on.
    pub fn lead(&self, moved: &[Moved]) {
        self.pools.lead(moved);
    }

    pub(super) fn dialling(&self, connect: Option<Duration>) -> Dialling<'_> {
        let Self { core, dice, wheel, process, files_max, .. } = self;
        Dialling { core, dice, wheel, process, connect, files_max: *files_max }
    }

    #[cold]
    pub(super) fn report(&self, view: &View, breaker: BreakerIx, transition: Transition) {
        (self.report)(Notice { table: Arc::clone(&view.table), breaker, transition });
    }
}

/// The verdict that is owed to one breaker: of a route for the whole exchange, of a service or a
/// target for each attempt. Dropped, it counts as neutral.
pub(super) struct Verdict<'v> {
    pub(super) means: &'v Means,
    pub(super) view: &'v View,
    pub(super) ticket: Option<(Ticket<'v>, BreakerIx)>,
}

impl Verdict<'_> {
    /// Whether the breaker would count such an ending as a failure.
    pub(super) fn blames(&self, ending: Ending) -> bool {
        self.judges(ending) == Some(true)
    }

    /// The same, where there is a breaker to say.
    pub(super) fn judges(&self, ending: Ending) -> Option<bool> {
        self.ticket.as_ref().map(|(ticket, _)| ticket.blames(ending))
    }

    /// Whether the breaker is in the state still in which it let the exchange through.
    pub(super) fn stands(&self) -> bool {
        self.ticket.as_ref().is_none_or(|(ticket, _)| ticket.stands())
    }

    /// Tells the breaker how it ended; the first telling counts.
    pub(super) fn settle(&mut self, ending: Ending, now: Now) {
        if let Some((ticket, breaker)) = self.ticket.take()
            && let Some(transition) = ticket.settle(ending, now)
        {
            self.means.report(self.view, breaker, transition);
        }
    }
}
