//! The client's side of an exchange: its stream, its unread bytes, and how it wants to be spoken
//! to.
//!
//! Enters: a connection, filled in by `downstream`. Leaves: our own answers, sent. Owns what was
//! received and not yet used.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::Next;
use super::account::Account;
use super::means::Means;
use super::waiting::Waiting;
use crate::clock::{self, Now};
use crate::config::Access;
use crate::http1::answer::{After, Prefer, Rendered, Send};
use crate::http1::framing::{Body, Fed, Framing};
use crate::http1::head::{Persist, Request, Version};
use crate::http1::rewrite::{Say, Writer};
use crate::rt::buffer::{Buf, Class};
use crate::rt::deadline::Cut;
use crate::rt::stream::Stream;

/// One client connection.
pub struct Client {
    /// Its stream.
    pub stream: Stream,
    /// Received and not yet used.
    pub buf: Buf,
    /// When it was last heard of.
    pub seen: Now,
    /// Requests begun on this connection.
    pub served: u32,
    /// How it is spoken to; set by every request.
    pub manner: Manner,
    /// When the running request began.
    pub(super) began: Now,
    /// What the running request came to.
    pub(super) account: Account,
    /// What is unread of the running request's body.
    pub(super) body: Body,
    peer: IpAddr,
    address: Address,
}

/// How a client is spoken to.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The version it speaks.
    pub version: Version,
    /// Whether it wants the connection to go on, and may.
    pub persist: Persist,
    /// Which representation it prefers.
    pub prefer: Prefer,
    /// Whether it wants bodies.
    pub send: Send,
}

/// The field lines that name a client to upstreams.
#[derive(Clone, Copy)]
struct Address {
    text: [u8; Address::LEN_MAX],
    len: u8,
}

impl Client {
    /// A connection on which nothing has been said.
    #[must_use]
    pub fn new(stream: Stream, peer: SocketAddr, now: Now) -> Self {
        Self {
            stream,
            buf: Buf::new(Class::Small),
            seen: now,
            served: 0,
            manner: Manner {
                version: Version::Http11,
                persist: Persist::Close,
                prefer: Prefer::Json,
                send: Send::Whole,
            },
            began: now,
            account: Account::new(),
            body: Body::new(Framing::None),
            // An IPv4 client of an IPv6 socket is named as what it is.
            peer: peer.ip().to_canonical(),
            address: Address::new(peer),
        }
    }

    /// Its address.
    #[must_use]
    pub const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The field lines that name the client's address and scheme to upstreams.
    #[must_use]
    pub fn address(&self) -> &[u8] {
        self.address.text.get(..usize::from(self.address.len)).unwrap_or_default()
    }

    /// Takes the head of a request off the unread bytes.
    pub(super) fn begin(&mut self, head: &Request, access: Access) {
        self.body = Body::new(head.framing);
        // A head without a body stays where it is until the next one is read.
        let stays = self.body.is_over() || access == Access::Off;
        let copy = if stays { None } else { Some(copied(self.buf.filled(), head.len)) };
        self.account.begin(copy);
        self.began = self.seen;
        self.buf.consume(head.len);
    }

    /// Passes over the body if it has arrived whole; says whether the next request lies ahead.
    pub(super) fn skip_body(&mut self) -> Unread {
        if self.body.is_over() {
            return Unread::Nothing;
        }
        match self.body.feed(self.buf.filled(), |_, _| {}) {
            Fed::Done(used) => {
                self.buf.consume(used);
                Unread::Nothing
            }
            Fed::More | Fed::Bad => Unread::Body,
        }
    }

    /// The next answer is the last: what the client sends cannot be told apart any more.
    pub(super) fn refuse_rest(&mut self) {
        self.manner.persist = Persist::Close;
    }

    /// The next answer, at `now`, is the last, and it answers no request that could be read.
    pub(super) fn refuse_all(&mut self, now: Now) {
        self.refuse_rest();
        self.account.begin(None);
        (self.began, self.seen) = (now, now);
    }

    /// Sends a response of our own. The connection goes on only where the client wants it to and
    /// nothing of its request is unread.
    pub async fn answer(
        &mut self,
        means: &Means,
        answer: &Rendered,
        retry_after_s: Option<u64>,
        limit: Option<std::time::Duration>,
    ) -> Next {
        let goes_on = self.skip_body() == Unread::Nothing
            && self.manner.persist == Persist::Keep
            && !means.is_draining();
        let after = match (goes_on, self.manner.version) {
            (true, Version::Http11) => After::Keep,
            (true, Version::Http10) => After::KeepSaid,
            (false, _) => After::Close,
        };
        let mut out = Buf::sized(answer.len_max());
        let manner = self.manner;
        let body = answer.body_len(manner.prefer, manner.send);
        let _ = out.fill(|room| {
            let mut writer = Writer::new(room);
            let put = |bytes: &[u8]| writer.put(bytes);
            answer.write(manner.prefer, manner.send, after, retry_after_s, put);
            writer.finish()
        });
        let waiting = Waiting::new(&self.stream, limit, None);
        waiting.begin(self.seen, Cut::Both);
        let progress = || waiting.again(clock::now());
        let (sent, _) = self.stream.write_watched(out, progress).await;
        waiting.end();
        if sent.is_ok() {
            self.account.add_sent(body);
        }
        match sent {
            Ok(()) if goes_on => Next::Again,
            Ok(()) => Next::Close,
            Err(_) => Next::Reset,
        }
    }
}

/// A copy of the first `len` of `bytes`.
fn copied(bytes: &[u8], len: usize) -> Buf {
    let mut copy = Buf::sized(len);
    let _ = copy.put(bytes.get(..len).unwrap_or_default());
    copy
}

/// What lies between a client and its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Nothing.
    Nothing,
    /// A body that has not all arrived.
    Body,
}

impl Manner {
    /// What the client is told about its connection.
    pub(super) const fn say(&self) -> Say {
        match (self.persist, self.version) {
            (Persist::Close, _) => Say::Close,
            (Persist::Keep, Version::Http10) => Say::KeepAlive,
            (Persist::Keep, Version::Http11) => Say::Nothing,
        }
    }
}

impl Address {
    /// The lines below, with an address of 45 characters.
    const LEN_MAX: usize = 96;

    fn new(peer: SocketAddr) -> Self {
        let mut text = [0; Self::LEN_MAX];
        let mut rest = &mut text[..];
        // An IPv4 client of an IPv6 socket is named as what it is.
        let ip = peer.ip().to_canonical();
        // Lines that did not fit would be cut, not overrun.
        let _ = write!(rest, "x-forwarded-for: {ip}\r\nx-forwarded-proto: http\r\n");
        let used = Self::LEN_MAX - rest.len();
        Self { text, len: u8::try_from(used).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_without_its_port() {
        for (peer, text) in [
            ("1.2.3.4:5", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:5", "1.2.3.4"),
            ("[fe80::1]:5", "fe80::1"),
            (
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ),
        ] {
            let address = Address::new(peer.parse().unwrap());
            let lines = format!("x-forwarded-for: {text}\r\nx-forwarded-proto: http\r\n");
            assert_eq!(&address.text[..usize::from(address.len)], lines.as_bytes());
        }
    }
}
