//! Thousands of clients that rest between their requests, and as many requests by a few that do
//! not.
//!
//! What a proxy does with connections at rest, round by round or all at once, meets the requests of
//! others: with the same plan the p99 of many may not be far from that of few. Each round compares
//! the two sides of its own minute, as a machine's moods differ; judged is the median of the
//! rounds.

use std::time::Duration;

use super::config;
use crate::cores;
use crate::load::{Connections, Load, Pace};
use crate::origin::Spec;
use crate::report::Limit;
use crate::stage::{Played, Scenario, Stage, count, median, quantile};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "resting",
    about: "thousands of clients that rest between requests: their p99 beside that of a few",
    play,
};

/// No p99 counts as less, in milliseconds.
const LEAST_MS: f64 = 0.05;

/// What one side has seen, round by round.
#[derive(Default)]
struct Seen {
    p99_ms: Vec<f64>,
    cpu_us: Vec<f64>,
    not_good: u64,
    ended: u64,
}

impl Seen {
    fn add(&mut self, Played { outcome, cpu_us }: &Played) {
        let total = &outcome.total;
        self.p99_ms.push(total.latency(Kind::Good).map_or(0.0, |it| quantile(it, 0.99)));
        self.cpu_us.push(*cpu_us);
        self.not_good += total.total() - total.count(Kind::Good);
        self.ended += total.ended;
    }
}

fn play(stage: &mut Stage) -> Result<(), String> {
    let origin = stage.origin(Spec::named("origin"))?;
    let proxy = stage.proxy(&config::all_to(&origin))?;
    // The proxy, the load and ourselves share one limit on open files.
    let most = cores::raise_file_limit().saturating_sub(2000) / 2;
    let wanted = stage.count(9_000, 300);
    let (few, many) = (stage.connections(64, 16), wanted.min(most));
    let rate = stage.rate(3000.0, 300.0);
    let load = stage.load(&proxy, "/", Pace::Random(rate), stage.seconds(8.0, 0.7));
    // Each of them has rested, and asked again after that.
    let cycles = Duration::from_secs_f64(stage.pick(2.5, 0.5) * count(many) / rate);
    let sides = [("few", few, load.warm_up), ("many", many, cycles)];
    let mut loads = sides.map(|(name, connections, warm_up)| {
        let connections = Connections::Kept(connections);
        (name, Load { connections, warm_up, ..load.clone() }, Seen::default())
    });
    for round in 1..=stage.pick(5, 1_usize) {
        for (name, load, seen) in &mut loads {
            seen.add(&stage.run(&format!("{round}, {name}"), &proxy, load, |_| {})?);
        }
        loads.reverse();
    }
    loads.sort_by_key(|(_, load, _)| load.connections.count());
    let [(_, _, few), (_, _, many)] = loads;

    let not_good = count(few.not_good + many.not_good);
    stage.must("requests without a good answer", not_good, "", Limit::AtMost(0.0));
    let ended = count(few.ended + many.ended);
    stage.must("connections ended by the proxy", ended, "", Limit::AtMost(0.0));
    stage.tell("p99 of few", median(&few.p99_ms), "ms");
    stage.tell("p99 of many", median(&many.p99_ms), "ms");
    let rounds = many.p99_ms.iter().zip(&few.p99_ms);
    let multiples: Vec<_> = rounds.map(|(many, few)| many / few.max(LEAST_MS)).collect();
    stage.should("p99, many / few", median(&multiples), "", Limit::AtMost(4.0));
    stage.tell("processor time of the proxy for each, few", median(&few.cpu_us), "us");
    stage.tell("processor time of the proxy for each, many", median(&many.cpu_us), "us");
    if most < wanted {
        stage.note("fewer connections than planned: the limit on open files is too low");
    }
    Ok(())
}
