//! The log line of a breaker's move.
//!
//! Enters: a transition, the policy it was made under, and for how long the breaker was open.
//! Leaves: one line that says what happened and why. Owns nothing.

use std::time::Duration;

use crate::breaker::circuit::{Cause, Course, Move};
use crate::breaker::policy::{Policy, Window};
use crate::breaker::{Breaker, Transition};

/// `GET /users  closed → open  3 failures within 10 s, probe in 2 s`. `open`: for how long it was,
/// and how many it refused, when it closes.
pub(super) fn line(
    name: &str,
    breaker: &Breaker,
    transition: Transition,
    open: Option<(Duration, u64)>,
) -> String {
    let why = match transition.step {
        Move::Trip(cause) => grounds(cause, breaker.policy(), transition),
        Move::Lapse => "failures aged out".to_owned(),
        Move::Probe => match breaker.policy().recovery().map(|it| it.requests.get()) {
            None | Some(1) => "1 probe".to_owned(),
            Some(requests) => format!("{requests} probes"),
        },
        Move::Reopen => format!("probe failed, next in {}", span(transition.open_for)),
        Move::Expire => format!("no verdict, next probe in {}", span(transition.open_for)),
        Move::Heal => "probe succeeded".to_owned(),
        Move::Ease => "probe succeeded, traffic comes back little by little".to_owned(),
        Move::Settle => "all traffic is back".to_owned(),
        Move::Reset => "reset by an operator".to_owned(),
        Move::Adopt => "the policy changed".to_owned(),
        Move::Follow(Course::Open, _) => format!(
            "agreed with the other instances, probe in {}",
            span(Duration::from_millis(breaker.remaining_ms(transition.at)))
        ),
        Move::Follow(Course::Ease | Course::Close, _) => {
            "agreed with the other instances".to_owned()
        }
    };
    let (from, to) = (transition.from.as_str(), transition.to().as_str());
    let mut line = format!("{name}  {from} → {to}  {why}");
    if let Some((open_for, refused)) = open {
        line.push_str(&format!(", was open {}, {refused} refused", span(open_for)));
    }
    line
}

/// `3 failures within 10 s, probe in 2 s`.
fn grounds(cause: Cause, policy: &Policy, transition: Transition) -> String {
    let Transition { failures, requests, open_for, .. } = transition;
    let counted = if failures == 1 { "1 failure" } else { &format!("{failures} failures") };
    let window = policy.trip.failures.map(|failures| failures.window);
    let within = policy.trip.shares.map_or_else(String::new, |shares| span(shares.span));
    let mut why = match (cause, window) {
        (
            Cause::Failures,
            Some(Window::Log(window) | Window::Sliding(window) | Window::Fixed(window)),
        ) => format!("{counted} within {}", span(window)),
        (Cause::Failures, _) => counted.to_owned(),
        (Cause::Run, _) => format!("{counted} in a row"),
        (Cause::FailureRate, _) => format!("{failures} of {requests} failed within {within}"),
        (Cause::SlowCalls, _) => format!("{failures} of {requests} slow within {within}"),
    };
    if policy.recovery().is_some() {
        why.push_str(&format!(", probe in {}", span(open_for)));
    }
    why
}

/// A duration for people: `150 ms`, `10 s`, `1.5 s`, `2 min`.
fn span(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        _ if millis.is_multiple_of(60_000) => format!("{} min", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{} s", millis / 1000),
        _ => format!("{}.{} s", millis / 1000, millis / 100 % 10),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::view::tests::{look_back, reset};
    use super::*;
    use crate::breaker::circuit::State;
    use crate::clock::Now;

    /// A move as it may be made, by a breaker that is open for ten seconds.
    pub(crate) fn moved(step: Move, failures: u32) -> Transition {
        let from = match step {
            Move::Trip(_) => State::Closed,
            Move::Lapse | Move::Probe => State::Open,
            _ => State::HalfOpen,
        };
        let open_for = Duration::from_secs(10);
        let at = Now::from_millis(1);
        Transition { from, step, epoch: 2, at, open_for, failures, requests: 0 }
    }

    #[test]
    fn a_transition_is_one_line_that_says_what_and_why() {
        let open = Some((Duration::from_millis(5_040), 1003));
        for (breaker, step, failures, open, expected) in [
            (
                look_back(3),
                Move::Trip(Cause::Failures),
                3,
                None,
                "closed → open  3 failures within 10 s",
            ),
            (
                reset(1),
                Move::Trip(Cause::Failures),
                1,
                None,
                "closed → open  1 failure, probe in 10 s",
            ),
            (reset(1), Move::Probe, 0, None, "open → half_open  1 probe"),
            (reset(1), Move::Reopen, 1, None, "half_open → open  probe failed, next in 10 s"),
            (
                reset(1),
                Move::Heal,
                0,
                open,
                "half_open → closed  probe succeeded, was open 5.0 s, 1003 refused",
            ),
            (look_back(1), Move::Lapse, 0, None, "open → closed  failures aged out"),
            (
                reset(1),
                Move::Trip(Cause::Run),
                5,
                None,
                "closed → open  5 failures in a row, probe in 10 s",
            ),
            (reset(1), Move::Expire, 0, None, "half_open → open  no verdict, next probe in 10 s"),
            (reset(1), Move::Reset, 0, None, "half_open → closed  reset by an operator"),
        ] {
            let said = line("GET /users", &breaker, moved(step, failures), open);
            assert_eq!(said, format!("GET /users  {expected}"));
        }
    }

    #[test]
    fn durations_are_short() {
        for (millis, expected) in
            [(0, "0 ms"), (150, "150 ms"), (1_500, "1.5 s"), (10_000, "10 s"), (120_000, "2 min")]
        {
            assert_eq!(span(Duration::from_millis(millis)), expected);
        }
    }
}
