//! Does what is counted open the breaker?
//!
//! Enters: a result that may, or a tick of the control plane's timer. Leaves: the transition this
//! causes, if any. Conditions are asked in a fixed order; the first that holds is the reason.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::buckets::{Entry, Sums};
use super::circuit::{Cause, Move, State, Word};
use super::peers::{Peers, Said};
use super::policy::{Failures, Heal, Mode, Window};
use super::window::Moments;
use super::{Breaker, Core, Transition, back, fixed};
use crate::clock::Now;

/// Why to trip, and what counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grounds {
    cause: Cause,
    failures: u32,
    requests: u32,
}

impl Breaker {
    /// Counts a failed or slow exchange of the reigning `word`, and trips if that is one too many.
    /// `None` also where the epoch passed meanwhile.
    pub(super) fn count_bad(
        &self,
        core: &Core,
        word: Word,
        entry: Entry,
        now: Now,
    ) -> Option<Transition> {
        let (memory, trip) = (&self.memory, &self.policy.trip);
        let epoch = word.epoch();
        let reigns = || self.word().epoch() == epoch;
        // All are counted before any is judged.
        let window = trip.failures.map(|failures| failures.window);
        let counted = match (&memory.counted, window) {
            (Some(counted), Some(window)) if entry.failed() => {
                counted.record(core, epoch, fixed(window), now, reigns)
            }
            _ => None,
        };
        let run = match &memory.run {
            Some(run) if entry.failed() => run.fail(epoch, reigns),
            Some(run) => {
                run.succeed(epoch);
                None
            }
            None => None,
        };
        let buckets = memory.buckets.as_ref();
        let sums = buckets.map(|buckets| buckets.record_bad(core, epoch, now, entry));
        if let Some(peers) = memory.circuit.peers() {
            peers.ring();
        }
        let grounds = self.grounds(word, counted, run, sums, now)?;
        self.trip(epoch, grounds, now)
    }

    /// The first condition that holds, of what all instances count or of what this one does.
    fn grounds(
        &self,
        word: Word,
        counted: Option<u32>,
        run: Option<u32>,
        sums: Option<Sums>,
        now: Now,
    ) -> Option<Grounds> {
        let trip = &self.policy.trip;
        let few = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let said = self.said(word);
        let theirs = said.map_or_else(Sums::default, |said| self.their_ends(&said, now));
        if let Some(Failures { count, window }) = trip.failures {
            let failures = match window {
                Window::Sliding(_) => sums.map(|sums| few(sums.and(theirs).failed)),
                Window::Fixed(_) | Window::Cumulative => counted.map(|counted| {
                    let after = fixed(window).map_or(0, |span| back(now, span).micros());
                    counted.saturating_add(said.map_or(0, |said| said.failures_since(after)))
                }),
                Window::Log(_) => None,
            };
            if let Some(failures) = failures.filter(|failures| *failures >= count.get()) {
                return Some(Grounds { cause: Cause::Failures, failures, requests: 0 });
            }
        }
        if let (Some(failures), Some(most)) = (run, trip.run)
            && failures >= most.get()
        {
            return Some(Grounds { cause: Cause::Run, failures, requests: 0 });
        }
        let sums = sums?;
        let merged = self.share_grounds(word, sums.and(theirs), now);
        // Others in good health do not talk this instance out of what it sees itself.
        merged.or_else(|| self.share_grounds(word, sums, now).filter(|_| theirs.requests > 0))
    }

    fn share_grounds(&self, word: Word, sums: Sums, now: Now) -> Option<Grounds> {
        let shares = self.policy.trip.shares?;
        let few = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        if sums.requests < u64::from(self.min_requests(word, shares.min_requests, now).max(1)) {
            return None;
        }
        let requests = few(sums.requests);
        if shares.failed.is_some_and(|share| share.reached(sums.failed, sums.requests)) {
            let failures = few(sums.failed);
            return Some(Grounds { cause: Cause::FailureRate, failures, requests });
        }
        if shares.slow.is_some_and(|slow| slow.share.reached(sums.slow, sums.requests)) {
            let failures = few(sums.slow);
            return Some(Grounds { cause: Cause::SlowCalls, failures, requests });
        }
        None
    }

    /// Where a share of the traffic is admitted, that share of the requests has to say something.
    fn min_requests(&self, word: Word, min_requests: u32, now: Now) -> u32 {
        let ramp = self.policy.recovery().and_then(|recovery| recovery.ramp);
        match (word.state(), ramp) {
            (State::Recovering, Some(ramp)) => {
                ramp.share(now.since(Now::from_millis(word.mark()))).of_count(min_requests)
            }
            _ => min_requests,
        }
    }

    /// What others count in the epoch of `word`.
    fn said(&self, word: Word) -> Option<Said> {
        self.memory.circuit.peers().and_then(|peers| peers.said(Some(word.epoch())))
    }

    fn their_ends(&self, said: &Said, now: Now) -> Sums {
        let span = self.policy.bucket_span();
        span.map_or_else(Sums::default, |span| said.ends_since(back(now, span).micros()))
    }

