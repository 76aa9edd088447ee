//! fusebox beside others, as alike as they can be set up.
//!
//! Enters: a plan. Leaves: a report with a table for each case. All programs have their turn in
//! every round, so that the moods of a machine meet all of them; what is compared is processor time
//! for each request, which a busy neighbour changes less than the rate. The generator is a closed
//! loop here: the programs are to be full, and none is to be judged by a stall.

mod case;
mod program;
pub(crate) mod relay;
mod sample;
mod wrk;

use std::time::Duration;

use crate::expect::Expect;
use crate::interrupt;
use crate::load::{Connections, Load, Pace};
use crate::origin::{Origin, Spec};
use crate::report::{Figure, Limit, Machine, Report, Table, Weight};
use crate::stage::Settings;
pub(crate) use case::Case;
use program::Program;
use sample::{Measured, Sample, median};

/// How far ratios may lie apart that two generators measure.
const AGREEMENT: f64 = 5.0;

/// What is to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: usize,
    pub(crate) duration: Duration,
    /// Only programs of these names; all, if there are none.
    pub(crate) only: Vec<String>,
    pub(crate) judge: Judge,
}

/// Who else measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    None,
    /// wrk, in turns with us.
    Wrk,
}

/// Measures everything.
pub(crate) fn measure(plan: &Plan) -> Result<Report, String> {
    let mut skipped = Vec::new();
    let mut programs = Vec::new();
    for program in program::all() {
        if !plan.only.is_empty() && !plan.only.iter().any(|name| name == program.name) {
            continue;
        }
        match program.missing() {
            None => programs.push(program),
            Some(remedy) => skipped.push(format!("{}: {remedy}", program.name)),
        }
    }
    if plan.judge == Judge::Wrk {
        wrk::find_it()?;
    }
    let origin = Origin::start(Spec {
        replies: plan.cases.iter().map(|case| (case.path(), vec![b'a'; case.body])).collect(),
        cores: plan.settings.load_cores.clone(),
        ..Spec::named("origin")
    })?;
    let mut samples = Vec::new();
    for round in 1..=plan.rounds {
        for program in &programs {
            if let Err(error) = turn(plan, &origin, program, round, &mut samples) {
                return Err(format!("{}: {error}", program.name));
            }
        }
    }
    Ok(report(plan, &programs, &samples, skipped))
}

/// One program's turn: all cases, one after the other.
fn turn(
    plan: &Plan,
    origin: &Origin,
    program: &Program,
    round: usize,
    samples: &mut Vec<Sample>,
) -> Result<(), String> {
    let cores = &plan.settings.proxy_cores;
    let running = program.start(&plan.settings.proxy, cores, origin.address())?;
    for case in &plan.cases {
        if interrupt::is_raised() {
            return Err("interrupted".to_owned());
        }
        let path = case.path();
        let warm_up = (plan.duration / 5).min(Duration::from_secs(1));
        let load = Load {
            expect: Expect::length(200, case.body as u64),
            connections: Connections::Kept(case.connections),
            cores: plan.settings.load_cores.clone(),
            warm_up,
            ..Load::get(running.address, &path, Pace::Closed, plan.duration)
        };
        let ours = Measured::of(&running.process, cores, || {
            let started = load.clone().start()?;
            started.warm_up();
            Ok(started)
        })?;
        eprintln!(
            "round {round}  {:<8} {case:<9} {:>9.0}/s  {:>8.2} us",
            program.name, ours.rate, ours.cpu_us
        );
        let wrk = match plan.judge {
            Judge::None => None,
            Judge::Wrk => {
                let core = plan.settings.load_cores.clone();
                Some(wrk::measure(&running, case, plan.duration, &core)?)
            }
        };
        samples.push(Sample { program: program.name, case: case.clone(), ours, wrk });
    }
    Ok(())
}

