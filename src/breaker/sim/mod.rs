//! The real breaker under a seeded scheduler and a clock that is told the time, against `model`.
//!
//! Three cores and the control plane run as threads of which one runs at a time; at each of their
//! accesses to shared memory the seed may stop one and let another go on. Operations come in
//! batches; after each batch the answers are held against every order in which its operations may
//! have taken place (Wing and Gong, "Testing and verifying concurrent objects", 1993): at least one
//! of them has to be an order that the model allows, and leave it in the state the breaker is in.
//!
//! `FUSEBOX_SIM_SEED=n` plays one seed again; `FUSEBOX_SIM_SEEDS=n` plays so many: `.ci/run` plays
//! a thousand, the unit tests a few.

mod model;
mod play;
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use play::{Range, play};

/// Accesses to shared memory that are scheduled in one play.
const STEPS: u64 = 3000;

/// Seeds of plays that once failed, with what they found.
const FOUND: [(u64, &str); 8] = [
    (4, "a tick that took an override away missed its own move"),
    (93, "a round that a reload made smaller gave one permit more than it had"),
    (147, "a lost permit beyond a smaller round kept its place"),
    (189, "a permit of a round that was over was given"),
    (196, "a request was decided by a word from before the order it obeyed"),
    (318, "a request was seen as failed before it was seen as a request"),
    (715, "a permit was given beside an older mark, and its wait was over too soon"),
    (2530, "an order refused before it held"),
];

/// The number that a variable of the environment holds.
pub(crate) fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays the seed that is asked for, or as many as are, or `few` of them, on all processors.
/// Returns how many.
pub(crate) fn seeds(few: u64, play: impl Fn(u64) + Sync) -> u64 {
    if let Some(seed) = env("FUSEBOX_SIM_SEED") {
        play(seed);
        return 1;
    }
    let (seeds, next) = (env("FUSEBOX_SIM_SEEDS").unwrap_or(few), AtomicU64::new(0));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let played = catch_unwind(AssertUnwindSafe(|| play(seed)));
                    assert!(played.is_ok(), "seed {seed}; replay with FUSEBOX_SIM_SEED={seed}");
                }
            });
        }
    });
    seeds
}

#[test]
fn every_play_is_a_play_of_the_model() {
    let steps = AtomicU64::new(0);
    let played = seeds(60, |seed| {
        steps.fetch_add(play(seed, STEPS, Range::Now), Ordering::Relaxed);
    });
    assert!(steps.load(Ordering::Relaxed) >= played * STEPS);
}

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, what) in FOUND {
        println!("seed {seed}: {what}");
        play(seed, STEPS, Range::Once);
    }
}
