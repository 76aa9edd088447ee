//! The state of one breaker in one word, and its legal moves.
//!
//! ```text
//!                Trip                         Probe
//!    ┌─────────────────────────▶ open ──────────────────▶ half-open
//!    │                          │ ▲ ▲                     │ │   │
//!    │          Lapse           │ │ └─── Reopen, Expire ──┘ │   │
//!  closed ◀─────────────────────┘ │                         │   │
//!    ▲ ▲                          └─────── Trip ───────┐    │   │
//!    │ │                                               │    │   │
//!    │ └────────── Settle, Adopt ────────────── recovering ◀┘   │
//!    │                                                   Ease   │
//!    └──────────────────────── Heal, Adopt ─────────────────────┘
//!                   Reset: any state → closed
//! ```
//!
//! *Closed* lets traffic flow, *open* refuses it, *half-open* lets probes through, *recovering*
//! lets a growing share of traffic through. Every move raises the epoch, which fences late results:
//! what was admitted in an older epoch moves nothing, and windows of an older epoch are empty.
//!
//! Owns: the word (read by every core on every request, written only on a move), the override
//! beside it, and the counts of moves. Reads no clock and decides no policy: `mod.rs` says when,
//! this file says what is legal.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use crossbeam_utils::CachePadded;

use super::atomics::{AtomicU64, Ordering};
use crate::clock::Now;

const MARK_BITS: u32 = 38; // milliseconds: 8.7 years
const EPOCH_BITS: u32 = 18;
const STREAK_BITS: u32 = 5;
const FORCED_BIT: u32 = MARK_BITS + EPOCH_BITS + STREAK_BITS;
const STATE_SHIFT: u32 = FORCED_BIT + 1;
const MARK_MASK: u64 = (1 << MARK_BITS) - 1;
const EPOCH_MASK: u32 = (1 << EPOCH_BITS) - 1;
const STREAK_MASK: u32 = (1 << STREAK_BITS) - 1;

/// Whether traffic flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Traffic flows.
    Closed,
    /// Traffic is refused.
    Open,
    /// Probes decide.
    HalfOpen,
    /// A growing share of traffic flows.
    Recovering,
}

impl State {
    /// Every state, in the order of reports.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::HalfOpen, Self::Recovering];

    /// The word used in metrics, the admin API and log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Recovering => "recovering",
        }
    }
}

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
}

/// Every legal move with the state it leads from, in the order of reports.
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
        }
    }
}

/// State, epoch, streak and mark, as read at one instant.
///
/// The mark (milliseconds of [`Now`]) is the moment the state is reckoned from, never the one it
/// ends at: the span is the policy's to say, so that a changed policy holds at once. Closed: since
/// when. Open: when it tripped, or, under a look-back, the failure whose ageing out closes it.
/// Half-open: since when a verdict is waited for. Recovering: when the ramp began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    pub(super) const fn new(state: State, epoch: u32, streak: u32, mark: u64) -> Self {
        let state = match state {
            State::Closed => 0u64,
            State::Open => 1,
            State::HalfOpen => 2,
            State::Recovering => 3,
        };
        let mark = if mark > MARK_MASK { MARK_MASK } else { mark };
        let streak = if streak > STREAK_MASK { STREAK_MASK } else { streak };
        Self(
            state << STATE_SHIFT
                | (streak as u64) << (MARK_BITS + EPOCH_BITS)
                | ((epoch & EPOCH_MASK) as u64) << MARK_BITS
                | mark,
        )
    }

    /// Whether traffic flows.
    #[must_use]
    pub const fn state(self) -> State {
        match self.0 >> STATE_SHIFT {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            _ => State::Recovering,
        }
    }

    /// The epoch: raised by every move, wraps at 18 bits.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> MARK_BITS) as u32 & EPOCH_MASK
    }

    /// How many openings followed each other.
    #[must_use]
    pub const fn streak(self) -> u32 {
        (self.0 >> (MARK_BITS + EPOCH_BITS)) as u32 & STREAK_MASK
    }

    /// Closed, and no operator says otherwise: the word of nearly every request.
    #[inline]
    pub(super) const fn flows(self) -> bool {
        self.0 >> FORCED_BIT == 0
    }

    pub(super) const fn is_forced(self) -> bool {
        self.0 >> FORCED_BIT & 1 == 1
    }

    /// The mark in milliseconds of [`Now`].
    pub(super) const fn mark(self) -> u64 {
        self.0 & MARK_MASK
    }

    /// The same with another mark.
    pub(super) const fn marked(self, mark: u64) -> Self {
        let mark = if mark > MARK_MASK { MARK_MASK } else { mark };
        Self(self.0 & !MARK_MASK | mark)
    }

    const fn forced(self) -> Self {
        Self(self.0 | 1 << FORCED_BIT)
    }

    const fn free(self) -> Self {
        Self(self.0 & !(1 << FORCED_BIT))
    }
}

