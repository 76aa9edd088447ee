//! The words of a breaker → its policy: when it opens, how it closes.
//!
//! Enters: a breaker with its named one filled in. Leaves: a [`Policy`], and complaints about keys
//! that lack their other half or contradict it. Owns the defaults of the policy.

use std::num::NonZeroU32;
use std::time::Duration;

use super::breaker::{Place, words};
use super::document::{Breaker, Fallback, Mode, WindowKind};
use super::report::Report;
use super::span::Span;
use super::units::{self, Count};
use crate::breaker::policy::{
    self, Failures, Heal, Pace, Policy, Ramp, Recovery, Share, Shares, Slow, StatusSet, Trip,
    Window,
};

const RESET_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_FAILURES: NonZeroU32 = match NonZeroU32::new(10) {
    Some(ten) => ten,
    None => NonZeroU32::MIN,
};
const MIN_REQUESTS: u32 = 20;
/// How much longer than its time limit a probe may stay without a verdict.
const PROBE_GRACE: Duration = Duration::from_secs(1);
/// How long the verdict of a probe is waited for, unless its own time limit is longer.
const MAX_WAIT: Duration = Duration::from_secs(30);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
const RAMP_START: Share = Share(100_000);

/// The policy of `breaker`, whose exchanges take at most `timeout`.
pub(super) fn policy(breaker: &Breaker, timeout: Option<Duration>) -> Policy {
    let heal = match look_back(breaker) {
        Some((_, span)) => Heal::Age(span),
        None => Heal::Probe(recovery(breaker, timeout)),
    };
    Policy {
        trip: Trip {
            failures: failures(breaker),
            run: count(breaker.consecutive_failures),
            shares: shares(breaker),
        },
        heal,
        failures: statuses(breaker),
        mode: match breaker.mode {
            None | Some(Mode::Enforce) => policy::Mode::Enforce,
            Some(Mode::Shadow) => policy::Mode::Shadow,
            Some(Mode::Off) => policy::Mode::Off,
        },
    }
}

/// Seed A's two numbers.
fn look_back(breaker: &Breaker) -> Option<(NonZeroU32, Duration)> {
    Some((count(breaker.max_errors)?, breaker.duration?.0))
}

fn failures(breaker: &Breaker) -> Option<Failures> {
    if let Some((count, span)) = look_back(breaker) {
        return Some(Failures { count, window: Window::Log(span) });
    }
    let shares = breaker.failure_rate.is_some() || breaker.slow_call.is_some();
    let counts_nothing = breaker.time_window.is_some() && !shares;
    let alone = breaker.consecutive_failures.is_none() && !shares;
    let default = (alone || counts_nothing).then_some(MAX_FAILURES);
    let count = count(breaker.max_failures).or(default)?;
    let window = match (breaker.window, breaker.time_window) {
        (Some(WindowKind::Cumulative), _) | (_, None) => Window::Cumulative,
        (Some(WindowKind::Sliding), Some(Span(span))) => Window::Sliding(span),
        // A share slides, and with it what counts beside it.
        (None, Some(Span(span))) if shares => Window::Sliding(span),
        (Some(WindowKind::Fixed) | None, Some(Span(span))) => Window::Fixed(span),
    };
    Some(Failures { count, window })
}

/// Whether it counts failures at all.
pub(super) fn counts(breaker: &Breaker) -> bool {
    failures(breaker).is_some()
}

fn shares(breaker: &Breaker) -> Option<Shares> {
    let span = breaker.time_window.or(breaker.duration).map(|Span(span)| span)?;
    let failed = breaker.failure_rate.map(share);
    let slow = breaker.slow_call.as_ref().and_then(|slow| {
        let Span(after) = slow.after?;
        Some(Slow { after, share: share(slow.rate?) })
    });
    let min_requests = count(breaker.min_requests).map_or(MIN_REQUESTS, NonZeroU32::get);
    (failed.is_some() || slow.is_some()).then_some(Shares { span, min_requests, failed, slow })
}

fn recovery(breaker: &Breaker, timeout: Option<Duration>) -> Recovery {
    let open_for = breaker.reset_timeout.map_or(RESET_TIMEOUT, |Span(open_for)| open_for);
    let backoff = breaker.backoff.as_ref();
    let max = backoff.and_then(|backoff| backoff.max).map_or(BACKOFF_MAX, |Span(max)| max);
    let multiplier = backoff.and_then(|backoff| backoff.multiplier).unwrap_or(1.0);
    let jitter = backoff.and_then(|backoff| backoff.jitter).map_or(Share(0), share);
    let half_open = breaker.half_open.as_ref();
    let successes = half_open.and_then(|own| count(own.successes)).unwrap_or(NonZeroU32::MIN);
    let limit = timeout.map(|timeout| timeout + PROBE_GRACE);
    let max_wait = half_open.and_then(|own| own.max_wait).map(|Span(wait)| wait);
    let max_wait = max_wait.unwrap_or_else(|| limit.unwrap_or(MAX_WAIT).max(MAX_WAIT));
    Recovery {
        pace: Pace::new(open_for, multiplier, max, jitter.0),
        requests: half_open.and_then(|own| count(own.requests)).unwrap_or(successes),
        successes,
        permit: limit.unwrap_or(max_wait).min(max_wait),
        max_wait,
        ramp: breaker.ramp.as_ref().and_then(|ramp| {
            let Span(duration) = ramp.duration?;
            Some(Ramp { duration, start: ramp.start.map_or(RAMP_START, share) })
        }),
    }
}

