//! Telling the model: how did an exchange end, and does that open the breaker?
//!
//! Enters: the ends of exchanges, and ticks. Leaves: the states in which what the text asks for is
//! counted, and the moves that are owed for it. Where a policy has several conditions, each counts
//! at a moment of its own, and the first that held at its own is the reason.

use super::*;

/// An exchange or a tick on its way from condition to condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct OnItsWay {
    epoch: u32,
    what: Ended,
    /// What held when it was looked at: failures that count together, and those in a row.
    counted: Holds,
    run: Holds,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ended {
    /// An exchange: whether it failed, whether it was slow.
    Exchange(bool, bool),
    /// Nothing: a tick asks every condition.
    Tick,
}

/// Whether exchanges pass from condition to condition, or are counted in one step.
fn has_several(policy: &Policy) -> bool {
    let trip = &policy.trip;
    let parts = [trip.failures.is_some(), trip.run.is_some(), trip.shares.is_some()];
    parts.into_iter().filter(|part| *part).count() > 1
}

/// What follows the deed in which an exchange or a tick begins to be counted.
pub(in crate::breaker::sim) fn steps(policy: &Policy, id: u32) -> [Option<Deed>; 3] {
    let several = has_several(policy);
    let run = several && policy.trip.run.is_some();
    let counts = several && policy.bucket_span().is_some();
    let judges = several || policy.bucket_span().is_some();
    [
        run.then_some(Deed::Run { id }),
        counts.then_some(Deed::Count { id }),
        judges.then_some(Deed::Judge { id }),
    ]
}

impl Model {
    pub(super) fn settle(
        mut self,
        policy: &Policy,
        now: u64,
        id: u32,
        ending: End,
        ended: u64,
    ) -> Vec<Self> {
        let held = self.tickets.remove(&id).unwrap();
        let slow = policy.trip.shares.and_then(|shares| shares.slow);
        let slow = slow.is_some_and(|slow| now - held.begun >= millis(slow.after));
        match (held.kind, ending) {
            (Kind::Nothing | Kind::Bystander, _) | (Kind::Traffic, End::Neutral) => vec![self],
            (Kind::Traffic, _) => self.count(policy, now, (id, held.epoch), (ending, slow), ended),
            (Kind::Probe, _) => {
                let reigns = held.epoch == self.epoch && self.state == State::HalfOpen;
                let nth = self.permits.iter().position(|it| it.ticket == id).filter(|_| reigns);
                let Some(nth) = nth else { return vec![self] };
                match ending {
                    End::Neutral => drop(self.permits.remove(nth)),
                    End::Success if !slow => self.passed(policy, now, nth, ended),
                    End::Success | End::Failure => self.pending.push((ended, Move::Reopen)),
                }
                vec![self]
            }
        }
    }

    fn passed(&mut self, policy: &Policy, now: u64, nth: usize, ended: u64) {
        let recovery = policy.recovery().unwrap();
        self.permits[nth].done = true;
        let done = self.permits.iter().filter(|it| it.done).count();
        if done >= recovery.successes.min(recovery.requests).get() as usize {
            let step = if recovery.ramp.is_some() { Move::Ease } else { Move::Heal };
            self.pending.push((ended, step));
        } else {
            self.since = self.since.max(now);
        }
    }

    /// One of many ended.
    fn count(
        mut self,
        policy: &Policy,
        now: u64,
        (id, epoch): (u32, u32),
        (ended_as, slow): (End, bool),
        ended: u64,
    ) -> Vec<Self> {
        let failed = ended_as == End::Failure;
        let window = policy.trip.failures.map(|it| it.window);
        if let (true, Some(Window::Log(_))) = (failed, window) {
            self.log.push(now);
            self.log.sort_unstable();
            if self.state == State::Closed && self.young(policy, now) {
                self.pending.push((ended, Move::Trip(Cause::Failures)));
                return vec![self];
            }
        }
        if epoch != self.epoch {
            return vec![self];
        }
        let mut ways = vec![self];
        if let (true, Some(Window::Fixed(_) | Window::Cumulative)) = (failed, window) {
            ways = ways.into_iter().flat_map(|way| way.count_fixed(policy, now)).collect();
        }
        let several = has_several(policy);
        for way in &mut ways {
            let counted = if failed { way.holds_together(policy, now) } else { Holds::No };
            let what = Ended::Exchange(failed, slow);
            way.on_their_way.insert(id, OnItsWay { epoch, what, counted, run: Holds::No });
            if !several {
                way.count_run(policy, id);
                way.count_end(policy, now, id);
            }
        }
        if several || policy.bucket_span().is_some() {
            return ways;
        }
        ways.into_iter().flat_map(|way| way.judge(policy, now, id, ended)).collect()
    }

