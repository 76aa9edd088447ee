//! Every order of memory that two or three cores may see of one breaker.
//!
//! Enters: nothing. Leaves: silence and 0, or the order of memory that breaks a promise. The room's
//! own files are compiled here with loom's atomics in place of the standard library's; what the
//! simulation takes for granted (that a store is seen at once) is what is in question here.

// The room's own tests do not run on loom's atomics.
#![cfg(not(test))]
#![allow(
    dead_code,
    unreachable_pub,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a room without its house, and a program that stops at the first surprise"
)]

#[path = "../../src/breaker/mod.rs"]
mod breaker;
#[path = "../../src/clock.rs"]
mod clock;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use breaker::circuit::State;
use breaker::follow::{AGELESS, Tallies};
use breaker::memory::Memory;
use breaker::outcome::Ending;
use breaker::peers::{Bell, Lease};
use breaker::policy::{Heal, Policy, Recovery, Share, Shares, Trip, Window};
use breaker::{Breaker, Core, Transition, Verdict};
use clock::Now;
use loom::thread;

/// How often a core may be stopped against its will: most faults need two.
const PREEMPTIONS: usize = 3;

/// Long enough for what is asked of it; a machine that is slower explores less.
const AT_MOST: Duration = Duration::from_secs(20);

fn main() {
    let (two, span) = (count(2), Duration::from_micros(8));
    let reset = |window| Policy::reset(two, window, Duration::from_secs(9));
    let run = Trip { run: Some(two), ..Trip::default() };
    let shares = Shares { span, min_requests: 2, failed: Some(Share::ALL), slow: None };
    let shares = Trip { shares: Some(shares), ..Trip::default() };
    for (name, policy) in [
        ("cumulative", reset(Window::Cumulative)),
        ("sliding", reset(Window::Sliding(span))),
        ("a run", Policy { trip: run, ..reset(Window::Cumulative) }),
        ("a share", Policy { trip: shares, ..reset(Window::Cumulative) }),
        ("a log", Policy::look_back(two, span)),
    ] {
        explore(&format!("the last two of {name} trip once"), move || last_two(&policy));
    }
    explore("a round gives its permits and no more", bounded);
    explore("a success that completes a round closes it once", || permits(1, 1));
    explore("two successes that complete a round close it once", || permits(2, 2));
    explore("a permit that comes back is given again", returned);
    explore("a reset is not undone by a failure before it", reset_wins);
    explore("what others count and a failure here trip once", told);
    explore("a lease gives its permits and no more", lent);
}

fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    println!("{name}");
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_duration = Some(AT_MOST);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// Whoever is last to count sees that it is the second, whatever the order of their stores.
fn last_two(policy: &Policy) {
    let breaker = breaker(policy.clone());
    let failing = |core| {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || exchange(&breaker, core, Ending::Answered(500)).is_some())
    };
    let moves = [failing(0), failing(1)].map(|thread| u32::from(thread.join().unwrap()));
    assert_eq!(moves.iter().sum::<u32>(), 1);
    assert_eq!(breaker.word().state(), State::Open);
    assert!(matches!(breaker.admit(&Core::claim(0), at(0)).0, Verdict::Refuse { .. }));
}

/// Two cores ask a half-open breaker of so many permits at once, and each succeeds.
fn permits(requests: u32, successes: u32) {
    let breaker = half_open(requests, successes);
    let asking = |core| {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || match breaker.admit(&Core::claim(core), at(20)).0 {
            Verdict::Admit(ticket) => (1, ticket.settle(Ending::Answered(200), at(20)).is_some()),
            Verdict::Refuse { .. } => (0, false),
        })
    };
    let seen = [asking(0), asking(1)].map(|thread| thread.join().unwrap());
    let closed = seen.iter().filter(|(_, moved)| *moved).count();
    let admitted: u32 = seen.iter().map(|(admitted, _)| admitted).sum();
    assert_eq!(closed, 1, "{seen:?}");
    assert_eq!(breaker.word().state(), State::Closed);
    // Beyond the permits, only what came after the close.
    assert!(admitted >= successes, "{seen:?}");
}

/// Two cores ask a half-open breaker of one permit at once, and neither is done before both have.
fn bounded() {
    let breaker = half_open(1, 1);
    let asking = |core| {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || keep(breaker.admit(&Core::claim(core), at(20)).0))
    };
    let admitted: u32 = [asking(0), asking(1)].map(|core| core.join().unwrap()).iter().sum();
    assert_eq!(admitted, 1, "probes with one permit");
}

