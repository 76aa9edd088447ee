//! Clients that send half a head and then a byte now and then, beside clients that do not.
//!
//! The p99 of the healthy is taken tenth of a second by tenth, and of the tenths of a load the one
//! in the middle: what the machine takes away for milliseconds at a time falls into a few of them
//! and would make up the p99 of the whole, while the crowd comes and is cut in nearly every one.
//! What happens in fewer than half of them, as the proxy's round of once a second, only the p99 of
//! the whole load shows: that is judged too, more coarsely. Each round compares the sides of its
//! own minute; judged is the median of the rounds, and told how far they lie apart.
//!
//! The crowd sends from the processors of the load, and delays it by that alone. So each round has
//! a third side, on which the crowd stands before a listener that is not the proxy's: against that
//! one it is the proxy alone that is judged.

use std::time::Duration;

use serde_json::json;

use super::config;
use crate::clock;
use crate::crowd::{Crowd, Manner, Until};
use crate::load::Pace;
use crate::origin::Spec;
use crate::point::Point;
use crate::report::Limit;
use crate::stage::{Played, Scenario, Stage, count, median, quantile};
use crate::tally::{Kind, Tally};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "slow-clients",
    about: "heads that trickle in beside healthy clients: their p99 with and without them",
    play,
};

/// Half a head, whose last value goes on.
const HALF: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

/// The byte of a head that comes when its time is over; those before it trickle in.
const BYTES: u32 = 5;

/// What a tenth of a second without any answer counts as.
const TENTH_MS: f64 = 100.0;

/// No measure of a side is smaller.
const LEAST: f64 = 1e-3;

/// Of a side of a round what it is measured by.
struct Round {
    /// The median p99 of the tenths of a second, in milliseconds.
    tenths: f64,
    /// The p99 of the whole load, in milliseconds.
    all: f64,
    /// Good answers a second.
    rate: f64,
    /// Processor time of the proxy for each request, in microseconds.
    cpu: f64,
}

type Measure = fn(&Round) -> f64;

/// Before whom the crowd stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Nobody: there is none.
    Without,
    /// A listener that is not the proxy's.
    Elsewhere,
    /// The proxy.
    Beside,
}

impl Side {
    const ALL: [Self; 3] = [Self::Without, Self::Elsewhere, Self::Beside];

    const fn name(self) -> &'static str {
        match self {
            Self::Without => "without them",
            Self::Elsewhere => "elsewhere",
            Self::Beside => "with them",
        }
    }
}

/// What the healthy clients of one load saw on one side, round by round and in all.
struct Healthy {
    rounds: Vec<Round>,
    whole: Tally,
}

/// How hard a crowd pressed on behind any load, at least.
struct Pressure {
    standing: f64,
    /// Bytes a second.
    trickled: f64,
    /// Connections a second that were cut, and came again.
    cut: f64,
}

impl Pressure {
    const NONE_YET: Self = Self { standing: f64::MAX, trickled: f64::MAX, cut: f64::MAX };

    /// Looks at `crowd` when `doing` is done, and at what it did meanwhile.
    fn behind<T>(&mut self, crowd: Option<&Crowd>, doing: impl FnOnce() -> T) -> T {
        let Some(crowd) = crowd else { return doing() };
        let (began, trickled, cut) = (clock::now(), crowd.trickled(), crowd.ended());
        let done = doing();
        let seconds = clock::seconds(clock::now().saturating_sub(began).max(1));
        self.standing = self.standing.min(count(crowd.standing()));
        self.trickled = self.trickled.min(count(crowd.trickled() - trickled) / seconds);
        self.cut = self.cut.min(count(crowd.ended() - cut) / seconds);
        done
    }
}

impl Healthy {
    fn new() -> Self {
        Self { rounds: Vec::new(), whole: Tally::new() }
    }

    fn add(&mut self, Played { outcome, cpu_us: cpu }: &Played) {
        // One without an answer is no fast one.
        let p99 = |it: &Point| if it.rate() > 0.0 { it.p99_ms } else { TENTH_MS };
        let tenths = median(&outcome.series.iter().map(p99).collect::<Vec<_>>());
        let all = outcome.total.latency(Kind::Good).map_or(0.0, |it| quantile(it, 0.99));
        self.rounds.push(Round { tenths, all, rate: outcome.rate(), cpu: *cpu });
        self.whole.add(&outcome.total);
    }
}

