//! What is measured of breakers.
//!
//! Enters: the breakers of a scrape. Leaves: the samples of the metrics whose names begin with
//! `fusebox_breaker_`, see [`super::metrics::METRICS`]. Owns which labels they bear.

use super::exposition::Family;
use super::metrics::Scrape;
use super::view::{self, forced_word};
use crate::breaker::circuit::{Cause, Course, EDGES, Forced, Move, Source, State, legal};
use crate::breaker::policy::{Mode, Policy};
use crate::breaker::{Breaker, Reason, Totals};
use crate::clock::Now;
use crate::table::Guard;

pub(super) fn state(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    for guard in &scrape.breakers {
        let (name, scope) = (&*guard.name, view::scope(guard.scope));
        let present = guard.breaker.state(scrape.now);
        for state in State::ALL {
            let labels =
                [("breaker", name), ("scope", scope), ("fusebox_breaker_state", state.as_str())];
            family.sample(&labels, u64::from(state == present));
        }
    }
}

pub(super) fn transitions(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    for Guard { name, breaker, .. } in scrape.breakers.iter().copied() {
        for (from, step) in EDGES {
            let count = breaker.moved(from, step);
            let Some(to) = legal(from, step) else { continue };
            if count == 0 && !may(breaker.policy(), from, step) {
                continue;
            }
            moves(family, name, from, to, step, count);
        }
        for from in State::ALL {
            for (course, source) in COURSES {
                let count = breaker.followed(from, course, source);
                let to = course.state();
                let ramp = breaker.policy().recovery().is_some_and(|it| it.ramp.is_some());
                let eases = from == State::Recovering || to == State::Recovering;
                let may = scrape.sharing.is_some() && from != to && (ramp || !eases);
                if count > 0 || may {
                    moves(family, name, from, to, Move::Follow(course, source), count);
                }
            }
        }
    }
}

/// What a cluster may be agreed on, by the ways to learn it.
const COURSES: [(Course, Source); 6] = [
    (Course::Close, Source::Poll),
    (Course::Close, Source::Hint),
    (Course::Open, Source::Poll),
    (Course::Open, Source::Hint),
    (Course::Ease, Source::Poll),
    (Course::Ease, Source::Hint),
];

fn moves(family: &mut Family<'_>, name: &str, from: State, to: State, step: Move, count: u64) {
    let labels = [
        ("breaker", name),
        ("from", from.as_str()),
        ("to", to.as_str()),
        ("reason", step.reason()),
        ("origin", step.origin()),
    ];
    family.sample(&labels, count);
}

/// Whether a breaker of this policy makes the move in the course of its life.
fn may(policy: &Policy, from: State, step: Move) -> bool {
    let ramp = policy.recovery().is_some_and(|recovery| recovery.ramp.is_some());
    let asked = match step {
        Move::Trip(Cause::Failures) => policy.trip.failures.is_some(),
        Move::Trip(Cause::Run) => policy.trip.run.is_some(),
        Move::Trip(Cause::FailureRate) => policy.trip.shares.is_some_and(|it| it.failed.is_some()),
        Move::Trip(Cause::SlowCalls) => policy.trip.shares.is_some_and(|it| it.slow.is_some()),
        Move::Lapse => policy.recovery().is_none(),
        Move::Probe | Move::Reopen | Move::Expire => policy.recovery().is_some(),
        Move::Heal => policy.recovery().is_some() && !ramp,
        Move::Ease | Move::Settle => ramp,
        Move::Reset => from == State::Open,
        Move::Adopt | Move::Follow(..) => false,
    };
    asked && (from != State::Recovering || ramp)
}

pub(super) fn outcomes(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    for Guard { name, breaker, .. } in scrape.breakers.iter().copied() {
        let totals = breaker.totals();
        for (outcome, count) in
            [("success", totals.success), ("failure", totals.failure), ("neutral", totals.neutral)]
        {
            family.sample(&[("breaker", name), ("outcome", outcome)], count);
        }
    }
}

pub(super) fn effective(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    let present = |breaker: &Breaker, now| breaker.effective(now);
    state_set(scrape, family, "fusebox_breaker_effective", &State::ALL, State::as_str, present);
}

pub(super) fn overrides(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    let orders = [None, Some(Forced::Open), Some(Forced::Closed)];
    let present = |breaker: &Breaker, now| breaker.forced(now).map(|order| order.forced);
    state_set(scrape, family, "fusebox_breaker_override", &orders, forced_word, present);
}

pub(super) fn modes(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    let modes = [Mode::Enforce, Mode::Shadow, Mode::Off];
    let present = |breaker: &Breaker, _| breaker.policy().mode;
    state_set(scrape, family, "fusebox_breaker_mode", &modes, Mode::as_str, present);
}

pub(super) fn open_remaining(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    for Guard { name, breaker, .. } in scrape.breakers.iter().copied() {
        let seconds = breaker.remaining_ms(scrape.now).div_ceil(1000);
        family.sample(&[("breaker", name)], seconds);
    }
}

pub(super) fn refused(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    by_reason(scrape, family, |it| &it.refused);
}

pub(super) fn spared(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    // An operator's refusal spares nobody.
    by_reason(scrape, family, |it| &it.spared[..Reason::Override as usize]);
}

pub(super) fn slow(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    per_breaker(scrape, family, |it| it.slow);
}

pub(super) fn stale(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    per_breaker(scrape, family, |it| it.stale);
}

/// One sample per breaker and value: 1 for the one that `present` gives.
fn state_set<T: Copy + PartialEq>(
    scrape: &Scrape<'_>,
    family: &mut Family<'_>,
    label: &str,
    values: &[T],
    word: fn(T) -> &'static str,
    present: fn(&Breaker, Now) -> T,
) {
    for Guard { name, breaker, .. } in scrape.breakers.iter().copied() {
        let present = present(breaker, scrape.now);
        for &value in values {
            let labels = [("breaker", &**name), (label, word(value))];
            family.sample(&labels, u64::from(value == present));
        }
    }
}

fn by_reason(scrape: &Scrape<'_>, family: &mut Family<'_>, read: fn(&Totals) -> &[u64]) {
    for Guard { name, breaker, .. } in scrape.breakers.iter().copied() {
        let totals = breaker.totals();
        for (reason, count) in Reason::ALL.into_iter().zip(read(&totals)) {
            family.sample(&[("breaker", name), ("reason", reason.as_str())], *count);
        }
    }
}

fn per_breaker(scrape: &Scrape<'_>, family: &mut Family<'_>, read: fn(&Totals) -> u64) {
    for guard in &scrape.breakers {
        family.sample(&[("breaker", &guard.name)], read(&guard.breaker.totals()));
    }
}
