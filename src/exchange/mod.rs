//! One request, from its head to its settled verdict: the only room that sees both sides.
//!
//! Enters: a parsed head and the client it came from. Leaves: the response, sent; the breaker's
//! verdict, settled once; and what becomes of the client's connection. `choose` decides without
//! waiting (route, breaker, outgoing head), `forward` runs the exchange with one service, `fanout`
//! with several; `upload` and `relay` move bodies. Owns nothing that outlives the request.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

mod account;
mod balance;
mod call;
mod choose;
pub mod client;
mod fanout;
mod fault;
mod forward;
mod gather;
pub mod means;
pub mod merge;
mod passing;
mod patience;
mod receive;
mod relay;
mod retry;
mod today;
pub mod tunnel;
mod upload;
mod waiting;

use std::pin::pin;

use crate::clock::{self, Now};
use crate::http1::answer::{Rendered, Send};
use crate::http1::head;
use crate::http1::head::{Expect, Persist, Request, RequestFault};
use crate::http1::rewrite::Passage;
use crate::http1::upgrade::Upgrade;
use crate::stats::{Bound, Count};
use account::Account;
use choose::{Chosen, Refusal};
use client::{Client, Manner};
use fault::{Failure, Fault, Sent};
use means::{Means, View};
use tunnel::Tunnel;

/// What becomes of the client's connection.
pub enum Next {
    /// The next request may come.
    Again,
    /// It is closed; the client has our answer and may still be sending.
    Close,
    /// It is reset: what the client has is not a whole response.
    Reset,
    /// It goes on in another protocol.
    Tunnel(Box<Tunnel>),
}

/// Reads the head at the front of the client's buffer and, if it is whole, runs the request.
/// `None`: more has to be received.
pub async fn run(client: &mut Client, means: &Means, now: Now) -> Option<Next> {
    client.seen = now;
    let view = means.view();
    let limits = &view.table.limits;
    let bounds = head::Bounds {
        bytes: limits.header_bytes,
        fields: limits.headers,
        target: limits.uri_bytes,
    };
    let read = head::request(client.buf.filled(), &bounds, &mut means.fields.borrow_mut());
    let head = match read {
        Ok(Some(head)) => head,
        Ok(None) => return None,
        Err(fault) => return Some(refuse_head(client, means, &view, fault).await),
    };
    client.stream.deadline.disarm();
    client.served = client.served.saturating_add(1);
    client.manner = manner(client, means, &view, &head);
    let word = client.word(&view.table);
    let mut chosen = choose::choose(means, &view, client, word, &head, now);
    let account = client.begin(&head, view.table.access);
    if head.upgrade == Upgrade::Asked && !client.buf.is_empty() {
        // In which protocol these bytes are is not known unless the upgrade is accepted.
        client.refuse_rest();
    }
    let named = account::Named::of(&head);
    let next = match &mut chosen {
        Ok(chosen) => pin!(exchange(client, &account, means, &view, chosen, head.expect)).await,
        Err(refusal) => pin!(refuse(client, &account, means, &view, refusal)).await,
    };
    if account.is_wanted(view.table.access) {
        account::tell(client, &account, means, &view, &named, &chosen);
    }
    Some(next)
}

async fn refuse_head(client: &mut Client, means: &Means, view: &View, fault: RequestFault) -> Next {
    means.process.count(&means.core, Count::BadRequest);
    let answer = fault::head_answer(&view.table.answers, fault);
    let over = Over { answer, bound: fault::head_bound(fault), at: client.seen };
    refuse_all(client, means, view, &over).await
}

/// RFC 9110 §15.5.9: the client began a head and did not end it.
pub async fn too_slow(client: &mut Client, means: &Means) -> Next {
    let view = means.view();
    means.process.count(&means.core, Count::BadRequest);
    let answer = &view.table.answers.request_timeout;
    let over = Over { answer, bound: Some(Bound::Header), at: clock::now() };
    refuse_all(client, means, &view, &over).await
}

/// There is no place for another connection.
pub async fn no_room(client: &mut Client, means: &Means, bound: Bound) -> Next {
    let view = means.view();
    let over = Over { answer: &view.table.answers.no_room, bound: Some(bound), at: client.seen };
    refuse_all(client, means, &view, &over).await
}

/// Why nothing that a client sends is read any more, what it is told, and when.
struct Over<'a> {
    answer: &'a Rendered,
    /// The timeout or limit; `None`: what it sent is no HTTP.
    bound: Option<Bound>,
    at: Now,
}

