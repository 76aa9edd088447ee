//! A Redis that fails in several ways under load: nobody may notice.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::fleet;
use crate::clock::{self, Nanos};
use crate::load::{Load, Pace, Seen, Trace};
use crate::origin::{Origin, Spec};
use crate::redis::Redis;
use crate::report::Limit;
use crate::stage::{Stage, count};
use crate::tally::Kind;

/// An answer of Redis is waited for an interval, 200 ms by default: of requests that wait for Redis
/// half would be later than this, on the slowest machine.
const WAITED_MS: f64 = 100.0;

/// What the 99th percentile of two equal spans may differ by: by a half, or by a millisecond where
/// that is more.
const NOISE: (f64, f64) = (1.5, 1.0);

/// One way to fail: what is done to Redis for this long. It is well again afterwards.
struct Case {
    name: &'static str,
    fault: fn(&mut Redis, Duration) -> Result<(), String>,
}

const CASES: &[Case] = &[
    Case { name: "Redis is well", fault: |_, _| Ok(()) },
    Case { name: "killed, and started again empty", fault: kill },
    Case { name: "stalled", fault: stall },
    Case { name: "slow by two seconds", fault: slow },
    Case { name: "flushed again and again", fault: flush },
];

pub(super) fn play(stage: &mut Stage) -> Result<(), String> {
    let origin = stage.origin(Spec::named("origin"))?;
    let mut redis = Redis::start(&stage.load_cores())?;
    let state = fleet::state(redis.port());
    for case in CASES {
        let fault = |redis: &mut Redis, span| (case.fault)(redis, span);
        one(stage, case.name, &origin, &state, &mut redis, fault)?;
    }
    failover(stage, &origin)
}

/// The master of a pair is replaced by its replica.
fn failover(stage: &mut Stage, origin: &Origin) -> Result<(), String> {
    let cores = stage.load_cores();
    let master = Redis::start(&cores)?;
    let port = master.port().to_string();
    let mut replica = Redis::start_with(&cores, &["--replicaof", "127.0.0.1", &port])?;
    let linked = |replica: &Redis| {
        let told = replica.ask(&["INFO", "replication"]).unwrap_or_default();
        told.contains("master_link_status:up")
    };
    fleet::until("the replica follows", || linked(&replica))?;
    let sentinel = Redis::watching(&master, &cores)?;
    fleet::until("the sentinel knows the replica", || {
        let told = sentinel.ask(&["INFO", "sentinel"]).unwrap_or_default();
        told.contains("status=ok") && told.contains("slaves=1")
    })?;
    let nodes = [format!("redis://127.0.0.1:{}", sentinel.port())];
    let state = json!({ "type": "redis", "sentinel": { "nodes": nodes, "master": "shop" } });
    let fault = |replica: &mut Redis, span: Duration| {
        sentinel.ask(&["SENTINEL", "FAILOVER", "shop"])?;
        clock::pass(span);
        fleet::until("the replica is the master", || {
            let told = replica.ask(&["INFO", "replication"]).unwrap_or_default();
            told.contains("role:master")
        })
    };
    one(stage, "failing over", origin, &state, &mut replica, fault)
}

