//! What a breaker promises, transition by transition, with the time passed in: one kind of promise
//! in each file, and here what they share.

mod conditions;
mod cost;
mod look_back;
mod orders;
mod recovery;
mod reload;
mod reset;

use super::circuit::Cause;
use super::outcome::Ending;
use super::policy::{Failures, Ramp, Recovery, Share, Shares, Slow, Trip};
use super::*;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicUsize;
use std::thread;

const FAILURES: Move = Move::Trip(Cause::Failures);

const OPEN_FOR: Duration = Duration::from_millis(1000);

fn breaker(policy: Policy, cores: usize) -> Breaker {
    let memory = Memory::new(&policy, cores, 1);
    Breaker::new(policy, memory)
}

fn carried(policy: Policy, old: &Breaker) -> Breaker {
    let memory = old.memory.fit(&policy);
    Breaker::new(policy, memory)
}

fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn looking_back(failures: u32, look_back: u64) -> Policy {
    Policy::look_back(count(failures), Duration::from_millis(look_back))
}

/// A probe may take half a second, and all of them together two.
fn resetting(failures: u32, window: Window) -> Policy {
    probing(Policy::reset(count(failures), window, OPEN_FOR), |recovery| {
        recovery.permit = Duration::from_millis(500);
        recovery.max_wait = Duration::from_secs(2);
    })
}

fn probing(mut policy: Policy, change: impl FnOnce(&mut Recovery)) -> Policy {
    if let Heal::Probe(recovery) = &mut policy.heal {
        change(recovery);
    }
    policy
}

fn seed_a(failures: u32, look_back: u64) -> Breaker {
    breaker(looking_back(failures, look_back), 1)
}

fn seed_b(failures: u32, window: Window) -> Breaker {
    breaker(resetting(failures, window), 1)
}

const fn at(millis: u64) -> Now {
    Now::from_millis(millis)
}

fn admitted<'b>(breaker: &'b Breaker, core: &Core, now: u64) -> Ticket<'b> {
    match breaker.admit(core, at(now)).0 {
        Verdict::Admit(ticket) => ticket,
        Verdict::Refuse { .. } => panic!("refused at {now}"),
    }
}

fn refused(breaker: &Breaker, core: &Core, now: u64) -> u64 {
    match breaker.admit(core, at(now)).0 {
        Verdict::Admit(_) => panic!("admitted at {now}"),
        Verdict::Refuse { remaining_ms, .. } => remaining_ms.unwrap(),
    }
}

fn fail(breaker: &Breaker, core: &Core, now: u64) -> Option<Transition> {
    admitted(breaker, core, now).settle(Ending::Answered(500), at(now))
}

fn share(percent: u32) -> Share {
    Share(percent * 10_000)
}

fn sharing(shares: Shares) -> Policy {
    let trip = Trip { shares: Some(shares), ..Trip::default() };
    Policy { trip, ..Policy::reset(count(1), Window::Cumulative, OPEN_FOR) }
}

const SHARES: Shares =
    Shares { span: Duration::from_secs(10), min_requests: 20, failed: None, slow: None };

fn succeed(breaker: &Breaker, core: &Core, now: u64) -> Option<Transition> {
    admitted(breaker, core, now).settle(Ending::Answered(200), at(now))
}
