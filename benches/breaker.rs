//! What a breaker costs a request: admitted and settled, refused, failed.
//!
//! Goals: `admit` and `settle` of a closed breaker within 20 ns together, whatever it counts; a
//! refusal within 30 ns. A failure reads the shards of all cores, so it is measured against their
//! number.

use std::num::NonZeroU32;
use std::time::Duration;

use divan::{Bencher, black_box};
use fusebox::breaker::circuit::{Forced, Override};
use fusebox::breaker::memory::Memory;
use fusebox::breaker::outcome::Ending;
use fusebox::breaker::policy::{FAILURES_MAX, LOOK_BACK_FAILURES_MAX};
use fusebox::breaker::policy::{Heal, Pace, Policy, Share, Shares, Slow, Trip, Window};
use fusebox::breaker::{Breaker, Core, Verdict};
use fusebox::clock::Now;

const SHARDS: [usize; 3] = [1, 16, 64];
/// Repetitions of a sample: enough for a clock that tells every 20 ns.
const EACH: u32 = 10_000;
const SPAN: Duration = Duration::from_secs(10);

fn main() {
    divan::main();
}

#[divan::bench(args = SHARDS, sample_size = EACH)]
fn closed(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(reset(10), shards), Core::claim(shards - 1));
    bencher.bench_local(|| exchange(&breaker, &core, Ending::Answered(200), now(0)));
}

/// A success that counts: shares of failed and slow exchanges, and a run that it would end.
#[divan::bench(args = SHARDS, sample_size = EACH)]
fn closed_with_every_condition(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(every(FAILURES_MAX), shards), Core::claim(shards - 1));
    let mut micros = 0;
    bencher.bench_local(|| {
        micros += 10;
        let now = Now::from_micros(1_000_000_000 + micros);
        exchange(&breaker, &core, Ending::Answered(200), now);
    });
}

#[divan::bench(args = SHARDS, sample_size = EACH)]
fn refused(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(reset(1), shards), Core::claim(shards - 1));
    exchange(&breaker, &core, Ending::Answered(500), now(0));
    bencher.bench_local(|| refusal(&breaker, &core));
}

/// As above, with an open time that has grown and varies.
#[divan::bench(sample_size = EACH)]
fn refused_with_backoff(bencher: Bencher<'_, '_>) {
    let mut policy = reset(1);
    if let Heal::Probe(recovery) = &mut policy.heal {
        recovery.pace = Pace::new(Duration::from_secs(120), 2.0, Duration::from_secs(900), 200_000);
    }
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    exchange(&breaker, &core, Ending::Answered(500), now(0));
    bencher.bench_local(|| refusal(&breaker, &core));
}

#[divan::bench(sample_size = EACH)]
fn refused_by_an_operator(bencher: Bencher<'_, '_>) {
    let (breaker, core) = (breaker(reset(1), 1), Core::claim(0));
    breaker.force(Some(Override { forced: Forced::Open, until: Some(now(60_000)) }));
    bencher.bench_local(|| refusal(&breaker, &core));
}

/// Failures that are counted and do not trip.
#[divan::bench(args = SHARDS, sample_size = EACH)]
fn failed(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(reset(FAILURES_MAX), shards), Core::claim(shards - 1));
    bencher.bench_local(|| exchange(&breaker, &core, Ending::Answered(500), now(0)));
}

/// As above, for a look-back of five failures that age out before they are five.
#[divan::bench(args = SHARDS, sample_size = EACH)]
fn failed_look_back(bencher: Bencher<'_, '_>, shards: usize) {
    let (breaker, core) = (breaker(look_back(5), shards), Core::claim(shards - 1));
    let mut millis = 0;
    bencher.bench_local(|| {
        millis += 30_000;
        exchange(&breaker, &core, Ending::Answered(500), now(millis));
    });
}

/// As above, for shares that need more requests than there are.
#[divan::bench(args = SHARDS, sample_size = EACH)]
fn failed_share(bencher: Bencher<'_, '_>, shards: usize) {
    let mut policy = every(FAILURES_MAX);
    policy.trip = Trip { failures: None, run: None, ..policy.trip };
    let (breaker, core) = (breaker(policy, shards), Core::claim(shards - 1));
    bencher.bench_local(|| exchange(&breaker, &core, Ending::Answered(500), now(0)));
}

fn exchange(breaker: &Breaker, core: &Core, ending: Ending, now: Now) {
    let (verdict, _) = breaker.admit(core, black_box(now));
    match verdict {
        Verdict::Admit(ticket) => drop(black_box(ticket.settle(black_box(ending), now))),
        Verdict::Refuse { .. } => unreachable!("the breaker is closed"),
    }
}

fn refusal(breaker: &Breaker, core: &Core) {
    let (verdict, _) = breaker.admit(core, black_box(now(1)));
    assert!(matches!(verdict, Verdict::Refuse { .. }));
}

fn now(millis: u64) -> Now {
    Now::from_millis(1_000_000 + millis)
}

fn breaker(policy: Policy, shards: usize) -> Breaker {
    let memory = Memory::new(&policy, shards, 7);
    Breaker::new(policy, memory)
}

fn reset(failures: u32) -> Policy {
    let count = count(failures.min(FAILURES_MAX));
    Policy::reset(count, Window::Cumulative, Duration::from_secs(120))
}

/// Every condition at once, none of which holds.
fn every(least: u32) -> Policy {
    let mut policy = reset(FAILURES_MAX);
    let slow = Slow { after: Duration::from_secs(1), share: Share::ALL };
    let failed = Some(Share::of(0.5));
    policy.trip.run = Some(count(FAILURES_MAX));
    policy.trip.shares = Some(Shares { span: SPAN, min_requests: least, failed, slow: Some(slow) });
    policy
}

fn look_back(failures: u32) -> Policy {
    let failures = count(failures.min(LOOK_BACK_FAILURES_MAX));
    Policy::look_back(failures, Duration::from_secs(60))
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
