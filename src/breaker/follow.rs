//! What the control plane asks of a breaker, and tells it, for the cluster's sake.
//!
//! Enters: what the cluster agreed on, what others count, which permits are lent here. Leaves: what
//! this instance has counted, by when it happened, and how many of its probes succeeded. Owns
//! nothing. Cold: asked by the control plane's thread alone, never on a core.

use std::sync::Arc;
use std::time::Duration;

use super::atomics::Ordering;
use super::circuit::{Course, Move, Source, State, Word};
use super::peers::{Bell, FAILURE_SLOTS, Lease, Loss, Peers};
use super::policy::{Heal, Window};
use super::{Breaker, Reason, Sums, Transition, back, fixed};
use crate::clock::Now;

/// The state that a cluster is agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Which.
    pub course: Course,
    /// How many openings followed each other.
    pub streak: u32,
    /// How long it lasts still: until probes go out, or until the ramp is over.
    pub remaining: Duration,
}

/// What was counted, by when it happened: the beginning of the slot of time it lies in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Failures that count against `maxFailures` or `maxErrors`, but for a sliding window's.
    pub failures: Vec<(Now, u32)>,
    /// Exchanges, of which shares and a sliding window's failures are.
    pub ends: Vec<(Now, Sums)>,
}

/// What is cumulative counts from here: it never ages.
pub const AGELESS: Now = Now::from_micros(u64::MAX);

