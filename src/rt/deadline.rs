//! One wheel of deadlines per core.
//!
//! Enters: a socket and the moment by which something must have happened on it. Leaves: when that
//! moment passes, the socket is shut down, so that the pending read or write returns with its
//! buffer, and the reason stands in the socket's slot. No operation in flight is ever dropped.
//!
//! A hierarchical timing wheel (Varghese and Lauck 1987) of 1 ms ticks: never early, and late only
//! by the driver's own wake-up, or where many are due at once: those are spread over some ticks.
//! Moving a deadline out costs one store: the slot stays filed where
//! it was and is filed anew when that moment comes. So a connection in steady traffic touches the
//! wheel once per timeout, not once per request.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::cache;
use super::quiet::Quiet;
pub use super::socket::Cut;
pub use super::wheel::Why;
use super::wheel::{Buckets, Doubt, NEVER, NONE, nearer};
use crate::clock::{self, Now};

/// The deadlines of one core.
pub struct Wheel {
    inner: RefCell<Buckets>,
    quiet: Quiet,
    driver: RefCell<Option<Waker>>,
    /// When the driver sleeps until; an earlier deadline wakes it.
    wakes: Cell<u64>,
}

/// Milliseconds that a wait lasts before the first look at it.
const WATCH_MS: u64 = 100;

/// A socket that is only looked at, while it is open.
#[derive(Clone, Copy, Debug)]
pub struct Watched(pub(super) RawFd);

/// A socket's place on the wheel; leaves it when dropped.
pub struct Deadline {
    wheel: Rc<Wheel>,
    slot: Cell<u32>,
}

