//! Breakers as the admin API shows them.
//!
//! Enters: breakers of the served table and the time. Leaves: JSON values of the contract. Looking
//! changes nothing: an open look-back breaker whose failures have aged out is shown closed, and is
//! closed by the next request or tick.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;

use super::journal::{Entry, Journal};
use crate::breaker::Breaker;
use crate::breaker::circuit::{Forced, State};
use crate::breaker::policy::{Policy, Share};
use crate::clock::Now;
use crate::config::Scope;
use crate::table::{Guard, Table};

/// `GET /breakers`.
#[derive(Debug, Serialize)]
pub struct Listing<'t> {
    breakers: Vec<View<'t>>,
}

/// One breaker.
#[derive(Debug, Serialize)]
pub struct View<'t> {
    name: &'t str,
    scope: &'static str,
    /// What the breaker has decided.
    state: &'static str,
    /// What its clients feel: the state after override and mode.
    effective: &'static str,
    #[serde(rename = "override")]
    forced: &'static str,
    /// Until the override ends; `null` where there is none, or no end.
    override_remaining_ms: Option<u64>,
    /// Why, in the operator's words.
    override_reason: Option<String>,
    mode: &'static str,
    epoch: u32,
    counts: Counts,
    thresholds: Thresholds,
    /// Until the breaker may stop refusing; zero while it does not refuse.
    remaining_ms: u64,
    /// How long the state has lasted; `null` before the first move.
    state_ms: Option<u64>,
    /// Its last moves, the newest first.
    transitions: Vec<Entry>,
}

/// What a breaker has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Failures that count together now.
    pub failures: u32,
    /// How many of them open it; zero: they do not.
    pub threshold: u32,
    /// Failures in a row, where they are counted.
    pub consecutive: u32,
    /// Exchanges that shares are of, where they are counted.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many of them were slow.
    pub slow: u64,
    /// Exchanges that ended well, since the process began.
    pub success: u64,
    /// Exchanges that failed.
    pub failure: u64,
    /// Exchanges that taught nothing.
    pub neutral: u64,
    /// Requests refused.
    pub refused: u64,
    /// Results that arrived after their epoch.
    pub stale: u64,
}

/// What opens a breaker; `null` where it does not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// Failures that count together.
    pub failures: Option<u32>,
    /// Failures in a row.
    pub consecutive: Option<u32>,
    /// The share of failed exchanges, 0 to 1.
    pub failure_rate: Option<f64>,
    /// The share of slow exchanges, 0 to 1.
    pub slow_rate: Option<f64>,
    /// Fewer exchanges say nothing about a share.
    pub min_requests: Option<u32>,
}

impl Counts {
    /// The counts of `breaker` at `now`.
    #[must_use]
    pub fn of(breaker: &Breaker, now: Now) -> Self {
        let (totals, counts) = (breaker.totals(), breaker.counts(now));
        let threshold = breaker.policy().trip.failures.map_or(0, |failures| failures.count.get());
        Self {
            failures: counts.failures,
            threshold,
            consecutive: counts.run,
            requests: counts.requests,
            failed: counts.failed,
            slow: counts.slow,
            success: totals.success,
            failure: totals.failure,
            neutral: totals.neutral,
            refused: totals.all_refused(),
            stale: totals.stale,
        }
    }
}

impl Thresholds {
    fn of(policy: &Policy) -> Self {
        let trip = &policy.trip;
        let share = |share: Share| f64::from(share.0) / f64::from(Share::ALL.0);
        Self {
            failures: trip.failures.map(|failures| failures.count.get()),
            consecutive: trip.run.map(NonZeroU32::get),
            failure_rate: trip.shares.and_then(|shares| shares.failed).map(share),
            slow_rate: trip.shares.and_then(|shares| shares.slow).map(|slow| share(slow.share)),
            min_requests: trip.shares.map(|shares| shares.min_requests),
        }
    }
}

/// The word for an order, or for none.
#[must_use]
pub const fn forced_word(forced: Option<Forced>) -> &'static str {
    match forced {
        None => "none",
        Some(Forced::Open) => "force_open",
        Some(Forced::Closed) => "force_closed",
    }
}

/// Every breaker of `table`.
#[must_use]
pub fn listing<'t>(table: &'t Table, journal: &Journal, now: Now) -> Listing<'t> {
    let breakers = table.breakers.iter().map(|it| view(it, journal, now)).collect();
    Listing { breakers }
}

/// The breaker of this name.
#[must_use]
pub fn one<'t>(table: &'t Table, name: &str, journal: &Journal, now: Now) -> Option<View<'t>> {
    let (_, found) = table.breaker_named(name)?;
    Some(view(found, journal, now))
}

/// The word for what a breaker watches.
#[must_use]
pub const fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Route => "route",
        Scope::Service => "service",
        Scope::Target => "target",
    }
}

