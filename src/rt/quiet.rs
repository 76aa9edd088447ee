//! Reads that are called off when nothing comes for a while.
//!
//! Enters: reads, as they begin. Leaves: those that have waited for [`TURNS`] turns or more, called
//! off with their buffers and nothing lost: what has arrived is delivered, what has not is still to
//! come. Owns the reads by generations, so that a connection owns nothing for it and a busy one is
//! not touched. Each read is an operation to cancel and a connection to turn, for which all others
//! wait: so those that begin together are dealt out, and leave in as many turns.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::{Cell, RefCell};

use monoio::io::{CancelHandle, Canceller};

/// Turns over which reads that begin together are dealt out. A read waits for at least so many, and
/// for at most twice as many.
pub const TURNS: u32 = 16;

/// Generations that are waited for at one time.
const AGES: u32 = 2 * TURNS;

// Their numbers begin anew some day.
const _: () = assert!(AGES.is_power_of_two());

/// A generation that was larger than this does not keep its list for the next one: a list of that
/// size is a burst's.
const KEPT: u32 = 64;

/// Reads that may wait with their buffers at one time, whatever comes: a bound on the memory that
/// busy connections keep when they fall silent.
const BUSY_MAX: u32 = 512;

/// The reads of one core that may be called off.
#[derive(Default)]
pub(super) struct Quiet {
    /// By their number, in a circle.
    generations: [Generation; AGES as usize],
    /// The number of the youngest that reads begin in.
    young: Cell<u32>,
    /// How many reads have begun: dealt out by it.
    dealt: Cell<u32>,
    /// Reads of busy connections, which are not called off.
    busy: Cell<u32>,
}

#[derive(Default)]
struct Generation {
    canceller: RefCell<Canceller>,
    waiting: Cell<u32>,
    /// The most that have waited at one time: its list has the room.
    most: Cell<u32>,
}

/// The place of one read that is not called off.
pub(super) struct Busy<'a>(&'a Quiet);

/// The part of one read in its generation.
pub(super) struct Waiting<'a> {
    quiet: &'a Quiet,
    number: u32,
}

impl Quiet {
    /// A read begins.
    pub(super) fn begin(&self) -> (Waiting<'_>, CancelHandle) {
        let dealt = self.dealt.get();
        self.dealt.set(dealt.wrapping_add(1));
        let number = self.young.get().wrapping_sub(dealt % TURNS);
        let generation = self.at(number);
        let waiting = generation.waiting.get() + 1;
        generation.waiting.set(waiting);
        generation.most.set(generation.most.get().max(waiting));
        (Waiting { quiet: self, number }, generation.canceller.borrow().handle())
    }

    /// A read of a busy connection begins; `None`: there are enough of them.
    pub(super) fn busy(&self) -> Option<Busy<'_>> {
        let busy = self.busy.get();
        (busy < BUSY_MAX).then(|| {
            self.busy.set(busy + 1);
            Busy(self)
        })
    }

    /// Whether there is a read to call off some day.
    pub(super) fn is_awaited(&self) -> bool {
        self.generations.iter().any(|generation| generation.waiting.get() > 0)
    }

    /// Ends a turn: calls off the oldest generation; returns how many those were.
    pub(super) fn turn(&self) -> u32 {
        let next = self.young.get().wrapping_add(1);
        let old = self.at(next);
        let (waiting, most) = (old.waiting.take(), old.most.take());
        if waiting > 0 || most > KEPT {
            let emptied = old.canceller.take().cancel();
            if most <= KEPT {
                old.canceller.replace(emptied);
            }
        }
        self.young.set(next);
        waiting
    }

    fn at(&self, number: u32) -> &Generation {
        let [first, ..] = &self.generations;
        self.generations.get((number % AGES) as usize).unwrap_or(first)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get().saturating_sub(1));
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // One that was called off was counted out with its generation.
        if self.quiet.young.get().wrapping_sub(self.number) < AGES {
            let waiting = &self.quiet.at(self.number).waiting;
            waiting.set(waiting.get().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::io::Write;
    use std::net::TcpListener;
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use super::super::buffer::{Buf, Class};
    use super::super::deadline::Wheel;
    use super::super::driver::{self, Choice, Loop, Tier};
    use super::super::stream::{Heard, Stream};
    use super::*;
    use crate::clock;

    #[test]
    fn busy_reads_are_so_many_and_no_more_until_one_ends() {
        let quiet = Quiet::default();
        let mut places: Vec<_> = (0..BUSY_MAX).map_while(|_| quiet.busy()).collect();
        assert_eq!(places.len(), BUSY_MAX as usize);
        assert!(quiet.busy().is_none());
        places.pop();
        assert!(quiet.busy().is_some());
    }

    #[test]
    fn reads_that_begin_together_leave_in_equal_turns_after_as_many() {
        let quiet = Quiet::default();
        quiet.young.set(u32::MAX - AGES);
        for each in [KEPT / 2, KEPT, 1] {
            let mut all: Vec<_> = (0..TURNS * each * 2).map(|_| quiet.begin().0).collect();
            // The others have heard something meanwhile.
            all.truncate((TURNS * each) as usize);
            for turn in 1..=AGES {
                assert!(quiet.is_awaited());
                assert_eq!(quiet.turn(), if turn > TURNS { each } else { 0 });
            }
            assert!(!quiet.is_awaited());
            let young = quiet.begin();
            // Those that end after they were called off are no longer counted.
            drop(all);
            assert!(quiet.is_awaited());
            drop(young);
            assert!(!quiet.is_awaited());
        }
    }

    #[test]
    fn a_read_that_is_called_off_loses_nothing_on_every_driver() {
        for choice in [Choice::Ring, Choice::Epoll] {
            let core = std::thread::spawn(move || {
                Loop::build(choice, Tier::Defer).unwrap().run(call_one_off());
            });
            core.join().unwrap();
        }
    }

    async fn call_one_off() {
        let wheel = Wheel::new(clock::now());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = Stream::connect(address, None, &wheel).await.unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let mut reading = pin!(stream.read_unless_quiet(Buf::new(Class::Small)));
        for turn in 1..=AGES {
            let looked = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
            assert!(looked.is_pending(), "called off by turn {turn}");
            assert_eq!(wheel.call_off_quiet(), u32::from(turn == AGES));
            driver::sleep(Duration::from_millis(1)).await;
        }
        let (heard, buf) = reading.await;
        assert_eq!(heard, Heard::Quiet);
        theirs.write_all(b"late").unwrap();
        let (heard, buf) = stream.read_unless_quiet(buf).await;
        assert_eq!((heard, buf.filled()), (Heard::Bytes, &b"late"[..]));
    }
}
