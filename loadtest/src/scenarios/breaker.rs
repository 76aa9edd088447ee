//! A service that fails: how soon the breaker opens, what reaches the service then, how soon all
//! is well again.

use std::time::Duration;

use serde_json::{Value, json};

use super::config;
use crate::breaker::{self, Conduct, Policy};
use crate::clock::{self, Nanos};
use crate::expect::Expect;
use crate::load::{Load, Outcome, Pace, Request, Trace};
use crate::origin::{Delay, Fault, Origin, Script, Spec};
use crate::proxy::Proxy;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count, quantile};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "breaker",
    about: "a service that fails in several ways, and the breaker in front of it",
    play,
};

/// Failures that open the breaker.
const FAILURES: usize = 10;

/// One way to fail.
struct Case {
    name: &'static str,
    /// What is wrong, from the first moment to the second.
    fault: fn(Duration, Duration) -> Script,
    /// How often it has to open at least.
    trips: u64,
}

const CASES: &[Case] = &[
    Case { name: "10% fail", fault: |from, to| brown_out(0.1, from, to), trips: 1 },
    Case { name: "30% fail", fault: |from, to| brown_out(0.3, from, to), trips: 1 },
    Case { name: "50% fail", fault: |from, to| brown_out(0.5, from, to), trips: 1 },
    Case { name: "100% fail", fault: |from, to| brown_out(1.0, from, to), trips: 1 },
    Case { name: "only slow", fault: slow, trips: 1 },
    Case { name: "resets", fault: resets, trips: 1 },
    Case { name: "stalls", fault: stalls, trips: 1 },
    Case { name: "flapping", fault: flapping, trips: 2 },
];

fn play(stage: &mut Stage) -> Result<(), String> {
    for case in CASES {
        sick(stage, case)?;
    }
    one_bad_target(stage)
}

fn brown_out(share: f64, from: Duration, to: Duration) -> Script {
    Script::default().then(from, Fault::failing(share)).healthy(to)
}

fn slow(from: Duration, to: Duration) -> Script {
    let delay = Delay::Between(Duration::from_secs(2), Duration::from_secs(3));
    Script::default().then(from, Fault { delay, ..Fault::default() }).healthy(to)
}

fn resets(from: Duration, to: Duration) -> Script {
    Script::default().then(from, Fault { reset: 1.0, ..Fault::default() }).healthy(to)
}

fn stalls(from: Duration, to: Duration) -> Script {
    Script::default().then(from, Fault::stalled()).healthy(to)
}

fn flapping(from: Duration, to: Duration) -> Script {
    // A step is longer than half the open time and shorter than all of it, so that each probe meets
    // a healthy service.
    let step = (to - from) / 4;
    (0..2).fold(Script::default(), |script, nth| {
        let begin = from + step * 2 * nth;
        script.then(begin, Fault::failing(1.0)).healthy(begin + step)
    })
}

/// How long an exchange may take, and the breaker stays open.
fn times(stage: &Stage) -> (Duration, Duration) {
    let pick = |full, smoke| Duration::from_millis(stage.pick(full, smoke));
    (pick(500, 100), pick(2000, 300))
}

fn policy(timeout: Duration, open: Duration) -> Value {
    let millis = |span: Duration| format!("{}ms", span.as_millis());
    json!({
        "maxFailures": FAILURES, "timeWindow": "1 minute", "resetTimeout": millis(open),
        "timeout": millis(timeout), "rejectStatusCode": 503,
    })
}

fn sick(stage: &mut Stage, case: &Case) -> Result<(), String> {
    let (timeout, open) = times(stage);
    let (from, span) = (stage.seconds(2.0, 0.3), stage.seconds(6.0, 0.9));
    let to = from + span;
    let script = (case.fault)(from, to);
    let origin = stage.origin(Spec { script, trace: Trace::Remember, ..Spec::named("origin") })?;
    let route = config::route(&origin.url("/"), &policy(timeout, open));
    let proxy = stage.proxy(&config::routes(&[("/", route)]))?;
    // The slowest that a case heals: one open time after the end of the fault, and a probe.
    let whole = to + open + timeout + stage.seconds(2.0, 0.4);
    let load = traced(stage, &proxy, Pace::Open(stage.rate(5000.0, 500.0)), whole);
    let played = stage.run(case.name, &proxy, &load, |began| origin.begin(began))?;
    let marks = [(from.as_secs_f64(), "sick"), (to.as_secs_f64(), "well")];
    stage.marks(&marks);
    let policy = Policy {
        failures: FAILURES,
        open: clock::nanos(open).saturating_sub(clock::MILLI),
        timeout: clock::nanos(timeout),
        refused: 503,
    };
    let conduct = breaker::conduct(&played.outcome.seen, &origin.stop(), &policy);
    let healed = recovery(&played.outcome, to);
    figures(stage, case.name, &conduct, case.trips, &played.outcome);
    let limit = open + timeout + Duration::from_millis(500);
    let (healed, limit) = (clock::millis(healed), limit.as_secs_f64() * 1e3);
    let name = format!("{}: from the end of the fault to full traffic", case.name);
    stage.must(&name, healed, "ms", Limit::AtMost(limit));
    Ok(())
}

