//! A Redis that fails in several ways under load: nobody may notice.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::fleet;
use crate::clock;
use crate::load::{Load, Pace};
use crate::origin::{Origin, Spec};
use crate::redis::Redis;
use crate::report::Limit;
use crate::stage::{Stage, count, quantile};
use crate::tally::Kind;

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
    let mut usual = None;
    for case in CASES {
        let fault = |redis: &mut Redis, span| (case.fault)(redis, span);
        let p99 = one(stage, case.name, &origin, &state, &mut redis, fault, usual)?;
        usual = usual.or(Some(p99));
    }
    failover(stage, &origin, usual)
}

/// The master of a pair is replaced by its replica.
fn failover(stage: &mut Stage, origin: &Origin, usual: Option<f64>) -> Result<(), String> {
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
    one(stage, "failing over", origin, &state, &mut replica, fault, usual).map(drop)
}

/// Plays one case, and tells the slowest of a hundred requests, in milliseconds.
fn one(
    stage: &mut Stage,
    name: &str,
    origin: &Origin,
    state: &serde_json::Value,
    redis: &mut Redis,
    fault: impl Fn(&mut Redis, Duration) -> Result<(), String> + Send,
    usual: Option<f64>,
) -> Result<f64, String> {
    let breaker = json!({ "maxFailures": 10, "timeWindow": "10s", "resetTimeout": "5s" });
    let config = fleet::config(&origin.url("/"), &breaker, state);
    let proxies = fleet::start(stage, 2, &config)?;
    let Some(proxy) = proxies.first() else { return Err("no proxy".to_owned()) };
    let span = stage.seconds(9.0, 2.4);
    let pace = Pace::Open(stage.rate(3_000.0, 300.0));
    let load = Load { ..stage.load(proxy, "/guarded", pace, span) };
    let (played, failed) = thread::scope(|scope| {
        let mut hand = None;
        let played = stage.run(name, proxy, &load, |_| {
            hand = Some(scope.spawn(move || {
                clock::pass(span / 3);
                fault(redis, span / 3)
            }));
        });
        let failed = hand.map(|hand| hand.join().unwrap_or_else(|_| Err("it panicked".into())));
        (played, failed)
    });
    failed.transpose()?;
    let outcome = played?.outcome;
    let from = span.as_secs_f64() / 3.0;
    stage.marks(&[(from, "fault"), (2.0 * from, "well")]);
    let not_good = outcome.total.total() - outcome.total.count(Kind::Good);
    let what = format!("{name}: requests without a good answer");
    stage.must(&what, count(not_good), "", Limit::AtMost(0.0));
    let p99 = outcome.total.latency(Kind::Good).map_or(0.0, |latency| quantile(latency, 0.99));
    let limit = usual.map_or(Limit::None, |usual| Limit::AtMost((usual * 1.5).max(usual + 1.0)));
    stage.should(&format!("{name}: p99"), p99, "ms", limit);
    let began = clock::now();
    fleet::await_all(&proxies)?;
    let back = clock::millis(clock::now().saturating_sub(began));
    let what = format!("{name}: until all know of each other again, after the load");
    stage.must(&what, back, "ms", Limit::AtMost(10_000.0));
    Ok(p99)
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
