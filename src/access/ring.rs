//! One core's lines on their way to the writer: a ring with one writer and one reader.
//!
//! Enters: lines, from one core. Leaves: the same, on the writer's thread, in order. Plain stores
//! of words, published by one store behind them; the reader gives room back the same way. Neither
//! side ever waits for the other.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::Line;
use super::record::{self, WORDS_MAX};

/// Words of a ring: 8,192 lines of 256 bytes, more than a core finishes between two looks of the
/// writer.
const WORDS: usize = 8192 * 32;

/// See the file.
#[derive(Debug)]
pub(super) struct Ring {
    words: Box<[AtomicU64]>,
    /// Written by the core alone.
    core: CachePadded<Written>,
    /// The words the reader is done with; written by it alone.
    done: CachePadded<AtomicU64>,
}

#[derive(Debug, Default)]
struct Written {
    /// The words that hold lines: counted from the beginning of time, like `done`.
    filled: AtomicU64,
    /// `done` when it was last looked at: it is the other core's cache line.
    seen: AtomicU64,
    dropped: AtomicU64,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self::of(WORDS)
    }

    /// `words` is a power of two.
    fn of(words: usize) -> Self {
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            core: CachePadded::default(),
            done: CachePadded::default(),
        }
    }

    /// For the one core that owns the ring.
    pub(super) fn put(&self, line: &Line<'_>) {
        let filled = self.core.filled.load(Ordering::Relaxed);
        let mut end = filled;
        let record = record::measure(line);
        let room = |done: u64| done + self.words.len() as u64;
        // Ahead of the reader by at most the ring: else it would read what is being written.
        let mut seen = self.core.seen.load(Ordering::Relaxed);
        if room(seen) < filled + record.words {
            seen = self.done.load(Ordering::Acquire);
            self.core.seen.store(seen, Ordering::Relaxed);
            if room(seen) < filled + record.words {
                let dropped = self.core.dropped.load(Ordering::Relaxed);
                self.core.dropped.store(dropped.wrapping_add(1), Ordering::Relaxed);
                return;
            }
        }
        record::write(&record, |word| {
            if let Some(place) = self.word(end) {
                place.store(word, Ordering::Relaxed);
            }
            end += 1;
        });
        // The words before it are there for whoever sees it.
        self.core.filled.store(end, Ordering::Release);
    }

    /// Takes lines until there are none or `take` has had enough, and tells which. For the one
    /// reader.
    pub(super) fn drain(&self, mut take: impl FnMut(&Line<'_>) -> Enough) -> Enough {
        let filled = self.core.filled.load(Ordering::Acquire);
        let mut done = self.done.load(Ordering::Relaxed);
        let mut bytes = [0; WORDS_MAX * 8];
        while done < filled {
            let first = self.word(done).map_or(0, |word| word.load(Ordering::Relaxed));
            let count = record::words_of(first);
            for (nth, place) in (0..count).zip(bytes.chunks_exact_mut(8)) {
                let word = self.word(done + nth).map_or(0, |word| word.load(Ordering::Relaxed));
                place.copy_from_slice(&word.to_le_bytes());
            }
            done += count;
            // Given back before the line is used: it has been copied.
            self.done.store(done, Ordering::Release);
            if record::read(&bytes, |line| take(&line)) == Some(Enough::Yes) {
                return Enough::Yes;
            }
        }
        Enough::No
    }

    pub(super) fn dropped(&self) -> u64 {
        self.core.dropped.load(Ordering::Relaxed)
    }

    fn word(&self, nth: u64) -> Option<&AtomicU64> {
        let place = usize::try_from(nth).unwrap_or(0) & (self.words.len() - 1);
        self.words.get(place)
    }
}

/// Whether a reader wants no more lines now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enough {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    #[test]
    fn lines_come_out_in_order_on_another_thread_and_those_beyond_the_ring_are_counted() {
        const LINES: u64 = 200_000;
        let ring = Ring::of(1024);
        let (mut taken, mut last) = (0u64, None);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for nth in 0..LINES {
                    let path = [b'/'].repeat(usize::try_from(nth % 200).unwrap());
                    ring.put(&Line { received: nth, path: &path, ..sample() });
                }
            });
            let mut take = || {
                ring.drain(|line| {
                    assert!(last.is_none_or(|last| line.received > last), "out of order");
                    assert_eq!(line.path.len() as u64, line.received % 200);
                    (taken, last) = (taken + 1, Some(line.received));
                    Enough::No
                });
            };
            while !writing.is_finished() {
                take();
            }
            take();
        });
        assert_eq!(taken + ring.dropped(), LINES);
        assert!(taken >= 10, "{taken}");
    }

    #[test]
    fn a_ring_that_nobody_empties_keeps_what_it_has_and_never_blocks() {
        let ring = Ring::of(1024);
        for nth in 0..1000 {
            ring.put(&Line { received: nth, ..sample() });
        }
        let mut kept = Vec::new();
        ring.drain(|line| {
            kept.push(line.received);
            Enough::No
        });
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>(), "the oldest are kept");
        assert_eq!(kept.len() as u64 + ring.dropped(), 1000);
        ring.put(&Line { received: 7, ..sample() });
        let mut again = 0;
        ring.drain(|line| {
            again = line.received;
            Enough::Yes
        });
        assert_eq!(again, 7, "there is room again");
    }
}