impl Wheel {
    /// An empty wheel.
    #[must_use]
    pub fn new(now: Now) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::new(Buckets::new(now.millis())),
            quiet: Quiet::default(),
            driver: RefCell::new(None),
            wakes: Cell::new(NEVER),
        })
    }

    /// A place for the socket `fd`, at rest.
    #[must_use]
    pub fn enter(self: &Rc<Self>, fd: RawFd) -> Deadline {
        let slot = Cell::new(self.inner.borrow_mut().insert(fd));
        Deadline { wheel: Rc::clone(self), slot }
    }

    /// Cuts every socket that is at rest (armed with [`Why::Idle`], due or not). A new connection,
    /// whose first request may be on its way, is given until `grace`.
    pub fn cut_idle(&self, grace: Now) {
        let mut inner = self.inner.borrow_mut();
        for index in 0..u32::try_from(inner.slots.len()).unwrap_or(NONE) {
            inner.cut_idle(index, grace.millis_up());
        }
        let tick = inner.next();
        drop(inner);
        self.wake_for(tick);
    }

    /// Calls off the reads that may be ([`super::stream::Stream::read_unless_quiet`]) and have
    /// waited since before the last call; returns how many those were.
    pub fn call_off_quiet(&self) -> u32 {
        self.quiet.tick()
    }

    /// Cuts the socket that has been at rest for longest (armed with [`Why::Idle`]), to make room;
    /// whether there was one.
    #[cold]
    #[must_use]
    pub fn evict(&self, now: Now) -> bool {
        self.inner.borrow_mut().evict(now.millis())
    }

    /// Cuts every socket whose rest would end until `due`.
    #[cold]
    pub fn cut_resting(&self, due: Now) {
        self.inner.borrow_mut().cut_resting(due.millis());
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

impl Deadline {
    /// From now on the socket is cut at `due`, unless it is armed anew or disarmed before.
    #[inline]
    pub fn arm(&self, due: Now, why: Why, cut: Cut) {
        self.set(due.millis_up(), why, cut, Doubt::None);
    }

    /// From now on the socket is cut when, for `limit`, its peer takes nothing of what was sent.
    /// The kernel tells a sender only in large lumps that there is room again, so the queue is
    /// looked at halfway: the peer of a full queue that shortens is slow, not gone.
    #[inline]
    pub fn arm_sending(&self, now: Now, limit: Duration) {
        let half = limit / 2;
        let half_ms = u32::try_from(half.as_millis()).unwrap_or(u32::MAX).max(1);
        let doubt = Doubt::Sending { half_ms, queued: None };
        self.set(now.after(half).millis_up(), Why::Client, Cut::Both, doubt);
    }

    /// As [`Deadline::arm`] with [`Cut::Both`], for a socket that is waited for on behalf of
    /// `client`: it is cut with [`Why::Silent`] after a `silence`, with [`Why::Exchange`] at the
    /// `limit`, where there are such; and should the client reset its connection meanwhile, soon
    /// after that with [`Why::Abandoned`]. Both sockets are looked at, in longer intervals, once
    /// the wait has lasted a while, so that a prompt upstream costs nothing.
    ///
    /// Who takes what it was sent is not silent, however little at a time. The kernel takes
    /// megabytes from us at once, and tells of room for more in lumps as large: so it is the
    /// socket's queue that tells.
    ///
    /// The client is looked at, and not polled by the ring: bytes or an end of sending that have
    /// arrived already would complete a poll at once, and neither of them is an abort.
    #[inline]
    pub fn arm_for(
        &self,
        client: Watched,
        now: Now,
        silence: Option<Duration>,
        limit: Option<Now>,
    ) {
        let silent = silence.map_or(NEVER, |span| now.after(span).micros());
        let limit = limit.map_or(NEVER, Now::micros);
        let (due, why) = nearer(silent, limit);
        let (begun, until) = (now.millis_up(), due.div_ceil(1000));
        let span = until.saturating_sub(begun);
        // At least one look comes before the end: of a queue it takes two to see that it shortens.
        let look = begun + WATCH_MS.min(span / 2);
        let span_ms = u32::try_from(span).unwrap_or(u32::MAX);
        let doubt = Doubt::Watching { client: client.0, queued: 0, span_ms, until, limit };
        self.set(look, why, Cut::Both, doubt);
    }

    /// Names what is awaited without an end: only a drain can cut it.
    #[inline]
    pub fn rest(&self, why: Why) {
        self.set(NEVER, why, Cut::Read, Doubt::None);
    }

    /// From now on nothing is awaited.
    #[inline]
    pub fn disarm(&self) {
        self.set(NEVER, Why::Client, Cut::Both, Doubt::None);
    }

    /// Has its slot brought nearer: it is about to be set.
    #[inline]
    pub(super) fn fetch(&self) {
        let Ok(inner) = self.wheel.inner.try_borrow() else { return };
        if let Some(slot) = inner.slots.get(self.slot.get() as usize) {
            cache::fetch(std::ptr::from_ref(slot), size_of_val(slot));
        }
    }

    pub(super) fn quiet(&self) -> &Quiet {
        &self.wheel.quiet
    }

    /// Why the socket was cut, if it was.
    #[must_use]
    pub fn fired(&self) -> Option<Why> {
        self.wheel.inner.borrow().slots.get(self.slot.get() as usize).and_then(|it| it.fired)
    }

    fn set(&self, due: u64, why: Why, cut: Cut, doubt: Doubt) {
        let mut inner = self.wheel.inner.borrow_mut();
        let index = self.slot.get();
        let Some(slot) = inner.slots.get_mut(index as usize) else { return };
        (slot.due, slot.why, slot.cut, slot.doubt) = (due, why, cut, doubt);
        if due < slot.filed {
            inner.unlink(index);
            inner.file(index, due);
            let tick = inner.next();
            drop(inner);
            self.wheel.wake_for(tick);
        }
    }

    /// Takes the socket off the wheel for good: before it is closed, so that its number, given to
    /// another, is never cut for this one's sake.
    pub(super) fn leave(&self) {
        let slot = self.slot.replace(NONE);
        if slot != NONE {
            self.wheel.inner.borrow_mut().remove(slot);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::super::wheel::FIRED_MAX;
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// A descriptor that nobody has.
    const NOBODY: RawFd = RawFd::MAX;

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
    fn many_that_are_due_at_once_are_spread_over_ticks() {
        const EACH: usize = FIRED_MAX as usize;
        let wheel = Wheel::new(at(0));
        let all: Vec<Deadline> = (0..EACH * 3).map(|_| wheel.enter(NOBODY)).collect();
        all.iter().for_each(|it| it.arm(at(2_000), Why::Head, Cut::Read));
        let fired = || all.iter().filter(|it| it.fired().is_some()).count();
        assert_eq!(wheel.advance(at(2_000)), 2_001);
        assert_eq!(fired(), EACH);
        // One that is late itself cuts no more for that.
        assert_eq!(wheel.advance(at(2_010)), 2_011);
        assert_eq!(fired(), EACH * 2);
        let moved = all.iter().find(|it| it.fired().is_none()).unwrap();
        moved.disarm();
        assert_eq!(wheel.advance(at(2_011)), NEVER);
        assert_eq!((fired(), moved.fired()), (EACH * 3 - 1, None));
    }

    #[test]
    fn who_rests_longest_goes_first_and_who_does_not_rest_stays() {
        let wheel = Wheel::new(at(0));
        let all: Vec<Deadline> = (0..600).map(|_| wheel.enter(NOBODY)).collect();
        let order: Vec<usize> = (0..600).map(|nth| nth * 7 % 600).collect();
        for (nth, place) in (0..).zip(&order) {
            all[*place].arm(at(1_000 + nth), Why::Idle, Cut::Read);
        }
        all[order[0]].arm(at(9_000), Why::Idle, Cut::Read); // back from a request
        all[order[1]].arm(at(1_001), Why::Client, Cut::Read); // in the middle of one
        let expected = order[2..].iter().chain(&order[..1]);
        for place in expected {
            assert!(wheel.evict(at(500)));
            assert_eq!(all[*place].fired(), Some(Why::Evicted));
        }
        assert!(!wheel.evict(at(500)), "nobody rests");
        let late = wheel.enter(NOBODY);
        late.arm(at(9_000), Why::Idle, Cut::Read);
        assert!(!wheel.evict(at(501)), "it is not looked again so soon");
        assert!(wheel.evict(at(600)));
    }

    #[test]
    fn rests_can_be_cut_short_from_the_oldest_on() {
        let wheel = Wheel::new(at(0));
        let [old, young, busy] = [5_000, 6_000, 5_000].map(|due| {
            let deadline = wheel.enter(NOBODY);
            deadline.arm(at(due), Why::Idle, Cut::Read);
            deadline
        });
        busy.disarm();
        wheel.cut_resting(at(5_500));
        assert_eq!([old, young, busy].map(|it| it.fired()), [Some(Why::Idle), None, None]);
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

    /// Reads a part every 600 ms, so often; returns when it was cut, and why.
    fn taking(parts: u64, silence: u64, limit: Option<u64>) -> (u64, Why) {
        let wheel = Wheel::new(at(0));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (deadline, silence) = (wheel.enter(ours.as_raw_fd()), Duration::from_millis(silence));
        // A part that is read whole leaves the queue.
        (0..8).for_each(|_| (&ours).write_all(&[0; 1000]).unwrap());
        deadline.arm_for(Watched(NOBODY), at(0), Some(silence), limit.map(at));
        for now in 1..20_000 {
            if now % 600 == 0 && now / 600 <= parts {
                theirs.read_exact(&mut [0; 1000]).unwrap();
            }
            wheel.advance(at(now));
            if let Some(why) = deadline.fired() {
                return (now, why);
            }
        }
        panic!("it is never cut");
    }

    #[test]
    fn who_takes_what_it_was_sent_is_not_silent_until_it_stops_or_the_limit_comes() {
        assert_eq!(taking(0, 1000, None), (1000, Why::Silent));
        assert_eq!(taking(0, 30, None), (30, Why::Silent));
        for parts in 1..=8 {
            let (cut, why) = taking(parts, 1000, None);
            let last = parts * 600;
            assert!((last + 1000..=last + 1000 + 250).contains(&cut), "{parts}: {cut}");
            assert_eq!(why, Why::Silent);
        }
        assert_eq!(taking(8, 1000, Some(2345)), (2345, Why::Exchange));
        assert_eq!(taking(0, 1000, Some(999)), (999, Why::Exchange));
    }

    #[test]
    fn a_wait_ends_early_when_its_client_resets_and_not_when_it_only_stops_sending() {
        let wheel = Wheel::new(at(0));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for resets in [false, true] {
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (ours, _) = listener.accept().unwrap();
            let waits = wheel.enter(-1);
            let now = at(wheel.inner.borrow().elapsed());
            let silence = Some(Duration::from_secs(3));
            waits.arm_for(Watched(ours.as_raw_fd()), now, silence, None);
            client.shutdown(std::net::Shutdown::Write).unwrap();
            wheel.advance(now.after(Duration::from_millis(2_999)));
            assert_eq!(waits.fired(), None, "an end of sending is no abort");
            if resets {
                socket2::Socket::from(client).set_linger(Some(Duration::ZERO)).unwrap();
                waits.arm_for(Watched(ours.as_raw_fd()), now, None, None);
                wheel.advance(now.after(Duration::from_millis(3_300)));
                assert_eq!(waits.fired(), Some(Why::Abandoned));
            } else {
                wheel.advance(now.after(Duration::from_secs(3)));
                assert_eq!(waits.fired(), Some(Why::Silent));
            }
        }
    }
}
