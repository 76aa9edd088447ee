//! One wheel of deadlines per core.
//!
//! Enters: a socket and the moment by which something must have happened on it. Leaves: when that
//! moment passes, the socket is shut down, so that the pending read or write returns with its
//! buffer, and the reason stands in the socket's slot. No operation in flight is ever dropped.
//!
//! A hierarchical timing wheel (Varghese and Lauck 1987) of 1 ms ticks: never early, and late only
//! by the driver's own wake-up. Moving a deadline out costs one store: the slot stays filed where
//! it was and is filed anew when that moment comes. So a connection in steady traffic touches the
//! wheel once per timeout, not once per request.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::clock::{self, Now};

/// Why a socket was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A request head did not arrive whole in time.
    Head,
    /// A connection at rest stayed at rest.
    Idle,
    /// The client stalled: its body, or its reading of ours.
    Client,
    /// The upstream stayed silent.
    Silent,
    /// The time limit of the whole exchange ran out.
    Exchange,
    /// A closed connection's last bytes were not taken in time.
    Linger,
    /// The process is shutting down.
    Drain,
}

/// What is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Reading: a pending read returns as at end of file; a response can still be sent.
    Read,
    /// Both ways.
    Both,
}

const LEVELS: usize = 6; // 64^6 ms: two years
const BITS: u32 = 6;
const BUCKETS: usize = 1 << BITS;
const NONE: u32 = u32::MAX;
const NEVER: u64 = u64::MAX;

/// The deadlines of one core.
pub struct Wheel {
    inner: RefCell<Inner>,
    driver: RefCell<Option<Waker>>,
    /// When the driver sleeps until; an earlier deadline wakes it.
    wakes: Cell<u64>,
}

struct Inner {
    /// The tick up to which everything has been looked at.
    elapsed: u64,
    heads: [[u32; BUCKETS]; LEVELS],
    occupied: [u64; LEVELS],
    slots: Vec<Slot>,
    free: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    fd: RawFd,
    /// When to cut; [`NEVER`] while nothing is awaited.
    due: u64,
    /// Where the slot is filed; [`NEVER`] when it is not.
    filed: u64,
    why: Why,
    cut: Cut,
    fired: Option<Why>,
    next: u32,
    previous: u32,
}

/// A socket's place on the wheel; leaves it when dropped.
pub struct Deadline {
    wheel: Rc<Wheel>,
    slot: u32,
}

impl Wheel {
    /// An empty wheel.
    #[must_use]
    pub fn new(now: Now) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::new(Inner {
                elapsed: now.millis(),
                heads: [[NONE; BUCKETS]; LEVELS],
                occupied: [0; LEVELS],
                slots: Vec::new(),
                free: NONE,
            }),
            driver: RefCell::new(None),
            wakes: Cell::new(NEVER),
        })
    }

    /// A place for the socket `fd`, at rest.
    #[must_use]
    pub fn enter(self: &Rc<Self>, fd: RawFd) -> Deadline {
        Deadline { wheel: Rc::clone(self), slot: self.inner.borrow_mut().insert(fd) }
    }

    /// Cuts every socket that is at rest (armed with [`Why::Idle`], due or not).
    pub fn cut_idle(&self) {
        let mut inner = self.inner.borrow_mut();
        for slot in &mut inner.slots {
            if slot.fd >= 0 && slot.why == Why::Idle && slot.fired.is_none() {
                slot.why = Why::Drain;
                slot.fire();
            }
        }
    }

    /// Cuts what is due at `now`; returns the tick to look again at.
    pub fn advance(&self, now: Now) -> u64 {
        let mut inner = self.inner.borrow_mut();
        inner.advance(now.millis());
        let next = inner.next();
        self.wakes.set(next);
        next
    }

    /// Runs for ever: sleeps until the next deadline, cuts what is due.
    pub async fn run(self: Rc<Self>) {
        let mut sleep = pin!(monoio::time::sleep(Duration::ZERO));
        poll_fn(move |cx| {
            // Filing a nearer deadline wakes this task by the waker kept here.
            if !self.driver.borrow().as_ref().is_some_and(|kept| kept.will_wake(cx.waker())) {
                self.driver.replace(Some(cx.waker().clone()));
            }
            loop {
                let now = clock::now();
                let next = self.advance(now);
                let wait = match next {
                    NEVER => Duration::from_secs(3600),
                    next => Duration::from_micros((next * 1000).saturating_sub(now.micros())),
                };
                sleep.as_mut().reset(monoio::time::Instant::now() + wait);
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::<()>::Pending;
                }
            }
        })
        .await;
    }

    fn wake_for(&self, tick: u64) {
        if tick < self.wakes.get() {
            self.wakes.set(tick);
            if let Some(waker) = self.driver.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }
}

use std::future::Future;

impl Deadline {
    /// From now on the socket is cut at `due`, unless it is armed anew or disarmed before.
    #[inline]
    pub fn arm(&self, due: Now, why: Why, cut: Cut) {
        self.set(due.millis_up(), why, cut);
    }

    /// Names what is awaited without an end: only a drain can cut it.
    #[inline]
    pub fn rest(&self, why: Why) {
        self.set(NEVER, why, Cut::Read);
    }

