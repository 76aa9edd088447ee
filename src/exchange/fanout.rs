//! The exchange with several services: all are asked at once, their answers become one.
//!
//! Enters: a chosen request with more than one call. Leaves: the merged response, sent; or a
//! failure. Whole bodies are held, within the limits below. Cold by nature: it allocates.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "cold: a fan-out holds whole bodies anyway"
)]

use std::io::Write;

use futures_util::future::join_all;

use super::choose::{Call, Chosen, Repeat};
use super::client::Client;
use super::fault::{Failure, Fault};
use super::forward;
use super::means::{Means, View};
use super::merge::{Answer, Merged, Part, Reply, Response, merge};
use super::patience::Patience;
use super::receive;
use super::relay::{Done, Rest};
use super::waiting::Waiting;
use crate::breaker::outcome::Ending;
use crate::clock::{self, Now};
use crate::config::Merge;
use crate::http1::answer::{Length, Rendered, Say, Send};
use crate::http1::framing::{Body, Fed, Part as Bytes};
use crate::http1::head::{Asked, Expect, Persist};
use crate::rt::buffer::Buf;
use crate::rt::deadline::Cut;
use crate::rt::stream::Stream;
use crate::stats::Count;
use crate::table::Route;
use crate::upstream::{From, Leased};

/// The largest request body that is sent to several services.
const REQUEST_MAX: usize = 1024 * 1024;

/// The largest answer of one service that is merged.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Runs the exchange.
pub(super) async fn fan_out<'v>(
    client: &mut Client,
    means: &'v Means,
    view: &'v View,
    chosen: &mut Chosen<'v>,
    expect: Expect,
) -> Result<Done, Failure> {
    // The time that a client takes to send its body is not the services': it ends with theirs.
    let limits = std::iter::once(&chosen.call).chain(&chosen.others);
    let until = limits.filter_map(|call| call.limit).map(|limit| limit.due).min();
    let body = whole_body(client, chosen.route, until, expect).await?;
    let first = std::iter::once(&mut chosen.call);
    let exchange = Exchange { means, view, route: chosen.route, body: &body };
    let (asked, repeat) = (chosen.asked, chosen.repeat);
    let calls = first.chain(&mut chosen.others);
    let fetched = join_all(calls.map(|call| exchange.fetch(call, asked, repeat))).await;
    let calls = std::iter::once(&chosen.call).chain(&chosen.others);
    let parts: Vec<Part<'_>> = calls
        .zip(&fetched)
        .map(|(call, fetched)| Part {
            service: &call.service.name,
            merge: call.service.merge,
            reply: reply(view, call, fetched),
        })
        .collect();
    let merged = merge(&parts);
    let ending = match &merged {
        Merged::Response(response) => Ending::Answered(response.status),
        Merged::Failure(_) => first_fault(&parts, &fetched).ending(),
        Merged::Conflict(_) => Ending::Conflict,
    };
    let now = clock::now();
    chosen.verdict.settle(ending, now);
    client.seen = now;
    let conflict;
    let answer = match merged {
        Merged::Response(response) if response.status < 500 || !chosen.route.generic_errors => {
            return send(client, means, chosen.route, &response).await;
        }
        Merged::Failure(ours) => {
            let fault = first_fault(&parts, &fetched);
            if let Some(bound) = fault.bound() {
                means.process.bounded(&means.core, bound, 1);
            }
            client.account.outcome.set(Some(fault.word()));
            ours
        }
        Merged::Conflict(text) if !chosen.route.generic_errors => {
            client.account.outcome.set(Some("merge_conflict"));
            conflict = Rendered::new(500, Say::Message(&text), "");
            &conflict
        }
        Merged::Response(_) | Merged::Conflict(_) => {
            client.account.outcome.set(Some("concealed"));
            &view.table.answers.internal
        }
    };
    let next = client.answer(means, answer, None, chosen.route.timeouts.body).await;
    Ok(Done { status: answer.status(), next, rest: Rest::Dirty, at: now })
}

