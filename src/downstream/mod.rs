//! The client's side: one task per connection.
//!
//! Enters: an accepted socket. Leaves: its requests, one after the other, handed to `exchange`.
//! Owns the connection between requests: keep-alive, the deadline of a head, rest, the way it is
//! closed. The task itself is small: what a running exchange needs lies in a nest, and a connection
//! that rests waits without a buffer.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::clock::{self, Now};
use crate::exchange::client::{Client, Lull};
use crate::exchange::means::{DRAIN_GRACE, Means};
use crate::exchange::{self, Next};
use crate::rt::buffer::{Buf, SMALL};
use crate::rt::deadline::{Cut, Why};
use crate::rt::nest::Nest;
use crate::rt::stream::{Heard, Stream};
use crate::stats::{Bound, Count};

/// What a client may still send after our last answer before the connection is cut.
const LINGER_BYTES: usize = 64 * 1024;

/// How long it may take for that.
const LINGER: Duration = Duration::from_secs(1);

/// Whoever has sent this many requests is taken to send the next one soon.
const BUSY: u32 = 64;

/// Whoever was silent for so long before a request, since its last answer was ready, is taken to be
/// silent again. No longer than a read waits before it is called off: whoever is silent for a time
/// in between would be called off every time.
const LULL: Duration = Duration::from_secs(1);

/// Serves one connection to its end. A panic ends this connection and no other.
pub fn serve(stream: Stream, peer: SocketAddr, means: Rc<Means>) -> impl Future<Output = ()> {
    let mut client = Client::new(stream, peer, clock::now());
    // Captured, not passed on: an argument of an async function lies in its future twice.
    async move {
        let served = AssertUnwindSafe(connection(&mut client, &means)).catch_unwind().await;
        if served.is_err() {
            means.process.count(&means.core, Count::Panicked);
            // What it was sent may be half a response: no end may make a whole one of that.
            client.stream.reset_on_close();
        }
    }
}

/// A connection's place among those that are open.
struct Place<'m>(&'m Means);

impl<'m> Place<'m> {
    fn take(means: &'m Means) -> Self {
        means.process.count(&means.core, Count::Accepted);
        Self(means)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.process.count(&self.0.core, Count::Closed);
    }
}

async fn connection(client: &mut Client, means: &Means) {
    let place = Place::take(means);
    // Whoever rests longest makes room; a client that is answered is not sent away for a new one.
    if let Some(bound) = means.crowded(client.stream.number())
        && !means.make_room(client.seen)
    {
        Nest::new(|| exchange::no_room(client, means, bound)).await;
        // It never had one: those who are being sent away do not keep others out.
        drop(place);
        if bound != Bound::Files {
            Nest::new(|| linger(client)).await;
        }
        return;
    }
    let mut last = None;
    while last.is_none() {
        match request(client, means).await {
            Some(Next::Again) => {}
            Some(next) => last = Some(next),
            None => return,
        }
    }
    match last {
        Some(Next::Reset) => client.stream.reset_on_close(),
        // Boxed, not nested: it may last for hours.
        Some(Next::Tunnel(tunnel)) => Box::pin(tunnel.run(client, means)).await,
        _ => Nest::new(|| linger(client)).await,
    }
}

/// Waits for one request and runs it. `None`: the client has no more.
async fn request(client: &mut Client, means: &Means) -> Option<Next> {
    let mut began: Option<Now> = None;
    let mut unread = 0;
    loop {
        // A head that trickles in is read again only when a line of it has ended, not at every
        // byte.
        let more = client.buf.filled().get(unread..).unwrap_or_default();
        let ended = || memchr::memchr(b'\n', more).is_some() || client.buf.room() == 0;
        let worth = !client.buf.is_empty() && (began.is_none() || ended());
        unread = client.buf.len();
        if worth {
            let now = clock::now();
            if began.is_none() {
                let is_short = client.served > 0 && now.since(client.seen) < LULL;
                client.lull = if is_short { Lull::Short } else { Lull::Long };
            }
            if let Some(next) = Nest::new(|| exchange::run(client, means, now)).await {
                return Some(next);
            }
            began.get_or_insert(now);
        }
        if means.is_draining() && began.is_none() && client.served > 0 {
            return None;
        }
        patience(client, means, began);
        let expected = began.map_or(Expected::Head, |_| Expected::RestOfHead);
        if hear(client, expected).await != Heard::Bytes {
            return match client.stream.deadline.fired() {
                Some(Why::Head) if began.is_some() => {
                    Some(Nest::new(|| exchange::too_slow(client, means)).await)
                }
                Some(why) => {
                    silent(means, why);
                    None
                }
                None => None,
            };
        }
    }
}

