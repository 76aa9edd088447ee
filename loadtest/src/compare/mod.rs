//! fusebox beside others, as alike as they can be set up.
//!
//! Enters: a plan. Leaves: a report with a table for each kind of turn, and our goals as figures.
//! All programs have their turn in every round, so that the moods of a machine meet all of them;
//! what is compared is processor time for each request, which a busy neighbour changes less than
//! the rate. Where programs are to be full the generator is a closed loop, so that none is judged
//! by a stall; then, at a share of the rate at which the reference was full, it is an open one.

mod case;
mod goal;
mod program;
pub(crate) mod relay;
mod sample;
mod turn;
mod wrk;

use std::time::Duration;

use crate::origin::{Fault, Origin, Script, Spec};
use crate::report::{Machine, Report, Table, grouped};
use crate::stage::{Settings, median};
pub(crate) use case::Case;
use program::{Behind, Part, Program};
use sample::{Measured, Samples};
use turn::{Pass, Turn};

/// The share of the reference's rate at which latencies are compared.
const CALM: f64 = 0.6;

/// Below this share of its time a program was not full: who loads it was.
const FULL: f64 = 0.95;

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

impl Plan {
    /// The processors that make the requests: half of those of load and origin, if there are more
    /// than one.
    fn client_cores(&self) -> Vec<usize> {
        let all = &self.settings.load_cores;
        all.get(..all.len().div_ceil(2)).unwrap_or_default().to_vec()
    }

    /// The processors that answer them: the others.
    fn origin_cores(&self) -> Vec<usize> {
        let all = &self.settings.load_cores;
        let rest = all.get(all.len().div_ceil(2)..).unwrap_or_default();
        if rest.is_empty() { all.clone() } else { rest.to_vec() }
    }
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
        if reference(&programs) != "nginx" {
            return Err("wrk is asked for the ratio of fusebox to nginx, which is not there".into());
        }
    }
    let cores = plan.origin_cores();
    let origin = Origin::start(Spec {
        replies: plan.cases.iter().map(|case| (case.path(), vec![b'a'; case.body])).collect(),
        cores: cores.clone(),
        threads: cores.len().max(1),
        ..Spec::named("origin")
    })?;
    let script = Script::always(Fault::failing(1.0));
    let sick = Origin::start(Spec { script, cores, ..Spec::named("sick") })?;
    sick.begin_now();
    let behind = Behind { origin: origin.address(), sick: sick.address() };
    let mut turn = Turn { plan, behind, samples: Samples::default() };
    for round in 1..=plan.rounds {
        turn.alone(round)?;
        for program in &programs {
            turn.full(program, round)?;
        }
    }
    let reference = reference(&programs);
    if let Some(case) = plan.cases.first() {
        let rate = CALM * turn.samples.middle(reference, case, Pass::Full, |it| it.rate);
        for round in 1..=plan.rounds {
            for program in programs.iter().filter(|program| program.part == Part::All) {
                turn.calm(program, case, rate, round)?;
            }
        }
    }
    Ok(report(plan, &programs, &turn.samples, skipped))
}

/// Who the others are compared with.
fn reference(programs: &[Program]) -> &'static str {
    if programs.iter().any(|it| it.name == "nginx") { "nginx" } else { "fusebox" }
}

fn report(plan: &Plan, programs: &[Program], samples: &Samples, skipped: Vec<String>) -> Report {
    let reference = reference(programs);
    let mut tables: Vec<Table> =
        plan.cases.iter().map(|case| full(case, programs, samples, reference)).collect();
    tables.extend(plan.cases.first().map(|case| calm(case, programs, samples, reference)));
    let mut settings = vec![
        ("rounds".to_owned(), format!("{} of {:?} each", plan.rounds, plan.duration)),
        ("programs on processors".to_owned(), format!("{:?}", plan.settings.proxy_cores)),
        ("load and origin on".to_owned(), format!("{:?}", plan.settings.load_cores)),
    ];
    let others = programs.iter().filter(|program| program.part == Part::All);
    settings.extend(others.map(|it| (it.name.to_owned(), it.version(&plan.settings.proxy))));
    let mut notes = vec![
        "medians (least to most) of all rounds; a difference smaller than that spread is none"
            .to_owned(),
        "core us: the processor's busy time, with the work of the kernel that no process is \
         charged for, and whoever else ran there"
            .to_owned(),
    ];
    notes.extend(limited(plan, programs, samples));
    notes.extend(late(programs, samples));
    Report {
        name: "compare".to_owned(),
        about: "processor time for each request, beside others on the same core".to_owned(),
        machine: Machine::here(),
        settings,
        tables,
        figures: goal::figures(plan, samples, reference),
        notes,
        skipped,
        ..Report::default()
    }
}