/// What a service gave: status, header lines and body.
struct Fetched {
    status: u16,
    headers: Vec<u8>,
    body: Vec<u8>,
}

fn reply<'a>(view: &'a View, call: &Call<'a>, fetched: &'a Result<Fetched, Fault>) -> Reply<'a> {
    match fetched {
        Ok(Fetched { status, headers, body }) => {
            Reply::Answer(Answer { status: *status, headers, body })
        }
        Err(fault) => {
            let limit = call.limit.map(|limit| limit.answer);
            Reply::Failure(fault.answer(&view.table, limit).unwrap_or(&view.table.answers.internal))
        }
    }
}

/// The fault that stands for the whole exchange: of the first service that takes part in it.
fn first_fault(parts: &[Part<'_>], fetched: &[Result<Fetched, Fault>]) -> Fault {
    let faults = parts.iter().zip(fetched).filter(|(part, _)| part.merge == Merge::Union);
    let first = faults.filter_map(|(_, fetched)| fetched.as_ref().err()).next();
    first.copied().unwrap_or(Fault::CutShort)
}

struct Exchange<'a, 'v> {
    means: &'v Means,
    view: &'v View,
    route: &'v Route,
    body: &'a [u8],
}

impl<'v> Exchange<'_, 'v> {
    async fn fetch(
        &self,
        call: &mut Call<'v>,
        asked: Asked,
        repeat: Repeat,
    ) -> Result<Fetched, Fault> {
        let now = clock::now();
        let head = std::mem::replace(&mut call.out, Buf::sized(0));
        let mut out = self.message(&head, repeat);
        let mut leased = forward::lease(self.means, self.route, call, now).await?;
        let patience = Patience { silence: self.route.timeouts.response, limit: call.limit };
        loop {
            let Some(stream) = leased.stream() else { return Err(Fault::CutShort) };
            patience.arm(stream, clock::now());
            // A peer that closes while it is written to may have answered before: reading tells.
            (_, out) = stream.write(out).await;
            match self.answer(leased, asked, &patience).await {
                Err((Fault::Stale, From::Pool)) if repeat == Repeat::Idempotent => {
                    self.means.process.count(&self.means.core, Count::Retried);
                    leased = forward::dial(self.means, self.route, call).await?;
                }
                // Nothing came back on a connection that was fresh: it was not the pool's fault.
                Err((Fault::Stale, From::Dial)) => return Err(Fault::CutShort),
                answered => return answered.map_err(|(fault, _)| fault),
            }
        }
    }

    /// The request's head, completed, and its body.
    fn message(&self, head: &Buf, repeat: Repeat) -> Buf {
        let mut out = Buf::sized(head.len() + self.body.len() + 64);
        let _ = out.put(head.filled());
        let mut length = [0; 64];
        let mut rest = &mut length[..];
        let before = rest.len();
        // A method that acts on a body says that there is none (RFC 9110 §8.6).
        if !self.body.is_empty() || repeat == Repeat::Never {
            let _ = write!(rest, "content-length: {}\r\n", self.body.len());
        }
        let _ = rest.write_all(b"\r\n");
        let written = before - rest.len();
        let _ = out.put(length.get(..written).unwrap_or_default());
        let _ = out.put(self.body);
        out
    }

    async fn answer(
        &self,
        leased: Leased,
        asked: Asked,
        patience: &Patience<'_>,
    ) -> Result<Fetched, (Fault, From)> {
        let from = leased.from;
        let Some(stream) = leased.stream() else { return Err((Fault::CutShort, from)) };
        let received = receive::head(self.means, self.view, stream, asked, patience).await;
        let received = received.map_err(|fault| (fault, from))?;
        let (head, mut buf) = (received.head, received.buf);
        let headers = {
            let fields = self.means.fields.borrow();
            let start = fields.list().first().map_or(fields.end(), |field| field.name.start());
            buf.filled().get(start..fields.end()).unwrap_or_default().to_vec()
        };
        buf.consume(head.len);
        let (body, clean) = read_body(stream, buf, Body::new(head.framing), patience)
            .await
            .map_err(|fault| (fault, from))?;
        if clean == Clean::Yes && head.persist == Persist::Keep {
            leased.park(clock::now());
        }
        Ok(Fetched { status: head.status, headers, body })
    }
}

