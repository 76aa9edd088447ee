//! The policies that are played.
//!
//! Enters: dice. Leaves: a policy, and how many of its operations may overlap; or another one that
//! a reload makes of it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::super::policy::{
    Failures, Heal, Mode, Pace, Policy, Ramp, Recovery, Share, Shares, Slow, Trip, Window,
};
use super::super::stage::Dice;
use super::Range;

fn count(count: u64) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(count).unwrap()).unwrap()
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A policy, and how many of its operations may overlap.
pub(super) fn policy(dice: &mut Dice, range: Range) -> (Policy, u64) {
    let most = count(1 + dice.roll(4));
    let span = millis(10 * (1 + dice.roll(20)));
    let failures = |window| Some(Failures { count: most, window });
    let shares = Shares {
        span,
        min_requests: 1 + u32::try_from(dice.roll(6)).unwrap(),
        failed: Some(Share(u32::try_from(100_000 * (1 + dice.roll(10))).unwrap())),
        slow: None,
    };
    let slow = Slow { after: millis(1 + dice.roll(30)), share: Share(500_000) };
    let none = Trip::default();
    let kind = dice.roll(9);
    let trip = match kind {
        0 | 8 => Trip { failures: failures(Window::Log(span)), ..none },
        1 => Trip { failures: failures(Window::Cumulative), ..none },
        2 => Trip { failures: failures(Window::Fixed(span)), ..none },
        3 => Trip { failures: failures(Window::Sliding(span)), ..none },
        4 => Trip { run: Some(most), ..none },
        5 => Trip { shares: Some(shares), ..none },
        6 => Trip { shares: Some(Shares { failed: None, slow: Some(slow), ..shares }), ..none },
        _ => {
            let window =
                dice.pick(&[Window::Sliding(span), Window::Fixed(span), Window::Cumulative]);
            let shares = Some(Shares { slow: Some(slow), ..shares });
            Trip { failures: failures(window), run: Some(count(1 + dice.roll(5))), shares }
        }
    };
    let heal =
        if matches!(kind, 0 | 8) { Heal::Age(span) } else { Heal::Probe(recovery(dice, range)) };
    let mode = if dice.one_in(6) { Mode::Shadow } else { Mode::Enforce };
    // A look-back with other conditions.
    let mut trip = trip;
    if kind == 8 {
        trip.run = Some(count(1 + dice.roll(3)));
        let shares = Shares { slow: Some(slow), ..shares };
        trip.shares = (range == Range::Now && dice.one_in(2)).then_some(shares);
    }
    let policy = Policy { trip, heal, mode, ..Policy::look_back(most, span) };
    let crowd = match (kind < 7, range) {
        (true, _) => 6,
        // Each operation takes place in several steps: there are many more orders.
        (false, Range::Now) => 4,
        (false, Range::Once) => 1,
    };
    (policy, crowd)
}

fn recovery(dice: &mut Dice, range: Range) -> Recovery {
    let open_for = millis(1 + dice.roll(60));
    let multiplier = dice.pick(&[1.0, 1.0, 1.5, 2.0]);
    let requests = count(1 + dice.roll(3));
    let max_wait = millis(20 + dice.roll(100));
    let ramp = Ramp { duration: millis(1 + dice.roll(200)), start: Share(100_000) };
    let jitter = if range == Range::Now { dice.pick(&[0, 200_000, 500_000]) } else { 0 };
    Recovery {
        pace: Pace::new(open_for, multiplier, millis(300), jitter),
        requests,
        successes: count(1 + dice.roll(u64::from(requests.get()))),
        permit: millis(1 + dice.roll(100)).min(max_wait),
        max_wait,
        ramp: dice.one_in(3).then_some(ramp),
    }
}

/// The same geometry with other numbers.
pub(super) fn reloaded(old: &Policy, dice: &mut Dice, range: Range) -> Policy {
    let mut policy = old.clone();
    policy.mode = dice.pick(&[Mode::Enforce, Mode::Enforce, Mode::Shadow, Mode::Off]);
    if let Heal::Probe(own) = &mut policy.heal {
        *own = recovery(dice, range);
        if let Some(failures) = &mut policy.trip.failures {
            failures.count = count(1 + dice.roll(4));
        }
        if let Some(run) = &mut policy.trip.run {
            *run = count(1 + dice.roll(4));
        }
        // Where exchanges overlap, one of an older generation that is half counted may hide from a
        // newer one that it is the last, and be judged by the old number: the next tick sees it.
        if let (Range::Once, Some(shares), Some(_)) =
            (range, &mut policy.trip.shares, policy.trip.run)
        {
            shares.min_requests = 1 + u32::try_from(dice.roll(6)).unwrap();
        }
    }
    policy
}
