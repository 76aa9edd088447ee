//! From the K-th failure, whoever saw it, to the last proxy that refuses.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::fleet::{self, Asker, Obedient};
use crate::clock::{self, Nanos};
use crate::proxy::Proxy;
use crate::redis::Redis;
use crate::report::Limit;
use crate::stage::Stage;

/// How many share.
const SIZE: usize = 3;

/// K: two for each of them.
const FAILURES: usize = 2 * SIZE;

/// The interval of the configuration, by default.
const INTERVAL_MS: f64 = 200.0;

/// A proxy that does not refuse after so long never will.
const NEVER: Nanos = 10 * clock::SECOND;

/// The breaker's name in the admin API.
const NAME: &str = "ALL%20%2Fguarded";

pub(super) fn play(stage: &mut Stage) -> Result<(), String> {
    let without = 2.0 * INTERVAL_MS + 50.0;
    let hints = [("with hints", json!(true), 50.0), ("without hints", json!(false), without)];
    for (word, hints, limit) in hints {
        let spans = trips(stage, &hints)?;
        let worst = spans.last().copied().unwrap_or(0.0);
        let median = spans.get(spans.len() / 2).copied().unwrap_or(0.0);
        let name = |what: &str| format!("{word}: K-th failure to the last refusal, {what}");
        stage.tell(&name("trips"), crate::stage::count(spans.len()), "");
        stage.tell(&name("median"), median, "ms");
        stage.should(&name("worst"), worst, "ms", Limit::AtMost(limit));
        stage.must(&name("worst, anywhere"), worst, "ms", Limit::AtMost(5_000.0));
    }
    Ok(())
}

/// Milliseconds of each trip, the shortest first.
fn trips(stage: &Stage, hints: &Value) -> Result<Vec<f64>, String> {
    let redis = Redis::start(&stage.load_cores())?;
    let origin = Obedient::start()?;
    let breaker = json!({ "maxFailures": FAILURES, "resetTimeout": "1 hour", "timeout": "none" });
    let mut state = fleet::state(redis.port());
    state["hints"] = hints.clone();
    let config = fleet::config(&origin.url(), &breaker, &state);
    let proxies = fleet::start(stage, SIZE, &config)?;
    let mut askers: Vec<Asker> =
        proxies.iter().map(|proxy| Asker::of(proxy.address())).collect::<Result<_, _>>()?;
    let mut spans = Vec::new();
    for nth in 0..stage.count(50, 5) {
        // Whoever sees the last one is another one each time.
        askers.rotate_left(1);
        for failure in 0..FAILURES {
            let status = askers.get_mut(failure % SIZE).map(|it| it.ask("GET", "/guarded?500"));
            match status {
                Some(Ok(500)) => {}
                other => return Err(format!("trip {nth}, failure {failure}: {other:?}")),
            }
        }
        let failed = clock::now();
        let refused = thread::scope(|scope| {
            let each = askers.iter_mut().map(|asker| scope.spawn(|| refusal(asker, failed)));
            let each: Vec<_> = each.collect();
            let each = each.into_iter().map(|it| it.join().map_err(|_| "a thread panicked")?);
            each.collect::<Result<Vec<Nanos>, String>>()
        })?;
        let last = refused.into_iter().max().unwrap_or(failed);
        spans.push(clock::millis(last.saturating_sub(failed)));
        heal(&proxies)?;
    }
    spans.sort_by(f64::total_cmp);
    Ok(spans)
}

/// When a request was first refused; those that are not teach the breaker nothing but health.
fn refusal(asker: &mut Asker, failed: Nanos) -> Result<Nanos, String> {
    loop {
        match asker.ask("GET", "/guarded")? {
            503 => return Ok(clock::now()),
            _ if clock::now() > failed + NEVER => return Err("it is never refused".to_owned()),
            _ => clock::pass(Duration::from_micros(200)),
        }
    }
}

/// Closes the breaker everywhere, and waits until what was before counts no more.
fn heal(proxies: &[Proxy]) -> Result<(), String> {
    let Some(first) = proxies.first() else { return Ok(()) };
    let mut operator = Asker::of(first.admin().address())?;
    operator.ask("POST", &format!("/breakers/{NAME}/reset"))?;
    fleet::until("all are closed", || {
        let closed = |proxy: &Proxy| {
            let breakers = proxy.admin().breakers().unwrap_or_default();
            !breakers.is_empty() && breakers.iter().all(|it| it.state == "closed")
        };
        proxies.iter().all(closed)
    })?;
    clock::pass(Duration::from_millis(500));
    Ok(())
}