/// Plays one case: a third of the load before the fault, a third with it, a third after it.
fn one(
    stage: &mut Stage,
    name: &str,
    origin: &Origin,
    state: &serde_json::Value,
    redis: &mut Redis,
    fault: impl Fn(&mut Redis, Duration) -> Result<(), String> + Send,
) -> Result<(), String> {
    let breaker = json!({ "maxFailures": 10, "timeWindow": "10s", "resetTimeout": "5s" });
    let config = fleet::config(&origin.url("/"), &breaker, state);
    let proxies = fleet::start(stage, 2, &config)?;
    let Some(proxy) = proxies.first() else { return Err("no proxy".to_owned()) };
    let span = stage.seconds(9.0, 2.4);
    let pace = Pace::Open(stage.rate(3_000.0, 300.0));
    let load = Load { trace: Trace::Remember, ..stage.load(proxy, "/guarded", pace, span) };
    let third = clock::nanos(span / 3);
    let (played, failed) = thread::scope(|scope| {
        let mut hand = None;
        let played = stage.run(name, proxy, &load, |began| {
            hand = Some(scope.spawn(move || {
                let until = (began + third).saturating_sub(clock::now());
                clock::pass(Duration::from_nanos(until));
                fault(redis, span / 3)
            }));
        });
        let failed = hand.map(|hand| hand.join().unwrap_or_else(|_| Err("it panicked".into())));
        (played, failed)
    });
    failed.transpose()?;
    let outcome = played?.outcome;
    let seconds = clock::seconds(third);
    stage.marks(&[(seconds, "fault"), (2.0 * seconds, "well")]);
    let not_good = outcome.total.total() - outcome.total.count(Kind::Good);
    let what = format!("{name}: requests without a good answer");
    stage.must(&what, count(not_good), "", Limit::AtMost(0.0));
    let from = outcome.began + third;
    let before = Slowness::of(&outcome.seen, outcome.began, from);
    let after = Slowness::of(&outcome.seen, from, Nanos::MAX);
    stage.tell(&format!("{name}: p99 before"), before.p99, "ms");
    let limit = Limit::AtMost((before.p99 * NOISE.0).max(before.p99 + NOISE.1));
    stage.should(&format!("{name}: p99 from then on"), after.p99, "ms", limit);
    let what = format!("{name}: median from then on, beyond that before");
    stage.must(&what, after.median - before.median, "ms", Limit::AtMost(WAITED_MS));
    let began = clock::now();
    fleet::await_all(&proxies)?;
    let back = clock::millis(clock::now().saturating_sub(began));
    let what = format!("{name}: until all know of each other again, after the load");
    stage.must(&what, back, "ms", Limit::AtMost(10_000.0));
    Ok(())
}

/// How slow some requests were, in milliseconds from their planned start.
#[derive(Debug, PartialEq)]
struct Slowness {
    median: f64,
    p99: f64,
}

impl Slowness {
    /// Of the requests planned from this moment to that one.
    fn of(seen: &[Seen], from: Nanos, to: Nanos) -> Self {
        let within = seen.iter().filter(|seen| (from..to).contains(&seen.planned));
        let mut all: Vec<Nanos> =
            within.map(|seen| seen.done.saturating_sub(seen.planned)).collect();
        all.sort_unstable();
        let at = |nth: usize| all.get(nth).map_or(0.0, |nanos| clock::millis(*nanos));
        Self { median: at(all.len() / 2), p99: at(all.len() * 99 / 100) }
    }
}

fn kill(redis: &mut Redis, span: Duration) -> Result<(), String> {
    redis.kill();
    clock::pass(span);
    redis.restart()
}

fn stall(redis: &mut Redis, span: Duration) -> Result<(), String> {
    redis.signal(Signal::STOP);
    clock::pass(span);
    redis.signal(Signal::CONT);
    Ok(())
}

fn slow(redis: &mut Redis, span: Duration) -> Result<(), String> {
    let until = clock::now() + clock::nanos(span);
    while clock::now() < until {
        // Whatever comes in these two seconds is answered at their end.
        redis.ask(&["CLIENT", "PAUSE", "2000", "ALL"]).unwrap_or_default();
        clock::pass(Duration::from_millis(10));
    }
    Ok(())
}

fn flush(redis: &mut Redis, span: Duration) -> Result<(), String> {
    let until = clock::now() + clock::nanos(span);
    while clock::now() < until {
        redis.ask(&["FLUSHALL"])?;
        redis.ask(&["SCRIPT", "FLUSH"])?;
        clock::pass(Duration::from_millis(100));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slow_are_found_where_they_were_planned() {
        let one = |nth: u64, took: u64| {
            let planned = nth * clock::MILLI;
            let done = planned + took * clock::MILLI;
            Seen { planned, sent: planned, done, status: 200 }
        };
        let took = |nth: u64| if nth % 100 == 99 { 50 } else { 1 + nth / 100 };
        let seen: Vec<Seen> = (0..200).map(|nth| one(nth, took(nth))).collect();
        let before = Slowness::of(&seen, 0, 100 * clock::MILLI);
        assert_eq!(before, Slowness { median: 1.0, p99: 50.0 });
        let after = Slowness::of(&seen, 100 * clock::MILLI, Nanos::MAX);
        assert_eq!(after, Slowness { median: 2.0, p99: 50.0 });
        assert_eq!(Slowness::of(&[], 0, Nanos::MAX), Slowness { median: 0.0, p99: 0.0 });
    }
}
