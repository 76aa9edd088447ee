//! A request to one service: the attempt that is under way, and what the next one would need.
//!
//! Enters: a service, and the message to compose for the URL that is chosen. Leaves: [`Call`], with
//! the verdict owed to the breaker that watches attempts. `retry` turns it to another URL.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::rc::Rc;

use super::balance::{Core, Pick, Refused, Tried};
use super::choose::Message;
use super::means::Verdict;
use super::patience::{self, Limit};
use crate::clock::Now;
use crate::http1::forwarding::Origin;
use crate::http1::rewrite::Passage;
use crate::rt::buffer::Buf;
use crate::table::{Endpoint, Guard, Service};
use crate::upstream::pool::Pool;

/// A request to one service, ready to be sent.
pub(super) struct Call<'v> {
    /// The service.
    pub(super) service: &'v Service,
    /// The URL that the present attempt goes to.
    pub(super) endpoint: &'v Endpoint,
    /// Its place among those of the service.
    pub(super) nth: u32,
    /// This core's connections to its target.
    pub(super) pool: &'v Rc<Pool>,
    /// The verdict owed to the breaker that watches attempts.
    pub(super) verdict: Verdict<'v>,
    /// Where that breaker let nothing through: no attempt is made.
    pub(super) refused: Option<Refused<'v>>,
    /// The head, and behind it as much of the body as is there.
    pub(super) out: Buf,
    /// Where in it the `Host` line ends: what comes before depends on the URL.
    pub(super) front: u32,
    /// By when the attempt must have ended, and what the client is told otherwise.
    pub(super) limit: Option<Limit<'v>>,
    /// By when the last attempt must have.
    pub(super) whole: Option<Limit<'v>>,
    /// The URLs that were tried.
    pub(super) tried: Tried,
    /// Attempts after the first.
    pub(super) retried: u32,
}

impl<'v> Call<'v> {
    /// The first attempt on `service`; where its breakers let none through, a call that is not
    /// made.
    // Inlined, so that it is made where it stays.
    #[inline]
    pub(super) fn begin(
        core: &Core<'v>,
        service: &'v Service,
        whole: Option<Limit<'v>>,
        message: &Message<'_>,
        origin: &Origin<'_>,
        passage: Passage,
    ) -> Option<Self> {
        let (pick, refused) = match core.first(service) {
            Ok(pick) => (pick, None),
            Err(refused) => (core.none(service)?, Some(refused)),
        };
        let Pick { endpoint, nth, verdict, guard } = pick;
        let pool = core.view.pools.get(endpoint.target.at())?;
        let limit = match guard {
            None => whole,
            guard => patience::nearer(whole, limit_of(guard, core.now)),
        };
        let (out, front) = match refused {
            None => message.compose(core.view, service, endpoint, origin, passage)?,
            Some(_) => (Buf::default(), 0),
        };
        Some(Self {
            service,
            endpoint,
            nth,
            pool,
            verdict,
            refused,
            out,
            front: u32::try_from(front).unwrap_or(u32::MAX),
            limit,
            whole,
            tried: Tried::default().with(nth),
            retried: 0,
        })
    }

    /// The same for a service that stands in: rare, and so not a second copy of all that.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_instead(
        core: &Core<'v>,
        service: &'v Service,
        whole: Option<Limit<'v>>,
        message: &Message<'_>,
        origin: &Origin<'_>,
        passage: Passage,
    ) -> Option<Self> {
        Self::begin(core, service, whole, message, origin, passage)
    }
}

/// The time limit of what a breaker watches, from `now` on.
pub(super) fn limit_of(guard: Option<&Guard>, now: Now) -> Option<Limit<'_>> {
    let guard = guard?;
    guard.timeout.map(|span| Limit { due: now.after(span), answer: &guard.timeout_answer })
}