fn view<'t>(guard: &'t Guard, journal: &Journal, now: Now) -> View<'t> {
    let breaker = &guard.breaker;
    let word = breaker.word();
    let state = breaker.state(now);
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let order = breaker.forced(now);
    View {
        name: &guard.name,
        scope: scope(guard.scope),
        state: state.as_str(),
        effective: breaker.effective(now).as_str(),
        forced: forced_word(order.map(|order| order.forced)),
        override_remaining_ms: order.and_then(|it| it.until).map(|end| millis(end.since(now))),
        override_reason: order.and_then(|_| journal.reason(&guard.name)),
        mode: breaker.policy().mode.as_str(),
        epoch: word.epoch(),
        counts: Counts::of(breaker, now),
        thresholds: Thresholds::of(breaker.policy()),
        remaining_ms: if state == State::Open { breaker.remaining_ms(now) } else { 0 },
        state_ms: breaker.since().map(|since| millis(now.since(since))),
        transitions: journal.of(&guard.name),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::super::handlers::Handlers;
    use super::super::names::Names;
    use super::super::plane::{Order, Parts, Plane};
    use super::*;
    use crate::access::{Rings, Sink, Writer};
    use crate::breaker::memory::Memory;
    use crate::breaker::outcome::Ending;
    use crate::breaker::policy::{Policy, Window};
    use crate::breaker::registry::Registry;
    use crate::breaker::{Core, Verdict};
    use crate::config::{Config, RetryAfter};
    use crate::http1::answer::{Rendered, Say};
    use crate::stats::Process;
    use crate::table::live::Live;
    use crate::table::sample;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    /// The control plane of `config` on one core that does nothing, and the main task's orders.
    pub(crate) fn plane(config: &Config) -> (Arc<Plane>, UnboundedReceiver<Order>) {
        let (orders, receiver) = unbounded_channel();
        let plane = Plane::new(Parts {
            live: Live::new(sample::table(1, config.http.routes.clone()), 1),
            registry: Registry::new(1),
            names: Names::of_system(),
            process: Arc::new(Process::new(1)),
            driver: "io_uring".to_owned(),
            orders,
            events_dropped: Arc::default(),
            report: Arc::new(|_| ()),
            handlers: Handlers::of_config(config, &Handlers::default(), &Names::of_system()),
            access: Writer::start(Arc::new(Rings::new(1)), Sink::open(&config.log).unwrap())
                .unwrap(),
            sharing: None,
        });
        plane.series.follow(config);
        (plane, receiver)
    }

    /// A breaker of seed A's kind that opens at `failures`.
    pub(crate) fn look_back(failures: u32) -> Breaker {
        let failures = NonZeroU32::new(failures).unwrap();
        breaker(Policy::look_back(failures, OPEN_FOR))
    }

    /// A breaker of seed B's kind that opens at `failures`.
    pub(crate) fn reset(failures: u32) -> Breaker {
        let failures = NonZeroU32::new(failures).unwrap();
        breaker(Policy::reset(failures, Window::Cumulative, OPEN_FOR))
    }

    fn breaker(policy: Policy) -> Breaker {
        let memory = Memory::new(&policy, 1, 0);
        Breaker::new(policy, memory)
    }

    /// `breaker` as that of route `GET /users`.
    pub(crate) fn guard(breaker: &Breaker) -> Guard {
        let answer = || Rendered::new(503, Say::Text("no"), "");
        Guard {
            name: "GET /users".into(),
            route: "GET /users".into(),
            scope: Scope::Route,
            breaker: breaker.clone(),
            timeout: None,
            timeout_answer: answer(),
            refusal: answer(),
            instead: None,
            retry_after: RetryAfter::Send,
        }
    }

    /// Sends a request that ends so; true when it was refused.
    pub(crate) fn exchange(breaker: &Breaker, ending: Ending, now: Now) -> bool {
        match breaker.admit(&Core::claim(0), now).0 {
            Verdict::Admit(ticket) => {
                let _ = ticket.settle(ending, now);
                false
            }
            Verdict::Refuse { .. } => true,
        }
    }

    #[test]
    fn a_breaker_is_shown_as_the_contract_says() {
        let breaker = reset(2);
        let now = Now::from_millis(1_000);
        exchange(&breaker, Ending::Answered(200), now);
        exchange(&breaker, Ending::ClientGone, now);
        let fresh = serde_json::to_value(view(&guard(&breaker), &Journal::default(), now)).unwrap();
        let expected = serde_json::json!({
            "name": "GET /users", "scope": "route", "state": "closed", "effective": "closed",
            "override": "none", "override_remaining_ms": null, "override_reason": null,
            "mode": "enforce", "epoch": 1,
            "counts": {"failures": 0, "threshold": 2, "consecutive": 0, "requests": 0, "failed": 0,
                "slow": 0, "success": 1, "failure": 0, "neutral": 1, "refused": 0, "stale": 0},
            "thresholds": {"failures": 2, "consecutive": null, "failure_rate": null,
                "slow_rate": null, "min_requests": null},
            "remaining_ms": 0, "state_ms": null, "transitions": [],
        });
        assert_eq!(fresh, expected);

        exchange(&breaker, Ending::Answered(500), now);
        exchange(&breaker, Ending::Unreachable, now);
        let later = Now::from_millis(4_000);
        assert!(exchange(&breaker, Ending::Answered(200), later));
        let open =
            serde_json::to_value(view(&guard(&breaker), &Journal::default(), later)).unwrap();
        assert_eq!(open["state"], "open");
        assert_eq!(open["remaining_ms"], 7_000);
        assert_eq!(open["state_ms"], 3_000);
        assert_eq!(open["counts"]["failure"], 2);
        assert_eq!(open["counts"]["refused"], 1);
        assert_eq!(open["epoch"], 2);
    }

    #[test]
    fn looking_shows_a_lapsed_breaker_closed_and_changes_nothing() {
        let breaker = look_back(1);
        exchange(&breaker, Ending::Answered(500), Now::from_millis(1_000));
        let before = breaker.word();
        let now = Now::from_millis(20_000);
        let shown = serde_json::to_value(view(&guard(&breaker), &Journal::default(), now)).unwrap();
        assert_eq!((&shown["state"], &shown["remaining_ms"]), (&"closed".into(), &0.into()));
        assert_eq!(breaker.word(), before);
    }
}
