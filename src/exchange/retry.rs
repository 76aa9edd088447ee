//! Whether an attempt that failed is followed by another.
//!
//! Enters: how an attempt ended, what its request allows, what the service's `retry` says. Leaves:
//! the call, made ready for the next attempt: its verdict settled, another URL chosen. Owns the
//! budget of each service on this core.
//!
//! Cold: nothing here runs while attempts succeed. The budget counts no request itself: it reads
//! how many the route has finished on this core.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;

use super::account::Account;
use super::balance::Core;
use super::call::{Call, limit_of};
use super::choose::{self, Repeat};
use super::fault::{Fault, Sent};
use super::means::{Means, Verdict, View};
use super::patience;
use crate::breaker::outcome::Ending;
use crate::clock::{self, Now};
use crate::config::Cause;
use crate::rt::buffer::{Buf, Fit};
use crate::rt::stream::Stream;
use crate::stats::Retries;
use crate::table::Route;

/// What an exchange's attempts share.
pub(super) struct Again<'a, 'v> {
    pub(super) means: &'v Means,
    pub(super) view: &'v View,
    pub(super) route: &'v Route,
    /// Whether the request may be sent again: its method allows it, and all of it is at hand.
    pub(super) repeat: Repeat,
    /// The client, who may have gone.
    pub(super) client: &'a Stream,
    /// Where it is noted how often it was.
    pub(super) account: &'a Account,
}

impl<'v> Again<'_, 'v> {
    /// Makes `call` ready for another attempt, if the one under way may be followed by one: it
    /// ended in `fault`, and the client has been sent what `sent` says.
    #[cold]
    pub(super) fn after(
        &self,
        call: &mut Call<'v>,
        verdict: &Verdict<'v>,
        fault: Fault,
        sent: Sent,
    ) -> bool {
        let cause = match fault {
            Fault::Unreachable | Fault::ConnectTimeout => Cause::Connect,
            Fault::Stale | Fault::CutShort => Cause::Reset,
            Fault::Silent | Fault::TimedOut => Cause::Timeout,
            Fault::Malformed
            | Fault::HeadTooLarge
            | Fault::TooManyFields
            | Fault::Concealed(_)
            | Fault::ClientGone
            | Fault::ClientStalled
            | Fault::ClientMalformed
            | Fault::ClientTooLarge
            | Fault::Full
            | Fault::NoRoom => return false,
        };
        let again = sent == Sent::Nothing && self.retry(call, verdict, cause, fault.ending());
        if again && let Some(bound) = fault.bound() {
            self.means.process.bounded(&self.means.core, bound, 1);
        }
        again
    }

    /// The same, after an answer of this status that nothing was passed on of. Statuses are
    /// failures as the breaker of the attempt says, else that of the route, else from 500 on.
    #[inline]
    pub(super) fn after_status(
        &self,
        call: &mut Call<'v>,
        verdict: &Verdict<'v>,
        status: u16,
    ) -> bool {
        if !call.service.retry.on.contains(Cause::Status) {
            return false;
        }
        let ending = Ending::Answered(status);
        let failed = call.verdict.judges(ending).or_else(|| verdict.judges(ending));
        failed.unwrap_or(status >= 500) && self.retry(call, verdict, Cause::Status, ending)
    }

    #[cold]
    fn retry(
        &self,
        call: &mut Call<'v>,
        verdict: &Verdict<'v>,
        cause: Cause,
        ending: Ending,
    ) -> bool {
        let service = call.service;
        let nothing_sent = cause == Cause::Connect;
        if call.retried >= service.retry.attempts
            || !service.retry.on.contains(cause)
            || !(nothing_sent || self.repeat == Repeat::Idempotent)
            || self.client.is_reset()
        {
            return false;
        }
        let now = clock::now();
        if call.whole.is_some_and(|limit| now >= limit.due) {
            return false;
        }
        // First what was learnt, so that no attempt goes where this one opened a breaker.
        call.verdict.settle(ending, now);
        if !verdict.stands() {
            return false;
        }
        let core = Core { means: self.means, view: self.view, now };
        let tried = call.tried;
        let next = core.another(service, tried).or_else(|| {
            // A target that could not be reached a moment ago cannot be reached now either.
            let same = call.nth as usize;
            (!nothing_sent && core.is_admitted(service, same)).then_some(same)
        });
        let Some(next) = next else { return false };
        let granted = self.view.kept(service).is_some_and(|kept| {
            let finished = self.route.tally.own(&self.means.core);
            kept.budget.take(service.retry.budget_ppm, finished, now)
        });
        let count = |what: Retries| service.tally.add(&self.means.core, what as usize, 1);
        if !granted {
            count(Retries::OverBudget);
            return false;
        }
        // Another core may have taken the one probe.
        let Some(pick) = core.take(service, next) else { return false };
        count(Retries::Made);
        let Some(pool) = self.view.pools.get(pick.endpoint.target.at()) else { return false };
        call.limit = patience::nearer(call.whole, limit_of(pick.guard, now));
        (call.endpoint, call.nth, call.pool) = (pick.endpoint, pick.nth, pool);
        call.verdict = pick.verdict;
        call.tried = tried.with(pick.nth);
        call.retried += 1;
        true
    }

    /// The request for the URL that `call` goes to now; `out` is the one for the URL before, and
    /// `head` the head as the client sent it. Everything behind the `Host` line is the same.
    pub(super) fn readdressed(
        &self,
        call: &mut Call<'v>,
        out: Buf,
        head: Option<&Buf>,
    ) -> Result<Buf, Fault> {
        self.account.retried();
        let Some(head) = head else { return Ok(out) };
        let front = choose::front(self.means, self.view, call, head).ok_or(Fault::Malformed)?;
        let rest = out.filled().get(call.front as usize..).unwrap_or_default();
        let mut whole = Buf::sized(front.len() + rest.len());
        if whole.put(front.filled()) == Fit::Nothing || whole.put(rest) == Fit::Nothing {
            return Err(Fault::NoRoom);
        }
        call.front = u32::try_from(front.len()).unwrap_or(u32::MAX);
        Ok(whole)
    }
}

