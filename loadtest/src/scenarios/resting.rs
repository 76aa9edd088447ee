//! Thousands of clients that rest between their requests, and as many requests by a few that do
//! not.
//!
//! What a proxy does with connections at rest, round by round or all at once, meets the requests of
//! others: with the same plan the p99 of many may not be far from that of few. Each round compares
//! the sides of its own minute, as a machine's moods differ; judged is the median of the rounds.

use std::time::Duration;

use super::config;
use crate::load::{Connections, Load, Pace};
use crate::origin::Spec;
use crate::proxy::Proxy;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count, median, quantile};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "resting",
    about: "thousands of clients that rest between requests: their p99 beside that of a few",
    play,
};

/// Who is silent for so many seconds between two requests rests.
const RESTS_S: f64 = 1.0;

/// No p99 counts as less, in milliseconds.
const LEAST_MS: f64 = 0.05;

/// One side, and what it has seen round by round.
struct Side {
    name: &'static str,
    load: Load,
    p99_ms: Vec<f64>,
    not_good: u64,
    ended: u64,
}

impl Side {
    fn new(name: &'static str, connections: usize, warm_up: Duration, load: &Load) -> Self {
        let connections = Connections::Kept(connections);
        let load = Load { connections, warm_up, ..load.clone() };
        Self { name, load, p99_ms: Vec::new(), not_good: 0, ended: 0 }
    }

    fn play(&mut self, stage: &mut Stage, proxy: &Proxy, round: usize) -> Result<(), String> {
        let played = stage.run(&format!("{round}, {}", self.name), proxy, &self.load, |_| {})?;
        let total = &played.outcome.total;
        self.p99_ms.push(total.latency(Kind::Good).map_or(0.0, |it| quantile(it, 0.99)));
        self.not_good += total.total() - total.count(Kind::Good);
        self.ended += total.ended;
        Ok(())
    }
}

fn play(stage: &mut Stage) -> Result<(), String> {
    let (few, many) = (stage.connections(64, 16), stage.standing(9_000, 300));
    let rate = stage.rate(3000.0, 300.0);
    let rest = count(many) / rate;
    if many <= few || rest < RESTS_S {
        let why = "clients would not rest: it takes more of them than there are few, and than the \
                   rate has requests; the limit on open files may allow no more";
        stage.skip(why);
        return Ok(());
    }
    let origin = stage.origin(Spec::named("origin"))?;
    let proxy = stage.proxy(&config::all_to(&origin))?;
    let load = stage.load(&proxy, "/", Pace::Random(rate), stage.seconds(8.0, 0.7));
    // Each of the many has rested, and asked again after that.
    let cycles = Duration::from_secs_f64(rest * stage.pick(2.5, 0.5));
    let mut few = Side::new("few", few, load.warm_up, &load);
    let mut many = Side::new("many", many, cycles, &load);
    for round in 1..=stage.pick(5, 1_usize) {
        let mut sides = [&mut few, &mut many];
        if round.is_multiple_of(2) {
            sides.reverse();
        }
        for side in sides {
            side.play(stage, &proxy, round)?;
        }
    }

    let not_good = count(few.not_good + many.not_good);
    stage.must("requests without a good answer", not_good, "", Limit::AtMost(0.0));
    let ended = count(few.ended + many.ended);
    stage.must("connections ended by the proxy", ended, "", Limit::AtMost(0.0));
    stage.tell("p99 of few", median(&few.p99_ms), "ms");
    stage.tell("p99 of many", median(&many.p99_ms), "ms");
    let rounds = many.p99_ms.iter().zip(&few.p99_ms);
    let multiples: Vec<_> = rounds.map(|(many, few)| many / few.max(LEAST_MS)).collect();
    stage.should("p99, many / few", median(&multiples), "", Limit::AtMost(4.0));
    Ok(())
}