/// An operator's word, which stands above the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Everything is refused.
    Open,
    /// Everything is admitted, and counted as ever.
    Closed,
}

/// An operator's word and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// What holds.
    pub forced: Forced,
    /// Until when; `None`: until it is taken back.
    pub until: Option<Now>,
}

/// The shared word, the override, and the counts of moves.
#[derive(Debug)]
pub(super) struct Circuit {
    word: CachePadded<AtomicU64>,
    /// 0: none. Else the kind above its end in milliseconds; all ones: no end.
    forced: AtomicU64,
    moves: [AtomicU64; EDGES.len()],
    /// When the present state began (milliseconds of `Now`); for reports.
    since: AtomicU64,
    /// What chance is made from.
    pub(super) seed: u64,
}

const FORCED_END_BITS: u32 = 62;
const FORCED_ENDLESS: u64 = (1 << FORCED_END_BITS) - 1;

impl Circuit {
    /// A closed circuit that has seen nothing.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(Word::new(State::Closed, 1, 0, 0).0)),
            forced: AtomicU64::new(0),
            moves: std::array::from_fn(|_| AtomicU64::new(0)),
            since: AtomicU64::new(0),
            seed,
        }
    }

    /// The one load of the closed path.
    #[inline]
    pub(super) fn word(&self) -> Word {
        // Acquire pairs with the AcqRel in `exchange`.
        Word(self.word.load(Ordering::Acquire))
    }

    /// Makes a legal move; `None` when the word is no longer `seen`: something else was first.
    pub(super) fn make(
        &self,
        seen: Word,
        step: Move,
        streak: u32,
        mark: u64,
        now: Now,
    ) -> Option<Word> {
        let to = legal(seen.state(), step);
        debug_assert!(to.is_some(), "{step:?} is not legal in {seen:?}");
        let next = Word::new(to?, seen.epoch().wrapping_add(1), streak, mark);
        let next = if seen.is_forced() { next.forced() } else { next };
        if !self.exchange(seen, next) {
            return None;
        }
        self.since.store(now.millis(), Ordering::Relaxed);
        let edge = EDGES.iter().position(|edge| *edge == (seen.state(), step));
        if let Some(count) = edge.and_then(|edge| self.moves.get(edge)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Some(next)
    }

    /// Moves the mark of `seen` on; epoch and state stay. Says no when the word is no longer
    /// `seen`.
    pub(super) fn remark(&self, seen: Word, mark: u64) -> bool {
        seen.mark() >= mark || self.exchange(seen, seen.marked(mark))
    }

    /// What an operator has ordered for `now`.
    pub(super) fn forced(&self, now: Now) -> Option<Override> {
        // Acquire pairs with the Release in `force`.
        let order = self.forced.load(Ordering::Acquire);
        let forced = match order >> FORCED_END_BITS {
            0 => return None,
            1 => Forced::Open,
            _ => Forced::Closed,
        };
        let until = match order & FORCED_ENDLESS {
            FORCED_ENDLESS => None,
            millis => Some(Now::from_millis(millis)),
        };
        until.is_none_or(|until| now < until).then_some(Override { forced, until })
    }

    /// Takes an operator's order, or takes it back. One thread at a time: the control plane's.
    pub(super) fn force(&self, order: Option<Override>) {
        let kind = |forced| match forced {
            Forced::Open => 1u64,
            Forced::Closed => 2,
        };
        let packed = order.map_or(0, |order| {
            let end = order.until.map_or(FORCED_ENDLESS, Now::millis_up).min(FORCED_ENDLESS);
            kind(order.forced) << FORCED_END_BITS | end
        });
        // In this order: who sees the bit finds the order. One exchange of the order decides; a
        // core that still sees the bit of an order that was taken back finds none.
        self.forced.store(packed, Ordering::Release);
        loop {
            let seen = self.word();
            let next = if order.is_some() { seen.forced() } else { seen.free() };
            if self.exchange(seen, next) {
                return;
            }
        }
    }

    /// How often the move was made from that state.
    pub(super) fn moved(&self, from: State, step: Move) -> u64 {
        let edge = EDGES.iter().position(|edge| *edge == (from, step));
        edge.and_then(|edge| self.moves.get(edge)).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// When the present state began; `None` before the first move.
    pub(super) fn since(&self) -> Option<Now> {
        match self.since.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Now::from_millis(millis)),
        }
    }

    fn exchange(&self, seen: Word, next: Word) -> bool {
        // AcqRel: what happened before a move is seen by whoever reads the moved word.
        self.word.compare_exchange(seen.0, next.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_packed() {
        for state in State::ALL {
            let word = Word::new(state, EPOCH_MASK, STREAK_MASK, MARK_MASK).forced();
            assert_eq!((word.state(), word.epoch()), (state, EPOCH_MASK));
            assert_eq!((word.streak(), word.mark()), (STREAK_MASK, MARK_MASK));
            assert!(word.is_forced() && !word.flows());
        }
        let word = Word::new(State::Closed, 1, 99, u64::MAX);
        assert_eq!((word.streak(), word.mark(), word.flows()), (STREAK_MASK, MARK_MASK, true));
    }

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

    #[test]
    fn only_the_first_of_two_equal_moves_is_made() {
        let circuit = Circuit::new(0);
        let (seen, now, trip) = (circuit.word(), Now::from_millis(5), Move::Trip(Cause::Failures));
        let moved = circuit.make(seen, trip, 1, 99, now);
        assert_eq!(moved, Some(Word::new(State::Open, 2, 1, 99)));
        assert_eq!(circuit.make(seen, trip, 1, 99, now), None);
        assert_eq!(circuit.moved(State::Closed, trip), 1);
        assert_eq!(circuit.since(), Some(now));
    }

    #[test]
    fn the_mark_is_moved_on_but_never_back() {
        let circuit = Circuit::new(0);
        assert!(circuit.remark(circuit.word(), 80));
        assert!(circuit.remark(circuit.word(), 60));
        assert!(!circuit.remark(Word::new(State::Closed, 1, 0, 50), 90), "not what is there");
        assert_eq!(circuit.word(), Word::new(State::Closed, 1, 0, 80));
    }

    #[test]
    fn an_order_holds_until_its_end_and_survives_moves() {
        let circuit = Circuit::new(0);
        let until = Some(Now::from_millis(100));
        circuit.force(Some(Override { forced: Forced::Open, until }));
        let seen = circuit.word();
        assert!(seen.is_forced() && seen.state() == State::Closed);
        let moved = circuit.make(seen, Move::Reset, 0, 50, Now::from_millis(50)).unwrap();
        assert!(moved.is_forced());
        let order = circuit.forced(Now::from_micros(99_999)).unwrap();
        assert_eq!((order.forced, order.until), (Forced::Open, until));
        assert_eq!(circuit.forced(Now::from_millis(100)), None);
        circuit.force(None);
        assert!(!circuit.word().is_forced());
    }
}