/// Whether nothing lies behind a response's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clean {
    Yes,
    No,
}

async fn read_body(
    stream: &Stream,
    mut buf: Buf,
    mut framing: Body,
    patience: &Patience<'_>,
) -> Result<(Vec<u8>, Clean), Fault> {
    let mut body = Vec::new();
    loop {
        let filled = buf.filled();
        let fed = framing.feed(filled, |part, range| {
            if part == Bytes::Data {
                body.extend_from_slice(filled.get(range).unwrap_or_default());
            }
        });
        match fed {
            Fed::Bad => return Err(Fault::Malformed),
            Fed::Done(used) if used == buf.len() => return Ok((body, Clean::Yes)),
            Fed::Done(_) => return Ok((body, Clean::No)),
            Fed::More if body.len() > ANSWER_MAX => return Err(Fault::Malformed),
            Fed::More => {}
        }
        buf.clear();
        patience.arm(stream, clock::now());
        let (read, back) = stream.read(buf).await;
        buf = back;
        match read {
            Ok(1..) => {}
            Ok(0) if matches!(framing, Body::UntilClose) && stream.deadline.fired().is_none() => {
                return Ok((body, Clean::No));
            }
            Ok(0) | Err(_) => return Err(Fault::of_upstream(stream)),
        }
    }
}

/// Reads the request's body whole.
async fn whole_body(
    client: &mut Client,
    route: &Route,
    until: Option<Now>,
    expect: Expect,
) -> Result<Vec<u8>, Failure> {
    let Client { stream, buf, body: framing, seen, account, .. } = client;
    let waiting = Waiting::new(stream, route.timeouts.body, until);
    let max = route
        .body_bytes_max
        .map_or(REQUEST_MAX, |max| usize::try_from(max).unwrap_or(usize::MAX).min(REQUEST_MAX));
    let mut body = Vec::new();
    let mut invitation = Some(expect).filter(|expect| *expect == Expect::Continue);
    loop {
        if !framing.is_over() {
            let filled = buf.filled();
            let fed = framing.feed(filled, |part, range| {
                if part == Bytes::Data {
                    body.extend_from_slice(filled.get(range).unwrap_or_default());
                }
            });
            match fed {
                Fed::Bad => return Err(Fault::ClientMalformed.into()),
                Fed::Done(used) => buf.consume(used),
                Fed::More => buf.renew(),
            }
        }
        account.received.set(body.len() as u64);
        if body.len() > max {
            return Err(Fault::ClientTooLarge.into());
        }
        if framing.is_over() {
            return Ok(body);
        }
        if invitation.take().is_some() {
            forward::invite(&waiting, *seen).await?;
        }
        let mut room = std::mem::replace(buf, Buf::sized(0));
        room.renew();
        waiting.begin(clock::now(), Cut::Read);
        let (read, back) = stream.read(room).await;
        waiting.end();
        *buf = back;
        if !matches!(read, Ok(1..)) {
            return Err(Fault::of_client(stream).into());
        }
    }
}

/// Sends a merged response.
async fn send(
    client: &mut Client,
    means: &Means,
    route: &Route,
    response: &Response<'_>,
) -> Result<Done, Failure> {
    let (status, at) = (response.status, client.seen);
    let mut lines = response.headers.clone();
    if let Some(kind) = response.content_type {
        lines.extend([b"content-type: ", kind, b"\r\n"].concat());
    }
    let length = match client.manner.send {
        Send::Whole => Length::Told,
        // Of a body that nobody fetched.
        Send::HeadOnly => Length::Untold,
    };
    let rendered = Rendered::from_bytes(status, &lines, &response.body, length);
    let next = client.answer(means, &rendered, None, route.timeouts.body).await;
    Ok(Done { status, next, rest: Rest::Dirty, at })
}
