//! Clients that send half a head and stop, beside clients that do not.
//!
//! The p99 of the healthy is compared tenth of a second by tenth: what the machine takes away for
//! milliseconds at a time falls into a few of them and would make up the p99 of the whole, while
//! the crowd comes and is cut in nearly every one. What happens in fewer than half of them, as the
//! proxy's round of once a second, only the p99 of the whole shows: that is judged too, more
//! coarsely. What a side differs from itself by, in one half of the rounds and in the other, is
//! told beside it: no difference that is smaller says anything.

use std::time::Duration;

use serde_json::json;

use super::config;
use crate::crowd::{Crowd, Until};
use crate::load::{Load, Outcome, Pace};
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

/// No p99 is smaller.
const LEAST_MS: f64 = 1e-3;

/// What the healthy clients of one load saw.
struct Healthy {
    /// The p99 of every tenth of a second, in milliseconds: of the even rounds, which the crowd
    /// begins, and of the odd ones.
    tenths: [Vec<f64>; 2],
    whole: Tally,
    span: Duration,
}

impl Healthy {
    fn new() -> Self {
        Self { tenths: [Vec::new(), Vec::new()], whole: Tally::new(), span: Duration::ZERO }
    }

    fn add(&mut self, round: u32, outcome: &Outcome) {
        // One without an answer is no fast one.
        let p99 = |it: &Point| if it.rate() > 0.0 { it.p99_ms } else { TENTH_MS };
        let [even, odd] = &mut self.tenths;
        let tenths = if round.is_multiple_of(2) { even } else { odd };
        tenths.extend(outcome.series.iter().map(p99));
        self.whole.add(&outcome.total);
        self.span += outcome.duration;
    }

    fn by_tenths(&self) -> f64 {
        median(&self.tenths.concat())
    }

    /// The larger of the two halves as a multiple of the other; of one round there are none.
    fn against_itself(&self) -> Option<f64> {
        let [one, other] = self.tenths.each_ref().map(|it| median(it).max(LEAST_MS));
        let halves = self.tenths.iter().all(|it| !it.is_empty());
        halves.then(|| (one / other).max(other / one))
    }
}

fn play(stage: &mut Stage) -> Result<(), String> {
    let origin = stage.origin(Spec::named("origin"))?;
    let mut config = config::all_to(&origin);
    let header = Duration::from_millis(stage.pick(10_000, 500));
    // Those who come at once go at once; the load beside them would be judged for our own haste.
    let spread = header * 49 / 50;
    config["http"]["timeouts"] = json!({ "header": format!("{}ms", header.as_millis()) });
    let proxy = stage.proxy(&config)?;
    let planned = Pace::Open(stage.rate(5000.0, 300.0));
    let mut loads = [
        ("on plan", planned, stage.seconds(8.0, 0.7)),
        ("flat out", Pace::Closed, stage.seconds(4.0, 0.3)),
    ]
    .map(|(name, pace, span)| {
        let load = stage.load(&proxy, "/", pace, span);
        let load = Load { warm_up: Duration::from_millis(500), ..load };
        (name, load, Healthy::new(), Healthy::new())
    });
    let (wanted, cores) = (stage.count(2000, 200), stage.load_cores());
    let (mut cut, mut standing) = (0, wanted as u64);
    // In turns, so that both meet the same moods of the machine.
    for round in 1..=stage.pick(8, 1_u32) {
        // Neither is always the second: it would have what the first has left behind.
        let even = round.is_multiple_of(2);
        for with in [even, !even] {
            let crowd = with
                .then(|| Crowd::gather(proxy.address(), wanted, HALF, Until::Sent, spread, &cores))
                .transpose()?;
            for (name, load, without, beside) in &mut loads {
                let crowded = if with { "with them" } else { "without" };
                let name = format!("{round}, {name}, {crowded}");
                let outcome = stage.run(&name, &proxy, load, |_| {})?.outcome;
                let seen = if with { beside } else { without };
                seen.add(round, &outcome);
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
    let rates = sides.map(|side| count(side.whole.count(Kind::Good)) / side.span.as_secs_f64());
    let all = sides.map(|side| side.whole.latency(Kind::Good).map_or(0.0, |it| quantile(it, 0.99)));
    let tenths = sides.map(Healthy::by_tenths);
    let multiples = [
        ("good answers a second", rates, "/s", Limit::AtLeast(0.9)),
        ("p99 of all", all, "ms", Limit::AtMost(2.0)),
        ("p99 by tenths", tenths, "ms", Limit::AtMost(1.1)),
    ];
    for (what, [without, beside], unit, limit) in multiples {
        stage.tell(&format!("{load}: {what}, without them"), without, unit);
        stage.tell(&format!("{load}: {what}, with them"), beside, unit);
        let name = format!("{load}: {what}, with them, as a multiple");
        stage.should(&name, beside / without.max(LEAST_MS), "", limit);
    }
    for (side, healthy) in ["without", "with"].into_iter().zip(sides) {
        if let Some(multiple) = healthy.against_itself() {
            let name = format!("{load}: p99 by tenths, {side} them, half the rounds by the other");
            stage.tell(&name, multiple, "");
        }
    }
}
