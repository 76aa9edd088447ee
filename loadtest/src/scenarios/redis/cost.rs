//! What sharing costs: requests a second beside those of a proxy that keeps its state to itself,
//! and calls of the script a second.

use std::time::Duration;

use serde_json::{Value, json};

use super::fleet;
use crate::clock;
use crate::expect::Expect;
use crate::load::{Load, Pace};
use crate::origin::Spec;
use crate::redis::Redis;
use crate::report::Limit;
use crate::stage::{Stage, count, median};
use crate::tally::Kind;

/// Bytes of a body.
const BODY: usize = 1024;

pub(super) fn play(stage: &mut Stage) -> Result<(), String> {
    let replies = vec![("/".to_owned(), vec![b'a'; BODY])];
    let origin = stage.origin(Spec { replies, ..Spec::named("origin") })?;
    let redis = Redis::start(&stage.load_cores())?;
    let breaker = json!({ "failureRate": 0.5, "timeWindow": "10s", "resetTimeout": "5s" });
    let config = |state: &Value| fleet::config(&origin.url("/"), &breaker, state);
    let shared = fleet::start(stage, 3, &config(&fleet::state(redis.port())))?;
    let Some(sharing) = shared.first() else { return Err("no proxy".to_owned()) };

    let rest = stage.seconds(5.0, 1.0);
    let at_rest = calls(&redis, || {
        clock::pass(rest);
        Ok(())
    })?;
    stage.tell("calls a second that three proxies at rest send", at_rest, "");

    let alone = stage.proxy(&config(&json!("memory")))?;
    let span = stage.seconds(5.0, 0.8);
    let rounds = stage.count(5, 1);
    let (mut rates, mut times) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut under_load = Vec::new();
    for round in 0..rounds {
        for (nth, proxy) in [&alone, sharing].into_iter().enumerate() {
            let word = if nth == 0 { "in memory" } else { "in Redis" };
            let plain = stage.load(proxy, "/guarded", Pace::Closed, span);
            let load = Load { expect: Expect::length(200, BODY as u64), ..plain };
            let mut played = None;
            let sent = calls(&redis, || {
                played =
                    Some(stage.run(&format!("{word}, round {round}"), proxy, &load, |_| {})?);
                Ok(())
            })?;
            let Some(played) = played else { continue };
            let total = &played.outcome.total;
            let not_good = count(total.total() - total.count(Kind::Good));
            let what = format!("{word}, round {round}: requests without a good answer");
            stage.must(&what, not_good, "", Limit::AtMost(0.0));
            if let (Some(rates), Some(times)) = (rates.get_mut(nth), times.get_mut(nth)) {
                rates.push(played.outcome.rate());
                times.push(played.cpu_us);
            }
            if nth == 1 {
                under_load.push(sent);
            }
        }
    }
    let under_load = median(&under_load);
    stage.tell("calls a second that they send, one of them under full load", under_load, "");
    let [memory, store] = rates.map(|rates| median(&rates));
    stage.tell("requests a second, state in memory", memory, "/s");
    stage.tell("requests a second, state in Redis", store, "/s");
    let share = store / memory.max(1.0) * 100.0;
    stage.should("share of them with Redis", share, "%", Limit::AtLeast(99.0));
    let [memory, store] = times.map(|times| median(&times));
    stage.tell("processor time for each, state in memory", memory, "us");
    stage.tell("processor time for each, state in Redis", store, "us");
    let share = store / memory.max(0.001) * 100.0;
    stage.should("share of it with Redis", share, "%", Limit::AtMost(101.0));
    Ok(())
}

/// How many calls a second Redis is sent while `work` is done.
fn calls(redis: &Redis, work: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let (before, began) = (redis.calls()?, clock::now());
    work()?;
    let span = Duration::from_nanos(clock::now().saturating_sub(began));
    Ok((redis.calls()? - before) / span.as_secs_f64())
}
