//! Asking a breaker: the closed path, and all that is not.
//!
//! Enters: the time and the core. Leaves: a ticket or a refusal, and the move that asking caused:
//! an open breaker whose time is over moves when it is asked, and whoever asked is its first probe.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::marker::PhantomData;

use super::atomics::Ordering;
use super::circuit::{Forced, Move, State, Word};
use super::peers::Peers;
use super::policy::{Heal, Mode, Ramp, Recovery, Share};
use super::probes::Permit;
use super::ticket::{Errand, Ticket};
use super::{Breaker, Core, Reason, Transition, Verdict};
use crate::clock::Now;

/// What the state alone says.
enum Decision {
    Go(Word, Errand),
    No(Word, Reason),
}

impl Breaker {
    /// May a request go now? The second value is the transition that asking caused, if any.
    #[inline]
    pub fn admit(&self, core: &Core, now: Now) -> (Verdict<'_>, Option<Transition>) {
        let word = self.word();
        if word.flows() && self.policy.mode as u8 != Mode::Off as u8 {
            return (Verdict::Admit(self.ticket(core, word, Errand::Traffic, now)), None);
        }
        self.admit_at_edge(core, word, now)
    }

    #[cold]
    fn admit_at_edge(
        &self,
        core: &Core,
        word: Word,
        now: Now,
    ) -> (Verdict<'_>, Option<Transition>) {
        let (order, word) = if word.is_forced() {
            // The word is read again after the order: an order whose bit is not set yet, or no
            // more, does not hold.
            let (order, word) = (self.forced(now), self.word());
            (order.filter(|_| word.is_forced()), word)
        } else {
            (None, word)
        };
        if let Some(order) = order.filter(|order| order.forced == Forced::Open) {
            // Rounded as an open breaker's time is.
            let left = |until: Now| until.micros().saturating_sub(now.micros()) / 1000;
            let remaining_ms = order.until.map(left);
            return (self.refuse(core, Reason::Override, remaining_ms), None);
        }
        if self.policy.mode == Mode::Off {
            return (Verdict::Admit(self.ticket(core, word, Errand::Nothing, now)), None);
        }
        let (decision, transition) = self.decide(core, word, now);
        let verdict = match decision {
            Decision::Go(word, errand) => Verdict::Admit(self.ticket(core, word, errand, now)),
            Decision::No(word, reason)
                if order.is_some() || self.policy.mode == Mode::Shadow || self.spares_all() =>
            {
                let spared = reason as usize;
                self.memory.tally(core.index(), |tally| &tally.spared[spared]);
                Verdict::Admit(self.ticket(core, word, Errand::Bystander, now))
            }
            Decision::No(word, reason) => {
                self.refuse(core, reason, Some(self.remaining_ms_of(word, now)))
            }
        };
        (verdict, transition)
    }

    /// Whether a request that comes now would be let through, as far as can be said without asking:
    /// for choosing among several. Another core may take the last permit first, and a ramp may turn
    /// to refuse.
    #[inline]
    #[must_use]
    pub fn would_admit(&self, now: Now) -> bool {
        let word = self.word();
        word.flows() || self.would_admit_at_edge(word, now)
    }

    #[cold]
    fn would_admit_at_edge(&self, word: Word, now: Now) -> bool {
        match self.forced(now).map(|order| order.forced) {
            Some(Forced::Open) => return false,
            Some(Forced::Closed) => return true,
            None if self.policy.mode != Mode::Enforce || self.spares_all() => return true,
            None => {}
        }
        match (word.state(), &self.policy.heal) {
            (State::Closed | State::Recovering, _) | (State::HalfOpen, Heal::Age(_)) => true,
            (State::Open, Heal::Age(_)) => now.millis() >= self.until(word) && !self.is_frozen(),
            (State::Open, Heal::Probe(recovery)) => {
                now.millis() >= self.until(word) && self.permits(recovery, word, now) > 0
            }
            (State::HalfOpen, Heal::Probe(recovery)) => {
                let (epoch, requests) = (word.epoch(), self.permits(recovery, word, now));
                let probes = self.memory.probes.as_ref();
                let place = probes.and_then(|probes| probes.find(epoch, requests, now.millis()));
                place.is_some() && !self.is_stuck(word, now)
            }
        }
    }

