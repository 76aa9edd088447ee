//! The exchange with one service: request there, response back.
//!
//! Enters: a chosen request. Leaves: the response, relayed; or how it went wrong. The request goes
//! first and the response is read after it; only where the request's body is longer than what has
//! arrived with its head do both directions run at once, so that an early response is not missed.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;
use std::pin::pin;

use futures_util::future::join;

use super::Next;
use super::account::Account;
use super::call::Call;
use super::choose::{Chosen, Repeat};
use super::client::{Client, Manner};
use super::fault::{Failure, Fault, Sent};
use super::means::{Means, View};
use super::passing::Trailers;
use super::patience::Patience;
use super::receive::{self, Audience, Received};
use super::relay::{Done, Line, Progress, Relay, Rest};
use super::retry::Again;
use super::tunnel::Tunnel;
use super::upload::Upload;
use super::waiting::Waiting;
use crate::breaker::outcome::Ending;
use crate::clock::{self, Now};
use crate::http1::answer::Send;
use crate::http1::head::{Asked, Expect};
use crate::http1::upgrade::{self, Upgrade};
use crate::rt::buffer::Buf;
use crate::rt::deadline::Cut;
use crate::rt::stream::Stop;
use crate::stats::Count;
use crate::table::Route;
use crate::upstream::{self, From, Leased};

/// Runs the exchange.
pub(super) async fn forward<'v>(
    client: &mut Client,
    account: &Account,
    means: &'v Means,
    view: &'v View,
    chosen: &mut Chosen<'v>,
    expect: Expect,
) -> Result<Done, Failure> {
    let Client { stream, buf, body, seen, manner, .. } = client;
    let (now, route) = (*seen, chosen.route);
    let mut out = std::mem::take(&mut chosen.call.out);
    let (trailers, allowance) = (Trailers::default(), route.body_bytes_max);
    let mut upload = Upload { body, buf, allowance, expect, trailers, account };
    upload.prefix(&mut out)?;
    let (client, whole) = (Waiting::new(stream, route.timeouts.body, None), upload.body.is_over());
    let repeat = if whole { chosen.repeat } else { Repeat::Never };
    let again = Again { means, view, route, repeat, client: client.stream(), account };
    let mut fresh = Fresh::No;
    loop {
        let leased = match parked(means, route, &chosen.call, now, fresh) {
            Some(leased) => Ok(leased),
            None => dial(means, route, &chosen.call).await,
        };
        let leased = match leased {
            Ok(leased) => leased,
            Err(fault) if again.after(&mut chosen.call, &chosen.verdict, fault, Sent::Nothing) => {
                out = again.readdressed(&mut chosen.call, out, chosen.head.as_ref())?;
                fresh = Fresh::Yes;
                continue;
            }
            Err(fault) => return Err(fault.into()),
        };
        let patience = patience(route, &chosen.call, &client);
        let from = leased.from;
        let request = Cell::new(Progress::Running);
        if let Some(stream) = leased.stream() {
            patience.arm(stream, asked(account, from, now));
            // A peer that closes while it is written to may have answered before: reading tells.
            let sent;
            (sent, out) = pin!(stream.write(out)).await;
            request.set(if whole && sent.is_ok() { Progress::Whole } else { Progress::Running });
        }
        let offered = offered(chosen.upgrade, &out);
        let (client, request, again) = (&client, &request, &again);
        let exchange = Exchange { means, view, client, patience, request, offered, again, account };
        let relayed = if whole {
            pin!(exchange.response(*manner, Line::Own(leased), chosen)).await
        } else {
            let relayed = exchange.both_ways(*manner, &leased, chosen, &mut upload).await;
            if let (Ok(Some(Done { rest: Rest::Clean, at, .. })), Progress::Whole) =
                (&relayed, request.get())
            {
                leased.park(*at);
            }
            relayed
        };
        // From now on a parked connection, which may be stale, would be one attempt too many.
        fresh = Fresh::Yes;
        match relayed {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            Err(Failure { fault: Fault::Stale, .. })
                if from == From::Pool && repeat == Repeat::Idempotent =>
            {
                means.process.count(&means.core, Count::Retried);
                account.retried();
                continue;
            }
            Err(Failure { fault, sent }) => {
                let fault = blamed(fault, from);
                if !again.after(&mut chosen.call, &chosen.verdict, fault, sent) {
                    return Err(Failure { fault, sent });
                }
            }
        }
        out = again.readdressed(&mut chosen.call, out, chosen.head.as_ref())?;
    }
}

/// How long the upstream of `call` is waited for.
fn patience<'v>(route: &Route, call: &Call<'v>, client: &Waiting<'_>) -> Patience<'v> {
    let silence = route.timeouts.response;
    Patience { silence, limit: call.limit, client: client.stream().watched() }
}