/// How many retries a service may cause on one core: a share of the requests of each second, and
/// always a few, without which a service with little traffic would have none.
#[derive(Debug, Default)]
pub(super) struct Budget {
    second: Cell<u64>,
    /// What the route had finished when this second's first retry was asked for.
    before: Cell<u64>,
    spent: Cell<u64>,
}

/// Retries that a second always has.
const AT_LEAST: u64 = 3;

impl Budget {
    /// Takes one retry out, if there is one: `finished` requests are done by `now`.
    fn take(&self, share_ppm: u32, finished: u64, now: Now) -> bool {
        let second = now.millis() / 1000;
        if self.second.replace(second) != second {
            self.before.set(finished);
            self.spent.set(0);
        }
        let requests = finished.wrapping_sub(self.before.get());
        let share = requests.saturating_mul(share_ppm.into()) / 1_000_000;
        let granted = share_ppm > 0 && self.spent.get() < share.max(AT_LEAST);
        if granted {
            self.spent.set(self.spent.get() + 1);
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests_and_never_fewer_than_three_a_second() {
        let budget = Budget::default();
        let at = |millis| Now::from_millis(millis);
        let taken =
            |finished, now| (0..100).filter(|_| budget.take(200_000, finished, now)).count();
        assert_eq!(taken(1_000, at(10_000)), 3, "what was before does not count");
        assert_eq!(taken(1_010, at(10_500)), 0, "a fifth of 10 is less than 3");
        assert_eq!(taken(1_050, at(10_999)), 7, "a fifth of 50");
        assert_eq!(taken(1_050, at(11_000)), 3, "another second");
        assert!(!budget.take(0, 5_000, at(12_000)), "no share, no retry");
    }
}
