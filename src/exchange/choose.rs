//! Everything about a request that is decided without waiting.
//!
//! Enters: a head and its fields, in the client's buffer. Leaves: [`Chosen`], where it goes and the
//! heads that go there, with the breaker's ticket; or [`Refusal`], the answer it gets at once. Pure
//! but for the breaker and the pools it names.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::rc::Rc;
use std::time::Duration;

use super::client::Client;
use super::means::{Means, Verdict, View};
use super::patience::Limit;
use crate::breaker;
use crate::clock::Now;
use crate::config::{HostHeader, Merge, RetryAfter, TemplateQuery};
use crate::http1::answer::Rendered;
use crate::http1::field::Fields;
use crate::http1::framing::Framing;
use crate::http1::head::{Asked, Request};
use crate::http1::rewrite::{self, Origin, Passage, Writer};
use crate::rt::buffer::{Buf, Fit};
use crate::stats::{Bound, Count};
use crate::table::matcher::{Captures, Match};
use crate::table::spelling;
use crate::table::{Piece, Route, RouteBreaker, RouteIx, Service, Target};
use crate::upstream::pool::Pool;

/// A request that goes on.
pub(super) struct Chosen<'v> {
    /// Its route.
    pub(super) route: &'v Route,
    /// The verdict owed to the route's breaker.
    pub(super) verdict: Verdict<'v>,
    /// The call to its first service.
    pub(super) call: Call<'v>,
    /// The calls to the others, if it fans out.
    pub(super) others: Vec<Call<'v>>,
    /// Whether the response is passed on or read.
    pub(super) passage: Passage,
    /// Whether a body is asked for.
    pub(super) asked: Asked,
    /// Whether it may be sent again.
    pub(super) repeat: Repeat,
}

/// A request to one service, ready to be sent.
pub(super) struct Call<'v> {
    /// The service.
    pub(super) service: &'v Service,
    /// Where it answers.
    pub(super) target: &'v Target,
    /// This core's connections to it.
    pub(super) pool: &'v Rc<Pool>,
    /// The head, and behind it as much of the body as is there.
    pub(super) out: Buf,
    /// By when the response must have ended, and what the client is told otherwise.
    pub(super) limit: Option<Limit<'v>>,
}

/// Whether a request may be sent again when nothing came back (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it twice is doing it once.
    Idempotent,
    /// It may have been done.
    Never,
}

/// A request that is answered at once.
pub(super) struct Refusal<'v> {
    /// The answer.
    pub(super) answer: &'v Rendered,
    /// Seconds to wait, if the client is told.
    pub(super) retry_after_s: Option<u64>,
    /// The route, if one was found.
    pub(super) route: Option<&'v Route>,
    /// What is counted.
    pub(super) count: Option<Count>,
    /// The limit that it is over, if it is one.
    pub(super) bound: Option<Bound>,
    /// What the access log calls it.
    pub(super) word: &'static str,
}

/// Decides on the request whose head lies at the front of the client's buffer.
pub(super) fn choose<'v>(
    means: &'v Means,
    view: &'v View,
    client: &Client,
    head: &Request,
    now: Now,
) -> Result<Chosen<'v>, Refusal<'v>> {
    let bytes = client.buf.filled();
    let answers = &view.table.answers;
    let path = head.path.of_bytes(bytes);
    if !spelling::clean(path, view.table.paths) {
        return Err(Refusal::counted(&answers.bad_request, Count::BadRequest, "malformed"));
    }
    let mut captures = Captures::default();
    let ix = find(view, head, bytes, path, &mut captures)?;
    let route = view.table.route(ix);
    if let (Framing::Exact(length), Some(max)) = (head.framing, route.body_bytes_max)
        && length > max
    {
        let (answer, bound) = (&answers.content_too_large, Bound::BodyBytes);
        let refusal = Refusal::counted(answer, Count::BadRequest, bound.key());
        return Err(Refusal { route: Some(route), bound: Some(bound), ..refusal });
    }
    let (verdict, guard) = admit(means, view, route, now)?;
    let services = view.table.services_of(route);
    let passage = match services {
        [only] if only.merge == Merge::Union => Passage::Relayed,
        _ => Passage::Read,
    };
    let fields = means.fields.borrow();
    let message = Message { head, bytes, path, captures: &captures, fields: &fields };
    let call = |service: &'v Service| {
        let target = view.table.target(service.target);
        let limit = limit(service, guard, &answers.gateway_timeout, now);
        let out = message.compose(service, target, client.address(), passage);
        let pool = view.pools.get(service.target.at());
        pool.map(|pool| Call { service, target, pool, out, limit })
    };
    let no_room = || Refusal { route: Some(route), ..Refusal::plain(&answers.no_room, "") };
    let mut calls = services.iter().filter_map(call);
    let first = calls.next().ok_or_else(no_room)?;
    let method = head.method.of_bytes(bytes);
    Ok(Chosen {
        route,
        verdict,
        call: first,
        others: calls.collect(),
        passage,
        asked: if method == b"HEAD" { Asked::Head } else { Asked::Body },
        repeat: match method {
            b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE" => Repeat::Idempotent,
            _ => Repeat::Never,
        },
    })
}