impl Breaker {
    /// Requests that found the breaker open, half-open or recovering and were no probe of it,
    /// whether they were refused or let through all the same: those that would have been one.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        let totals = self.totals();
        let by_state = |(reason, count): (&Reason, &u64)| {
            if *reason == Reason::Override { 0 } else { *count }
        };
        let all = Reason::ALL.iter().cycle().zip(totals.refused.iter().chain(&totals.spared));
        all.map(by_state).sum()
    }

    /// Joins a cluster: cores ring `bell` for `group` when the breaker fails or moves. Until it is
    /// told otherwise it goes on deciding alone.
    pub fn join(&self, bell: &Arc<Bell>, group: u32) {
        self.memory.circuit.join(|| Peers::new(Arc::clone(bell), group));
    }

    /// Tells what others count together with what this instance counts in `epoch`; `number` grows
    /// with each telling. The next tick asks the conditions.
    pub fn told(&self, epoch: u32, theirs: &Tallies, number: u64) {
        if let Some(peers) = self.memory.circuit.peers() {
            peers.say(epoch, &theirs.failures, &theirs.ends, number);
        }
    }

    /// Lends permits of the cluster's half-open round, or takes them back.
    pub fn lend(&self, lease: Lease) {
        if let Some(peers) = self.memory.circuit.peers() {
            peers.lend(lease);
        }
    }

    /// Tells that what is shared is lost, or that it is back.
    pub fn lose(&self, loss: Loss) {
        if let Some(peers) = self.memory.circuit.peers() {
            peers.lose(loss);
        }
    }

    /// Does what the cluster is agreed on. `None`: the breaker stands there already, and has taken
    /// over since when; or it has no such state.
    pub fn follow(&self, lead: Lead, source: Source, now: Now) -> Option<Transition> {
        if let (Heal::Age(_), Course::Open | Course::Ease) = (&self.policy.heal, lead.course) {
            return None;
        }
        if let (Course::Close, Some(moments)) = (lead.course, &self.memory.moments) {
            moments.forget(now);
        }
        loop {
            let seen = self.word();
            let same = seen.state() == lead.course.state() && lead.course != Course::Close;
            let epoch = if same { seen.epoch() } else { Word::epoch_after(seen.epoch()) };
            let mark = self.mark(lead, epoch, now);
            if same {
                if self.memory.circuit.align(seen, lead.streak, mark) {
                    return None;
                }
                continue;
            }
            let step = Move::Follow(lead.course, source);
            if let Some(next) = self.memory.circuit.make(seen, step, lead.streak, mark, now) {
                return Some(self.moved_to(seen, step, next, now));
            }
        }
    }

    /// The mark from which `lead` ends when it says it does.
    fn mark(&self, lead: Lead, epoch: u32, now: Now) -> u64 {
        let Some(recovery) = self.policy.recovery() else { return now.millis_up() };
        let seed = self.memory.circuit.seed;
        let whole = match lead.course {
            Course::Close => return now.millis_up(),
            Course::Open => recovery.pace.open_ms(lead.streak, seed, epoch),
            Course::Ease => recovery.ramp.map_or(0, |ramp| super::pace::millis_up(ramp.duration)),
        };
        (now.millis_up() + super::pace::millis_up(lead.remaining)).saturating_sub(whole)
    }

    /// What this instance has counted in `epoch` that may count still at `now`.
    #[must_use]
    pub fn tallies(&self, epoch: u32, now: Now) -> Tallies {
        let memory = &self.memory;
        let mut own = Tallies::default();
        let failures = self.policy.trip.failures;
        if let (Some(moments), Some(it)) = (&memory.moments, failures)
            && let Window::Log(span) = it.window
        {
            let width = slot_width(span);
            let mut young = Vec::new();
            moments.each(it.count.get(), back(now, span), |at| young.push(at / width * width));
            young.sort_unstable();
            for chunk in young.chunk_by(|a, b| a == b) {
                let count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                own.failures.extend(chunk.first().map(|at| (Now::from_micros(*at), count)));
            }
        }
        if let (Some(counted), Some(it)) = (&memory.counted, failures)
            && let Some((start, count)) = counted.window(epoch, fixed(it.window), now)
        {
            let at = fixed(it.window).map_or(AGELESS, |_| Now::from_millis(start));
            own.failures.push((at, count));
        }
        if let Some(buckets) = &memory.buckets {
            let mut ends: Vec<(u64, Sums)> = Vec::new();
            buckets.each(epoch, now, |at, sums| ends.push((at, sums)));
            ends.sort_unstable_by_key(|(at, _)| *at);
            for chunk in ends.chunk_by(|a, b| a.0 == b.0) {
                let sums = chunk.iter().fold(Sums::default(), |sum, (_, it)| sum.and(*it));
                own.ends.extend(chunk.first().map(|(at, _)| (Now::from_micros(*at), sums)));
            }
        }
        own
    }

    /// How many probes of this instance have succeeded in the present round.
    #[must_use]
    pub fn probes_passed(&self) -> u32 {
        let word = self.word();
        let probes = self.memory.probes.as_ref().filter(|_| word.state() == State::HalfOpen);
        probes.map_or(0, |probes| probes.done(word.epoch()))
    }

    /// Whether a probe of this instance is out in the present round.
    #[must_use]
    pub fn probes_out(&self) -> bool {
        let word = self.word();
        let probes = self.memory.probes.as_ref().filter(|_| word.state() == State::HalfOpen);
        probes.is_some_and(|probes| probes.any_out(word.epoch()))
    }

    /// Whole milliseconds until the state of the present word ends by itself; zero if nothing but
    /// an event ends it.
    #[must_use]
    pub fn left_ms(&self, now: Now) -> u64 {
        let word = self.word();
        match word.state() {
            State::Open | State::Recovering => self.until(word).saturating_sub(now.millis()),
            State::Closed | State::HalfOpen => 0,
        }
    }

    /// How often the cluster was followed from that state.
    #[must_use]
    pub fn followed(&self, from: State, course: Course, source: Source) -> u64 {
        let peers = self.memory.circuit.peers();
        peers.map_or(0, |peers| peers.follows(from, course, source).load(Ordering::Relaxed))
    }
}

#[cfg(test)]
impl Breaker {
    /// The same breaker under another policy, as a reload makes it.
    pub(crate) fn fitted(&self, policy: &crate::breaker::policy::Policy) -> Self {
        Self::new(policy.clone(), self.memory.fit(policy))
    }
}

