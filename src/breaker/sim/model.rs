//! A breaker written from the contract's text: slow, plain, and for one thread.
//!
//! Enters: what was asked and what was answered. Leaves: the states the breaker may be in after
//! that; none, if the answer is not one the text allows. It keeps every outcome with its time and
//! counts by looking at all of them. Where the text leaves a choice (which of two lost permits is
//! given away, what lies in the last tenth of a sliding span) each choice is a state.

use std::collections::BTreeMap;

use super::super::circuit::{Cause, Forced, Move, State};
use super::super::policy::{Heal, Mode, Policy, Recovery, Share, Window};
use super::super::{Reason, Transition};

/// What was asked, of which policy, when (in milliseconds).
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) policy: Policy,
    pub(super) now: u64,
    pub(super) deed: Deed,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// A request looks whether an operator has given an order; it decides later.
    Look {
        id: u32,
    },
    /// A request finds that time moves the breaker.
    Due,
    /// The move that an operation owes since it found a condition fulfilled.
    Owed {
        moved: Moved,
    },
    Admit {
        id: u32,
        core: usize,
        answer: Answer,
    },
    Settle {
        id: u32,
        ending: End,
    },
    /// The exchange that was counted in buckets is now judged by what they hold.
    Judge {
        id: u32,
    },
    Tick,
    Force(Option<(Forced, Option<u64>)>),
    Reset {
        moved: Moved,
    },
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Admitted(Kind),
    Refused(Reason, Option<u64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Traffic,
    Probe,
    Bystander,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Success,
    Failure,
    Neutral,
}

/// A transition, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) from: State,
    pub(super) step: Move,
    epoch: u32,
}

impl From<Transition> for Moved {
    fn from(transition: Transition) -> Self {
        Self { from: transition.from, step: transition.step, epoch: transition.epoch }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    pub(super) state: State,
    pub(super) epoch: u32,
    pub(super) streak: u32,
    /// Since when the state lasts; half open: since when a verdict is waited for.
    since: u64,
    pub(super) forced: Option<(Forced, Option<u64>)>,
    /// Every failure ever, and up to when they are forgotten (look-back).
    log: Vec<u64>,
    forgotten: u64,
    /// Opened for another reason than its log.
    other_cause: bool,
    /// Exchanges of this epoch: when they ended, whether they failed, whether they were slow.
    ends: Vec<(u64, bool, bool)>,
    /// How many of them are of operations that may overlap what is asked now.
    fresh: usize,
    /// The fixed window: when it began, and how many failures it holds.
    fixed: Option<(u64, u32)>,
    run: u32,
    permits: Vec<Permit>,
    /// The most permits that this round has had.
    widest: u32,
    tickets: BTreeMap<u32, Held>,
    /// Of what epoch the exchanges are that were counted in buckets and are not judged yet, and
    /// whether they failed.
    counted: BTreeMap<u32, (u32, End)>,
    /// What requests that are not decided on have seen of an order.
    looked: BTreeMap<u32, Option<(Forced, Option<u64>)>>,
    /// Moves that are owed since an operation found their condition fulfilled, and when it ended:
    /// it, or one that ran at the same time, makes one before anything begins after that end.
    pub(super) pending: Vec<(u64, Move)>,
    /// By core: what the ramp's shares add up to, in parts of a million, and how many it admitted.
    ramp: [(u64, u64); 4],
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Permit {
    ticket: u32,
    lost_at: u64,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    epoch: u32,
    kind: Kind,
    begun: u64,
}

/// Whether a condition holds: the text may leave it open.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    No,
    Perhaps,
    Yes,
}

const EPOCHS: u32 = 1 << 18;

/// A fixed window ends some milliseconds late where several began in one.
const SLACK: u64 = 3;

impl Model {
    pub(super) fn new() -> Self {
        Self {
            state: State::Closed,
            epoch: 1,
            streak: 0,
            since: 0,
            forced: None,
            log: Vec::new(),
            forgotten: 0,
            other_cause: false,
            ends: Vec::new(),
            fresh: 0,
            fixed: None,
            run: 0,
            permits: Vec::new(),
            widest: 0,
            tickets: BTreeMap::new(),
            counted: BTreeMap::new(),
            looked: BTreeMap::new(),
            pending: Vec::new(),
            ramp: [(0, 0); 4],
        }
    }

