//! What a breaker costs a request: admitted and settled, refused, failed.
//!
//! Goal: `admit` and `settle` of a closed breaker within 20 ns together. A failure reads the shards
//! of all cores, so it is measured against their number.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use fusebox::breaker::memory::Memory;
use fusebox::breaker::outcome::Ending;
use fusebox::breaker::policy::{FAILURES_MAX, LOOK_BACK_FAILURES_MAX};
use fusebox::breaker::policy::{Policy, StatusSet, Trip, Window};
use fusebox::breaker::{Breaker, Core, Verdict};
use fusebox::clock::Now;

const SHARDS: [usize; 3] = [1, 16, 64];

fn main() {
    divan::main();
}

#[divan::bench(args = SHARDS)]
fn closed(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(reset(10), shards), Core::claim(shards - 1));
    bencher.bench_local(|| exchange(&breaker, &core, Ending::Answered(200), now(0)));
}

#[divan::bench(args = SHARDS)]
fn refused(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(reset(1), shards), Core::claim(shards - 1));
    exchange(&breaker, &core, Ending::Answered(500), now(0));
    bencher.bench_local(|| {
        let (verdict, _) = breaker.admit(&core, black_box(now(1)));
        assert!(matches!(verdict, Verdict::Refuse { .. }));
    });
}

/// Failures that are counted and do not trip.
#[divan::bench(args = SHARDS)]
fn failed(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(reset(FAILURES_MAX), shards), Core::claim(shards - 1));
    bencher.bench_local(|| exchange(&breaker, &core, Ending::Answered(500), now(0)));
}

/// As above, for a look-back of five failures that age out before they are five.
#[divan::bench(args = SHARDS)]
fn failed_look_back(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(look_back(5), shards), Core::claim(shards - 1));
    let mut millis = 0;
    bencher.bench_local(|| {
        millis += 30_000;
        exchange(&breaker, &core, Ending::Answered(500), now(millis));
    });
}

fn exchange(breaker: &Breaker, core: &Core, ending: Ending, now: Now) {
    let (verdict, _) = breaker.admit(core, black_box(now));
    match verdict {
        Verdict::Admit(ticket) => drop(black_box(ticket.settle(black_box(ending), now))),
        Verdict::Refuse { .. } => unreachable!("the breaker is closed"),
    }
}

fn now(millis: u64) -> Now {
    Now::from_millis(1_000_000 + millis)
}

fn breaker(trip: Trip, shards: usize) -> Breaker {
    let policy = Policy { trip, failures: StatusSet::server_errors() };
    let memory = Arc::new(Memory::new(&policy, shards));
    Breaker::new(policy, memory)
}

fn reset(failures: u32) -> Trip {
    Trip::Reset {
        failures: count(failures.min(FAILURES_MAX)),
        window: Window::Cumulative,
        open_for: Duration::from_secs(120),
        probe_max: Duration::from_secs(30),
    }
}

fn look_back(failures: u32) -> Trip {
    let failures = count(failures.min(LOOK_BACK_FAILURES_MAX));
    Trip::LookBack { failures, look_back: Duration::from_secs(60) }
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
