//! The exchange with one service: request there, response back.
//!
//! Enters: a chosen request. Leaves: the response, relayed; or how it went wrong. The request goes
//! first and the response is read after it; only where the request's body is longer than what has
//! arrived with its head do both directions run at once, so that an early response is not missed.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;

use futures_util::future::join;

use super::account::Account;
use super::choose::{Call, Chosen, Repeat};
use super::client::{Client, Manner};
use super::fault::{Failure, Fault};
use super::means::{Means, View};
use super::patience::Patience;
use super::receive;
use super::relay::{Done, Line, Progress, Relay, Rest};
use super::upload::Upload;
use super::waiting::Waiting;
use crate::clock::{self, Now};
use crate::http1::answer::Send;
use crate::http1::head::{Asked, Expect};
use crate::rt::buffer::{Buf, Class};
use crate::rt::deadline::Cut;
use crate::rt::stream::Stop;
use crate::stats::Count;
use crate::table::Route;
use crate::upstream::{self, From, Leased};

/// Runs the exchange.
pub(super) async fn forward<'v>(
    client: &mut Client,
    means: &'v Means,
    view: &'v View,
    chosen: &mut Chosen<'v>,
    expect: Expect,
) -> Result<Done, Failure> {
    let Client { stream, buf, body, seen, manner, account, .. } = client;
    let (now, route, account) = (*seen, chosen.route, &*account);
    let mut out = std::mem::replace(&mut chosen.call.out, Buf::sized(0));
    let mut upload = Upload { body, buf, allowance: route.body_bytes_max, account };
    upload.prefix(&mut out)?;
    let client = Waiting::new(stream, route.timeouts.body, None);
    let whole = upload.body.is_over();
    if !whole && expect == Expect::Continue {
        invite(&client, now).await?;
    }
    let repeat = if whole { chosen.repeat } else { Repeat::Never };
    let mut leased = lease(means, route, &chosen.call, now).await?;
    let patience = Patience { silence: route.timeouts.response, limit: chosen.call.limit };
    loop {
        let from = leased.from;
        let request = Cell::new(if whole { Progress::Whole } else { Progress::Running });
        if let Some(stream) = leased.stream() {
            // Connecting took time of its own, which is not the upstream's silence.
            let at = if from == From::Dial { clock::now() } else { now };
            if from == From::Dial {
                account.dialled.set(at);
            }
            account.asked.set(at);
            patience.arm(stream, at);
            // A peer that closes while it is written to may have answered before: reading tells.
            (_, out) = stream.write(out).await;
        }
        let request = &request;
        let exchange = Exchange { means, view, client: &client, patience, request, account };
        let relayed = if whole {
            exchange.response(*manner, Line::Own(leased), chosen).await
        } else {
            let relayed = exchange.both_ways(*manner, &leased, chosen, &mut upload).await;
            if let (Ok(Done { rest: Rest::Clean, at, .. }), Progress::Whole) =
                (&relayed, request.get())
            {
                leased.park(*at);
            }
            relayed
        };
        match relayed {
            Err(Failure { fault: Fault::Stale, .. })
                if from == From::Pool && repeat == Repeat::Idempotent =>
            {
                means.process.count(&means.core, Count::Retried);
                account.retried();
                leased = dial(means, route, &chosen.call).await?;
            }
            // Nothing came back on a connection that was fresh: it was not the pool's fault.
            Err(Failure { fault: Fault::Stale, sent }) if from == From::Dial => {
                return Err(Failure { fault: Fault::CutShort, sent });
            }
            relayed => return relayed,
        }
    }
}

/// Lets a client that waits for it send its body.
pub(super) async fn invite(client: &Waiting<'_>, now: Now) -> Result<(), Fault> {
    let mut buf = Buf::new(Class::Small);
    let _ = buf.put(b"HTTP/1.1 100 Continue\r\n\r\n");
    client.begin(now, Cut::Both);
    let (sent, _) = client.stream().write(buf).await;
    client.end();
    sent.map_err(|_| Fault::of_client(client.stream()))
}

