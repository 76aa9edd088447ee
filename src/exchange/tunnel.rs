//! Two connections that go on in a protocol of their own.
//!
//! Enters: an exchange that ended in 101, with what has come behind its heads. Leaves: every byte,
//! both ways, in order, until both sides have ended or neither has said anything for too long. Each
//! direction ends by itself. Owns the upstream's connection, which is never used for anything else;
//! holds a buffer only for a direction in which something moves.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::time::Duration;

use futures_util::future::join;

use super::client::Client;
use super::fault::Fault;
use super::means::Means;
use super::receive::{FRONT, Received};
use crate::clock;
use crate::http1::forwarding::Telling;
use crate::http1::rewrite::{self, BodyForm, Changes, Say, Writer};
use crate::rt::buffer::{Buf, Class, Fit, LARGE};
use crate::rt::deadline::{Cut, Why};
use crate::rt::stream::{Heard, Stream};
use crate::stats::{Bound, Count};
use crate::upstream::Leased;

/// A tunnel that is to be run.
pub struct Tunnel {
    upstream: Leased,
    /// For the client: the head of the 101, and what came behind it.
    first: Buf,
    /// How long both sides together may be silent.
    idle: Option<Duration>,
}

impl Tunnel {
    /// The tunnel that begins with the 101 that was `received` from `upstream`.
    pub(super) fn new(
        means: &Means,
        upstream: Leased,
        received: Received,
        telling: &Telling,
        idle: Option<Duration>,
    ) -> Result<Self, Fault> {
        let Received { head, mut buf, .. } = received;
        // A head for the client is at most so much longer than it came: see `rewrite`.
        let mut first = Buf::sized(buf.len() + FRONT);
        let fit = first.fill(|room| {
            let (mut writer, fields) = (Writer::new(room), means.fields.borrow());
            let bytes = buf.filled();
            let (say, body) = (Say::Upgrade, BodyForm::AsSent);
            let changes = Changes { say, body, date: &[], telling };
            rewrite::response_head(&mut writer, &head, &fields, bytes, &changes);
            writer.finish()
        });
        buf.consume(head.len);
        match (fit, first.put(buf.filled())) {
            (Fit::Whole, Fit::Whole) => Ok(Self { upstream, first, idle }),
            _ => Err(Fault::Malformed),
        }
    }

    /// Runs it to its end.
    pub async fn run(self, client: &mut Client, means: &Means) {
        let _open = Open::count(means);
        let Some(upstream) = self.upstream.stream() else { return };
        let early = std::mem::take(&mut client.buf);
        let ends = Ends { client: &client.stream, upstream, idle: self.idle };
        let down = ends.relay(upstream, &client.stream, self.first);
        let up = ends.relay(&client.stream, upstream, early);
        join(down, up).await;
        // Both are cut in the same moment.
        if [&client.stream, upstream].iter().any(|it| it.deadline.fired() == Some(Why::Tunnel)) {
            means.process.bounded(&means.core, Bound::Tunnel, 1);
        }
    }
}

/// A tunnel that is counted as open.
struct Open<'a>(&'a Means);

impl<'a> Open<'a> {
    fn count(means: &'a Means) -> Self {
        means.process.count(&means.core, Count::TunnelOpened);
        Self(means)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.process.count(&self.0.core, Count::TunnelClosed);
    }
}

/// Both ends, and how long they may be silent.
struct Ends<'a> {
    client: &'a Stream,
    upstream: &'a Stream,
    idle: Option<Duration>,
}

impl Ends<'_> {
    /// Moves what comes from `from` to `to`, beginning with `buf`, until `from` has ended.
    async fn relay(&self, from: &Stream, to: &Stream, mut buf: Buf) {
        loop {
            self.alive();
            if !buf.is_empty() {
                let sent;
                (sent, buf) = to.write_watched(buf, || self.alive()).await;
                if sent.is_err() {
                    return broke(to, from);
                }
                self.alive();
            }
            buf = roomy(buf);
            let mut heard;
            loop {
                (heard, buf) = from.read_unless_quiet(buf).await;
                if heard != Heard::Quiet {
                    break;
                }
                drop(buf);
                from.readable().await;
                buf = Buf::new(Class::Small);
            }
            match heard {
                Heard::Bytes | Heard::Quiet => {}
                Heard::End if from.deadline.fired().is_some() => return,
                Heard::End => return to.finish(),
                Heard::Broken => return broke(from, to),
            }
        }
    }

    /// Something moved: from now on both are given their time anew.
    fn alive(&self) {
        for stream in [self.client, self.upstream] {
            match self.idle {
                Some(idle) => {
                    stream.deadline.arm(clock::now().after(idle), Why::Tunnel, Cut::Both);
                }
                None => stream.deadline.rest(Why::Tunnel),
            }
        }
    }
}

/// One side broke: the other is not told that it ended well.
fn broke(broken: &Stream, other: &Stream) {
    other.reset_on_close();
    // Reading only: an end of sending would be told before the reset.
    other.cut(Cut::Read);
    broken.cut(Cut::Both);
}

/// An empty buffer for the next part: a large one once a part has filled a whole one.
fn roomy(mut buf: Buf) -> Buf {
    if buf.room() == 0 && (1..LARGE).contains(&buf.capacity()) {
        return Buf::new(Class::Large);
    }
    buf.renew();
    buf
}