/// Whose rate is that of who loaded it.
fn limited(plan: &Plan, programs: &[Program], samples: &Samples) -> Option<String> {
    let mut found = Vec::new();
    for case in &plan.cases {
        for program in programs {
            let busy = |pass| samples.middle(program.name, case, pass, |it| it.core_busy);
            if busy(Pass::Full) < FULL {
                found.push(format!("{} at {case}", program.name));
            }
            if busy(Pass::Refused) < FULL {
                found.push(format!("refusals of {} at {case}", program.name));
            }
            if busy(Pass::Answered) < FULL {
                found.push(format!("answers at {case}"));
            }
        }
    }
    (!found.is_empty()).then(|| {
        format!(
            "load and origin were the limit, not the program, and the rate is theirs: {}",
            found.join(", ")
        )
    })
}

/// Whose latencies at a rate are in part the generator's.
fn late(programs: &[Program], samples: &Samples) -> Option<String> {
    let words = |program: &Program| {
        let is_its = |it: &&sample::Sample| it.program == program.name && it.pass == Pass::Calm;
        let all: Vec<_> = samples.0.iter().filter(is_its).collect();
        let late = all.iter().filter(|it| it.ours.is_late).count();
        (late > 0).then(|| format!("{} in {late} of {} rounds", program.name, all.len()))
    };
    let found: Vec<String> = programs.iter().filter_map(words).collect();
    (!found.is_empty()).then(|| {
        format!(
            "the generator did not keep its plan, and latencies at a rate are in part its own: {}",
            found.join(", ")
        )
    })
}

/// What all programs came to in one case, and what load and origin do without any.
fn full(case: &Case, programs: &[Program], samples: &Samples, reference: &str) -> Table {
    let base = samples.middle(reference, case, Pass::Full, |it| it.cpu_us);
    let row = |name: &str, label: &str, pass: Pass| {
        let of = |value: fn(&Measured) -> f64| samples.of(name, case, pass, value);
        let middle = |value: fn(&Measured) -> f64| median(&of(value));
        let cpu = middle(|it| it.cpu_us);
        vec![
            label.to_owned(),
            spread(&of(|it| it.cpu_us), 2),
            format!("{:.2}", cpu / base),
            format!("{:.2}", middle(|it| it.user_us)),
            spread(&of(|it| it.rate), 0),
            format!("{:.2}", middle(|it| it.core_us)),
            format!("{:.0}", middle(|it| it.core_busy) * 100.0),
            format!("{:.3}", middle(|it| it.p50_ms)),
            format!("{:.3}", middle(|it| it.p99_ms)),
            format!("{:.1}", middle(|it| it.resident) / 1e6),
        ]
    };
    let measured = |name: &str, pass| !samples.of(name, case, pass, |it| it.rate).is_empty();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for program in programs {
        for (pass, label) in [
            (Pass::Full, program.name),
            (Pass::Refused, "refusals"),
            (Pass::Answered, "answers of its own"),
        ] {
            if measured(program.name, pass) {
                rows.push(row(program.name, label, pass));
            }
        }
    }
    let rate = samples.of(turn::ALONE, case, Pass::Full, |it| it.rate);
    let alone = [turn::ALONE, "", "", "", &spread(&rate, 0)];
    let cells = alone.into_iter().chain([""; 5]).map(str::to_owned);
    rows.push(cells.collect());
    let ratio = format!("× {reference}");
    let columns = [
        "",
        "CPU us",
        &ratio,
        "user us",
        "requests/s",
        "core us",
        "core %",
        "p50 ms",
        "p99 ms",
        "MB",
    ];
    Table {
        title: format!(
            "{} connections, {} bodies, each asks again when it is answered",
            case.connections, case.name
        ),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
    }
}

/// How long answers take where nobody is full.
fn calm(case: &Case, programs: &[Program], samples: &Samples, reference: &str) -> Table {
    let rate = CALM * samples.middle(reference, case, Pass::Full, |it| it.rate);
    let row = |program: &Program| {
        let of = |value: fn(&Measured) -> f64| samples.of(program.name, case, Pass::Calm, value);
        let middle = |value: fn(&Measured) -> f64| median(&of(value));
        vec![
            program.name.to_owned(),
            format!("{:.3}", middle(|it| it.p50_ms)),
            spread(&of(|it| it.p99_ms), 3),
            format!("{:.3}", middle(|it| it.p999_ms)),
            format!("{:.2}", middle(|it| it.cpu_us)),
            grouped(middle(|it| it.rate)),
        ]
    };
    let columns = ["", "p50 ms", "p99 ms", "p99.9 ms", "CPU us", "requests/s"];
    Table {
        title: format!(
            "{} connections, {} bodies, {} requests/s at random moments: {:.0}% of {reference}'s",
            case.connections,
            case.name,
            grouped(rate),
            CALM * 100.0
        ),
        columns: columns.map(str::to_owned).to_vec(),
        rows: programs.iter().filter(|program| program.part == Part::All).map(row).collect(),
    }
}

/// The median, and between what.
fn spread(values: &[f64], digits: usize) -> String {
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.digits$} ({least:.digits$}–{most:.digits$})", median(values))
}
