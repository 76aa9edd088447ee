//! What fusebox is to come to, as figures with limits: beside others, and beside itself.
//!
//! The limits are ratios within one run, so that they mean the same on every machine; each stands
//! only where all it needs was measured.

use super::sample::{Measured, Samples};
use super::turn::Pass;
use super::{Case, Judge, Plan};
use crate::report::{Figure, Limit, Weight};
use crate::stage::count;

/// How far ratios may lie apart that two generators measure, in percent.
const AGREEMENT: f64 = 5.0;

/// Processor time for each request: the case, who it is compared with, and the most of theirs.
const CPU: &[(&str, &str, f64)] = &[
    ("64:1k", "nginx", 0.80),
    ("64:1k", "haproxy", 0.70),
    ("64:1k", "relay", 1.05),
    ("512:1k", "nginx", 0.62),
    ("32:64k", "nginx", 0.97),
    ("32:1m", "nginx", 0.92),
];

/// Of it in our own code, in microseconds.
const USER: (&str, f64) = ("64:1k", 1.3);

/// What a breaker may cost that has no reason to open.
const BREAKER: f64 = 1.01;

/// What a refusal may cost of a request that is proxied. What answers by itself, beside what copies
/// bytes between two sockets, is told too: that much is the kernel's, whoever refuses.
const REFUSAL: f64 = 0.40;

/// All of them.
pub(super) fn figures(plan: &Plan, samples: &Samples, reference: &str) -> Vec<Figure> {
    let failed = samples.0.iter().map(|it| it.ours.not_good).sum::<u64>();
    let failed = count(failed);
    let mut found =
        vec![figure("requests without a good answer", failed, "", Weight::Correct, 0.0)];
    for case in &plan.cases {
        found.extend(beside_others(case, samples));
    }
    if let Some(case) = plan.cases.first() {
        found.extend(in_time(case, samples, reference));
        found.extend(beside_itself(case, samples));
    }
    if plan.judge == Judge::Wrk {
        plan.cases.iter().for_each(|case| judge(&mut found, case, samples, reference));
    }
    found
}

fn beside_others(case: &Case, samples: &Samples) -> Vec<Figure> {
    let written = case.to_string();
    let ours = samples.middle("fusebox", case, Pass::Full, |it| it.cpu_us);
    let ratio = |(of, other, most): &(&str, &str, f64)| {
        let theirs = samples.middle(other, case, Pass::Full, |it| it.cpu_us);
        let name = format!("{of}: processor time, of {other}'s");
        let known = *of == written && (ours / theirs).is_finite();
        known.then(|| figure(&name, ours / theirs, "", Weight::Speed, *most))
    };
    let mut found: Vec<Figure> = CPU.iter().filter_map(ratio).collect();
    let user = samples.middle("fusebox", case, Pass::Full, |it| it.user_us);
    if USER.0 == written && user.is_finite() {
        let name = format!("{written}: processor time in our own code");
        found.push(figure(&name, user, "us", Weight::Speed, USER.1));
    }
    found
}

/// Latency of the first case at a rate that fills nobody.
fn in_time(case: &Case, samples: &Samples, reference: &str) -> Option<Figure> {
    let p99 = |name: &str| samples.middle(name, case, Pass::Calm, |it| it.p99_ms);
    let ratio = p99("fusebox") / p99(reference);
    let name = format!("{case}: p99 at a rate that fills nobody, of {reference}'s");
    let known = ratio.is_finite() && reference != "fusebox";
    known.then(|| figure(&name, ratio, "", Weight::Speed, 1.0))
}

fn beside_itself(case: &Case, samples: &Samples) -> Vec<Figure> {
    let ratio = |value: fn(&Measured) -> f64, pass: Pass, of: &str| {
        let proxied = samples.middle(of, case, Pass::Full, value);
        samples.middle("fusebox", case, pass, value) / proxied
    };
    let guarded = ratio(|it| it.cpu_us, Pass::Full, "no breaker");
    let refused = ratio(|it| it.cpu_us, Pass::Refused, "fusebox");
    let rate = ratio(|it| it.rate, Pass::Refused, "fusebox");
    let cpu = |name, pass| samples.middle(name, case, pass, |it| it.cpu_us);
    let least = cpu("answer", Pass::Answered) / cpu("relay", Pass::Full);
    let found = [
        ("processor time with a breaker, of that without", guarded, Limit::AtMost(BREAKER)),
        ("processor time of a refusal, of a proxied request's", refused, Limit::AtMost(REFUSAL)),
        ("processor time of a bare answer, of a bare relay's request", least, Limit::None),
        // The load may be their limit: told, not judged.
        ("refusals a second, of proxied requests", rate, Limit::None),
    ];
    let known = found.into_iter().filter(|(_, value, _)| value.is_finite());
    let named = known.map(|(name, value, limit)| {
        let plain = figure(&format!("{case}: {name}"), value, "", Weight::Speed, 0.0);
        Figure { limit, ..plain }
    });
    named.collect()
}

/// Whether wrk finds the same ratio.
fn judge(found: &mut Vec<Figure>, case: &Case, samples: &Samples, reference: &str) {
    let ratio = |name: &str| samples.wrk("fusebox", case) / samples.wrk(name, case);
    let cpu = |name: &str| samples.middle(name, case, Pass::Full, |it| it.cpu_us);
    let (ours, wrk) = (cpu("fusebox") / cpu(reference), ratio(reference));
    let apart = (ours / wrk - 1.0).abs() * 100.0;
    let name = |what: &str| format!("{case}: fusebox to {reference}, {what}");
    for (what, value) in [("by us", ours), ("by wrk", wrk)] {
        let plain = figure(&name(what), value, "", Weight::Speed, 0.0);
        found.push(Figure { limit: Limit::None, ..plain });
    }
    found.push(figure(&name("apart"), apart, "%", Weight::Correct, AGREEMENT));
}

fn figure(name: &str, value: f64, unit: &str, weight: Weight, most: f64) -> Figure {
    let (name, unit) = (name.to_owned(), unit.to_owned());
    Figure { name, value, unit, limit: Limit::AtMost(most), weight }
}
