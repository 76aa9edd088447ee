//! A breaker written from the contract's text: slow, plain, and for one thread.
//!
//! Enters: what was asked and what was answered. Leaves: the states the breaker may be in after
//! that; none, if the answer is not one the text allows. It keeps every outcome with its time and
//! counts by looking at all of them. Where the text leaves a choice (which of two lost permits is
//! given away, what lies in the last tenth of a sliding span) each choice is a state.

mod admit;
mod judge;

use std::collections::BTreeMap;

pub(super) use judge::steps;

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
    /// What is counted, of an exchange or for a tick, comes to the failures in a row,
    Run {
        id: u32,
    },
    /// to the exchanges within the last span,
    Count {
        id: u32,
    },
    /// and is judged.
    Judge {
        id: u32,
    },
    Tick {
        id: u32,
    },
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
    /// What is counted and not judged yet.
    on_their_way: BTreeMap<u32, judge::OnItsWay>,
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

/// What a breaker's chances are made from in every play.
pub(super) const SEED: u64 = 0;

/// Whether a condition holds: the text may leave it open.
#[derive(Clone, Copy, Debug, PartialEq)]
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
            on_their_way: BTreeMap::new(),
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
            Deed::Run { id } => {
                next.count_run(policy, id);
                vec![next]
            }
            Deed::Count { id } => {
                next.count_end(policy, now, id);
                vec![next]
            }
            Deed::Judge { id } => next.judge(policy, now, id, ended),
            Deed::Tick { id } => next.tick(policy, now, id, ended),
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
            Heal::Probe(recovery) => self.since + open_ms(recovery, self.streak, self.epoch),
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
                while streak > 0 && healthy >= recovery.pace.step(streak) {
                    healthy -= recovery.pace.step(streak);
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

/// The contract's `backoff`: chance is the breaker's own, its bounds are the text's.
fn open_ms(recovery: &Recovery, streak: u32, epoch: u32) -> u64 {
    let (step, first) = (recovery.pace.step(streak), recovery.pace.step(1));
    let open = recovery.pace.open_ms(streak, SEED, epoch);
    let sway = step / 2; // no play has more jitter than that
    assert!((step - sway).max(first) <= open && open <= step + sway, "{open} ms, {recovery:?}");
    open
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}
