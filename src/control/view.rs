//! Breakers as the admin API shows them.
//!
//! Enters: breakers of the served table and the time. Leaves: JSON values of the contract. Looking
//! changes nothing: an open look-back breaker whose failures have aged out is shown closed, and is
//! closed by the next request or tick.

use serde::Serialize;

use crate::breaker::Breaker;
use crate::breaker::circuit::State;
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
    state: &'static str,
    effective: &'static str,
    #[serde(rename = "override")]
    forced: &'static str,
    mode: &'static str,
    epoch: u32,
    counts: Counts,
    /// Until the breaker may stop refusing; zero while it does not refuse.
    remaining_ms: u64,
    /// How long the state has lasted; `null` before the first move.
    state_ms: Option<u64>,
}

/// What a breaker has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Failures that count together now.
    pub failures: u32,
    /// How many of them open it.
    pub threshold: u32,
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

impl Counts {
    /// The counts of `breaker`, of which `failures` count together.
    #[must_use]
    pub fn of(breaker: &Breaker, failures: u32) -> Self {
        let totals = breaker.totals();
        Self {
            failures,
            threshold: breaker.policy().threshold(),
            success: totals.success,
            failure: totals.failure,
            neutral: totals.neutral,
            refused: totals.refused,
            stale: totals.stale,
        }
    }
}

/// Every breaker of `table`.
#[must_use]
pub fn listing(table: &Table, now: Now) -> Listing<'_> {
    let breakers = table.breakers.iter().map(|it| view(it, now)).collect();
    Listing { breakers }
}

/// The breaker of this name.
#[must_use]
pub fn one<'t>(table: &'t Table, name: &str, now: Now) -> Option<View<'t>> {
    let found = table.breakers.iter().find(|it| *it.name == *name)?;
    Some(view(found, now))
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

fn view(guard: &Guard, now: Now) -> View<'_> {
    let breaker = &guard.breaker;
    let word = breaker.word();
    let state = breaker.state(now);
    let remaining_ms = if state == State::Open { breaker.remaining_ms(now) } else { 0 };
    let state_ms = breaker.since().map(|since| now.since(since).as_millis());
    View {
        name: &guard.name,
        scope: scope(guard.scope),
        state: state.as_str(),
        effective: state.as_str(),
        forced: "none",
        mode: "enforce",
        epoch: word.epoch(),
        counts: Counts::of(breaker, breaker.failures(now)),
        remaining_ms,
        state_ms: state_ms.and_then(|millis| u64::try_from(millis).ok()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::super::events::Handlers;
    use super::super::names::Names;
    use super::super::plane::{Order, Parts, Plane};
    use super::*;
    use crate::access::{Rings, Sink, Writer};
    use crate::breaker::memory::Memory;
    use crate::breaker::outcome::Ending;
    use crate::breaker::policy::{Policy, StatusSet, Trip, Window};
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
            handlers: Handlers::of_config(config),
            access: Writer::start(Arc::new(Rings::new(1)), Sink::open(&config.log).unwrap())
                .unwrap(),
        });
        (plane, receiver)
    }

    /// A breaker of seed A's kind that opens at `failures`.
    pub(crate) fn look_back(failures: u32) -> Breaker {
        let failures = NonZeroU32::new(failures).unwrap();
        breaker(Trip::LookBack { failures, look_back: OPEN_FOR })
    }

    /// A breaker of seed B's kind that opens at `failures`.
    pub(crate) fn reset(failures: u32) -> Breaker {
        breaker(Trip::Reset {
            failures: NonZeroU32::new(failures).unwrap(),
            window: Window::Cumulative,
            open_for: OPEN_FOR,
            probe_max: OPEN_FOR,
        })
    }

    fn breaker(trip: Trip) -> Breaker {
        let policy = Policy { trip, failures: StatusSet::server_errors() };
        Breaker::new(policy.clone(), Arc::new(Memory::new(&policy, 1)))
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
        let fresh = serde_json::to_value(view(&guard(&breaker), now)).unwrap();
        let expected = serde_json::json!({
            "name": "GET /users", "scope": "route", "state": "closed", "effective": "closed",
            "override": "none", "mode": "enforce", "epoch": 1,
            "counts": {"failures": 0, "threshold": 2, "success": 1, "failure": 0, "neutral": 1,
                "refused": 0, "stale": 0},
            "remaining_ms": 0, "state_ms": null,
        });
        assert_eq!(fresh, expected);

        exchange(&breaker, Ending::Answered(500), now);
        exchange(&breaker, Ending::Unreachable, now);
        let later = Now::from_millis(4_000);
        assert!(exchange(&breaker, Ending::Answered(200), later));
        let open = serde_json::to_value(view(&guard(&breaker), later)).unwrap();
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
        let shown = serde_json::to_value(view(&guard(&breaker), now)).unwrap();
        assert_eq!((&shown["state"], &shown["remaining_ms"]), (&"closed".into(), &0.into()));
        assert_eq!(breaker.word(), before);
    }
}
