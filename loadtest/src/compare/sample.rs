//! What was measured of one program in one case and round.

use super::Case;
use super::turn::Pass;
use crate::load::Running;
use crate::own::LATE_MAX;
use crate::process::{self, Process};
use crate::stage::{count, median, quantile};
use crate::tally::Kind;

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) program: &'static str,
    pub(super) case: Case,
    pub(super) pass: Pass,
    pub(super) ours: Measured,
    /// Microseconds for each request when wrk loads.
    pub(super) wrk: Option<f64>,
}

/// All measurements.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(pub(super) Vec<Sample>);

/// What our generator measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// Requests each second.
    pub(super) rate: f64,
    /// Processor time of the program for each request.
    pub(super) cpu_us: f64,
    /// Of it in the program's own code.
    pub(super) user_us: f64,
    /// Busy time of its processors for each request.
    pub(super) core_us: f64,
    /// The share of time that they were busy.
    pub(super) core_busy: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) resident: f64,
    pub(super) not_good: u64,
    /// Whether the generator fell behind its plan.
    pub(super) is_late: bool,
}

impl Measured {
    /// Measures `process` on `cores` while the load runs that `start` has begun.
    pub(super) fn of(
        process: &Process,
        cores: &[usize],
        start: impl FnOnce() -> Result<Running, String>,
    ) -> Result<Self, String> {
        let running = start()?;
        let core =
            || cores.iter().map(|core| process::core_time(*core)).sum::<std::time::Duration>();
        let (used, busy) = (process.used(), core());
        let outcome = running.finish(|_| {})?;
        let now = process.used();
        let [user, system] =
            [0, 1].map(|which: usize| now[which].saturating_sub(used[which]).as_secs_f64());
        let busy = core().saturating_sub(busy).as_secs_f64();
        let total = &outcome.total;
        let asked = count(total.total().max(1));
        let all = total.latencies();
        Ok(Self {
            rate: outcome.rate(),
            cpu_us: (user + system) * 1e6 / asked,
            user_us: user * 1e6 / asked,
            core_us: busy * 1e6 / asked,
            core_busy: busy / outcome.duration.as_secs_f64() / count(cores.len().max(1)),
            p50_ms: quantile(&all, 0.5),
            p99_ms: quantile(&all, 0.99),
            p999_ms: quantile(&all, 0.999),
            resident: count(process.memory().resident),
            not_good: total.total() - total.count(Kind::Good),
            is_late: outcome.own.late >= LATE_MAX,
        })
    }
}

impl Samples {
    /// What every round found of one program.
    pub(super) fn of(
        &self,
        program: &str,
        case: &Case,
        pass: Pass,
        value: fn(&Measured) -> f64,
    ) -> Vec<f64> {
        let fits = |it: &&Sample| it.program == program && it.case == *case && it.pass == pass;
        self.0.iter().filter(fits).map(|it| value(&it.ours)).collect()
    }

    /// The middle of that; no number, where there is none.
    pub(super) fn middle(
        &self,
        program: &str,
        case: &Case,
        pass: Pass,
        value: fn(&Measured) -> f64,
    ) -> f64 {
        median(&self.of(program, case, pass, value))
    }

    /// What wrk found, in the middle.
    pub(super) fn wrk(&self, program: &str, case: &Case) -> f64 {
        let fitting = self.0.iter().filter(|it| it.program == program && it.case == *case);
        median(&fitting.filter_map(|it| it.wrk).collect::<Vec<_>>())
    }
}