    /// The states that `asked`, which began and ended so, may have led to.
    /// `rivals`: requests that are asking at the same time, and not decided on yet.
    pub(super) fn after(
        &self,
        asked: &Asked,
        (began, ended): (u64, u64),
        rivals: usize,
    ) -> Vec<Self> {
        if self.pending.iter().any(|(end, _)| *end < began) {
            return Vec::new();
        }
        let (policy, now) = (&asked.policy, asked.now);
        let mut next = self.clone();
        match asked.deed {
            Deed::Look { id } => {
                next.looked.insert(id, next.order(now));
                vec![next]
            }
            Deed::Due => {
                let due = next.due(policy, now);
                next.pending.extend(due.map(|step| (ended, step)));
                if due.is_some() { vec![next] } else { Vec::new() }
            }
            Deed::Owed { moved } => {
                let owed = next.pending.contains(&(ended, moved.step));
                let made = owed && next.moves(moved.step, policy, now) == moved;
                if made { vec![next] } else { Vec::new() }
            }
            Deed::Admit { id, core, answer } => next.admit((policy, now, rivals), id, core, answer),
            Deed::Settle { id, ending } => next.settle(policy, now, id, ending, ended),
            Deed::Judge { id } => match next.counted.remove(&id) {
                Some((epoch, ended_as)) if epoch == next.epoch => {
                    let asks = Self::asks(policy, ended_as);
                    next.judged(policy, now, asks, ended)
                }
                _ => vec![next],
            },
            Deed::Tick => next.tick(policy, now, ended),
            Deed::Force(order) => {
                next.forced = order;
                vec![next]
            }
            Deed::Reset { moved } => {
                next.forgotten = next.forgotten.max(now);
                let made = next.moves(Move::Reset, policy, now);
                next.streak = 0;
                if made == moved { vec![next] } else { Vec::new() }
            }
        }
    }

    /// Forgets what cannot matter any more at `now`; no span of the simulation is longer.
    pub(super) fn prune(&mut self, now: u64) {
        const LONGEST: u64 = 1000;
        self.log.retain(|at| at + LONGEST > now);
        self.ends.retain(|(at, ..)| at + LONGEST > now);
        self.ends.sort_unstable();
        self.fresh = 0;
    }

    fn order(&self, now: u64) -> Option<(Forced, Option<u64>)> {
        self.forced.filter(|(_, until)| until.is_none_or(|until| now < until))
    }

    fn admit(
        mut self,
        (policy, now, rivals): (&Policy, u64, usize),
        id: u32,
        core: usize,
        answer: Answer,
    ) -> Vec<Self> {
        let order = self.looked.remove(&id).unwrap();
        if let Some((Forced::Open, until)) = order {
            let refused = Answer::Refused(Reason::Override, until.map(|until| until - now));
            return if answer == refused { vec![self] } else { Vec::new() };
        }
        if policy.mode == Mode::Off {
            return self.admitted(id, now, Kind::Nothing, answer);
        }
        if self.due(policy, now).is_some() {
            // Time has to move it first.
            return Vec::new();
        }
        let spared = order.is_some() || policy.mode == Mode::Shadow;
        let refuse = |model: Self, reason, remaining| {
            if spared {
                return model.admitted(id, now, Kind::Bystander, answer);
            }
            let refused = Answer::Refused(reason, Some(remaining));
            if answer == refused { vec![model] } else { Vec::new() }
        };
        match self.state {
            State::Closed => self.admitted(id, now, Kind::Traffic, answer),
            State::Open => {
                let remaining = self.open_until(policy) - now;
                refuse(self, Reason::Open, remaining)
            }
            State::HalfOpen => {
                let recovery = policy.recovery().unwrap();
                let given = self.permit(recovery, now, id);
                let refused = refuse(self, Reason::HalfOpen, 0);
                // A rival may hold a permit for a moment, find its round over, and give it back.
                if given.is_empty() || (rivals > 0 && !refused.is_empty()) {
                    return refused;
                }
                given.into_iter().flat_map(|it| it.admitted(id, now, Kind::Probe, answer)).collect()
            }
            State::Recovering => {
                let share = self.share(policy, now);
                let sums = &mut self.ramp[core];
                sums.0 += u64::from(share.0);
                let goes = matches!(answer, Answer::Admitted(Kind::Traffic));
                sums.1 += u64::from(goes);
                // Never more than one request from the curve.
                if sums.0.abs_diff(sums.1 * 1_000_000) > 1_000_000 {
                    return Vec::new();
                }
                if goes {
                    self.admitted(id, now, Kind::Traffic, answer)
                } else {
                    refuse(self, Reason::Ramp, 0)
                }
            }
        }
    }

