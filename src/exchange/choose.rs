//! Everything about a request that is decided without waiting.
//!
//! Enters: a head and its fields, in the client's buffer. Leaves: [`Chosen`], where it goes and the
//! heads that go there, with the breaker's ticket; or [`Refusal`], the answer it gets at once. Pure
//! but for the breaker and the pools it names.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::time::Duration;

use super::balance::{self, Core, Refused};
use super::call::{Call, limit_of};
use super::client::Client;
use super::means::{Means, Verdict, View};
use super::patience::{self, Limit};
use crate::clock::Now;
use crate::config::{HostHeader, Merge, TemplateQuery};
use crate::http1::answer::Rendered;
use crate::http1::field::Fields;
use crate::http1::forwarding::{self, Origin, Word};
use crate::http1::framing::Framing;
use crate::http1::head::{self, Asked, Request};
use crate::http1::rewrite::{self, Passage, Writer};
use crate::http1::upgrade::Upgrade;
use crate::rt::buffer::{Buf, Fit};
use crate::stats::{Bound, Count, Retries};
use crate::table::matcher::{Captures, Match};
use crate::table::spelling;
use crate::table::{Endpoint, Guard, Piece, Route, RouteIx, Service};

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
    /// Whether another protocol is asked for.
    pub(super) upgrade: Upgrade,
    /// The head as the client sent it, where another URL may have to be written from it.
    pub(super) head: Option<Buf>,
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
    word: Word,
    head: &Request,
    now: Now,
) -> Result<Chosen<'v>, Refusal<'v>> {
    let bytes = client.buf.filled();
    let answers = &view.table.answers;
    let path = head.path.of_bytes(bytes);
    if !spelling::clean(path, view.table.paths) {
        return Err(Refusal::counted(&answers.bad_request, Count::BadRequest, "malformed"));
    }
    let (fields, telling) = (means.fields.borrow(), &view.table.forwarding.telling);
    if telling.is_loop(&fields, bytes) {
        return Err(Refusal::counted(&answers.loop_detected, Count::BadRequest, "loop"));
    }
    let mut captures = Captures::default();
    let ix = find(view, head, bytes, path, &mut captures)?;
    let route = view.table.route(ix);
    check_length(view, route, head.framing)?;
    let Admitted { verdict, guard, services } = admit(means, view, route, now)?;
    let passage = match services {
        [only] if only.merge == Merge::Union => Passage::Relayed,
        _ => Passage::Read,
    };
    let host = head.host.of_bytes(bytes);
    let origin = Origin { address: &client.address, host, word, telling };
    let message = Message { head, bytes, path, captures: &captures, fields: &fields };
    let core = Core { means, view, now };
    let late = &answers.gateway_timeout;
    let call = |service: &'v Service| {
        let whole = limit(service, guard, late, now);
        Call::begin(&core, service, whole, &message, &origin, passage)
    };
    // Not inlined: a second copy of all that makes a call, for what is rare.
    let instead = |refused: Refused<'v>| {
        let service = view.table.service_alone(refused.instead?).first()?;
        service.tally.add(&means.core, Retries::StoodIn as usize, 1);
        let whole = limit(service, guard, late, now);
        Call::begin_instead(&core, service, whole, &message, &origin, passage)
    };
    let no_room = || Refusal { route: Some(route), ..Refusal::plain(&answers.no_room, "") };
    // The first by itself, and not out of an iterator: a call is made where it stays.
    let Some((first, others)) = services.split_first() else { return Err(no_room()) };
    let Some(mut first) = call(first) else { return Err(no_room()) };
    let mut others: Vec<_> = others.iter().filter_map(call).collect();
    let turn_aside = |call: &mut Call<'v>| {
        // What is ignored needs nobody to stand in for it.
        if let Some(refused) = call.refused
            && call.service.merge == Merge::Union
            && let Some(stand_in) = instead(refused)
        {
            *call = stand_in;
        }
    };
    turn_aside(&mut first);
    others.iter_mut().for_each(turn_aside);
    if let (Passage::Relayed, Some(refused)) = (passage, first.refused) {
        return Err(Refusal::open(refused, route));
    }
    let method = head.method.of_bytes(bytes);
    let mut may_move = std::iter::once(&first).chain(&others).map(|call| call.service.may_move());
    Ok(Chosen {
        route,
        verdict,
        head: may_move.any(|may| may).then(|| head_of(head, bytes)),
        call: first,
        others,
        passage,
        asked: if method == b"HEAD" { Asked::Head } else { Asked::Body },
        repeat: match method {
            b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE" => Repeat::Idempotent,
            _ => Repeat::Never,
        },
        upgrade: head.upgrade,
    })
}

