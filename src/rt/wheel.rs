//! The timing wheel itself: which socket is cut when.
//!
//! Enters: slots and ticks of a millisecond. Leaves: cut sockets. Six levels of 64 buckets, each
//! bucket a list through the slots, so that filing, moving and leaving cost no memory and no
//! search. Knows no task and no clock: `deadline` drives it.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::os::fd::RawFd;

use super::socket::{self, Cut};

const LEVELS: usize = 6; // 64^6 ms: two years
const BITS: u32 = 6;
const BUCKETS: usize = 1 << BITS;
/// How often a client is looked at while its upstream is silent, after the first look: an answer to
/// nobody costs little more than that of a few looks, and a look is a system call.
const WATCH_MS: u64 = 250;
/// Sockets that are cut within one tick: each is a connection to end, and whoever else is served
/// must not wait for thousands that were opened in the same moment.
pub(super) const FIRED_MAX: u32 = 32;
pub(super) const NONE: u32 = u32::MAX;
pub(super) const NEVER: u64 = u64::MAX;

/// Why a socket was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A request head did not arrive whole in time.
    Head,
    /// A new connection said nothing.
    Fresh,
    /// A connection at rest stayed at rest.
    Idle,
    /// A connection at rest made room for another.
    Evicted,
    /// The client stalled: its body, or its reading of ours.
    Client,
    /// The upstream stayed silent.
    Silent,
    /// The time limit of the whole exchange ran out.
    Exchange,
    /// Neither side of a tunnel said anything for too long.
    Tunnel,
    /// A closed connection's last bytes were not taken in time.
    Linger,
    /// The process is shutting down.
    Drain,
    /// The client for whom it is waited has reset its connection.
    Abandoned,
}

/// The buckets and the slots in them.
pub(super) struct Buckets {
    /// The tick up to which everything has been looked at.
    elapsed: u64,
    heads: [[u32; BUCKETS]; LEVELS],
    occupied: [u64; LEVELS],
    pub(super) slots: Vec<Slot>,
    free: u32,
    resting: Resting,
}

/// What is known of one socket.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) fd: RawFd,
    /// When to cut; [`NEVER`] while nothing is awaited.
    pub(super) due: u64,
    /// What is looked at before the socket is cut.
    pub(super) doubt: Doubt,
    /// Where the slot is filed; [`NEVER`] when it is not.
    pub(super) filed: u64,
    pub(super) why: Why,
    pub(super) cut: Cut,
    pub(super) fired: Option<Why>,
    next: u32,
    previous: u32,
}

/// The sockets at rest that were found the last time, the one that rests longest last.
#[derive(Default)]
pub(super) struct Resting {
    found: Vec<(u64, u32)>,
    /// The tick before which looking again is not worth it.
    again: u64,
}

/// Sockets at rest that one look remembers. A look goes over all slots, so it has paid for itself
/// when it finds one for as many slots.
const FOUND_MAX: usize = 256;

/// Ticks until the next look where one has not: with hardly anybody at rest, a flood of connections
/// must not make each of them cost a look.
const LOOK_AGAIN: u64 = 10;

/// What speaks against cutting a socket when its time has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doubt {
    /// Nothing.
    None,
    /// We send on it: it is cut only if its queue has not become shorter since the last look, half
    /// the limit ago.
    Sending { half_ms: u32, queued: Option<u32> },
    /// Until then its time has not come, unless the client, on another socket, has reset. It comes
    /// `span_ms` after the last look that found its queue shorter, but not after `limit`
    /// (microseconds).
    Watching { client: RawFd, queued: u32, span_ms: u32, until: u64, limit: u64 },
}

/// Which of two moments comes first: that of a silence, or the limit of the whole exchange.
#[inline]
pub(super) const fn nearer(silent: u64, limit: u64) -> (u64, Why) {
    if silent < limit { (silent, Why::Silent) } else { (limit, Why::Exchange) }
}

impl Buckets {
    /// An empty wheel at `tick`.
    pub(super) const fn new(tick: u64) -> Self {
        Self {
            elapsed: tick,
            heads: [[NONE; BUCKETS]; LEVELS],
            occupied: [0; LEVELS],
            slots: Vec::new(),
            free: NONE,
            resting: Resting { found: Vec::new(), again: 0 },
        }
    }

    /// The tick up to which everything has been looked at.
    #[cfg(test)]
    pub(super) const fn elapsed(&self) -> u64 {
        self.elapsed
    }

