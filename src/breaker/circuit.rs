//! The state of one breaker in one word, and its legal moves.
//!
//! ```text
//!                 Trip                          Probe
//!      ┌────────────────────────▶ open ─────────────────────────▶ half-open
//!   closed ◀──────────────────────┘ ▲                              │    │
//!      ▲          Lapse             └──────────── Reopen ──────────┘    │
//!      └───────────────────────────────── Heal ─────────────────────────┘
//! ```
//!
//! *Closed* lets traffic flow, *open* refuses it, *half-open* lets one probe through. Every move
//! raises the epoch, which fences late results: what was admitted in an older epoch moves nothing.
//!
//! Owns: the word (read by every core on every request, written only on a move), and the counts of
//! moves. Reads no clock and decides no policy: `mod.rs` says when, this file says what is legal.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::clock::Now;

const MARK_BITS: u32 = 40; // milliseconds: 34 years
const EPOCH_BITS: u32 = 22;
const EPOCH_MASK: u32 = (1 << EPOCH_BITS) - 1;
const MARK_MASK: u64 = (1 << MARK_BITS) - 1;

/// Whether traffic flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Traffic flows.
    Closed,
    /// Traffic is refused.
    Open,
    /// One probe decides.
    HalfOpen,
}

impl State {
    /// Every state, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The word used in metrics, the admin API and log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A legal move between states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The threshold was reached.
    Trip,
    /// Enough failures have aged out of the look-back.
    Lapse,
    /// The open time is over: a probe goes out.
    Probe,
    /// The probe failed.
    Reopen,
    /// The probe succeeded.
    Heal,
}

impl Move {
    /// Every move, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Trip, Self::Lapse, Self::Probe, Self::Reopen, Self::Heal];

    /// The state this move leads from.
    #[must_use]
    pub const fn from(self) -> State {
        match self {
            Self::Trip => State::Closed,
            Self::Lapse | Self::Probe => State::Open,
            Self::Reopen | Self::Heal => State::HalfOpen,
        }
    }

    /// The state this move leads to.
    #[must_use]
    pub const fn to(self) -> State {
        match self {
            Self::Trip | Self::Reopen => State::Open,
            Self::Lapse | Self::Heal => State::Closed,
            Self::Probe => State::HalfOpen,
        }
    }

    /// Why, as a word for metrics, events and log lines.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Trip => "failures",
            Self::Lapse => "failures_aged_out",
            Self::Probe => "open_time_over",
            Self::Reopen => "probe_failed",
            Self::Heal => "probe_succeeded",
        }
    }

    const fn slot(self) -> usize {
        match self {
            Self::Trip => 0,
            Self::Lapse => 1,
            Self::Probe => 2,
            Self::Reopen => 3,
            Self::Heal => 4,
        }
    }
}

/// State, epoch and mark, as read at one instant.
///
/// The mark (milliseconds of [`Now`]) of a breaker that resets is when it may stop refusing, or,
/// half open, when it takes its probe for lost; zero when closed, or when a half-open permit is
/// free. The mark of one that looks back is the failure whose ageing out closes it: when that is,
/// is the policy's to say, so that a changed policy holds at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    pub(super) const fn new(state: State, epoch: u32, mark: u64) -> Self {
        let state = match state {
            State::Closed => 0u64,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        let mark = if mark > MARK_MASK { MARK_MASK } else { mark };
        Self(state << (EPOCH_BITS + MARK_BITS) | ((epoch & EPOCH_MASK) as u64) << MARK_BITS | mark)
    }

    /// Whether traffic flows.
    #[must_use]
    pub const fn state(self) -> State {
        match self.0 >> (EPOCH_BITS + MARK_BITS) {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    /// The epoch: raised by every move, wraps at 22 bits.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> MARK_BITS) as u32 & EPOCH_MASK
    }

    /// The mark in milliseconds of [`Now`].
    pub(super) const fn mark(self) -> u64 {
        self.0 & MARK_MASK
    }
}