    /// From now on nothing is awaited.
    #[inline]
    pub fn disarm(&self) {
        self.set(NEVER, Why::Client, Cut::Both);
    }

    /// Why the socket was cut, if it was.
    #[must_use]
    pub fn fired(&self) -> Option<Why> {
        self.wheel.inner.borrow().slots.get(self.slot as usize).and_then(|slot| slot.fired)
    }

    fn set(&self, due: u64, why: Why, cut: Cut) {
        let mut inner = self.wheel.inner.borrow_mut();
        let Some(slot) = inner.slots.get_mut(self.slot as usize) else { return };
        (slot.due, slot.why, slot.cut) = (due, why, cut);
        if due < slot.filed {
            inner.unlink(self.slot);
            inner.file(self.slot, due);
            let tick = inner.next();
            drop(inner);
            self.wheel.wake_for(tick);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.wheel.inner.borrow_mut().remove(self.slot);
    }
}

impl Inner {
    fn insert(&mut self, fd: RawFd) -> u32 {
        let slot = Slot {
            fd,
            due: NEVER,
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

    fn remove(&mut self, index: u32) {
        self.unlink(index);
        let free = self.free;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.fd = -1;
            slot.due = NEVER;
            slot.next = free;
            self.free = index;
        }
    }

    /// The level and bucket of `tick`: the level is where it first differs from the elapsed time.
    fn place(&self, tick: u64) -> (usize, usize) {
        let differs = (tick ^ self.elapsed) | (BUCKETS as u64 - 1);
        let level = ((63 - differs.leading_zeros()) / BITS).min(LEVELS as u32 - 1);
        let bucket = tick >> (level * BITS) & (BUCKETS as u64 - 1);
        (level as usize, usize::try_from(bucket).unwrap_or(0))
    }

    fn file(&mut self, index: u32, due: u64) {
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

    fn unlink(&mut self, index: u32) {
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
    fn next(&self) -> u64 {
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

    fn advance(&mut self, now: u64) {
        loop {
            let tick = self.next();
            if tick > now {
                break;
            }
            self.elapsed = tick;
            self.look_at(tick);
        }
        self.elapsed = self.elapsed.max(now);
    }

    /// Takes every bucket that begins at `tick`: fires what is due, files the rest anew.
    fn look_at(&mut self, tick: u64) {
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
                if due <= tick {
                    slot.fire();
                } else if due != NEVER {
                    self.file(current, due);
                }
            }
        }
    }
}

impl Slot {
    fn fire(&mut self) {
        self.due = NEVER;
        self.fired = Some(self.why);
        super::stream::cut(self.fd, self.cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    const fn at(millis: u64) -> Now {
        Now::from_millis(millis)
    }

    #[test]
    fn a_deadline_fires_at_its_tick_and_not_before_on_every_level() {
        for span in [1, 2, 63, 64, 65, 999, 4095, 4096, 60_000, 262_144, 3_600_000, 100_000_000] {
            let wheel = Wheel::new(at(1_000_123));
            let deadline = wheel.enter(-1);
            deadline.arm(at(1_000_123 + span), Why::Silent, Cut::Both);
            let mut now = 1_000_123;
            while deadline.fired().is_none() {
                let next = wheel.advance(at(now));
                if deadline.fired().is_some() {
                    break;
                }
                assert!(next > now, "no progress at {now}");
                now = next;
            }
            assert_eq!(now, 1_000_123 + span);
            assert_eq!(deadline.fired(), Some(Why::Silent));
        }
    }

    #[test]
    fn many_deadlines_moved_at_random_each_fire_once_in_their_millisecond() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let wheel = Wheel::new(at(5_000));
        let mut armed: Vec<(Deadline, u64)> = (0..200)
            .map(|_| {
                let deadline = wheel.enter(-1);
                let due = 5_001 + random(10_000);
                deadline.arm(at(due), Why::Idle, Cut::Read);
                (deadline, due)
            })
            .collect();
        let mut now = 5_000;
        while !armed.is_empty() {
            now += 1 + random(3);
            wheel.advance(at(now));
            armed.retain(|(deadline, due)| {
                assert_eq!(deadline.fired().is_some(), *due <= now, "due {due}, now {now}");
                deadline.fired().is_none()
            });
            if !armed.is_empty() {
                let pick = usize::try_from(random(armed.len() as u64)).unwrap();
                let due = now + 1 + random(5_000);
                let (deadline, held) = &mut armed[pick];
                deadline.arm(at(due), Why::Idle, Cut::Read);
                *held = due;
            }
        }
    }

    #[test]
    fn a_disarmed_or_dropped_deadline_cuts_nothing() {
        let wheel = Wheel::new(at(0));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let deadline = wheel.enter(ours.as_raw_fd());
        deadline.arm(at(10), Why::Head, Cut::Both);
        deadline.disarm();
        wheel.advance(at(100));
        deadline.arm(at(110), Why::Head, Cut::Both);
        drop(deadline);
        wheel.advance(at(1_000));
        theirs.set_nonblocking(true).unwrap();
        let error = theirs.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "still open");
        let deadline = wheel.enter(ours.as_raw_fd());
        deadline.arm(at(1_001), Why::Head, Cut::Both);
        wheel.advance(at(1_001));
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "cut");
    }
}