    pub(super) fn insert(&mut self, fd: RawFd) -> u32 {
        let slot = Slot {
            fd,
            due: NEVER,
            doubt: Doubt::None,
            filed: NEVER,
            why: Why::Client,
            cut: Cut::Both,
            fired: None,
            next: NONE,
            previous: NONE,
        };
        let index = self.free;
        if let Some(place) = self.slots.get_mut(index as usize) {
            self.free = place.next;
            *place = slot;
            return index;
        }
        self.slots.push(slot);
        u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
    }

    pub(super) fn remove(&mut self, index: u32) {
        self.unlink(index);
        let free = self.free;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.fd = -1;
            slot.due = NEVER;
            slot.next = free;
            self.free = index;
        }
    }

    pub(super) fn cut_idle(&mut self, index: u32, grace: u64) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if slot.fd < 0 || slot.fired.is_some() {
            return;
        }
        if slot.is_resting() {
            slot.why = Why::Drain;
            slot.fire();
        } else if slot.why == Why::Fresh && grace < slot.due {
            slot.due = grace;
            self.unlink(index);
            self.file(index, grace);
        }
    }

    /// Cuts the socket that has been at rest for longest; whether there was one. Rests are all of
    /// one length, so the one that ends first began first.
    pub(super) fn evict(&mut self, now: u64) -> bool {
        loop {
            while let Some((due, index)) = self.resting.found.pop() {
                if let Some(slot) = self.slots.get_mut(index as usize)
                    && slot.is_resting()
                    && slot.due == due
                {
                    slot.why = Why::Evicted;
                    slot.fire();
                    return true;
                }
            }
            if now < self.resting.again {
                return false;
            }
            let resting = (0..).zip(&self.slots).filter(|(_, slot)| slot.is_resting());
            let mut found: Vec<(u64, u32)> =
                resting.map(|(index, slot)| (slot.due, index)).collect();
            if found.len() * FOUND_MAX < self.slots.len() {
                self.resting.again = now + LOOK_AGAIN;
            }
            if found.len() > FOUND_MAX {
                found.select_nth_unstable(FOUND_MAX);
                found.truncate(FOUND_MAX);
            }
            found.sort_unstable_by(|one, other| other.cmp(one));
            if found.is_empty() {
                return false;
            }
            self.resting.found = found;
        }
    }

    /// Cuts every socket whose rest ends until `due`.
    pub(super) fn cut_resting(&mut self, due: u64) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_resting() && slot.due <= due) {
            slot.fire();
        }
    }

    /// The level and bucket of `tick`: the level is where it first differs from the elapsed time.
    fn place(&self, tick: u64) -> (usize, usize) {
        let differs = (tick ^ self.elapsed) | (BUCKETS as u64 - 1);
        let level = ((63 - differs.leading_zeros()) / BITS).min(LEVELS as u32 - 1);
        let bucket = tick >> (level * BITS) & (BUCKETS as u64 - 1);
        (level as usize, usize::try_from(bucket).unwrap_or(0))
    }

    pub(super) fn file(&mut self, index: u32, due: u64) {
        // A tick that is past or passing fires at the next look; one beyond the wheel waits there.
        let span = 1u64 << (BITS * LEVELS as u32);
        let tick = due.clamp(self.elapsed + 1, self.elapsed + span - 1);
        let (level, bucket) = self.place(tick);
        let Some(head) = self.heads.get_mut(level).and_then(|row| row.get_mut(bucket)) else {
            return;
        };
        let old = std::mem::replace(head, index);
        if let Some(mask) = self.occupied.get_mut(level) {
            *mask |= 1 << bucket;
        }
        if let Some(next) = self.slots.get_mut(old as usize) {
            next.previous = index;
        }
        if let Some(slot) = self.slots.get_mut(index as usize) {
            (slot.filed, slot.next, slot.previous) = (tick, old, NONE);
        }
    }

    pub(super) fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if slot.filed == NEVER {
            return;
        }
        let (filed, next, previous) = (slot.filed, slot.next, slot.previous);
        (slot.filed, slot.next, slot.previous) = (NEVER, NONE, NONE);
        if let Some(after) = self.slots.get_mut(next as usize) {
            after.previous = previous;
        }
        if let Some(before) = self.slots.get_mut(previous as usize) {
            before.next = next;
            return;
        }
        // It was the first of its bucket. Which one that is was decided against an earlier elapsed
        // time, so ask the levels: only one bucket can hold it as its head.
        for level in 0..LEVELS {
            let bucket = filed >> (level as u32 * BITS) & (BUCKETS as u64 - 1);
            let bucket = usize::try_from(bucket).unwrap_or(0);
            let head = self.heads.get_mut(level).and_then(|row| row.get_mut(bucket));
            if let Some(head) = head.filter(|head| **head == index) {
                *head = next;
                if next == NONE
                    && let Some(mask) = self.occupied.get_mut(level)
                {
                    *mask &= !(1 << bucket);
                }
                return;
            }
        }
    }

    /// The next tick at which a bucket has to be looked at.
    pub(super) fn next(&self) -> u64 {
        let mut best = NEVER;
        for (level, mask) in self.occupied.iter().enumerate() {
            if *mask == 0 {
                continue;
            }
            let shift = level as u32 * BITS;
            let here = u32::try_from(self.elapsed >> shift & (BUCKETS as u64 - 1)).unwrap_or(0);
            // Buckets are asked in the order in which time reaches them, from the one after `here`.
            let ahead = mask.rotate_right((here + 1) % BUCKETS as u32).trailing_zeros() + 1;
            let tick = ((self.elapsed >> shift) + u64::from(ahead)) << shift;
            best = best.min(tick);
        }
        best
    }

    pub(super) fn advance(&mut self, now: u64) {
        let mut left = FIRED_MAX;
        loop {
            let tick = self.next();
            if tick > now {
                break;
            }
            self.elapsed = tick;
            self.look_at(tick, now, &mut left);
        }
        self.elapsed = self.elapsed.max(now);
    }

    /// Takes every bucket that begins at `tick`: fires what is due, as long as there are some
    /// `left` to fire, and files the rest anew.
    fn look_at(&mut self, tick: u64, now: u64, left: &mut u32) {
        for level in (0..LEVELS).rev() {
            let shift = level as u32 * BITS;
            if tick & ((1u64 << shift) - 1) != 0 {
                continue;
            }
            let bucket = usize::try_from(tick >> shift & (BUCKETS as u64 - 1)).unwrap_or(0);
            let Some(head) = self.heads.get_mut(level).and_then(|row| row.get_mut(bucket)) else {
                continue;
            };
            let mut index = std::mem::replace(head, NONE);
            if let Some(mask) = self.occupied.get_mut(level) {
                *mask &= !(1 << bucket);
            }
            while let Some(slot) = self.slots.get_mut(index as usize) {
                let (current, due) = (index, slot.due);
                index = slot.next;
                (slot.filed, slot.next, slot.previous) = (NEVER, NONE, NONE);
                if due <= tick && *left == 0 {
                    self.file(current, now + 1);
                    continue;
                }
                if due <= tick {
                    slot.judge(tick);
                    *left -= u32::from(slot.fired.is_some());
                }
                let due = slot.due;
                if due != NEVER {
                    self.file(current, due);
                }
            }
        }
    }
}