    fn admitted(mut self, id: u32, now: u64, kind: Kind, answer: Answer) -> Vec<Self> {
        if answer != Answer::Admitted(kind) {
            return Vec::new();
        }
        self.tickets.insert(id, Held { epoch: self.epoch, kind, begun: now });
        vec![self]
    }

    /// Each way to give a permit, if there is one to give.
    fn permit(&self, recovery: &Recovery, now: u64, ticket: u32) -> Vec<Self> {
        let lost = |permit: &Permit| !permit.done && now >= permit.lost_at;
        let lost_at = now + millis(recovery.permit);
        let permit = Permit { ticket, lost_at, done: false };
        let mut base = self.clone();
        let mut ways = Vec::new();
        // A round that was larger has places that a lost permit does not give up.
        let wide = self.widest.max(recovery.requests.get());
        base.widest = wide;
        let busy = self.permits.iter().filter(|permit| !lost(permit)).count();
        let free = self.permits.len() < wide as usize;
        if free && busy < recovery.requests.get() as usize {
            let mut way = base.clone();
            way.since = way.since.max(now);
            way.permits.push(permit);
            ways.push(way);
        }
        if busy < recovery.requests.get() as usize {
            for (nth, _) in self.permits.iter().enumerate().filter(|(_, it)| lost(it)) {
                let mut way = base.clone();
                way.permits[nth] = permit;
                ways.push(way);
            }
        }
        ways
    }

    fn settle(mut self, policy: &Policy, now: u64, id: u32, ending: End, ended: u64) -> Vec<Self> {
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
        if policy.bucket_span().is_some() {
            self.ends.push((now, failed, slow));
            self.fresh += 1;
        }
        self.run = if failed { self.run + 1 } else { 0 };
        if !failed && !slow {
            return vec![self];
        }
        let mut ways = vec![self];
        if let (true, Some(Window::Fixed(_) | Window::Cumulative)) = (failed, window) {
            ways = ways.into_iter().flat_map(|way| way.count_fixed(policy, now)).collect();
        }
        if policy.bucket_span().is_some() {
            for way in &mut ways {
                way.counted.insert(id, (epoch, ended_as));
            }
            return ways;
        }
        let asks = Self::asks(policy, ended_as);
        ways.into_iter().flat_map(|way| way.judged(policy, now, &asks, ended)).collect()
    }