/// The shared word and the counts of moves.
#[derive(Debug)]
pub(super) struct Circuit {
    word: CachePadded<AtomicU64>,
    moves: [AtomicU64; Move::ALL.len()],
    /// When the present state began (milliseconds of `Now`); for reports.
    since: AtomicU64,
}

impl Circuit {
    /// A circuit in `word`'s state: closed for a new breaker, the old one's for a carried one.
    pub(super) fn new(word: Word) -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(word.0)),
            moves: [const { AtomicU64::new(0) }; Move::ALL.len()],
            since: AtomicU64::new(0),
        }
    }

    /// Takes over the reports of the circuit that this one replaces.
    pub(super) fn inherit(&self, old: &Self) {
        for (own, theirs) in self.moves.iter().zip(&old.moves) {
            own.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.since.store(old.since.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The one load of the closed path.
    pub(super) fn word(&self) -> Word {
        // Acquire pairs with the AcqRel in `exchange`.
        Word(self.word.load(Ordering::Acquire))
    }

    /// Makes a legal move; `None` when the word is no longer `seen`: another core was first.
    pub(super) fn make(&self, seen: Word, step: Move, mark: u64, now: Now) -> Option<Word> {
        debug_assert_eq!(seen.state(), step.from(), "{step:?} is not legal here");
        if seen.state() != step.from() {
            return None;
        }
        let next = Word::new(step.to(), seen.epoch().wrapping_add(1), mark);
        if !self.exchange(seen, next) {
            return None;
        }
        self.since.store(now.millis(), Ordering::Relaxed);
        if let Some(count) = self.moves.get(step.slot()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Some(next)
    }

    /// Puts a half-open permit back, or hands it to the next probe; the state stays.
    pub(super) fn renew(&self, seen: Word, mark: u64) -> Option<Word> {
        let next = Word::new(seen.state(), seen.epoch().wrapping_add(1), mark);
        self.exchange(seen, next).then_some(next)
    }

    /// Moves the mark of an open breaker on; epoch and state stay. Says no when the word is no
    /// longer `seen`.
    pub(super) fn extend(&self, seen: Word, mark: u64) -> bool {
        debug_assert_eq!(seen.state(), State::Open);
        seen.mark() >= mark || self.exchange(seen, Word::new(State::Open, seen.epoch(), mark))
    }

    /// How often each move was made.
    pub(super) fn moved(&self, step: Move) -> u64 {
        self.moves.get(step.slot()).map_or(0, |count| count.load(Ordering::Relaxed))
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
            let word = Word::new(state, EPOCH_MASK, MARK_MASK);
            assert_eq!((word.state(), word.epoch(), word.mark()), (state, EPOCH_MASK, MARK_MASK));
        }
        assert_eq!(Word::new(State::Open, 0, u64::MAX).mark(), MARK_MASK);
    }

    #[test]
    fn only_the_first_of_two_equal_moves_is_made() {
        let circuit = Circuit::new(Word::new(State::Closed, 7, 0));
        let seen = circuit.word();
        let now = Now::from_millis(5);
        assert_eq!(circuit.make(seen, Move::Trip, 99, now), Some(Word::new(State::Open, 8, 99)));
        assert_eq!(circuit.make(seen, Move::Trip, 99, now), None);
        assert_eq!(circuit.moved(Move::Trip), 1);
        assert_eq!(circuit.since(), Some(now));
    }

    #[test]
    fn the_mark_is_moved_on_but_never_back() {
        let circuit = Circuit::new(Word::new(State::Open, 1, 50));
        assert!(circuit.extend(circuit.word(), 80));
        assert!(circuit.extend(circuit.word(), 60));
        assert!(!circuit.extend(Word::new(State::Open, 1, 50), 90), "not what is there");
        assert_eq!(circuit.word(), Word::new(State::Open, 1, 80));
    }
}