/// Microseconds of a slot of a look-back.
fn slot_width(span: Duration) -> u64 {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    (micros / FAILURE_SLOTS as u64).max(1)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::memory::Memory;
    use super::super::outcome::Ending;
    use super::super::policy::{Policy, Share, Shares, Trip};
    use super::super::{Core, Reason, Verdict};
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    const fn at(millis: u64) -> Now {
        Now::from_millis((1 << 36) + millis)
    }

    fn joined(policy: Policy) -> (Breaker, Arc<Bell>) {
        let memory = Memory::new(&policy, 2, 7);
        let (breaker, bell) = (Breaker::new(policy, memory), Bell::new());
        breaker.join(&bell, 5);
        (breaker, bell)
    }

    fn reset(failures: u32, window: Window) -> Policy {
        Policy::reset(NonZeroU32::new(failures).unwrap(), window, SPAN)
    }

    fn ends(breaker: &Breaker, status: u16, now: Now) -> Option<Transition> {
        match breaker.admit(&Core::claim(0), now).0 {
            Verdict::Admit(ticket) => ticket.settle(Ending::Answered(status), now),
            Verdict::Refuse { .. } => panic!("refused"),
        }
    }

    fn refusal(breaker: &Breaker, now: Now) -> Option<(Reason, Option<u64>)> {
        match breaker.admit(&Core::claim(1), now).0 {
            Verdict::Admit(_) => None,
            Verdict::Refuse { reason, remaining_ms } => Some((reason, remaining_ms)),
        }
    }

    fn failures(slots: &[(Now, u32)]) -> Tallies {
        Tallies { failures: slots.to_vec(), ends: Vec::new() }
    }

    #[test]
    fn a_failure_here_and_those_of_others_open_together() {
        let log = Policy::look_back(NonZeroU32::new(4).unwrap(), SPAN);
        for (policy, moment) in [
            (reset(4, Window::Cumulative), AGELESS),
            (reset(4, Window::Fixed(SPAN)), at(1_000)),
            (log, at(1_000)),
        ] {
            let (breaker, bell) = joined(policy);
            assert!(ends(&breaker, 500, at(2_000)).is_none());
            assert_eq!(bell.take(), 1 << 5, "the control plane is told");
            breaker.told(breaker.word().epoch(), &failures(&[(moment, 2)]), 1);
            assert!(breaker.tick(at(2_001)).is_none(), "three");
            assert_eq!(ends(&breaker, 500, at(2_002)).unwrap().to(), State::Open);
        }
    }

    #[test]
    fn what_others_count_ages_here_without_being_told_again() {
        let (breaker, _) = joined(reset(3, Window::Sliding(SPAN)));
        let sums = Sums { requests: 2, failed: 2, slow: 0 };
        let theirs = Tallies { failures: Vec::new(), ends: vec![(at(1_000), sums)] };
        breaker.told(breaker.word().epoch(), &theirs, 1);
        assert!(ends(&breaker, 500, at(11_000)).is_none(), "theirs are ten seconds old");
        breaker.told(breaker.word().epoch(), &theirs, 2);
        let (breaker, _) = joined(reset(3, Window::Sliding(SPAN)));
        breaker.told(breaker.word().epoch(), &theirs, 1);
        assert!(ends(&breaker, 500, at(10_999)).is_some());
    }

    #[test]
    fn others_in_good_health_do_not_talk_one_out_of_its_own_verdict() {
        let shares =
            Shares { span: SPAN, min_requests: 2, failed: Some(Share::of(0.5)), slow: None };
        let trip = Trip { shares: Some(shares), ..Trip::default() };
        let (breaker, _) = joined(Policy { trip, ..reset(1, Window::Cumulative) });
        let healthy = Sums { requests: 1_000, failed: 0, slow: 0 };
        let theirs = Tallies { failures: Vec::new(), ends: vec![(at(900), healthy)] };
        breaker.told(breaker.word().epoch(), &theirs, 1);
        assert!(ends(&breaker, 500, at(1_000)).is_none());
        assert!(ends(&breaker, 500, at(1_001)).is_some(), "all that it saw failed");
    }

    #[test]
    fn a_lead_lasts_as_long_as_it_says_and_keeps_the_streak() {
        let (breaker, _) = joined(reset(9, Window::Cumulative));
        let lead =
            |course, streak, secs| Lead { course, streak, remaining: Duration::from_secs(secs) };
        let moved = breaker.follow(lead(Course::Open, 3, 4), Source::Hint, at(1_000)).unwrap();
        assert_eq!((moved.to(), moved.step.origin()), (State::Open, "hint"));
        assert_eq!(breaker.word().streak(), 3);
        assert_eq!(refusal(&breaker, at(1_000)), Some((Reason::Open, Some(4_000))));
        // Again, with another rest: taken over without a move.
        let epoch = breaker.word().epoch();
        assert!(breaker.follow(lead(Course::Open, 2, 2), Source::Poll, at(1_500)).is_none());
        assert_eq!((breaker.word().epoch(), breaker.word().streak()), (epoch, 2));
        assert_eq!(breaker.left_ms(at(1_500)), 2_000);
        let moved = breaker.follow(lead(Course::Close, 2, 0), Source::Poll, at(2_000)).unwrap();
        assert_eq!((moved.to(), moved.step.origin()), (State::Closed, "cluster"));
        assert_eq!(breaker.followed(State::Open, Course::Close, Source::Poll), 1);
        assert_eq!(breaker.followed(State::Closed, Course::Open, Source::Hint), 1);
    }

    #[test]
    fn without_a_lease_it_stays_open_and_with_one_it_probes() {
        let (breaker, _) = joined(reset(1, Window::Cumulative));
        ends(&breaker, 500, at(0)).unwrap();
        let epoch = breaker.word().epoch();
        breaker.lend(Lease::Nothing);
        assert_eq!(refusal(&breaker, at(20_000)), Some((Reason::Open, Some(0))));
        assert!(!breaker.would_admit(at(20_000)));
        let until = at(21_000);
        breaker.lend(Lease::Held { epoch, permits: 1, needed: 2, until });
        assert!(breaker.would_admit(at(20_500)) && !breaker.would_admit(until));
        let Verdict::Admit(ticket) = breaker.admit(&Core::claim(0), at(20_500)).0 else {
            panic!("a permit was lent")
        };
        assert!(ticket.is_probe() && breaker.probes_out());
        assert_eq!(refusal(&breaker, at(20_501)), Some((Reason::HalfOpen, Some(0))));
        assert!(
            ticket.settle(Ending::Answered(200), at(20_502)).is_none(),
            "another one is needed"
        );
        assert_eq!((breaker.probes_passed(), breaker.probes_out()), (1, false));
        breaker.lend(Lease::Free);
        assert!(refusal(&breaker, at(20_503)).is_some(), "alone, its one permit is used");
    }

    #[test]
    fn without_the_store_it_is_frozen_or_refuses_nothing_as_it_is_told() {
        let (breaker, _) = joined(reset(1, Window::Cumulative));
        breaker.lose(Loss::Freeze);
        assert!(ends(&breaker, 500, at(0)).is_none(), "what is closed stays closed");
        breaker.lose(Loss::Closed);
        assert!(breaker.tick(at(1)).is_some(), "it opens");
        assert!(refusal(&breaker, at(2)).is_none() && breaker.would_admit(at(2)));
        assert_eq!(breaker.effective(at(2)), State::Closed);
        breaker.lose(Loss::None);
        assert!(refusal(&breaker, at(3)).is_some());
    }

    #[test]
    fn while_it_is_frozen_no_close_is_due() {
        let one = NonZeroU32::MIN;
        let (breaker, _) = joined(Policy::look_back(one, Duration::from_millis(100)));
        assert!(ends(&breaker, 500, at(1_000)).is_some());
        assert_eq!(breaker.due_at(), Some(at(1_100)));
        breaker.lose(Loss::Freeze);
        assert_eq!((breaker.due_at(), breaker.tick(at(1_100))), (None, None));
        breaker.lose(Loss::None);
        assert_eq!(breaker.due_at(), Some(at(1_100)));
    }

    #[test]
    fn what_is_counted_is_told_by_when_it_happened() {
        let (breaker, _) = joined(reset(9, Window::Sliding(SPAN)));
        for (status, millis) in [(500, 1_100), (500, 1_200), (500, 2_700)] {
            ends(&breaker, status, at(millis));
        }
        let own = breaker.tallies(breaker.word().epoch(), at(3_000));
        let sums: Vec<_> = own.ends.iter().map(|(_, sums)| (sums.requests, sums.failed)).collect();
        assert_eq!((sums, own.failures.len()), (vec![(2, 2), (1, 1)], 0));
        let begins: Vec<_> = own.ends.iter().map(|(begins, _)| at(3_000).since(*begins)).collect();
        let within = |span: Duration, millis: u64| span >= Duration::from_millis(3_000 - millis);
        // Each slot is a second long, and begins with or before what lies in it.
        assert!(within(begins[0], 1_100) && begins[0] < Duration::from_millis(2_900), "{begins:?}");
        assert!(within(begins[1], 2_700) && begins[1] < Duration::from_millis(1_300), "{begins:?}");
        assert_eq!(breaker.tallies(99, at(3_000)), Tallies::default(), "of another epoch");
    }
}
