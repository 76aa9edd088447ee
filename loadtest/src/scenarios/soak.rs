//! A long time of mixed traffic: nothing may grow, nothing may fail.

use std::time::Duration;

use serde_json::json;

use super::config;
use crate::expect::Expect;
use crate::load::{Connections, Load, Pace, Request};
use crate::memory::MemoryWatch;
use crate::message;
use crate::origin::{Delay, Fault, Script, Spec, Trickle};
use crate::proxy::Proxy;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "soak",
    about: "a long time of mixed traffic: no failure, and memory that does not grow",
    play,
};

/// Looks at the memory in all.
const LOOKS: u32 = 60;

fn play(stage: &mut Stage) -> Result<(), String> {
    let millis = Duration::from_millis;
    let delay = Delay::Exponential(millis(2));
    let replies = vec![("/64k".to_owned(), vec![b'x'; 1 << 16])];
    let script = Script::always(Fault { delay, ..Fault::default() });
    let origin = stage.origin(Spec { script, replies, ..Spec::named("origin") })?;
    let sick = Script::always(Fault {
        fail: 0.3,
        reset: 0.2,
        delay: Delay::Either(millis(1), 0.05, millis(200)),
        trickle: Some(Trickle { bytes: 30, pause: millis(2) }),
        ..Fault::default()
    });
    let sick = stage.origin(Spec { script: sick, ..Spec::named("sick") })?;
    origin.begin_now();
    sick.begin_now();
    let breaker = json!({ "maxFailures": 5, "resetTimeout": "1s", "rejectStatusCode": 503 });
    let proxy = stage.proxy(&config::routes(&[
        ("/well/*path", config::guarded(&origin.url("/:path"))),
        ("/sick", config::route(&sick.url("/"), &breaker)),
    ]))?;
    let (rate, span) = (stage.rate(3000.0, 300.0), stage.seconds(600.0, 3.0));
    let loads = loads(stage, &proxy, rate, span);
    let memory = MemoryWatch::start(proxy.process(), span / LOOKS);
    let running: Result<Vec<_>, String> =
        loads.iter().skip(1).map(|(_, load)| load.clone().start()).collect();
    let mut outcomes = Vec::new();
    if let Some((name, load)) = loads.first() {
        outcomes.push(stage.run(name, &proxy, load, |_| {})?.outcome);
    }
    for (it, (name, load)) in running?.into_iter().zip(loads.iter().skip(1)) {
        let outcome = it.finish(|_| {})?;
        stage.section(name, load, &outcome);
        outcomes.push(outcome);
    }
    let memory = memory.stop();
    // The load on the sick route is last, and fails by plan.
    let healthy = outcomes.iter().take(outcomes.len().saturating_sub(1));
    let not_good: u64 = healthy.map(|it| it.total.total() - it.total.count(Kind::Good)).sum();
    stage.must("healthy requests without a good answer", count(not_good), "", Limit::AtMost(0.0));
    let lost: u64 = outcomes.iter().map(crate::load::Outcome::failures).sum();
    stage.must("requests without an answer", count(lost), "", Limit::AtMost(0.0));
    let panics = proxy.admin().metrics()?.sum("fusebox_panics_total", &[]);
    stage.must("panics in the proxy", panics, "", Limit::AtMost(0.0));
    let limit = if span >= Duration::from_secs(60) { Limit::AtMost(5.0) } else { Limit::None };
    let grown = memory.trend() / count(memory.last()).max(1.0) * 100.0;
    stage.must("growth of private memory, by its trend", grown, "%", limit);
    stage.tell("private memory at the end", count(memory.last()) / 1024.0, "KiB");
    stage.table(memory.table());
    Ok(())
}

fn loads(stage: &Stage, proxy: &Proxy, rate: f64, span: Duration) -> Vec<(&'static str, Load)> {
    let load = |path, share: f64, expect| {
        let plain = stage.load(proxy, path, Pace::Random(rate * share), span);
        Load { expect, ..plain }
    };
    let host = proxy.address().to_string();
    let body = [b'u'; 20_000];
    let upload = Request::new("POST", &host, "/well/up", &body, "");
    let digest = message::digest(message::NOTHING, &body);
    let told = Expect::one_of(&[&Spec::echo_to("origin", "/up", body.len() as u64, digest)]);
    let fresh = Connections::Fresh(64);
    let refused = Expect::status(200).or_refused(503);
    vec![
        ("small answers", load("/well/small", 0.7, Expect::status(200))),
        ("64 KiB", load("/well/64k", 0.1, Expect::length(200, 1 << 16))),
        ("uploads", Load { request: upload, ..load("/well/up", 0.1, told) }),
        (
            "new connections",
            Load { connections: fresh, ..load("/well/new", 0.05, Expect::status(200)) },
        ),
        ("a sick service", load("/sick", 0.05, refused)),
    ]
}