    /// It comes to the condition of failures in a row.
    pub(super) fn count_run(&mut self, policy: &Policy, id: u32) {
        let Some(mut it) = self.on_their_way.get(&id).copied() else { return };
        if it.epoch != self.epoch {
            return;
        }
        let adds = match it.what {
            Ended::Exchange(true, _) => 1,
            Ended::Exchange(false, _) => {
                self.run = 0;
                return;
            }
            Ended::Tick => 0,
        };
        self.run += adds;
        if policy.trip.run.is_some_and(|most| self.run >= most.get()) {
            it.run = Holds::Yes;
        }
        self.on_their_way.insert(id, it);
    }

    /// It is counted among the exchanges within the last span.
    pub(super) fn count_end(&mut self, policy: &Policy, now: u64, id: u32) {
        let here = self.on_their_way.get(&id).filter(|it| it.epoch == self.epoch);
        if let (Some(Ended::Exchange(failed, slow)), Some(_)) =
            (here.map(|it| it.what), policy.bucket_span())
        {
            self.ends.push((now, failed, slow));
            self.fresh += 1;
        }
    }

    /// It has been counted everywhere: owes a trip if a condition held, the first that did, or any
    /// before it that may have.
    pub(super) fn judge(mut self, policy: &Policy, now: u64, id: u32, ended: u64) -> Vec<Self> {
        let Some(it) = self.on_their_way.remove(&id) else { return vec![self] };
        if it.epoch != self.epoch || it.what == Ended::Exchange(false, false) {
            return vec![self];
        }
        let slides = policy.trip.failures.is_some_and(|it| matches!(it.window, Window::Sliding(_)));
        let causes = [Cause::Failures, Cause::Run, Cause::FailureRate, Cause::SlowCalls];
        let mut ways = Vec::new();
        for cause in causes {
            let holds = match cause {
                Cause::Failures if !slides => it.counted,
                Cause::Run => it.run,
                _ => self.holds(policy, now, cause),
            };
            if holds != Holds::No {
                let mut way = self.clone();
                way.pending.push((ended, Move::Trip(cause)));
                ways.push(way);
            }
            if holds == Holds::Yes {
                return ways;
            }
        }
        ways.push(self);
        ways
    }

    fn count_fixed(self, policy: &Policy, now: u64) -> Vec<Self> {
        let window = policy.trip.failures.map(|it| it.window);
        let span = match window {
            Some(Window::Fixed(span)) => millis(span),
            _ => u64::MAX / 2,
        };
        let mut ways = Vec::new();
        if let Some((start, count)) = self.fixed.filter(|(start, _)| now < start + span + SLACK) {
            ways.push(Self { fixed: Some((start, count + 1)), ..self.clone() });
        }
        if self.fixed.is_none_or(|(start, _)| now >= start + span) {
            ways.push(Self { fixed: Some((now, 1)), ..self });
        }
        ways
    }

    /// Whether enough failures count together, in a fixed window or since the last close.
    fn holds_together(&self, policy: &Policy, now: u64) -> Holds {
        let Some(failures) = policy.trip.failures else { return Holds::No };
        let full = self.fixed.filter(|(_, count)| *count >= failures.count.get());
        let Some((start, _)) = full else { return Holds::No };
        match failures.window {
            Window::Log(_) | Window::Sliding(_) => Holds::No,
            Window::Cumulative => Holds::Yes,
            Window::Fixed(span) if now < start + millis(span) => Holds::Yes,
            Window::Fixed(span) if now < start + millis(span) + SLACK => Holds::Perhaps,
            Window::Fixed(_) => Holds::No,
        }
    }

