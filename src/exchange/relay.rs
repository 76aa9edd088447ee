//! Moves a response to the client.
//!
//! Enters: a response's head, with what came behind it. Leaves: the same response, as this client
//! is to have it. The breaker's verdict is settled, and the connection parked, when the last byte
//! has been read, before it is sent: a client that has its answer finds everything moved already.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;

use super::Next;
use super::account::Account;
use super::client::Manner;
use super::fault::{Failure, Fault, Sent};
use super::means::{Means, Verdict};
use super::passing::{self, Keep, Trailers};
use super::patience::Patience;
use super::receive::Received;
use super::waiting::Waiting;
use crate::breaker::outcome::Ending;
use crate::clock::{self, Now};
use crate::http1::forwarding::Telling;
use crate::http1::framing::{Body, Fed, Framing};
use crate::http1::head::{Persist, Response, Version};
use crate::http1::rewrite::{self, BodyForm, Changes, Writer};
use crate::rt::buffer::{Buf, Class, Fit};
use crate::rt::deadline::Cut;
use crate::rt::stream::Stream;
use crate::upstream::Leased;

/// A response on its way.
pub(super) struct Relay<'a, 'v> {
    pub(super) means: &'v Means,
    pub(super) client: &'a Waiting<'a>,
    pub(super) manner: Manner,
    /// What the client is told of us.
    pub(super) telling: &'v Telling,
    pub(super) line: Line<'a>,
    pub(super) patience: Patience<'v>,
    /// The verdict owed to the route's breaker.
    pub(super) verdict: &'a mut Verdict<'v>,
    /// The verdict owed to the breaker of the attempt.
    pub(super) attempt: &'a mut Verdict<'v>,
    /// Whether the request has been sent whole.
    pub(super) request: &'a Cell<Progress>,
    /// Where it is noted what was sent.
    pub(super) account: &'a Account,
}

/// How far the sending of a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is being sent.
    Running,
    /// It was sent whole.
    Whole,
    /// It never will be, for the client's sake: the upstream was cut.
    Broken,
}

/// The connection that a response comes from.
pub(super) enum Line<'a> {
    /// This direction alone has it, and parks it as soon as it can.
    Own(Leased),
    /// The request's body is still being sent on it: whoever does that parks it.
    Shared(&'a Leased),
    /// It was parked.
    Gone,
}

/// Whether a connection can be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing is left of the response on it, and the upstream lets it go on.
    Clean,
    /// It is closed.
    Dirty,
}

/// A response that was relayed.
pub(super) struct Done {
    /// The status sent.
    pub(super) status: u16,
    /// What becomes of the client's connection.
    pub(super) next: Next,
    /// What became of the upstream's, as far as the response goes.
    pub(super) rest: Rest,
    /// When the response's last byte was there.
    pub(super) at: Now,
}

impl Line<'_> {
    pub(super) fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Own(leased) => leased.stream(),
            Self::Shared(leased) => leased.stream(),
            Self::Gone => None,
        }
    }
}

impl Relay<'_, '_> {
    /// Relays the response that begins with `received`.
    pub(super) async fn run(&mut self, received: Received) -> Result<Done, Failure> {
        let Received { head, mut buf, at } = received;
        let status = head.status;
        let sent = Sent::Head(status);
        let form = match (head.framing, self.manner.version) {
            (Framing::Chunked, Version::Http10) => BodyForm::Unchunked,
            _ => BodyForm::AsSent,
        };
        let open_ended = head.framing == Framing::UntilClose || form == BodyForm::Unchunked;
        // A drain may have begun since the request did.
        if open_ended || self.request.get() != Progress::Whole || self.means.is_draining() {
            self.manner.persist = Persist::Close;
        }
        let next = match self.manner.persist {
            Persist::Keep => Next::Again,
            Persist::Close => Next::Close,
        };
        let mut body = (Body::new(head.framing), Trailers::default());
        let mut state = self.open(&head, &mut body, &mut buf, form, at)?;
        if let (Some(stream), State::More) = (self.line.stream(), state) {
            self.patience.rest(stream);
        }
        let mut now = at;
        loop {
            let rest = match (state, head.persist) {
                (State::More, _) => None,
                (State::Over(Left::Nothing), Persist::Keep) => Some(Rest::Clean),
                (State::Over(_), _) => Some(Rest::Dirty),
            };
            if let Some(rest) = rest {
                self.over(status, rest, now);
            }
            buf = self.send(buf, now, sent).await?;
            if let Some(rest) = rest {
                return Ok(Done { status, next, rest, at: now });
            }
            buf = roomy(buf, &body.0);
            let end;
            (end, buf, now) = self.receive(buf, &body.0, sent).await?;
            state = match end {
                End::Reached => State::Over(Left::Unknown),
                End::Ahead => {
                    let state = step(&mut body, &mut buf, form);
                    state.ok_or(Failure { fault: Fault::Malformed, sent })?
                }
            };
        }
    }

