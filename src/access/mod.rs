//! The access log: one line per request, off the path of requests.
//!
//! Enters: what a core knows of a request that has ended, a [`Line`]. Leaves: text, in a file or on
//! standard error. Each core writes into a ring of its own, without a lock, an allocation or a
//! system call; one thread empties all rings, renders and writes in batches. What finds its ring
//! full, or cannot be written, is dropped and counted: a stuck disk never holds up a request.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

mod record;
mod render;
mod ring;
mod sink;
mod writer;

use std::net::Ipv6Addr;

use crate::breaker::Core;
use crate::clock::Now;
use ring::Ring;

pub use sink::Sink;
pub use writer::Writer;

/// What is told of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When its head was whole.
    pub at: Now,
    /// From then until the last byte of its response was there, microseconds.
    pub took_us: u32,
    /// From its head until a fresh connection to the upstream was there, microseconds; `None`: a
    /// pooled connection, or none.
    pub connect_us: Option<u32>,
    /// From the sent request to the head of the response, microseconds.
    pub response_us: Option<u32>,
    /// Who asked; an IPv4 address is mapped.
    pub client: Ipv6Addr,
    /// The minor version of HTTP/1 that it speaks.
    pub minor: u8,
    /// The status it was sent; 0: none.
    pub status: u16,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body, as framed.
    pub sent: u64,
    /// How often the request was sent again.
    pub retries: u8,
    /// How it ended, in one word.
    pub outcome: &'a str,
    /// The method.
    pub method: &'a [u8],
    /// The path as sent. No query: it may carry secrets.
    pub path: &'a [u8],
    /// The host that was asked for.
    pub host: &'a [u8],
    /// The name of the route.
    pub route: &'a [u8],
    /// The name of the service; empty where none was asked.
    pub service: &'a [u8],
    /// Its host and port.
    pub target: &'a [u8],
    /// The field of this name, without a query.
    pub referer: &'a [u8],
    /// The field of this name.
    pub agent: &'a [u8],
}

impl Line<'_> {
    /// Of a request of which nothing is known.
    pub const NOTHING: Self = Self {
        at: Now::from_micros(0),
        took_us: 0,
        connect_us: None,
        response_us: None,
        client: Ipv6Addr::UNSPECIFIED,
        minor: 1,
        status: 0,
        received: 0,
        sent: 0,
        retries: 0,
        outcome: "",
        method: b"",
        path: b"",
        host: b"",
        route: b"",
        service: b"",
        target: b"",
        referer: b"",
        agent: b"",
    };
}

/// How an exchange that went well ends.
pub const OK: &str = "ok";

/// The rings of all cores.
#[derive(Debug)]
pub struct Rings(Box<[Ring]>);

impl Rings {
    /// One ring for each of `cores` worker threads.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self((0..cores).map(|_| Ring::new()).collect())
    }

    /// Puts a line into this core's ring; drops and counts it when there is no room.
    pub fn put(&self, core: &Core, line: &Line<'_>) {
        if let Some(ring) = self.0.get(core.index()) {
            ring.put(line);
        }
    }

    /// How many lines found their ring full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.iter().map(Ring::dropped).sum()
    }

    fn each(&self) -> &[Ring] {
        &self.0
    }
}
