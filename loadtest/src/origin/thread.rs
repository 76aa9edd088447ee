//! One thread of an origin.
//!
//! Enters: requests. Leaves: their answers, each when it is due. What is due later waits in its
//! connection's queue, so that answers keep the order of their requests.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::script::{Fate, Trickle};
use super::{Hit, Shared, Spec};
use crate::clock::{self, MILLI, Nanos};
use crate::dice::Dice;
use crate::load::Trace;
use crate::message::{Body, Message, Reader, Side};
use crate::ring::{Event, Id, Lent, Ring};

/// The ring is left at least so often, to see whether the origin is to stop.
const TURN_MAX: Nanos = 10 * MILLI;

struct Connection {
    id: Id,
    reader: Reader,
    queue: VecDeque<Piece>,
    /// The client wants it closed after the last answer.
    goes_on: bool,
}

/// Bytes that are due at a moment.
struct Piece {
    due: Nanos,
    bytes: Rc<[u8]>,
}

struct Thread<'s> {
    spec: &'s Spec,
    shared: &'s Shared,
    ring: Ring,
    replies: Vec<(&'s str, Rc<[u8]>)>,
    sick: Rc<[u8]>,
    connections: Vec<Option<Connection>>,
    timers: BinaryHeap<Reverse<(Nanos, usize)>>,
    dice: Dice,
    hits: Vec<Hit>,
    requests: u64,
    messages: Vec<Message>,
}

/// Serves until it is told to stop; `ready` hears when it can.
pub(super) fn run(
    spec: &Spec,
    nth: usize,
    shared: &Shared,
    listener: TcpListener,
    ready: &Sender<io::Result<()>>,
) -> io::Result<Vec<Hit>> {
    let mut ring = Ring::new()?;
    ring.listen(listener)?;
    let reply = |it: &(String, Vec<u8>)| answer("200 OK", &it.1);
    let replies = spec.replies.iter().map(|it| (it.0.as_str(), reply(it))).collect();
    let mut thread = Thread {
        spec,
        shared,
        ring,
        replies,
        sick: answer("500 Internal Server Error", b"sick"),
        connections: Vec::new(),
        timers: BinaryHeap::new(),
        dice: Dice::new(nth as u64),
        hits: Vec::new(),
        requests: 0,
        messages: Vec::new(),
    };
    ready.send(Ok(())).unwrap_or_default();
    thread.serve()?;
    Ok(thread.hits)
}

/// An answer with `body`.
fn answer(status: &str, body: &[u8]) -> Rc<[u8]> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