/// What a client has to say next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Head,
    RestOfHead,
}

/// Waits for more of what the client has to say.
async fn hear(client: &mut Client, expected: Expected) -> Heard {
    let mut heard;
    if let Some(room) = busy(client) {
        (heard, client.buf) = client.stream.read_busy(room).await;
        return heard;
    }
    if expected == Expected::RestOfHead {
        // It may take all the time there is for a head, and come byte by byte: what waits for each
        // of them is one read into the little that holds the part.
        let part = std::mem::take(&mut client.buf);
        (heard, client.buf) = client.stream.read_steadily(part.tight()).await;
        return heard;
    }
    let mut rests = client.lull == Lull::Long;
    loop {
        if rests {
            // It may rest for long, and is to cost no buffer.
            debug_assert!(client.buf.is_empty(), "a part of a head is not put to rest");
            client.buf = Buf::default();
            client.stream.readable().await;
        }
        let room = with_room(std::mem::take(&mut client.buf));
        (heard, client.buf) = client.stream.read_unless_quiet(room).await;
        if heard != Heard::Quiet {
            return heard;
        }
        rests = true;
    }
}

/// The buffer of a client that is likely to say more at once, if it may wait with it.
fn busy(client: &mut Client) -> Option<Buf> {
    if client.served < BUSY || client.lull == Lull::Long || !client.stream.may_be_busy() {
        return None;
    }
    let room = with_room(std::mem::take(&mut client.buf));
    if room.capacity() <= SMALL {
        return Some(room);
    }
    // A large buffer is for one large head, and not to be held for long.
    client.buf = room;
    None
}

/// Sets the deadline of the next read: for the rest of a head from its first byte, for the first
/// head of a connection from its beginning, for any other from the end of the request before.
fn patience(client: &Client, means: &Means, began: Option<Now>) {
    let timeouts = means.timeouts();
    let (from, limit, why) = match began {
        Some(began) => (began, timeouts.header, Why::Head),
        None if client.served == 0 && means.is_draining() => {
            (client.seen, Some(DRAIN_GRACE), Why::Fresh)
        }
        None if client.served == 0 => (client.seen, timeouts.header, Why::Fresh),
        None => (client.seen, timeouts.idle, Why::Idle),
    };
    match limit {
        Some(limit) => client.stream.deadline.arm(from.after(limit), why, Cut::Read),
        None => client.stream.deadline.rest(why),
    }
}

/// The same bytes with room for more of a head, and for many requests of a client that does not
/// wait for answers. A head that fills even a large buffer is refused by its parser.
fn with_room(mut buf: Buf) -> Buf {
    if buf.is_empty() {
        buf.renew();
    } else if buf.room() < buf.capacity() / 2 {
        buf.compact();
    }
    if buf.room() == 0 || buf.capacity() < SMALL {
        return buf.larger().unwrap_or(buf);
    }
    buf
}

/// Counts what a connection that said nothing is closed for.
#[cold]
fn silent(means: &Means, why: Why) {
    match why {
        Why::Fresh => means.process.bounded(&means.core, Bound::Header, 1),
        Why::Idle => means.process.bounded(&means.core, Bound::Idle, 1),
        Why::Evicted => means.process.count(&means.core, Count::Evicted),
        Why::Head
        | Why::Client
        | Why::Silent
        | Why::Exchange
        | Why::Tunnel
        | Why::Linger
        | Why::Drain
        | Why::Abandoned => {}
    }
}

/// Closes a connection so that the client can read our answer: a close with unread bytes would
/// reset it, and the answer would be lost with it (RFC 9112 §9.6).
async fn linger(client: &mut Client) {
    let stream = &client.stream;
    let mut buf = std::mem::take(&mut client.buf);
    stream.finish();
    stream.deadline.arm(clock::now().after(LINGER), Why::Linger, Cut::Both);
    let mut taken = 0;
    while taken < LINGER_BYTES {
        buf.renew();
        let (read, back) = stream.read(buf).await;
        buf = back;
        match read {
            Ok(0) | Err(_) => return,
            Ok(more) => taken += more,
        }
    }
}
