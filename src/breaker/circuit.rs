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
//!          Follow: any state → closed, open or recovering
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

use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use super::atomics::{AtomicU64, Ordering};
pub use super::moves::{Cause, Course, EDGES, Move, Source, legal};
use super::peers::Peers;
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

    /// The epoch that a move from `epoch` begins.
    #[must_use]
    pub const fn epoch_after(epoch: u32) -> u32 {
        epoch.wrapping_add(1) & EPOCH_MASK
    }

    /// The epoch that a move to `epoch` ended.
    #[must_use]
    pub const fn epoch_before(epoch: u32) -> u32 {
        epoch.wrapping_sub(1) & EPOCH_MASK
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
    /// What other instances say, once the breaker is joined to a cluster.
    peers: OnceLock<Box<Peers>>,
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
            peers: OnceLock::new(),
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
        if let Some(peers) = self.peers() {
            if let Move::Follow(course, source) = step {
                peers.follows(seen.state(), course, source).fetch_add(1, Ordering::Relaxed);
            }
            peers.ring();
        }
        Some(next)
    }

    /// Joins a cluster; who has joined stays so.
    pub(super) fn join(&self, peers: impl FnOnce() -> Peers) -> &Peers {
        self.peers.get_or_init(|| Box::new(peers()))
    }

    /// What other instances say, if the breaker has joined any.
    pub(super) fn peers(&self) -> Option<&Peers> {
        self.peers.get().map(|peers| &**peers)
    }

    /// Takes over when and how often in a row `seen` began; epoch and state stay. Says no when the
    /// word is no longer `seen`.
    pub(super) fn align(&self, seen: Word, streak: u32, mark: u64) -> bool {
        let next = Word::new(seen.state(), seen.epoch(), streak, mark);
        let next = if seen.is_forced() { next.forced() } else { next };
        next == seen || self.exchange(seen, next)
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
                break;
            }
        }
        if let Some(peers) = self.peers() {
            peers.ring();
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
