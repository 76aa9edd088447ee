//! The client's side of an exchange: its stream, its unread bytes, and how it wants to be spoken
//! to.
//!
//! Enters: a connection, filled in by `downstream`. Leaves: our own answers, sent. Owns what was
//! received and not yet used.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::net::{IpAddr, SocketAddr};

use super::Next;
use super::account::Account;
use super::means::Means;
use super::waiting::Waiting;
use crate::clock::{self, Now};
use crate::config::Access;
use crate::http1::answer::{After, Prefer, Rendered, Send};
use crate::http1::forwarding::{Address, Word};
use crate::http1::framing::{Body, Fed, Framing};
use crate::http1::head::{Persist, Request, Version};
use crate::http1::rewrite::{Say, Writer};
use crate::rt::buffer::Buf;
use crate::rt::deadline::Cut;
use crate::rt::stream::Stream;
use crate::table::Table;

/// One client connection.
pub struct Client {
    /// Its stream.
    pub stream: Stream,
    /// Received and not yet used.
    pub buf: Buf,
    /// When it was last heard of, or the answer to that was ready.
    pub seen: Now,
    /// Requests begun on this connection.
    pub served: u32,
    /// What is expected of it after an answer.
    pub lull: Lull,
    /// How it is spoken to; set by every request.
    pub manner: Manner,
    /// What is unread of the running request's body.
    pub(super) body: Body,
    /// Its address, as upstreams are told it.
    pub(super) address: Address,
    ip: IpAddr,
    /// Whether it is believed, by the table of that generation.
    word: (u64, Word),
}

/// How long a client is silent between its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lull {
    /// It says more soon, as who has just connected does.
    Short,
    /// It rests, or has sent one request and not shown yet that it does not.
    Long,
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

impl Client {
    /// A connection on which nothing has been said.
    #[must_use]
    pub fn new(stream: Stream, peer: SocketAddr, now: Now) -> Self {
        Self {
            stream,
            buf: Buf::default(),
            seen: now,
            served: 0,
            lull: Lull::Short,
            manner: Manner::UNREAD,
            body: Body::new(Framing::None),
            address: Address::new(peer.ip()),
            ip: peer.ip(),
            word: (0, Word::Replaced),
        }
    }

    /// Its address. An IPv4 client of an IPv6 socket is named as what it is.
    #[must_use]
    pub const fn peer(&self) -> IpAddr {
        self.ip.to_canonical()
    }

    /// Whether what it says of those before it is believed. Asked once per table.
    pub(super) fn word(&mut self, table: &Table) -> Word {
        let (generation, word) = self.word;
        if generation == table.generation {
            return word;
        }
        let word = table.forwarding.word_of(self.ip);
        self.word = (table.generation, word);
        word
    }

    /// Takes the head of a request off the unread bytes, and opens its account.
    pub(super) fn begin(&mut self, head: &Request, access: Access) -> Account {
        self.body = Body::new(head.framing);
        // A head without a body stays where it is until the next one is read.
        let stays = self.body.is_over() || access == Access::Off;
        let bytes = || self.buf.filled().get(..head.len).unwrap_or_default();
        let copy = (!stays).then(|| Buf::copy_of(bytes()));
        self.buf.consume(head.len);
        Account::new(self.seen, copy)
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

    /// Sends a response of our own. The connection goes on only where the client wants it to and
    /// nothing of its request is unread.
    pub(super) async fn answer(
        &mut self,
        means: &Means,
        account: &Account,
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
        let (manner, date) = (self.manner, means.today.line(self.seen));
        let body = answer.body_len(manner.prefer, manner.send);
        let _ = out.fill(|room| {
            let mut writer = Writer::new(room);
            let put = |bytes: &[u8]| writer.put(bytes);
            answer.write(manner.prefer, manner.send, after, &date, retry_after_s, put);
            writer.finish()
        });
        let waiting = Waiting::new(&self.stream, limit, None);
        waiting.begin(self.seen, Cut::Both);
        let progress = || waiting.again(clock::now());
        let (sent, _) = self.stream.write_watched(out, progress).await;
        waiting.end();
        if sent.is_ok() {
            account.add_sent(body);
        }
        match sent {
            Ok(()) if goes_on => Next::Again,
            Ok(()) => Next::Close,
            Err(_) => Next::Reset,
        }
    }
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
    /// Towards a client of which no head was read: there will be no other.
    pub(super) const UNREAD: Self = Self {
        version: Version::Http11,
        persist: Persist::Close,
        prefer: Prefer::Json,
        send: Send::Whole,
    };

    /// What the client is told about its connection.
    pub(super) const fn say(&self) -> Say {
        match (self.persist, self.version) {
            (Persist::Close, _) => Say::Close,
            (Persist::Keep, Version::Http10) => Say::KeepAlive,
            (Persist::Keep, Version::Http11) => Say::Nothing,
        }
    }
}