/// A load of `/` that remembers every request.
pub(super) fn traced(stage: &Stage, proxy: &Proxy, pace: Pace, span: Duration) -> Load {
    let plain = stage.load(proxy, "/", pace, span);
    Load {
        request: Request::stamped(proxy.address(), "/"),
        expect: Expect::status(200).or_refused(503),
        trace: Trace::Remember,
        warm_up: Duration::ZERO,
        ..plain
    }
}

/// How long after `healthy` the last request was not answered as it should be.
fn recovery(outcome: &Outcome, healthy: Duration) -> Nanos {
    let well = outcome.began + clock::nanos(healthy);
    let last = outcome.seen.iter().filter(|seen| seen.status != 200).map(|seen| seen.done).max();
    last.map_or(0, |last| last.saturating_sub(well))
}

/// What every case tells of its breaker.
pub(super) fn figures(
    stage: &mut Stage,
    case: &str,
    conduct: &Conduct,
    trips: u64,
    outcome: &Outcome,
) {
    let name = |what: &str| format!("{case}: {what}");
    stage.must(&name("times it opened"), count(conduct.trips), "", Limit::AtLeast(count(trips)));
    let (open, refusal) = (&conduct.time_to_open, &conduct.refusal);
    let slowest = quantile(open, 1.0);
    stage.should(&name("K-th failure to first refusal"), slowest, "ms", Limit::AtMost(10.0));
    stage.tell(&name("under way at the K-th failure"), count(conduct.leaked), "requests");
    let hits = count(conduct.hits_while_open);
    stage.must(&name("reached the origin while open"), hits, "requests", Limit::AtMost(0.0));
    stage.tell(&name("probes"), count(conduct.probes), "requests");
    let beside = count(conduct.beside_probe);
    stage.must(&name("reached it beside a probe"), beside, "requests", Limit::AtMost(0.0));
    stage.tell(&name("refused within, p50"), quantile(refusal, 0.5), "ms");
    stage.should(&name("refused within, p99"), quantile(refusal, 0.99), "ms", Limit::AtMost(2.0));
    let lost = count(outcome.failures());
    stage.must(&name("requests without an answer"), lost, "", Limit::AtMost(0.0));
}

/// One target of several fails, and has a breaker of its own.
fn one_bad_target(stage: &mut Stage) -> Result<(), String> {
    const TARGETS: usize = 4;
    let (timeout, open) = times(stage);
    let (from, span) = (stage.seconds(2.0, 0.3), stage.seconds(6.0, 0.9));
    let to = from + span;
    let spec = |nth: usize| {
        let script = if nth == 0 { brown_out(1.0, from, to) } else { Script::default() };
        Spec { script, ..Spec::named("origin") }
    };
    let origins: Result<Vec<Origin>, _> = (0..TARGETS).map(|nth| stage.origin(spec(nth))).collect();
    let origins = origins?;
    let urls: Vec<_> = origins.iter().map(|origin| origin.url("/")).collect();
    let mut breaker = policy(timeout, open);
    breaker["scope"] = json!("target");
    let service = json!({ "url": urls, "balance": "roundRobin", "circuitBreaker": breaker });
    let route = json!({ "services": { "it": service }, "circuitBreaker": "none" });
    let proxy = stage.proxy(&config::routes(&[("/", route)]))?;
    let name = "one bad target";
    let pace = Pace::Open(stage.rate(5000.0, 500.0));
    let load = traced(stage, &proxy, pace, to + open + stage.seconds(2.0, 0.4));
    let begin = |began| origins.iter().for_each(|origin| origin.begin(began));
    let outcome = stage.run(name, &proxy, &load, begin)?.outcome;
    stage.marks(&[(from.as_secs_f64(), "sick"), (to.as_secs_f64(), "well")]);
    // The first round costs K and what is under way then, each later one its probe.
    let rounds = usize::try_from(span.as_millis() / open.as_millis()).unwrap_or(0) + 2;
    let most = count(FAILURES + load.connections.count() + rounds);
    let total = &outcome.total;
    let bad = count(total.count(Kind::Bad));
    stage.must(&format!("{name}: failures that clients saw"), bad, "", Limit::AtMost(most));
    let refused = count(total.count(Kind::Refused));
    stage.must(&format!("{name}: refusals"), refused, "", Limit::AtMost(0.0));
    let healed = clock::millis(recovery(&outcome, to));
    stage.tell(&format!("{name}: from the end of the fault to the last failure"), healed, "ms");
    Ok(())
}