    /// Replaces the head at the front of `buf` by the one for the client.
    fn open(
        &self,
        head: &Response,
        body: &mut (Body, Trailers),
        buf: &mut Buf,
        form: BodyForm,
        now: Now,
    ) -> Result<State, Fault> {
        let mut scratch = self.means.scratch.borrow_mut();
        let mut writer = Writer::new(&mut scratch);
        let (fields, date) = (self.means.fields.borrow(), self.means.today.line(now));
        let (say, telling) = (self.manner.say(), self.telling);
        // RFC 9112 §6.1: nor is an HTTP/1.0 client told of chunks that do not follow.
        let told = match self.manner.version {
            Version::Http10 => BodyForm::Unchunked,
            Version::Http11 => form,
        };
        let changes = Changes { say, body: told, date: &date, telling };
        rewrite::response_head(&mut writer, head, &fields, buf.filled(), &changes);
        let written = writer.finish().ok_or(Fault::Malformed)?;
        self.account.head.set(written);
        let opening = scratch.get(..written).unwrap_or_default();
        buf.consume(head.len);
        let state = step(body, buf, form).ok_or(Fault::Malformed)?;
        if buf.prepend(opening) == Fit::Nothing {
            // Payload taken out of its chunks has no room in front.
            let mut whole = Buf::sized(written + buf.len());
            let _ = whole.put(opening);
            let _ = whole.put(buf.filled());
            *buf = whole;
        }
        Ok(state)
    }

    async fn receive(&self, buf: Buf, body: &Body, sent: Sent) -> Result<(End, Buf, Now), Failure> {
        let Some(stream) = self.line.stream() else {
            return Err(Failure { fault: Fault::CutShort, sent });
        };
        if stream.deadline.fired().is_some() {
            // The exchange ran out of time while the client was taking what it had: its doing.
            return Err(Failure { fault: Fault::ClientStalled, sent });
        }
        // Where it answers in the middle of the request, the client is to go on with that.
        self.patience.turn(stream, self.client);
        let (read, buf) = stream.read(buf).await;
        let now = clock::now();
        self.patience.rest(stream);
        match (read, body) {
            (Ok(1..), _) => Ok((End::Ahead, buf, now)),
            (Ok(0), Body::UntilClose)
                if stream.deadline.fired().is_none() && self.request.get() != Progress::Broken =>
            {
                Ok((End::Reached, buf, now))
            }
            (Ok(0) | Err(_), _) => Err(Failure { fault: Fault::of_upstream(stream), sent }),
        }
    }

    /// The upstream's part is over.
    fn over(&mut self, status: u16, rest: Rest, now: Now) {
        // A failure that no client waited for may be its own doing; looked at only then.
        let answered = Ending::Answered(status);
        let failed = self.verdict.blames(answered) || self.attempt.blames(answered);
        let abandoned = failed && self.client.stream().is_reset();
        let ending = if abandoned { Ending::ClientGone } else { answered };
        self.attempt.settle(ending, now);
        self.verdict.settle(ending, now);
        let clean = rest == Rest::Clean && self.request.get() == Progress::Whole;
        if clean
            && matches!(self.line, Line::Own(_))
            && let Line::Own(leased) = std::mem::replace(&mut self.line, Line::Gone)
        {
            leased.park(now);
        }
    }

    async fn send(&self, buf: Buf, now: Now, sent: Sent) -> Result<Buf, Failure> {
        if buf.is_empty() {
            return Ok(buf);
        }
        self.client.begin(now, Cut::Both);
        let progress = || self.client.again(clock::now());
        let (outcome, buf) = self.client.stream().write_watched(buf, progress).await;
        self.client.sent();
        match outcome {
            Ok(()) => {
                self.account.add_sent(buf.len());
                Ok(buf)
            }
            Err(_) => Err(Failure { fault: Fault::of_client(self.client.stream()), sent }),
        }
    }
}

/// Whether the upstream has closed a body that ends so.
enum End {
    Ahead,
    Reached,
}

/// Where a body stands after the bytes in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    More,
    Over(Left),
}

/// What lies behind a response's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Bytes that nobody asked for, or the end of the connection.
    Unknown,
}

/// Reads on through the buffer and leaves in it what the client gets. `None`: not a body.
fn step((body, trailers): &mut (Body, Trailers), buf: &mut Buf, form: BodyForm) -> Option<State> {
    let keep = match form {
        BodyForm::AsSent => Keep::Framed,
        BodyForm::Unchunked => Keep::Payload,
    };
    let passed = passing::feed(body, trailers, buf.filled(), keep);
    let state = match passed.fed {
        Fed::Bad => return None,
        Fed::More => State::More,
        Fed::Done(used) if used == buf.len() => State::Over(Left::Nothing),
        Fed::Done(_) => State::Over(Left::Unknown),
    };
    passed.apply(buf);
    Some(state)
}

/// An empty buffer for the next part: a large one where much is left.
fn roomy(mut buf: Buf, body: &Body) -> Buf {
    let small = buf.capacity() <= crate::rt::buffer::SMALL;
    let bulk = match body {
        Body::Left(left) => *left > crate::rt::buffer::SMALL as u64,
        Body::Chunked(_) | Body::UntilClose => true,
    };
    if small && bulk {
        return Buf::new(Class::Large);
    }
    buf.clear();
    buf
}