    fn trip(&self, epoch: u32, grounds: Grounds, now: Now) -> Option<Transition> {
        if self.is_frozen() {
            return None;
        }
        loop {
            let word = self.word();
            let may = matches!(word.state(), State::Closed | State::Recovering);
            if word.epoch() != epoch || !may {
                return None;
            }
            let step = Move::Trip(grounds.cause);
            let streak = self.streak(word, now);
            let mark = now.millis_up();
            if let Some(next) = self.memory.circuit.make(word, step, streak, mark, now) {
                let Grounds { failures, requests, .. } = grounds;
                return Some(Transition {
                    failures,
                    requests,
                    ..self.moved_to(word, step, next, now)
                });
            }
        }
    }

    /// How many openings follow each other if `word` trips now.
    pub(super) fn streak(&self, word: Word, now: Now) -> u32 {
        let Some(recovery) = self.policy.recovery() else { return 0 };
        match word.state() {
            State::Closed => {
                let healthy = now.millis().saturating_sub(word.mark());
                recovery.pace.forgiven(word.streak(), healthy) + 1
            }
            State::Open | State::HalfOpen | State::Recovering => word.streak() + 1,
        }
    }

    /// Seed A: every failure is logged, late ones too; open while enough of them are young enough.
    pub(super) fn log_failure(&self, core: &Core, now: Now) -> Option<Transition> {
        let moments = self.memory.moments.as_ref()?;
        moments.record(core, now);
        if let Some(peers) = self.memory.circuit.peers() {
            peers.ring();
        }
        self.judge_log(moments, now)
    }

    fn judge_log(&self, moments: &Moments, now: Now) -> Option<Transition> {
        let Some(Failures { count, window: Window::Log(span) }) = self.policy.trip.failures else {
            return None;
        };
        if self.is_frozen() {
            return None;
        }
        let said = self.memory.circuit.peers().and_then(|peers| peers.said(None));
        loop {
            // Read before the log, which an operator's reset empties before it moves the word.
            let word = self.word();
            let oldest = moments.newest(count.get(), back(now, span), now, said.as_ref())?;
            let mark = oldest.millis_up();
            match word.state() {
                State::Closed => {
                    let step = Move::Trip(Cause::Failures);
                    if let Some(next) = self.memory.circuit.make(word, step, 0, mark, now) {
                        let failures = count.get();
                        return Some(Transition {
                            failures,
                            ..self.moved_to(word, step, next, now)
                        });
                    }
                }
                State::Open if self.memory.circuit.remark(word, mark) => return None,
                State::Open => {}
                // Not a state of this policy: the next request says so.
                State::HalfOpen | State::Recovering => return None,
            }
            // Another core was first, perhaps with the lapse of an older trip: look again.
        }
    }

    /// Makes the move that time alone brings, so that it is reported when no request comes; and
    /// asks the conditions, which a reload may have changed and which age may have brought about.
    /// For the control plane's timer.
    #[must_use]
    pub fn tick(&self, now: Now) -> Option<Transition> {
        let mut word = self.word();
        if word.is_forced() && self.forced(now).is_none() {
            self.force(None);
            word = self.word();
        }
        if self.policy.mode == Mode::Off {
            return None;
        }
        let due = now.millis() >= self.until(word);
        let step = match (word.state(), &self.policy.heal) {
            (State::Open, Heal::Age(_)) if due && !self.is_frozen() => Move::Lapse,
            (State::Open, _) => return None,
            (State::HalfOpen | State::Recovering, Heal::Age(_)) => Move::Adopt,
            (State::HalfOpen, Heal::Probe(_)) if self.is_stuck(word, now) => Move::Expire,
            (State::HalfOpen, Heal::Probe(_)) => return None,
            (State::Recovering, Heal::Probe(_)) if due => Move::Settle,
            (State::Closed | State::Recovering, _) => return self.review(word, now),
        };
        self.by_time(word, step, now).map(|(_, made)| made)
    }

    /// When `tick` next has a move to make, as far as is known now. Where mode or store forbid it
    /// there is none, until somebody looks again.
    #[must_use]
    pub fn due_at(&self) -> Option<Now> {
        if self.policy.mode == Mode::Off {
            return None;
        }
        let word = self.word();
        let ages = match (word.state(), &self.policy.heal) {
            (State::Open, Heal::Age(_)) => !self.is_frozen(),
            (State::Recovering, _) => true,
            (State::Closed | State::Open | State::HalfOpen, _) => false,
        };
        ages.then(|| Now::from_millis(self.until(word)))
    }

    /// Whether no breaker opens or closes, for want of what is shared.
    pub(super) fn is_frozen(&self) -> bool {
        self.memory.circuit.peers().is_some_and(Peers::is_frozen)
    }

    fn review(&self, word: Word, now: Now) -> Option<Transition> {
        let memory = &self.memory;
        if let Some(moments) = &memory.moments
            && let Some(tripped) = self.judge_log(moments, now)
        {
            return Some(tripped);
        }
        let window = self.policy.trip.failures.map(|failures| failures.window);
        let counted = match (&memory.counted, window) {
            (Some(counted), Some(window)) => Some(counted.peek(word.epoch(), fixed(window), now)),
            _ => None,
        };
        let run = memory.run.as_ref().map(|run| run.len(word.epoch()));
        let sums = memory.buckets.as_ref().map(|buckets| buckets.sum(word.epoch(), now));
        let grounds = self.grounds(word, counted, run, sums, now)?;
        self.trip(word.epoch(), grounds, now)
    }
}
