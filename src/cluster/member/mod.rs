//! One breaker's part in the cluster.
//!
//! Enters: what the breaker did by itself, and what the store holds of it. Leaves: what the store
//! is to hold, what the breaker is told, and the moves that this makes it do.
//!
//! There is one machine per breaker, not one for this instance's verdict and one for the cluster's:
//! what is *agreed* is remembered beside it, with the local epoch it was taken over in. A move of
//! its own away from that is proposed as the next epoch, unless it is an opinion of this instance
//! *alone*: one that opened although the cluster's counts do not say so, or too few instances have
//! seen failures. That one is open, nobody else is, and it comes back in step when it closes.

mod agreement;
mod counts;
mod order;
mod round;

use std::time::Duration;

use super::lease::Table;
use super::record::{Order, Record};
use super::register::Put;
use super::shard::Knows;
use super::tally::Others;
use super::{LOOK, SHARDS, Settings};
use crate::breaker::Breaker;
use crate::breaker::circuit::{Cause, Course, Override, Word};
use crate::breaker::follow::Tallies;
use crate::breaker::peers::{Lease, Loss};
use crate::breaker::policy::Mode;
use crate::clock::Now;
use counts::geometry;

/// How long what is agreed lives in the store if every instance ends; each puts it again in time.
/// A key lives a second longer than what it holds: ten minutes in all.
pub(super) const AGREED_TTL: Duration = Duration::from_secs(599);

/// A breaker of which there is nothing to tell is looked at this often all the same.
const NAP: Duration = Duration::from_secs(30);

/// What a member is told of the shard it lies in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard<'s> {
    pub(super) settings: &'s Settings,
    pub(super) knows: Knows,
    /// Instances alive.
    pub(super) living: u32,
    /// What the store's clock says now, as far as can be known (ms).
    pub(super) clock: u64,
}

/// How soon something has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    /// Nothing has to.
    None,
    /// With the next tick.
    Tick,
    /// At once.
    Now,
}

/// What a breaker is known by to have been left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trace {
    word: Word,
    forced: Option<Override>,
    ended: u64,
}

/// Opened by its own verdict.
#[derive(Clone, Copy, Debug)]
struct Alone {
    cause: Cause,
    /// Whether the cluster may still be of the same opinion: not after it has changed its own.
    may_lead: bool,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Box<str>,
    pub(super) id: u64,
    pub(super) breaker: Breaker,
    instance: u64,
    geometry: u64,
    agreed: Record,
    /// When what is agreed ends by itself.
    until: Now,
    /// The local epoch in which `agreed` was taken over.
    base: u32,
    /// The local epoch whose counts are of the agreed one.
    counts: Option<u32>,
    /// What was counted in the agreed epoch, in local ones that are over.
    kept: Tallies,
    alone: Option<Alone>,
    /// How often it had tripped, by cause, and been reset, when last looked at.
    trips: [u64; CAUSES.len()],
    resets: u64,
    is_reset: bool,
    last_cause: Cause,
    /// The highest epoch that the store is known to hold, and when it was put last.
    stored: u64,
    agreed_put: Now,
    others: Others,
    /// How often what the breaker is to be told has changed, and how often when it was told last.
    news: u64,
    told: u64,
    /// What the store was told of own counts, under which rank, and when.
    pushed: Tallies,
    pushed_rank: u64,
    pushed_at: Now,
    order: Order,
    order_stored: u64,
    order_put: Now,
    forced: Option<Override>,
    table: Option<Table>,
    /// The highest rank of a table that the store is known to hold.
    table_stored: u64,
    /// Until when what is lent here may be used.
    lent_until: Now,
    /// Since when nothing is lent, so that what others want can be given back.
    yielding: Option<Now>,
    /// What it had refused when it opened, or gave a lease back.
    refused: u64,
    returned: Option<Now>,
    /// Since nothing was to be told: of what, and until when.
    asleep: Option<(Trace, Now)>,
}

const CAUSES: [Cause; 4] = [Cause::Failures, Cause::Run, Cause::FailureRate, Cause::SlowCalls];

impl Member {
    pub(super) fn new(name: &str, breaker: &Breaker, instance: u64, now: Now) -> Self {
        let word = breaker.word();
        let mut member = Self {
            name: name.into(),
            id: hash(name.bytes()),
            breaker: breaker.clone(),
            instance,
            geometry: geometry(breaker.policy()),
            agreed: Record::NONE,
            until: now,
            base: word.epoch(),
            counts: Some(word.epoch()),
            kept: Tallies::default(),
            alone: None,
            trips: [0; CAUSES.len()],
            resets: 0,
            is_reset: false,
            last_cause: Cause::Failures,
            stored: 0,
            agreed_put: now,
            others: Others::default(),
            news: 1,
            told: 1,
            pushed: Tallies::default(),
            pushed_rank: 0,
            pushed_at: now,
            order: Order { revision: 0, forced: None, remaining: None, author: 0 },
            order_stored: 0,
            order_put: now,
            forced: None,
            table: None,
            table_stored: 0,
            lent_until: now,
            yielding: None,
            refused: 0,
            returned: None,
            asleep: None,
        };
        member.count_moves();
        member
    }