    fn refuse(&self, core: &Core, reason: Reason, remaining_ms: Option<u64>) -> Verdict<'_> {
        self.memory.tally(core.index(), |tally| &tally.refused[reason as usize]);
        Verdict::Refuse { reason, remaining_ms }
    }

    /// Makes at most one move: who finds that a second one is due leaves it to the next.
    fn decide(&self, core: &Core, mut word: Word, now: Now) -> (Decision, Option<Transition>) {
        let mut transition = None;
        loop {
            let (step, waits) = match (word.state(), &self.policy.heal) {
                (State::Closed, _) => return (Decision::Go(word, Errand::Traffic), transition),
                (State::Open, _) if now.millis() < self.until(word) => {
                    return (Decision::No(word, Reason::Open), transition);
                }
                (State::Open, Heal::Age(_)) if !self.is_frozen() => (Move::Lapse, Reason::Open),
                (State::Open, Heal::Probe(it)) if self.permits(it, word, now) > 0 => {
                    (Move::Probe, Reason::Open)
                }
                // Its time is over, but the probes are for others to send.
                (State::Open, _) => return (Decision::No(word, Reason::Open), transition),
                (State::HalfOpen | State::Recovering, Heal::Age(_)) => {
                    (Move::Adopt, Reason::HalfOpen)
                }
                (State::HalfOpen, Heal::Probe(recovery)) => {
                    if !self.is_stuck(word, now) {
                        match self.permit(recovery, word, now) {
                            Ask::Given(word, permit) => {
                                return (Decision::Go(word, Errand::Probe(permit)), transition);
                            }
                            Ask::None => {
                                return (Decision::No(word, Reason::HalfOpen), transition);
                            }
                            Ask::Moved => {
                                word = self.word();
                                continue;
                            }
                        }
                    }
                    (Move::Expire, Reason::HalfOpen)
                }
                (State::Recovering, Heal::Probe(recovery)) => match recovery.ramp {
                    Some(ramp) if now.millis() < self.until(word) => {
                        let decision = if self.is_of_share(core, ramp, word, now) {
                            Decision::Go(word, Errand::Traffic)
                        } else {
                            Decision::No(word, Reason::Ramp)
                        };
                        return (decision, transition);
                    }
                    _ => (Move::Settle, Reason::Ramp),
                },
            };
            if transition.is_some() {
                return (Decision::No(word, waits), transition);
            }
            match self.by_time(word, step, now) {
                Some((next, made)) => (word, transition) = (next, Some(made)),
                None => word = self.word(),
            }
        }
    }

    /// Makes a move that time alone brings, from `word`; `None`: something else was first.
    pub(super) fn by_time(&self, word: Word, step: Move, now: Now) -> Option<(Word, Transition)> {
        let streak = match step {
            Move::Expire => word.streak() + 1,
            _ => word.streak(),
        };
        let next = self.memory.circuit.make(word, step, streak, now.millis_up(), now)?;
        Some((next, self.moved_to(word, step, next, now)))
    }

    /// Whether a half-open breaker has waited for too long: a permit is out, and neither has a
    /// probe succeeded nor a free permit been given for that time. Without a permit out it waits
    /// for nothing but requests.
    pub(super) fn is_stuck(&self, word: Word, now: Now) -> bool {
        now.millis() >= self.until(word)
            && self.memory.probes.as_ref().is_some_and(|probes| probes.any_out(word.epoch()))
    }

    /// How many permits a round may have had by now.
    pub(super) fn permits(&self, recovery: &Recovery, word: Word, now: Now) -> u32 {
        let requests = recovery.requests.get();
        let peers = self.memory.circuit.peers();
        peers.map_or(requests, |peers| peers.permits(word, requests, now))
    }

    /// Whether nothing is refused, for want of what is shared.
    pub(super) fn spares_all(&self) -> bool {
        self.memory.circuit.peers().is_some_and(Peers::refuses_nothing)
    }

    fn permit(&self, recovery: &Recovery, word: Word, now: Now) -> Ask {
        let Some(probes) = &self.memory.probes else { return Ask::None };
        let lost_at = now.after(recovery.permit).millis_up();
        let mut word = word;
        loop {
            let permits = self.permits(recovery, word, now);
            let place = probes.find(word.epoch(), permits, now.millis());
            let Some(place) = place else { return Ask::None };
            if !place.lost {
                // The wait begins anew. Marked before the permit is out, so that nobody sees it out
                // beside an older mark.
                let mark = now.millis_up().max(word.mark());
                if !self.memory.circuit.remark(word, mark) {
                    return Ask::Moved;
                }
                word = word.marked(mark);
            }
            let Some(permit) = probes.take(place, word.epoch(), lost_at) else { continue };
            // Looked at once more: a place that became free late is one of a round that is over.
            if self.word().epoch() != word.epoch() {
                probes.give_back(permit);
                return Ask::Moved;
            }
            return Ask::Given(word, permit);
        }
    }

    /// Whether this request is of the share that is admitted: each core adds up the share of every
    /// request and admits one for each whole that this makes.
    fn is_of_share(&self, core: &Core, ramp: Ramp, word: Word, now: Now) -> bool {
        let Some(tally) = self.memory.tallies.get(core.index()) else { return true };
        let share = ramp.share(now.since(Now::from_millis(word.mark())));
        // Relaxed load and store: this core is the only writer.
        let sum = tally.ramp.load(Ordering::Relaxed) + u64::from(share.0);
        let whole = u64::from(Share::ALL.0);
        let admitted = sum >= whole;
        tally.ramp.store(if admitted { sum - whole } else { sum }, Ordering::Relaxed);
        admitted
    }

    const fn ticket(&self, core: &Core, word: Word, errand: Errand, now: Now) -> Ticket<'_> {
        Ticket {
            breaker: self,
            epoch: word.epoch(),
            core: core.index,
            errand,
            begun: now,
            _not_send: PhantomData,
        }
    }
}

/// What becomes of asking for a permit.
enum Ask {
    Given(Word, Permit),
    None,
    /// The word moved meanwhile.
    Moved,
}
