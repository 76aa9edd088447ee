//! Clients that send half a head and stop, beside clients that do not.

use std::time::Duration;

use serde_json::json;

use super::config;
use crate::crowd::{Crowd, Until};
use crate::load::{Load, Pace};
use crate::origin::Spec;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count, median, quantile};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "slow-clients",
    about: "half-sent heads beside healthy clients, whose p99 is compared with and without them",
    play,
};

/// Half a head.
const HALF: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

fn play(stage: &mut Stage) -> Result<(), String> {
    let origin = stage.origin(Spec::named("origin"))?;
    let mut config = config::all_to(&origin);
    let header = Duration::from_millis(stage.pick(10_000, 500));
    // Those who come at once go at once; the load beside them would be judged for our own haste.
    let spread = header * 9 / 10;
    config["http"]["timeouts"] = json!({ "header": format!("{}ms", header.as_millis()) });
    let proxy = stage.proxy(&config)?;
    let (rate, span) = (stage.rate(5000.0, 300.0), stage.seconds(2.0, 0.7));
    let load = stage.load(&proxy, "/", Pace::Open(rate), span);
    let load = Load { warm_up: Duration::from_millis(100), ..load };
    let (wanted, cores) = (stage.count(2000, 200), stage.load_cores());
    let (mut not_good, mut closed, mut cut) = (0, 0, 0);
    let mut percentiles = [Vec::new(), Vec::new()];
    // In turns, so that both meet the same moods of the machine, and many of them: one in a hundred
    // of so prompt answers waits for the machine, not for the proxy.
    for round in 1..=stage.pick(11, 1) {
        for with in [false, true] {
            let crowd = with
                .then(|| Crowd::gather(proxy.address(), wanted, HALF, Until::Sent, spread, &cores))
                .transpose()?;
            let name = format!("{round}, {}", if with { "with them" } else { "without" });
            let total = stage.run(&name, &proxy, &load, |_| {})?.outcome.total;
            not_good += total.total() - total.count(Kind::Good);
            closed += total.ended;
            cut += crowd.map_or(0, |crowd| crowd.ended());
            let p99 = total.latency(Kind::Good).map_or(0.0, |latency| quantile(latency, 0.99));
            let [without, beside] = &mut percentiles;
            if with { beside } else { without }.push(p99);
        }
    }
    let [without, beside] = percentiles.map(|values| median(&values));
    stage.must("healthy requests without a good answer", count(not_good), "", Limit::AtMost(0.0));
    stage.must("healthy connections ended", count(closed), "", Limit::AtMost(0.0));
    stage.must("half-sent heads cut at their deadline", count(cut), "", Limit::AtLeast(1.0));
    stage.tell("p99 of the healthy without them", without, "ms");
    stage.tell("p99 of the healthy with them", beside, "ms");
    let ratio = beside / without.max(1e-3);
    stage.should("with them, as a multiple", ratio, "", Limit::AtMost(1.1));
    stage.note("medians of all rounds");
    Ok(())
}