    /// The part of the breakers that it belongs to.
    pub(super) fn shard(&self) -> u8 {
        u8::try_from(self.id % u64::from(SHARDS)).unwrap_or(0)
    }

    /// Goes on with the breaker of a new generation. Whether its counts begin anew.
    pub(super) fn renew(&mut self, breaker: &Breaker) -> bool {
        self.breaker = breaker.clone();
        let geometry = geometry(breaker.policy());
        let anew = geometry != self.geometry;
        if anew {
            self.geometry = geometry;
            self.others.clear();
            self.kept = Tallies::default();
            self.pushed = Tallies::default();
        }
        self.news += 1;
        self.asleep = None;
        anew
    }

    /// Leaves the breaker to itself.
    pub(super) fn release(&mut self) {
        self.hush();
        self.breaker.lend(Lease::Free);
        self.breaker.lose(Loss::None);
    }

    /// The store may have forgotten what it was told: tells it all again.
    pub(super) fn doubt(&mut self) {
        self.stored = 0;
        self.order_stored = 0;
        self.table_stored = 0;
        self.pushed = Tallies::default();
        self.asleep = None;
    }

    /// The store is lost, or back.
    pub(super) fn lose(&mut self, loss: Option<Loss>) {
        self.breaker.lose(loss.unwrap_or(Loss::None));
        match loss {
            // Open stays open: nobody is lent anything.
            Some(Loss::Freeze) => self.breaker.lend(Lease::Nothing),
            Some(Loss::None | Loss::Closed) => self.breaker.lend(Lease::Free),
            None => self.lend(),
        }
        if loss.is_some() {
            self.others.clear();
            self.hush();
        }
    }

    /// Notices what the breaker did, and says how soon the store is to hear of it.
    pub(super) fn notice(&mut self, shard: Shard<'_>, now: Now) -> Haste {
        if self.sleeps(now) {
            return Haste::None;
        }
        self.count_moves();
        let word = self.breaker.word();
        if let Some(epoch) = self.counts.filter(|epoch| *epoch != word.epoch()) {
            self.keep(epoch, now);
        }
        self.drift(word);
        self.notice_order(now);
        let proposes = self.proposal(shard, now).is_some();
        let orders = self.order.revision > self.order_stored;
        let leases = shard.knows == Knows::All && self.lease(shard, now).is_some();
        let own = self.own(now);
        let haste = self.push_haste(shard, &own, now);
        if proposes || orders || leases {
            return Haste::Now;
        }
        let calm = self.agreed.course == Course::Close && self.stored >= self.agreed.epoch;
        if calm && self.alone.is_none() && self.is_told(&own) && !self.is_hot(&own) {
            self.asleep = Some((self.trace(now), now.after(NAP)));
        }
        haste
    }

    /// The registers that the store is to hold now, and how soon there will be others; `rank`
    /// numbers what this instance counts.
    pub(super) fn puts(
        &mut self,
        shard: Shard<'_>,
        now: Now,
        rank: u64,
        puts: &mut Vec<Put>,
    ) -> Haste {
        self.last_puts(shard, now, rank, puts);
        if self.sleeps(now) || self.breaker.policy().mode == Mode::Off {
            return Haste::None;
        }
        puts.extend(self.put_table(shard, now));
        let soon = self.yielding.is_some_and(|since| now < since.after(LOOK));
        if soon { Haste::Now } else { Haste::None }
    }

    /// The same, but for permits: an instance that ends takes none.
    pub(super) fn last_puts(&mut self, shard: Shard<'_>, now: Now, rank: u64, puts: &mut Vec<Put>) {
        if self.sleeps(now) {
            return;
        }
        // An order stands above the mode.
        puts.extend(self.put_order(now));
        if self.breaker.policy().mode == Mode::Off {
            return;
        }
        puts.extend(self.put_record(shard, now));
        puts.extend(self.put_counts(shard, now, rank));
    }

    /// Whether nothing has happened to the breaker since there was nothing to tell of it.
    fn sleeps(&self, now: Now) -> bool {
        let asleep = |(trace, until): (Trace, Now)| now < until && self.trace(now) == trace;
        self.asleep.is_some_and(asleep)
    }

    /// Another trace, and something happened to the breaker.
    fn trace(&self, now: Now) -> Trace {
        let totals = self.breaker.totals();
        let asks = self.breaker.policy().trip.shares.is_some();
        let ended = totals.failure + if asks { totals.success } else { 0 };
        Trace { word: self.breaker.word(), forced: self.breaker.forced(now), ended }
    }

    /// Whether something is known here that the store has not confirmed.
    pub(super) fn is_dirty(&self, shard: Shard<'_>, now: Now) -> bool {
        self.proposal(shard, now).is_some()
            || self.stored < self.agreed.epoch
            || self.order.revision > self.order_stored
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// FNV-1a, then spread: the same on every machine and in every version.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let fold = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, fold);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}
