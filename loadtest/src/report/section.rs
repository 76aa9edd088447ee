//! One load of a report.

use serde::{Deserialize, Serialize};

use super::grouped;
use crate::clock;
use crate::load::{Connections, Load, Outcome, Pace};
use crate::own::Own;
use crate::point::Point;
use crate::proxy::watch::Bar;
use crate::tally::{Failure, Kind};

/// A load and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// Its plan in a line.
    pub(crate) plan: String,
    /// Answers each second.
    pub(crate) rate: f64,
    /// How many requests ended how.
    pub(crate) counts: Vec<(String, u64)>,
    /// By kind of answer.
    pub(crate) latencies: Vec<Latency>,
    pub(crate) series: Vec<Point>,
    pub(crate) bars: Vec<Bar>,
    /// What happened when, in seconds of the load.
    pub(crate) marks: Vec<(f64, String)>,
    pub(crate) own: Own,
}

/// How long answers of a kind took, in milliseconds from their planned start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) kind: String,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Section {
    /// The load `name` and what came of it.
    pub(crate) fn of(name: &str, load: &Load, outcome: &Outcome) -> Self {
        let total = &outcome.total;
        let statuses = total.statuses().map(|(status, count)| (status.to_string(), count));
        let failures = Failure::ALL.into_iter().filter_map(|(failure, name)| {
            Some((name.to_owned(), total.failed(failure))).filter(|(_, count)| *count > 0)
        });
        let ended = ("connections ended by the peer".to_owned(), total.ended);
        let ended = Some(ended).filter(|(_, count)| *count > 0);
        Self {
            name: name.to_owned(),
            plan: plan(load, outcome),
            rate: outcome.rate(),
            counts: statuses.chain(failures).chain(ended).collect(),
            latencies: Kind::ALL.into_iter().filter_map(|kind| latency(outcome, kind)).collect(),
            series: outcome.series.clone(),
            bars: Vec::new(),
            marks: Vec::new(),
            own: outcome.own.clone(),
        }
    }
}

fn latency(outcome: &Outcome, kind: Kind) -> Option<Latency> {
    let name = match kind {
        Kind::Good => "good",
        Kind::Refused => "refused",
        Kind::Bad => "bad",
    };
    let histogram = outcome.total.latency(kind).filter(|histogram| !histogram.is_empty())?;
    let at = |share| clock::millis(histogram.value_at_quantile(share));
    Some(Latency {
        kind: name.to_owned(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: clock::millis(histogram.max()),
    })
}

fn plan(load: &Load, outcome: &Outcome) -> String {
    let pace = match load.pace {
        Pace::Open(rate) => format!("open loop, {}/s planned", grouped(rate)),
        Pace::Random(rate) => format!("open loop, {}/s planned at random", grouped(rate)),
        Pace::Closed => "closed loop (a stall lowers the rate and hides in the percentiles)".into(),
    };
    let connections = match load.connections {
        Connections::Kept(1) => "1 connection".to_owned(),
        Connections::Kept(count) => format!("{count} connections"),
        Connections::Fresh(count) => format!("a new connection each, {count} at once"),
    };
    let depth = if load.depth > 1 { format!(", {} deep", load.depth) } else { String::new() };
    format!("{pace} · {connections}{depth} · {:.1} s", outcome.duration.as_secs_f64())
}
