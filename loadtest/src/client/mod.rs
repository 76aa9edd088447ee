//! One thread of clients: many connections, one ring, one schedule.
//!
//! Enters: a plan. Leaves: what was counted in each interval, and at the end what the thread used.
//! A request's latency runs from its planned start to the last byte of its answer; one that finds
//! every connection busy waits for the first that is free, and its latency with it.

mod answers;
mod connection;
mod requests;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use connection::{Asked, Connection};

use crate::clock::{self, MILLI, Nanos};
use crate::interrupt;
use crate::load::{Connections, Load, Sample, Seen, Start};
use crate::message::Message;
use crate::own::{Meter, Used};
use crate::ring::{Id, Ring};
use crate::schedule::Schedule;
use crate::tally::{Failure, Kind, Tally};

/// The ring is left at least so often, for what time alone brings.
const TURN_MAX: Nanos = 10 * MILLI;

/// How long after the end answers are waited for, at most.
const GRACE_MAX: Nanos = 5 * clock::SECOND;

/// What a thread leaves.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) used: Used,
    pub(crate) seen: Vec<Seen>,
    /// When no more requests were planned.
    pub(crate) at: Nanos,
}

struct Thread<'l> {
    load: &'l Load,
    start: Start,
    ring: Ring,
    request: Rc<[u8]>,
    connections: Vec<Option<Connection>>,
    /// Those that can take a request, the longest waiting first. May hold ended ones.
    free: VecDeque<Id>,
    /// When to open another connection.
    resting: VecDeque<Nanos>,
    /// How many exist or are resting; for fresh ones, how many requests are under way.
    open: usize,
    most: usize,
    /// Since when there is room for another fresh one.
    room_since: Nanos,
    schedule: Schedule,
    began: Nanos,
    end: Nanos,
    tally: Tally,
    interval: u64,
    seen: Vec<Seen>,
    looked: Nanos,
    /// Of one buffer; empty between them.
    answers: Vec<(Message, Result<Kind, Failure>)>,
}

/// Runs `load` on this thread, which is the `start.nth`.
pub(crate) fn run(load: &Load, start: Start) -> Result<Ended, String> {
    let (ready, began) = (start.ready.clone(), start.began.clone());
    let stop = start.stop.clone();
    let opened = Thread::open(load, start);
    ready.wait();
    ready.wait();
    let outcome = opened.and_then(|mut thread| {
        thread.begin(began.load(Ordering::SeqCst));
        let meter = Meter::start();
        thread.go().map_err(|error| format!("the ring failed: {error}"))?;
        let Thread { seen, end, .. } = thread;
        Ok(Ended { used: meter.stop(), seen, at: end })
    });
    if outcome.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    outcome
}

impl Thread<'_> {
    /// Plans the requests: counting begins at `began`, and asking before it to warm up.
    fn begin(&mut self, began: Nanos) {
        let from = began.saturating_sub(clock::nanos(self.load.warm_up));
        self.began = began;
        self.end = began + clock::nanos(self.load.duration);
        let (pace, threads) = (self.load.pace, self.load.threads);
        self.schedule = Schedule::new(pace, self.start.nth, threads, from, self.end);
        let now = clock::now();
        for connection in self.connections.iter_mut().flatten() {
            connection.free_since = now;
        }
        self.room_since = now;
        self.tally.opened = 0;
    }

    fn go(&mut self) -> io::Result<()> {
        loop {
            let now = clock::now();
            self.flush(now);
            if self.end > now && (self.start.stop.load(Ordering::Relaxed) || interrupt::is_raised())
            {
                self.end = now;
                self.schedule.end_at(now);
            }
            self.look(now)?;
            if self.is_over(now) {
                break;
            }
            self.launch(now)?;
            self.ring.wait(self.pause(clock::now()))?;
            while let Some(event) = self.ring.next()? {
                self.settle(event)?;
            }
        }
        self.close();
        Ok(())
    }

    /// Counts what was due and never sent, and hands in the last interval.
    fn close(&mut self) {
        let now = clock::now();
        for planned in self.schedule.overdue(now) {
            self.fail(Asked { planned, sent: now }, Failure::Unsent, now);
        }
        for at in 0..self.connections.len() {
            if let Some(connection) = self.connections.get_mut(at).and_then(Option::take) {
                self.ring.close(connection.id);
                for asked in connection.asked {
                    self.fail(asked, Failure::TimedOut, now);
                }
            }
        }
        self.hand_in(self.interval);
    }

    fn is_over(&self, now: Nanos) -> bool {
        let grace = clock::nanos(self.load.timeout).min(GRACE_MAX);
        let busy = || self.connections.iter().flatten().any(|it| !it.asked.is_empty());
        now >= self.end
            && (now >= self.end + grace || (!busy() && self.schedule.peek(now).is_none()))
    }

    /// How long nothing is to be done but wait for answers.
    fn pause(&self, now: Nanos) -> Duration {
        let mut until = now + TURN_MAX;
        if !self.free.is_empty() || self.may_open() {
            until = until.min(self.schedule.peek(now).unwrap_or(Nanos::MAX));
        }
        Duration::from_nanos(until.saturating_sub(now))
    }

    fn may_open(&self) -> bool {
        matches!(self.load.connections, Connections::Fresh(_)) && self.open < self.most
    }

    /// One connection less.
    fn make_room(&mut self, now: Nanos) {
        if self.open == self.most {
            self.room_since = now;
        }
        self.open -= 1;
    }

    /// Opens connections that have rested, and fails what has waited too long.
    fn look(&mut self, now: Nanos) -> io::Result<()> {
        while self.resting.front().is_some_and(|until| *until <= now) {
            self.resting.pop_front();
            self.make_room(now);
            if let Connections::Kept(_) = self.load.connections {
                self.connect(None)?;
            }
        }
        if now < self.looked + 100 * MILLI {
            return Ok(());
        }
        self.looked = now;
        let limit = clock::nanos(self.load.timeout);
        let is_late =
            |it: &&Connection| it.asked.front().is_some_and(|asked| asked.sent + limit < now);
        let late: Vec<_> = self.connections.iter().flatten().filter(is_late).collect();
        let late: Vec<_> = late.into_iter().map(|it| it.id).collect();
        for id in late {
            self.drop_connection(id, Failure::TimedOut, now);
        }
        Ok(())
    }

    /// Hands in every interval that is over.
    fn flush(&mut self, now: Nanos) {
        let current = now.saturating_sub(self.began) / self.start.interval;
        while self.interval < current {
            self.hand_in(self.interval);
            self.interval += 1;
        }
    }

    fn hand_in(&mut self, interval: u64) {
        let tally = std::mem::replace(&mut self.tally, Tally::new());
        // Nobody listens when the load was given up.
        self.start.samples.send(Sample { interval, tally }).unwrap_or_default();
    }
}
