//! Which URL of a service an attempt goes to.
//!
//! Enters: a service, the URLs that this exchange has tried, this core's connections to each, and
//! the breakers that watch them. Leaves: [`Pick`], a URL with the verdict owed to its breaker; or
//! [`Refused`], where every breaker says no. A service with one URL has no choice: no dice and no
//! loop.
//!
//! A URL whose breaker refuses, whose target has no room left or leads nowhere is passed over while
//! there is another. One whose open time is over is one among others: it gets its probe when its
//! turn comes.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::num::NonZeroU32;

use super::means::{Means, Verdict, View};
use crate::breaker;
use crate::clock::Now;
use crate::config::{Balance, RetryAfter};
use crate::http1::answer::Rendered;
use crate::table::{BreakerIx, Endpoint, Guard, Service, ServiceIx};
use crate::upstream::dice::Dice;
use crate::upstream::pool::Pool;

/// A URL that an attempt goes to.
pub(super) struct Pick<'v> {
    /// The URL.
    pub(super) endpoint: &'v Endpoint,
    /// Its place among those of its service.
    pub(super) nth: u32,
    /// The verdict owed to the breaker that watches attempts on it.
    pub(super) verdict: Verdict<'v>,
    /// That breaker.
    pub(super) guard: Option<&'v Guard>,
}

/// A breaker lets nothing through.
#[derive(Clone, Copy)]
pub(super) struct Refused<'v> {
    /// What the client is told.
    pub(super) answer: &'v Rendered,
    /// Seconds to wait, if it is told.
    pub(super) retry_after_s: Option<NonZeroU32>,
    /// The service that is asked instead, if there is one.
    pub(super) instead: Option<ServiceIx>,
}

/// The URLs of a service that an exchange has tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tried(u64);

impl Tried {
    /// These and the `nth`.
    pub(super) fn with(self, nth: u32) -> Self {
        Self(self.0 | 1u64.checked_shl(nth).unwrap_or(0))
    }

    fn has(self, nth: usize) -> bool {
        u32::try_from(nth).is_ok_and(|nth| self.0 & 1u64.checked_shl(nth).unwrap_or(0) != 0)
    }
}

/// Whether a choice takes its turn from the next exchange. That of a second attempt does not: with
/// two URLs, of which one fails, every exchange would begin at that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Taken,
    Kept,
}

/// What of a choice depends on the core.
pub(super) struct Core<'v> {
    pub(super) means: &'v Means,
    pub(super) view: &'v View,
    pub(super) now: Now,
}

impl<'v> Core<'v> {
    /// The URL of an exchange's first attempt on `service`.
    #[inline]
    pub(super) fn first(&self, service: &'v Service) -> Result<Pick<'v>, Refused<'v>> {
        match self.view.table.endpoints_of(service) {
            [only] if only.breaker.is_none() => Ok(self.unwatched(only)),
            [only] => self.admit(only, 0),
            several => self.among(service, several),
        }
    }