impl Thread<'_> {
    fn serve(&mut self) -> io::Result<()> {
        while !self.shared.stop.load(Ordering::Acquire) {
            let now = clock::now();
            let due = self.timers.peek().map_or(Nanos::MAX, |Reverse((due, _))| *due);
            let pause = due.saturating_sub(now).min(TURN_MAX);
            self.ring.wait(Duration::from_nanos(pause))?;
            while let Some(event) = self.ring.next()? {
                match event {
                    Event::Accepted(id) => self.accepted(id),
                    Event::Received(id, lent) => self.received(id, lent)?,
                    Event::Sent(id) => self.sent(id),
                    Event::Ended(id, _) => self.forget(id),
                    Event::Connected(_) => {}
                }
            }
            self.fire(clock::now())?;
            self.shared.requests.fetch_add(std::mem::take(&mut self.requests), Ordering::Relaxed);
        }
        Ok(())
    }

    fn accepted(&mut self, id: Id) {
        if self.connections.len() <= id.at() {
            self.connections.resize_with(id.at() + 1, || None);
        }
        let reader = Reader::new(Side::Requests, Body::Digest);
        if let Some(place) = self.connections.get_mut(id.at()) {
            *place = Some(Connection { id, reader, queue: VecDeque::new(), goes_on: true });
        }
    }

    fn received(&mut self, id: Id, lent: Lent) -> io::Result<()> {
        let Some(connection) = find(&mut self.connections, id) else {
            self.ring.take(lent, |_| ());
            return Ok(());
        };
        let (reader, mut messages) = (&mut connection.reader, std::mem::take(&mut self.messages));
        let read = self.ring.take(lent, |mut bytes| {
            while let Some(message) = reader.read(&mut bytes)? {
                messages.push(message);
            }
            Ok::<(), crate::message::Malformed>(())
        });
        let now = clock::now();
        for message in messages.drain(..) {
            self.request(id, &message, now)?;
        }
        self.messages = messages;
        if read.is_err() {
            self.forget(id);
            self.ring.close(id);
        }
        Ok(())
    }

    /// Answers a request, now or later, or resets its connection.
    fn request(&mut self, id: Id, message: &Message, now: Nanos) -> io::Result<()> {
        self.requests += 1;
        let began = self.shared.began.load(Ordering::Acquire);
        let (fault, until) = match now.checked_sub(began) {
            Some(since) => self.spec.script.at(since),
            None => (None, Nanos::MAX),
        };
        let (mut due, mut fate, mut trickle) = (now, Fate::Answer, None);
        if let Some(fault) = fault {
            due += fault.delay.roll(&mut self.dice);
            if fault.stall == super::script::Stall::Keeps {
                due = due.max(began.saturating_add(until));
            }
            fate = fault.fate(&mut self.dice);
            trickle = fault.trickle;
        }
        if self.spec.trace == Trace::Remember {
            self.hits.push(Hit { sent: message.stamp, arrived: now, answered: due, fate });
        }
        let bytes = match fate {
            Fate::Answer => self.reply(message),
            Fate::Fail => Rc::clone(&self.sick),
            Fate::Reset => {
                self.forget(id);
                self.ring.reset(id);
                return Ok(());
            }
        };
        let Some(connection) = find(&mut self.connections, id) else { return Ok(()) };
        connection.goes_on = message.goes_on;
        if due <= now && connection.queue.is_empty() && trickle.is_none() {
            return self.ring.send(id, bytes);
        }
        for piece in pieces(bytes, due, trickle) {
            self.timers.push(Reverse((piece.due, id.at())));
            connection.queue.push_back(piece);
        }
        Ok(())
    }

    /// What was prepared for the path; otherwise the origin's name, the path, and of a body that
    /// came its length and digest.
    fn reply(&self, message: &Message) -> Rc<[u8]> {
        let path = message.path.split('?').next().unwrap_or_default();
        if let Some((_, bytes)) = self.replies.iter().find(|(known, _)| *known == path) {
            return Rc::clone(bytes);
        }
        let (name, length) = (&self.spec.name, message.length);
        let body = match length {
            0 => Spec::echo(name, path),
            _ => Spec::echo_to(name, path, length, message.digest),
        };
        answer("200 OK", body.as_bytes())
    }

    /// Sends what has become due.
    fn fire(&mut self, now: Nanos) -> io::Result<()> {
        while let Some(Reverse((due, at))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            let place = self.connections.get_mut(at).and_then(Option::as_mut);
            let Some(connection) = place else { continue };
            while connection.queue.front().is_some_and(|piece| piece.due <= now) {
                if let Some(piece) = connection.queue.pop_front() {
                    self.ring.send(connection.id, piece.bytes)?;
                }
            }
        }
        Ok(())
    }

    fn sent(&mut self, id: Id) {
        let is_over = |it: &mut Connection| !it.goes_on && it.queue.is_empty();
        if find(&mut self.connections, id).is_some_and(is_over) {
            self.forget(id);
            self.ring.close(id);
        }
    }

    fn forget(&mut self, id: Id) {
        if let Some(place) = self.connections.get_mut(id.at()) {
            place.take_if(|connection| connection.id == id);
        }
    }
}

fn find(connections: &mut [Option<Connection>], id: Id) -> Option<&mut Connection> {
    connections.get_mut(id.at())?.as_mut().filter(|connection| connection.id == id)
}

/// `bytes` whole, or in pieces with a pause between them.
fn pieces(bytes: Rc<[u8]>, due: Nanos, trickle: Option<Trickle>) -> Vec<Piece> {
    let Some(trickle) = trickle else { return vec![Piece { due, bytes }] };
    let parts = bytes.chunks(trickle.bytes.max(1)).enumerate();
    parts
        .map(|(nth, part)| Piece {
            due: due + clock::nanos(trickle.pause) * nth as u64,
            bytes: part.into(),
        })
        .collect()
}