fn play(stage: &mut Stage) -> Result<(), String> {
    let origin = stage.origin(Spec::named("origin"))?;
    let mut config = config::all_to(&origin);
    let header = Duration::from_millis(stage.pick(10_000, 500));
    // Those who come at once go at once; the load beside them would be judged for our own haste.
    let spread = header - Duration::from_millis(stage.pick(200, 50));
    config["http"]["timeouts"] = json!({ "header": format!("{}ms", header.as_millis()) });
    let proxy = stage.proxy(&config)?;
    let planned = Pace::Open(stage.rate(5000.0, 300.0));
    let mut loads = [
        ("on plan", planned, stage.seconds(8.0, 0.7)),
        ("flat out", Pace::Closed, stage.seconds(4.0, 0.3)),
    ]
    .map(|(name, pace, span)| {
        (name, stage.load(&proxy, "/", pace, span), Side::ALL.map(|_| Healthy::new()))
    });
    let trickle = Some(header / BYTES);
    let manner = Manner { spread, bytes: HALF.to_vec(), trickle, until: Until::Sent };
    let (wanted, cores) = (stage.count(2000, 200), stage.load_cores());
    let mut pressure = Pressure::NONE_YET;
    // In turns, so that all meet the same moods of the machine.
    for round in 1..=stage.pick(8, 1_usize) {
        let mut sides = Side::ALL;
        // In every order: a side has what the one before it left behind.
        sides.rotate_left(round % Side::ALL.len());
        if round.is_multiple_of(2) {
            sides.reverse();
        }
        for side in sides {
            let gather = |to| Crowd::gather(to, wanted, manner.clone(), &cores);
            let mut sink = None;
            let crowd = match side {
                Side::Without => {
                    clock::pass(spread); // the others have rested while their crowd gathered
                    None
                }
                Side::Elsewhere => Some(gather(sink.insert(stage.sink(header)?).address())?),
                Side::Beside => Some(gather(proxy.address())?),
            };
            for (name, load, seen) in &mut loads {
                let name = format!("{round}, {name}, {}", side.name());
                let run = || stage.run(&name, &proxy, load, |_| {});
                seen[side as usize].add(&pressure.behind(crowd.as_ref(), run)?);
            }
        }
    }
    let all = count(wanted) * stage.pick(0.9, 0.5);
    let each = all / header.as_secs_f64();
    let least = Limit::AtLeast;
    stage.must("behind any load: unfinished heads, at least", pressure.standing, "", least(all));
    stage.must("behind any load: of them cut and renewed", pressure.cut, "/s", least(each));
    let bytes = least(each * f64::from(BYTES - 1));
    stage.must("behind any load: bytes that trickled in", pressure.trickled, "/s", bytes);
    for (name, load, seen) in &loads {
        judge(stage, name, load.pace, seen);
    }
    stage.note("p99 by tenths: that of the tenth of a second in the middle");
    stage.note("one / another: the median of the rounds, each compared in itself");
    stage.note(
        "elsewhere: before a listener that only holds them, so that what is left is the proxy's",
    );
    Ok(())
}

fn judge(stage: &mut Stage, load: &str, pace: Pace, seen: &[Healthy; 3]) {
    let all = |what: fn(&Tally) -> u64| count(seen.iter().map(|it| what(&it.whole)).sum::<u64>());
    for (what, number) in [
        ("without a good answer", all(|it| it.total() - it.count(Kind::Good))),
        ("healthy connections ended", all(|it| it.ended)),
    ] {
        stage.must(&format!("{load}: {what}"), number, "", Limit::AtMost(0.0));
    }
    // On plan it is the plan's.
    let rate = if pace == Pace::Closed { Limit::AtLeast(0.9) } else { Limit::None };
    let measures: [(_, _, Measure, _); 4] = [
        ("p99 by tenths", "ms", |it| it.tenths, Limit::AtMost(1.1)),
        ("p99 of all", "ms", |it| it.all, Limit::AtMost(2.0)),
        ("good answers a second", "/s", |it| it.rate, rate),
        ("processor time", "us", |it| it.cpu, Limit::None),
    ];
    for (what, unit, measure, limit) in measures {
        let of = |side: Side| seen[side as usize].rounds.iter().map(measure).collect::<Vec<_>>();
        for side in Side::ALL {
            let name = format!("{load}: {what}, {}", side.name());
            stage.tell(&name, median(&of(side)), unit);
        }
        for other in [Side::Without, Side::Elsewhere] {
            let name = format!("{load}: {what}, {} / {}", Side::Beside.name(), other.name());
            let mut multiples: Vec<_> = of(Side::Beside)
                .iter()
                .zip(of(other))
                .map(|(beside, other)| beside / other.max(LEAST))
                .collect();
            multiples.sort_by(f64::total_cmp);
            stage.should(&name, median(&multiples), "", limit);
            // Of eight rounds the true median lies between these 93 times in 100.
            if let [_, least, .., most, _] = multiples[..] {
                stage.tell(&format!("{name}, the least but one"), least, "");
                stage.tell(&format!("{name}, the most but one"), most, "");
            }
        }
    }
}