/// How many requests were let through; their tickets stay out.
fn keep(verdict: Verdict<'_>) -> u32 {
    match verdict {
        Verdict::Admit(ticket) => {
            std::mem::forget(ticket);
            1
        }
        Verdict::Refuse { .. } => 0,
    }
}

/// One core's client leaves while another asks.
fn returned() {
    let breaker = half_open(1, 1);
    let other = Arc::clone(&breaker);
    let leaving = thread::spawn(move || drop(other.admit(&Core::claim(0), at(20)).0));
    drop(breaker.admit(&Core::claim(1), at(20)).0);
    leaving.join().unwrap();
    let last = breaker.admit(&Core::claim(1), at(20)).0;
    assert!(matches!(last, Verdict::Admit(_)), "the permit is there again");
    let refused = breaker.admit(&Core::claim(1), at(20)).0;
    assert!(matches!(refused, Verdict::Refuse { .. }), "and it is the only one");
}

fn reset_wins() {
    let breaker = breaker(Policy::look_back(count(1), Duration::from_micros(8)));
    let other = Arc::clone(&breaker);
    let failing = thread::spawn(move || exchange(&other, 0, Ending::Unreachable));
    let moved = breaker.reset(at(0));
    let tripped = failing.join().unwrap();
    // It tripped before, or after, or its failure was forgotten before it could.
    let state = breaker.word().state();
    let undone = tripped.is_some_and(|tripped| tripped.epoch > moved.epoch);
    assert!(!undone, "the failure was not later than the reset");
    assert_eq!(state, State::Closed);
}

/// The control plane tells what another instance counts while a core fails: whoever is later sees
/// both.
fn told() {
    let breaker = breaker(Policy::reset(count(2), Window::Cumulative, Duration::from_secs(9)));
    breaker.join(&Bell::new(), 0);
    let other = Arc::clone(&breaker);
    let failing = thread::spawn(move || exchange(&other, 0, Ending::Answered(500)).is_some());
    let theirs = Tallies { failures: vec![(AGELESS, 1)], ends: Vec::new() };
    breaker.told(breaker.word().epoch(), &theirs, 1);
    let ticked = breaker.tick(at(0)).is_some();
    let failed = failing.join().unwrap();
    assert!(ticked != failed, "{ticked} {failed}");
    assert_eq!(breaker.word().state(), State::Open);
}

/// A permit is lent while two cores ask.
fn lent() {
    let policy = Policy::reset(count(1), Window::Cumulative, Duration::from_micros(8));
    let breaker = breaker(policy);
    breaker.join(&Bell::new(), 0);
    breaker.lend(Lease::Nothing);
    assert!(exchange(&breaker, 0, Ending::Answered(500)).is_some());
    let asking = |core| {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || keep(breaker.admit(&Core::claim(core), at(20)).0))
    };
    let cores = [asking(0), asking(1)];
    let epoch = breaker.word().epoch();
    let epoch = if breaker.word().state() == State::Open { epoch } else { epoch - 1 };
    breaker.lend(Lease::Held { epoch, permits: 1, needed: 1, until: at(1000) });
    let admitted: u32 = cores.map(|core| core.join().unwrap()).iter().sum();
    assert!(admitted <= 1, "{admitted} probes with one permit");
}

fn half_open(requests: u32, successes: u32) -> Arc<Breaker> {
    let mut policy = Policy::reset(count(1), Window::Cumulative, Duration::from_micros(8));
    if let Heal::Probe(recovery) = &mut policy.heal {
        let (requests, successes) = (count(requests), count(successes));
        *recovery = Recovery { requests, successes, ..recovery.clone() };
    }
    let breaker = breaker(policy);
    assert!(exchange(&breaker, 0, Ending::Answered(500)).is_some());
    breaker
}

fn exchange(breaker: &Breaker, core: usize, ending: Ending) -> Option<Transition> {
    match breaker.admit(&Core::claim(core), at(0)).0 {
        Verdict::Admit(ticket) => ticket.settle(ending, at(0)),
        Verdict::Refuse { .. } => None,
    }
}

fn breaker(policy: Policy) -> Arc<Breaker> {
    let memory = Memory::new(&policy, 2, 0);
    Arc::new(Breaker::new(policy, memory))
}

const fn at(millis: u64) -> Now {
    Now::from_millis(1000 + millis)
}

const fn count(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}