    /// Whether a condition that is asked of the exchanges within the last span holds.
    fn holds(&self, policy: &Policy, now: u64, cause: Cause) -> Holds {
        if cause == Cause::Failures {
            let Some(failures) = policy.trip.failures else { return Holds::No };
            let Window::Sliding(span) = failures.window else { return Holds::No };
            return self.slides(millis(span), now, |ends| {
                let failed = ends.iter().filter(|(_, failed, _)| *failed).count();
                failed >= failures.count.get() as usize
            });
        }
        let Some(shares) = policy.trip.shares else { return Holds::No };
        let share = if cause == Cause::FailureRate {
            shares.failed
        } else {
            shares.slow.map(|slow| slow.share)
        };
        let Some(share) = share else { return Holds::No };
        let mut least = shares.min_requests;
        if self.state == State::Recovering {
            let admitted = u64::from(self.share(policy, now).0);
            let scaled = (u64::from(least) * admitted).div_ceil(1_000_000);
            least = u32::try_from(scaled).unwrap();
        }
        self.slides(millis(shares.span), now, |ends| {
            let bad = |(_, failed, slow): &&(u64, bool, bool)| match cause {
                Cause::FailureRate => *failed,
                _ => *slow,
            };
            let bad = ends.iter().filter(bad).count() as u64;
            let all = ends.len() as u64;
            all >= u64::from(least.max(1)) && bad * 1_000_000 >= all * u64::from(share.0)
        })
    }

    /// Asks of the exchanges within the last span; of its last tenth nobody knows how much counts.
    /// Cores are asked one after the other: of the good exchanges that end meanwhile, some are
    /// missed.
    fn slides(&self, span: u64, now: u64, asks: impl Fn(&[(u64, bool, bool)]) -> bool) -> Holds {
        let (old, fresh) = self.ends.split_at(self.ends.len() - self.fresh);
        let bad = fresh.iter().filter(|(_, failed, slow)| *failed || *slow);
        let (mut all, mut few) =
            (self.ends.clone(), old.iter().chain(bad).copied().collect::<Vec<_>>());
        all.sort_unstable();
        few.sort_unstable();
        let since = |span| (now + 1).saturating_sub(span);
        let cuts = || since(span)..=since(span - span / 10);
        let holds = |ends: &[(u64, bool, bool)], from| {
            asks(&ends[ends.partition_point(|it| it.0 < from)..])
        };
        if cuts().all(|from| holds(&all, from)) {
            Holds::Yes
        } else if cuts().any(|from| holds(&all, from) || holds(&few, from)) {
            Holds::Perhaps
        } else {
            Holds::No
        }
    }

    pub(super) fn tick(mut self, policy: &Policy, now: u64, id: u32, ended: u64) -> Vec<Self> {
        if self.order(now).is_none() {
            self.forced = None;
        }
        // Nobody is there to be the probe.
        let due = self.due(policy, now).filter(|step| *step != Move::Probe);
        match self.state {
            _ if policy.mode == Mode::Off => vec![self],
            _ if due.is_some() => {
                self.pending.extend(due.map(|step| (ended, step)));
                vec![self]
            }
            State::Closed if self.young(policy, now) => {
                self.pending.push((ended, Move::Trip(Cause::Failures)));
                vec![self]
            }
            State::Closed | State::Recovering => {
                let counted = self.holds_together(policy, now);
                let (epoch, what) = (self.epoch, Ended::Tick);
                self.on_their_way.insert(id, OnItsWay { epoch, what, counted, run: Holds::No });
                if has_several(policy) {
                    return vec![self];
                }
                self.count_run(policy, id);
                self.judge(policy, now, id, ended)
            }
            State::Open | State::HalfOpen => vec![self],
        }
    }
}