/// What a fault on a connection that came `from` there is.
const fn blamed(fault: Fault, from: From) -> Fault {
    match (fault, from) {
        // Nothing came back on a connection that was fresh: not the pool's fault.
        (Fault::Stale, From::Dial) => Fault::CutShort,
        (fault, _) => fault,
    }
}

/// Notes when an attempt begins, and returns it.
fn asked(account: &Account, from: From, now: Now) -> Now {
    let mut at = now;
    if from == From::Dial {
        // Connecting took time of its own, which is not the upstream's silence.
        at = clock::now();
        account.dialled.set(at);
    }
    account.asked.set(at);
    at
}

/// The protocols that a request asks to go on in.
fn offered(upgrade: Upgrade, out: &Buf) -> &[u8] {
    match upgrade {
        Upgrade::No => &[],
        Upgrade::Asked => upgrade::offered(out.filled()),
    }
}

/// Whether a connection must be a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fresh {
    /// A parked one does.
    No,
    /// It must.
    Yes,
}

pub(super) async fn lease(
    means: &Means,
    route: &Route,
    call: &Call<'_>,
    now: Now,
    fresh: Fresh,
) -> Result<Leased, Fault> {
    match parked(means, route, call, now, fresh) {
        Some(leased) => Ok(leased),
        None => dial(means, route, call).await,
    }
}

/// A parked connection, if there is one and one does.
fn parked(means: &Means, route: &Route, call: &Call<'_>, now: Now, fresh: Fresh) -> Option<Leased> {
    match fresh {
        Fresh::No => upstream::reuse(call.pool, now, &means.dialling(route.timeouts.connect)),
        Fresh::Yes => None,
    }
}

/// Connects, within what is left of the exchange's time.
async fn dial(means: &Means, route: &Route, call: &Call<'_>) -> Result<Leased, Fault> {
    let left = call.limit.map(|limit| limit.due.since(clock::now()));
    let connect = match (route.timeouts.connect, left) {
        (Some(connect), Some(left)) => Some(connect.min(left)),
        (connect, left) => connect.or(left),
    };
    upstream::dial(call.pool, &means.dialling(connect)).await.map_err(|error| {
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
    /// The protocols that the request asks to go on in.
    offered: &'a [u8],
    again: &'a Again<'a, 'v>,
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
    ) -> Result<Option<Done>, Failure> {
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

    /// Relays the response. `None`: it was a failure, nothing of it was passed on, and the call is
    /// ready for another attempt.
    async fn response(
        &self,
        manner: Manner,
        line: Line<'_>,
        chosen: &mut Chosen<'v>,
    ) -> Result<Option<Done>, Failure> {
        let Some(stream) = line.stream() else { return Err(Fault::CutShort.into()) };
        let asked = chosen.asked;
        let telling = &self.view.table.forwarding.telling;
        let audience = Some(Audience { client: self.client, version: manner.version, telling });
        let (means, view, patience) = (self.means, self.view, &self.patience);
        // Pinned where it is made: awaited as a value, all the room it will need is moved first.
        let offered = self.offered;
        let received =
            pin!(receive::head(means, view, stream, asked, offered, patience, audience)).await?;
        self.account.answered.set(received.at);
        let status = received.head.status;
        if status == 101 {
            return self.switch(received, line, chosen).map(Some);
        }
        if self.again.after_status(&mut chosen.call, &chosen.verdict, status) {
            return Ok(None);
        }
        if chosen.route.generic_errors && received.head.status >= 500 {
            return Err(Fault::Concealed(received.head.status).into());
        }
        debug_assert!(asked == Asked::Body || manner.send == Send::HeadOnly);
        let mut relay = Relay {
            means: self.means,
            client: self.client,
            manner,
            telling,
            line,
            patience: self.patience,
            verdict: &mut chosen.verdict,
            attempt: &mut chosen.call.verdict,
            request: self.request,
            account: self.account,
        };
        pin!(relay.run(received)).await.map(Some)
    }

    /// The exchange ends here, well, and its connections go on as a tunnel.
    fn switch(
        &self,
        received: Received,
        line: Line<'_>,
        chosen: &mut Chosen<'v>,
    ) -> Result<Done, Failure> {
        let Line::Own(upstream) = line else { return Err(Fault::Malformed.into()) };
        let (status, at) = (received.head.status, received.at);
        let telling = &self.view.table.forwarding.telling;
        let idle = chosen.route.timeouts.tunnel;
        let tunnel = Tunnel::new(self.means, upstream, received, telling, idle);
        let next = Next::Tunnel(Box::new(tunnel?));
        chosen.call.verdict.settle(Ending::Answered(status), at);
        chosen.verdict.settle(Ending::Answered(status), at);
        Ok(Done { status, next, rest: Rest::Dirty, at })
    }
}