pub(super) async fn lease(
    means: &Means,
    route: &Route,
    call: &Call<'_>,
    now: Now,
) -> Result<Leased, Fault> {
    let dialling = means.dialling(route.timeouts.connect);
    match upstream::reuse(call.pool, now, &dialling) {
        Some(leased) => Ok(leased),
        None => dial(means, route, call).await,
    }
}

/// Connects, within what is left of the exchange's time.
pub(super) async fn dial(means: &Means, route: &Route, call: &Call<'_>) -> Result<Leased, Fault> {
    let left = call.limit.map(|limit| limit.due.since(clock::now()));
    let connect = match (route.timeouts.connect, left) {
        (Some(connect), Some(left)) => Some(connect.min(left)),
        (connect, left) => connect.or(left),
    };
    upstream::dial(call.pool, call.target, &means.dialling(connect)).await.map_err(|error| {
        let ours = left.is_some() && connect == left;
        match Fault::from(error) {
            Fault::ConnectTimeout if ours => Fault::TimedOut,
            fault => fault,
        }
    })
}

struct Exchange<'a, 'v> {
    means: &'v Means,
    view: &'v View,
    client: &'a Waiting<'a>,
    patience: Patience<'v>,
    request: &'a Cell<Progress>,
    account: &'a Account,
}

impl<'v> Exchange<'_, 'v> {
    /// The request's body and its response, at once.
    async fn both_ways(
        &self,
        manner: Manner,
        leased: &Leased,
        chosen: &mut Chosen<'v>,
        upload: &mut Upload<'_>,
    ) -> Result<Done, Failure> {
        let Some(stream) = leased.stream() else { return Err(Fault::CutShort.into()) };
        let (blamed, answered) = (Cell::new(None), Cell::new(false));
        let stop = Stop::new();
        let sending = async {
            match upload.run(self.client, stream, &self.patience, &stop).await {
                Ok(()) => self.request.set(Progress::Whole),
                // The upstream takes no more: what it has answered is still to be read.
                Err(Fault::CutShort | Fault::Silent | Fault::TimedOut) => {}
                // Cut short by the other direction, which knows why.
                Err(_) if answered.get() => {}
                Err(fault) => {
                    blamed.set(Some(fault));
                    self.request.set(Progress::Broken);
                    stream.cut(Cut::Both);
                }
            }
        };
        let answering = async {
            let done = self.response(manner, Line::Shared(leased), chosen).await;
            answered.set(true);
            if self.request.get() == Progress::Running {
                if self.client.is_waiting() && stream.deadline.fired().is_some() {
                    // Time ran out while the client was to send: its doing.
                    blamed.set(Some(Fault::ClientStalled));
                }
                // Answered early, or not at all: the rest of the body is of no use. The client is
                // not cut, so that what it still sends does not reset the answer under way to it.
                stop.give();
                stream.cut(Cut::Both);
            }
            done
        };
        let ((), done) = join(sending, answering).await;
        match (done, blamed.get()) {
            (Err(Failure { sent, .. }), Some(fault)) => Err(Failure { fault, sent }),
            (done, _) => done,
        }
    }

    async fn response(
        &self,
        manner: Manner,
        line: Line<'_>,
        chosen: &mut Chosen<'v>,
    ) -> Result<Done, Failure> {
        let Some(stream) = line.stream() else { return Err(Fault::CutShort.into()) };
        let asked = chosen.asked;
        let received = receive::head(self.means, self.view, stream, asked, &self.patience).await?;
        self.account.answered.set(received.at);
        if chosen.route.generic_errors && received.head.status >= 500 {
            return Err(Fault::Concealed(received.head.status).into());
        }
        debug_assert!(asked == Asked::Body || manner.send == Send::HeadOnly);
        let mut relay = Relay {
            means: self.means,
            client: self.client,
            manner,
            line,
            patience: self.patience,
            verdict: &mut chosen.verdict,
            request: self.request,
            account: self.account,
        };
        relay.run(received).await
    }
}
