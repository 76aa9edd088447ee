//! The moves between a breaker's states, and which are legal.
//!
//! Enters: a state and a move. Leaves: the state it leads to, if it is legal there, and the words
//! for reports. Drawn in `circuit.rs`. Owns nothing.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::circuit::State;

/// Which condition opened a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `maxFailures` or `maxErrors`.
    Failures,
    /// `consecutiveFailures`.
    Run,
    /// `failureRate`.
    FailureRate,
    /// `slowCall`.
    SlowCalls,
}

/// A move between states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A condition holds.
    Trip(Cause),
    /// Enough failures have aged out of the look-back.
    Lapse,
    /// The open time is over: probes go out.
    Probe,
    /// A probe failed.
    Reopen,
    /// No verdict came for too long.
    Expire,
    /// Enough probes succeeded.
    Heal,
    /// Enough probes succeeded, and traffic comes back little by little.
    Ease,
    /// The ramp is over.
    Settle,
    /// An operator's order.
    Reset,
    /// A reload brought a policy that has no such state.
    Adopt,
    /// The cluster is agreed, and this instance with it.
    Follow(Course, Source),
}

/// What a cluster may be agreed on; a round of probes is the affair of who holds its permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// To close.
    Close,
    /// To open.
    Open,
    /// To let traffic back little by little.
    Ease,
}

impl Course {
    /// Every course, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Close, Self::Open, Self::Ease];

    /// The state it leads to.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Close => State::Closed,
            Self::Open => State::Open,
            Self::Ease => State::Recovering,
        }
    }
}

/// How the cluster's word was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By asking for it on a timer.
    Poll,
    /// By asking for it because of a hint.
    Hint,
}

impl Source {
    /// Every source, in the order of reports.
    pub const ALL: [Self; 2] = [Self::Poll, Self::Hint];
}

/// Every legal move of this instance's own with the state it leads from, in the order of reports.
pub const EDGES: [(State, Move); 21] = [
    (State::Closed, Move::Trip(Cause::Failures)),
    (State::Closed, Move::Trip(Cause::Run)),
    (State::Closed, Move::Trip(Cause::FailureRate)),
    (State::Closed, Move::Trip(Cause::SlowCalls)),
    (State::Open, Move::Lapse),
    (State::Open, Move::Probe),
    (State::HalfOpen, Move::Reopen),
    (State::HalfOpen, Move::Expire),
    (State::HalfOpen, Move::Heal),
    (State::HalfOpen, Move::Ease),
    (State::Recovering, Move::Trip(Cause::Failures)),
    (State::Recovering, Move::Trip(Cause::Run)),
    (State::Recovering, Move::Trip(Cause::FailureRate)),
    (State::Recovering, Move::Trip(Cause::SlowCalls)),
    (State::Recovering, Move::Settle),
    (State::Closed, Move::Reset),
    (State::Open, Move::Reset),
    (State::HalfOpen, Move::Reset),
    (State::Recovering, Move::Reset),
    (State::HalfOpen, Move::Adopt),
    (State::Recovering, Move::Adopt),
];

/// The state that `step` leads to from `from`; `None`: it is not legal there.
#[must_use]
pub const fn legal(from: State, step: Move) -> Option<State> {
    match (from, step) {
        (State::Closed | State::Recovering, Move::Trip(_))
        | (State::HalfOpen, Move::Reopen | Move::Expire) => Some(State::Open),
        (State::Open, Move::Probe) => Some(State::HalfOpen),
        (State::HalfOpen, Move::Ease) => Some(State::Recovering),
        (State::Open, Move::Lapse)
        | (State::HalfOpen, Move::Heal | Move::Adopt)
        | (State::Recovering, Move::Settle | Move::Adopt)
        | (_, Move::Reset) => Some(State::Closed),
        (_, Move::Follow(course, _)) => Some(course.state()),
        _ => None,
    }
}

impl Move {
    /// Why, as a word for metrics, events and log lines.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Trip(Cause::Failures) => "failures",
            Self::Trip(Cause::Run) => "consecutive_failures",
            Self::Trip(Cause::FailureRate) => "failure_rate",
            Self::Trip(Cause::SlowCalls) => "slow_calls",
            Self::Lapse => "failures_aged_out",
            Self::Probe => "open_time_over",
            Self::Reopen => "probe_failed",
            Self::Expire => "no_verdict",
            Self::Heal | Self::Ease => "probe_succeeded",
            Self::Settle => "ramp_over",
            Self::Reset => "reset",
            Self::Adopt => "policy_changed",
            Self::Follow(..) => "cluster",
        }
    }

    /// Whose decision it was, as a word for metrics, events and log lines.
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::Reset => "admin",
            Self::Follow(_, Source::Poll) => "cluster",
            Self::Follow(_, Source::Hint) => "hint",
            _ => "local",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_are_exactly_the_legal_moves() {
        let causes = [Cause::Failures, Cause::Run, Cause::FailureRate, Cause::SlowCalls];
        let steps = causes.map(Move::Trip).into_iter().chain([
            Move::Lapse,
            Move::Probe,
            Move::Reopen,
            Move::Expire,
            Move::Heal,
            Move::Ease,
            Move::Settle,
            Move::Reset,
            Move::Adopt,
        ]);
        for step in steps {
            for from in State::ALL {
                let listed = EDGES.iter().filter(|edge| **edge == (from, step)).count();
                assert_eq!(listed, usize::from(legal(from, step).is_some()), "{from:?} {step:?}");
            }
        }
    }
}