fn find<'v>(
    view: &'v View,
    head: &Request,
    bytes: &[u8],
    path: &[u8],
    captures: &mut Captures,
) -> Result<RouteIx, Refusal<'v>> {
    let host = name_of(head.host.of_bytes(bytes));
    let method = head.method.of_bytes(bytes);
    let answers = &view.table.answers;
    let found = if host.iter().any(u8::is_ascii_uppercase) {
        view.table.matcher.find(lower(host, &mut [0; 256]), path, method, captures)
    } else {
        view.table.matcher.find(host, path, method, captures)
    };
    match found {
        Match::Route(ix) => Ok(ix),
        Match::WrongMethod(which) => {
            let answer = answers.method_not_allowed.get(which).unwrap_or(&answers.not_found);
            Err(Refusal::counted(answer, Count::WrongMethod, "wrong_method"))
        }
        Match::NotFound => Err(Refusal::counted(&answers.not_found, Count::NotFound, "no_route")),
    }
}

/// The host without its port.
fn name_of(host: &[u8]) -> &[u8] {
    let end = match host {
        [b'[', ..] => memchr::memchr(b']', host).map_or(host.len(), |at| at + 1),
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    host.get(..end).unwrap_or_default()
}

#[cold]
fn lower<'a>(name: &[u8], lower: &'a mut [u8; 256]) -> &'a [u8] {
    let Some(place) = lower.get_mut(..name.len()) else { return &[] };
    for (place, byte) in place.iter_mut().zip(name) {
        *place = byte.to_ascii_lowercase();
    }
    place
}

/// Asks the route's breaker.
fn admit<'v>(
    means: &'v Means,
    view: &'v View,
    route: &'v Route,
    now: Now,
) -> Result<(Verdict<'v>, Option<&'v RouteBreaker>), Refusal<'v>> {
    let Some(ix) = route.breaker else {
        return Ok((Verdict { means, view, ticket: None }, None));
    };
    let guard = view.table.breaker(ix);
    let (verdict, transition) = guard.breaker.admit(&means.core, now);
    if let Some(transition) = transition {
        means.report(view, ix, transition);
    }
    match verdict {
        breaker::Verdict::Admit(ticket) => {
            Ok((Verdict { means, view, ticket: Some((ticket, ix)) }, Some(guard)))
        }
        breaker::Verdict::Refuse { remaining_ms } => {
            let retry_after_s = match guard.retry_after {
                RetryAfter::Send => Some(remaining_ms.div_ceil(1000).max(1)),
                RetryAfter::Omit => None,
            };
            let refusal = Refusal::plain(&guard.refusal, "open");
            Err(Refusal { retry_after_s, route: Some(route), ..refusal })
        }
    }
}

/// The nearer of the service's and the breaker's time limits.
fn limit<'v>(
    service: &Service,
    guard: Option<&'v RouteBreaker>,
    late: &'v Rendered,
    now: Now,
) -> Option<Limit<'v>> {
    let at = |span: Duration| now.after(span);
    let own = service.timeout.map(|span| Limit { due: at(span), answer: late });
    let route = guard.and_then(|guard| {
        guard.timeout.map(|span| Limit { due: at(span), answer: &guard.timeout_answer })
    });
    match (own, route) {
        (Some(own), Some(route)) => Some(if own.due < route.due { own } else { route }),
        (own, route) => own.or(route),
    }
}

/// A request as it came.
struct Message<'a> {
    head: &'a Request,
    bytes: &'a [u8],
    path: &'a [u8],
    captures: &'a Captures,
    fields: &'a Fields,
}

/// More than the names and the blank lines of the fields that a proxy adds.
const ADDED: usize = 256;

impl Message<'_> {
    /// The head for `service`.
    fn compose(&self, service: &Service, target: &Target, client: &[u8], passage: Passage) -> Buf {
        let host = self.head.host.of_bytes(self.bytes);
        let origin = Origin { client, host };
        // A capture may be named more than once: each time it is at most the whole path, and in a
        // query each byte of it at most an escape.
        let room = self.head.len
            + service.literal_bytes
            + service.pieces.len() * self.path.len() * 3
            + host.len() * 2
            + target.line_end.len()
            + ADDED;
        let mut out = Buf::sized(room);
        let fit = out.fill(|place| {
            let mut writer = Writer::new(place);
            writer.put(self.head.method.of_bytes(self.bytes));
            writer.put(b" ");
            self.target(&mut writer, service);
            match service.host_header {
                HostHeader::Client if !host.is_empty() => {
                    writer.put(b" HTTP/1.1\r\nhost: ");
                    writer.put(host);
                    writer.put(b"\r\n");
                }
                HostHeader::Client | HostHeader::Target => writer.put(&target.line_end),
            }
            rewrite::request_fields(&mut writer, self.fields, self.bytes, &origin, passage);
            writer.finish()
        });
        debug_assert_eq!(fit, Fit::Whole, "room is an upper bound");
        out
    }

    fn target(&self, writer: &mut Writer<'_>, service: &Service) {
        for piece in &service.pieces {
            match piece {
                Piece::Literal(literal) => writer.put(literal),
                Piece::Capture(nth) => writer.put(self.captures.get(*nth, self.path)),
                Piece::QueryCapture(nth) => {
                    rewrite::query_value(writer, self.captures.get(*nth, self.path));
                }
            }
        }
        let query = self.head.query.of_bytes(self.bytes);
        match (query, service.query) {
            ([b'?', rest @ ..], TemplateQuery::Present) => {
                writer.put(b"&");
                writer.put(rest);
            }
            (query, _) => writer.put(query),
        }
    }
}

impl<'v> Refusal<'v> {
    const fn plain(answer: &'v Rendered, word: &'static str) -> Self {
        Self { answer, retry_after_s: None, route: None, count: None, bound: None, word }
    }

    const fn counted(answer: &'v Rendered, count: Count, word: &'static str) -> Self {
        Self { count: Some(count), ..Self::plain(answer, word) }
    }
}