fn statuses(breaker: &Breaker) -> StatusSet {
    let Some(statuses) = &breaker.failure_statuses else {
        return StatusSet::server_errors();
    };
    let mut set = StatusSet::EMPTY;
    for (_, range) in statuses.iter() {
        set.insert(range.first, range.last);
    }
    set
}

fn count(count: Option<Count>) -> Option<NonZeroU32> {
    count.and_then(|count| u32::try_from(count.0).ok()).and_then(NonZeroU32::new)
}

fn share(share: units::Share) -> Share {
    Share::of(share.0)
}

/// Complains about keys that lack their other half, or contradict it.
pub(super) fn check(
    filled: &Breaker,
    timeout: Option<Duration>,
    place: &Place<'_>,
    blamed: &[&str],
    report: &mut Report,
) {
    let has = words(filled);
    for (one, half) in [("maxErrors", "duration"), ("duration", "maxErrors")] {
        if has.contains(&one) && !has.contains(&half) && !blamed.contains(&one) {
            let message = format!("`{one}` says nothing without `{half}`");
            place.blame(&[one], message, &format!("add `{half}`"), report);
        }
    }
    if !blamed.contains(&"window") {
        check_window(filled, &has, place, report);
    }
    check_shares(filled, &has, timeout, place, report);
    check_return(filled, &has, place, report);
    let says_nothing =
        |own: &Fallback| own.status.is_none() && own.body.is_none() && own.service.is_none();
    if filled.fallback.as_ref().is_some_and(says_nothing) {
        let message = "a fallback needs a `status`, a `body` or a `service`".to_owned();
        place.blame(&["fallback"], message, "add one of them", report);
    }
}

fn check_window(filled: &Breaker, has: &[&str], place: &Place<'_>, report: &mut Report) {
    let (fault, remedy) = match (filled.window, filled.time_window) {
        (Some(WindowKind::Fixed), None) => {
            ("a fixed window needs `timeWindow`", "add `timeWindow`, or write \"cumulative\"")
        }
        (Some(WindowKind::Sliding), None) => {
            ("a sliding window needs `timeWindow`", "add `timeWindow`, or write \"cumulative\"")
        }
        (Some(WindowKind::Cumulative), Some(_)) => {
            ("a cumulative count has no `timeWindow`", "remove `timeWindow`, or write \"fixed\"")
        }
        (Some(_), _) if failures(filled).is_none() => {
            ("`window` says nothing without `maxFailures`", "add `maxFailures`, or remove `window`")
        }
        _ => return,
    };
    let keys: &[_] =
        if has.contains(&"timeWindow") { &["window", "timeWindow"] } else { &["window"] };
    place.blame(keys, fault.to_owned(), remedy, report);
}

fn check_shares(
    filled: &Breaker,
    has: &[&str],
    timeout: Option<Duration>,
    place: &Place<'_>,
    report: &mut Report,
) {
    let asked = has.contains(&"failureRate") || has.contains(&"slowCall");
    if has.contains(&"minRequests") && !asked {
        let message = "`minRequests` says nothing without `failureRate` or `slowCall`".to_owned();
        place.blame(&["minRequests"], message, "add one of them, or remove it", report);
    }
    let slow = filled.slow_call.as_ref();
    let rates =
        [("failureRate", filled.failure_rate), ("slowCall", slow.and_then(|slow| slow.rate))];
    for (key, rate) in rates {
        if !has.contains(&key) {
            continue;
        }
        if filled.time_window.is_none() && filled.duration.is_none() {
            let message = format!("`{key}` needs `timeWindow`: a share is one of a span of time");
            place.blame(&[key], message, r#"add `timeWindow`, as in "10s""#, report);
        }
        if rate.is_some_and(|rate| share(rate) == Share(0)) {
            let message = format!("`{key}` of 0% is always reached");
            place.blame(&[key], message, "write a share above 0%", report);
        }
    }
    let after = slow.and_then(|slow| slow.after).map(|Span(after)| after);
    if let (Some(after), Some(timeout)) = (after, timeout)
        && after > timeout
    {
        let message = "no exchange is that slow: `timeout` cuts it before".to_owned();
        place.blame(&["slowCall", "timeout"], message, "write a shorter `after`", report);
    }
}

/// What belongs to half-open.
fn check_return(filled: &Breaker, has: &[&str], place: &Place<'_>, report: &mut Report) {
    let looks_back = has.contains(&"maxErrors") || has.contains(&"duration");
    for key in ["halfOpen", "ramp", "backoff"] {
        if looks_back && has.contains(&key) {
            let message = format!("`{key}` has no meaning with `maxErrors`, which heals by age");
            let remedy = "remove it, or write `maxFailures` with `timeWindow`";
            place.blame(&[key], message, remedy, report);
        }
    }
    let half_open = filled.half_open.as_ref();
    let of = |key: Option<Count>| key.map(|Count(count)| count);
    let (requests, successes) =
        (half_open.and_then(|own| of(own.requests)), half_open.and_then(|own| of(own.successes)));
    if let (Some(requests), Some(successes)) = (requests, successes)
        && successes > requests
    {
        let message = format!("{successes} successes never come of {requests} requests");
        place.blame(&["halfOpen"], message, "raise `requests` to `successes`", report);
    }
}
