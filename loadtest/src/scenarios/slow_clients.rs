//! Clients that send half a head and stop, beside clients that do not.
//!
//! The p99 of the healthy is compared tenth of a second by tenth: what the machine takes away for
//! milliseconds at a time falls into a few of them and would make up the p99 of the whole, while
//! the crowd comes and is cut in nearly every one. What happens in fewer than half of them, as the
//! proxy's round of once a second, only the p99 of the whole shows: that is judged too, more
//! coarsely.

use std::time::Duration;

use serde_json::json;

use super::config;
use crate::crowd::{Crowd, Until};
use crate::load::{Load, Pace};
use crate::origin::Spec;
use crate::point::Point;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count, median, quantile};
use crate::tally::{Kind, Tally};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "slow-clients",
    about: "half-sent heads beside healthy clients, whose p99 is compared with and without them",
    play,
};

/// Half a head.
const HALF: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

/// What a tenth of a second without any answer counts as.
const TENTH_MS: f64 = 100.0;

/// What the healthy clients of one load saw.
struct Healthy {
    /// The p99 of every tenth of a second, in milliseconds.
    tenths: Vec<f64>,
    whole: Tally,
}

impl Healthy {
    fn new() -> Self {
        Self { tenths: Vec::new(), whole: Tally::new() }
    }
}

fn play(stage: &mut Stage) -> Result<(), String> {
    let origin = stage.origin(Spec::named("origin"))?;
    let mut config = config::all_to(&origin);
    let header = Duration::from_millis(stage.pick(10_000, 500));
    // Those who come at once go at once; the load beside them would be judged for our own haste.
    let spread = header * 9 / 10;
    config["http"]["timeouts"] = json!({ "header": format!("{}ms", header.as_millis()) });
    let proxy = stage.proxy(&config)?;
    let planned = Pace::Open(stage.rate(5000.0, 300.0));
    let mut loads = [
        ("on plan", planned, stage.seconds(8.0, 0.7)),
        ("flat out", Pace::Closed, stage.seconds(4.0, 0.3)),
    ]
    .map(|(name, pace, span)| {
        let load = stage.load(&proxy, "/", pace, span);
        let load = Load { warm_up: Duration::from_millis(100), ..load };
        (name, load, Healthy::new(), Healthy::new())
    });
    let (wanted, cores) = (stage.count(2000, 200), stage.load_cores());
    let (mut cut, mut standing) = (0, wanted as u64);
    // In turns, so that both meet the same moods of the machine.
    for round in 1..=stage.pick(8, 1) {
        for with in [false, true] {
            let crowd = with
                .then(|| Crowd::gather(proxy.address(), wanted, HALF, Until::Sent, spread, &cores))
                .transpose()?;
            for (name, load, without, beside) in &mut loads {
                let crowded = if with { "with them" } else { "without" };
                let name = format!("{round}, {name}, {crowded}");
                let outcome = stage.run(&name, &proxy, load, |_| {})?.outcome;
                let seen = if with { beside } else { without };
                // One without an answer is no fast one.
                let p99 = |it: &Point| if it.rate() > 0.0 { it.p99_ms } else { TENTH_MS };
                seen.tenths.extend(outcome.series.iter().map(p99));
                seen.whole.add(&outcome.total);
                standing = crowd.as_ref().map_or(standing, |it| it.standing().min(standing));
            }
            cut += crowd.map_or(0, |crowd| crowd.ended());
        }
    }
    stage.must("half-sent heads cut at their deadline", count(cut), "", Limit::AtLeast(1.0));
    let least = Limit::AtLeast(count(wanted) * stage.pick(0.9, 0.5));
    stage.must("half-sent heads standing behind each load, at least", count(standing), "", least);
    for (name, _, without, beside) in &loads {
        judge(stage, name, without, beside);
    }
    stage.note("p99 by tenths: the median of all tenths of a second");
    Ok(())
}

fn judge(stage: &mut Stage, load: &str, without: &Healthy, beside: &Healthy) {
    let sides = [without, beside];
    let not_good = sides.map(|side| side.whole.total() - side.whole.count(Kind::Good));
    let ended = sides.map(|side| side.whole.ended);
    let none = Limit::AtMost(0.0);
    for (what, [without, beside]) in
        [("without a good answer", not_good), ("healthy connections ended", ended)]
    {
        stage.must(&format!("{load}: {what}"), count(without + beside), "", none);
    }
    let all = sides.map(|side| side.whole.latency(Kind::Good).map_or(0.0, |it| quantile(it, 0.99)));
    let tenths = sides.map(|side| median(&side.tenths));
    for (what, [without, beside], most) in [("of all", all, 2.0), ("by tenths", tenths, 1.1)] {
        stage.tell(&format!("{load}: p99 {what}, without them"), without, "ms");
        stage.tell(&format!("{load}: p99 {what}, with them"), beside, "ms");
        let name = format!("{load}: p99 {what}, with them, as a multiple");
        stage.should(&name, beside / without.max(1e-3), "", Limit::AtMost(most));
    }
}