fn find<'v>(
    view: &'v View,
    head: &Request,
    bytes: &[u8],
    path: &[u8],
    captures: &mut Captures,
) -> Result<RouteIx, Refusal<'v>> {
    let method = head.method.of_bytes(bytes);
    let (answers, matcher) = (&view.table.answers, &view.table.matcher);
    let host = if matcher.knows_hosts() { name_of(head.host.of_bytes(bytes)) } else { &[] };
    let found = if host.iter().any(u8::is_ascii_uppercase) {
        matcher.find(lower(host, &mut [0; 256]), path, method, captures)
    } else {
        matcher.find(host, path, method, captures)
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

/// A body that is announced as too long is not read.
#[inline]
fn check_length<'v>(view: &'v View, route: &'v Route, framing: Framing) -> Result<(), Refusal<'v>> {
    if let (Framing::Exact(length), Some(max)) = (framing, route.body_bytes_max)
        && length > max
    {
        let (answer, bound) = (&view.table.answers.content_too_large, Bound::BodyBytes);
        let refusal = Refusal::counted(answer, Count::BadRequest, bound.key());
        return Err(Refusal { route: Some(route), bound: Some(bound), ..refusal });
    }
    Ok(())
}

/// What the route's breaker let through.
struct Admitted<'v> {
    verdict: Verdict<'v>,
    guard: Option<&'v Guard>,
    /// Where it goes.
    services: &'v [Service],
}

/// Asks the route's breaker. What it refuses goes to the service that stands in, if there is one:
/// that teaches this breaker nothing.
#[inline]
fn admit<'v>(
    means: &'v Means,
    view: &'v View,
    route: &'v Route,
    now: Now,
) -> Result<Admitted<'v>, Refusal<'v>> {
    match balance::admit(means, view, route.breaker, now) {
        Ok((verdict, guard)) => {
            Ok(Admitted { verdict, guard, services: view.table.services_of(route) })
        }
        Err(refused) => {
            let Some(ix) = refused.instead else { return Err(Refusal::open(refused, route)) };
            let services = view.table.service_alone(ix);
            services.iter().for_each(|it| it.tally.add(&means.core, Retries::StoodIn as usize, 1));
            let verdict = Verdict { means, view, ticket: None };
            Ok(Admitted { verdict, guard: None, services })
        }
    }
}

/// The nearer of the service's and the breaker's time limits.
fn limit<'v>(
    service: &Service,
    guard: Option<&'v Guard>,
    late: &'v Rendered,
    now: Now,
) -> Option<Limit<'v>> {
    let at = |span: Duration| now.after(span);
    let own = service.timeout.map(|span| Limit { due: at(span), answer: late });
    patience::nearer(own, limit_of(guard, now))
}

/// The head as it came.
fn head_of(head: &Request, bytes: &[u8]) -> Buf {
    Buf::copy_of(bytes.get(..head.len).unwrap_or_default())
}

/// What comes before the fields of the request for the URL that `call` goes to now; `head` is the
/// head as the client sent it. Read anew: what was found in it the first time is gone. `None`: it
/// reads otherwise now, which it does not.
#[cold]
pub(super) fn front(means: &Means, view: &View, call: &Call<'_>, head: &Buf) -> Option<Buf> {
    let bytes = head.filled();
    let limits = &view.table.limits;
    let bounds =
        head::Bounds { bytes: bytes.len(), fields: limits.headers, target: limits.uri_bytes };
    let head = head::request(bytes, &bounds, &mut means.fields.borrow_mut()).ok()??;
    let (fields, path) = (means.fields.borrow(), head.path.of_bytes(bytes));
    let mut captures = Captures::default();
    find(view, &head, bytes, path, &mut captures).ok()?;
    let message = Message { head: &head, bytes, path, captures: &captures, fields: &fields };
    let mut out = Buf::sized(message.room(view, call.endpoint));
    let fit = out.fill(|place| {
        let mut writer = Writer::new(place);
        message.front(&mut writer, view, call.service, call.endpoint);
        writer.finish()
    });
    debug_assert_eq!(fit, Fit::Whole, "room is an upper bound");
    (fit == Fit::Whole).then_some(out)
}

