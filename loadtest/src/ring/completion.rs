//! What comes back from the kernel: completions → events.

use std::io;

use io_uring::cqueue;

use super::pool::Lent;
use super::slot::{Flight, Kind, Step, adopt_fd, end_of, read_token};
use super::{End, Event, Id, Ring};

impl Ring {
    /// What a completion means, if it means anything to who owns the ring.
    pub(super) fn settle(&mut self, done: &cqueue::Entry) -> io::Result<Option<Event>> {
        let (step, at) = read_token(done.user_data());
        let (result, flags) = (done.result(), done.flags());
        let lent = cqueue::buffer_select(flags)
            .map(|number| self.pool.lend(number, usize::try_from(result).unwrap_or(0)));
        let Some(slot) = self.slots.get_mut(at as usize) else { return Ok(None) };
        let id = Id { slot: at, age: slot.age };
        if step == Step::Send {
            slot.sending = Flight::Landed;
        } else {
            slot.standing = if cqueue::more(flags) { Flight::UnderWay } else { Flight::Landed };
        }
        if slot.closing {
            if let Some(lent) = lent {
                self.pool.give_back(lent);
            }
            if let (Step::Accept, Ok(fd)) = (step, u32::try_from(result)) {
                drop(adopt_fd(fd));
            }
            self.release(at);
            return Ok(None);
        }
        match step {
            Step::Accept => self.accepted(at, result),
            Step::Connect if result < 0 => Ok(Some(self.ended(id, end_of(result)))),
            Step::Connect => {
                self.stand(at, Step::Receive)?;
                Ok(Some(Event::Connected(id)))
            }
            Step::Receive => self.received(id, result, lent),
            Step::Send => self.sent(id, result),
        }
    }

    fn accepted(&mut self, at: u32, result: i32) -> io::Result<Option<Event>> {
        if self.slots.get(at as usize).is_some_and(|slot| slot.standing == Flight::Landed) {
            self.stand(at, Step::Accept)?;
        }
        let Ok(fd) = u32::try_from(result) else { return Ok(None) };
        let id = self.adopt(adopt_fd(fd), Kind::Stream);
        self.stand(id.slot, Step::Receive)?;
        Ok(Some(Event::Accepted(id)))
    }

    fn received(&mut self, id: Id, result: i32, lent: Option<Lent>) -> io::Result<Option<Event>> {
        let standing =
            self.slots.get(id.at()).is_some_and(|slot| slot.standing == Flight::UnderWay);
        if result == -libc::ENOBUFS {
            self.starving.push(id.slot);
            return Ok(None);
        }
        if result > 0 {
            if !standing {
                self.stand(id.slot, Step::Receive)?;
            }
            return Ok(lent.map(|lent| Event::Received(id, lent)));
        }
        if let Some(lent) = lent {
            self.pool.give_back(lent);
        }
        let end = if result == 0 { End::Closed } else { end_of(result) };
        Ok(Some(self.ended(id, end)))
    }

    fn sent(&mut self, id: Id, result: i32) -> io::Result<Option<Event>> {
        let Some(slot) = self.slots.get_mut(id.at()) else { return Ok(None) };
        let Ok(count) = usize::try_from(result) else {
            // The peer's last words, if any, and the end come by the standing receive.
            let queue = std::mem::take(&mut slot.queue);
            queue.into_iter().for_each(|piece| self.give_back(piece.bytes));
            return Ok(None);
        };
        let mut done = None;
        if let Some(piece) = slot.queue.front_mut() {
            piece.sent += count;
            if piece.sent >= self.pool.of(&piece.bytes).len() {
                done = slot.queue.pop_front();
            }
        }
        let is_empty = slot.queue.is_empty();
        if let Some(piece) = done {
            self.give_back(piece.bytes);
        }
        if is_empty {
            return Ok(Some(Event::Sent(id)));
        }
        self.push_send(id.slot)?;
        Ok(None)
    }

    fn ended(&mut self, id: Id, end: End) -> Event {
        self.end(id.slot);
        Event::Ended(id, end)
    }
}