fn report(plan: &Plan, programs: &[Program], samples: &[Sample], skipped: Vec<String>) -> Report {
    let reference = if programs.iter().any(|it| it.name == "nginx") { "nginx" } else { "fusebox" };
    let tables = plan.cases.iter().map(|case| table(case, programs, samples, reference));
    let mut settings = vec![
        ("rounds".to_owned(), format!("{} of {:?} each", plan.rounds, plan.duration)),
        ("programs on processors".to_owned(), format!("{:?}", plan.settings.proxy_cores)),
        ("load and origin on".to_owned(), format!("{:?}", plan.settings.load_cores)),
    ];
    settings
        .extend(programs.iter().map(|it| (it.name.to_owned(), it.version(&plan.settings.proxy))));
    let mut report = Report {
        name: "compare".to_owned(),
        about: "processor time for each request, beside others on the same core".to_owned(),
        machine: Machine::here(),
        settings,
        tables: tables.collect(),
        notes: vec![
            "medians (least to most) of all rounds; a difference smaller than that spread is none"
                .to_owned(),
            "core us: the processor's busy time, with the work of the kernel that no process is \
             charged for, and whoever else ran there"
                .to_owned(),
        ],
        skipped,
        ..Report::default()
    };
    let failed: u64 = samples.iter().map(|it| it.ours.not_good).sum();
    report.figures.push(figure(
        "requests without a good answer",
        crate::stage::count(failed),
        "",
        0.0,
    ));
    if plan.judge == Judge::Wrk {
        judge(&mut report, &plan.cases, samples, reference);
    }
    report
}

fn table(case: &Case, programs: &[Program], samples: &[Sample], reference: &str) -> Table {
    let of = |name: &str, value: fn(&Measured) -> f64| -> Vec<f64> {
        let fitting = samples.iter().filter(|it| it.program == name && it.case == *case);
        fitting.map(|it| value(&it.ours)).collect()
    };
    let spread = |values: &[f64], digits: usize| {
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        format!("{:.digits$} ({least:.digits$}–{most:.digits$})", median(values))
    };
    let cpu: fn(&Measured) -> f64 = |it| it.cpu_us;
    let base = median(&of(reference, cpu));
    let row = |program: &Program| {
        let middle = |value| median(&of(program.name, value));
        vec![
            program.name.to_owned(),
            spread(&of(program.name, cpu), 2),
            format!("{:.2}", middle(cpu) / base),
            spread(&of(program.name, |it| it.rate), 0),
            format!("{:.2}", middle(|it| it.core_us)),
            format!("{:.0}", middle(|it| it.core_busy) * 100.0),
            format!("{:.3}", middle(|it| it.p50_ms)),
            format!("{:.3}", middle(|it| it.p99_ms)),
            format!("{:.1}", middle(|it| it.resident) / 1e6),
        ]
    };
    let ratio = format!("× {reference}");
    let columns =
        ["", "CPU us", &ratio, "requests/s", "core us", "core %", "p50 ms", "p99 ms", "MB"];
    Table {
        title: format!("{} connections, {} bodies", case.connections, case.name),
        columns: columns.map(str::to_owned).to_vec(),
        rows: programs.iter().map(row).collect(),
    }
}

/// Whether wrk finds the same ratios.
fn judge(report: &mut Report, cases: &[Case], samples: &[Sample], reference: &str) {
    for case in cases {
        let ratio = |cpu: &dyn Fn(&Sample) -> Option<f64>| {
            let of = |name: &str| {
                let fitting = samples.iter().filter(|it| it.program == name && it.case == *case);
                median(&fitting.filter_map(cpu).collect::<Vec<_>>())
            };
            of("fusebox") / of(reference)
        };
        let ours = ratio(&|it| Some(it.ours.cpu_us));
        let wrk = ratio(&|it| it.wrk);
        let apart = (ours / wrk - 1.0).abs() * 100.0;
        let name = |what: &str| format!("{case}: fusebox to {reference}, {what}");
        for (what, value) in [("by us", ours), ("by wrk", wrk)] {
            let plain = figure(&name(what), value, "", 0.0);
            report.figures.push(Figure { limit: Limit::None, ..plain });
        }
        report.figures.push(figure(&name("apart"), apart, "%", AGREEMENT));
    }
}

fn figure(name: &str, value: f64, unit: &str, most: f64) -> Figure {
    let (name, unit) = (name.to_owned(), unit.to_owned());
    Figure { name, value, unit, limit: Limit::AtMost(most), weight: Weight::Correct }
}
