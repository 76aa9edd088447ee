//! Requests on their way out: opening connections, and sending what is due.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Thread;
use super::connection::{Asked, Connection, find};
use crate::clock::{self, Nanos};
use crate::load::{Connections, Load, Pace, Start};
use crate::message::{Body, Reader, Side};
use crate::ring::{Event, Id, Ring};
use crate::schedule::Schedule;
use crate::tally::Tally;

/// How long all connections may take to stand.
const OPENING_MAX: Nanos = 10 * clock::SECOND;

impl<'l> Thread<'l> {
    /// Opens the connections that are kept.
    pub(super) fn open(load: &'l Load, start: Start) -> Result<Self, String> {
        let ring = Ring::new().map_err(|error| error.to_string())?;
        let count = load.connections.count();
        let most = count / load.threads + usize::from(start.nth < count % load.threads);
        let now = clock::now();
        let mut thread = Self {
            load,
            ring,
            request: load.request.bytes.as_slice().into(),
            connections: Vec::new(),
            free: VecDeque::new(),
            resting: VecDeque::new(),
            open: 0,
            most: most.max(1),
            room_since: now,
            schedule: Schedule::new(Pace::Closed, 0, 1, 0, 0),
            began: now,
            end: now,
            tally: Tally::new(),
            interval: 0,
            seen: Vec::new(),
            looked: now,
            answers: Vec::new(),
            start,
        };
        if let Connections::Kept(_) = load.connections {
            thread.open_all(now + OPENING_MAX)?;
        }
        Ok(thread)
    }

    fn open_all(&mut self, by: Nanos) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display, load: &Load| {
            format!("cannot connect to {}: {error}", load.address)
        };
        while self.open < self.most {
            self.connect(None).map_err(|error| failed(&error, self.load))?;
        }
        while self.free.len() < self.most {
            if clock::now() > by {
                return Err(failed(&"it takes too long", self.load));
            }
            self.ring.wait(Duration::from_millis(10)).map_err(|error| error.to_string())?;
            while let Some(event) = self.ring.next().map_err(|error| error.to_string())? {
                match event {
                    Event::Connected(id) => self.connected(id),
                    Event::Ended(_, end) => {
                        return Err(failed(&format!("{end:?}").to_lowercase(), self.load));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Starts every request that is due and finds a connection.
    pub(super) fn launch(&mut self, now: Nanos) -> io::Result<()> {
        while let Some(planned) = self.schedule.peek(now).filter(|planned| *planned <= now) {
            if planned < self.began && now >= self.began {
                // Left from warming up: it would only delay what counts.
            } else if self.may_open() {
                self.connect(Some(Asked { planned, sent: now }))?;
                self.tally
                    .lag
                    .record(now.saturating_sub(planned.max(self.room_since)))
                    .unwrap_or_default();
            } else if let Some(id) = self.free.pop_front() {
                if !self.ask(id, planned, now)? {
                    continue; // it has ended meanwhile
                }
            } else {
                break;
            }
            self.schedule.advance();
        }
        Ok(())
    }

    pub(super) fn connect(&mut self, first: Option<Asked>) -> io::Result<()> {
        let id = self.ring.connect(self.load.address)?;
        self.open += 1;
        self.tally.opened += 1;
        let keep = !self.load.expect.bodies.is_empty();
        let body = if keep { Body::Keep(Vec::new()) } else { Body::Count };
        let connection = Connection {
            id,
            reader: Reader::new(Side::Answers, body),
            asked: first.into_iter().collect(),
            stands: false,
            free_since: 0,
        };
        if self.connections.len() <= id.at() {
            self.connections.resize_with(id.at() + 1, || None);
        }
        if let Some(place) = self.connections.get_mut(id.at()) {
            *place = Some(connection);
        }
        Ok(())
    }

    pub(super) fn connected(&mut self, id: Id) {
        let now = clock::now();
        let Some(connection) = find(&mut self.connections, id) else { return };
        connection.stands = true;
        connection.free_since = now;
        if connection.asked.is_empty() {
            let depth = self.load.depth.max(1);
            self.free.extend(std::iter::repeat_n(id, depth));
        } else {
            let bytes = self.bytes(now);
            self.ring.send(id, bytes).unwrap_or_default();
        }
    }

    /// Sends a request; false when the connection is gone.
    pub(super) fn ask(&mut self, id: Id, planned: Nanos, now: Nanos) -> io::Result<bool> {
        let Some(connection) = find(&mut self.connections, id) else { return Ok(false) };
        connection.asked.push_back(Asked { planned, sent: now });
        let lag = now.saturating_sub(planned.max(connection.free_since));
        self.tally.lag.record(lag).unwrap_or_default();
        let bytes = self.bytes(now);
        self.ring.send(id, bytes)?;
        Ok(true)
    }

    fn bytes(&self, now: Nanos) -> Rc<[u8]> {
        let Some(at) = self.load.request.stamp else { return Rc::clone(&self.request) };
        let mut bytes = self.load.request.bytes.clone();
        if let Some(place) = bytes.get_mut(at..at + 20) {
            place.copy_from_slice(format!("{now:020}").as_bytes());
        }
        bytes.into()
    }
}
