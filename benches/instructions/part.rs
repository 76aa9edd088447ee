//! The parts of a request, each played many times in this process.
//!
//! Enters: a part's name and how often. Leaves: nothing; what it executes is counted from outside.

use std::num::NonZeroU32;
use std::time::Duration;

use std::hint::black_box;

use fusebox::breaker::memory::Memory;
use fusebox::breaker::outcome::Ending;
use fusebox::breaker::policy::{FAILURES_MAX, Policy, Share, Shares, Slow, Window};
use fusebox::breaker::{Breaker, Core, Verdict};
use fusebox::clock::Now;
use fusebox::config::Merge;
use fusebox::exchange::merge::{Answer, Merged, Part as Answered, Reply, merge};
use fusebox::table::matcher::{Captures, Match};

use crate::heads::Heads;
use crate::shops;

/// A part of a request.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// How often it is played: enough to drown what is done once.
    pub(crate) times: u32,
    pub(crate) play: fn(u32) -> Result<(), String>,
}

pub(crate) const ALL: [Part; 10] = [
    Part { name: "request head, read and rewritten", times: 2_000, play: request_head },
    Part { name: "response head, read and rewritten", times: 2_000, play: response_head },
    Part { name: "route found among 1,000", times: 5_000, play: route },
    Part { name: "breaker, admitted and settled", times: 20_000, play: closed },
    Part { name: "the same, every condition", times: 10_000, play: every_condition },
    Part { name: "breaker, refused", times: 20_000, play: refused },
    Part { name: "breaker, failed", times: 10_000, play: failed },
    Part { name: "merge of two small objects", times: 1_000, play: small_merge },
    Part { name: "merge of two objects of 64 KiB", times: 5, play: large_merge },
    Part { name: "compile of 1,000 routes", times: 5, play: compiled },
];

fn request_head(times: u32) -> Result<(), String> {
    let mut heads = Heads::new();
    (0..times).try_for_each(|_| heads.request())
}

fn response_head(times: u32) -> Result<(), String> {
    let mut heads = Heads::new();
    (0..times).try_for_each(|_| heads.response())
}

/// Another route at each look-up: a literal, a param, a rest, by turns.
fn route(times: u32) -> Result<(), String> {
    let table = shops::table(&shops::config(1_000)?);
    let path = |nth: usize| match nth % 3 {
        0 => format!("/api/v1/shop{nth}/items"),
        1 => format!("/api/v1/shop{nth}/users/12345"),
        _ => format!("/api/v1/shop{nth}/files/a/b.png"),
    };
    let paths: Vec<String> = (0..999).map(path).collect();
    for (_, path) in (0..times).zip(paths.iter().cycle()) {
        let (path, mut captures) = (black_box(path.as_bytes()), Captures::default());
        let found = table.matcher.find(b"localhost", path, b"GET", &mut captures);
        if !matches!(black_box(found), Match::Route(_)) {
            return Err("no route".to_owned());
        }
    }
    Ok(())
}

fn closed(times: u32) -> Result<(), String> {
    let (breaker, core) = (breaker(reset(FAILURES_MAX)), Core::claim(0));
    (0..times).try_for_each(|nth| exchange(&breaker, &core, 200, nth))
}

fn every_condition(times: u32) -> Result<(), String> {
    let mut policy = reset(FAILURES_MAX);
    let slow = Slow { after: Duration::from_secs(1), share: Share::ALL };
    let (failed, min_requests) = (Some(Share::of(0.5)), FAILURES_MAX);
    let span = Duration::from_secs(10);
    policy.trip.run = Some(count(FAILURES_MAX));
    policy.trip.shares = Some(Shares { span, min_requests, failed, slow: Some(slow) });
    let (breaker, core) = (breaker(policy), Core::claim(0));
    (0..times).try_for_each(|nth| exchange(&breaker, &core, 200, nth))
}

fn refused(times: u32) -> Result<(), String> {
    let (breaker, core) = (breaker(reset(1)), Core::claim(0));
    exchange(&breaker, &core, 500, 0)?;
    for nth in 0..times {
        match breaker.admit(&core, moment(nth)) {
            (Verdict::Refuse { .. }, None) => {}
            _ => return Err("it does not refuse".to_owned()),
        }
    }
    Ok(())
}

/// Failures that are counted and do not trip.
fn failed(times: u32) -> Result<(), String> {
    let (breaker, core) = (breaker(reset(FAILURES_MAX)), Core::claim(0));
    (0..times).try_for_each(|nth| exchange(&breaker, &core, 500, nth))
}

fn exchange(breaker: &Breaker, core: &Core, status: u16, nth: u32) -> Result<(), String> {
    let now = moment(nth);
    match breaker.admit(core, now) {
        (Verdict::Admit(ticket), _) => {
            black_box(ticket.settle(Ending::Answered(black_box(status)), now));
            Ok(())
        }
        (Verdict::Refuse { .. }, _) => Err("it refuses".to_owned()),
    }
}

/// Ten microseconds from one to the next.
fn moment(nth: u32) -> Now {
    black_box(Now::from_micros(1_000_000_000 + u64::from(nth) * 10))
}

fn breaker(policy: Policy) -> Breaker {
    let memory = Memory::new(&policy, 16, 7);
    Breaker::new(policy, memory)
}

fn reset(failures: u32) -> Policy {
    Policy::reset(count(failures), Window::Cumulative, Duration::from_secs(120))
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

fn small_merge(times: u32) -> Result<(), String> {
    merged(times, &[br#"{"user":1}"#, br#"{"messages":10}"#])
}

/// Fields of 64 bytes.
fn large_merge(times: u32) -> Result<(), String> {
    let object = |name: &str| {
        let field = |nth| format!("\"{name}{nth:04}\":\"{}\"", "x".repeat(52));
        format!("{{{}}}", (0..1024).map(field).collect::<Vec<_>>().join(","))
    };
    merged(times, &[object("a").as_bytes(), object("b").as_bytes()])
}

fn merged(times: u32, bodies: &[&[u8]]) -> Result<(), String> {
    let headers = b"content-type: application/json\r\nx-id: 9\r\n";
    let part = |&body| Answered {
        service: "service",
        merge: Merge::Union,
        reply: Reply::Answer(Answer { status: 200, headers, body }),
    };
    let parts: Vec<Answered<'_>> = bodies.iter().map(part).collect();
    for _ in 0..times {
        let Merged::Response(_) = black_box(merge(black_box(&parts))) else {
            return Err("nothing merged".to_owned());
        };
    }
    Ok(())
}

fn compiled(times: u32) -> Result<(), String> {
    let config = shops::config(1_000)?;
    for _ in 0..times {
        black_box(shops::table(black_box(&config)));
    }
    Ok(())
}
