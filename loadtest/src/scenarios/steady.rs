//! Healthy traffic: at a rate, and as much as there can be.

use super::config;
use crate::expect::Expect;
use crate::load::{Load, Pace};
use crate::origin::Spec;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count, quantile};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "steady",
    about: "healthy traffic at a rate, and then as much as one proxy core takes",
    play,
};

/// Bytes of a body.
const BODY: usize = 1024;

fn play(stage: &mut Stage) -> Result<(), String> {
    let replies = vec![("/1k".to_owned(), vec![b'a'; BODY])];
    let origin = stage.origin(Spec { replies, ..Spec::named("origin") })?;
    let proxy = stage.proxy(&config::all_to(&origin))?;
    let (rate, span) = (stage.rate(10_000.0, 500.0), stage.seconds(10.0, 1.5));
    let expect = Expect::length(200, BODY as u64);
    let load = stage.load(&proxy, "/1k", Pace::Open(rate), span);
    let load = Load { expect, ..load };
    let open = stage.run("at a rate", &proxy, &load, |_| {})?.outcome;
    let full = Load { pace: Pace::Closed, ..load };
    let full = stage.run("as much as there can be", &proxy, &full, |_| {})?;

    let sum = |of: fn(&crate::load::Outcome) -> u64| count(of(&open) + of(&full.outcome));
    let not_good = sum(|it| it.total.total() - it.total.count(Kind::Good));
    stage.must("requests without a good answer", not_good, "", Limit::AtMost(0.0));
    let ended = sum(|it| it.total.ended);
    stage.must("connections ended by the proxy", ended, "", Limit::AtMost(0.0));
    let good = open.total.latency(Kind::Good);
    let p99 = good.map_or(0.0, |latency| quantile(latency, 0.99));
    stage.should("p99 at the planned rate", p99, "ms", Limit::AtMost(5.0));
    let served = open.rate() / rate * 100.0;
    stage.should("share of the planned rate", served, "%", Limit::AtLeast(99.0));
    stage.tell("requests a second, at most", full.outcome.rate(), "/s");
    stage.tell("processor time of the proxy for each of them", full.cpu_us, "us");
    Ok(())
}
