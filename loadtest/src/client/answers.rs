//! Answers on their way in: judged, counted, and what becomes of their connection.

use std::io;

use super::Thread;
use super::connection::{Asked, find};
use crate::clock::{self, MILLI, Nanos};
use crate::load::{Connections, Pace, Seen, Trace};
use crate::message::{Malformed, Message};
use crate::ring::{End, Event, Id, Lent};
use crate::tally::{Failure, Kind};

/// A connection that failed is opened again after so long.
const REST: Nanos = 10 * MILLI;

impl Thread<'_> {
    pub(super) fn settle(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Connected(id) => self.connected(id),
            Event::Received(id, lent) => self.received(id, lent)?,
            Event::Ended(id, end) => self.ended(id, end),
            Event::Accepted(_) | Event::Sent(_) => {}
        }
        Ok(())
    }

    fn received(&mut self, id: Id, lent: Lent) -> io::Result<()> {
        let Some(connection) = find(&mut self.connections, id) else {
            self.ring.take(lent, |_| ());
            return Ok(());
        };
        let (reader, expect) = (&mut connection.reader, &self.load.expect);
        let mut answers = std::mem::take(&mut self.answers);
        let read = self.ring.take(lent, |mut bytes| -> Result<(), Malformed> {
            while let Some(message) = reader.read(&mut bytes)? {
                let verdict = expect.judge(&message, reader.body());
                answers.push((message, verdict));
            }
            Ok(())
        });
        let now = clock::now();
        for (message, verdict) in answers.drain(..) {
            self.answered(id, &message, verdict, now)?;
        }
        self.answers = answers;
        if read.is_err() {
            self.drop_connection(id, Failure::Malformed, now);
        }
        Ok(())
    }

    fn answered(
        &mut self,
        id: Id,
        message: &Message,
        verdict: Result<Kind, Failure>,
        now: Nanos,
    ) -> io::Result<()> {
        let Some(connection) = find(&mut self.connections, id) else { return Ok(()) };
        let Some(asked) = connection.asked.pop_front() else {
            self.drop_connection(id, Failure::Malformed, now); // an answer to nothing
            return Ok(());
        };
        connection.free_since = now;
        self.count(asked, message, verdict, now);
        let is_fresh = matches!(self.load.connections, Connections::Fresh(_));
        if is_fresh || !message.goes_on {
            self.tally.ended += u64::from(!is_fresh && asked.planned >= self.began);
            self.drop_connection(id, Failure::Closed, now);
        } else if self.load.pace == Pace::Closed && now < self.end {
            self.ask(id, now, now)?;
        } else {
            self.free.push_back(id);
        }
        Ok(())
    }

    fn count(
        &mut self,
        asked: Asked,
        message: &Message,
        verdict: Result<Kind, Failure>,
        now: Nanos,
    ) {
        if asked.planned < self.began {
            return; // warming up
        }
        let latency = now.saturating_sub(asked.planned);
        match verdict {
            Ok(kind) => self.tally.answer(kind, message.status, latency),
            Err(failure) => self.tally.failure(failure, latency),
        }
        self.tally.service.record(now.saturating_sub(asked.sent)).unwrap_or_default();
        self.tally.bytes += message.length;
        self.tally.in_time += u64::from(now <= self.end);
        self.remember(asked, message.status, now);
    }

    pub(super) fn fail(&mut self, asked: Asked, failure: Failure, now: Nanos) {
        if asked.planned >= self.began {
            self.tally.failure(failure, now.saturating_sub(asked.planned));
            self.remember(asked, 0, now);
        }
    }

    fn remember(&mut self, asked: Asked, status: u16, done: Nanos) {
        if self.load.trace == Trace::Remember {
            self.seen.push(Seen { planned: asked.planned, sent: asked.sent, done, status });
        }
    }

    /// The peer or the network ended a connection.
    fn ended(&mut self, id: Id, end: End) {
        let now = clock::now();
        let Some(connection) = find(&mut self.connections, id) else { return };
        if let Some(message) = connection.reader.end()
            && let Some(asked) = connection.asked.pop_front()
        {
            let verdict = self.load.expect.judge(&message, connection.reader.body());
            self.count(asked, &message, verdict, now);
        } else if now >= self.began {
            self.tally.ended += 1;
        }
        let failure = match end {
            _ if !find(&mut self.connections, id).is_some_and(|it| it.stands) => Failure::Connect,
            End::Reset => Failure::Reset,
            _ => Failure::Closed,
        };
        self.drop_connection(id, failure, now);
    }

    /// Ends a connection of ours; what is under way on it has failed, and another takes its place.
    pub(super) fn drop_connection(&mut self, id: Id, failure: Failure, now: Nanos) {
        let Some(place) = self.connections.get_mut(id.at()) else { return };
        let Some(connection) = place.take_if(|it| it.id == id) else { return };
        self.ring.close(id);
        let is_sound = connection.stands && connection.asked.is_empty();
        for asked in connection.asked {
            self.fail(asked, failure, now);
        }
        if let (Connections::Fresh(_), true) = (self.load.connections, is_sound) {
            self.make_room(now);
        } else {
            self.resting.push_back(if is_sound { now } else { now + REST });
        }
    }
}
