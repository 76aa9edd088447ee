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

use super::account::Account;
use super::balance::Refused;
use super::call::Call;
use super::choose::{Chosen, Repeat};
use super::client::Client;
use super::fault::{Failure, Fault, Sent};
use super::forward::{self, Fresh};
use super::gather;
use super::means::{Means, Verdict, View};
use super::merge::{Answer, Merged, Part, Reply, Response, merge};
use super::patience::Patience;
use super::receive;
use super::relay::{Done, Progress, Rest};
use super::retry::Again;
use crate::breaker::outcome::Ending;
use crate::clock;
use crate::config::Merge;
use crate::http1::answer::{Length, Rendered, Say, Send};
use crate::http1::framing::{Body, Fed, Part as Bytes};
use crate::http1::head::{Asked, Expect, Persist};
use crate::rt::buffer::Buf;
use crate::rt::deadline::Watched;
use crate::rt::stream::Stream;
use crate::stats::{Bound, Count};
use crate::table::Route;
use crate::upstream::{From, Leased};

/// The largest answer of one service that is merged.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Runs the exchange.
pub(super) async fn fan_out<'v>(
    client: &mut Client,
    account: &Account,
    means: &'v Means,
    view: &'v View,
    chosen: &mut Chosen<'v>,
    expect: Expect,
) -> Result<Done, Failure> {
    // The time that a client takes to send its body is not the services': it ends with theirs.
    let limits = std::iter::once(&chosen.call).chain(&chosen.others);
    let until = limits.filter_map(|call| call.limit).map(|limit| limit.due).min();
    let body = gather::whole(client, account, chosen.route, until, expect).await?;
    let first = std::iter::once(&mut chosen.call);
    let (route, repeat, stream) = (chosen.route, chosen.repeat, &client.stream);
    let again = Again { means, view, route, repeat, client: stream, account };
    let (asked, head, verdict) = (chosen.asked, chosen.head.as_ref(), &chosen.verdict);
    let watched = stream.watched();
    let exchange =
        Exchange { means, view, route, client: watched, body: &body, again, verdict, head };
    let calls = first.chain(&mut chosen.others);
    let fetched = join_all(calls.map(|call| exchange.fetch(call, asked))).await;
    if fetched.iter().any(|fetched| matches!(fetched, Err(Miss::Fault(Fault::ClientGone)))) {
        return Err(Fault::ClientGone.into());
    }
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
        Merged::Failure(_) => first_blamed(&parts, &fetched, &chosen.verdict),
        Merged::Conflict(_) => Ending::Conflict,
    };
    let now = clock::now();
    chosen.verdict.settle(ending, now);
    client.seen = now;
    let conflict;
    let answer = match merged {
        Merged::Response(response) if response.status < 500 || !chosen.route.generic_errors => {
            return send(client, account, means, chosen.route, &response).await;
        }
        Merged::Failure(ours) => {
            let miss = first_miss(&parts, &fetched);
            if let Some(bound) = miss.bound() {
                means.process.bounded(&means.core, bound, 1);
            }
            account.outcome.set(Some(miss.word()));
            ours
        }
        Merged::Conflict(text) if !chosen.route.generic_errors => {
            account.outcome.set(Some("merge_conflict"));
            conflict = Rendered::new(500, Say::Message(&text), "");
            &conflict
        }
        Merged::Response(_) | Merged::Conflict(_) => {
            account.outcome.set(Some("concealed"));
            &view.table.answers.internal
        }
    };
    let retry_after_s = match first_miss(&parts, &fetched) {
        Miss::Refused(refused) if std::ptr::eq(refused.answer, answer) => {
            refused.retry_after_s.map(|seconds| seconds.get().into())
        }
        Miss::Refused(_) | Miss::Fault(_) => None,
    };
    let next =
        client.answer(means, account, answer, retry_after_s, chosen.route.timeouts.body).await;
    Ok(Done { status: answer.status(), next, rest: Rest::Dirty, at: now })
}

/// What a service gave: status, header lines and body.
struct Fetched {
    status: u16,
    headers: Vec<u8>,
    body: Vec<u8>,
}

/// Why a service gave nothing.
#[derive(Clone, Copy)]
enum Miss<'v> {
    /// It failed.
    Fault(Fault),
    /// Its breaker let nothing through.
    Refused(Refused<'v>),
}

impl Miss<'_> {
    const fn ending(self) -> Ending {
        match self {
            Self::Fault(fault) => fault.ending(),
            Self::Refused(_) => Ending::Refused,
        }
    }

    const fn bound(self) -> Option<Bound> {
        match self {
            Self::Fault(fault) => fault.bound(),
            Self::Refused(_) => None,
        }
    }

    /// What the access log calls it.
    const fn word(self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.word(),
            Self::Refused(_) => "open",
        }
    }
}

type Fetch<'v> = Result<Fetched, Miss<'v>>;

fn reply<'a>(view: &'a View, call: &Call<'a>, fetched: &'a Fetch<'a>) -> Reply<'a> {
    match fetched {
        Ok(Fetched { status, headers, body }) => {
            Reply::Answer(Answer { status: *status, headers, body })
        }
        Err(Miss::Refused(refused)) => Reply::Failure(refused.answer),
        Err(Miss::Fault(fault)) => {
            let limit = call.limit.map(|limit| limit.answer);
            Reply::Failure(fault.answer(&view.table, limit).unwrap_or(&view.table.answers.internal))
        }
    }
}

