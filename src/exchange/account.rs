//! What one request came to, and the line of the access log that tells of it.
//!
//! Enters: what either direction of an exchange notes on its way: times that were read anyway,
//! bytes, the status. Leaves: a line, put into this core's ring, where the configuration wants one.
//! A good request costs a few stores and one comparison, unless all are logged.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;
use std::time::Duration;

use super::choose::{Chosen, Refusal};
use super::client::Client;
use super::means::{Means, View};
use crate::access::{self, Line};
use crate::clock::Now;
use crate::config::{Access, Ended};
use crate::http1::head::{Request, Span, Version};
use crate::rt::buffer::Buf;

/// Stands for a moment that never came.
const NEVER: Now = Now::from_micros(0);

/// What one request came to. It lies beside the exchange, not in the client: a connection at rest
/// has none.
pub(super) struct Account {
    /// When it began.
    began: Now,
    /// The status sent; 0: none.
    pub(super) status: Cell<u16>,
    /// How it ended, in the words of the access log; `None`: the upstream's response was passed on
    /// whole.
    pub(super) outcome: Cell<Option<&'static str>>,
    /// When nothing was left to wait for but the client.
    pub(super) ended: Cell<Now>,
    /// When a connection to the upstream was opened for it.
    pub(super) dialled: Cell<Now>,
    /// When it was sent to the upstream.
    pub(super) asked: Cell<Now>,
    /// When the head of the response was there.
    pub(super) answered: Cell<Now>,
    /// Bytes of its body that were read.
    pub(super) received: Cell<u64>,
    /// Bytes sent in answer to it.
    pub(super) sent: Cell<u64>,
    /// As many of them were head.
    pub(super) head: Cell<usize>,
    /// How often it was sent again.
    pub(super) retries: Cell<u8>,
    /// A copy of its head, where the client's buffer is needed for its body.
    copy: Option<Buf>,
}

/// What a line names of a head: kept for as long as the request runs, so it is little.
#[derive(Clone, Copy)]
pub(super) struct Named {
    /// Bytes of the head.
    len: usize,
    method: Span,
    path: Span,
    host: Span,
}

impl Named {
    pub(super) const fn of(head: &Request) -> Self {
        Self { len: head.len, method: head.method, path: head.path, host: head.host }
    }
}

impl Account {
    /// Of a request that began at `began`; `copy` is its head, if it does not stay where it is.
    pub(super) const fn new(began: Now, copy: Option<Buf>) -> Self {
        Self {
            began,
            status: Cell::new(0),
            outcome: Cell::new(None),
            ended: Cell::new(NEVER),
            dialled: Cell::new(NEVER),
            asked: Cell::new(NEVER),
            answered: Cell::new(NEVER),
            received: Cell::new(0),
            sent: Cell::new(0),
            head: Cell::new(0),
            retries: Cell::new(0),
            copy,
        }
    }

    /// It ended at `now`, and its client was sent `status`.
    pub(super) fn end(&self, status: u16, now: Now) {
        self.status.set(status);
        self.ended.set(now);
    }

    /// Notes bytes sent to the client.
    pub(super) fn add_sent(&self, count: usize) {
        self.sent.set(self.sent.get() + count as u64);
    }

    /// Notes a request sent again: whatever was answered before, it is not the answer.
    pub(super) fn retried(&self) {
        self.answered.set(NEVER);
        self.retries.set(self.retries.get().saturating_add(1));
    }

    /// Whether a line is wanted.
    pub(super) fn is_wanted(&self, access: Access) -> bool {
        access.wants(match self.outcome.get() {
            None => Ended::Relayed(self.status.get()),
            Some(_) => Ended::Otherwise,
        })
    }