    /// Which conditions an exchange may fulfil.
    fn asks(policy: &Policy, ended_as: End) -> impl Fn(Cause) -> bool {
        let failed = ended_as == End::Failure;
        let slides = policy.trip.failures.is_some_and(|it| matches!(it.window, Window::Sliding(_)));
        move |cause| match cause {
            Cause::Run => failed,
            Cause::Failures => failed || slides,
            Cause::FailureRate | Cause::SlowCalls => true,
        }
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

    /// Owes a trip if a condition holds: the first that does, and each before it that may.
    fn judged(
        self,
        policy: &Policy,
        now: u64,
        asks: impl Fn(Cause) -> bool,
        ended: u64,
    ) -> Vec<Self> {
        let causes = [Cause::Failures, Cause::Run, Cause::FailureRate, Cause::SlowCalls];
        let mut ways = Vec::new();
        for cause in causes.into_iter().filter(|cause| asks(*cause)) {
            let holds = self.holds(policy, now, cause);
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

    fn holds(&self, policy: &Policy, now: u64, cause: Cause) -> Holds {
        let surely = |holds| if holds { Holds::Yes } else { Holds::No };
        match cause {
            Cause::Run => surely(policy.trip.run.is_some_and(|most| self.run >= most.get())),
            Cause::Failures => {
                let Some(failures) = policy.trip.failures else { return Holds::No };
                let most = failures.count.get();
                match failures.window {
                    Window::Log(_) => Holds::No,
                    Window::Cumulative => {
                        surely(self.fixed.is_some_and(|(_, count)| count >= most))
                    }
                    Window::Fixed(span) => match self.fixed.filter(|(_, count)| *count >= most) {
                        Some((start, _)) if now < start + millis(span) => Holds::Yes,
                        Some((start, _)) if now < start + millis(span) + SLACK => Holds::Perhaps,
                        _ => Holds::No,
                    },
                    Window::Sliding(span) => self.slides(millis(span), now, |ends| {
                        ends.iter().filter(|(_, failed, _)| *failed).count() >= most as usize
                    }),
                }
            }
            Cause::FailureRate | Cause::SlowCalls => {
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
        }
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

    fn tick(mut self, policy: &Policy, now: u64, ended: u64) -> Vec<Self> {
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
            State::Closed | State::Recovering => self.judged(policy, now, |_| true, ended),
            State::Open | State::HalfOpen => vec![self],
        }
    }

    /// The move that time alone brings at `now`.
    fn due(&self, policy: &Policy, now: u64) -> Option<Move> {
        match self.state {
            State::Closed => None,
            State::Open if now < self.open_until(policy) => None,
            State::Open if policy.recovery().is_some() => Some(Move::Probe),
            State::Open => Some(Move::Lapse),
            State::HalfOpen => {
                let recovery = policy.recovery()?;
                let waits = self.permits.iter().any(|permit| !permit.done);
                let stuck = waits && now >= self.since + millis(recovery.max_wait);
                stuck.then_some(Move::Expire)
            }
            State::Recovering => {
                let ramp = policy.recovery().and_then(|recovery| recovery.ramp);
                let over = ramp.is_none_or(|ramp| now >= self.since + millis(ramp.duration));
                over.then_some(Move::Settle)
            }
        }
    }

    /// Whether enough failures lie within the look-back.
    fn young(&self, policy: &Policy, now: u64) -> bool {
        self.ages_at(policy).is_some_and(|at| now < at)
    }

    /// When the condition of a look-back ends if nothing more fails.
    fn ages_at(&self, policy: &Policy) -> Option<u64> {
        let failures = policy.trip.failures?;
        let Window::Log(span) = failures.window else { return None };
        let counting: Vec<u64> =
            self.log.iter().copied().filter(|at| *at > self.forgotten).collect();
        let nth = counting.len().checked_sub(failures.count.get() as usize)?;
        Some(counting[nth] + millis(span))
    }

    fn open_until(&self, policy: &Policy) -> u64 {
        match &policy.heal {
            Heal::Age(span) => {
                let other = if self.other_cause { self.since + millis(*span) } else { 0 };
                self.ages_at(policy).unwrap_or(0).max(other)
            }
            Heal::Probe(recovery) => self.since + open_ms(recovery, self.streak),
        }
    }

    fn share(&self, policy: &Policy, now: u64) -> Share {
        let ramp = policy.recovery().and_then(|recovery| recovery.ramp).unwrap();
        let elapsed = now.saturating_sub(self.since).min(millis(ramp.duration));
        let start = u64::from(ramp.start.0);
        let gained = (1_000_000 - start) * elapsed / millis(ramp.duration);
        Share(u32::try_from(start + gained).unwrap())
    }

    fn moves(&mut self, step: Move, policy: &Policy, now: u64) -> Moved {
        let from = self.state;
        // A look-back that opened for another reason stays open for one span of its own.
        self.other_cause = step != Move::Trip(Cause::Failures);
        self.streak = match (step, policy.recovery()) {
            (_, None) => 0,
            (Move::Trip(_), Some(recovery)) if from == State::Closed => {
                let mut healthy = now.saturating_sub(self.since);
                let mut streak = self.streak;
                while streak > 0 && healthy >= open_ms(recovery, streak) {
                    healthy -= open_ms(recovery, streak);
                    streak -= 1;
                }
                streak + 1
            }
            (Move::Trip(_) | Move::Reopen | Move::Expire, _) => self.streak + 1,
            _ => self.streak,
        }
        .min(31);
        self.state = match step {
            Move::Trip(_) | Move::Reopen | Move::Expire => State::Open,
            Move::Probe => State::HalfOpen,
            Move::Ease => State::Recovering,
            Move::Lapse | Move::Heal | Move::Settle | Move::Reset | Move::Adopt => State::Closed,
            // Nobody leads here: `cluster::sim` plays what does.
            Move::Follow(course, _) => course.state(),
        };
        self.epoch = (self.epoch + 1) % EPOCHS;
        self.since = now;
        self.ends.clear();
        self.fresh = 0;
        self.fixed = None;
        self.run = 0;
        self.permits.clear();
        self.widest = 0;
        self.pending.clear();
        Moved { from, step, epoch: self.epoch }
    }
}

/// The contract's `backoff` without jitter.
fn open_ms(recovery: &Recovery, streak: u32) -> u64 {
    recovery.pace.open_ms(streak, 0, 0)
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}