/// Tells a client that there will be no exchange. Nothing it sends can be trusted.
#[cold]
async fn refuse_all(client: &mut Client, means: &Means, view: &View, over: &Over<'_>) -> Next {
    if let Some(bound) = over.bound {
        means.process.bounded(&means.core, bound, 1);
    }
    client.manner = Manner::UNREAD;
    client.seen = over.at;
    let account = Account::new(over.at, None);
    account.outcome.set(Some(over.bound.map_or("malformed", Bound::key)));
    account.end(over.answer.status(), over.at);
    let next = client.answer(means, &account, over.answer, None, view.table.timeouts.header).await;
    account::tell_unread(client, &account, means, view);
    next
}

fn manner(client: &Client, means: &Means, view: &View, head: &Request) -> Manner {
    let last = view.table.limits.requests_per_connection;
    let is_last = last.is_some_and(|max| client.served >= max.get());
    if is_last {
        means.process.bounded(&means.core, Bound::RequestsPerConnection, 1);
    }
    let goes_on = !is_last && !means.is_draining();
    let method = head.method.of_bytes(client.buf.filled());
    Manner {
        version: head.version,
        persist: if goes_on { head.persist } else { Persist::Close },
        prefer: head.prefer,
        send: if method == b"HEAD" { Send::HeadOnly } else { Send::Whole },
    }
}

async fn exchange<'v>(
    client: &mut Client,
    account: &Account,
    means: &'v Means,
    view: &'v View,
    chosen: &mut Chosen<'v>,
    expect: Expect,
) -> Next {
    let outcome = if chosen.passage == Passage::Relayed {
        pin!(forward::forward(client, account, means, view, chosen, expect)).await
    } else {
        // Boxed: a fan-out is rare, and its state would make every connection larger.
        Box::pin(fanout::fan_out(client, account, means, view, chosen, expect)).await
    };
    match outcome {
        Ok(done) => {
            // Rest begins where the exchange ended.
            client.seen = done.at;
            account.end(done.status, done.at);
            chosen.route.tally.finished(&means.core, done.status);
            done.next
        }
        Err(failure) => fail(client, account, means, view, chosen, failure).await,
    }
}

#[cold]
async fn fail(
    client: &mut Client,
    account: &Account,
    means: &Means,
    view: &View,
    chosen: &mut Chosen<'_>,
    failure: Failure,
) -> Next {
    let Failure { mut fault, sent } = failure;
    if client.stream.deadline.fired().is_none() && client.stream.is_reset() {
        // Nobody waits for it any more, and it was not us who cut it: what it would have become is
        // not known.
        fault = Fault::ClientGone;
    }
    // Settled before the answer leaves: a client that has it finds the breaker moved.
    let now = clock::now();
    chosen.call.verdict.settle(fault.ending(), now);
    chosen.verdict.settle(fault.ending(), now);
    if let Some(bound) = fault.bound() {
        means.process.bounded(&means.core, bound, 1);
    }
    account.outcome.set(Some(fault.word()));
    let limit = chosen.call.limit.map(|limit| limit.answer);
    match (sent, fault.answer(&view.table, limit)) {
        (Sent::Head(status), _) => {
            chosen.route.tally.finished(&means.core, status);
            account.end(status, now);
            Next::Reset
        }
        (Sent::Nothing, None) => {
            account.end(0, now);
            Next::Reset
        }
        (Sent::Nothing, Some(answer)) => {
            account.end(answer.status(), now);
            chosen.route.tally.finished(&means.core, answer.status());
            if matches!(fault, Fault::ClientMalformed | Fault::ClientTooLarge) {
                // Where its body ends is not known, or not worth finding out.
                client.refuse_rest();
                means.process.count(&means.core, Count::BadRequest);
            }
            client.seen = now;
            client.answer(means, account, answer, None, chosen.route.timeouts.body).await
        }
    }
}

async fn refuse(
    client: &mut Client,
    account: &Account,
    means: &Means,
    view: &View,
    refusal: &Refusal<'_>,
) -> Next {
    if let Some(count) = refusal.count {
        means.process.count(&means.core, count);
    }
    if let Some(bound) = refusal.bound {
        means.process.bounded(&means.core, bound, 1);
    }
    account.outcome.set(Some(refusal.word));
    account.end(refusal.answer.status(), client.seen);
    let mut limit = view.table.timeouts.header;
    if let Some(route) = refusal.route {
        route.tally.finished(&means.core, refusal.answer.status());
        limit = route.timeouts.body;
    }
    client.answer(means, account, refusal.answer, refusal.retry_after_s, limit).await
}