    fn line(&self, client: &Client) -> Line<'_> {
        let ip = match client.peer() {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            std::net::IpAddr::V6(ip) => ip,
        };
        let (began, sent) = (self.began, self.sent.get());
        let after = |later: &Cell<Now>, earlier: Now| {
            (later.get() != NEVER).then(|| micros(later.get().since(earlier)))
        };
        Line {
            at: began,
            took_us: after(&self.ended, began).unwrap_or(0),
            connect_us: after(&self.dialled, began),
            response_us: after(&self.answered, self.asked.get()),
            client: ip,
            minor: if client.manner.version == Version::Http10 { 0 } else { 1 },
            status: self.status.get(),
            received: self.received.get(),
            sent: sent.saturating_sub(self.head.get() as u64),
            retries: self.retries.get(),
            outcome: self.outcome.get().unwrap_or(access::OK),
            ..Line::NOTHING
        }
    }
}

/// Puts the line of a request that has ended.
#[inline(never)]
pub(super) fn tell(
    client: &Client,
    account: &Account,
    means: &Means,
    view: &View,
    head: &Named,
    chosen: &Result<Chosen<'_>, Refusal<'_>>,
) {
    let copy = account.copy.as_ref().map(Buf::filled);
    let bytes = copy.or_else(|| client.buf.taken(head.len)).unwrap_or_default();
    let (route, call) = match chosen {
        Ok(chosen) => (Some(chosen.route), Some(&chosen.call)),
        Err(refusal) => (refusal.route, None),
    };
    let target = call.map(|call| view.table.target(call.endpoint.target));
    let [referer, agent] = fields(bytes);
    means.access.put(
        &means.core,
        &Line {
            method: head.method.of_bytes(bytes),
            path: head.path.of_bytes(bytes),
            host: head.host.of_bytes(bytes),
            route: route.map_or(&[], |route| route.name.as_bytes()),
            service: call.map_or(&[], |call| call.service.name.as_bytes()),
            target: target.map_or(&[], |target| target.name.as_bytes()),
            referer: without_query(referer),
            agent,
            ..account.line(client)
        },
    );
}

/// Puts the line of a request whose head could not be read, or did not come.
#[cold]
pub(super) fn tell_unread(client: &Client, account: &Account, means: &Means, view: &View) {
    if !account.is_wanted(view.table.access) {
        return;
    }
    // As far as it looks like a request line.
    let bytes = client.buf.filled().trim_ascii_start();
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let line = account.line(client);
    means.access.put(&means.core, &Line { method, path: without_query(target), ..line });
}

/// The referer and the user agent of a head.
fn fields(head: &[u8]) -> [&[u8]; 2] {
    const NAMES: [&[u8]; 2] = [b"referer:", b"user-agent:"];
    let mut found = [&[][..]; 2];
    for end in memchr::memchr_iter(b'\n', head) {
        let line = head.get(end + 1..).unwrap_or_default();
        if !matches!(line.first(), Some(b'R' | b'r' | b'U' | b'u')) {
            continue;
        }
        for (place, name) in found.iter_mut().zip(NAMES) {
            if let Some((front, value)) = line.split_at_checked(name.len())
                && front.eq_ignore_ascii_case(name)
            {
                let end = memchr::memchr(b'\n', value).unwrap_or(value.len());
                *place = value.get(..end).unwrap_or_default().trim_ascii();
            }
        }
    }
    found
}

/// What stands before a query or fragment: those may carry secrets.
fn without_query(target: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    target.get(..end).unwrap_or_default()
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_any_case_and_where_there_are_none() {
        let head =
            b"GET / HTTP/1.1\r\nHost: h\r\nuSER-agent:  curl/8 \r\nReferer: http://a/b?c#d\r\n\r\n";
        let [referer, agent] = fields(head);
        assert_eq!((without_query(referer), agent), (&b"http://a/b"[..], &b"curl/8"[..]));
        assert_eq!(fields(b"GET / HTTP/1.1\r\nRange: x\r\nUser: y\r\n\r\n"), [b"", b""]);
        assert_eq!(fields(b""), [b"", b""]);
        assert_eq!(without_query(b"/a?token=s"), b"/a");
    }
}