    /// A URL of `service` for a call that is not made.
    #[cold]
    pub(super) fn none(&self, service: &Service) -> Option<Pick<'v>> {
        let endpoint = self.view.table.endpoints_of(service).first()?;
        Some(self.unwatched(endpoint))
    }

    #[inline]
    const fn unwatched(&self, endpoint: &'v Endpoint) -> Pick<'v> {
        let verdict = Verdict { means: self.means, view: self.view, ticket: None };
        Pick { endpoint, nth: 0, verdict, guard: None }
    }

    /// Another URL than those tried, if there is one that can be asked.
    pub(super) fn another(&self, service: &'v Service, tried: Tried) -> Option<usize> {
        let endpoints = self.view.table.endpoints_of(service);
        let may = |nth: usize| !tried.has(nth) && self.is_ready(endpoints, nth);
        self.choose(service, endpoints, Turn::Kept, may)
    }

    /// Asks the breaker of the URL at `nth`.
    pub(super) fn take(&self, service: &'v Service, nth: usize) -> Option<Pick<'v>> {
        let endpoint = self.view.table.endpoints_of(service).get(nth)?;
        self.admit(endpoint, nth).ok()
    }

    /// Whether the URL at `nth` may be asked again.
    pub(super) fn is_admitted(&self, service: &Service, nth: usize) -> bool {
        let endpoints = self.view.table.endpoints_of(service);
        endpoints.get(nth).is_some_and(|endpoint| self.would_admit(endpoint))
    }

    #[inline(never)]
    fn among(&self, service: &Service, endpoints: &'v [Endpoint]) -> Result<Pick<'v>, Refused<'v>> {
        let mut refused = Tried::default();
        // Another core may take the one probe first: then another URL is chosen.
        for _ in endpoints {
            let untried = |nth: usize| !refused.has(nth);
            let ready = |nth: usize| untried(nth) && self.is_ready(endpoints, nth);
            // None can be had: one that is full or leads nowhere tells the client so.
            let admitted = |nth: usize| {
                untried(nth) && endpoints.get(nth).is_some_and(|e| self.would_admit(e))
            };
            let chosen = self.choose(service, endpoints, Turn::Taken, ready);
            let chosen = chosen.or_else(|| self.choose(service, endpoints, Turn::Taken, admitted));
            let Some((nth, endpoint)) = chosen.and_then(|nth| Some((nth, endpoints.get(nth)?)))
            else {
                break;
            };
            if let Ok(pick) = self.admit(endpoint, nth) {
                return Ok(pick);
            }
            refused = refused.with(u32::try_from(nth).unwrap_or(u32::MAX));
        }
        // All refuse: the one that may stop doing so first speaks for them.
        let soonest = endpoints.iter().enumerate().min_by_key(|(_, it)| self.remaining_ms(it));
        match soonest {
            Some((nth, endpoint)) => self.admit(endpoint, nth),
            // A service has at least one URL.
            None => {
                let answer = &self.view.table.answers.no_room;
                Err(Refused { answer, retry_after_s: None, instead: None })
            }
        }
    }

    fn choose(
        &self,
        service: &Service,
        endpoints: &[Endpoint],
        taken: Turn,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = endpoints.len();
        let dice = &self.means.dice;
        match service.balance {
            Balance::Random => any(dice, count, may),
            Balance::RoundRobin => {
                let turn = self.view.kept(service).map(|kept| &kept.turn)?;
                let start = turn.get() as usize;
                let nth = (0..count).map(|step| (start + step) % count).find(|&nth| may(nth))?;
                if taken == Turn::Taken {
                    turn.set(u32::try_from((nth + 1) % count).unwrap_or(0));
                }
                Some(nth)
            }
            Balance::LeastRequests => {
                let in_use = |nth: usize| {
                    let pool = endpoints.get(nth).and_then(|endpoint| self.pool(endpoint));
                    pool.map_or(u32::MAX, Pool::in_use)
                };
                let one = any(dice, count, &may)?;
                match any(dice, count, |nth| nth != one && may(nth)) {
                    Some(other) if in_use(other) < in_use(one) => Some(other),
                    _ => Some(one),
                }
            }
        }
    }

    fn is_ready(&self, endpoints: &[Endpoint], nth: usize) -> bool {
        endpoints.get(nth).is_some_and(|endpoint| {
            self.would_admit(endpoint) && self.pool(endpoint).is_some_and(Pool::is_open)
        })
    }

    fn would_admit(&self, endpoint: &Endpoint) -> bool {
        let table = &self.view.table;
        endpoint.breaker.is_none_or(|ix| table.breaker(ix).breaker.would_admit(self.now))
    }

    fn remaining_ms(&self, endpoint: &Endpoint) -> u64 {
        let guard = endpoint.breaker.map(|ix| self.view.table.breaker(ix));
        guard.map_or(0, |guard| guard.breaker.remaining_ms(self.now))
    }

    fn pool(&self, endpoint: &Endpoint) -> Option<&'v Pool> {
        self.view.pools.get(endpoint.target.at()).map(|pool| &**pool)
    }

    fn admit(&self, endpoint: &'v Endpoint, nth: usize) -> Result<Pick<'v>, Refused<'v>> {
        let (verdict, guard) = admit(self.means, self.view, endpoint.breaker, self.now)?;
        Ok(Pick { endpoint, nth: u32::try_from(nth).unwrap_or(u32::MAX), verdict, guard })
    }
}

/// Asks the breaker at `ix`, if there is one.
#[inline]
pub(super) fn admit<'v>(
    means: &'v Means,
    view: &'v View,
    ix: Option<BreakerIx>,
    now: Now,
) -> Result<(Verdict<'v>, Option<&'v Guard>), Refused<'v>> {
    let Some(ix) = ix else {
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
        breaker::Verdict::Refuse { remaining_ms, .. } => {
            let retry_after_s = match guard.retry_after {
                // Nobody knows how long an operator's word without an end holds.
                RetryAfter::Send => remaining_ms.map(|millis| {
                    let seconds = u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX);
                    NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN)
                }),
                RetryAfter::Omit => None,
            };
            let instead = guard.instead;
            Err(Refused { answer: &guard.refusal, retry_after_s, instead })
        }
    }
}

/// Any of `count` that `may` be, each as likely as the others.
fn any(dice: &Dice, count: usize, may: impl Fn(usize) -> bool) -> Option<usize> {
    let roll = |count: usize| dice.below(u32::try_from(count).unwrap_or(u32::MAX)) as usize;
    let first = roll(count);
    if may(first) {
        return Some(first);
    }
    // Among those that may be, rather than the next one: that would get its neighbour's share too.
    let able = (0..count).filter(|&nth| may(nth)).count();
    (0..count).filter(|&nth| may(nth)).nth(roll(able))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_may_not_be_leave_their_share_to_all_others_alike() {
        let dice = Dice::seeded(3);
        let mut seen = [0; 5];
        for _ in 0..40_000 {
            seen[any(&dice, 5, |nth| nth != 1).unwrap()] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!([0, 2, 3, 4].iter().all(|&nth| (9_000..11_000).contains(&seen[nth])), "{seen:?}");
        assert_eq!(any(&dice, 5, |_| false), None);
        assert_eq!(any(&dice, 0, |_| false), None);
    }

    #[test]
    fn every_url_that_a_service_may_have_is_remembered() {
        let tried = Tried::default().with(0).with(63);
        assert_eq!((0..64).filter(|&nth| tried.has(nth)).collect::<Vec<_>>(), [0, 63]);
        assert!(!tried.with(u32::MAX).has(usize::MAX));
    }
}