impl Slot {
    fn is_resting(&self) -> bool {
        self.fd >= 0 && self.fired.is_none() && self.why == Why::Idle
    }

    /// The moment has come: cuts the socket, or says when to look again.
    fn judge(&mut self, tick: u64) {
        match &mut self.doubt {
            Doubt::None => self.fire(),
            Doubt::Sending { half_ms, queued } => {
                let now = socket::queued(self.fd);
                if queued.is_some_and(|before| now >= before) {
                    return self.fire();
                }
                *queued = Some(now);
                self.due = tick.saturating_add(u64::from(*half_ms));
            }
            Doubt::Watching { client, .. } if socket::is_reset(*client) => {
                self.why = Why::Abandoned;
                self.fire();
            }
            Doubt::Watching { queued, span_ms, until, limit, .. } => {
                let before = std::mem::replace(queued, socket::queued(self.fd));
                if *queued < before {
                    let silent = tick.saturating_add((*span_ms).into());
                    (*until, self.why) = nearer(silent, limit.div_ceil(1000));
                }
                if tick >= *until {
                    return self.fire();
                }
                self.due = tick.saturating_add(WATCH_MS).min(*until);
            }
        }
    }

    fn fire(&mut self) {
        self.due = NEVER;
        self.fired = Some(self.why);
        socket::cut(self.fd, self.cut);
    }
}
