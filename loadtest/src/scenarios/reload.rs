//! Reloads under full load: nobody may notice.

use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};

use super::config;
use crate::expect::Expect;
use crate::load::{Connections, Load, Outcome, Pace, Running};
use crate::memory::Looks;
use crate::origin::{Fault, Origin, Script, Spec};
use crate::proxy::Proxy;
use crate::proxy::admin::fetch;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count, median, quantile};
use crate::tally::Kind;
use crate::{clock, interrupt};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "reload",
    about: "SIGHUP with two configurations in turn under full load, breakers open and closed",
    play,
};

/// Failures that open the breaker of the sick route.
const FAILURES: u64 = 3;

/// Between two reloads, so that each meets many requests.
const PAUSE: Duration = Duration::from_millis(20);

/// The reloads come in so many parts, with a rest after each: under load the memory swings by far
/// more than a leak would add.
const PARTS: usize = 9;

/// As long as it takes the proxy to give back what the load needed.
const REST: Duration = Duration::from_secs(5);

/// Bytes that a reload may leave behind, by the trend of all: more than the 40 to 80 that a heap
/// comes to by itself, and less than what 100 bytes lost by each would make of that.
const LOST_MAX: f64 = 120.0;

/// The loads run until the reloads are done, and no longer than this.
const LONGEST: Duration = Duration::from_secs(3600);

/// Who answers, and who is sick.
struct Origins {
    one: Origin,
    two: Origin,
    sick: Origin,
}

fn play(stage: &mut Stage) -> Result<(), String> {
    let sick = Spec { script: Script::always(Fault::failing(1.0)), ..Spec::named("sick") };
    let origins = Origins {
        one: stage.origin(Spec::named("one"))?,
        two: stage.origin(Spec::named("two"))?,
        sick: stage.origin(sick)?,
    };
    origins.sick.begin_now();
    let configs = [generation(&origins, 1), generation(&origins, 2)];
    let proxy = stage.proxy(&configs[0])?;
    trip(stage, &proxy)?;
    let failed_before = origins.sick.requests();

    let wanted = stage.count(1000, 20);
    let (mut done, mut slowest, mut outcomes, mut rests) = (0, 0_f64, Vec::new(), Vec::new());
    for part in 1..=PARTS {
        let loads = loads(stage, &proxy);
        let running: Result<Vec<Running>, String> =
            loads.iter().map(|(_, load)| load.clone().start()).collect();
        let running = running?;
        running.iter().for_each(Running::warm_up);
        let until = wanted * part / PARTS;
        let took = reload(&proxy, &configs, done..until, PAUSE);
        done = until;
        for it in &running {
            it.stopper().store(true, std::sync::atomic::Ordering::Relaxed);
        }
        for (nth, (it, (name, load))) in running.into_iter().zip(&loads).enumerate() {
            let outcome = it.finish(|_| {})?;
            // The others share their processor with one that takes all of it: of their times
            // nothing is told.
            if nth == 0 {
                stage.section(&format!("{part}: {name}"), load, &outcome);
            }
            outcomes.push(outcome);
        }
        slowest = slowest.max(took?);
        clock::pass(stage.pick(REST, PAUSE));
        rests.push(proxy.process().memory().private);
    }
    in_time(stage, &proxy, &configs, done)?;
    let memory = Looks::of(rests);
    judge(stage, &outcomes);
    let refused = outcomes.iter().map(|it| it.total.count(Kind::Refused)).sum::<u64>();
    stage.must("refusals of the open breaker", count(refused), "", Limit::AtLeast(1.0));
    let hits = origins.sick.requests() - failed_before;
    stage.must("requests that its service saw meanwhile", count(hits), "", Limit::AtMost(0.0));
    stage.must("reloads", count(done), "", Limit::AtLeast(count(wanted)));
    stage.should("slowest reload, from signal to service", slowest, "ms", Limit::AtMost(100.0));
    // So few reloads grow by a page here and there.
    let limit = if wanted >= 500 { Limit::AtMost(LOST_MAX) } else { Limit::None };
    let lost = memory.trend() / count(wanted).max(1.0);
    stage.must("private memory that a reload leaves behind", lost, "bytes", limit);
    stage.tell("private memory at the end", count(memory.last()) / 1024.0, "KiB");
    stage.table(memory.table());
    Ok(())
}

/// What is the same in every answer of `number`, and in no other.
fn generation(origins: &Origins, number: u32) -> Value {
    let path = format!("/g{number}");
    let plain = if number == 1 { &origins.one } else { &origins.two };
    let both = json!({
        "services": {
            "a": { "url": origins.one.url(&path) },
            "b": { "url": origins.two.url(&path) },
        }
    });
    let breaker = json!({
        "maxFailures": FAILURES, "resetTimeout": "1 hour", "timeout": "5s", "rejectStatusCode": 503,
    });
    config::routes(&[
        ("/plain", config::guarded(&plain.url(&path))),
        ("/both", both),
        ("/sick", config::route(&origins.sick.url(&path), &breaker)),
    ])
}