/// A request as it came.
pub(super) struct Message<'a> {
    head: &'a Request,
    bytes: &'a [u8],
    path: &'a [u8],
    captures: &'a Captures,
    fields: &'a Fields,
}

/// More than the version, the blank line and the fields that a proxy adds, but for hosts.
const ADDED: usize = forwarding::ADDED + 128;

impl Message<'_> {
    /// The head for `endpoint` of `service`, and where in it the fields begin. `None`: there was no
    /// room for it, which cannot be; half a head is sent to nobody.
    pub(super) fn compose(
        &self,
        view: &View,
        service: &Service,
        endpoint: &Endpoint,
        origin: &Origin<'_>,
        passage: Passage,
    ) -> Option<(Buf, usize)> {
        let mut out = Buf::sized(self.room(view, endpoint));
        let mut front = 0;
        let fit = out.fill(|place| {
            let mut writer = Writer::new(place);
            self.front(&mut writer, view, service, endpoint);
            front = writer.written();
            let (head, fields) = (self.head, self.fields);
            rewrite::request_fields(&mut writer, head, fields, self.bytes, origin, passage);
            writer.finish()
        });
        debug_assert_eq!(fit, Fit::Whole, "room is an upper bound");
        (fit == Fit::Whole).then_some((out, front))
    }

    /// No head for `endpoint` is longer.
    fn room(&self, view: &View, endpoint: &Endpoint) -> usize {
        // A capture may be named more than once: each time it is at most the whole path, and in a
        // query each byte of it at most an escape.
        self.head.len
            + endpoint.literal_bytes
            + endpoint.pieces.len() * self.path.len() * 3
            + self.head.host.of_bytes(self.bytes).len() * 3
            + view.table.target(endpoint.target).line_end.len()
            + ADDED
    }

    /// The request line and the `Host` line.
    #[inline]
    fn front(&self, writer: &mut Writer<'_>, view: &View, service: &Service, to: &Endpoint) {
        let host = self.head.host.of_bytes(self.bytes);
        writer.put(self.head.method.of_bytes(self.bytes));
        writer.put(b" ");
        self.target(writer, to);
        match service.host_header {
            HostHeader::Client if !host.is_empty() => {
                writer.put(b" HTTP/1.1\r\nhost: ");
                writer.put(host);
                writer.put(b"\r\n");
            }
            HostHeader::Client | HostHeader::Target => {
                writer.put(&view.table.target(to.target).line_end);
            }
        }
    }

    #[inline]
    fn target(&self, writer: &mut Writer<'_>, endpoint: &Endpoint) {
        for piece in &endpoint.pieces {
            match piece {
                Piece::Literal(literal) => writer.put(literal),
                Piece::Capture(nth) => writer.put(self.captures.get(*nth, self.path)),
                Piece::QueryCapture(nth) => {
                    rewrite::query_value(writer, self.captures.get(*nth, self.path));
                }
            }
        }
        let query = self.head.query.of_bytes(self.bytes);
        match (query, endpoint.query) {
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

    /// A breaker let nothing through.
    fn open(refused: Refused<'v>, route: &'v Route) -> Self {
        let Refused { answer, retry_after_s, .. } = refused;
        let retry_after_s = retry_after_s.map(|seconds| seconds.get().into());
        Self { retry_after_s, route: Some(route), ..Self::plain(answer, "open") }
    }

    const fn counted(answer: &'v Rendered, count: Count, word: &'static str) -> Self {
        Self { count: Some(count), ..Self::plain(answer, word) }
    }
}