/// What stands for the whole exchange: of the first service that takes part in it.
fn first_miss<'v>(parts: &[Part<'_>], fetched: &[Fetch<'v>]) -> Miss<'v> {
    let misses = parts.iter().zip(fetched).filter(|(part, _)| part.merge == Merge::Union);
    let first = misses.filter_map(|(_, fetched)| fetched.as_ref().err()).next();
    first.copied().unwrap_or(Miss::Fault(Fault::CutShort))
}

/// How an exchange ended that one of its services gave nothing for: as for the first of those that
/// take part, unless that says nothing of any service (it was refused) and another has failed.
fn first_blamed(parts: &[Part<'_>], fetched: &[Fetch<'_>], verdict: &Verdict<'_>) -> Ending {
    let taking_part = parts.iter().zip(fetched).filter(|(part, _)| part.merge == Merge::Union);
    let mut endings = taking_part.map(|(_, fetched)| match fetched {
        Ok(Fetched { status, .. }) => Ending::Answered(*status),
        Err(miss) => miss.ending(),
    });
    let blamed = endings.find(|ending| verdict.blames(*ending));
    blamed.unwrap_or_else(|| first_miss(parts, fetched).ending())
}

struct Exchange<'a, 'v> {
    means: &'v Means,
    view: &'v View,
    route: &'v Route,
    client: Watched,
    body: &'a [u8],
    again: Again<'a, 'v>,
    verdict: &'a Verdict<'v>,
    head: Option<&'a Buf>,
}

impl<'v> Exchange<'_, 'v> {
    /// Asks one service, as often as its `retry` says.
    async fn fetch(&self, call: &mut Call<'v>, asked: Asked) -> Fetch<'v> {
        if let Some(refused) = call.refused {
            return Err(Miss::Refused(refused));
        }
        let head = std::mem::take(&mut call.out);
        let mut out = self.message(&head, self.again.repeat);
        let mut fresh = Fresh::No;
        loop {
            let (fetched, back) = self.attempt(call, asked, out, &mut fresh).await;
            out = back;
            let goes_on = match &fetched {
                Ok(fetched) => self.again.after_status(call, self.verdict, fetched.status),
                Err(fault) => self.again.after(call, self.verdict, *fault, Sent::Nothing),
            };
            if goes_on {
                out = self.again.readdressed(call, out, self.head).map_err(Miss::Fault)?;
                continue;
            }
            let ending = match &fetched {
                Ok(fetched) => Ending::Answered(fetched.status),
                Err(fault) => fault.ending(),
            };
            call.verdict.settle(ending, clock::now());
            return fetched.map_err(Miss::Fault);
        }
    }

    /// One attempt; the request comes back, to be sent again.
    async fn attempt(
        &self,
        call: &Call<'v>,
        asked: Asked,
        mut out: Buf,
        fresh: &mut Fresh,
    ) -> (Result<Fetched, Fault>, Buf) {
        let silence = self.route.timeouts.response;
        let patience = Patience { silence, limit: call.limit, client: self.client };
        loop {
            let now = clock::now();
            let leased = match forward::lease(self.means, self.route, call, now, *fresh).await {
                Ok(leased) => leased,
                Err(fault) => return (Err(fault), out),
            };
            // From now on a parked connection, which may be stale, would be one attempt too many.
            *fresh = Fresh::Yes;
            let Some(stream) = leased.stream() else { return (Err(Fault::CutShort), out) };
            patience.arm(stream, clock::now());
            // A peer that closes while it is written to may have answered before: reading tells.
            let sent;
            let taken = || patience.arm(stream, clock::now());
            (sent, out) = stream.write_watched(out, taken).await;
            let request = if sent.is_ok() { Progress::Whole } else { Progress::Running };
            match self.answer(leased, request, asked, &patience).await {
                Err((Fault::Stale, From::Pool)) if self.again.repeat == Repeat::Idempotent => {
                    self.means.process.count(&self.means.core, Count::Retried);
                    self.again.account.retried();
                }
                // Nothing came back on a connection that was fresh: it was not the pool's fault.
                Err((Fault::Stale, From::Dial)) => return (Err(Fault::CutShort), out),
                answered => return (answered.map_err(|(fault, _)| fault), out),
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
        request: Progress,
        asked: Asked,
        patience: &Patience<'_>,
    ) -> Result<Fetched, (Fault, From)> {
        let from = leased.from;
        let Some(stream) = leased.stream() else { return Err((Fault::CutShort, from)) };
        let (means, view) = (self.means, self.view);
        let received = receive::head(means, view, stream, asked, b"", patience, None).await;
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
        let clean = clean == Clean::Yes && request == Progress::Whole;
        if clean && head.persist == Persist::Keep {
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

/// Sends a merged response.
async fn send(
    client: &mut Client,
    account: &Account,
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
    let next = client.answer(means, account, &rendered, None, route.timeouts.body).await;
    Ok(Done { status, next, rest: Rest::Dirty, at })
}