/// Opens the breaker of the sick route.
fn trip(stage: &Stage, proxy: &Proxy) -> Result<(), String> {
    let span = Duration::from_millis(200);
    let load = stage.load(proxy, "/sick", Pace::Open(100.0), span);
    let load = Load { warm_up: Duration::ZERO, connections: Connections::Kept(1), ..load };
    load.run()?;
    let breakers = proxy.admin().breakers()?;
    let is_open = breakers.iter().any(|it| it.name.contains("/sick") && it.state == "open");
    if is_open { Ok(()) } else { Err(format!("the breaker did not open: {breakers:?}")) }
}

/// The loads by name; the one on the open breaker is last.
fn loads(stage: &Stage, proxy: &Proxy) -> Vec<(&'static str, Load)> {
    let echo = |name, number| Spec::echo(name, &format!("/g{number}"));
    let both = |number| {
        let (a, b) = (echo("one", number), echo("two", number));
        format!("{},{}", a.trim_end_matches('}'), b.trim_start_matches('{'))
    };
    let plain = Expect::one_of(&[&echo("one", 1), &echo("two", 2)]);
    let both = Expect::one_of(&[&both(1), &both(2)]);
    let warm_up = Duration::from_millis(100);
    let load =
        |path, pace, expect| Load { expect, warm_up, ..stage.load(proxy, path, pace, LONGEST) };
    let full = stage.pick(Pace::Closed, Pace::Open(500.0));
    let beside = Pace::Open(stage.rate(500.0, 100.0));
    let refused = Expect::status(200).or_refused(503);
    vec![
        ("one service", load("/plain", full, plain)),
        ("two services, merged", load("/both", beside, both)),
        ("behind an open breaker", load("/sick", beside, refused)),
    ]
}

/// Reloads for each of `turns`; how long the slowest took, from the signal to the first answer of
/// the new generation, in milliseconds.
fn reload(
    proxy: &Proxy,
    configs: &[Value; 2],
    turns: Range<usize>,
    pause: Duration,
) -> Result<f64, String> {
    let mut slowest = 0_f64;
    for turn in turns {
        if interrupt::is_raised() {
            break;
        }
        let began = clock::now();
        // The first turn is from the first configuration to the second.
        let next = (turn + 1) % 2;
        let (config, name) = if next == 0 { (&configs[0], "one") } else { (&configs[1], "two") };
        proxy.reload(config)?;
        let wanted = Spec::echo(name, &format!("/g{}", next + 1));
        while fetch(proxy.address(), "/plain")? != wanted.as_bytes() {
            if clock::now() > began + clock::SECOND {
                return Err(format!("reload {turn}: the generation before is served on"));
            }
        }
        slowest = slowest.max(clock::millis(clock::now() - began));
        clock::pass(pause);
    }
    Ok(slowest)
}

/// What reloads add to the times of requests that come when they are planned: p99 with one reload a
/// second beside p99 without, in turns.
fn in_time(
    stage: &mut Stage,
    proxy: &Proxy,
    configs: &[Value; 2],
    mut done: usize,
) -> Result<(), String> {
    let (rate, span) = (stage.rate(5000.0, 300.0), stage.seconds(3.0, 0.5));
    let (_, load) = loads(stage, proxy).swap_remove(0);
    let load = Load { pace: Pace::Open(rate), duration: span, ..load };
    let every = span.div_f64(3.0);
    let mut percentiles = [Vec::new(), Vec::new()];
    for round in 1..=stage.pick(7, 1) {
        for (with, p99s) in percentiles.iter_mut().enumerate() {
            let name = format!("{round}, {} reloads", ["without", "with"][with]);
            let turns = done..done + with * 3;
            done = turns.end;
            let (played, took) = std::thread::scope(|scope| {
                let reloads = scope.spawn(|| reload(proxy, configs, turns, every));
                (stage.run(&name, proxy, &load, |_| {}), reloads.join())
            });
            took.map_err(|_| "the thread that reloads panicked")??;
            let total = played?.outcome.total;
            let not_good = count(total.total() - total.count(Kind::Good) + total.ended);
            stage.must(&format!("{name}: not good, or ended"), not_good, "", Limit::AtMost(0.0));
            p99s.push(total.latency(Kind::Good).map_or(0.0, |latency| quantile(latency, 0.99)));
        }
    }
    let [without, with] = percentiles;
    let noise = without.iter().copied().fold(0.0, f64::max);
    stage.tell("p99 without reloads, in the middle of its rounds", median(&without), "ms");
    stage.tell("p99 without reloads, in the worst of them", noise, "ms");
    // Beyond what the machine does by itself it is the reloads'.
    let with = median(&with);
    stage.should("p99 with one a second, in the middle", with, "ms", Limit::AtMost(noise));
    Ok(())
}

fn judge(stage: &mut Stage, outcomes: &[Outcome]) {
    let sum = |of: fn(&Outcome) -> u64| count(outcomes.iter().map(of).sum::<u64>());
    let lost = sum(Outcome::failures);
    let bad = sum(|it| it.total.count(Kind::Bad));
    let ended = sum(|it| it.total.ended);
    stage.must("failed requests", bad.max(lost), "", Limit::AtMost(0.0));
    stage.must("connections closed", ended, "", Limit::AtMost(0.0));
    let mixed = sum(|it| it.total.failed(crate::tally::Failure::Unexpected));
    stage.must("answers of no single generation", mixed, "", Limit::AtMost(0.0));
    stage.tell("requests", sum(|it| it.total.total()), "");
}
